"""Opens a database by its URL, and what is different between them."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import databases
from databases.core import Connection, DatabaseURL
from sqlalchemy import Table

from .errors import DatabaseError

CONNECTIONS = 8
"""How many calls run at once in a process: ten thousand viewers need no more, and twenty processes spare the server."""

CONNECT_SECONDS = 10
STATEMENT_SECONDS = 60
SQLITE_BUSY_SECONDS = 30.0

_EXTRAS = {"asyncpg": "postgres", "aiomysql": "mysql", "asyncmy": "asyncmy"}
_DRIVERS = {"postgresql": ("asyncpg",), "postgres": ("asyncpg",), "mysql": ("aiomysql", "asyncmy")}
"""The drivers of each kind, the first of which is meant where the URL names none."""


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
        kind, _ = parsed.dialect, parsed.port  # a port that is no number is found now
    except ValueError:
        kind = ""  # what is wrong isn't repeated: there may be a password in it
    if kind == "sqlite":
        return _open_sqlite(parsed)
    if kind not in _DRIVERS:
        raise DatabaseError("database URL: expected sqlite:///<file>, postgresql://… or mysql://…, got something else")
    driver = parsed.driver or _DRIVERS[kind][0]
    if driver not in _DRIVERS[kind]:
        raise DatabaseError(f"database URL: expected {kind}:// with {' or '.join(_DRIVERS[kind])}, got {driver}")
    if not parsed.database:
        raise DatabaseError(f"database URL: expected the name of a database, as in {kind}://host/name")
    _check_options(parsed, driver)
    try:
        return databases.Database(url, **_options(parsed))
    except ImportError as error:
        raise DatabaseError(
            f"database URL: {driver} is needed ({error}): pip install 'replay-share[{_EXTRAS[driver]}]'"
        ) from None


def _check_options(url: DatabaseURL, driver: str) -> None:
    for name, value in url.options.items():
        least = {"max_size": 1, "min_size": 0}.get(name)
        if least is not None and (not re.fullmatch("[0-9]{1,4}", value) or int(value) < least):
            raise DatabaseError(f"database URL: {name} must be a whole number from {least}, got {value[:40]!r}")
        if name == "ssl" and driver == "aiomysql":
            # It goes on without, and says nothing, where the server has no TLS.
            raise DatabaseError("database URL: ssl is for mysql+asyncmy://, which fails where there is no TLS")
        if name == "ssl" and driver == "asyncmy" and value.lower() not in ("true", "false"):
            raise DatabaseError(f"database URL: ssl must be true or false, got {value[:40]!r}")
        if name not in ("max_size", "min_size", "ssl", "pool_recycle", "unix_socket"):
            raise DatabaseError(f"database URL: expected max_size, min_size or ssl behind the '?', got {name[:40]!r}")


def _options(url: DatabaseURL) -> dict[str, Any]:
    # One connection more than calls: it waits for what is written elsewhere. None is kept open for nothing: asyncpg
    # would try to open it again while the database is away, and fill the log. What the URL says goes first.
    options: dict[str, Any] = {"min_size": 0, "max_size": CONNECTIONS + 1}
    options = {name: value for name, value in options.items() if name not in url.options}
    if url.dialect != "mysql":
        return options | {
            "timeout": CONNECT_SECONDS,
            "command_timeout": STATEMENT_SECONDS,
            "server_settings": {"application_name": "replay-share"},
        }
    # In a mode of its own: nothing is cut off silently, and a transaction sees what others have committed.
    options |= {"charset": "utf8mb4", "connect_timeout": CONNECT_SECONDS, "sql_mode": "STRICT_ALL_TABLES"}
    options["init_command"] = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"
    return options | ({"read_timeout": STATEMENT_SECONDS} if url.driver == "asyncmy" else {})


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


async def expect_many(connection: Connection) -> None:
    """Say that many rows are going to be inserted on a connection."""
    if is_sqlite(connection._database):
        # Keys are strewn all over an index: SQLite's own 2 MB would be written out, and read again, all the time.
        await connection.execute("PRAGMA cache_size = -16384")


async def insert_many(
    connection: Connection, table: Table, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]
) -> None:
    """Insert rows of values in the order of `columns`, each value as it is for the driver."""
    # SQLAlchemy would compile each statement anew, which takes twenty times as long as what it does.
    count = len(columns)
    dialect = connection._database.url.dialect
    marks = {"sqlite": ["?"] * count, "mysql": ["%s"] * count}
    places = marks.get(dialect, [f"${number + 1}" for number in range(count)])
    statement = f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({', '.join(places)})"
    if dialect == "mysql":
        async with connection.raw_connection.cursor() as cursor:
            await cursor.executemany(statement, rows)
    else:
        await connection.raw_connection.executemany(statement, rows)


def is_sqlite(database: databases.Database) -> bool:
    """Whether `database` is SQLite: a few statements are its own."""
    return database.url.dialect == "sqlite"


def file_of(database: databases.Database) -> object:
    """Which file a database of SQLite is now, by other means than its name; None where there is none."""
    try:
        stat = os.stat(database.url.database)  # noqa: PTH116 - asked for each call: a Path takes longer than the rest
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def is_postgres(database: databases.Database) -> bool:
    """Whether `database` speaks Postgres' protocol."""
    return database.url.dialect in ("postgresql", "postgres")


def fitting(database: databases.Database, text: str) -> str:
    """The text as a column of the type TEXT can hold it, where what is said matters more than every character."""
    match database.url.dialect:
        case "mysql":
            return text[:16_000]  # 64 KiB, a character of which takes up to four bytes
        case "postgresql" | "postgres":
            return text.replace("\0", "\ufffd")
    return text


async def table_names(connection: Connection) -> set[str]:
    """The names of the tables that a query of this user can read, in whichever schema; views, too, but on SQLite."""
    match connection._database.url.dialect:
        case "sqlite":
            query = "SELECT name FROM sqlite_master WHERE type = 'table'"
        case "mysql":
            query = "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = database()"
        case _:
            # XAgent's tables may lie in another schema of the search path than those that this user may make.
            query = (
                "SELECT relname AS name FROM pg_catalog.pg_class WHERE relkind IN ('r', 'p', 'v', 'm', 'f')"
                " AND pg_catalog.pg_table_is_visible(oid) AND pg_catalog.has_table_privilege(oid, 'SELECT')"
            )
    return {str(record["name"]) for record in await connection.fetch_all(query)}


def connections(database: databases.Database) -> int:
    """How many calls may run at once: one less than the pool has, which is for listening."""
    if is_sqlite(database):
        return CONNECTIONS
    return max(1, _pool_size(database) - 1)


def can_listen(database: databases.Database) -> bool:
    """Whether it tells what is written, and its pool has a connection to spare for that."""
    return is_postgres(database) and _pool_size(database) > 1


def _pool_size(database: databases.Database) -> int:
    return int(database.url.options.get("max_size", database.options.get("max_size", 10)))


def begin_statements(database: databases.Database) -> tuple[str, ...]:
    """What begins a transaction. It waits for another's lock for 5 s, not for as long as the server likes."""
    if is_sqlite(database):
        # With the write lock: one that reads first and then writes fails at once when another has written in between.
        return ("BEGIN IMMEDIATE",)
    if is_postgres(database):
        return ("BEGIN", "SET LOCAL lock_timeout = '5s'")
    return ("SET SESSION innodb_lock_wait_timeout = 5", "BEGIN")


def abort(connection: Connection) -> None:
    """Cut a connection off, whatever it waits for: what runs on it fails. Not on SQLite, where nothing is far away."""
    if not is_sqlite(connection._database):
        with contextlib.suppress(Exception):  # none has been acquired yet, or it is gone already
            raw = connection.raw_connection
            (raw.terminate if is_postgres(connection._database) else raw.close)()
