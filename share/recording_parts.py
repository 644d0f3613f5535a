"""A recording out of a JSON text, a row at a time: what may be large in it is never in memory as a whole."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import IO, Any, NamedTuple

from storage.models import Interaction, Recording
from storage.rows import Values

from .json_exact import decode
from .json_split import Buffer, PartTooLarge, elements, end_of, first, following, key_at, skip_space
from .recording_json import RecordingError, assemble, check_files, check_interaction, one_line
from .recording_rows import ReadRow, read_files, read_quick_row, read_quick_rows


class Limits(NamedTuple):
    """What a recording may have at most; bytes are those of the JSON text."""

    interaction_bytes: int = sys.maxsize
    rows: int = sys.maxsize
    row_bytes: int = sys.maxsize
    files: int = sys.maxsize


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
