"""A recording out of a JSON text, a row at a time: what may be large in it is never in memory as a whole."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import IO, Any, NamedTuple

from storage.models import Interaction, Recording
from storage.rows import Values

from .json_exact import decode, read_quickly
from .json_split import Buffer, PartTooLarge, elements, end_of, first, following, forget, key_at, members, skip_space
from .recording_json import (
    JSON_COLUMNS,
    RecordingError,
    Verbatim,
    assemble,
    check_files,
    check_interaction,
    check_row,
    one_line,
    write_verbatim,
)

MAX_COLUMN_BYTES = 64 * 1024
"""Of a row's columns that aren't JSON: the longest takes 255 characters, of up to six bytes each."""


class Limits(NamedTuple):
    """What a recording may have at most; bytes are those of the JSON text."""

    interaction_bytes: int = sys.maxsize
    rows: int = sys.maxsize
    row_bytes: int = sys.maxsize
    files: int = sys.maxsize


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


class RecordingReader:
    """Reads one recording. Each method raises `RecordingError`, or `PartTooLarge` for what is above the limits.

    Rows that can't be read quickly are read by `read_row`.
    """

    def __init__(self, limits: Limits, read_row: ReadRow) -> None:
        self._limits = limits
        self._read_row = read_row
        self._place = ""
        self._end = 0  # of the list of rows

    def read_document(self, text: Buffer, *, files: bool = True) -> Recording:
        """A recording that is one JSON document, in which its files may be, too."""
        return self._explained(self._document, text, files)

    def read_lines(self, file: IO[bytes]) -> Recording:
        """A recording whose interaction is a line, and each of its rows."""
        return self._explained(self._lines, file)

    def read_parts(self, interaction: bytes, raws: bytes) -> Recording:
        """A recording whose interaction and list of rows are texts of their own."""
        return self._explained(self._parts, interaction, raws)

    def _explained(self, read: Callable[..., Recording], *arguments: Any) -> Recording:
        try:
            return read(*arguments)
        except PartTooLarge:
            raise
        except json.JSONDecodeError as error:
            problem = f"{self._place}: expected JSON, got: {error.msg} at character {error.pos}"
        except UnicodeError:
            problem = f"{self._place}: expected UTF-8"
        except RecursionError:
            problem = f"{self._place}: expected JSON that Python can read, got it nested too deep"
        except ValueError as error:
            problem = str(error) if not self._place or str(error).startswith("$") else f"{self._place}: {error}"
        raise RecordingError(one_line(problem))

    def _document(self, text: Buffer, files: bool) -> Recording:
        found: dict[bytes, tuple[int, int]] = {}
        recording: Recording | None = None
        position = first(text, skip_space(text, 3 if text[:3] == b"\xef\xbb\xbf" else 0), b"{")
        while position is not None:
            key, start = key_at(text, position)
            if key not in (b'"interaction"', b'"raws"', b'"workspace"') or key in found:
                shown = key[:60].decode("utf-8", "replace")
                raise ValueError(f"$: expected the keys interaction, raws, workspace, each once, got {shown}")
            if key == b'"workspace"' and not files:
                raise ValueError("$.workspace: expected the files here or in a zip, got both")
            if key == b'"raws"' and b'"interaction"' in found:
                recording = self._with_rows(text, found[b'"interaction"'], start)
                self._place, end = "", self._end
            else:
                end = end_of(text, start, len(text))
            found[key] = start, end
            position = following(text, end, b"}")
        return self._completed(text, found, recording)

    def _completed(self, text: Buffer, found: dict[bytes, tuple[int, int]], recording: Recording | None) -> Recording:
        if not {b'"interaction"', b'"raws"'} <= found.keys():
            raise ValueError("$: expected the keys interaction and raws")
        if skip_space(text, skip_space(text, max(end for _, end in found.values())) + 1) != len(text):
            raise ValueError("$: expected one JSON document, got more behind it")
        if recording is None:
            recording = self._with_rows(text, found[b'"interaction"'], found[b'"raws"'][0])
        if b'"workspace"' in found:
            self._place = "$.workspace"
            given = read_files(text, self._limits.files, found[b'"workspace"'][0])
            recording = replace(recording, workspace=check_files(self._place, given))
        return recording

    def _with_rows(self, text: Buffer, interaction: tuple[int, int], raws: int) -> Recording:
        start, end = interaction
        if end - start > self._limits.interaction_bytes:
            raise self._interaction_too_large()
        owner = self._interaction(text[start:end])
        self._place = "$.raws"
        return assemble(owner, self._rows(text, raws), {})

    def _lines(self, file: IO[bytes]) -> Recording:
        interaction = file.readline(self._limits.interaction_bytes + 1)
        return assemble(self._interaction(interaction), self._line_rows(file), {})

    def _parts(self, interaction: bytes, raws: bytes) -> Recording:
        start = skip_space(raws, 0)
        if skip_space(raws, end_of(raws, start, len(raws))) != len(raws):
            raise ValueError("$.raws: expected a list of rows, got more behind it")
        return assemble(self._interaction(interaction), self._rows(raws, start), {})

    def _interaction(self, text: bytes) -> Interaction:
        self._place = "$.interaction"
        if len(text) > self._limits.interaction_bytes:
            raise self._interaction_too_large()
        return check_interaction(self._place, decode(text.decode()))

    def _interaction_too_large(self) -> PartTooLarge:
        return PartTooLarge(f"$.interaction: expected at most {self._limits.interaction_bytes} bytes, got more")

    def _rows(self, text: Buffer, start: int) -> Iterator[Values]:
        self._place = "$.raws"
        quick: list[Values] = []

        def are_rows(rows: bytes) -> bool:
            nonlocal quick
            quick = read_quick_rows(rows)
            return bool(quick)

        number, end = 0, start + 1
        try:
            for row_start, end in elements(text, start, self._limits.row_bytes, are_rows):
                for values in quick or [self._row(number, text[row_start:end])]:
                    self._check_number(number)
                    yield values
                    number += 1
                quick = []
        except PartTooLarge as error:
            raise error if str(error) else self._row_too_large(number) from None
        self._end = skip_space(text, end) + 1

    def _line_rows(self, file: IO[bytes]) -> Iterable[Values]:
        self._place = "$.raws"
        number = 0
        while line := file.readline(self._limits.row_bytes + 2):
            line = line.removesuffix(b"\n")
            if line.strip():
                self._check_number(number)
                if len(line) > self._limits.row_bytes:
                    raise self._row_too_large(number)
                yield read_quick_row(line) or self._row(number, line)
                number += 1

    def _row(self, number: int, text: bytes) -> Values:
        self._place = f"$.raws[{number}]"
        return read_quick_row(text) or self._read_row(self._place, text)

    def _check_number(self, number: int) -> None:
        if number >= self._limits.rows:
            raise PartTooLarge(f"$.raws: expected at most {self._limits.rows} rows, got more")

    def _row_too_large(self, number: int) -> PartTooLarge:
        return PartTooLarge(f"$.raws[{number}]: expected a row of at most {self._limits.row_bytes} bytes, got more")


def _members(text: Buffer) -> Iterable[tuple[bytes, int, int]]:
    start = skip_space(text, 0)
    if text[start : start + 1] != b"{":
        raise ValueError("expected an object")
    if skip_space(text, end_of(text, start, len(text))) != len(text):
        raise ValueError("expected one JSON object, got more behind it")
    yield from members(text, start)
