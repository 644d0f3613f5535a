"""The database that the tests run on: SQLite, or what `pytest --database` says."""

from __future__ import annotations

import asyncio
import hashlib
import re
import sqlite3
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

KINDS = ("sqlite", "postgresql", "mysql", "mysql+asyncmy")
HOSTS = {
    "postgresql": "postgresql://postgres@127.0.0.1:5432",
    "mysql": "mysql://root@127.0.0.1:3306",
    "mysql+asyncmy": "mysql+asyncmy://root@127.0.0.1:3306",
}
PATIENCE_SECONDS = 60

# To make a database takes Postgres half a second: there it is a schema, and a user of the same name who finds it.
# The character set is not the one that we need: what is stored must not depend on the server's settings.
_MAKE = (
    ("CREATE DATABASE {name} CHARACTER SET latin1",),
    (
        "CREATE ROLE {name} LOGIN",
        "ALTER ROLE {name} SET synchronous_commit = off",
        "CREATE SCHEMA AUTHORIZATION {name}",
    ),
)
_DROP = (
    ("DROP DATABASE IF EXISTS {name}",),
    (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{name}'",
        "DROP SCHEMA IF EXISTS {name} CASCADE",
        "DROP ROLE IF EXISTS {name}",
    ),
)

NO_TABLE = re.compile("no such table|does not exist|doesn't exist")

Rows = list[tuple[Any, ...]]


class Databases:
    """Makes a database of its own for each base dir, and removes it."""

    def __init__(self) -> None:
        self.kind = "sqlite"
        self._made: dict[Path, str] = {}
        self._connection: Connection | None = None

    def url(self, base_dir: Path) -> str:
        """The database of a server whose files lie in `base_dir`: the same each time."""
        if self.kind == "sqlite":
            return f"sqlite:///{quote(str(base_dir / 'replay.db'))}"
        place = base_dir.resolve()
        if place not in self._made:
            self._made[place] = name = f"test_{hashlib.sha256(str(place).encode()).hexdigest()[:24]}"
            self._drop(name)
            for statement in _MAKE[self.kind == "postgresql"]:
                self._main(statement.format(name=name))
        name = self._made[place]
        if self.kind == "postgresql":
            return f"{HOSTS[self.kind].replace('postgres@', f'{name}@')}/test"
        return f"{HOSTS[self.kind]}/{name}"

    def variables(self, folder: Path, variables: dict[str, str]) -> dict[str, str]:
        """What must be set so that a program that runs in `folder` uses it, unless `variables` name one."""
        if self.kind == "sqlite" or "SHARE_DATABASE_URL" in variables:
            return {}
        base_dir = folder / variables.get("SHARE_BASE_DIR", "data")
        return {"SHARE_DATABASE_URL": self.url(base_dir), "SHARE_CREATE_TABLES": "1"}

    def remove(self, folder: Path) -> None:
        """Remove the databases of all base dirs in `folder`."""
        for place in [place for place in self._made if place.is_relative_to(folder.resolve())]:
            self._drop(self._made.pop(place))

    def close(self) -> None:
        """Remove all of them."""
        self.remove(Path("/"))
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _drop(self, name: str) -> None:
        for statement in _DROP[self.kind == "postgresql"]:
            self._main(statement.format(name=name))

    def connect(self) -> None:
        """Open the connection by which databases are made and removed, where that isn't so yet."""
        if self._connection is None and self.kind != "sqlite":
            self._connection = Connection(f"{HOSTS[self.kind]}/test")
            self._connection("SELECT 1")

    def _main(self, statement: str) -> None:
        self.connect()
        assert self._connection is not None
        self._connection(statement)


databases = Databases()


def database_url(base_dir: Path) -> str:
    """The database of a server whose files lie in `base_dir`."""
    return databases.url(base_dir)


def execute(url: str, statement: str, *values: Any) -> Rows:
    """Do in a database what somebody else does there; what it answers."""
    with connection(url) as run:
        return run(statement, *values)


class Connection:
    """A connection past the code, to whatever database it is: `?` stands for a value, each statement is committed."""

    def __init__(self, url: str) -> None:
        self._thread = ThreadPoolExecutor(1)  # a loop may be running already, where this is used
        self._url = urlsplit(url)
        self._whole_url = url
        self._connection: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __call__(self, statement: str, *values: Any) -> Rows:
        return self._thread.submit(self._execute, statement, values).result(PATIENCE_SECONDS)

    def _execute(self, statement: str, values: tuple[Any, ...]) -> Rows:
        if self._url.scheme == "sqlite":
            return self._in_sqlite(statement, values)
        if self._url.scheme.startswith("mysql"):
            return self._in_mysql(statement, values)
        return self._in_postgres(statement, values)

    def _in_sqlite(self, statement: str, values: tuple[Any, ...]) -> Rows:
        from databases.core import DatabaseURL

        if self._connection is None:
            file = DatabaseURL(self._whole_url).database
            self._connection = sqlite3.connect(file, timeout=PATIENCE_SECONDS, isolation_level=None)
        found: Rows = self._connection.execute(statement, values).fetchall()
        return found

    def _in_mysql(self, statement: str, values: tuple[Any, ...]) -> Rows:
        import pymysql

        if self._connection is None:
            self._connection = pymysql.connect(
                host=self._url.hostname or "",
                port=self._url.port or 3306,
                user=self._url.username,
                password=self._url.password or "",
                database=self._url.path[1:],
                autocommit=True,
                charset="utf8mb4",
            )
        with self._connection.cursor() as cursor:
            cursor.execute(statement.replace("%", "%%").replace("?", "%s") if values else statement, values or None)
            return list(cursor.fetchall())

    def _in_postgres(self, statement: str, values: tuple[Any, ...]) -> Rows:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        numbers = iter(range(1, 100))
        numbered = re.sub(r"\?", lambda _: f"${next(numbers)}", statement)
        return self._loop.run_until_complete(self._ask_postgres(numbered, values))

    async def _ask_postgres(self, statement: str, values: tuple[Any, ...]) -> Rows:
        import asyncpg

        if self._connection is None:
            self._connection = await asyncpg.connect(self._whole_url)
        return [tuple(record) for record in await self._connection.fetch(statement, *values)]

    def close(self) -> None:
        self._thread.submit(self._close).result()
        self._thread.shutdown()

    def _close(self) -> None:
        if self._connection is not None:
            closed = self._connection.close()
            if self._loop is not None and isinstance(closed, Coroutine):
                self._loop.run_until_complete(closed)
        if self._loop is not None:
            self._loop.close()


@contextmanager
def no_table_yet() -> Iterator[None]:
    """Pass over that there is no such table, whichever driver says so."""
    try:
        yield
    except Exception as error:
        if not NO_TABLE.search(str(error)):
            raise


@contextmanager
def connection(url: str) -> Iterator[Connection]:
    """A connection past the code, for what only others do."""
    with closing(Connection(url)) as opened:
        yield opened
