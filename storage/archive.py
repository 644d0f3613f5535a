"""A workspace's files as a zip. Whoever made it is a stranger, and nothing in it is believed."""

from __future__ import annotations

import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import IO

MAX_PATH_BYTES = 1024
MAX_PART_BYTES = 255
"""What file systems take in a name, and with the folders above it stays far below what they take in a path."""

_CHUNK_BYTES = 256 * 1024
_RATIO_FROM_BYTES = 1024 * 1024
_DRIVE = re.compile(r"[A-Za-z]:")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_HEADER_BYTES = 30
_ENTRY_BYTES = 512  # in the directory, more than enough on average
_BROKEN = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, OverflowError, RuntimeError, ValueError)


class ArchiveError(Exception):
    """An archive that is refused; the message names the entry, what was expected and what came."""


class ArchiveTooLarge(ArchiveError):
    """The same, because of its size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveLimits:
    """How many files an archive may hold, of how many bytes unpacked, and how many times its own size that may be.

    Folders may be twice as many as files.
    """

    files: int
    unpacked_bytes: int
    ratio: int


class Archive:
    """A zip whose directory has been checked. Its methods block: use a thread. Raises `ArchiveError`."""

    def __init__(self, file: IO[bytes], limits: ArchiveLimits) -> None:
        self._limits = limits
        try:
            self._size_bytes = file.seek(0, 2)
            self._zip = zipfile.ZipFile(_Careful(file, 3 * limits.files * _ENTRY_BYTES))
        except _BROKEN as error:
            raise ArchiveError(f"zip: expected a zip of the workspace's files, got: {error}") from None
        self._entries = self._checked(self._zip.infolist())

    def extract(self, root: Path) -> list[str]:
        """Write its files below `root` and return their paths in it. Raises `OSError`.

        Stops at the limits, whatever sizes the archive states.
        """
        left = min(self._limits.unpacked_bytes, max(self._limits.ratio * self._size_bytes, _RATIO_FROM_BYTES))
        for name, entry in self._entries.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as target:
                for chunk in self._read(name, entry):
                    left -= len(chunk)
                    if left < 0:
                        raise ArchiveTooLarge(
                            f"zip: {_shown(name)}: expected at most {self._limits.unpacked_bytes} bytes in all, and at "
                            f"most {self._limits.ratio} times the size of the zip, got more"
                        )
                    target.write(chunk)
        return list(self._entries)

    def _read(self, name: str, entry: zipfile.ZipInfo) -> Iterator[bytes]:
        unlimited, size = copy(entry), 0
        unlimited.file_size = 2**62  # else zipfile stops at the size that is stated
        try:
            with self._zip.open(unlimited) as source:
                while chunk := source.read(_CHUNK_BYTES):
                    size += len(chunk)
                    yield chunk
        except _BROKEN as error:
            raise ArchiveError(f"zip: {_shown(name)}: expected data that can be unpacked, got: {error}") from None
        if size != entry.file_size:
            raise ArchiveError(f"zip: {_shown(name)}: expected {entry.file_size} bytes, as it says itself, got {size}")

    def _checked(self, entries: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
        found: dict[str, zipfile.ZipInfo] = {}
        folders: dict[str, str] = {}  # and in whose path each stands
        for entry in entries:
            name = _checked_name(entry)
            parts = name.split("/")
            for folder in accumulate(parts if entry.is_dir() else parts[:-1], "{}/{}".format):
                folders.setdefault(folder, name)
            if len(folders) > 2 * self._limits.files:
                raise ArchiveTooLarge(f"zip: expected at most {2 * self._limits.files} folders, got more")
            if entry.is_dir():
                continue
            if name in found:
                raise ArchiveError(f"zip: {_shown(name)}: expected each name once, got it again")
            found[name] = entry
        if len(found) > self._limits.files:
            raise ArchiveTooLarge(f"zip: expected at most {self._limits.files} files, got {len(found)}")
        if sum(entry.file_size for entry in found.values()) > self._limits.unpacked_bytes:
            raise ArchiveTooLarge(f"zip: expected at most {self._limits.unpacked_bytes} bytes unpacked, got more")
        _check_clashes(found, folders)
        self._check_places(entries)
        return found

    def _check_places(self, entries: list[zipfile.ZipInfo]) -> None:
        # What lies inside of another is how a small zip becomes a large one.
        in_order = sorted(entries, key=lambda entry: entry.header_offset)
        for entry, following in pairwise([*in_order, None]):
            assert entry is not None
            end = entry.header_offset + _HEADER_BYTES + entry.compress_size
            limit = self._size_bytes if following is None else following.header_offset
            if entry.header_offset < 0 or end > limit:
                raise ArchiveError(
                    f"zip: {_shown((following or entry).filename)}: expected a place of its own in the zip"
                )


class _Careful:
    # zipfile reads a zip's whole directory at once, before anybody can ask how large it is.
    def __init__(self, file: IO[bytes], most: int) -> None:
        self._file = file
        self._most = max(most, 2 * _CHUNK_BYTES)
        self.seek, self.tell = file.seek, file.tell

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if size > self._most:
            raise ArchiveTooLarge("zip: expected a shorter list of its files")
        return self._file.read(size)


def _check_clashes(found: dict[str, zipfile.ZipInfo], folders: dict[str, str]) -> None:
    # Not every file system knows A from a.
    names: dict[str, str] = {}
    for name in found:
        if names.setdefault(name.casefold(), name) != name:
            raise ArchiveError(f"zip: {_shown(name)}: expected each name once, got it again in other letters")
    for folder, name in folders.items():
        if folder.casefold() in names:
            raise ArchiveError(f"zip: {_shown(name)}: expected no file to have the name of its folder")


def _checked_name(entry: zipfile.ZipInfo) -> str:
    # zipfile cuts a name at a NUL and turns backslashes on some systems: what stands in the archive is looked at.
    name = entry.orig_filename
    kind = stat.S_IFMT(entry.external_attr >> 16)
    path = name.removesuffix("/")
    parts = path.split("/")
    if (
        not path
        or len(path.encode("utf-8", "replace")) > MAX_PATH_BYTES
        or "\\" in name
        or _CONTROL.search(name)
        or _DRIVE.match(name)
        or any(part in ("", ".", "..") or len(part.encode("utf-8", "replace")) > MAX_PART_BYTES for part in parts)
    ):
        raise ArchiveError(f"zip: {_shown(name)}: expected a relative path with no . or .. in it")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or (kind == stat.S_IFDIR) > entry.is_dir():
        raise ArchiveError(f"zip: {_shown(name)}: expected a file or a folder, got a link or a device")
    if entry.flag_bits & 1:
        raise ArchiveError(f"zip: {_shown(name)}: expected a file that isn't encrypted")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ArchiveError(f"zip: {_shown(name)}: expected a file that is stored or deflated, got another method")
    return path


def _shown(name: str) -> str:
    return ascii(name[:200])
