"""Takes a large JSON text apart without reading all of it into Python: where its members and elements begin and end.

Only the outline is checked here, which is all that is needed to find the parts: whoever reads a part checks it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from mmap import mmap

Buffer = bytes | mmap

MAX_DEPTH = 503
"""The 500 that `import` takes in a row's data, and what is around it."""

_SPACE = re.compile(rb"[ \t\n\r]*+")
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_SCALAR = re.compile(rb'[^\s"\[\]{},:]++')
_STRUCTURE = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[\[\]{}"]', re.DOTALL)


class SplitError(ValueError):
    """The text isn't JSON, as far as its outline goes; the message says where, what was expected and what came."""


class PartTooLarge(ValueError):
    """A part has more bytes than it may."""


def members(text: Buffer, start: int) -> Iterator[tuple[bytes, int, int]]:
    """The key (JSON, with its quotes), and where the value begins and ends, of each member of the object at `start`."""
    for key_start, key_end, value_start, value_end in _items(text, start, b"{", b"}", len(text)):
        yield text[key_start:key_end], value_start, value_end


def elements(text: Buffer, start: int, max_bytes: int) -> Iterator[tuple[int, int]]:
    """Where each element of the list at `start` begins and ends. Raises `PartTooLarge` for one above `max_bytes`."""
    for _, _, value_start, value_end in _items(text, start, b"[", b"]", max_bytes):
        yield value_start, value_end


def skip_space(text: Buffer, position: int) -> int:
    """The first position from there on that isn't white space."""
    found = _SPACE.match(text, position)
    assert found is not None
    return found.end()


def end_of(text: Buffer, start: int, max_bytes: int) -> int:
    """Where the value that begins at `start` ends. Raises `SplitError`, or `PartTooLarge`."""
    first = text[start : start + 1]
    if first in (b"[", b"{"):
        return _end_of_brackets(text, start, max_bytes)
    found = (_STRING if first == b'"' else _SCALAR).match(text, start)
    if found is None:
        raise _wrong(text, start, "a value")
    if found.end() - start > max_bytes:
        raise PartTooLarge
    return found.end()


def _end_of_brackets(text: Buffer, start: int, max_bytes: int) -> int:
    depth = 0
    for token in _STRUCTURE.finditer(text, start):
        if token.end() - start > max_bytes:
            raise PartTooLarge
        match token[0][:1]:
            case b"[" | b"{":
                depth += 1
                if depth > MAX_DEPTH:
                    raise SplitError(f"byte {token.start()}: expected at most {MAX_DEPTH} levels of lists and objects")
            case b"]" | b"}":
                depth -= 1
                if depth == 0:
                    return token.end()
            case _ if len(token[0]) == 1:
                break  # a string that doesn't end
    raise SplitError(f"byte {start}: expected JSON, got no end of what begins there")


def _items(
    text: Buffer, start: int, opening: bytes, closing: bytes, max_bytes: int
) -> Iterator[tuple[int, int, int, int]]:
    position = skip_space(text, _expect(text, start, opening))
    if text[position : position + 1] == closing:
        return
    while True:
        key_start = key_end = position
        if opening == b"{":
            if text[position : position + 1] != b'"':
                raise _wrong(text, position, "a key")
            key_end = end_of(text, position, max_bytes)
            position = skip_space(text, _expect(text, skip_space(text, key_end), b":"))
        end = end_of(text, position, max_bytes)
        yield key_start, key_end, position, end
        position = skip_space(text, end)
        if text[position : position + 1] == closing:
            return
        position = skip_space(text, _expect(text, position, b","))


def _expect(text: Buffer, position: int, character: bytes) -> int:
    if text[position : position + 1] != character:
        raise _wrong(text, position, repr(character.decode()))
    return position + 1


def _wrong(text: Buffer, position: int, expected: str) -> SplitError:
    came = repr(text[position : position + 20].decode("utf-8", "replace")) if position < len(text) else "the end"
    return SplitError(f"byte {position}: expected JSON with {expected} there, got {came}")
