"""Rows as they are sent: texts that follow one another, in one piece. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar


class Page:
    """Texts that follow one another, as UTF-8 in one piece: what is sent is a part of it, and takes no making."""

    def __init__(self, texts: Sequence[bytes], before: bytes = b"", between: bytes = b"", after: bytes = b"") -> None:
        self._starts, self._ends = array("Q"), array("Q")
        end = len(before) - len(between)
        for text in texts:
            self._starts.append(start := end + len(between))
            self._ends.append(end := start + len(text))
        self.body = before + between.join(texts) + after
        self.size_bytes = len(self.body) + 2 * 8 * len(texts)

    def __len__(self) -> int:
        return len(self._ends)

    def size_of(self, first: int, last: int) -> int:
        """How many bytes the texts from `first` up to and without `last` take, with what is between them."""
        return self._ends[last - 1] - self._starts[first]

    def piece(self, first: int, last: int) -> bytes:
        """Those texts, with what is between them."""
        return self.body[self._starts[first] : self._ends[last - 1]]


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
        return [self.page.piece(row, row + 1) for row in range(self.first, self.last)]
