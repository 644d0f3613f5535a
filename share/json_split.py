"""Takes a large JSON text apart without reading all of it into Python: where its members and elements begin and end.

Only the outline is checked here, which is all that is needed to find the parts: whoever reads a part checks it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from mmap import MADV_DONTNEED, PAGESIZE, mmap

Buffer = bytes | mmap

MAX_DEPTH = 503
"""The 500 that `import` takes in a row's data, and what is around it."""

_FORGET_BYTES = 4 * 1024 * 1024
_MANY_BYTES = 32 * 1024

_SPACE = re.compile(rb"[ \t\n\r]*+")
_COMMA = re.compile(rb"[ \t\n\r]*+,[ \t\n\r]*+")
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_SCALAR = re.compile(rb'[^\s"\[\]{},:]++')
_STRUCTURE = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[\[\]{}"]', re.DOTALL)


class SplitError(ValueError):
    """The text isn't JSON, as far as its outline goes; the message says where, what was expected and what came."""


class PartTooLarge(ValueError):
    """A part has more bytes than it may."""


def members(text: Buffer, start: int) -> Iterator[tuple[bytes, int, int]]:
    """The key (JSON, with its quotes), and where the value begins and ends, of each member of the object at `start`."""
    position = first(text, start, b"{")
    forgotten = start
    while position is not None:
        key, value_start = key_at(text, position)
        end = end_of(text, value_start, len(text))
        yield key, value_start, end
        forgotten = forget(text, forgotten, end)
        position = following(text, end, b"}")


def elements(
    text: Buffer, start: int, max_bytes: int, are_elements: Callable[[bytes], bool] = lambda text: False
) -> Iterator[tuple[int, int]]:
    """Where each element of the list at `start` begins and ends. Raises `PartTooLarge` for one above `max_bytes`.

    `are_elements` says of bytes whether they would be JSON between brackets. Where it says so nobody has to look for
    the ends of these elements, and they come as one.
    """
    guess = _Guess(text, max_bytes, are_elements)
    position = first(text, start, b"[")
    forgotten = start
    while position is not None:
        end = guess.end_of(position) or end_of(text, position, max_bytes)
        yield position, end
        forgotten = forget(text, forgotten, end)
        position = following(text, end, b"]")
        if position is not None:
            guess.learn(end, position)


class _Guess:
    # Elements end where the text looks as it did between the first two: `}, {"node_id"`, say. If what comes before is
    # JSON between brackets, so it is. Tried with many elements, then with one; no place is tried twice, so that no text
    # makes it slow.
    def __init__(self, text: Buffer, max_bytes: int, are_elements: Callable[[bytes], bool]) -> None:
        self._text = text
        self._max_bytes = max_bytes
        self._are_elements = are_elements
        self._between = b""
        self._tried = self._tried_many = 0

    def learn(self, end: int, position: int) -> None:
        if not self._between and self._text[end - 1 : end] == b"}" and self._text[position : position + 1] == b"{":
            key = _STRING.match(self._text, position + 1, position + 200)
            self._between = self._text[end - 1 : key.end() if key else position + 1]

    def end_of(self, position: int) -> int | None:
        if not self._between:
            return None
        if position >= self._tried_many:
            limit = min(position + min(_MANY_BYTES, self._max_bytes), len(self._text))
            found = self._text.rfind(self._between, position, limit)
            self._tried_many = max(found + 1, limit)
            if found >= 0 and self._is_end(position, found + 1):
                self._tried_many = 0
                return found + 1
        if position >= self._tried:
            limit = min(position + self._max_bytes, len(self._text))
            found = self._text.find(self._between, position, limit + len(self._between) - 1)
            self._tried = limit if found < 0 else found + 1
            if found >= 0 and self._is_end(position, found + 1):
                return found + 1
        return None

    def _is_end(self, position: int, end: int) -> bool:
        tried = self._text[position:end]
        forget(self._text, position, end)
        return self._are_elements(tried)


def first(text: Buffer, start: int, opening: bytes) -> int | None:
    """Where the first member or element begins of what is opened at `start`; None where there is none."""
    position = skip_space(text, _expect(text, start, opening))
    return None if text[position : position + 1] == (b"}" if opening == b"{" else b"]") else position


def following(text: Buffer, end: int, closing: bytes) -> int | None:
    """Where the member or element begins that follows the value that ends at `end`; None where there is none."""
    if found := _COMMA.match(text, end):
        return found.end()
    position = skip_space(text, end)
    return None if text[position : position + 1] == closing else _expect(text, position, b",")


def key_at(text: Buffer, position: int) -> tuple[bytes, int]:
    """The key (JSON, with its quotes) of the member at `position`, and where its value begins."""
    if text[position : position + 1] != b'"':
        raise _wrong(text, position, "a key")
    end = end_of(text, position, len(text))
    return text[position:end], skip_space(text, _expect(text, skip_space(text, end), b":"))


def forget(text: Buffer, start: int, end: int) -> int:
    """Give the memory of what has been read of a file back, some megabytes at a time; from where on the rest isn't."""
    if not isinstance(text, mmap) or end - start < _FORGET_BYTES:
        return start
    start, end = start - start % PAGESIZE, end - end % PAGESIZE
    text.madvise(MADV_DONTNEED, start, end - start)
    return end


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
    depth, forgotten = 0, start
    for token in _STRUCTURE.finditer(text, start):
        if token.end() - start > max_bytes:
            raise PartTooLarge
        if token.end() - forgotten > _FORGET_BYTES:
            forgotten = forget(text, forgotten, token.end())
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


def _expect(text: Buffer, position: int, character: bytes) -> int:
    if text[position : position + 1] != character:
        raise _wrong(text, position, repr(character.decode()))
    return position + 1


def _wrong(text: Buffer, position: int, expected: str) -> SplitError:
    came = repr(text[position : position + 20].decode("utf-8", "replace")) if position < len(text) else "the end"
    return SplitError(f"byte {position}: expected JSON with {expected} there, got {came}")
