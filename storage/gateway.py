"""The ways to a database, which keep cancelled tasks, crowds, broken transactions and outages away from `databases`."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import databases
from databases.core import Connection
from databases.interfaces import Record
from sqlalchemy.sql import ClauseElement

from .database import CONNECT_SECONDS, abort, begin_statements, connections, file_of, is_sqlite
from .errors import DatabaseBusy, DatabaseError, DatabaseUnavailable, translate
from .locks import give_lock, take_lock

logger = logging.getLogger(__name__)

T = TypeVar("T")
Work = Callable[[Connection], Awaitable[T]]

ATTEMPTS = 3
"""How often a transaction is tried that another is in the way of."""

KEPT_CONNECTIONS = 4
"""On SQLite, where each has a thread and up to 2 MB of pages; opening one takes ten times as long as reading a page. No
more are opened then: their threads would wait for each other."""

READ_SECONDS = 15
TRANSACTION_SECONDS = 900
"""After which a call is given up whose answer hasn't come: a database that is silent holds up others no longer. What
writes has less to lose by waiting, and may be a recording of a million rows."""


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
    somebody still waits for it. At most `limit` calls run at once, half of them transactions; one that has not begun
    after `wait_seconds` raises `DatabaseUnavailable`, as does one that finds the database away, or has no answer in
    time: its connection is cut off then. Every method is safe to cancel: a call that has not begun never will, one that
    has goes on unseen. With `keep_connections`, those of SQLite, which has no pool, are kept until `drain`.
    """

    def __init__(
        self,
        database: databases.Database,
        *,
        limit: int | None = None,
        wait_seconds: float = 15.0,
        keep_connections: bool = False,
    ) -> None:
        self.database = database
        self._kept: list[tuple[Connection, object]] = []
        self._most_kept = KEPT_CONNECTIONS if keep_connections and is_sqlite(database) else 0
        limit = limit or self._most_kept or connections(database)
        self._free = asyncio.Semaphore(limit)
        self._free_for_writers = asyncio.Semaphore((limit + 1) // 2)
        self._wait_seconds = wait_seconds
        self._running: dict[asyncio.Future[None], Connection | None] = {}

    async def execute(self, query: ClauseElement | str) -> Any:
        return await self.run(lambda connection: connection.execute(query))

    async def transaction(self, work: Work[T], *, lock: str | None = None) -> T:
        """What `work(connection)` returns, once it is committed; any error in it takes everything back.

        With `lock`, no other transaction with the same one runs at the same time, in whichever process. `work` is
        called again where the database has taken it back because of another's.
        """

        async def run(connection: Connection) -> T:
            # Not `connection.transaction()`: when its COMMIT fails it keeps the connection, and the thread behind it.
            for statement in begin_statements(self.database):
                await connection.execute(statement)
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
                return await self.call(run, TRANSACTION_SECONDS, self._free_for_writers, self._free)
            await asyncio.sleep(random.uniform(0, 0.2))
        return await self.call(run, TRANSACTION_SECONDS, self._free_for_writers, self._free)

    async def run(self, work: Work[T]) -> T:
        return await self.call(work, READ_SECONDS, self._free)

    async def call(self, work: Work[T], seconds: float, *slots: asyncio.Semaphore) -> T:
        """The same, when each of the slots is free, and for so long."""
        taken: list[asyncio.Semaphore] = []

        def give_back() -> None:
            for slot in taken:
                slot.release()

        ended = self._begin(give_back)
        try:
            async with asyncio.timeout(self._wait_seconds):
                for slot in slots:
                    await slot.acquire()
                    taken.append(slot)
        except BaseException as error:
            ended.set_result(None)
            if isinstance(error, TimeoutError):
                why = f"database: no connection became free in {self._wait_seconds:g} s"
                raise DatabaseUnavailable(why) from None
            raise
        return await asyncio.shield(self._start(work, ended, seconds))

    def start(self, work: Work[T]) -> asyncio.Task[T]:
        """Run `work(connection)` besides all that is counted, for as long as it takes. Not to be cancelled."""
        return self._start(work, self._begin(), None)

    def _begin(self, done: Callable[[], None] = lambda: None) -> asyncio.Future[None]:
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._running[ended] = None

        def finish(ended: asyncio.Future[None]) -> None:
            del self._running[ended]

        ended.add_done_callback(finish)
        ended.add_done_callback(lambda _: done())
        return ended

    def _start(self, work: Work[T], ended: asyncio.Future[None], seconds: float | None) -> asyncio.Task[T]:
        task = asyncio.create_task(self._run(work, ended, seconds), name="database")

        def finished(task: asyncio.Task[T]) -> None:
            ended.set_result(None)
            if not task.cancelled() and (error := task.exception()):
                logger.debug("database call failed: %s", error)  # marks it as seen, where nobody waits any more

        task.add_done_callback(finished)
        return task

    async def _run(self, work: Work[T], ended: asyncio.Future[None], seconds: float | None) -> T:
        watch: asyncio.TimerHandle | None = None
        try:
            connection, file = await self._connect()
            self._running[ended] = connection
            if seconds is not None and not self._most_kept:
                watch = asyncio.get_running_loop().call_later(seconds, abort, connection)
            try:
                result = await work(connection)
            except BaseException:
                await connection.__aexit__()
                raise
            # One that has stored something may have been given more memory for that.
            if seconds == READ_SECONDS and len(self._kept) < self._most_kept:
                self._kept.append((connection, file))
            else:
                await connection.__aexit__()
            return result
        except DatabaseError as error:
            raise self.named(error) from error.__cause__
        except Exception as error:
            if (translated := translate(error)) is None:
                raise
            raise self.named(translated) from error
        finally:
            if watch is not None:
                watch.cancel()

    async def _connect(self) -> tuple[Connection, object]:
        while self._kept:
            connection, file = self._kept.pop()
            if file == file_of(self.database):
                return connection, file
            await connection.__aexit__()  # the file was moved, or replaced by another
        file = file_of(self.database) if self._most_kept else None
        connection = self.database.connection()
        try:
            async with asyncio.timeout(None if is_sqlite(self.database) else 2 * CONNECT_SECONDS):
                await connection.__aenter__()
        except OSError as error:  # in `work` it may be about a file, here it is about the connection
            raise DatabaseUnavailable(str(error) or "no connection in time") from error
        return connection, file

    def named(self, error: DatabaseError) -> DatabaseError:
        """The error with the database's name in its message, and no password."""
        name = f"database {self.database.url.obscure_password}: "
        return error if str(error).startswith("database") else type(error)(f"{name}{error}")

    async def drain(self, seconds: float | None = None) -> None:
        """Wait for the calls of now, also those that nobody waits for any more.

        Those that take longer than `seconds` are cut off. Whoever disconnects the database does this first.
        """
        if self._running:
            _, late = await asyncio.wait(tuple(self._running), timeout=seconds)
            for ended in late:
                if (connection := self._running.get(ended)) is not None:
                    abort(connection)
            if late:
                await asyncio.wait(late, timeout=seconds)
        while self._kept:
            await self._kept.pop()[0].__aexit__()


async def _roll_back(connection: Connection) -> None:
    try:
        await connection.execute("ROLLBACK")
        await give_lock(connection)
    except Exception as error:
        logger.debug("rollback: %s", error)  # the connection is gone, and the transaction with it
