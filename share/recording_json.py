"""A recording as JSON, in the shape of XAgent's community upload: every column checked, every value kept as it is."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import MISSING, fields
from functools import lru_cache
from itertools import accumulate
from typing import Any, NamedTuple

from storage.kept_files import KeptFiles
from storage.models import Interaction, Recording, Row
from storage.rows import COLUMNS, Rows, Values

from .json_exact import Write, compact, encode, shown
from .json_text import is_json

MAX_PATH_CHARS = 1024

JSON_COLUMNS = ("data", "file_list", "human_data", "human_file_list")

# Is given a value, returns what the column holds, or raises ValueError, which begins with what was expected.
Check = Callable[[Any], Any]


class RecordingError(ValueError):
    """A file holds no recording. One line: which file, where in it (as a JSONPath), what was expected and what came."""


class Verbatim(NamedTuple):
    """A value that hasn't been decoded: the JSON text that it is, as far as anybody knows."""

    text: str


def write_verbatim(value: Verbatim) -> str:
    """The text of a JSON column that hasn't been decoded. Raises `ValueError`."""
    if not is_json(value.text):
        raise ValueError("expected JSON, got something else")
    return compact(value.text)


def _wrong(expected: str, value: Any) -> ValueError:
    return ValueError(f"expected {expected}, got {shown(value)}")


def _pattern(pattern: str, expected: str) -> Check:
    fullmatch = re.compile(pattern).fullmatch

    def check(value: Any) -> str:
        if isinstance(value, str) and fullmatch(value):
            return value
        raise _wrong(expected, value)

    return check


def _varchar(least: int, most: int | str = "") -> Check:
    # Postgres holds no NUL in a text, and UTF-8 no lone surrogate.
    size = f"of {least} to {most} characters " if most else ""
    return _pattern(f"[^\0\ud800-\udfff]{{{least},{most}}}", f"a string {size}without NUL and lone surrogates")


def _number(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not -(2**31) <= value < 2**31:
        raise _wrong("a whole number of 32 bits", value)
    return value


def _flag(value: Any) -> bool:
    if value is False or value is True:
        return value
    if not isinstance(value, int) or value not in (0, 1):
        raise _wrong("true, false, 0 or 1", value)
    return bool(value)


_ID = _pattern(r"(?!\.)[A-Za-z0-9._-]{1,128}", "1 to 128 of A-Z a-z 0-9 . _ - with no dot in front")
_BASE64 = _pattern(r"(?:[A-Za-z0-9+/]{4})*+(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?", "base64")
_PART = r"(?!\.{1,2}(?:/|\Z))[^/\\" + "\0\ud800-\udfff]+"
_PATH = _pattern(
    f"(?![A-Za-z]:)(?s:(?=.{{1,{MAX_PATH_CHARS}}}\\Z)){_PART}(?:/{_PART})*",
    f"a relative path of at most {MAX_PATH_CHARS} characters, / between its parts, none of them . or ..",
)

_INTERACTION: dict[str, Check] = {
    "id": lambda value: None,  # the table counts its rows itself
    "interaction_id": _ID,
    **dict.fromkeys(("user_id", "call_method"), _varchar(0, 255)),
    "is_deleted": _flag,
    "file_list": encode,
    **dict.fromkeys(("description", "recorder_root_dir", "message"), _varchar(0)),
    **dict.fromkeys(("create_time", "update_time", "agent", "mode", "status"), _varchar(0, 255)),
    "current_step": _varchar(0, 255),
}
_ROW: dict[str, Check] = {
    "id": lambda value: None,  # the table counts its rows itself
    "interaction_id": _ID,
    "node_id": _varchar(1, 255),
    "current": _varchar(0, 128),
    "status": _varchar(0, 20),
    **dict.fromkeys(("create_time", "update_time"), _varchar(0, 255)),
    **dict.fromkeys(("step", "wait_seconds"), _number),
    **dict.fromkeys(JSON_COLUMNS, encode),
    **dict.fromkeys(("do_interrupt", "ask_for_human_help", "is_deleted", "is_human"), _flag),
    **dict.fromkeys(("is_send", "is_receive", "include_pictures"), _flag),
}
_NOT_NULL = {"interaction_id", "user_id", "call_method", "node_id", "is_send", "is_receive", "include_pictures"}
_PLACES = {name: place for place, name in enumerate((*COLUMNS, "id"))}
_DEFAULTS = [None if field.default is MISSING else field.default for field in fields(Row)]


# Its name, its place among the row's values, whether it may be NULL, its check.
_Column = tuple[str, int, bool, Check]


def recording_of(document: Any) -> Recording:
    """The recording that a decoded document holds; rows sorted by `step`, where equal in the order of the document.

    Raises `ValueError` for everything that is wrong with it.
    """
    checks = {"interaction": check_interaction, "raws": _list, "workspace": check_files}
    members = _checked_object("$", document, checks, "interaction", "raws")
    parts: dict[str, Any] = {key: checks[key](f"$.{key}", value) for key, value in members.items()}
    rows = (check_row(f"$.raws[{index}]", raw) for index, raw in enumerate(parts["raws"]))
    return assemble(parts["interaction"], rows, parts.get("workspace", {}))


def check_row(where: str, raw: Any, write: Write = encode) -> Values:
    """What a decoded object holds as a row, its JSON columns made text of by `write`. Raises `ValueError`."""
    if not isinstance(raw, dict):
        raise _placed(where, "an object", raw)
    values: list[Any] = _DEFAULTS.copy()
    try:
        columns = _columns(tuple(raw), write)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    for (name, place, nullable, check), value in zip(columns, raw.values(), strict=True):
        try:
            values[place] = None if value is None and nullable else check(value)
        except ValueError as error:
            raise ValueError(f"{where}.{name}: {error}") from None
    values.pop()  # the id
    return tuple(values)


@lru_cache(maxsize=64)  # the rows of a recording are of a few kinds
def _columns(keys: tuple[str, ...], write: Write) -> list[_Column]:
    _check_keys(keys, _ROW, "node_id", "interaction_id")
    checks = _ROW | dict.fromkeys(JSON_COLUMNS, write)
    return [(key, _PLACES[key], key not in _NOT_NULL, checks[key]) for key in keys]


def assemble(interaction: Interaction, rows: Iterable[Values], files: Mapping[str, bytes]) -> Recording:
    """The recording of these parts, each of the rows checked. Raises `ValueError`, as above."""
    taken, stored, interaction_id = set[str](), Rows(), interaction.interaction_id
    try:
        for index, values in enumerate(rows):
            node_id, of_id = values[:2]
            if node_id in taken:
                raise _placed(f"$.raws[{index}].node_id", "one that no row before has", node_id)
            if of_id != interaction_id:
                raise _placed(f"$.raws[{index}].interaction_id", f"{interaction_id} as above", of_id)
            taken.add(node_id)
            stored.append(values)
        if not taken:
            raise _placed("$.raws", "a list of at least one row", [])
    except BaseException:
        stored.close()
        raise
    return Recording(interaction, stored, files)


def _check_keys(keys: Collection[str], known: Iterable[str], *needed: str) -> None:
    for key in needed:
        if key not in keys:
            raise ValueError(f"expected {key}, got no such key")
    for key in keys:
        if key not in known:
            raise _wrong(f"only the keys {', '.join(known)}", key)


def _checked_object(where: str, value: Any, known: Iterable[str], *needed: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _placed(where, "an object", value)
    _check(where, lambda keys: _check_keys(keys, known, *needed), value)
    return value


def check_interaction(where: str, value: Any) -> Interaction:
    """The interaction that a decoded object is. Raises `ValueError`."""
    members = _checked_object(where, value, _INTERACTION, "interaction_id", "user_id")
    for key, item in members.items():
        if item is not None or key in _NOT_NULL:
            members[key] = _check(f"{where}.{key}", _INTERACTION[key], item)
    return Interaction(**members)


def _list(where: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise _placed(where, "a list of at least one row", value)
    return value


def check_files(where: str, value: Any) -> KeptFiles:
    """The files of a decoded object, of paths and base64. Raises `ValueError`."""
    if not isinstance(value, Mapping):
        raise _placed(where, "an object", value)
    files = KeptFiles()
    try:
        for name, content in value.items():
            place = f"{where}[{shown(name)}]"
            for folder in accumulate(_check(place, _PATH, name).split("/")[:-1], "{}/{}".format):
                if folder in value:
                    raise _placed(place, "no file to have the name of its folder", folder)
            files.add(name, base64.b64decode(_check(place, _BASE64, content)))
    except BaseException:
        files.close()
        raise
    return files


def _check(where: str, check: Check, value: Any) -> Any:
    try:
        return check(value)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _placed(where: str, expected: str, value: Any) -> ValueError:
    return ValueError(f"{where}: {_wrong(expected, value)}")


def one_line(text: str) -> str:
    """A message about what a stranger has sent, with what isn't printable as escapes."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
