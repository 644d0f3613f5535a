"""Makes the tables: XAgent's where they are missing, and ours, which numbered migrations change."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping

from databases.core import Connection
from sqlalchemy import Index, Table, delete, func, insert, select
from sqlalchemy.dialects import mysql
from sqlalchemy.schema import CreateIndex, CreateTable

from .database import table_names
from .errors import DatabaseError
from .gateway import Gateway
from .indexes import make_indexes
from .schema import metadata, share_links, share_migrations

Migration = Callable[[Connection], Awaitable[None]]

FIRST = 1
"""The version of our tables before there were migrations."""

MIGRATIONS: Mapping[int, Migration] = {2: make_indexes, 3: make_indexes}
"""What leads to a version from the one before it. One that has been released is never changed. On MySQL, where a change
of a table can't be taken back, it must be possible to do it again."""

NEEDED = {"interactions", "raw", "shared_interactions", "users"}
"""XAgent's tables without which nothing can be replayed."""


class SchemaError(DatabaseError):
    """The tables aren't those that the program needs; the message says what would help."""


def latest() -> int:
    """The version of our tables that this program knows."""
    return max(MIGRATIONS, default=FIRST)


async def create_tables(gateway: Gateway) -> list[str]:
    """Make the tables that are missing, with their indexes, and bring ours up to date; the names of those made.

    What XAgent has made is never touched. However many processes do it at once, one does. Raises `SchemaError`.
    """
    if metadata.tables.keys() <= await gateway.run(table_names) and await gateway.run(_version) == latest():
        return []  # without a transaction: whoever only reads must not wait for a writer

    async def create(connection: Connection) -> list[str]:
        before = await table_names(connection)
        if share_links.name in before:
            await _migrate(connection)
        present = await table_names(connection)
        # MySQL can't take tables back: the one that says that ours are there is made last, when all else is.
        for table in sorted(metadata.sorted_tables, key=lambda table: table is share_links):
            if table is share_links:
                await make_indexes(connection)
            if table is share_links and share_links.name not in present:
                await connection.execute(delete(share_migrations))
                await _note(connection, latest())
            if table.name not in present:
                await _create(connection, table)
        return [name for name in metadata.tables if name not in before]

    return await gateway.transaction(create, lock="schema")


async def upgrade_tables(gateway: Gateway) -> list[int]:
    """Bring our tables up to date; the versions that they have gone through. Raises `SchemaError`."""

    return await gateway.transaction(_migrate, lock="schema")


async def check_tables(gateway: Gateway) -> bool:
    """Whether there are tables for share links. Raises `SchemaError` where the program can't work with what is there.

    Reads only: a database user who may do no more can replay.
    """
    present = await gateway.run(table_names)
    if missing := sorted(NEEDED - present):
        raise SchemaError(
            f"the database has no table {missing[0]} for this user: replay-share db init, or SHARE_CREATE_TABLES=1, "
            "makes the tables that are missing"
        )
    version = await gateway.run(_version)
    if version == 0:
        return False
    if version < latest():
        raise SchemaError(
            f"the tables are of version {version}, this program needs {latest()}: run replay-share db upgrade"
        )
    return True


async def _version(connection: Connection) -> int:
    present = await table_names(connection)
    if share_links.name not in present:
        return 0
    if share_migrations.name not in present:
        return FIRST
    record = await connection.fetch_one(select(func.max(share_migrations.c.number).label("number")))
    version = FIRST if record is None or record["number"] is None else int(record["number"])
    if version > latest():
        raise SchemaError(
            f"the tables are of version {version}, this program only knows {latest()}: upgrade replay-share"
        )
    return version


async def _migrate(connection: Connection) -> list[int]:
    if (version := await _version(connection)) == 0:
        raise SchemaError("there are no tables of ours to upgrade: replay-share db init makes them")
    if share_migrations.name not in await table_names(connection):
        await _create(connection, share_migrations)
        await _note(connection, FIRST)
    pending = [number for number in sorted(MIGRATIONS) if number > version]
    for number in pending:
        await MIGRATIONS[number](connection)
        await _note(connection, number)
    return pending


async def _create(connection: Connection, table: Table) -> None:
    indexes = sorted(table.indexes, key=lambda index: str(index.name))
    if connection._database.url.dialect == "mysql":
        # At once: a table without the indexes that keep things from being there twice would pass for a whole one.
        keys = "".join(f", {'UNIQUE' * bool(index.unique)} KEY {index.name} ({_columns(index)})" for index in indexes)
        words = str(CreateTable(table).compile(dialect=mysql.dialect()))
        await connection.execute(words.replace("\n)", f"{keys})", 1))
        return
    await connection.execute(CreateTable(table))
    for index in indexes:
        await connection.execute(CreateIndex(index))


def _columns(index: Index) -> str:
    return ", ".join(str(getattr(part, "name", None) or part) for part in index.expressions)


async def _note(connection: Connection, number: int) -> None:
    await connection.execute(insert(share_migrations).values(number=number, applied_at=time.time()))
