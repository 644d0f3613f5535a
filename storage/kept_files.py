"""A recording's files, in one file of their own until they are written into a workspace."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from tempfile import SpooledTemporaryFile

IN_MEMORY_BYTES = 1024 * 1024


def _temporary_file() -> SpooledTemporaryFile[bytes]:
    return SpooledTemporaryFile(IN_MEMORY_BYTES)


class KeptFiles(Mapping[str, bytes]):
    """Files by their names: one is read into memory when it is asked for. Whoever made them closes them."""

    def __init__(self) -> None:
        self._file = _temporary_file()
        self._places: dict[str, tuple[int, int]] = {}

    def add(self, name: str, content: bytes) -> None:
        """Keep a file. Raises `OSError` where there is no room for it."""
        self._places[name] = self._file.seek(0, 2), len(content)
        self._file.write(content)

    def __getitem__(self, name: str) -> bytes:
        start, size = self._places[name]
        self._file.seek(start)
        return self._file.read(size)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def close(self) -> None:
        """Give the file back; what was kept is gone. Can be done twice."""
        self._file.close()

    __del__ = close
