"""The whole server as one app, for whoever has none to mount it in."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import click
import databases
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response

from storage.database import DatabaseError, open_database
from storage.interactions import InteractionCRUD
from storage.schema import create_tables
from storage.users import UserCRUD

from .clock import LoopClock
from .logs import printable
from .metrics import MeasuredGateway
from .page import message
from .routing import build_routes
from .settings import SettingsError, XAgentServerEnv

logger = logging.getLogger(__name__)

LISTED = 20


def create_app(settings: XAgentServerEnv | None = None) -> Starlette:
    """An app that owns its database: connected and, where tables are missing, filled with them when the app starts.

    Raises `SettingsError` for a database URL that can't work.
    """
    settings = settings or XAgentServerEnv()
    database = open_configured(settings)
    gateway = MeasuredGateway(database)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with database:
            await create_tables(gateway)
            await _make_first_user(UserCRUD(gateway))
            await _log_start(settings, database, InteractionCRUD(gateway))
            try:
                yield
            finally:
                await gateway.drain()

    # Pages of other origins may use the API as far as they may open a socket: nothing here is opened by a cookie alone.
    cors = Middleware(
        CORSMiddleware,
        allow_origins=settings.allowed_origins,
        allow_methods=["GET", "POST", "PATCH", "DELETE"],
        allow_headers=["authorization", "content-type", "range", "if-none-match"],
        expose_headers=["content-disposition", "content-range", "etag", "location"],
    )
    return Starlette(
        routes=build_routes(gateway, settings, LoopClock()),
        lifespan=lifespan,
        middleware=[cors],
        exception_handlers={404: _not_found},
    )


async def _not_found(request: Request, error: Exception) -> Response:
    return message(request, "Not found", "There is no such page.", 404)


def open_configured(settings: XAgentServerEnv) -> databases.Database:
    """The database that the settings name, not yet connected. Raises `SettingsError` where that can't be."""
    try:
        return open_database(settings.url)
    except DatabaseError as error:
        raise SettingsError(f"SHARE_DATABASE_URL: {error}") from None


async def _make_first_user(users: UserCRUD) -> None:
    first = await users.add_first_user()
    if first is not None:
        # Not logged: who may read a log isn't who may put recordings in.
        click.echo(f"The first user is {first.email}, with the token {first.token}", err=True)
        click.echo("It isn't shown again; replay-share user rotate owner makes another one.", err=True)


async def _log_start(settings: XAgentServerEnv, database: databases.Database, interactions: InteractionCRUD) -> None:
    listed = await interactions.list_interactions(limit=LISTED + 1)
    logger.info("database %s, files under %s", database.url.obscure_password, settings.base_dir.absolute())
    if not listed:
        logger.info("no recordings yet: put one in with  replay-share import FILE")
    for interaction, is_shared, row_count in listed[:LISTED]:
        shared = "shared" if is_shared else "private"
        title = printable(interaction.description or "", 60)
        logger.info("recording %s  %s, %d rows  %s", printable(interaction.interaction_id), shared, row_count, title)
    if len(listed) > LISTED:
        logger.info("and more; see  replay-share list")
