"""XAgent's way to the files of a workspace."""

from __future__ import annotations

import asyncio
import base64
import json
from contextlib import suppress
from typing import Any

from starlette.responses import FileResponse, JSONResponse, Response

from storage.workspace import Workspace, is_safe_id, record_directory

from .media import HEADERS
from .wire import MAX_INDENTATION_BYTES
from .xagent_form import Form, Refused, answer

MAX_SHOWN_BYTES = 50_000_000

_IMAGES = {"jpg": "jpeg", "jpeg": "jpeg", "png": "png", "gif": "gif", "bmp": "bmp"}
_KINDS = {
    **dict.fromkeys(("mp4", "avi", "mkv", "rmvb", "rm", "flv", "3gp", "wmv"), "video"),
    **dict.fromkeys(("mp3", "wav", "wma", "ogg", "aac", "flac", "ape"), "audio"),
    **dict.fromkeys(("pdf", "doc", "docx", "xls", "xlsx", "ppt", "pptx"), "application"),
}


async def workspace_file(form: Form) -> Response:
    """A file of a recording that is one's own or shared: as text, as a `data:` URL, or as it is."""
    interaction_id, name = form.text("interaction_id"), form.text("file_name")
    try:
        user = await form.user()
    except Refused as refused:
        if refused.status != 401:
            raise
        return JSONResponse({"detail": refused.message}, 401)
    interaction = await form.own(user)
    if interaction is None and is_safe_id(interaction_id):
        interaction = await form.services.interactions.get_shared_interaction(interaction_id)
    if interaction is None:
        return answer(message="interaction is not exist!", success=False)
    workspace = Workspace(record_directory(form.services.settings.base_dir, interaction))
    return await asyncio.to_thread(_read_file, workspace, name)


def _read_file(workspace: Workspace, name: str) -> Response:
    path = workspace.find_file(name)
    if path is None:
        return JSONResponse({"detail": "there is no such file"}, 404)
    suffix = name.rpartition(".")[2].lower()
    if suffix in _KINDS:
        return FileResponse(path, media_type=f"{_KINDS[suffix]}/{suffix}", headers=HEADERS)
    content = workspace.read_file(name, MAX_SHOWN_BYTES)
    if content is None:
        return JSONResponse({"detail": f"the file is larger than {MAX_SHOWN_BYTES} bytes"}, 413)
    if suffix in _IMAGES:
        return answer(f"data:image/{_IMAGES[suffix]};base64,{base64.b64encode(content).decode()}", "get file success!")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return FileResponse(path, media_type="application/octet-stream", headers=HEADERS)
    if suffix in ("json", "ipynb"):
        return _json_file(text, suffix)
    return answer(text, "get file success!")


def _json_file(text: str, suffix: str) -> Response:
    if suffix == "ipynb":
        return Response(text, media_type="application/ipynb", headers=HEADERS)
    with suppress(ValueError, RecursionError):  # what isn't JSON is shown as it is
        value = json.loads(text)
        if _is_small_indented(value):
            text = json.dumps(value, ensure_ascii=False, indent=4)
    return answer(text, "get file success!")


def _is_small_indented(value: Any) -> bool:
    # What is nested deeply grows a thousandfold by its indentation.
    size, waiting = 0, [(value, 1)]
    while waiting and size < MAX_INDENTATION_BYTES:
        inner, depth = waiting.pop()
        parts = inner.values() if isinstance(inner, dict) else inner if isinstance(inner, list) else ()
        size += 4 * depth * (len(parts) + 1)
        waiting += ((part, depth + 1) for part in parts if isinstance(part, dict | list))
    return size < MAX_INDENTATION_BYTES
