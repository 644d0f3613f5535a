"""Databases with recordings in them."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from operator import attrgetter
from pathlib import Path
from typing import Any

from sqlalchemy import Table

from share.settings import XAgentServerEnv
from share.store import open_store
from storage.models import Recording, Row, Visibility
from storage.recordings import RecordingCRUD
from storage.schema import raw

from .rows import ROW_BYTES, make_interaction, make_recording, make_rows


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


def add_huge(folder: Path, name: str, rows: int) -> None:
    """Put a recording into it whose rows don't fit into memory."""
    add_recordings(folder, [Recording(make_interaction(name), ())])
    columns = [name for name in Row.__slots__ if name != "id"]
    insert(folder, raw, columns, map(attrgetter(*columns), make_rows(name, rows)))


def insert(folder: Path, table: Table, columns: Sequence[str], values: Iterator[tuple[Any, ...]]) -> None:
    """Put rows into a table, past the storage layer, which would take minutes for hundreds of thousands."""
    marks = ", ".join("?" * len(columns))
    with closing(sqlite3.connect(folder / "replay.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        connection.executemany(f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({marks})", values)
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
