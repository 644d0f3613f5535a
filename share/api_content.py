"""What is in a recording, over HTTP: its rows, the files of its workspace, and all of it as one document."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from urllib.parse import quote

from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute

from storage.workspace import Workspace, record_directory

from .access import Admission
from .api import Call, api_route
from .export import export_recording
from .feeds import Feeds
from .media import HEADERS, JSON, file_response, is_range, media_type_of
from .problems import Problem
from .services import Services
from .wire_v1 import rename_recording

MAX_ROWS = 500


def content_routes(services: Services, feeds: Feeds) -> list[BaseRoute]:
    """The routes below a recording."""

    async def rows(call: Call) -> Response:
        return await _rows(call, feeds)

    return [
        api_route(services, "/recordings/{id}/rows", GET=rows),
        api_route(services, "/recordings/{id}/rows/{offset}/data", GET=_row_data),
        api_route(services, "/recordings/{id}/files", GET=_files),
        api_route(services, "/recordings/{id}/files/{name:path}", GET=_file),
        api_route(services, "/recordings/{id}/export", GET=_export),
    ]


async def _rows(call: Call, feeds: Feeds) -> Response:
    offset, limit = call.number("offset", 0, 0, 2**53), call.number("limit", 100, 1, MAX_ROWS)
    admission = await call.admit()
    async with feeds.open(admission.interaction) as feed:
        total = len(feed.outline)
        frames: list[bytes] = []
        while len(frames) < limit and offset + len(frames) < total:
            frames += await feed.frames(offset + len(frames), limit - len(frames))
        following = offset + len(frames)
        epoch = feed.epoch
    listed = b",".join(frames)
    if admission.link is not None:
        listed = rename_recording(listed, admission.interaction.interaction_id, admission.name)
    after = str(following) if following < total else "null"
    rest = f'"total":{total},"epoch":"{epoch}","next_offset":{after}'.encode()
    return call.tagged(b'{"rows":[%b],%b}' % (listed, rest))


async def _row_data(call: Call) -> Response:
    found = call.request.path_params["offset"]
    offset = int(found) if re.fullmatch("[0-9]{1,18}", found) else 0
    admission = await call.admit()
    interaction_id = admission.interaction.interaction_id
    row = await call.services.interactions.get_row(interaction_id, offset) if offset else None
    if row is None or row.data is None:
        raise Problem(404, "There is no data of such a row.")
    return Response(row.data.encode("utf-8", "replace"), media_type="application/json", headers=HEADERS)


async def _files(call: Call) -> Response:
    admission = await call.admit()
    return JSON({"files": await asyncio.to_thread(_list_files, call, admission)})


def _list_files(call: Call, admission: Admission) -> list[dict[str, object]]:
    listed = []
    for name, path in _workspace(call, admission).list_files().items():
        try:
            size = path.stat().st_size
        except OSError:  # removed meanwhile
            continue
        url = call.url(f"/api/v1/recordings/{admission.name}/files/{quote(name)}")
        listed.append({"name": name, "size": size, "media_type": media_type_of(name), "url": url})
    return listed


async def _file(call: Call) -> Response:
    admission = await call.admit()
    path: Path | None = await asyncio.to_thread(_workspace(call, admission).find_file, call.request.path_params["name"])
    if path is None:
        raise Problem(404, "There is no such file.")
    if not is_range(call.request.headers.get("range", "")):  # RFC 9110: one that isn't valid isn't there
        call.request.scope["headers"] = [header for header in call.request.scope["headers"] if header[0] != b"range"]
    return file_response(path)


async def _export(call: Call) -> Response:
    admission = await call.admit()
    own = await call.services.access.policy.can_write(call.request, admission.interaction)
    pieces = export_recording(call.services, admission, own=own)
    name = "recording" if admission.link is not None else admission.name
    headers = {"content-disposition": f'attachment; filename="{name}.json"', **HEADERS}
    return StreamingResponse(pieces, media_type="application/json", headers=headers)


def _workspace(call: Call, admission: Admission) -> Workspace:
    return Workspace(record_directory(call.services.settings.base_dir, admission.interaction))
