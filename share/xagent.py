"""XAgent's own HTTP routes, so that its front end works here unmodified."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from storage.archive import ArchiveError, ArchiveTooLarge
from storage.cards import Card
from storage.errors import DatabaseError
from storage.models import Recording, User, Visibility
from storage.users import user_is_valid

from .body import BodyError, receive_form
from .importing import ImportRefused, store_recording
from .services import Services
from .uploads import UploadError
from .wire import decode_stored, encode_stored
from .xagent_files import workspace_file
from .xagent_form import Form, Refused, answer, failed

logger = logging.getLogger(__name__)

MAX_FORM_BYTES = 1024 * 1024

_SHARED = ("interaction_id", "create_time", "update_time", "description", "agent", "mode")
_OWN = (
    *("interaction_id", "user_id", "create_time", "description", "agent", "mode", "file_list", "status", "message"),
    *("current_step", "update_time", "call_method"),
)

Handler = Callable[[Form], Awaitable[Response]]


def xagent_routes(services: Services) -> list[BaseRoute]:
    """The routes, at the root and below `/api`."""
    handlers: dict[str, tuple[Handler, int]] = {
        "/user/login": (_login, MAX_FORM_BYTES),
        "/user/check": (_check, MAX_FORM_BYTES),
        "/conv/getSharedInteractions": (_get_shared_interactions, MAX_FORM_BYTES),
        "/conv/getUserInteractions": (_get_user_interactions, MAX_FORM_BYTES),
        "/conv/init_conv_env": (_init_conv_env, MAX_FORM_BYTES),
        "/conv/shareInteraction": (_share_interaction, MAX_FORM_BYTES),
        "/conv/community": (_community, services.settings.max_upload_bytes),
        "/conv/deleteInteraction": (_delete_interaction, MAX_FORM_BYTES),
        "/conv/updateInteractionDescription": (_update_description, MAX_FORM_BYTES),
        "/workspace/file": (workspace_file, MAX_FORM_BYTES),
    }
    return [
        Route(prefix + path, _endpoint(services, handler, max_bytes), methods=["POST"])
        for prefix in ("", "/api")
        for path, (handler, max_bytes) in handlers.items()
    ]


def _endpoint(services: Services, handler: Handler, max_bytes: int) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            async with receive_form(request, max_bytes) as fields:
                return await handler(Form(services, fields))
        except Refused as refused:
            return failed(refused.status, refused.message)
        except BodyError as error:
            return failed(error.status, str(error))
        except DatabaseError as error:
            logger.warning("%s: %s", request.url.path, error)
            return failed(503, error.advice)

    return endpoint


def _shown(user: User) -> dict[str, Any]:
    names = ("user_id", "email", "name", "token", "available", "corporation", "industry", "position", "create_time")
    return {name: getattr(user, name) for name in (*names, "update_time", "deleted", "is_beta")}


async def _login(form: Form) -> Response:
    email, token = form.text("email"), form.text("token")
    form.check()
    user = await form.services.users.get_user_by_email(email)
    if user is None:
        return answer(message="user is not exist", success=False)
    if not user_is_valid(replace(user, available=True), token):
        return answer(message="token is not correct", success=False)
    if not user.available:
        return answer(message="user is not available", success=False)
    return answer(_shown(user), "login success")


async def _check(form: Form) -> Response:
    token = form.text("token")
    form.check()
    found = await form.services.users.token_is_used(token)
    return answer(found, "token is effective" if found else "token is invalid")


def _page(form: Form) -> tuple[int, int]:
    size, number = form.number("page_size", 1), form.number("page_num", 1)
    return min(size, 1000), min(size, 1000) * (number - 1)


def _values(texts: Sequence[str]) -> list[Any]:
    found = []
    for text in texts:
        try:
            value = decode_stored(text)
            encode_stored([[[[[[value]]]]]])
        except ValueError:
            continue  # others may have stored what is no JSON, or nested too deep to be written inside of an answer
        found.append(value)
    return found


async def _get_shared_interactions(form: Form) -> Response:
    limit, offset = _page(form)
    await form.user()
    total, cards = await form.services.gallery.shared_page(limit=limit, offset=offset)
    return answer({"total": total, "rows": [_shared_row(card) for card in cards]})


def _shared_row(card: Card) -> dict[str, Any]:
    values = {name: getattr(card.interaction, name) for name in _SHARED}
    row = {"interaction_id": values.pop("interaction_id"), "user_name": card.user_name, **values}
    return {**row, "star": card.star, "is_audit": True, "parameters": _values(card.goals)}


async def _get_user_interactions(form: Form) -> Response:
    limit, offset = _page(form)
    user = await form.user()
    total, cards = await form.services.gallery.finished_page(user.user_id, limit=limit, offset=offset)
    return answer({"total": total, "rows": [_own_row(card) for card in cards]})


def _own_row(card: Card) -> dict[str, Any]:
    row = {name: getattr(card.interaction, name) for name in _OWN}
    row["file_list"] = next(iter(_values([row["file_list"] or "null"])), [])
    return {**row, "parameters": _values(card.goals)[:1]}


async def _init_conv_env(form: Form) -> Response:
    user = await form.user()
    interaction_id = await form.services.recordings.get_ready(user.user_id, uuid.uuid4().hex)
    return answer({"id": interaction_id, "t": str(int(time.time() * 1000))})


async def _share_interaction(form: Form) -> Response:
    form.text("interaction_id")
    user = await form.user()
    interaction = await form.own(user)
    if interaction is None:
        return answer(message="there is no such interaction of yours", success=False)
    if interaction.status != "finished" and not await form.services.recordings.has_finished(interaction.interaction_id):
        return answer(message="interaction is not finish!", success=False)
    if await form.services.interactions.get_shared_interaction(interaction.interaction_id) is None:
        name = user.name or user.user_id
        await form.services.shares.set_visibility(interaction.interaction_id, Visibility.UNLISTED, user_name=name)
    return answer()


async def _community(form: Form) -> Response:
    user_name, interaction, raws = form.text("user_name"), form.text("interaction"), form.text("raws")
    archive = form.file("files")
    user = await form.user()
    form.check()
    assert archive is not None
    services = form.services
    try:
        with await services.uploads.read_parts(interaction, raws, archive.file) as upload:
            recording = upload.recording
            recording = replace(recording, interaction=replace(recording.interaction, user_id=user.user_id))
            if not await asyncio.to_thread(_has_finished, recording):
                return answer(message="interaction is not finish!", success=False)
            is_new = await store_recording(
                services.recordings,
                services.settings.base_dir,
                recording,
                visibility=Visibility.UNLISTED,
                user_name=user_name[:255],
                archive=upload.archive,
            )
    except UploadError as error:
        return failed(error.status, _unreadable(str(error)))
    except ArchiveError as error:
        return failed(413 if isinstance(error, ArchiveTooLarge) else 400, _unreadable(str(error)))
    except ImportRefused:
        is_new = False
    return answer() if is_new else answer(message="interaction is exist!", success=False)


def _has_finished(recording: Recording) -> bool:
    return any(row.status == "finished" and not row.is_deleted for row in recording.rows)


def _unreadable(message: str) -> list[dict[str, Any]]:
    where = "files" if message.startswith("zip") else "interaction" if message.startswith("$.interaction") else "raws"
    return [{"type": "value_error", "loc": ["body", where], "msg": message, "input": None}]


async def _delete_interaction(form: Form) -> Response:
    form.text("interaction_id")
    user = await form.user()
    interaction = await form.own(user)
    if interaction is None:
        return answer(message="there is no such interaction of yours", success=False)
    await form.services.delete(interaction)
    return answer()


async def _update_description(form: Form) -> Response:
    form.text("interaction_id")
    description = form.text("description")
    user = await form.user()
    interaction = await form.own(user)
    if interaction is None:
        return answer(message="there is no such interaction of yours", success=False)
    values = {"interaction_id": interaction.interaction_id, "description": description or "XAgent"}
    await form.services.recordings.set_description(interaction.interaction_id, values["description"])
    return answer(values, "success!")
