"""Whether a text is JSON, without reading it into Python: numbers of any size, any depth, any escape. Pure."""

from __future__ import annotations

import re

import orjson

_TOKEN = re.compile(
    r"""[ \t\n\r]*(?:
        (?P<open>[\[{]) | (?P<close>[\]}]) | (?P<comma>,) | (?P<colon>:)
        | (?P<string>"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*")
        | (?P<value>-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null)
    )""",
    re.VERBOSE,
)


def is_json(text: str | bytes) -> bool:
    """Whether `text`, maybe as UTF-8, is JSON (RFC 8259) that a text frame can carry as it is."""
    try:
        orjson.loads(text)
        return True
    except orjson.JSONDecodeError:
        pass  # broken; or a number too large for a float, a lone surrogate's escape, or deeper than 1024
    try:
        text = text.decode() if isinstance(text, bytes) else text.encode().decode()
    except UnicodeError:
        return False
    return _follows_the_grammar(text)


def _follows_the_grammar(text: str) -> bool:
    brackets: list[str] = []
    expected = {"value"}  # of value, key, colon, comma, close; nothing more when it is over
    position, end = 0, len(text.rstrip(" \t\n\r"))
    while position < end:
        token = _TOKEN.match(text, position, end)
        if token is None:
            return False
        position, kind, last = token.end(), token.lastgroup, text[token.end() - 1]
        if kind == "open" and "value" in expected:
            brackets.append("]" if last == "[" else "}")
            expected = {"value", "close"} if last == "[" else {"key", "close"}
        elif kind == "string" and "key" in expected:
            expected = {"colon"}
        elif kind == "colon" and "colon" in expected:
            expected = {"value"}
        elif kind == "comma" and "comma" in expected:
            expected = {"value"} if brackets[-1] == "]" else {"key"}
        elif _ends_a_value(kind, last, expected, brackets):
            expected = {"comma", "close"} if brackets else set()
        else:
            return False
    return not expected


def _ends_a_value(kind: str | None, last: str, expected: set[str], brackets: list[str]) -> bool:
    if kind == "close":
        return "close" in expected and brackets.pop() == last
    return kind in ("string", "value") and "value" in expected
