"""The database that the tests run on: SQLite, or what `pytest --database` says."""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import sys
import uuid
from collections.abc import Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

KINDS = ("sqlite", "postgresql", "mysql", "mysql+asyncmy")
_POSTGRES = os.environ.get("TEST_POSTGRESQL_URL", "postgresql://postgres@127.0.0.1:5432/postgres")
_MYSQL = os.environ.get("TEST_MYSQL_URL", "mysql://root@127.0.0.1:3306/mysql")
SERVERS = {"postgresql": _POSTGRES, "mysql": _MYSQL, "mysql+asyncmy": _MYSQL.replace("mysql:", "mysql+asyncmy:", 1)}
"""Where somebody is who may make databases and users."""

PATIENCE_SECONDS = 60

# To make a database takes Postgres half a second: each test has a schema there, and a user of its name who finds it.
# The character set is not the one that we need: what is stored must not depend on the server's settings.
_MAKE = {
    "mysql": ("CREATE DATABASE {name} CHARACTER SET latin1",),
    "postgresql": (
        "CREATE ROLE {name} LOGIN PASSWORD '{name}'",
        "ALTER ROLE {name} SET synchronous_commit = off",
        "CREATE SCHEMA AUTHORIZATION {name}",
    ),
}
_DROP = {
    "mysql": ("DROP DATABASE {name}",),
    "postgresql": (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{name}'",
        "DROP SCHEMA {name} CASCADE",
        "DROP ROLE {name}",
    ),
}

NO_TABLE = re.compile("no such table|does not exist|doesn't exist")

Rows = list[tuple[Any, ...]]


class Databases:
    """Makes a database of its own for each base dir, and removes it. Each run of the tests has names of its own."""

    def __init__(self) -> None:
        self.kind = "sqlite"
        self._run = f"test_{uuid.uuid4().hex[:10]}"
        self._made: dict[Path, str] = {}
        self._server: Connection | None = None

    @property
    def dialect(self) -> str:
        """The kind, whatever the driver."""
        return self.kind.partition("+")[0]

    def url(self, base_dir: Path) -> str:
        """The database of a server whose files lie in `base_dir`: the same each time."""
        if self.kind == "sqlite":
            return f"sqlite:///{quote(str(base_dir / 'replay.db'))}"
        place = base_dir.resolve()
        if place not in self._made:
            self._made[place] = name = f"{self._run}_{len(self._made)}_{uuid.uuid4().hex[:6]}"
            self._do(_MAKE[self.dialect], name)
        server, name = urlsplit(SERVERS[self.kind]), self._made[place]
        if self.dialect == "mysql":
            return server._replace(path=f"/{name}").geturl()
        place_of_server = server.netloc.rpartition("@")[2]
        return server._replace(netloc=f"{name}:{name}@{place_of_server}", path=f"/{self._run}").geturl()

    def variables(self, folder: Path, variables: dict[str, str]) -> dict[str, str]:
        """What must be set so that a program that runs in `folder` uses it, unless `variables` name one."""
        if self.kind == "sqlite" or "SHARE_DATABASE_URL" in variables:
            return {}
        base_dir = folder / variables.get("SHARE_BASE_DIR", "data")
        return {"SHARE_DATABASE_URL": self.url(base_dir), "SHARE_CREATE_TABLES": "1"}

    def connect(self) -> None:
        """Open the connection by which databases are made and removed, where that isn't so yet."""
        if self._server is not None or self.kind == "sqlite":
            return
        address = SERVERS[self.kind]
        if self.dialect == "postgresql":
            execute(address, f"CREATE DATABASE {self._run} ENCODING 'UTF8' TEMPLATE template0")
            address = urlsplit(address)._replace(path=f"/{self._run}").geturl()
        self._server = Connection(address)
        self._server("SELECT 1")

    def remove(self, folder: Path) -> None:
        """Remove the databases of all base dirs in `folder`."""
        for place in [place for place in self._made if place.is_relative_to(folder.resolve())]:
            self._do(_DROP[self.dialect], self._made.pop(place))

    def close(self) -> None:
        """Remove all of them."""
        self.remove(Path("/"))
        if self._server is not None:
            self._server.close()
            self._server = None
            if self.dialect == "postgresql":
                execute(SERVERS[self.kind], f"DROP DATABASE {self._run} WITH (FORCE)")

    def _do(self, statements: Sequence[str], name: str) -> None:
        self.connect()
        assert self._server is not None
        for statement in statements:
            self._server(statement.format(name=name))


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


def answers(kind: str) -> bool:
    """Whether a server of this kind can be reached."""
    try:
        execute(SERVERS[kind], "SELECT 1")
    except Exception as error:
        sys.stderr.write(f"{kind} can't be reached at {SERVERS[kind]}: {error}\n")
        return False
    return True


if __name__ == "__main__":
    sys.exit(not answers(sys.argv[1]))
