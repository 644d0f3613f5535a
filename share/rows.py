"""Rows as they are sent: texts that follow one another, ready to be sent one by one or together. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

APART_BYTES = 32 * 1024
"""The size of texts, in the mean, from which on cutting one out takes longer than putting some together."""


class Page:
    """Texts that follow one another, in UTF-8. `before`, `between` and `after` make one of several.

    They are one piece, of which what is sent is a part; large ones are kept as they are.
    """

    def __init__(self, texts: Sequence[bytes], before: bytes = b"", between: bytes = b"", after: bytes = b"") -> None:
        self._starts, self._ends = array("Q"), array("Q")
        end = len(before) - len(between)
        for text in texts:
            self._starts.append(start := end + len(between))
            self._ends.append(end := start + len(text))
        self._before, self._between, self._after = before, between, after
        self._apart = tuple(texts) if end > APART_BYTES * len(texts) else ()
        self._body = b"" if self._apart else before + between.join(texts) + after
        self.size_bytes = end + len(after) + 2 * 8 * len(texts)

    def __len__(self) -> int:
        return len(self._ends)

    def size_of(self, first: int, last: int) -> int:
        """How many bytes the texts from `first` up to and without `last` take, with what is between them."""
        return self._ends[last - 1] - self._starts[first]

    def text(self, number: int) -> bytes:
        """One of them."""
        if self._apart:
            return self._apart[number]
        return self._body[self._starts[number] : self._ends[number]]

    def joined(self, first: int, last: int) -> bytes:
        """Those from `first` up to and without `last` as one text."""
        if self._apart:
            parts = [self._before]
            for text in self._apart[first:last]:
                parts += text, self._between
            parts[-1] = self._after
            return b"".join(parts)
        if (first, last) == (0, len(self)):
            return self._body
        some = memoryview(self._body)[self._starts[first] : self._ends[last - 1]]
        return b"".join((self._before, some, self._after))


P_co = TypeVar("P_co", bound=Page, covariant=True)


@dataclass(frozen=True, slots=True)
class Run(Generic[P_co]):
    """The rows of a page from `first` up to and without `last`."""

    page: P_co
    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first

    def texts(self) -> list[bytes]:
        """Each of them."""
        return list(map(self.page.text, range(self.first, self.last)))
