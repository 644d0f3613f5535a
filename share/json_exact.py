"""JSON read so that it can be written again exactly as it was: each key, number and string; only white space goes."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import orjson

MAX_DEPTH = 500  # Python's own limit is 1000, of which whoever calls has used a part
MAX_INTEGER_DIGITS = 4300  # what Python itself takes, unless its limit was lifted

Write = Callable[[Any], str]

_BLANKS = b" \t\n\r"
_TOKENS = re.compile(r'("(?:[^"\\]++|\\.)*+")|[ \t\n\r]++', re.DOTALL)


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
        raise ValueError(f"expected each key of an object once, got {shown(twice)} again")
    return members


# Not orjson: it makes floats of integers beyond 64 bits, refuses lone surrogates and writes only 254 levels.
decode = json.JSONDecoder(parse_float=_Float, parse_int=_int, parse_constant=_nan, object_pairs_hook=_unique).decode
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_encode_ascii = json.JSONEncoder(separators=(",", ":")).encode


def encode(value: Any) -> str:
    """What `decode` has read, as it is stored. Raises `ValueError`."""
    pieces: list[str] = []
    _write(value, pieces, 0)
    return _escaped("".join(pieces))


def _write(value: Any, pieces: list[str], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueError(f"expected at most {MAX_DEPTH} levels of lists and objects, got more")
    if isinstance(value, dict):
        for index, (key, item) in enumerate(value.items()):
            pieces.append(f"{',' if index else '{'}{_encode(key)}:")
            _write(item, pieces, depth + 1)
        pieces.append("}" if value else "{}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            pieces.append("," if index else "[")
            _write(item, pieces, depth + 1)
        pieces.append("]" if value else "[]")
    else:
        pieces.append(_scalar(value))


def _scalar(value: Any) -> str:
    return value.spelling if isinstance(value, _Float) else _encode(value)


def _escaped(text: str) -> str:
    return re.sub("[\ud800-\udfff]", lambda lone: f"\\u{ord(lone[0]):04x}", text)


def shown(value: Any) -> str:
    """What a message says of a value that was decoded."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list" if value else "an empty list"
    text = _scalar(value)
    return text if len(text) <= 60 else text[:59] + "…"


def compact(text: str) -> str:
    """A JSON text as it is stored: no white space between its tokens, and no escapes but those that it needs."""
    return _TOKENS.sub(_compacted, text)


def _compacted(token: re.Match[str]) -> str:
    string = token[1] or ""
    return _escaped(_encode(json.loads(string))) if "\\" in string else string


def _orjson(value: Any) -> str:
    return orjson.dumps(value).decode()


def read_quickly(text: bytes) -> tuple[Any, Write] | None:
    """The value of a JSON text, and what writes it or a part of it as `encode(decode(text))` would, much faster.

    None for a text of which that isn't sure. It is of one that, written again, differs from what came in nothing but
    blanks: a number that is spelt otherwise or has lost digits, a key that came twice, an escape that isn't needed,
    all would be seen. Written either as by orjson, or as by Python, which escapes all that isn't ASCII.
    """
    try:
        value = orjson.loads(text)
        written = orjson.dumps(value).translate(None, _BLANKS)
        bare = text.translate(None, _BLANKS)
        if written == bare:
            return value, _orjson
        if _encode_ascii(value).encode().translate(None, _BLANKS) == bare:
            return value, _encode
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        pass
    return None
