"""The database of a server or of a command: what the settings name, connected, with the tables that are needed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import databases

from storage.database import is_sqlite, open_database
from storage.errors import DatabaseError
from storage.gateway import Gateway
from storage.migrations import check_tables, create_tables
from storage.patience import connected

from .settings import SettingsError, XAgentServerEnv


def open_configured(settings: XAgentServerEnv) -> databases.Database:
    """The database that the settings name, not yet connected. Raises `SettingsError` where that can't be."""
    try:
        return open_database(settings.url)
    except DatabaseError as error:
        raise SettingsError(f"SHARE_DATABASE_URL: {error}") from None


@asynccontextmanager
async def open_store(
    settings: XAgentServerEnv, gateway: Gateway | None = None, *, patience_seconds: float = 0, tables: bool = True
) -> AsyncIterator[Gateway]:
    """The way to the settings' database, connected, while the block runs; one of one's own may be given.

    A database that is away is waited for. With `tables`, missing ones are made, where the settings say so. Raises
    `DatabaseError` where it is away for too long, or has not the tables that are needed.
    """
    gateway = gateway or Gateway(open_configured(settings))
    async with connected(gateway, patience_seconds):
        if tables:
            await _prepare(settings, gateway)
        yield gateway


async def _prepare(settings: XAgentServerEnv, gateway: Gateway) -> None:
    wanted = settings.create_tables
    if is_sqlite(gateway.database) if wanted is None else wanted:
        await create_tables(gateway)
    else:
        await check_tables(gateway)
