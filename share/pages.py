"""Pages for people: what a share link opens, and whether the server is well."""

from __future__ import annotations

import html
import logging
import secrets
from collections.abc import Awaitable, Callable
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route

from storage.database import DatabaseError
from storage.models import Interaction

from .access import LINK_ENDED, VIEWER_COOKIE, Visitor, XAgentWebSocketConnectError
from .logs import printable
from .media import address_of, root_of
from .openapi import openapi
from .services import Services

logger = logging.getLogger(__name__)

_HEADERS = {
    "content-security-policy": "default-src 'none'; frame-ancestors *; base-uri 'none'; form-action 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",  # the address is the secret
    "cache-control": "no-store",
}
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta name="robots" content="noindex"><title>{title}</title>
<h1>{title}</h1>
<p>{text}</p>
"""
VIEWER_SECONDS = 30 * 86_400


def page_routes(services: Services) -> list[BaseRoute]:
    """The routes at the root."""

    async def link(request: Request) -> Response:
        # Nothing is counted here: who only looks at an address, as programs do that show previews, is no viewer.
        found = await services.access.get_link(request.path_params["token"])
        if found is None or not await services.links.takes(found[0], Visitor.of(request).viewer):
            return _page("Not available", LINK_ENDED, 404)
        response = _watch_page(request, found[1])
        if VIEWER_COOKIE not in request.cookies:
            # A share link that may be used a number of times knows by it who comes again.
            path = root_of(request) or "/"
            response.set_cookie(
                VIEWER_COOKIE,
                secrets.token_urlsafe(16),
                max_age=VIEWER_SECONDS,
                path=path,
                httponly=True,
                samesite="lax",
            )
        return response

    async def recording(request: Request) -> Response:
        try:
            admission = await services.access.admit(request.path_params["id"], request)
        except XAgentWebSocketConnectError as refusal:
            return _page("Not available", refusal.message, 503 if refusal.temporary else 404)
        return _watch_page(request, admission.interaction)

    async def alive(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def ready(request: Request) -> Response:
        try:
            await services.users.token_is_used("")
        except (DatabaseError, OSError):
            return JSONResponse({"status": "the database doesn't answer"}, 503)
        return JSONResponse({"status": "ok"})

    async def describe(request: Request) -> Response:
        return JSONResponse(openapi(address_of(request, "/api/v1")))

    return [
        Route("/s/{token}", _guarded(link)),
        Route("/r/{id}", _guarded(recording)),
        Route("/healthz", alive),
        Route("/readyz", ready),
        Route("/api/v1/openapi.json", describe),
    ]


def _guarded(handler: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            return await handler(request)
        except DatabaseError as error:
            logger.warning("%s", error)
            return _page("Not available", "The database doesn't answer, please try again later.", 503)

    return endpoint


def _watch_page(request: Request, interaction: Interaction) -> Response:
    address = request.url.replace(path=quote(request.url.path), query="", fragment="")
    title = printable(interaction.description or "A recorded run")
    return _page(title, f"Watch it in a terminal: replay-share watch {address}", 200)


def _page(title: str, text: str, status: int) -> Response:
    return HTMLResponse(_PAGE.format(title=html.escape(title), text=html.escape(text)), status, _HEADERS)
