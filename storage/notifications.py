"""Tells who follows a run that something was written to it, at once, where the database can: on Postgres."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from databases.core import Connection

from .database import can_listen, is_postgres
from .gateway import Gateway

logger = logging.getLogger(__name__)

CHANNEL = "replay_share_written"
RETRY_SECONDS = 1.0


async def notify(connection: Connection, interaction_id: str) -> None:
    """Inside of a transaction: when it is committed, all processes are told that the run was written to."""
    if is_postgres(connection._database):
        await connection.fetch_one("SELECT pg_notify(:channel, :id)", {"channel": CHANNEL, "id": interaction_id})


class Notifications:
    """What is told, by the interaction's id. Listens, with a connection of its own, while somebody wants to know.

    Not to be relied on: what XAgent writes is not told, nor anything while the connection is lost, or with no gateway.
    """

    def __init__(self, gateway: Gateway | None = None) -> None:
        self._gateway = gateway
        self._wanted: dict[str, set[asyncio.Event]] = {}
        self._listener: asyncio.Task[None] | None = None
        self._over = asyncio.Event()

    @contextmanager
    def of(self, interaction_id: str) -> Iterator[asyncio.Event]:
        """An event that is set whenever the run was written to, while the block runs."""
        written = asyncio.Event()
        self._wanted.setdefault(interaction_id, set()).add(written)
        if self._listener is None and self._gateway is not None and can_listen(self._gateway.database):
            self._listener = asyncio.create_task(self._run(self._gateway), name="notifications")
        try:
            yield written
        finally:
            self._wanted[interaction_id].discard(written)
            if not self._wanted[interaction_id]:
                del self._wanted[interaction_id]
            if not self._wanted:
                self._over.set()

    async def _run(self, gateway: Gateway) -> None:
        try:
            while self._wanted:
                self._over.clear()
                try:
                    await gateway.start(self._listen)
                except Exception as error:  # whatever it is, followers also ask by themselves
                    logger.info("can't listen to what is written: %s", error)
                    await asyncio.sleep(RETRY_SECONDS)
        finally:
            self._listener = None

    async def _listen(self, connection: Connection) -> None:
        raw = connection.raw_connection
        raw.add_termination_listener(self._lost)
        await raw.add_listener(CHANNEL, self._tell)
        try:
            if self._wanted:
                await self._over.wait()
        finally:
            raw.remove_termination_listener(self._lost)
            await raw.remove_listener(CHANNEL, self._tell)

    def _lost(self, _: Any) -> None:
        self._over.set()

    def _tell(self, connection: Any, process: int, channel: str, interaction_id: str) -> None:
        for written in self._wanted.get(interaction_id, ()):
            written.set()
