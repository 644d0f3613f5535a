"""The whole server as one app, for whoever has none to mount it in."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import click
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from storage.errors import DatabaseError, DatabaseUnavailable
from storage.gateway import Gateway
from storage.interactions import InteractionCRUD
from storage.users import UserCRUD

from .clock import LoopClock
from .logs import printable
from .metrics import MeasuredGateway
from .page import message
from .routing import build_routes
from .settings import XAgentServerEnv
from .store import open_configured, open_store

logger = logging.getLogger(__name__)

LISTED = 20


def create_app(settings: XAgentServerEnv | None = None) -> Starlette:
    """An app that owns its database: connected when the app starts, with the tables that the settings have it make.

    Raises `SettingsError` for a database URL that can't work.
    """
    settings = settings or XAgentServerEnv()
    gateway = MeasuredGateway(open_configured(settings), keep_connections=True)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        try:
            async with open_store(settings, gateway, patience_seconds=settings.database_wait_seconds):
                await _make_first_user(UserCRUD(gateway))
                await _log_start(settings, gateway, InteractionCRUD(gateway))
                yield
        except DatabaseError as error:
            app.state.why = str(error)
            raise

    # Pages of other origins may use the API as far as they may open a socket: nothing here is opened by a cookie alone.
    cors = Middleware(
        CORSMiddleware,
        allow_origins=settings.allowed_origins,
        allow_methods=["GET", "POST", "PATCH", "DELETE"],
        allow_headers=["authorization", "content-type", "range", "if-none-match"],
        expose_headers=["content-disposition", "content-range", "etag", "location"],
    )
    return _App(
        routes=build_routes(gateway, settings, LoopClock()),
        lifespan=lifespan,
        middleware=[cors],
        exception_handlers={404: _not_found},
    )


class _App(Starlette):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket" and len(self.user_middleware) == 1:
            # What is around the routes is about HTTP; a viewer would carry it along for as long as he watches.
            scope["app"] = self
            await self.router(scope, receive, send)
            return

        async def tell(message: Message) -> None:
            # Starlette has put a traceback in there; a database that is away needs none.
            if message["type"] == "lifespan.startup.failed":
                message["message"] = getattr(self.state, "why", message["message"])
            await send(message)

        await super().__call__(scope, receive, tell if scope["type"] == "lifespan" else send)


async def _not_found(request: Request, error: Exception) -> Response:
    return message(request, "Not found", "There is no such page.", 404)


async def _make_first_user(users: UserCRUD) -> None:
    try:
        first = await users.add_first_user()
    except DatabaseUnavailable:
        raise
    except DatabaseError as error:  # who may only read can still replay
        logger.warning("no first user could be made: %s", error)
        return
    if first is not None:
        # Not logged: who may read a log isn't who may put recordings in.
        click.echo(f"The first user is {first.email}, with the token {first.token}", err=True)
        click.echo("It isn't shown again; replay-share user rotate owner makes another one.", err=True)


async def _log_start(settings: XAgentServerEnv, gateway: Gateway, interactions: InteractionCRUD) -> None:
    listed = await interactions.list_interactions(limit=LISTED + 1)
    logger.info("database %s, files under %s", gateway.database.url.obscure_password, settings.base_dir.absolute())
    if not listed:
        logger.info("no recordings yet: put one in with  replay-share import FILE")
    for interaction, is_shared, row_count in listed[:LISTED]:
        shared = "shared" if is_shared else "private"
        title = printable(interaction.description or "", 60)
        logger.info("recording %s  %s, %d rows  %s", printable(interaction.interaction_id), shared, row_count, title)
    if len(listed) > LISTED:
        logger.info("and more; see  replay-share list")
