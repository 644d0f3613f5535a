"""A recording as frames: its rows, a page at a time, and each row as classic sends it."""

from __future__ import annotations

import asyncio
import base64
import logging
from typing import Any

from storage.interactions import InteractionCRUD, Position
from storage.models import Row
from storage.workspace import Workspace

from .content import handle_data, handle_workspace_filelist
from .logs import printable
from .wire import WireError, check_indentation, decode_stored, encode_row

logger = logging.getLogger(__name__)

FIRST_PAGE_ROWS = 16
MAX_PAGE_ROWS = 256
PAGE_BYTES = 256 * 1024  # what a page comes to, as far as the page before it tells
LARGE_DATA = 64 * 1024  # characters, above which a row is encoded in a thread
MANY_PARTS = 1000  # objects and lists in a row, above which it is worth counting what their indentation takes
MAX_PICTURE_BYTES = 32 * 1024 * 1024  # of one row, all of its pictures together


class RecordingReader:
    """Reads one recording from its beginning. Holds a page of rows and no connection. Safe to cancel."""

    def __init__(self, interactions: InteractionCRUD, interaction_id: str, workspace: Workspace) -> None:
        self._interactions = interactions
        self._interaction_id = interaction_id
        self._workspace = workspace
        self._after: Position | None = None
        self._limit = FIRST_PAGE_ROWS

    async def read_page(self) -> list[Row]:
        """The next rows, deleted ones left out; none at the end. Large rows come in small pages."""
        rows = await self._interactions.search_many_raws(self._interaction_id, after=self._after, limit=self._limit)
        if rows:
            self._after = Position.of(rows[-1])
            size = sum(len(row.data or "") for row in rows) // len(rows) + 1
            self._limit = max(1, min(MAX_PAGE_ROWS, PAGE_BYTES // size))
        return rows

    async def encode(self, row: Row) -> str:
        """The row's frame; for a row that can't be read, the error frame that stands in its place."""
        if row.include_pictures or len(row.data or "") > LARGE_DATA:
            return await asyncio.to_thread(self._encode, row)
        return self._encode(row)

    def _encode(self, row: Row) -> str:
        try:
            read_picture = _PictureReader(self._workspace).read if row.include_pictures else None
            data = decode_stored(row.data)
            if isinstance(data, dict | list) and (row.data or "").count("[") + (row.data or "").count("{") > MANY_PARTS:
                check_indentation(data)
            data = handle_data(data, read_picture)
            return _encode(row, data, handle_workspace_filelist(decode_stored(row.file_list)))
        except WireError as error:
            logger.warning("%s: row %s can't be read: %s", self._interaction_id, printable(row.node_id), error)
            return _encode(row, None, [], error=f"row {row.node_id} can't be read: {error}")


class _PictureReader:
    # A recording may name the same large file a thousand times: what a row can take up is bounded as a whole.
    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._bytes_left = MAX_PICTURE_BYTES

    def read(self, name: str) -> str | None:
        content = self._workspace.read_file(name, self._bytes_left)
        if content is None:
            return None
        self._bytes_left -= len(content)
        return base64.b64encode(content).decode()


def _encode(row: Row, data: Any, files: list[dict[str, str]], error: str | None = None) -> str:
    return encode_row(
        data=data,
        status=row.status,
        current=row.current,
        node_id=row.node_id,
        workspace_file_list=files,
        error=error,
    )
