"""Pages for people: the gallery, the player of a recording or a share link, and whether the server is well."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from storage.errors import DatabaseError

from .access import VIEWER_COOKIE, Admission, XAgentWebSocketConnectError
from .card_picture import HEIGHT, WIDTH
from .glance import glance, page_path
from .media import address_of, root_of
from .openapi import openapi
from .page import message, page
from .services import Services
from .summary import Summary

logger = logging.getLogger(__name__)

SITE = "Replay Share"
NOT_AVAILABLE = "Not available"
NOT_LISTED = "The list of recordings is not for everybody here."
READY_SECONDS = 5
VIEWER_SECONDS = 30 * 86_400

Element = tuple[str, Mapping[str, str]]


def page_routes(services: Services) -> list[BaseRoute]:
    """The routes at the root."""

    async def gallery(request: Request) -> Response:
        if not await services.access.policy.can_list(request):
            return message(request, NOT_AVAILABLE, NOT_LISTED, 403)
        address = address_of(request, "/")
        return page(request, "gallery", {"title": SITE, "address": address}, metas=_gallery_metas(address))

    async def link(request: Request) -> Response:
        return await _player(services, request, only_links=True)

    async def recording(request: Request) -> Response:
        return await _player(services, request)

    async def embedded(request: Request) -> Response:
        return await _player(services, request, kind="embed", framed_by=services.settings.embed_origins)

    async def alive(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def ready(request: Request) -> Response:
        try:
            async with asyncio.timeout(READY_SECONDS):
                await services.users.token_is_used("")
        except (DatabaseError, TimeoutError):
            return JSONResponse({"status": "the database doesn't answer"}, 503)
        return JSONResponse({"status": "ok"})

    async def describe(request: Request) -> Response:
        return JSONResponse(openapi(address_of(request, "/api/v1")))

    return [
        Route("/", _guarded(gallery)),
        Route("/s/{name}", _guarded(link)),
        Route("/r/{name}", _guarded(recording)),
        Route("/embed/{name}", _guarded(embedded, services.settings.embed_origins)),
        Route("/healthz", alive),
        Route("/readyz", ready),
        Route("/api/v1/openapi.json", describe),
    ]


def _guarded(
    handler: Callable[[Request], Awaitable[Response]], framed_by: tuple[str, ...] = ()
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            return await handler(request)
        except XAgentWebSocketConnectError as refusal:
            return message(request, NOT_AVAILABLE, refusal.message, 503 if refusal.temporary else 404, framed_by)
        except DatabaseError as error:
            logger.warning("%s", error)
            words = f"{error.advice[0].upper()}{error.advice[1:]}."
            return message(request, NOT_AVAILABLE, words, 503, framed_by)

    return endpoint


async def _player(
    services: Services,
    request: Request,
    *,
    kind: str = "page",
    only_links: bool = False,
    framed_by: tuple[str, ...] = (),
) -> Response:
    admission, summary = await glance(services, request, request.path_params["name"], only_links=only_links)
    address = address_of(request, page_path(admission))
    known = request.cookies.get(VIEWER_COOKIE, "")[:128]
    viewer = "" if admission.link is None else known or secrets.token_urlsafe(16)
    values = {"title": summary.title, "name": admission.name, "viewer": viewer, "kind": kind, "address": address}
    listed = summary.public and admission.link is None and kind == "page"
    metas = _player_metas(request, admission, summary, listed)
    response = page(request, "player", values, metas=metas, framed_by=framed_by)
    if viewer and not known:
        # A share link that may be used a number of times knows by it who comes again.
        path = root_of(request) or "/"
        response.set_cookie(VIEWER_COOKIE, viewer, max_age=VIEWER_SECONDS, path=path, httponly=True, samesite="lax")
    return response


def _gallery_metas(address: str) -> Iterator[Element]:
    told = {
        "type": "website",
        "title": SITE,
        "site_name": SITE,
        "url": address,
        "description": "Recorded runs of agents",
    }
    for name, value in told.items():
        yield "meta", {"property": f"og:{name}", "content": value}


def _player_metas(request: Request, admission: Admission, summary: Summary, listed: bool) -> Iterator[Element]:
    """What programs read that show a preview of a link. The recording's id isn't among it where a link was given."""
    address = address_of(request, page_path(admission))
    picture = f"{address}/card.svg"
    if not listed:
        yield "meta", {"name": "robots", "content": "noindex"}
    yield "meta", {"name": "description", "content": summary.description}
    told = {"type": "website", "site_name": SITE, "url": address, "title": summary.title}
    told |= {"description": summary.description, "image": picture, "image:type": "image/svg+xml"}
    told |= {"image:width": str(WIDTH), "image:height": str(HEIGHT), "image:alt": summary.title}
    for name, value in told.items():
        yield "meta", {"property": f"og:{name}", "content": value}
    card = {"card": "summary_large_image", "title": summary.title, "description": summary.description, "image": picture}
    for name, value in card.items():
        yield "meta", {"name": f"twitter:{name}", "content": value}
    oembed = f"{address_of(request, '/oembed')}?url={quote(address, safe='')}"
    yield "link", {"rel": "alternate", "type": "application/json+oembed", "href": oembed, "title": summary.title}
