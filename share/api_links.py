"""The API's share links: made, listed and taken back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from starlette.responses import Response
from starlette.routing import BaseRoute

from storage.models import ShareLink, Visibility

from .api import Call, api_route, text, whole
from .media import JSON
from .problems import Problem
from .services import Services

MAX_LISTED = 100
MAX_EXPIRES_IN = 10 * 366 * 86_400
MAX_VIEWS = 2**31 - 1


def link_routes(services: Services) -> list[BaseRoute]:
    """The routes that are about links."""
    return [
        api_route(services, "/recordings/{id}/links", POST=_create),
        api_route(services, "/links", GET=_list, DELETE=_revoke_all),
        api_route(services, "/links/{link_id}", DELETE=_revoke),
    ]


def link_json(call: Call, link: ShareLink, token: str | None = None) -> dict[str, Any]:
    """A link as the API shows it; its token, and so its address, only when it has just been made."""
    shown = {
        "id": link.id,
        "recording": link.interaction_id,
        "label": link.label,
        "created_at": _time(link.created_at),
        "expires_at": _time(link.expires_at),
        "revoked_at": _time(link.revoked_at),
        "max_views": link.max_views,
        "views": link.views,
    }
    return shown if token is None else {**shown, "token": token, "url": call.url(f"/s/{token}")}


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


async def _create(call: Call) -> Response:
    interaction = await call.own()
    checks = {"expires_in": whole(1, MAX_EXPIRES_IN), "max_views": whole(1, MAX_VIEWS), "label": text(255)}
    fields = await call.fields(checks, required=False)
    if await call.services.shares.get_visibility(interaction.interaction_id) is Visibility.PRIVATE:
        raise Problem(409, "This recording is private: make it unlisted, and links to it work.")
    user_id = await call.user_id()
    link, token = await call.services.links.add_link(interaction.interaction_id, user_id, **fields)
    return JSON(link_json(call, link, token), 201)


async def _list(call: Call) -> Response:
    limit, cursor = call.number("limit", 20, 1, MAX_LISTED), call.number("cursor", 0, 0, 2**63 - 1)
    user_id = await call.user_id()
    links = await call.services.links.list_links(user_id, after=cursor or None, limit=limit + 1)
    following = str(links[limit - 1].id) if len(links) > limit else None
    return JSON({"links": [link_json(call, link) for link in links[:limit]], "next_cursor": following})


async def _revoke_all(call: Call) -> Response:
    await call.services.links.revoke(await call.user_id())
    return Response(status_code=204)


async def _revoke(call: Call) -> Response:
    user_id, text = await call.user_id(), call.request.path_params["link_id"]
    link_id = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0
    if not await call.services.links.revoke(user_id, link_id):
        raise Problem(404, "There is no such link of yours.")
    return Response(status_code=204)
