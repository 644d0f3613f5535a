"""The API's recordings: listed, put in, changed and removed."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from starlette.datastructures import UploadFile
from starlette.responses import Response
from starlette.routing import BaseRoute

from storage.cards import Card
from storage.interactions import RUNNING
from storage.models import Interaction, Visibility
from storage.search import Page

from .api import Call, api_route, text
from .api_links import link_json
from .body import receive_body, receive_form
from .importing import ImportRefused, store_recording
from .media import JSON
from .problems import Problem
from .services import Services
from .timeline import parse_time
from .uploads import Upload

MAX_LISTED = 100
MAX_QUERY_CHARS = 200
JSON_LINES = ("application/jsonl", "application/x-ndjson", "application/x-jsonlines")


def recording_routes(services: Services) -> list[BaseRoute]:
    """The routes below `/recordings` that are about recordings as wholes."""
    return [
        api_route(services, "/recordings", GET=_list, POST=_create),
        api_route(services, "/recordings/{id}", GET=_get, PATCH=_patch, DELETE=_delete),
    ]


def visibility(name: str, value: Any) -> Visibility:
    """Checks a visibility."""
    if isinstance(value, str) and value in list(Visibility):
        return Visibility(value)
    raise Problem(400, f"{name}: expected {', '.join(Visibility)}, got {str(value)[:40]!r}")


def _json(call: Call, card: Card, name: str | None = None) -> dict[str, Any]:
    interaction = card.interaction
    shown = name or interaction.interaction_id
    by_link = shown != interaction.interaction_id
    first, last = parse_time(card.first_time), parse_time(card.last_time)
    return {
        "id": shown,
        "description": interaction.description or "",
        "goal": card.goal,
        "user_name": card.user_name,
        "agent": interaction.agent or "",
        "mode": interaction.mode or "",
        "status": interaction.status or "",
        "live": interaction.status in RUNNING,
        "visibility": card.visibility.value,
        "rows": card.rows,
        "duration": max((last - first).total_seconds(), 0.0) if first and last else 0.0,
        "star": card.star,
        "create_time": interaction.create_time,
        "update_time": interaction.update_time,
        "url": call.url(f"/{'s' if by_link else 'r'}/{shown}"),
    }


async def _list(call: Call) -> Response:
    query, cursor, limit = call.query("q") or "", call.query("cursor"), call.number("limit", 20, 1, MAX_LISTED)
    if len(query) > MAX_QUERY_CHARS:
        raise Problem(400, f"q: expected at most {MAX_QUERY_CHARS} characters, got {len(query)}")
    after = None if cursor is None else _page(cursor)
    user_id = await call.user_id() if call.flag("mine") else None
    if user_id is None and not await call.services.access.policy.can_list(call.request):
        raise Problem(403, "The list of recordings is not for everybody here.")
    cards, following = await call.services.gallery.search(user_id=user_id, text=query, after=after, limit=limit)
    cursor = None if following is None else _cursor(following)
    return JSON({"recordings": [_json(call, card) for card in cards], "next_cursor": cursor})


def _cursor(page: Page) -> str:
    if page.create_time is None:
        return str(page.id)
    return f"{page.id}.{page.create_time.encode('utf-8', 'surrogateescape').hex()}"


def _page(cursor: str) -> Page:
    if not re.fullmatch(r"[0-9]{1,18}(\.([0-9a-f]{2}){0,1024})?", cursor):
        raise Problem(400, "cursor: expected the next_cursor of an answer before")
    number, dot, create_time = cursor.partition(".")
    time = bytes.fromhex(create_time).decode("utf-8", "surrogateescape").replace("\0", "")
    return Page(time if dot else None, int(number))


async def _get(call: Call) -> Response:
    admission = await call.admit()
    card = await call.services.gallery.get_card(admission.interaction)
    if card is None:
        raise Problem(404, "The recording has just been removed.")
    return JSON(_json(call, card, admission.name))


async def _create(call: Call) -> Response:
    wanted = visibility("visibility", call.query("visibility") or "unlisted")
    user_id = await call.user_id()
    if not await call.services.access.policy.can_write(call.request, None):
        raise Problem(403, "Recordings can't be put in by everybody here.")
    interaction = await _store(call, user_id, wanted)
    card = await call.services.gallery.get_card(interaction)
    if card is None:
        raise Problem(404, "The recording has just been removed.")
    link = None
    if wanted is not Visibility.PRIVATE:
        made, token = await call.services.links.add_link(
            interaction.interaction_id, interaction.user_id, label="made by the upload"
        )
        link = link_json(call, made, token)
    found = _json(call, card)
    return JSON({**found, "link": link}, 201, {"location": call.url(f"/api/v1/recordings/{found['id']}")})


async def _store(call: Call, user_id: str, wanted: Visibility) -> Interaction:
    settings, services = call.services.settings, call.services
    kind = call.request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        async with receive_form(call.request, settings.max_upload_bytes) as form:
            document, archive = form.get("recording"), form.get("files")
            if not isinstance(document, UploadFile) or (archive is not None and not isinstance(archive, UploadFile)):
                raise Problem(400, "expected a form with the file `recording` and, if any, the zip `files`")
            with await services.uploads.read_document(document.file, archive.file if archive else None) as upload:
                return await _put(call, upload, user_id, wanted)
    if kind not in ("application/json", *JSON_LINES):
        raise Problem(
            415, f"expected application/json, {', '.join(JSON_LINES)} or multipart/form-data, got {kind[:60]!r}"
        )
    async with receive_body(call.request, settings.max_upload_bytes) as body:
        read = services.uploads.read_lines if kind in JSON_LINES else services.uploads.read_document
        with await read(body) as upload:
            return await _put(call, upload, user_id, wanted)


async def _put(call: Call, upload: Upload, user_id: str, wanted: Visibility) -> Interaction:
    recording = upload.recording
    recording = replace(recording, interaction=replace(recording.interaction, user_id=user_id))
    interaction_id = recording.interaction.interaction_id
    try:
        is_new = await store_recording(
            call.services.recordings,
            call.services.settings.base_dir,
            recording,
            visibility=wanted,
            archive=upload.archive,
        )
    except ImportRefused:
        is_new = False
    if not is_new:
        raise Problem(409, f"A recording of the id {interaction_id}, or with the same node_ids, is there already.")
    stored = await call.services.interactions.get_interaction(interaction_id)
    if stored is None:
        raise Problem(404, "The recording has just been removed.")
    return stored


async def _patch(call: Call) -> Response:
    interaction = await call.own()
    fields = await call.fields({"description": text(10_000), "visibility": visibility})
    if "description" in fields:
        await call.services.recordings.set_description(interaction.interaction_id, fields["description"])
    if "visibility" in fields:
        await call.services.shares.set_visibility(interaction.interaction_id, fields["visibility"])
    found = await call.services.interactions.get_interaction(interaction.interaction_id)
    card = None if found is None else await call.services.gallery.get_card(found)
    if card is None:
        raise Problem(404, "The recording has just been removed.")
    return JSON(_json(call, card))


async def _delete(call: Call) -> Response:
    await call.services.delete(await call.own())
    return Response(status_code=204)
