"""Databases with recordings in them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

from share.settings import XAgentServerEnv
from share.store import open_store
from storage.models import Recording, Visibility
from storage.recordings import RecordingCRUD

from .rows import ROW_BYTES, make_recording


def add_recordings(folder: Path, recordings: Iterable[Recording]) -> None:
    """Put recordings into the database of `folder`, which is made."""

    async def add() -> None:
        async with open_store(XAgentServerEnv(base_dir=folder)) as gateway:
            for recording in recordings:
                await RecordingCRUD(gateway).add_recording(recording, visibility=Visibility.UNLISTED)

    folder.mkdir(parents=True, exist_ok=True)
    asyncio.run(add())


def add_many(
    folder: Path, count: int, rows: int, size_bytes: int = ROW_BYTES, *, prefix: str = "recording"
) -> list[str]:
    """Put `count` recordings of so many rows into it; their ids, the first of which is `prefix` itself."""
    names = [prefix, *(f"{prefix}-{number}" for number in range(1, count))]
    add_recordings(folder, (make_recording(name, rows, size_bytes) for name in names))
    return names
