"""A recording out of the parts of a JSON text: what may be large in it is looked at, but never read into Python."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from storage.models import Recording

from .json_split import Buffer, PartTooLarge, end_of, members, skip_space
from .recording_json import (
    JSON_COLUMNS,
    RecordingError,
    Verbatim,
    assemble,
    check_files,
    check_interaction,
    decode,
    one_line,
)

MAX_COLUMN_BYTES = 64 * 1024
"""Of a row's columns that aren't JSON: the longest takes 255 characters, of up to six bytes each."""


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


def read_files(text: bytes, max_files: int) -> dict[str, str]:
    """A workspace as the decoded object of paths and base64 that it is. Raises `ValueError`, or `PartTooLarge`."""
    files: dict[str, str] = {}
    for key, start, end in _members(text):
        name = decode(key.decode())
        if name in files:
            raise ValueError(f"expected each name once, got {key[:60].decode(errors='replace')} again")
        if text[start : start + 1] != b'"':
            raise ValueError(f"{key[:60].decode(errors='replace')}: expected base64")
        files[name] = decode(text[start:end].decode())
        if len(files) > max_files:
            raise PartTooLarge
    return files


def recording_from(interaction: bytes, rows: Iterable[bytes], files: bytes | None, max_files: int) -> Recording:
    """The recording whose parts, each a JSON text, these are. Raises `RecordingError`, or `PartTooLarge`."""
    place = "$.interaction"

    def read_rows() -> Iterable[Any]:
        nonlocal place
        place = "$.raws"
        for index, row in enumerate(rows):
            place = f"$.raws[{index}]"
            yield read_row(row)

    try:
        owner = check_interaction(place, decode(interaction.decode()))
        workspace = {}
        if files is not None:
            place = "$.workspace"
            workspace = check_files(place, read_files(files, max_files))
        return assemble(owner, read_rows(), workspace)
    except PartTooLarge:
        raise
    except json.JSONDecodeError as error:
        problem = f"{place}: expected JSON, got: {error.msg} at character {error.pos}"
    except UnicodeError:
        problem = f"{place}: expected UTF-8"
    except RecursionError:
        problem = f"{place}: expected JSON that Python can read, got it nested too deep"
    except ValueError as error:
        problem = str(error) if str(error).startswith("$") else f"{place}: {error}"
    raise RecordingError(one_line(problem))


def _members(text: Buffer) -> Iterable[tuple[bytes, int, int]]:
    start = skip_space(text, 0)
    if text[start : start + 1] != b"{":
        raise ValueError("expected an object")
    if skip_space(text, end_of(text, start, len(text))) != len(text):
        raise ValueError("expected one JSON object, got more behind it")
    yield from members(text, start)
