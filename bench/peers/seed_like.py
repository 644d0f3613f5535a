"""What somebody writes first: FastAPI, a scheduler and a SQLAlchemy session per connection, all rows in one list.

    python seed_like.py PORT DATABASE LOGS

It reads XAgent's tables. BENCH_PAUSE=0 takes the pause of one to three seconds between its rows away.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import uvicorn
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from fastapi import Depends, FastAPI, WebSocket, WebSocketDisconnect
from sqlalchemy import JSON, Boolean, Column, Integer, String, create_engine
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker

PORT, DATABASE, LOGS = sys.argv[1:]
PAUSE = os.environ.get("BENCH_PAUSE", "1-3")

engine = create_engine(f"sqlite:///{DATABASE}", connect_args={"check_same_thread": False})
make_session = sessionmaker(engine)
app = FastAPI()


class Base(DeclarativeBase):
    pass


class Raw(Base):
    __tablename__ = "raw"
    id = Column(Integer, primary_key=True)
    node_id = Column(String)
    interaction_id = Column(String)
    current = Column(String)
    step = Column(Integer)
    data = Column(JSON)
    file_list = Column(JSON)
    status = Column(String)
    is_deleted = Column(Boolean)
    include_pictures = Column(Boolean)


def get_session():
    session = make_session()
    try:
        yield session
    finally:
        session.close()


def make_logger(name: str) -> logging.Logger:
    logger = logging.getLogger(f"bench.{name}.{random.random()}")
    for handler in (logging.StreamHandler(), logging.FileHandler(Path(LOGS) / f"{name}.log")):
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    return logger


def unescape(data: Any) -> Any:
    """What the original does to the texts of a tool, in all that it sends."""
    tools = data.get("using_tools") if isinstance(data, dict) else None
    for name in ("tool_input", "tool_output") if isinstance(tools, dict) else ():
        if isinstance(tools.get(name), str):
            tools[name] = tools[name].encode("utf-8").decode("unicode_escape")
    return data


class Replay:
    """One connection."""

    def __init__(self, websocket: WebSocket, session: Session, client_id: str) -> None:
        self.websocket = websocket
        self.session = session
        self.client_id = client_id
        self.scheduler = AsyncIOScheduler()
        self.logger = make_logger(client_id)

    async def serve(self) -> None:
        await self.websocket.accept()
        await self._send({"status": "connect", "success": True, "message": "connect success", "data": None})
        try:
            while True:
                message = json.loads(await self.websocket.receive_text())
                if message["type"] == "shared" and not self.scheduler.running:
                    self.scheduler.add_job(self.pong, "interval", seconds=20)
                    self.scheduler.add_job(self.send_rows, "date", next_run_time=datetime.now())
                    self.scheduler.start()
        except WebSocketDisconnect:
            self.logger.info("%s has left", self.client_id)
        finally:
            if self.scheduler.running:
                self.scheduler.shutdown()
            for handler in self.logger.handlers:
                handler.close()

    async def pong(self) -> None:
        await self._send({"type": "pong"})

    async def send_rows(self) -> None:
        query = self.session.query(Raw).filter(Raw.interaction_id == self.client_id, Raw.is_deleted.is_(False))
        for row in query.order_by(Raw.step.asc()).all():
            self.logger.info(
                "row %s, %d characters", row.node_id, len(json.dumps(row.data, ensure_ascii=False, indent=2))
            )
            files = [{"name": name, "suffix": name.split(".")[-1]} for name in row.file_list or []]
            await self._send(
                {
                    "data": unescape(row.data),
                    "status": row.status,
                    "message": "success",
                    "success": True,
                    "current": row.current,
                    "node_id": row.node_id,
                    "workspace_file_list": files,
                }
            )
            await asyncio.sleep(0 if PAUSE == "0" else random.randint(1, 3))

    async def _send(self, frame: dict[str, object]) -> None:
        await self.websocket.send_text(json.dumps(frame, ensure_ascii=False, indent=2))


@app.websocket("/ws/share/{client_id}")
async def share(websocket: WebSocket, client_id: str, session: Session = Depends(get_session)) -> None:  # noqa: B008
    await Replay(websocket, session, client_id).serve()


if __name__ == "__main__":
    uvicorn.run(
        app, port=int(PORT), loop="uvloop", ws="websockets-sansio", ws_per_message_deflate=False, log_config=None
    )
