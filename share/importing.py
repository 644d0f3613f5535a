"""Puts a recording into the store: rows, share and files, all of it or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from storage.models import Recording
from storage.recordings import RecordingCRUD, RecordingExists
from storage.workspace import Workspace, record_directory


class ImportRefused(Exception):
    """Something else is stored where the recording would have to be; the message says what and what to do."""


async def store_recording(
    recordings: RecordingCRUD,
    base_dir: Path,
    recording: Recording,
    *,
    shared: bool,
    progress: Callable[[int], None] = lambda rows: None,
) -> bool:
    """Store `recording` and return True, or False where exactly it is stored already, which then stays as it is.

    `progress` is told how many rows have been written each time. Raises `ImportRefused`, `DatabaseError` or `OSError`,
    and then nothing has changed. When cancelled it is stored whole, or not at all.
    """
    cancelled = False

    def check(rows: int = 0) -> None:
        # The transaction runs on when we are cancelled (see Gateway): it is told to give up at its next statement.
        if cancelled:
            raise ImportRefused("cancelled")
        progress(rows)

    def before_commit() -> None:
        check()
        files.commit()

    interaction = recording.interaction
    workspace = Workspace(record_directory(base_dir, interaction))
    with workspace.stage(recording.workspace) as files:
        try:
            await recordings.add_recording(recording, shared=shared, progress=check, before_commit=before_commit)
        except asyncio.CancelledError:
            cancelled = True
            raise
        except RecordingExists as stored:
            if await recordings.holds(recording) and await asyncio.to_thread(workspace.holds, recording.workspace):
                return False
            what = "its id" if stored.interaction_id == interaction.interaction_id else "the same node_ids"
            raise ImportRefused(
                f"another recording with {what} is stored, and nothing was changed; "
                f"replay-share delete {stored.interaction_id} would make room"
            ) from None
    return True
