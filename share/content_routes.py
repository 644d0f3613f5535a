"""What a frame of replay.v1 only points to: large data of a row, and the files of a workspace."""

from __future__ import annotations

import asyncio
import mimetypes
import re
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route

from storage.models import Interaction
from storage.workspace import Workspace, record_directory

from .access import Visitor, XAgentWebSocketConnectError
from .endpoint import ReplayContext

# A recording's author is a stranger to its viewers: nothing of it may run as if it were ours.
_HEADERS = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox",
}
_SHOWN_INLINE = ("image/png", "image/jpeg", "image/gif", "image/webp", "text/plain", "text/csv", "application/json")

Answer = Callable[[ReplayContext, Interaction, Request], Awaitable[Response]]


def content_routes(context: ReplayContext) -> list[BaseRoute]:
    """The routes, for whoever may watch the recording; the owner's user_id and token stand in the query."""

    def route(path: str, answer: Answer) -> Route:
        async def endpoint(request: Request) -> Response:
            try:
                interaction = await _admit(context, request)
            except XAgentWebSocketConnectError as refusal:
                return JSONResponse({"detail": refusal.message}, status_code=404)
            return await answer(context, interaction, request)

        return Route("/api/v1/recordings/{interaction_id}" + path, endpoint)

    return [route("/rows/{offset}/data", _row_data), route("/files/{name:path}", _file)]


async def _admit(context: ReplayContext, request: Request) -> Interaction:
    interaction_id, visitor = request.path_params["interaction_id"], Visitor.of(request)
    try:
        return await context.access.admit(interaction_id, visitor, as_owner=False)
    except XAgentWebSocketConnectError:
        if not visitor.token:
            raise
        return await context.access.admit(interaction_id, visitor, as_owner=True)


async def _row_data(context: ReplayContext, interaction: Interaction, request: Request) -> Response:
    text = request.path_params["offset"]
    offset = int(text) if re.fullmatch("[0-9]{1,18}", text) else 0
    row = await context.interactions.get_row(interaction.interaction_id, offset) if offset else None
    if row is None or row.data is None:
        return JSONResponse({"detail": "There is no data of such a row."}, status_code=404)
    return Response(row.data.encode("utf-8", "replace"), media_type="application/json", headers=_HEADERS)


async def _file(context: ReplayContext, interaction: Interaction, request: Request) -> Response:
    workspace = Workspace(record_directory(context.settings.base_dir, interaction))
    path = await asyncio.to_thread(workspace.find_file, request.path_params["name"])
    if path is None:
        return JSONResponse({"detail": "There is no such file."}, status_code=404)
    media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    disposition = "inline" if media_type in _SHOWN_INLINE else "attachment"
    return FileResponse(
        path, media_type=media_type, headers=_HEADERS, filename=path.name, content_disposition_type=disposition
    )
