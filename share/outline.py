"""What is known of a recording without its content: how many rows, when each was recorded, where its subtasks begin."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from operator import itemgetter, lt
from typing import Any
from zlib import crc32

from storage.interactions import OutlineRows, Position, RowCount
from storage.models import Interaction

from .timeline import RecordedTimes

SUBTASK_STATES = ("inner", "subtask", "subtask_submit", "refinement")
LAST_STATES = ("finished", "failed")
FAILURES = ("failed", "error")

OTHER = "other"
"""In the place of a status of which there is no number left: a byte a row tells 255 of them apart."""

MAX_STATUS_CHARS = 64
_NO_STEP = -(2**63)


class Outline:
    """The rows of a recording as they are known so far; it only grows. 17 bytes a row, up to 25 for large numbers."""

    def __init__(self) -> None:
        self._times = RecordedTimes()
        self._ids = array("I")
        self._steps = array("I")
        self._statuses = array("B")
        self._names: dict[str, int] = {}
        self._subtasks: dict[str, int] = {}
        self._newest_id = 0
        self.disorder = 0
        """A checksum of the rows that were stored later than one behind them; 0 where rows were only ever added."""
        self.last_status: str | None = None

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def at(self) -> array[float]:
        """Each row's time in seconds from the first row; never decreasing."""
        return self._times.at

    @property
    def duration(self) -> float:
        """The last row's time, in seconds from the first."""
        return self.at[-1] if self.at else 0.0

    @property
    def marker_offsets(self) -> list[int]:
        """The offsets of the markers, in order."""
        return list(self._subtasks.values())

    def append(self, rows: OutlineRows) -> None:
        """Add rows that come after those that are known."""
        ids, steps, statuses, currents, create_times = rows
        if not ids:
            return
        self._times.extend(create_times)
        self._steps = _extended(self._steps, [_NO_STEP if step is None else step for step in steps])
        self._note_disorder(ids)
        self._ids = _extended(self._ids, ids)
        numbers = {status: self._number(status or "") for status in dict.fromkeys(statuses)}
        self._statuses.extend([numbers[status] for status in statuses])
        self.last_status = statuses[-1]
        # The first row of each pair: the one that is put in last, from behind.
        pairs = dict(zip(zip(reversed(currents), reversed(statuses), strict=True), count(len(self), -1), strict=False))
        for (current, status), offset in sorted(pairs.items(), key=itemgetter(1)):
            if current and current != "1" and status in SUBTASK_STATES:
                self._subtasks.setdefault(current, offset)

    def _note_disorder(self, ids: Sequence[int]) -> None:
        if ids[0] < self._newest_id or not all(map(lt, ids, ids[1:])):
            for row_id in ids:
                if row_id < self._newest_id:
                    self.disorder = crc32(b"%d" % row_id, self.disorder)
                self._newest_id = max(row_id, self._newest_id)
        self._newest_id = max(ids[-1], self._newest_id)

    def _number(self, status: str) -> int:
        if status not in self._names and (len(self._names) == 255 or len(status) > MAX_STATUS_CHARS):
            return 255
        return self._names.setdefault(status, len(self._names))

    def steps(self, total: int, limit: int) -> list[tuple[int, float, str]]:
        """The offset, the time and the status of the first `total` rows, in order; "" for a row without a status.

        Of more than `limit` rows, those that a timeline needs: where subtasks begin, failures, the last, and the first
        of each of equal spans of time. May be called in a thread while rows are appended.
        """
        names = [*self._names, *[OTHER] * (256 - len(self._names))]
        offsets = range(1, total + 1) if total <= limit else self._thin(total, limit)
        return [(offset, self.at[offset - 1], names[self._statuses[offset - 1]]) for offset in offsets]

    def _thin(self, total: int, limit: int) -> list[int]:
        failures = {self._names[name] for name in FAILURES if name in self._names}
        kept = {total, *(offset for offset in self.marker_offsets if offset <= total)}
        kept.update(number + 1 for number in range(total) if self._statuses[number] in failures)
        if len(kept) > limit:
            return sorted({*self._firsts(sorted(kept), limit - 1), total})
        return sorted({*kept, *self._firsts(range(1, total + 1), limit - len(kept))})

    def _firsts(self, offsets: Sequence[int], spans: int) -> Iterator[int]:
        """The first of them in each of so many equal spans of time; of ranks, where all were recorded at once."""
        start, duration = self.at[offsets[0] - 1], self.at[offsets[-1] - 1] - self.at[offsets[0] - 1]
        newest = -1
        for rank, offset in enumerate(offsets):
            share = (self.at[offset - 1] - start) / duration if duration > 0 else rank / len(offsets)
            span = min(int(share * spans), spans - 1)
            if span > newest:
                newest = span
                yield offset

    def ids(self, first: int, last: int) -> Sequence[int]:
        """The ids of the rows of the offsets from `first` on, which is above 0, up to and with `last`."""
        return self._ids[first - 1 : last]

    def position(self, offset: int) -> Position | None:
        """Where the row of an offset stands in the table; None for offset 0."""
        if offset == 0:
            return None
        step = self._steps[offset - 1]
        return Position(None if step == _NO_STEP else step, self._ids[offset - 1])

    def markers(self, plans: Iterable[Any]) -> list[dict[str, Any]]:
        """Where each subtask begins: `{offset, at, label}`. `plans` are the values of the rows that hold plans."""
        names = dict(name for plan in plans for name in _names(plan))
        return [
            {"offset": offset, "at": self.at[offset - 1], "label": names.get(task_id, task_id)}
            for task_id, offset in self._subtasks.items()
        ]


def _extended(numbers: array[int], more: Sequence[int]) -> array[int]:
    # Four bytes each, as long as none needs eight.
    try:
        numbers.extend(array(numbers.typecode, more))
    except OverflowError:
        return array("q", [*numbers, *more])
    return numbers


def _names(plan: Any) -> Iterator[tuple[str, str]]:
    subtasks = plan.get("subtasks") if isinstance(plan, dict) else plan
    for subtask in subtasks if isinstance(subtasks, list) else ():
        if isinstance(subtask, dict):
            task_id, name = subtask.get("task_id"), subtask.get("name")
            if isinstance(task_id, str) and isinstance(name, str):
                yield task_id, name


def epoch_of(interaction: Interaction, count: RowCount, disorder: int = 0) -> str:
    """A short string that is the same in every process, and stays so while rows are only added behind the others.

    An interaction that is deleted and stored again gets another id, which is never used twice; a row that is marked as
    deleted changes the count, and one that is put in between leaves rows behind it that have lower ids.
    """
    told = f"{interaction.id} {interaction.create_time} {count.deleted} {count.last_deleted} {disorder}"
    return hashlib.sha256(told.encode("utf-8", "replace")).hexdigest()[:12]
