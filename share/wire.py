"""What crosses the socket: commands in, frames out. The only place that speaks JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NoReturn

import orjson

# What orjson would turn into a float begins at 19 digits: 2**63 below zero, 2**64 above.
_BIG_INTEGER = b"0" * 19
_DIGITS_AS_ZERO = bytes(48 if 48 <= byte < 58 else 32 for byte in range(256))

MAX_MESSAGE_BYTES = 64 * 1024
MAX_INDENTATION_BYTES = 16 * 1024 * 1024


class WireError(ValueError):
    """A message that can't be understood, or a stored value that can't be sent; the message says what was expected."""


def decode_command(message: str | bytes) -> dict[str, Any]:
    """The JSON object that a client sent in a text or a binary frame. Raises `WireError`."""
    if len(message) > MAX_MESSAGE_BYTES:
        raise WireError(f"expected a message of at most {MAX_MESSAGE_BYTES} bytes, got {len(message)}")
    try:
        command = orjson.loads(message)
    except orjson.JSONDecodeError as error:
        raise WireError(f'expected a JSON object such as {{"type": "shared"}}, got no valid JSON: {error}') from None
    if not isinstance(command, dict):
        kind = {list: "an array", str: "a string", type(None): "null", bool: "true or false"}.get(
            type(command), "a number"
        )
        raise WireError(f'expected a JSON object such as {{"type": "shared"}}, got {kind}')
    return command


def decode_stored(stored: str | bytes | None) -> Any:
    """The value of a JSON column, a text or UTF-8; None for NULL. No number changes its value. Raises `WireError`."""
    if stored is None:
        return None
    try:
        text = _utf_8(stored)
        if not _may_have_big_integer(text):
            return orjson.loads(text)
    except ValueError:
        pass  # a lone surrogate, which is allowed; or really broken, which the standard library will say again
    try:
        return json.loads(_utf_8(stored).decode(), parse_constant=_refuse, parse_float=_finite)
    except RecursionError:
        raise WireError("expected JSON that is not nested as deeply") from None
    except ValueError as error:
        raise WireError(f"expected valid JSON: {error}") from None


def _may_have_big_integer(text: bytes) -> bool:
    # Not a regular expression: that takes twenty times as long. Most such digits are in strings, in ids and hashes.
    digits = text.translate(_DIGITS_AS_ZERO)
    place = digits.find(_BIG_INTEGER)
    while place >= 0:
        before = text[max(0, place - 32) : place].rstrip(b" \t\n\r-")
        if not before or before[-1] in b"[:,":
            return True
        place = digits.find(_BIG_INTEGER, place + len(_BIG_INTEGER))
    return False


def _utf_8(stored: str | bytes) -> bytes:
    return stored.encode() if isinstance(stored, str) else stored  # what is no UTF-8 came as surrogates, which raise


def encode_stored(value: Any) -> str:
    """A value as the text of a JSON column. Raises `TypeError` or `ValueError` for one that JSON has not."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except RecursionError:
        raise ValueError("expected a value that is not nested as deeply") from None
    # A lone surrogate can't be stored as itself, but as the escape that JSON has for it.
    return text.encode("utf-8", "backslashreplace").decode()


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _finite(number: str) -> float:
    value = float(number)
    if math.isinf(value):
        raise ValueError(f"{number[:40]} is too large for a number")
    return value


def encode_classic(frame: Mapping[str, Any]) -> bytes:
    """A frame as classic has it: `json.dumps(frame, ensure_ascii=False, indent=2)`. Raises `WireError`.

    A lone surrogate, which no text frame can carry, stays the escape that it was.
    """
    try:
        return orjson.dumps(frame, option=orjson.OPT_INDENT_2)
    except orjson.JSONEncodeError:
        pass  # an integer beyond 64 bits, a lone surrogate, or deeper than 254
    try:
        text = json.dumps(frame, ensure_ascii=False, indent=2, allow_nan=False)
    except RecursionError:
        raise WireError("expected JSON that is not nested as deeply") from None
    except ValueError as error:
        raise WireError(f"expected numbers that JSON can write: {error}") from None
    return text.encode("utf-8", "backslashreplace")


def check_indentation(value: Any) -> None:
    """Raise `WireError` for a value whose indentation alone would take more than 16 MiB: nested 250 deep, a row of a
    megabyte becomes a frame of a quarter of a gigabyte.
    """
    size, containers = 0, [(value, 1)]
    while containers and size <= MAX_INDENTATION_BYTES:
        container, depth = containers.pop()
        parts = container.values() if isinstance(container, dict) else container
        size += 2 * depth * len(parts)
        containers += [(part, depth + 1) for part in parts if isinstance(part, dict | list)]
    if size > MAX_INDENTATION_BYTES:
        raise WireError("expected JSON that is not nested as deeply in as many places")


def _connect(message: str, *, success: bool) -> bytes:
    return encode_classic({"data": None, "status": "connect", "message": message, "success": success})


CONNECTED = _connect("connect success", success=True)
PONG = encode_classic({"type": "pong"})


def encode_refusal(message: str) -> bytes:
    """The frame that tells a viewer why he isn't let in."""
    return _connect(message, success=False)


def encode_error(message: str, connection: str) -> bytes:
    """The frame that tells a viewer what was wrong, with what he sent or with us; `connection` is his one's id."""
    frame = {"data": None, "status": "error", "message": message, "success": False, "connection": connection}
    return encode_classic(frame)


def encode_row(
    *,
    data: Any,
    status: str | None,
    current: str | None,
    node_id: str,
    workspace_file_list: list[dict[str, str]],
    error: str | None = None,
) -> bytes:
    """A row's frame; with `error`, the one that stands in the place of a row that can't be read. Raises `WireError`."""
    frame = {
        "data": data,
        "status": status if error is None else "error",
        "message": error or "success",
        "success": error is None,
        "current": current,
        "node_id": node_id,
        "workspace_file_list": workspace_file_list,
    }
    return encode_classic(frame)
