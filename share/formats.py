"""Reads a recorded run from a file: an XAgent recording (its community upload), or a trajectory of SWE-agent."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

from storage.models import Interaction, Recording, Row

from .swe_agent import to_xagent

MAX_DEPTH = 500  # Python's own limit is 1000, of which whoever calls has used a part
MAX_INTEGER_DIGITS = 4300  # what Python itself takes, unless its limit was lifted
MAX_PATH_CHARS = 1024

# Is given where a value stands and the value, returns what the column holds, or raises ValueError.
Check = Callable[[str, Any], Any]


class RecordingError(ValueError):
    """A file holds no recording. One line: which file, where in it (as a JSONPath), what was expected and what came."""


def read_recording(path: Path) -> Recording:
    """Read an XAgent recording or a SWE-agent trajectory, whichever the file's content is.

    Rows come sorted by `step`, where equal in the order of the file, those without a step first. JSON columns are
    compact JSON text in which every key, number and string is as in the file. A trajectory knows no time of day: its
    rows are timed from the file's modification time (UTC, whole seconds) by the durations of its steps.

    Raises RecordingError for everything that is wrong with the file or its content.
    """
    try:
        with path.open("rb") as file:
            content, modified = file.read(), int(os.fstat(file.fileno()).st_mtime)
        return _recording(_as_xagent(_decode(content.decode("utf-8-sig")), content, modified))
    except json.JSONDecodeError as error:
        problem = f"line {error.lineno}, column {error.colno}: expected JSON, got: {error.msg}"
    except OSError as error:
        problem = f"expected a readable file, got: {error.strerror or error}"
    except RecursionError:
        problem = "expected JSON that Python can read, got it nested too deep"
    except ValueError as error:
        problem = str(error)
    raise RecordingError(_one_line(f"{path}: {problem}"))


def _one_line(text: str) -> str:
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _as_xagent(document: Any, content: bytes, modified: int) -> Any:
    if not isinstance(document, dict) or "interaction" in document or "raws" in document:
        return document
    if "trajectory" not in document and "history" not in document:
        raise ValueError("$: expected the keys of XAgent (interaction, raws) or SWE-agent (trajectory), got neither")
    return to_xagent(document, hashlib.sha256(content).hexdigest()[:32], modified)


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
_decode = json.JSONDecoder(parse_float=_Float, parse_int=_int, parse_constant=_nan, object_pairs_hook=_unique).decode
_encode = json.JSONEncoder(ensure_ascii=False).encode


def _json(where: str, value: Any) -> str:
    pieces: list[str] = []
    _write(where, value, pieces, 0)
    return re.sub("[\ud800-\udfff]", lambda lone: f"\\u{ord(lone[0]):04x}", "".join(pieces))


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
    **dict.fromkeys(("data", "file_list", "human_data", "human_file_list"), _nullable(_json)),
    **dict.fromkeys(("do_interrupt", "ask_for_human_help", "is_deleted", "is_human"), _nullable(_flag)),
    **dict.fromkeys(("is_send", "is_receive", "include_pictures"), _flag),
}


def _recording(document: Any) -> Recording:
    checks = {"interaction": _interaction, "raws": _rows, "workspace": _workspace}
    parts = _members("$", document, checks, "interaction", "raws")
    interaction_id = parts["interaction"].interaction_id
    for index, row in enumerate(parts["raws"]):
        if row.interaction_id != interaction_id:
            raise _wrong(f"$.raws[{index}].interaction_id", f"{interaction_id} as above", row.interaction_id)
    rows = sorted(parts["raws"], key=lambda row: (row.step is not None, row.step))
    return Recording(parts["interaction"], rows, parts.get("workspace", {}))


def _members(where: str, value: Any, checks: Mapping[str, Check], *needed: str) -> dict[str, Any]:
    members = _object(where, value)
    for key in needed:
        if key not in members:
            raise ValueError(f"{where}: expected {key}, got no such key")
    for key in members:
        if key not in checks:
            raise _wrong(where, f"only the keys {', '.join(checks)}", key)
    return {key: checks[key](f"{where}.{key}", item) for key, item in members.items()}


def _interaction(where: str, value: Any) -> Interaction:
    return Interaction(**_members(where, value, _INTERACTION, "interaction_id", "user_id"))


def _rows(where: str, value: Any) -> list[Row]:
    rows: dict[str, Row] = {}
    if not isinstance(value, list) or not value:
        raise _wrong(where, "a list of at least one row", value)
    for index, raw in enumerate(value):
        row = Row(**_members(f"{where}[{index}]", raw, _ROW, "node_id", "interaction_id"))
        if row.node_id in rows:
            raise _wrong(f"{where}[{index}].node_id", "one that no row before has", row.node_id)
        rows[row.node_id] = row
    return list(rows.values())


def _workspace(where: str, value: Any) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for name, content in _object(where, value).items():
        place = f"{where}[{_got(name)}]"
        for folder in accumulate(_PATH(place, name).split("/")[:-1], "{}/{}".format):
            if folder in value:
                raise _wrong(place, "no file to have the name of its folder", folder)
        files[name] = base64.b64decode(_BASE64(place, content))
    return files
