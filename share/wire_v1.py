"""replay.v1 on the wire: its commands, each field checked, and its frames."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import quote

import orjson

from storage.models import LARGER, ShownRow

from .content import PICTURE_TOOL, handle_workspace_filelist
from .json_text import is_json
from .rows import Page
from .timeline import MAX_SPEED, MIN_SPEED
from .wire import WireError, decode_stored

SUBPROTOCOL = "replay.v1"
MAX_DATA_BYTES = 1024 * 1024
"""Larger data of a row isn't sent; the page fetches it from `data_url`."""

MAX_BATCH_BYTES = 256 * 1024
"""Of rows that are sent in one frame; a row alone may be larger."""

SHORT_FILE_LIST = 4096
"""Characters of a list of files that is worth keeping: it is mostly that of the row before."""

MAX_PAUSE_SECONDS = 86_400.0


class FieldError(WireError):
    """A command that is understood, with a field that can't be."""


Check = Callable[[Any], Any]


def _whole(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise ValueError("a whole number from 0")


def _number(lowest: float, highest: float) -> Check:
    def check(value: Any) -> float:
        if isinstance(value, int | float) and not isinstance(value, bool) and lowest <= value <= highest:
            return value
        raise ValueError(f"a number from {lowest:g} to {highest:g}" if math.isfinite(highest) else "a number from 0")

    return check


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise ValueError("true or false")


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise ValueError("a string")


def _optional(check: Check) -> Check:
    def optional(value: Any) -> Any:
        try:
            return None if value is None else check(value)
        except ValueError as error:
            raise ValueError(f"{error}, or null") from None

    return optional


def _pace(value: Any) -> str | float:
    if isinstance(value, str) and value in ("recorded", "classic", "instant"):
        return value
    try:
        seconds: float = _number(0, MAX_PAUSE_SECONDS)(value)
        return seconds
    except ValueError:
        raise ValueError('"recorded", "classic", "instant" or a number of seconds from 0 to 86400') from None


_speed = _number(MIN_SPEED, MAX_SPEED)
_limit = _optional(_number(0, MAX_PAUSE_SECONDS))
_seconds = _number(0, math.inf)

_START: Mapping[str, tuple[Check, Any]] = {
    "offset": (_whole, 0),
    "epoch": (_optional(_text), None),
    "speed": (_speed, 1),
    "pace": (_pace, None),
    "idle_time_limit": (_limit, None),
    "start_at": (_optional(_seconds), None),
    "follow": (_flag, True),
    "autoplay": (_flag, True),
}
_REQUIRED = object()
_COMMANDS: Mapping[str, Mapping[str, tuple[Check, Any]]] = {
    "shared": _START,
    "replay": _START,
    "pause": {},
    "play": {},
    "seek": {"offset": (_whole, None), "at": (_seconds, None), "marker": (_whole, None)},
    "set_speed": {"speed": (_speed, _REQUIRED)},
    "set_idle_time_limit": {"seconds": (_limit, _REQUIRED)},
    "ping": {},
    "disconnect": {},
}


def check_command(command: Mapping[str, Any], start: str) -> dict[str, Any]:
    """The command with every field that it may have. `start` is the command that starts a replay here.

    Raises `WireError` for a type that there isn't, `FieldError` for a field: it names what was expected and what came.
    """
    name = command.get("type")
    if not isinstance(name, str) or name not in _COMMANDS or (name in ("shared", "replay") and name != start):
        known = ", ".join(key for key in _COMMANDS if key not in ("shared", "replay") or key == start)
        raise WireError(f"type: expected one of {known}, got {_shown(name)}")
    fields = _COMMANDS[name]
    if unknown := command.keys() - fields.keys() - {"type"}:
        expected = ", ".join(fields) or "no field"
        raise FieldError(f"{name}: {_shown(min(unknown))} is no field of it; expected {expected}")
    checked = {"type": name}
    for field, (check, default) in fields.items():
        value = command.get(field, default)
        try:
            checked[field] = value if field not in command and default is not _REQUIRED else check(value)
        except ValueError as error:
            got = f", got {_shown(value)}" if field in command else " and is missing"
            raise FieldError(f"{name}: {field} must be {error}{got}") from None
    if name == "seek" and len(command.keys() & fields.keys()) != 1:
        raise FieldError(f"seek: expected one of offset, at and marker, got {len(command) - 1} of them")
    return checked


def _shown(value: Any) -> str:
    try:
        text = json.dumps(value)
    except RecursionError:
        return "something that is nested very deeply"
    return text if len(text) <= 100 else text[:100] + "…"


def encode(frame: Mapping[str, Any]) -> bytes:
    """A frame as compact JSON. A lone surrogate, which no text frame can carry, becomes its escape."""
    try:
        return orjson.dumps(frame)
    except orjson.JSONEncodeError:  # it is in there, or an integer beyond 64 bits, or it is deeper than 254
        text = json.dumps(frame, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return text.encode("utf-8", "backslashreplace")


PONG = encode({"type": "pong"})


def encode_error(code: str, message: str, connection: str, *, temporary: bool = False) -> bytes:
    """What was wrong on the connection of that id; `temporary` where trying again can help."""
    return encode({"type": "error", "code": code, "message": message, "temporary": temporary, "connection": connection})


_BEFORE, _BETWEEN, _AFTER = b'{"type":"rows","rows":[', b",", b"]}"


def rows_page(frames: Sequence[bytes]) -> Page:
    """The frames of rows that follow one another, so that all of them are one frame already."""
    return Page(frames, _BEFORE, _BETWEEN, _AFTER)


def rows_frame(page: Page, first: int, last: int) -> tuple[bytes, int]:
    """The rows of a page from `first` up to and without `last` as one frame, as many as it may have, and their number.

    A row alone is its own frame.
    """
    around = len(_BEFORE) + len(_AFTER)
    while last > first + 1 and page.size_of(first, last) + around > MAX_BATCH_BYTES:
        last -= 1
    return (page.text(first) if last == first + 1 else page.joined(first, last)), last - first


def encode_row(
    interaction_id: str, row: ShownRow | None, offset: int, at: float, *, max_data: int = MAX_DATA_BYTES
) -> bytes:
    """A row's frame, with its stored JSON as it is; an error frame in its place for one that can't be read.

    `row` None is one that has been deleted since it was counted. `at` is in seconds from the first row.
    Of data larger than `max_data` bytes there is only the address.
    """
    if row is None:
        return _unreadable(offset, at, None, f"row {offset} has been deleted")
    try:
        data, url = _data(interaction_id, row, offset, max_data)
        files = _files(row.file_list) if len(row.file_list or "") <= SHORT_FILE_LIST else _read_files(row.file_list)
    except (WireError, RecursionError) as error:
        return _unreadable(offset, at, row, f"row {offset} can't be read: {error}")
    frame = {
        "data": orjson.Fragment(data),
        "status": row.status,
        "message": "success",
        "success": True,
        "current": row.current,
        "node_id": row.node_id,
        "workspace_file_list": files,
        "offset": offset,
        "at": at,
        "time": row.create_time,
    }
    if url is not None:
        frame["data_url"] = url
    try:
        return orjson.dumps(frame)
    except orjson.JSONEncodeError:  # a lone surrogate; only orjson knows what a fragment is
        frame["data"] = None
        return b'{"data":%b%b' % (data, encode(frame).removeprefix(b'{"data":null'))


def _read_files(text: str | None) -> list[dict[str, str]]:
    return handle_workspace_filelist(decode_stored(text))


_files = lru_cache(maxsize=64)(_read_files)


def _unreadable(offset: int, at: float, row: ShownRow | None, message: str) -> bytes:
    return encode(
        {
            "data": None,
            "status": "error",
            "message": message,
            "success": False,
            "current": row and row.current,
            "node_id": row.node_id if row else "",
            "workspace_file_list": [],
            "offset": offset,
            "at": at,
            "time": row and row.create_time,
        }
    )


def _data(interaction_id: str, row: ShownRow, offset: int, max_data: int) -> tuple[bytes, str | None]:
    text = row.data
    if text is None:
        return b"null", None
    if text is LARGER or len(text) > max_data:
        return b"null", f"{recording_url(interaction_id)}/rows/{offset}/data"
    if not is_json(text):
        raise WireError("expected valid JSON")
    if row.include_pictures and PICTURE_TOOL.encode() in text:
        return _with_picture_urls(interaction_id, text), None
    return text, None


def _with_picture_urls(interaction_id: str, text: bytes) -> bytes:
    try:
        return _put_picture_urls(interaction_id, text, decode_stored(text))
    except (WireError, RecursionError):
        return text  # there is something in it that can be passed on, but not read and written


def _put_picture_urls(interaction_id: str, text: bytes, data: Any) -> bytes:
    tools = data.get("using_tools") if isinstance(data, dict) else None
    if not isinstance(tools, dict) or tools.get("tool_name") != PICTURE_TOOL:
        return text
    output = tools.get("tool_output")
    for part in output if isinstance(output, list) else ():
        if isinstance(part, dict) and isinstance(name := part.get("file_name"), str) and _stays_inside(name):
            part["file_url"] = f"{recording_url(interaction_id)}/files/{quote(name, safe='/', errors='replace')}"
    tools["is_include_pictures"] = True
    return encode(data)


def _stays_inside(name: str) -> bool:
    # A browser takes `..` out of an address before it asks: the author of a recording could send it anywhere.
    return not {"", ".", ".."} & set(name.split("/"))


def rename_recording(frames: bytes, interaction_id: str, name: str) -> bytes:
    """Frames for a viewer who knows the recording by another name, in whose addresses its id would stand."""
    return frames.replace(f'"{recording_url(interaction_id)}/'.encode(), f'"{recording_url(name)}/'.encode())


def recording_url(interaction_id: str) -> str:
    """Where a recording is on the HTTP side, relative to where the routes are mounted."""
    return f"api/v1/recordings/{quote(interaction_id)}"
