"""A row as classic sends it."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Sequence
from typing import Any

from storage.models import ShownRow
from storage.workspace import Workspace

from .content import handle_data, handle_workspace_filelist
from .logs import printable
from .wire import WireError, check_indentation, decode_stored, encode_row

logger = logging.getLogger(__name__)

LARGE_DATA = 64 * 1024  # bytes, above which a row is encoded in a thread
MANY_PARTS = 1000  # objects and lists in a row, above which it is worth counting what their indentation takes
DEEP_DATA = 8000  # bytes, below which no indentation comes to 16 MiB, at the thousand levels that Python reads
MAX_PICTURE_BYTES = 32 * 1024 * 1024  # of one row, all of its pictures together
ENCODED_IN_ONE_GO = 16


class RowEncoder:
    """Makes the frames of a recording's rows; its pictures are in the workspace. Safe to cancel."""

    def __init__(self, interaction_id: str, workspace: Workspace) -> None:
        self._interaction_id = interaction_id
        self._workspace = workspace

    async def encode_all(self, rows: Sequence[ShownRow]) -> list[bytes]:
        """The frames of a page, without holding up others."""
        frames = []
        for row in rows:
            frames.append(await self.encode(row))
            if len(frames) % ENCODED_IN_ONE_GO == 0:
                await asyncio.sleep(0)
        return frames

    async def encode(self, row: ShownRow) -> bytes:
        """The row's frame; for a row that can't be read, the error frame that stands in its place."""
        if row.include_pictures or len(row.data or b"") > LARGE_DATA:
            return await asyncio.to_thread(self._encode, row)
        return self._encode(row)

    def _encode(self, row: ShownRow) -> bytes:
        try:
            read_picture = _PictureReader(self._workspace).read if row.include_pictures else None
            data = decode_stored(row.data)
            if row.data is not None and _may_be_deep(row.data) and isinstance(data, dict | list):
                check_indentation(data)
            data = handle_data(data, read_picture)
            return _encode(row, data, handle_workspace_filelist(decode_stored(row.file_list)))
        except WireError as error:
            logger.warning("%s: row %s can't be read: %s", self._interaction_id, printable(row.node_id), error)
            return _encode(row, None, [], error=f"row {row.node_id} can't be read: {error}")


def _may_be_deep(data: bytes) -> bool:
    return len(data) > DEEP_DATA and data.count(b"[") + data.count(b"{") > MANY_PARTS


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


def _encode(row: ShownRow, data: Any, files: list[dict[str, str]], error: str | None = None) -> bytes:
    return encode_row(
        data=data,
        status=row.status,
        current=row.current,
        node_id=row.node_id,
        workspace_file_list=files,
        error=error,
    )
