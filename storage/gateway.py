"""The ways to a database, which keep cancelled tasks, crowds, broken transactions and outages away from `databases`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import databases
from databases.core import Connection
from databases.interfaces import Record
from sqlalchemy import text
from sqlalchemy.sql import ClauseElement

from .database import CONNECTIONS, is_sqlite
from .errors import DatabaseBusy, DatabaseError, DatabaseUnavailable, translate
from .locks import give_lock, take_lock

logger = logging.getLogger(__name__)

T = TypeVar("T")
Work = Callable[[Connection], Awaitable[T]]

ATTEMPTS = 5
"""How often a transaction is tried that another is in the way of."""

ASK_SECONDS = 0.25
"""How often a database that is away is asked whether it is back."""


class Reader:
    """A way to read. Every method is safe to cancel and raises `DatabaseError`."""

    async def run(self, work: Work[T]) -> T:
        """What `work(connection)` returns; each of its statements is committed by itself."""
        raise NotImplementedError

    async def fetch_all(self, query: ClauseElement) -> Sequence[Record]:
        return await self.run(lambda connection: connection.fetch_all(query))

    async def fetch_one(self, query: ClauseElement) -> Record | None:
        return await self.run(lambda connection: connection.fetch_one(query))


class Gateway(Reader):
    """The one way to a `databases.Database`.

    A cancelled task inside `databases` loses its connection for good, so what runs here runs to its end whether or not
    somebody still waits for it. At most `limit` calls run at once; one that has not begun after `wait_seconds` raises
    `DatabaseUnavailable`, as does one that finds the database away. Every method is safe to cancel: a call that has not
    begun never will, one that has goes on unseen.
    """

    def __init__(self, database: databases.Database, *, limit: int = CONNECTIONS, wait_seconds: float = 30.0) -> None:
        self.database = database
        self._free = asyncio.Semaphore(limit)
        self._wait_seconds = wait_seconds
        self._running: set[asyncio.Task[Any]] = set()

    async def execute(self, query: ClauseElement | str) -> Any:
        return await self.run(lambda connection: connection.execute(query))

    async def transaction(self, work: Work[T], *, lock: str | None = None) -> T:
        """What `work(connection)` returns, once it is committed; any error in it takes everything back.

        With `lock`, no other transaction with the same one runs at the same time, in whichever process. `work` is
        called again where the database has taken it back because of another's.
        """
        # SQLite takes its write lock at the start: a transaction that reads first and then writes would fail at once
        # when another has written in between.
        begin = "BEGIN IMMEDIATE" if is_sqlite(self.database) else "BEGIN"

        async def run(connection: Connection) -> T:
            # Not `connection.transaction()`: when its COMMIT fails it keeps the connection, and the thread behind it.
            await connection.execute(begin)
            try:
                if lock is not None:
                    await take_lock(connection, lock)
                result = await work(connection)
                await connection.execute("COMMIT")
            except BaseException:
                await _roll_back(connection)
                raise
            if lock is not None:
                await give_lock(connection)
            return result

        for _ in range(ATTEMPTS - 1):
            with suppress(DatabaseBusy):
                return await self.run(run)
        return await self.run(run)

    async def run(self, work: Work[T]) -> T:
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._free.acquire()
        except TimeoutError:
            raise DatabaseUnavailable(f"database: no connection became free in {self._wait_seconds:g} s") from None
        return await asyncio.shield(self.start(work, self._free.release))

    def start(self, work: Work[T], done: Callable[[], None] = lambda: None) -> asyncio.Task[T]:
        """Run `work(connection)` besides all that is counted; `done` is called at its end. Not to be cancelled."""
        task = asyncio.create_task(self._run(work), name="database")
        self._running.add(task)

        def finished(task: asyncio.Task[T]) -> None:
            self._running.discard(task)
            done()
            if not task.cancelled() and (error := task.exception()):
                logger.debug("database call failed: %s", error)  # marks it as seen, where nobody waits any more

        task.add_done_callback(finished)
        return task

    async def _run(self, work: Work[T]) -> T:
        try:
            connection = self.database.connection()
            try:
                await connection.__aenter__()
            except OSError as error:  # in `work` it may be about a file, here it is about the connection
                raise DatabaseUnavailable(str(error)) from error
            try:
                return await work(connection)
            finally:
                await connection.__aexit__()
        except DatabaseError as error:
            raise self.named(error) from error.__cause__
        except Exception as error:
            if (translated := translate(error)) is None:
                raise
            raise self.named(translated) from error

    def named(self, error: DatabaseError) -> DatabaseError:
        """The error with the database's name in its message, and no password."""
        name = f"database {self.database.url.obscure_password}: "
        return error if str(error).startswith("database") else type(error)(f"{name}{error}")

    async def drain(self) -> None:
        """Wait for the calls that are running now, also those that nobody waits for any more.

        Whoever disconnects the database does this first.
        """
        if self._running:
            await asyncio.wait(tuple(self._running))


async def _roll_back(connection: Connection) -> None:
    try:
        await connection.execute("ROLLBACK")
        await give_lock(connection)
    except Exception as error:
        logger.debug("rollback: %s", error)  # the connection is gone, and the transaction with it


@asynccontextmanager
async def connected(gateway: Gateway, patience_seconds: float = 0) -> AsyncIterator[None]:
    """Have the database connected while the block runs, and all calls at their end before it is disconnected.

    One that is away is asked again for `patience_seconds`. Raises `DatabaseError`.
    """
    try:
        await _connect(gateway, patience_seconds)
        yield
    finally:
        await gateway.drain()
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
        deadline: float | None = None
        while True:
            try:
                return await self._gateway.run(work)
            except DatabaseUnavailable as error:
                failed = time()
                if deadline is None:
                    deadline = failed + self._patience_seconds
                try:
                    async with asyncio.timeout_at(deadline):
                        await self._wait_for_an_answer(failed, error)
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
