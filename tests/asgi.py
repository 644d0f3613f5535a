"""A viewer without a network: drives an ASGI app from the other side of its socket, in the same event loop."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

from databases.core import Connection
from sqlalchemy import Table, insert
from starlette.applications import Starlette
from starlette.types import ASGIApp, Message

from share.channel import TEXTS
from share.routing import build_routes
from share.settings import XAgentServerEnv
from share.wire_v1 import encode_row
from storage import schema
from storage.gateway import Gateway
from storage.models import Interaction, Row, ShownRow
from tests.fake_clock import PATIENCE_SECONDS, FakeClock, until

DAY = "2023-11-17"


class Closed(Exception):
    """The app has closed the connection, with this code."""


class Viewer:
    """What the viewer sends goes to the app, and what the app sends is kept.

    `frames` and the `times` when they came, the `code` of the close frame; `awaited`: the app has dealt with all that
    was sent, and waits for more. `writes` are those by `try_send`: by which task, and how many frames.
    """

    def __init__(self, now: Callable[[], float], on_send: Callable[[Message], Awaitable[None]] | None) -> None:
        self.accepted = False
        self.subprotocol: str | None = None
        self.awaited = False
        self.writes: list[tuple[str, int]] = []
        self.frames: list[str] = []
        self.times: list[float] = []
        self.code: int | None = None
        self.task: asyncio.Task[None]
        self._now = now
        self._on_send = on_send
        self._error: BaseException | None = None
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._outbox: asyncio.Queue[str | Closed] = asyncio.Queue()
        self._inbox.put_nowait({"type": "websocket.connect"})

    async def receive_for_app(self) -> Message:
        self.awaited = self._inbox.empty()
        try:
            return await self._inbox.get()
        finally:
            self.awaited = False

    async def send_from_app(self, message: Message) -> None:
        if "texts" in message:
            for text in message["texts"]:
                await self.send_from_app({"type": message["type"], "text": text.decode()})
            return
        if self._on_send is not None:
            await self._on_send(message)
        if self._error is not None:
            self._inbox.put_nowait({"type": "websocket.disconnect", "code": 1006})
            raise self._error
        assert self.code is None, f"{message} after the close frame"
        match message["type"]:
            case "websocket.accept":
                self.accepted = True
                self.subprotocol = message["subprotocol"]
            case "websocket.close":
                self.code = message["code"]
                self._outbox.put_nowait(Closed(self.code))
                self._inbox.put_nowait({"type": "websocket.disconnect", "code": self.code})
            case _:
                self._take(message["text"])

    def _take(self, frame: str) -> None:
        self.frames.append(frame)
        self.times.append(self._now())
        self._outbox.put_nowait(frame)

    def try_send_from_app(self, *texts: bytes) -> bool:
        """What a server with `TEXTS` offers: not where a message would have to wait, or can't get through."""
        if not self.accepted or self._on_send is not None or self._error is not None or self.code is not None:
            return False
        for text in texts:
            self._take(text.decode())
        task = asyncio.current_task()
        self.writes.append(("" if task is None else task.get_name(), len(texts)))
        return True

    async def receive(self) -> str:
        """The next frame. Raises `Closed`."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            frame = await self._outbox.get()
        if isinstance(frame, Closed):
            raise frame
        return frame

    async def receive_json(self) -> Any:
        return json.loads(await self.receive())

    def post(self, message: Any) -> None:
        """Send a text, bytes, or a value as JSON."""
        kind = "bytes" if isinstance(message, bytes) else "text"
        text = message if isinstance(message, str | bytes) else json.dumps(message)
        self.awaited = False
        self._inbox.put_nowait({"type": "websocket.receive", kind: text})

    async def send(self, message: Any) -> None:
        """Send it, and return when the app has dealt with it and waits for the next, or has ended."""
        self.post(message)
        await until(lambda: self.awaited or self.task.done())

    @property
    def unread(self) -> int:
        """How many messages the app has not yet taken."""
        return self._inbox.qsize()

    def close(self, code: int = 1000) -> None:
        """Leave with a close frame."""
        self._leave(code)

    def disconnect(self) -> None:
        """Leave without one, as by a TCP reset."""
        self._leave(1006)

    def vanish(self, error: BaseException | None = None) -> None:
        """Leave, and the app learns it only when it sends something: by this error."""
        self._error = error or OSError("the viewer has left")

    def _leave(self, code: int) -> None:
        self.vanish()
        self._inbox.put_nowait({"type": "websocket.disconnect", "code": code})

    async def ended(self) -> int | None:
        """The close frame's code, or None where there was none, when the app is done with the connection."""
        await until(self.task.done)
        return self.code


def tasks_named(*prefixes: str) -> list[str]:
    """The names of the loop's tasks that begin with one of these."""
    return sorted(task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith(prefixes))


def database_threads() -> list[str]:
    """The names of the threads in which SQLite runs: one for each open connection."""
    return [thread.name for thread in threading.enumerate() if "_connection_worker" in thread.name]


def start(
    app: ASGIApp,
    path: str,
    query: Mapping[str, str] | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    client: tuple[str, int] | None = ("127.0.0.1", 50000),
    subprotocols: Sequence[str] = (),
    direct: bool = False,
    now: Callable[[], float] = time.monotonic,
    on_send: Callable[[Message], Awaitable[None]] | None = None,
) -> Viewer:
    """A viewer of `app` at `path`; his `task` is the app's.

    `on_send` is awaited before each message of the app gets through: it may make it wait, or raise. With `direct`, the
    app is offered what our own protocol for uvicorn offers.
    """
    viewer = Viewer(now, on_send)
    scope = {
        "type": "websocket",
        "path": path,
        "query_string": urlencode(query or {}).encode(),
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in (headers or {}).items()],
        "client": client,
        "subprotocols": list(subprotocols),
        "extensions": {TEXTS: {"try_send": viewer.try_send_from_app}} if direct else {},
    }
    viewer.task = asyncio.create_task(app(scope, viewer.receive_for_app, viewer.send_from_app))  # type: ignore[arg-type]
    return viewer


@asynccontextmanager
async def connect(app: ASGIApp, path: str, *args: Any, **options: Any) -> AsyncIterator[Viewer]:
    """The same as a block with which he leaves; an error of the app comes out of it."""
    viewer = start(app, path, *args, **options)
    try:
        yield viewer
        viewer.disconnect()
        await viewer.ended()
    finally:
        viewer.task.cancel()
        await asyncio.wait([viewer.task])
    viewer.task.result()


class Server:
    """A replay server over a database, with a fake clock: what a test watches."""

    def __init__(self, gateway: Gateway, base_dir: Path, **settings: Any) -> None:
        self.settings = XAgentServerEnv(base_dir=base_dir, **settings)
        self.clock = FakeClock()
        self.gateway = gateway
        self.direct = False
        self.app = Starlette(routes=build_routes(gateway, self.settings, self.clock))

    def connect(
        self, path: str = "/ws/share/run", query: Mapping[str, str] | None = None, **options: Any
    ) -> AbstractAsyncContextManager[Viewer]:
        return connect(self.app, path, query, now=self.clock.now, direct=self.direct, **options)

    async def play_out(self) -> None:
        """Let time pass until every replay is over, and its heartbeat with it."""
        await self.clock.run_until(lambda: not self.clock.sleepers and not tasks_named("replay ", "heartbeat "))

    async def record(self, *rows: Row, shared: bool = True, **interaction: Any) -> Interaction:
        """Store the interaction `run` of the user `author` with these rows, or another one."""
        run = Interaction(**{"interaction_id": "run", "user_id": "author", "create_time": DAY} | interaction)
        rows = tuple(replace(row, interaction_id=run.interaction_id) for row in rows)
        await self._insert(schema.interactions, [run])
        if shared:
            share = {"interaction_id": run.interaction_id, "user_name": run.user_id, "create_time": DAY}
            share |= {"update_time": DAY, "description": "", "agent": "", "mode": ""}
            await self.gateway.execute(insert(schema.shared_interactions).values(share))
        for start in range(0, len(rows), 100):
            await self._insert(schema.raw, rows[start : start + 100])
        return run

    async def _insert(self, table: Table, values: Sequence[Interaction | Row]) -> None:
        columns = [{key: value for key, value in asdict(one).items() if key != "id"} for one in values]
        await self.gateway.execute(insert(table).values(columns))

    def log_path(self, interaction_id: str = "run") -> Path:
        return self.settings.base_dir / "localstorage" / "interact_records" / DAY / interaction_id / "share.log"


def row(number: int, value: Any = None, /, **fields: Any) -> Row:
    """The row `node-<number>` of the interaction `run`, with `value` as its data."""
    defaults = {"node_id": f"node-{number}", "interaction_id": "run", "status": "inner", "current": "1.1"}
    return Row(**defaults | {"step": number, "data": json.dumps(value), "file_list": "[]"} | fields)


def rows(count: int) -> list[Row]:
    return [row(step, {"thoughts": f"thought {step}"}) for step in range(count)]


def shown(stored: Row) -> ShownRow:
    """The row as it is read to be shown."""
    read = {name: getattr(stored, name) for name in ShownRow._fields}
    data = stored.data if stored.data is None else stored.data.encode("utf-8", "surrogatepass")
    return ShownRow(**read | {"id": stored.id or 1, "data": data})


def row_frame(interaction_id: str, stored: Row | None, offset: int, at: float) -> str:
    """The row's frame in replay.v1."""
    return encode_row(interaction_id, stored and shown(stored), offset, at).decode()


HELLO = ["interaction_id", "description", "user_name", "agent", "mode", "status"]
HELLO += ["epoch", "total", "duration", "markers", "live"]
ROW = ["data", "status", "message", "success", "current", "node_id", "workspace_file_list", "offset", "at", "time"]
STATE = ["type", "playing", "speed", "offset", "at", "total", "duration", "live", "recovered"]


T = TypeVar("T")


class CountingGateway(Gateway):
    """Counts the queries; while it is `down`, each fails."""

    count = 0
    down = False

    async def run(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        self.count += 1
        if self.down:
            raise OSError("the database is down")
        return await super().run(work)


class ModelClient:
    """A client of replay.v1 by the book: it always holds the rows 1…offset, and checks of every frame that it can.

    `rows` are those it holds; the other lists are all that has come. `asked`: the commands not yet answered.
    """

    def __init__(self, viewer: Viewer, rows: Sequence[Any] = ()) -> None:
        self.viewer = viewer
        self.rows = list(rows)
        self.hello: Any = None
        self.answers: list[Any] = []
        self.states: list[Any] = []
        self.errors: list[Any] = []
        self.ends: list[Any] = []
        self.batches: list[int] = []
        self.came: list[tuple[float, int]] = []
        self.pongs: list[float] = []
        self.asked: list[Mapping[str, Any]] = []
        self.ended = False
        self.connection = ""
        self._read = 0

    @property
    def offset(self) -> int:
        return len(self.read().rows)

    def read(self) -> ModelClient:
        """Take in what has come since."""
        for number in range(self._read, len(self.viewer.frames)):
            self._read += 1
            self._take(json.loads(self.viewer.frames[number]), self.viewer.times[number])
        return self

    def post(self, command: Mapping[str, Any]) -> None:
        """Send a command that is to be answered when it is its turn."""
        self.asked.append(command)
        self.viewer.post(command)

    async def ask(self, name: str, **fields: Any) -> Any:
        """Send a command, and return the answer: a state or an error."""
        answers = len(self.answers)
        self.post({"type": name, **fields})
        await until(lambda: len(self.read().answers) > answers or self.viewer.task.done())
        return self.answers[answers]

    def _take(self, frame: Any, time: float) -> None:
        if self.hello is None:
            self._take_hello(frame)
            return
        match frame.get("type", "row"):
            case "row":
                self._take_rows([frame], time)
            case "rows":
                assert list(frame) == ["type", "rows"] and 2 <= len(frame["rows"]) <= 64
                self._take_rows(frame["rows"], time)
            case "state":
                self._take_state(frame)
            case "end":
                assert list(frame) == ["type", "offset", "reason"]
                assert frame["reason"] in ("finished", "failed", "truncated")
                assert frame["offset"] == len(self.rows) and self.states[-1]["playing"] and not self.ended
                self.ended = True
                self.ends.append(frame)
            case "error":
                assert list(frame) == ["type", "code", "message", "temporary", "connection"]
                assert re.fullmatch("[0-9a-f]{12}", frame["connection"])
                assert self.connection in ("", frame["connection"])
                self.connection = frame["connection"]
                if frame["code"] in ("bad_field", "not_started"):
                    self.asked.pop(0)
                self.errors.append(frame)
                self.answers.append(frame)
            case "pong":
                assert list(frame) == ["type"]
                self.pongs.append(time)
            case other:
                raise AssertionError(f"there is no frame of type {other}")

    def _take_hello(self, frame: Any) -> None:
        assert list(frame) == ["status", "success", "message", "data"]
        assert (frame["status"], frame["success"], frame["message"]) == ("connect", True, "connect success")
        assert list(frame["data"]) == HELLO
        self.hello = frame["data"]

    def _take_rows(self, rows: Sequence[Any], time: float) -> None:
        state = self.states[-1]
        self.batches.append(len(rows))
        self.ended = False
        for row in rows:
            assert list(row) in (ROW, [*ROW, "data_url"])
            assert row["offset"] == len(self.rows) + 1, "a row is missing, or one came that the client holds"
            assert not self.rows or row["at"] >= self.rows[-1]["at"]
            assert state["playing"] or row["offset"] <= state["offset"], "a row came while the replay was paused"
            self.rows.append(row)
            self.came.append((time, row["offset"]))

    def _take_state(self, state: Any) -> None:
        assert list(state) == STATE
        assert 0 <= state["offset"] <= state["total"] and 0 <= state["at"] <= state["duration"]
        command = self.asked.pop(0)
        if command["type"] in ("shared", "replay"):
            kept = command.get("offset", 0) if state["recovered"] else 0
            claimed = range(len(self.rows) + 1, kept + 1)  # the client said that it holds them
            self.rows[kept:] = [{"offset": offset, "at": 0.0} for offset in claimed]
        else:
            assert state["recovered"] == self.states[-1]["recovered"]
        # Where the state is ahead of what it holds, the rows up to there come at once.
        del self.rows[state["offset"] :]
        self.ended = False
        self.states.append(state)
        self.answers.append(state)
