"""Puts a recording into the store: rows, share and files, all of it or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from storage.archive import Archive
from storage.models import Recording, Visibility
from storage.recordings import RecordingCRUD, RecordingExists
from storage.workspace import StagedFiles, Workspace, record_directory

# What is told of files that somebody else removes at the same moment: mkdir, too, says of such a folder that it exists.
_LOST = (FileNotFoundError, FileExistsError)
_OVERTAKEN = "a recording of its id was stored or removed at the same moment, and nothing was changed: try again"


class ImportRefused(Exception):
    """Something else is stored where the recording would have to be; the message says what and what to do."""


async def store_recording(
    recordings: RecordingCRUD,
    base_dir: Path,
    recording: Recording,
    *,
    visibility: Visibility,
    user_name: str | None = None,
    archive: Archive | None = None,
    progress: Callable[[int], None] = lambda rows: None,
) -> bool:
    """Store `recording` and return True, or False where exactly it is stored already, which then stays as it is.

    Its files are those of `archive`, where there is one. `progress` is told how many rows have been written each time.
    Raises `ImportRefused`, `ArchiveError`, `DatabaseError` or `OSError`, and then nothing has changed. When cancelled
    it is stored whole, or not at all.
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

    workspace = Workspace(record_directory(base_dir, recording.interaction))
    try:
        staged = await _stage(workspace, recording.workspace if archive is None else archive.extract)
    except _LOST:
        raise ImportRefused(_OVERTAKEN) from None
    with staged as files:
        try:
            await recordings.add_recording(
                recording, visibility=visibility, user_name=user_name, progress=check, before_commit=before_commit
            )
        except _LOST:
            raise ImportRefused(_OVERTAKEN) from None
        except asyncio.CancelledError:
            cancelled = True
            raise
        except RecordingExists as stored:
            same = archive is None and await recordings.holds(recording)
            with suppress(*_LOST):
                if same and await asyncio.to_thread(workspace.holds, recording.workspace):
                    return False
            what = "its id" if stored.interaction_id == recording.interaction.interaction_id else "the same node_ids"
            raise ImportRefused(
                f"another recording with {what} is stored, and nothing was changed; "
                f"replay-share delete {stored.interaction_id} would make room"
            ) from None
    return True


async def _stage(workspace: Workspace, files: Mapping[str, bytes] | Callable[[Path], list[str]]) -> StagedFiles:
    # Not a task, which would be cancelled itself where all are, at the end of the program.
    staging = asyncio.get_running_loop().run_in_executor(None, workspace.stage, files)
    try:
        return await asyncio.shield(staging)
    except asyncio.CancelledError:
        staging.add_done_callback(_remove)  # the thread goes on, and what it has written is nobody's
        raise


def _remove(staging: asyncio.Future[StagedFiles]) -> None:
    if staging.exception() is None:
        staging.result().__exit__(None)
