"""A row, or the files, out of a JSON text: quickly where that gives it exactly, what is large in it left as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from storage.rows import Values

from .json_exact import decode, read_quickly
from .json_split import Buffer, PartTooLarge, end_of, forget, members, skip_space
from .recording_json import JSON_COLUMNS, Verbatim, check_row, write_verbatim

MAX_COLUMN_BYTES = 64 * 1024
"""Of a row's columns that aren't JSON: the longest takes 255 characters, of up to six bytes each."""

ReadRow = Callable[[str, bytes], Values]
"""Is given where a row stands and its text, returns what it holds, or raises ValueError."""

LARGE_BYTES = 256 * 1024
"""From which on a text is one row, and not copied to put brackets around it."""


def read_quick_row(text: bytes) -> Values | None:
    """What a row holds, where that can be told quickly and nothing is wrong with it."""
    try:
        if (quick := read_quickly(text)) is not None:
            return check_row("", *quick)
    except ValueError:
        pass  # who reads it slowly says what is wrong
    return None


def read_quick_rows(text: bytes) -> list[Values]:
    """The same of several rows with commas between them; none where it can't be told of one."""
    if len(text) > LARGE_BYTES:
        return [] if (row := read_quick_row(text)) is None else [row]
    try:
        if (quick := read_quickly(b"[%b]" % text)) is not None:
            rows, write = quick
            return [check_row("", row, write) for row in rows]
    except ValueError:
        pass
    return []


def read_decoded_row(where: str, text: bytes) -> Values:
    """What a row holds. Raises `ValueError`."""
    return check_row(where, decode(text.decode()))


def read_verbatim_row(where: str, text: bytes) -> Values:
    """The same, without its JSON columns being decoded: they may be nested deeper, and have a key twice."""
    return check_row(where, read_row(text), write_verbatim)


def read_row(text: bytes) -> Any:
    """A row as the decoded object that it is, its JSON columns left as they are. Raises `ValueError`."""
    row: dict[str, Any] = {}
    for key, start, end in _members(text):
        name = decode(key.decode())
        if name in row:
            raise ValueError(f"expected each key of an object once, got {key[:60].decode(errors='replace')} again")
        if name in JSON_COLUMNS:
            value = text[start:end].decode()
            row[name] = None if value == "null" else Verbatim(value)
        elif end - start > MAX_COLUMN_BYTES:
            raise ValueError(f"{name[:60]!r}: expected at most {MAX_COLUMN_BYTES} bytes, got more")
        else:
            row[name] = decode(text[start:end].decode())
    return row


def read_files(text: Buffer, max_files: int, start: int = 0) -> Mapping[str, str]:
    """A workspace as the object of paths and base64 that it is, each decoded when it is asked for.

    Raises `ValueError`, now and then, or `PartTooLarge`.
    """
    if text[start : start + 1] != b"{":
        raise ValueError("expected an object")
    places: dict[str, tuple[int, int]] = {}
    for key, value_start, end in members(text, start):
        name = decode(key.decode())
        if name in places:
            raise ValueError(f"expected each name once, got {key[:60].decode(errors='replace')} again")
        if text[value_start : value_start + 1] != b'"':
            raise ValueError(f"{key[:60].decode(errors='replace')}: expected base64")
        places[name] = value_start, end
        if len(places) > max_files:
            raise PartTooLarge(f"$.workspace: expected at most {max_files} files, got more")
    return _Members(text, places)


class _Members(Mapping[str, Any]):
    def __init__(self, text: Buffer, places: Mapping[str, tuple[int, int]]) -> None:
        self._text = text
        self._places = places
        self._forgotten = 0

    def __getitem__(self, name: str) -> Any:
        start, end = self._places[name]
        value = decode(self._text[start:end].decode())
        self._forgotten = forget(self._text, min(self._forgotten, start), end)
        return value

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _members(text: Buffer) -> Iterable[tuple[bytes, int, int]]:
    start = skip_space(text, 0)
    if text[start : start + 1] != b"{":
        raise ValueError("expected an object")
    if skip_space(text, end_of(text, start, len(text))) != len(text):
        raise ValueError("expected one JSON object, got more behind it")
    yield from members(text, start)
