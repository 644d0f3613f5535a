"""Locks by name, which hold in all processes that share a database."""

from __future__ import annotations

import hashlib

from databases.core import Connection

from .errors import DatabaseBusy

WAIT_SECONDS = 5


async def take_lock(connection: Connection, name: str) -> None:
    """Keep others with the same lock out until this transaction, which has just begun, ends and gives it back.

    SQLite needs none: of transactions that begin with the write lock there is only one. Raises `DatabaseBusy` where
    another has it for too long.
    """
    match connection._database.url.dialect:
        case "sqlite":
            pass
        case "mysql":
            # The server's databases have these names in common.
            taking = "SELECT GET_LOCK(SHA1(CONCAT(DATABASE(), ' replay-share ', :name)), :seconds) AS taken"
            record = await connection.fetch_one(taking, {"name": name, "seconds": WAIT_SECONDS})
            if record is None or record["taken"] != 1:
                raise DatabaseBusy(f"another has had the lock '{name}' for {WAIT_SECONDS} s")
        case _:
            digest = hashlib.sha256(f"replay-share {name}".encode()).digest()
            key = int.from_bytes(digest[:8], signed=True)
            await connection.fetch_one("SELECT pg_advisory_xact_lock(:key)", {"key": key})


async def give_lock(connection: Connection) -> None:
    """Give it back, after the transaction. Only MySQL doesn't do that by itself."""
    if connection._database.url.dialect == "mysql":
        await connection.fetch_one("SELECT RELEASE_ALL_LOCKS() AS given")
