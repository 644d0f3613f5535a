"""Opens a database by its URL, and keeps cancelled tasks, crowds and broken transactions away from `databases`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import databases
from databases.core import Connection, DatabaseURL
from databases.interfaces import Record
from sqlalchemy import Table
from sqlalchemy.sql import ClauseElement

logger = logging.getLogger(__name__)

T = TypeVar("T")

SQLITE_BUSY_SECONDS = 30.0


class DatabaseError(Exception):
    """The database can't do what was asked; the message says why and what would help."""


class _SQLiteConnection(sqlite3.Connection):
    # `databases` opens a connection for every query on SQLite, so what holds for one connection is set here.
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # A text that is no UTF-8 must spoil one row, not the page that it is in.
        self.text_factory = lambda stored: stored.decode("utf-8", "surrogateescape")
        try:
            self.execute("PRAGMA foreign_keys = ON")
            self.execute("PRAGMA synchronous = NORMAL")
            with contextlib.suppress(sqlite3.OperationalError):  # a file that can't be written is read as it is
                self.execute("PRAGMA journal_mode = WAL")
        except BaseException:
            self.close()
            raise


def open_database(url: str) -> databases.Database:
    """A `databases.Database` for `url`, tuned for its kind and not yet connected: enter it with `async with`.

    For SQLite the folder of the file is made. Raises `DatabaseError` for a URL that can't work.
    """
    try:
        parsed = DatabaseURL(url)
        kind = parsed.dialect
    except ValueError:
        kind = ""  # what is wrong isn't repeated: there may be a password in it
    if kind not in ("sqlite", "postgresql", "postgres", "mysql"):
        raise DatabaseError("database URL: expected sqlite:///<file>, postgresql://… or mysql://…, got something else")
    if kind == "sqlite":
        return _open_sqlite(parsed)
    try:
        return databases.Database(url)
    except ImportError as error:
        raise DatabaseError(f"database URL: {parsed.scheme}:// needs a driver that isn't there: {error}") from None


def _open_sqlite(url: DatabaseURL) -> databases.Database:
    if url.options:
        raise DatabaseError("database URL: SQLite takes no options after '?', they would be part of the file's name")
    if url.netloc or url.components.fragment or "\0" in url.database:
        raise DatabaseError("database URL: expected sqlite:/// and the file, with # as %23 and no NUL in it")
    if url.database in ("", ":memory:"):
        raise DatabaseError("database URL: SQLite needs a file (sqlite:///replay.db): in memory it forgets everything")
    try:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        # Tried here: where aiosqlite fails to connect, its thread may outlive the loop, and complains about that.
        connection = sqlite3.connect(url.database, timeout=SQLITE_BUSY_SECONDS, factory=_SQLiteConnection)
        with contextlib.closing(connection):
            connection.execute("SELECT name FROM sqlite_master").fetchone()
    except (OSError, sqlite3.Error) as error:
        raise DatabaseError(f"database file {url.database}: {error}") from None
    return databases.Database(url, timeout=SQLITE_BUSY_SECONDS, factory=_SQLiteConnection)


async def insert_many(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows that all have the same columns, each value as it is for the driver."""
    if is_sqlite(connection._database):
        # SQLAlchemy would compile each statement anew, which takes twenty times as long as what it does.
        columns = ", ".join(f'"{name}"' for name in rows[0])
        statement = f'INSERT INTO "{table.name}" ({columns}) VALUES ({", ".join("?" * len(rows[0]))})'
        await connection.raw_connection.executemany(statement, [tuple(row.values()) for row in rows])
    else:
        await connection.execute(table.insert().values(rows))


def is_sqlite(database: databases.Database) -> bool:
    """Whether `database` is SQLite: a few statements are its own."""
    return database.url.dialect == "sqlite"


async def table_names(connection: Connection) -> set[str]:
    """The names of the tables in the database (on Postgres: in the current schema)."""
    query = "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = "
    match connection._database.url.dialect:
        case "sqlite":
            query = "SELECT name FROM sqlite_master WHERE type = 'table'"
        case "mysql":
            query += "database()"
        case _:
            query += "current_schema()"
    return {record["name"] for record in await connection.fetch_all(query)}


class Gateway:
    """The one way to a `databases.Database`.

    A cancelled task inside `databases` loses its connection for good, so what runs here runs to its end whether or not
    somebody still waits for it. At most `limit` calls run at once; one that has not begun after `wait_seconds` raises
    `DatabaseError`. Every method is safe to cancel: a call that has not begun never will, one that has goes on unseen.
    """

    def __init__(self, database: databases.Database, *, limit: int = 8, wait_seconds: float = 30.0) -> None:
        self.database = database
        self._free = asyncio.Semaphore(limit)
        self._wait_seconds = wait_seconds
        self._running: set[asyncio.Task[Any]] = set()

    async def fetch_all(self, query: ClauseElement) -> Sequence[Record]:
        return await self.run(lambda connection: connection.fetch_all(query))

    async def fetch_one(self, query: ClauseElement) -> Record | None:
        return await self.run(lambda connection: connection.fetch_one(query))

    async def execute(self, query: ClauseElement | str) -> Any:
        return await self.run(lambda connection: connection.execute(query))

    async def transaction(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """What `work(connection)` returns, once it is committed; any error in it takes everything back.

        SQLite takes its write lock at the start: a transaction that reads first and then writes would fail at once when
        another has written in between.
        """
        begin = "BEGIN IMMEDIATE" if is_sqlite(self.database) else "BEGIN"

        async def run(connection: Connection) -> T:
            # Not `connection.transaction()`: when its COMMIT fails it keeps the connection, and the thread behind it.
            await connection.execute(begin)
            try:
                result = await work(connection)
                await connection.execute("COMMIT")
            except BaseException:
                try:
                    await connection.execute("ROLLBACK")
                except Exception as error:
                    logger.debug("rollback: %s", error)  # the connection is gone, and the transaction with it
                raise
            return result

        return await self.run(run)

    async def run(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """What `work(connection)` returns; each of its statements is committed by itself."""
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._free.acquire()
        except TimeoutError:
            raise DatabaseError(f"database: no connection became free in {self._wait_seconds:g} s") from None
        task = asyncio.create_task(self._run(work), name="database")
        self._running.add(task)
        task.add_done_callback(self._finished)
        return await asyncio.shield(task)

    async def _run(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        try:
            async with self.database.connection() as connection:
                return await work(connection)
        except sqlite3.Error as error:
            raise DatabaseError(f"database {self.database.url.obscure_password}: {error}") from error

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        self._free.release()
        if not task.cancelled() and (error := task.exception()):
            logger.debug("database call failed: %s", error)  # marks it as seen, where nobody waits any more

    async def drain(self) -> None:
        """Wait for the calls that are running now, also those that nobody waits for any more.

        Whoever disconnects the database does this first.
        """
        if self._running:
            await asyncio.wait(tuple(self._running))
