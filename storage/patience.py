"""For a database that is away: how long it is waited for, by a start and by who watches."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from sqlalchemy import text

from .database import is_sqlite
from .errors import DatabaseError, DatabaseUnavailable, translate
from .gateway import Gateway, Reader, T, Work

logger = logging.getLogger(__name__)

ASK_SECONDS = 0.25
"""How often a database that is away is asked whether it is back."""

STOP_SECONDS = 10
"""How long what still runs may take, when the database is disconnected."""


@asynccontextmanager
async def connected(gateway: Gateway, patience_seconds: float = 0) -> AsyncIterator[None]:
    """Have the database connected while the block runs, and all calls at their end before it is disconnected.

    One that is away is asked again for `patience_seconds`. Raises `DatabaseError`.
    """
    try:
        await _connect(gateway, patience_seconds)
        yield
    finally:
        limit = None if is_sqlite(gateway.database) else STOP_SECONDS
        await gateway.drain(limit)
        with suppress(TimeoutError):  # what can't be closed in time is dropped
            async with asyncio.timeout(limit):
                await gateway.database.disconnect()


async def _connect(gateway: Gateway, patience_seconds: float) -> None:
    loop = asyncio.get_running_loop()
    deadline, said = loop.time() + patience_seconds, False
    while True:
        try:
            await gateway.database.connect()
            await gateway.fetch_one(text("SELECT 1"))
            return
        except Exception as failure:
            if (error := _in_our_words(failure)) is None:
                raise
            error = gateway.named(error)
            if not isinstance(error, DatabaseUnavailable) or loop.time() >= deadline:
                raise error from failure
            if not said:
                logger.warning("%s; waiting for it", error)
                said = True
        await asyncio.sleep(ASK_SECONDS)


def _in_our_words(failure: Exception) -> DatabaseError | None:
    if isinstance(failure, DatabaseError):
        return failure
    return DatabaseUnavailable(str(failure)) if isinstance(failure, OSError) else translate(failure)


class PatientReader(Reader):
    """For who can wait: what finds the database away is asked again when it is back.

    Whoever has waited for `patience_seconds` gets the `DatabaseUnavailable` after all. However many wait, one asks.
    """

    def __init__(self, gateway: Gateway, patience_seconds: float) -> None:
        self._gateway = gateway
        self._patience_seconds = patience_seconds
        self._asking = asyncio.Lock()
        self._answered = float("-inf")

    async def run(self, work: Work[T]) -> T:
        time = asyncio.get_running_loop().time
        deadline = time() + self._patience_seconds
        while True:
            try:
                return await self._gateway.run(work)
            except DatabaseUnavailable as error:
                try:
                    async with asyncio.timeout_at(deadline):
                        await self._wait_for_an_answer(time(), error)
                except TimeoutError:
                    raise error from None

    async def _wait_for_an_answer(self, failed: float, error: DatabaseError) -> None:
        async with self._asking:
            if self._answered < failed:
                logger.warning("%s; who watches waits for it", error)
            while self._answered < failed:
                await asyncio.sleep(ASK_SECONDS)
                with suppress(DatabaseUnavailable):
                    await self._gateway.fetch_one(text("SELECT 1"))
                    self._answered = asyncio.get_running_loop().time()
                    logger.info("the database is back")
