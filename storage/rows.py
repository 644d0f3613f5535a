"""A recording's rows, written down in a file of their own: however many they are, they take up little memory."""

from __future__ import annotations

import marshal
from array import array
from collections.abc import Iterator, Sequence
from itertools import pairwise
from operator import attrgetter
from tempfile import SpooledTemporaryFile
from typing import Any, overload

from .models import Row

COLUMNS = tuple(name for name in Row.__slots__ if name != "id")
Values = tuple[Any, ...]
"""What a row holds, in the order of `COLUMNS`."""

BATCH_ROWS = 500  # in one statement: 9,500 values, where the drivers' limits begin at 32,766
BATCH_BYTES = 1024 * 1024  # what a batch comes to, if it is not one row alone
IN_MEMORY_BYTES = 1024 * 1024

_STEP = COLUMNS.index("step")
_NO_STEP = -(2**63)  # which comes before all others

values_of = attrgetter(*COLUMNS)


def _temporary_file() -> SpooledTemporaryFile[bytes]:
    return SpooledTemporaryFile(IN_MEMORY_BYTES)


class Rows(Sequence[Row]):
    """Rows, sorted by `step`, where equal in the order in which they were added; those without a step come first.

    A megabyte of them is in memory at most, and 16 bytes for each. Whoever made them closes them.
    """

    def __init__(self) -> None:
        self._file = _temporary_file()
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._ends = array("Q", [0])
        self._steps = array("q")
        self._order: Sequence[int] | None = None

    def append(self, values: Values) -> None:
        """Add a row. Raises `OSError` where there is no room for it."""
        text = marshal.dumps(values)  # not pickle, which takes twice as long; nobody else ever sees the file
        self._pending.append(text)
        self._pending_bytes += len(text)
        self._ends.append(self._ends[-1] + len(text))
        step = values[_STEP]
        self._steps.append(_NO_STEP if step is None else step)
        self._order = None
        if self._pending_bytes > BATCH_BYTES // 4:
            self._flush()

    def _flush(self) -> None:
        if self._pending:
            self._file.seek(0, 2)
            self._file.write(b"".join(self._pending))
            self._pending, self._pending_bytes = [], 0

    def batches(self) -> Iterator[list[Values]]:
        """All of the rows, some at a time."""
        self._flush()
        start = size = 0
        for place in range(len(self)):
            if place > start and (size + self._size(place) > BATCH_BYTES or place == start + BATCH_ROWS):
                yield self._read(range(start, place))
                start, size = place, 0
            size += self._size(place)
        if self:
            yield self._read(range(start, len(self)))

    def _read(self, places: range) -> list[Values]:
        found = [self._in_order(place) for place in places]
        if all(after == before + 1 for before, after in pairwise(found)):
            self._file.seek(self._ends[found[0]])
            text = memoryview(self._file.read(self._ends[found[-1] + 1] - self._ends[found[0]]))
            offset = self._ends[found[0]]
            return [marshal.loads(text[self._ends[row] - offset : self._ends[row + 1] - offset]) for row in found]
        return [values for place in places for values in self._read(range(place, place + 1))]

    def _size(self, place: int) -> int:
        row = self._in_order(place)
        return self._ends[row + 1] - self._ends[row]

    def _in_order(self, place: int) -> int:
        if self._order is None:
            steps = self._steps
            is_sorted = all(before <= after for before, after in pairwise(steps))
            self._order = (
                range(len(steps)) if is_sorted else array("L", sorted(range(len(steps)), key=steps.__getitem__))
            )
        return self._order[place]

    def __len__(self) -> int:
        return len(self._steps)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        places = range(len(self))[index]
        self._flush()
        if isinstance(places, int):
            return Row(*self._read(range(places, places + 1))[0])
        return [self[place] for place in places]

    def __iter__(self) -> Iterator[Row]:
        return (Row(*values) for batch in self.batches() for values in batch)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(Row.__eq__, self, other))

    __hash__ = None  # type: ignore[assignment]

    def close(self) -> None:
        """Give the file back; the rows are gone. Can be done twice."""
        self._file.close()

    __del__ = close


def batches_of(rows: Sequence[Row]) -> Iterator[list[Values]]:
    """The values of rows, some at a time."""
    if isinstance(rows, Rows):
        yield from rows.batches()
        return
    for start in range(0, len(rows), BATCH_ROWS):
        yield [values_of(row) for row in rows[start : start + BATCH_ROWS]]
