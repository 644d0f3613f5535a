"""Recordings out of the hands of strangers: read within limits, checked whole, and then stored whole or not at all."""

from __future__ import annotations

import asyncio
import mmap
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import IO, Any, Self

from storage.archive import MAX_PART_BYTES, MAX_PATH_BYTES, Archive, ArchiveError, ArchiveLimits, ArchiveTooLarge
from storage.kept_files import KeptFiles
from storage.links import is_token
from storage.models import Recording
from storage.rows import Rows

from .json_split import Buffer, PartTooLarge
from .recording_json import RecordingError, one_line
from .recording_parts import Limits, RecordingReader
from .recording_rows import read_verbatim_row
from .settings import XAgentServerEnv

MAX_AT_ONCE = 2
"""Uploads that are taken apart at the same time: each may hold a large row in memory several times."""

MAX_INTERACTION_BYTES = 1024 * 1024


class UploadError(Exception):
    """An upload that is refused: `status` is 400 or 413, the message says where, what was expected and what came."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(slots=True)
class Upload:
    """What was uploaded: a recording, and the archive of its workspace, where that came as one.

    Whoever has stored it leaves it as a context, which gives the files of its rows and its workspace back.
    """

    recording: Recording
    archive: Archive | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *rest: object) -> None:
        for kept in (self.recording.rows, self.recording.workspace):
            if isinstance(kept, Rows | KeptFiles):
                kept.close()


class Uploads:
    """Takes uploads apart, a few at a time, in threads. Its methods are safe to cancel and raise `UploadError`."""

    def __init__(self, settings: XAgentServerEnv) -> None:
        self._settings = settings
        self._slots = asyncio.Semaphore(MAX_AT_ONCE)
        self._row_limits = Limits(
            interaction_bytes=MAX_INTERACTION_BYTES,
            rows=settings.max_upload_rows,
            row_bytes=settings.max_row_bytes,
            files=settings.max_upload_files,
        )
        self._limits = ArchiveLimits(
            files=settings.max_upload_files, unpacked_bytes=settings.max_unpacked_bytes, ratio=settings.max_unpack_ratio
        )

    async def read_document(self, file: IO[bytes], archive: IO[bytes] | None = None) -> Upload:
        """A recording as one JSON document."""
        return await self._read(self._document, file, archive)

    async def read_lines(self, file: IO[bytes]) -> Upload:
        """A recording as JSON lines: the first is the interaction, each of the others a row."""
        return await self._read(self._lines, file)

    async def read_parts(self, interaction: str, raws: str, archive: IO[bytes] | None) -> Upload:
        """A recording whose interaction and rows came as texts of their own."""
        return await self._read(self._parts, interaction.encode(errors="surrogatepass"), raws, archive)

    async def _read(self, read: Any, *arguments: Any) -> Upload:
        async with self._slots:
            # Not cut off by a cancel: the files that the thread reads stay open until it is done with them.
            work = asyncio.get_running_loop().run_in_executor(None, partial(self._refusing, read, *arguments))
            try:
                return await asyncio.shield(work)
            finally:
                while not work.done():
                    with suppress(asyncio.CancelledError):
                        await asyncio.wait([work])
                work.exception()  # is seen, also where nobody waits for it any more

    def _refusing(self, read: Any, *arguments: Any) -> Upload:
        try:
            upload: Upload = read(*arguments)
        except (ArchiveTooLarge, PartTooLarge) as error:
            raise UploadError(413, str(error)) from None
        except (RecordingError, ArchiveError) as error:
            raise UploadError(400, one_line(str(error))) from None
        except UnicodeError:
            raise UploadError(400, "expected text without lone surrogates") from None
        self._check(upload.recording)
        return upload

    def _check(self, recording: Recording) -> None:
        if is_token(recording.interaction.interaction_id):
            raise UploadError(
                400, "$.interaction.interaction_id: expected one that doesn't look like a share link's token"
            )
        if recording.interaction.is_deleted:
            raise UploadError(400, "$.interaction.is_deleted: expected a recording that isn't deleted")
        most, most_bytes = 2 * self._settings.max_upload_files, self._settings.max_unpacked_bytes
        folders: set[str] = set()
        for name in recording.workspace:
            parts = name.split("/")
            if len(name.encode()) > MAX_PATH_BYTES or max(len(part.encode()) for part in parts) > MAX_PART_BYTES:
                shown = one_line(name[:60])
                raise UploadError(
                    400, f"$.workspace: {shown}…: expected at most {MAX_PATH_BYTES} bytes, {MAX_PART_BYTES} a part"
                )
            folders.update(accumulate(parts[:-1], "{}/{}".format))
            if len(folders) > most:
                raise UploadError(413, f"$.workspace: expected at most {most} folders, got more")
        if sum(map(len, recording.workspace.values())) > most_bytes:
            raise UploadError(413, f"$.workspace: expected at most {most_bytes} bytes of files, got more")

    def _document(self, file: IO[bytes], archive: IO[bytes] | None) -> Upload:
        with _mapped(file) as text:
            recording = self._reader().read_document(text, files=archive is None)
        return self._with_archive(recording, archive)

    def _parts(self, interaction: bytes, raws: str, archive: IO[bytes] | None) -> Upload:
        return self._with_archive(self._reader().read_parts(interaction, raws.encode()), archive)

    def _lines(self, file: IO[bytes]) -> Upload:
        return Upload(self._reader().read_lines(file))

    def _reader(self) -> RecordingReader:
        return RecordingReader(self._row_limits, read_verbatim_row)

    def _with_archive(self, recording: Recording, archive: IO[bytes] | None) -> Upload:
        return Upload(recording, None if archive is None else Archive(archive, self._limits))


class _mapped:
    # The text of a file without its bytes being read into memory.
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def __enter__(self) -> Buffer:
        self._file.seek(0, 2)
        if self._file.tell() == 0:
            raise UploadError(400, "expected a recording, got nothing")
        self._map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        return self._map

    def __exit__(self, *rest: object) -> None:
        self._map.close()
