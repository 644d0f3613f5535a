"""A recording as JSON, in the shape of XAgent's community upload: every column checked, every value kept as it is."""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple

from storage.models import Interaction, Recording, Row

from .json_text import is_json

MAX_DEPTH = 500  # Python's own limit is 1000, of which whoever calls has used a part
MAX_INTEGER_DIGITS = 4300  # what Python itself takes, unless its limit was lifted
MAX_PATH_CHARS = 1024

JSON_COLUMNS = ("data", "file_list", "human_data", "human_file_list")

_TOKENS = re.compile(r'("(?:[^"\\]++|\\.)*+")|[ \t\n\r]++', re.DOTALL)

# Is given where a value stands and the value, returns what the column holds, or raises ValueError.
Check = Callable[[str, Any], Any]


class RecordingError(ValueError):
    """A file holds no recording. One line: which file, where in it (as a JSONPath), what was expected and what came."""


class _Float(float):
    """A float that remembers how it was spelt: 1e400 and thirty decimals are more than a float holds."""

    def __init__(self, spelling: str) -> None:
        self.spelling = spelling


def _int(digits: str) -> int:
    if len(digits) > MAX_INTEGER_DIGITS:
        raise ValueError(f"expected integers of at most {MAX_INTEGER_DIGITS} digits, got one of {len(digits)}")
    return int(digits)


def _nan(name: str) -> Any:
    raise ValueError(f"expected JSON, got {name}, which JSON has not")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise ValueError(f"expected each key of an object once, got {_got(twice)} again")
    return members


# Not orjson: it makes floats of integers beyond 64 bits, refuses lone surrogates and writes only 254 levels.
decode = json.JSONDecoder(parse_float=_Float, parse_int=_int, parse_constant=_nan, object_pairs_hook=_unique).decode
_encode = json.JSONEncoder(ensure_ascii=False).encode


def compact(text: str) -> str:
    """A JSON text as it is stored: no white space between its tokens, and no escapes but those that it needs."""
    return _TOKENS.sub(_compacted, text)


def _compacted(token: re.Match[str]) -> str:
    string = token[1] or ""
    return _escaped(_encode(json.loads(string))) if "\\" in string else string


def _escaped(text: str) -> str:
    return re.sub("[\ud800-\udfff]", lambda lone: f"\\u{ord(lone[0]):04x}", text)


class Verbatim(NamedTuple):
    """A value that hasn't been decoded: the JSON text that it is, as far as anybody knows."""

    text: str


def _json(where: str, value: Any) -> str:
    if isinstance(value, Verbatim):
        if not is_json(value.text):
            raise ValueError(f"{where}: expected JSON, got something else")
        return compact(value.text)
    pieces: list[str] = []
    _write(where, value, pieces, 0)
    return _escaped("".join(pieces))


def _write(where: str, value: Any, pieces: list[str], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueError(f"{where}: expected at most {MAX_DEPTH} levels of lists and objects, got more")
    if isinstance(value, dict):
        for index, (key, item) in enumerate(value.items()):
            pieces.append(f"{',' if index else '{'}{_encode(key)}:")
            _write(where, item, pieces, depth + 1)
        pieces.append("}" if value else "{}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            pieces.append("," if index else "[")
            _write(where, item, pieces, depth + 1)
        pieces.append("]" if value else "[]")
    else:
        pieces.append(_scalar(value))


def _scalar(value: Any) -> str:
    return value.spelling if isinstance(value, _Float) else _encode(value)


def _got(value: Any) -> str:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list" if value else "an empty list"
    text = _scalar(value)
    return text if len(text) <= 60 else text[:59] + "…"


def _wrong(where: str, expected: str, value: Any) -> ValueError:
    return ValueError(f"{where}: expected {expected}, got {_got(value)}")


def _object(where: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(where, "an object", value)
    return value


def _match(pattern: str, expected: str, where: str, value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(pattern, value):
        raise _wrong(where, expected, value)
    return value


def _varchar(least: int, most: int | str = "") -> Check:
    # Postgres holds no NUL in a text, and UTF-8 no lone surrogate.
    size = f"of {least} to {most} characters " if most else ""
    return partial(_match, f"[^\0\ud800-\udfff]{{{least},{most}}}", f"a string {size}without NUL and lone surrogates")


def _nullable(check: Check) -> Check:
    return lambda where, value: None if value is None else check(where, value)


def _number(where: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not -(2**31) <= value < 2**31:
        raise _wrong(where, "a whole number of 32 bits", value)
    return value


def _flag(where: str, value: Any) -> bool:
    if not isinstance(value, int) or value not in (0, 1):
        raise _wrong(where, "true, false, 0 or 1", value)
    return bool(value)


_ID = partial(_match, r"(?!\.)[A-Za-z0-9._-]{1,128}", "1 to 128 of A-Z a-z 0-9 . _ - with no dot in front")
_BASE64 = partial(_match, r"(?:[A-Za-z0-9+/]{4})*+(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?", "base64")
_PART = r"(?!\.{1,2}(?:/|\Z))[^/\\" + "\0\ud800-\udfff]+"
_PATH = partial(
    _match,
    f"(?![A-Za-z]:)(?s:(?=.{{1,{MAX_PATH_CHARS}}}\\Z)){_PART}(?:/{_PART})*",
    f"a relative path of at most {MAX_PATH_CHARS} characters, / between its parts, none of them . or ..",
)

_INTERACTION: dict[str, Check] = {
    "id": lambda where, value: None,  # the table counts its rows itself
    "interaction_id": _ID,
    **dict.fromkeys(("user_id", "call_method"), _varchar(0, 255)),
    "is_deleted": _nullable(_flag),
    "file_list": _nullable(_json),
    **dict.fromkeys(("description", "recorder_root_dir", "message"), _nullable(_varchar(0))),
    **dict.fromkeys(("create_time", "update_time", "agent", "mode", "status"), _nullable(_varchar(0, 255))),
    "current_step": _nullable(_varchar(0, 255)),
}
_ROW: dict[str, Check] = {
    "id": lambda where, value: None,  # the table counts its rows itself
    "interaction_id": _ID,
    "node_id": _varchar(1, 255),
    "current": _nullable(_varchar(0, 128)),
    "status": _nullable(_varchar(0, 20)),
    **dict.fromkeys(("create_time", "update_time"), _nullable(_varchar(0, 255))),
    **dict.fromkeys(("step", "wait_seconds"), _nullable(_number)),
    **dict.fromkeys(JSON_COLUMNS, _nullable(_json)),
    **dict.fromkeys(("do_interrupt", "ask_for_human_help", "is_deleted", "is_human"), _nullable(_flag)),
    **dict.fromkeys(("is_send", "is_receive", "include_pictures"), _flag),
}


def recording_of(document: Any) -> Recording:
    """The recording that a decoded document holds; rows sorted by `step`, where equal in the order of the document.

    Raises `ValueError` for everything that is wrong with it.
    """
    checks: dict[str, Check] = {"interaction": check_interaction, "raws": _list, "workspace": check_files}
    parts = _members("$", document, checks, "interaction", "raws")
    return assemble(parts["interaction"], parts["raws"], parts.get("workspace", {}))


def assemble(interaction: Interaction, raws: Iterable[Any], files: Mapping[str, bytes]) -> Recording:
    """The recording of these parts, each row a decoded object. Raises `ValueError`, as above."""
    rows: dict[str, Row] = {}
    for index, raw in enumerate(raws):
        row = Row(**_members(f"$.raws[{index}]", raw, _ROW, "node_id", "interaction_id"))
        if row.node_id in rows:
            raise _wrong(f"$.raws[{index}].node_id", "one that no row before has", row.node_id)
        if row.interaction_id != interaction.interaction_id:
            raise _wrong(
                f"$.raws[{index}].interaction_id", f"{interaction.interaction_id} as above", row.interaction_id
            )
        rows[row.node_id] = row
    if not rows:
        raise _wrong("$.raws", "a list of at least one row", [])
    in_order = sorted(rows.values(), key=lambda row: (row.step is not None, row.step))
    return Recording(interaction, in_order, files)


def _members(where: str, value: Any, checks: Mapping[str, Check], *needed: str) -> dict[str, Any]:
    members = _object(where, value)
    for key in needed:
        if key not in members:
            raise ValueError(f"{where}: expected {key}, got no such key")
    for key in members:
        if key not in checks:
            raise _wrong(where, f"only the keys {', '.join(checks)}", key)
    return {key: checks[key](f"{where}.{key}", item) for key, item in members.items()}


def check_interaction(where: str, value: Any) -> Interaction:
    """The interaction that a decoded object is. Raises `ValueError`."""
    return Interaction(**_members(where, value, _INTERACTION, "interaction_id", "user_id"))


def _list(where: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise _wrong(where, "a list of at least one row", value)
    return value


def check_files(where: str, value: Any) -> dict[str, bytes]:
    """The files of a decoded object, of paths and base64. Raises `ValueError`."""
    files: dict[str, bytes] = {}
    for name, content in _object(where, value).items():
        place = f"{where}[{_got(name)}]"
        for folder in accumulate(_PATH(place, name).split("/")[:-1], "{}/{}".format):
            if folder in value:
                raise _wrong(place, "no file to have the name of its folder", folder)
        files[name] = base64.b64decode(_BASE64(place, content))
    return files


def one_line(text: str) -> str:
    """A message about what a stranger has sent, with what isn't printable as escapes."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
