"""What other sites make of a link: a player in a frame (oEmbed), and a picture of the run."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from html import escape
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from storage.errors import DatabaseError

from .access import NOT_FOUND, Admission, XAgentWebSocketConnectError
from .card_picture import HEIGHT, MAX_MARKS, WIDTH, draw
from .feeds import Feeds
from .glance import glance, page_path
from .media import JSON, address_of, root_of
from .problems import Problem
from .services import Services
from .summary import Summary

logger = logging.getLogger(__name__)

FRAME_WIDTH, FRAME_HEIGHT = 800, 500
_PORTS = {"http": 80, "https": 443}
_OPTIONS = ("speed", "idleTimeLimit", "t", "autoplay", "loop")
"""What the player takes from its address; nothing else of one that somebody gives is passed on."""

Answer = Callable[[Request], Awaitable[Response]]


def embedding_routes(services: Services, feeds: Feeds) -> list[BaseRoute]:
    """`/oembed`, and a picture below each page. None of them counts a view."""

    async def oembed(request: Request) -> Response:
        return await _oembed(services, request)

    async def picture_of_link(request: Request) -> Response:
        return await _picture(services, feeds, request, only_links=True)

    async def picture(request: Request) -> Response:
        return await _picture(services, feeds, request)

    return [
        Route("/oembed", _guarded(oembed)),
        Route("/s/{name}/card.svg", _guarded(picture_of_link)),
        Route("/r/{name}/card.svg", _guarded(picture)),
    ]


def _guarded(handler: Answer) -> Answer:
    # Any page may ask, and gets what everybody gets: with a star, browsers send no cookie.
    headers = {"access-control-allow-origin": "*", "x-content-type-options": "nosniff"}

    async def endpoint(request: Request) -> Response:
        try:
            response = await handler(request)
        except Problem as problem:
            response = problem.response()
        except XAgentWebSocketConnectError as refusal:
            response = Problem(503 if refusal.temporary else 404, refusal.message).response()
        except DatabaseError as error:
            logger.warning("%s", error)
            response = Problem(503, error.advice).response()
        response.headers.update(headers)
        return response

    return endpoint


async def _oembed(services: Services, request: Request) -> Response:
    query = request.query_params
    if query.get("format", "json") != "json":
        raise Problem(501, "format: expected json")
    width = min(FRAME_WIDTH, _size(request, "maxwidth", FRAME_WIDTH))
    height = min(FRAME_HEIGHT, _size(request, "maxheight", FRAME_HEIGHT))
    if not query.get("url"):
        raise Problem(400, "url: expected the address of a page here")
    kind, name, options = _own_page(request, query["url"])
    admission, summary = await glance(services, request, name, only_links=kind == "s")
    return JSON(_rich(request, admission, summary, options, width, height))


def _size(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not re.fullmatch("[0-9]{1,9}", text) or not int(text):
        raise Problem(400, f"{name}: expected a number of pixels, got {text[:40]!r}")
    return int(text)


def _own_page(request: Request, address: str) -> tuple[str, str, str]:
    """The kind of the page of that address (s, r, embed), its name, and what of it says how and where to play."""
    try:
        parts = urlsplit(address)
        place = (parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme))
    except ValueError:  # no port, or no address of IPv6
        raise Problem(404, NOT_FOUND) from None
    own = request.url
    ours = place == (own.scheme, (own.hostname or "").lower(), own.port or _PORTS.get(own.scheme))
    page = re.fullmatch(re.escape(unquote(root_of(request))) + "/(s|r|embed)/([^/]+)/?", unquote(parts.path))
    if not ours or page is None:
        raise Problem(404, "url: expected the address of a page here")
    options = urlencode([(name, value) for name, value in parse_qsl(parts.query) if name in _OPTIONS])
    step = re.fullmatch("step=[0-9]{1,9}", parts.fragment)
    return page[1], page[2], (f"?{options}" if options else "") + (f"#{step[0]}" if step else "")


def _rich(
    request: Request, admission: Admission, summary: Summary, options: str, width: int, height: int
) -> dict[str, object]:
    frame = f"{address_of(request, f'/embed/{quote(admission.name)}')}{options}"
    return {
        "type": "rich",
        "version": "1.0",
        "title": summary.title,
        "author_name": summary.author,
        "provider_name": "Replay Share",
        "provider_url": address_of(request, "/"),
        "html": f'<iframe src="{escape(frame)}" width="{width}" height="{height}" title="{escape(summary.title)}"'
        ' style="border: 0" allow="fullscreen; clipboard-write" loading="lazy"></iframe>',
        "width": width,
        "height": height,
        "thumbnail_url": f"{address_of(request, page_path(admission))}/card.svg",
        "thumbnail_width": WIDTH,
        "thumbnail_height": HEIGHT,
    }


async def _picture(services: Services, feeds: Feeds, request: Request, *, only_links: bool = False) -> Response:
    admission, summary = await glance(services, request, request.path_params["name"], only_links=only_links)
    async with feeds.open(admission.interaction) as feed:
        outline = feed.outline
        total, duration = len(outline), outline.duration
        marks = await asyncio.to_thread(outline.steps, total, MAX_MARKS)
    # Where an app's own policy lets viewers in, nobody else keeps it for them.
    public = summary.public and admission.link is None and services.access.has_own_users
    headers = {
        "content-security-policy": "default-src 'none'",
        "cache-control": "public, max-age=300" if public else "private, no-cache",
    }
    return Response(draw(summary, marks, total, duration), headers=headers, media_type="image/svg+xml")
