"""`Recorder`: for the process that runs the agent. What it records can be followed while the run is going on."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import databases

from storage.gateway import Gateway
from storage.interactions import InteractionCRUD
from storage.models import Interaction, Recording, Row, Visibility, now
from storage.recordings import RecordingCRUD, RunEnded
from storage.workspace import Workspace, record_directory

from .wire import encode_stored


class Recorder:
    """Records runs into a database that is connected and has its tables; files go below `base_dir`."""

    def __init__(self, database: databases.Database, base_dir: Path | str = "data") -> None:
        self._gateway = gateway = Gateway(database)
        self._recordings = RecordingCRUD(gateway)
        self._interactions = InteractionCRUD(gateway)
        self._base_dir = Path(base_dir)

    @asynccontextmanager
    async def record(
        self, *, description: str, user_id: str, agent: str = "", mode: str = "auto", shared: bool = True
    ) -> AsyncIterator[Run]:
        """Record a run while the block runs: `async with recorder.record(description=…, user_id=…) as run`.

        With `shared` whoever knows its id may watch it. At the end a row `finished` is added, where the last row isn't
        one; an exception marks the run as `failed` with its message, and goes on. So does a cancel.
        """
        time = now()
        interaction = Interaction(
            interaction_id=uuid.uuid4().hex,
            user_id=user_id,
            create_time=time,
            update_time=time,
            description=description,
            agent=agent,
            mode=mode,
            recorder_root_dir="",
            file_list="[]",
            status="running",
            message="running",
            current_step="0",
            call_method="recorder",
        )
        run = Run(self._recordings, interaction, self._base_dir)
        try:
            visibility = Visibility.UNLISTED if shared else Visibility.PRIVATE
            await self._recordings.add_recording(Recording(interaction, []), visibility=visibility)
            yield run
        except BaseException as error:
            await self._gateway.drain()  # when cancelled, what had begun to be written comes to its end first
            try:
                await run.end("failed", _words(error))
            except Exception as second:
                error.add_note(f"The run {run.interaction_id} can't be marked as failed: {second}")
            raise
        else:
            await run.end("finished")
        finally:
            await self._gateway.drain()

    async def join(self, interaction_id: str) -> Run:
        """Another writer of a run that was begun elsewhere. Raises `LookupError` where there is none."""
        interaction = await self._interactions.get_interaction(interaction_id)
        if interaction is None:
            raise LookupError(f"there is no run {interaction_id}")
        return Run(self._recordings, interaction, self._base_dir)


class Run:
    """A run that is being recorded. Any number of tasks and processes may append to it: no step is given twice."""

    def __init__(self, recordings: RecordingCRUD, interaction: Interaction, base_dir: Path) -> None:
        self.interaction_id = interaction.interaction_id
        self._recordings = recordings
        self._workspace = Workspace(record_directory(base_dir, interaction))

    async def append(
        self,
        *,
        status: str = "inner",
        data: Any = None,
        current: str | None = "",
        files: Mapping[str, bytes] | Iterable[str] = (),
        include_pictures: bool = False,
    ) -> int:
        """Record a step and return its number; followers see it at once.

        `data` is any value that JSON has. `files` are the names of the workspace's files as of this step; with their
        bytes, as a mapping, they are written there too. Raises `TypeError` or `ValueError` for what can't be JSON, for
        a name that leads out of the workspace and for a status of more than 20 characters; then nothing is recorded.
        When cancelled the step is recorded whole, or not at all.
        """
        text = None if data is None else encode_stored(data)
        names = _checked_names(files)
        row = self._row(status, text, current=current, files=names, include_pictures=include_pictures)

        async def write_files() -> None:
            if isinstance(files, Mapping):
                await asyncio.to_thread(self._workspace.write_files, files)

        return await self._recordings.append_row(row, before_commit=write_files)

    async def end(self, status: str, message: str = "") -> None:
        """Say that the run is over: `finished`, or `failed` with a message. A run that has ended stays as it has."""
        data: Any = [] if status == "finished" else message
        with suppress(RunEnded):
            await self._recordings.end_run(self._row(status, encode_stored(data)), message or status)

    def _row(
        self,
        status: str,
        data: str | None,
        *,
        current: str | None = "",
        files: Sequence[str] = (),
        include_pictures: bool = False,
    ) -> Row:
        if not isinstance(status, str) or len(status) > 20:
            raise ValueError(f"status: expected at most 20 characters, got {status!r:.60}")
        if current is not None and (not isinstance(current, str) or len(current) > 128):
            raise ValueError(f"current: expected at most 128 characters, got {current!r:.60}")
        time = _now()
        return Row(
            node_id=uuid.uuid4().hex,
            interaction_id=self.interaction_id,
            current=current,
            data=data,
            file_list=encode_stored(files),
            status=status,
            create_time=time,
            update_time=time,
            human_file_list="[]",
            include_pictures=include_pictures,
        )


def _checked_names(files: Mapping[str, bytes] | Iterable[str]) -> list[str]:
    if isinstance(files, str | bytes) or not isinstance(files, Iterable):
        raise TypeError(f"files: expected names, or a mapping of names to bytes, got {files!r:.60}")
    names = list(files)
    contents = files.values() if isinstance(files, Mapping) else ()
    if not all(isinstance(name, str) for name in names) or not all(isinstance(part, bytes) for part in contents):
        raise TypeError(f"files: expected names, or a mapping of names to bytes, got {files!r:.60}")
    return names


def _words(error: BaseException) -> str:
    try:
        words = str(error) or type(error).__name__
    except Exception:  # an exception of others may have no words that can be read
        words = type(error).__name__
    return words.encode("utf-8", "backslashreplace").decode()


def _now() -> str:
    # XAgent's format with the fraction that makes a replay run as the run did.
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
