"""A recording as the JSON document that `import` and an upload read back to the same rows and files."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from dataclasses import asdict, replace
from typing import Any

from storage.interactions import Position
from storage.models import Interaction, Row
from storage.workspace import Workspace, record_directory

from .access import Admission
from .json_exact import compact
from .json_text import is_json
from .recording_json import JSON_COLUMNS
from .services import Services
from .wire import encode_stored

PAGE_ROWS = 64


async def export_recording(services: Services, admission: Admission, *, own: bool) -> AsyncIterator[bytes]:
    """The document, piece by piece. Deleted rows aren't in it.

    For others than the owner the run is said to be of the name under which it was shared, and where it was recorded
    isn't said; who came by a link doesn't learn the recording's id.
    """
    interaction = admission.interaction
    if not own:
        user_name = await services.interactions.get_user_name(interaction)
        interaction = replace(interaction, user_id=user_name, recorder_root_dir="")
    shown_id = interaction.interaction_id
    if admission.link is not None:
        shown_id = hashlib.sha256(admission.name.encode()).hexdigest()[:32]
    yield b'{"interaction":' + _object(interaction, shown_id) + b',"raws":['
    after, first = None, True
    while rows := await services.interactions.search_many_raws(
        admission.interaction.interaction_id, after=after, limit=PAGE_ROWS
    ):
        page = await asyncio.to_thread(_page, rows, shown_id)
        yield page if first else b"," + page
        after, first = Position.of(rows[-1]), False
    yield b'],"workspace":{'
    workspace = Workspace(record_directory(services.settings.base_dir, admission.interaction))
    first = True
    for name in await asyncio.to_thread(workspace.list_files):
        content = await asyncio.to_thread(workspace.read_file, name, 2**40)
        if content is not None:
            piece = encode_stored(name).encode() + b':"' + base64.b64encode(content) + b'"'
            yield piece if first else b"," + piece
            first = False
    yield b"}}\n"


def _page(rows: list[Row], shown_id: str) -> bytes:
    return b",".join(_object(row, shown_id) for row in rows)


def _object(stored: Interaction | Row, shown_id: str) -> bytes:
    values: dict[str, Any] = asdict(stored) | {"interaction_id": shown_id}
    del values["id"]
    members = (f"{encode_stored(name)}:{_value(name, value)}" for name, value in values.items())
    return f"{{{','.join(members)}}}".encode("utf-8", "backslashreplace")


def _value(name: str, value: Any) -> str:
    # What is no JSON, though it is where JSON should be, goes out as the text that it is.
    if name in JSON_COLUMNS and isinstance(value, str) and is_json(value):
        return compact(value)
    return encode_stored(value)
