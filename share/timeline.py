"""When each row is due: pace, speed, idle limit, seek. Pure: it is told the time, and never asks for it."""

from __future__ import annotations

import random
from array import array
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate, islice, repeat
from operator import sub, truediv

UNTIMED_SECONDS = 1.0
"""Between two rows of which one carries no usable time."""

_SECOND = timedelta(seconds=1)

MIN_SPEED, MAX_SPEED = 0.1, 100.0


def parse_time(text: str | None) -> datetime | None:
    """The moment that a row's `create_time` names: ISO 8601, or with a blank for the T; without a zone, UTC.

    None for what is missing or can't be read.
    """
    try:
        time = datetime.fromisoformat((text or "").strip())
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


class RecordedTimes:
    """The rows' times in seconds from the first row, in `at`: never decreasing, whatever was recorded."""

    def __init__(self) -> None:
        self.at = array("d")
        self._origin: datetime | None = None
        self._origin_at = 0.0

    def append(self, create_time: str | None) -> None:
        """Add the next row. One whose time goes back counts as recorded together with the row before it."""
        time = parse_time(create_time)
        previous = self.at[-1] if self.at else None
        if time is not None and self._origin is not None:
            at = max(previous or 0.0, self._origin_at + (time - self._origin).total_seconds())
        else:
            at = 0.0 if previous is None else previous + UNTIMED_SECONDS
            if time is not None:
                self._origin, self._origin_at = time, at
        self.at.append(at)

    def extend(self, create_times: Sequence[str | None]) -> None:
        """Add the next rows, likewise."""
        first = 0
        while first < len(create_times) and self._origin is None:
            self.append(create_times[first])
            first += 1
        if (times := _parse_all(create_times[first:])) is None:
            for create_time in create_times[first:]:
                self.append(create_time)
        elif self._origin is not None:
            origin, origin_at = self._origin.replace(tzinfo=None), self._origin_at
            passed = map(truediv, map(sub, times, repeat(origin)), repeat(_SECOND))
            seconds = [origin_at + one for one in passed]
            self.at.extend(islice(accumulate(seconds, max, initial=self.at[-1]), 1, None))


def _parse_all(texts: Sequence[str | None]) -> list[datetime] | None:
    # As they mostly are: each can be read as it is, and none has a zone. A million rows take seconds one by one.
    try:
        times = list(map(datetime.fromisoformat, texts))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return None if any(time.tzinfo for time in times) else times


Pace = Callable[[Sequence[float], int], float]
"""The pause in seconds, at speed 1, before the row of an offset (1-based, not the first), given all rows' times."""


def recorded(at: Sequence[float], offset: int) -> float:
    """The pause that was recorded."""
    return at[offset - 1] - at[offset - 2]


def classic(at: Sequence[float], offset: int) -> float:
    """1 to 3 whole seconds at random, as in classic."""
    return random.randint(1, 3)


def instant(at: Sequence[float], offset: int) -> float:
    """No pause."""
    return 0.0


def every(seconds: float) -> Pace:
    """The same pause before every row."""
    return (lambda at, offset: seconds) if seconds else instant


@dataclass(slots=True)
class Timeline:
    """Where one replay is, and when it goes on.

    `at` are the rows' times in seconds, which may become more while the replay runs. `offset` rows have been passed;
    those up to `place` are due at once, after a seek forwards. Every method that is told `now`, in seconds of any clock
    that doesn't go back, may be called at any moment: nothing jumps, and lateness never adds up.
    """

    at: Sequence[float]
    pace: Pace = recorded
    speed: float = 1.0
    idle_time_limit: float | None = None
    playing: bool = True
    offset: int = 0
    place: int = 0
    total: int = 0
    _passed: float = 0.0  # of the pause before the next row, as a fraction, at the moment `_since`
    _since: float = 0.0
    _gap: float | None = None  # that pause at speed 1, once it has been asked for

    def due(self, now: float) -> float | None:
        """When the next row is due, maybe in the past; None while there is none or the replay is paused."""
        if self.offset < self.place:
            return now
        if not self.playing or self.offset >= self.total:
            return None
        return self._since + (1 - self._passed) * self._pause()

    def is_timed(self) -> bool:
        """Whether the next row comes after a pause, and not together with the one before it or at once after a seek."""
        return self.place <= self.offset < self.total and self._pause() > 0

    def advance(self, now: float, limit: int) -> int:
        """Pass the rows that are due at `now`, at most `limit`, and return how many they were."""
        start = self.offset
        while self.offset - start < limit and (due := self.due(now)) is not None and due <= now:
            self._move(min(self._due_together(), start + limit), due)
        return self.offset - start

    def _due_together(self) -> int:
        """An offset up to which all rows are due at the same moment as the next."""
        if self.offset < self.place:
            return self.place
        return self.total if self.pace is instant else self.offset + 1

    def grow(self, total: int, now: float, *, at_once: bool) -> None:
        """There are `total` rows now. With `at_once` the new ones are due at once, if all others have been passed."""
        if total > self.total and max(self.offset, self.place) >= self.total:
            if self.offset == self.total:
                self._since, self._passed = now, 0.0  # the pause before the new row begins when it comes
            if at_once and self.playing:
                self.place = total
        self.total = total

    def play(self, now: float) -> None:
        """Go on, or do nothing where the replay is playing."""
        if not self.playing:
            self.playing, self._since = True, now

    def pause(self, now: float) -> None:
        """Stop where the replay is."""
        if self.playing:
            self._settle(now)
            self.playing = False

    def set_speed(self, speed: float, now: float) -> None:
        """Play `speed` times as fast from here on."""
        self._settle(now)
        self.speed = speed

    def set_idle_time_limit(self, seconds: float | None, now: float) -> None:
        """Let no pause be longer than `seconds` from here on; None for no limit."""
        self._settle(now)
        self.idle_time_limit = seconds

    def start(self, offset: int, now: float) -> None:
        """Begin with the rows up to `offset` passed."""
        self.offset = offset
        self.seek(offset, now)

    def seek(self, offset: int, now: float) -> None:
        """Go to where the row `offset` has just been passed: rows before it that were not are due at once."""
        if offset < self.offset:
            self.offset = offset
        self.place = offset
        self._since, self._passed, self._gap = now, 0.0, None

    def seek_at(self, at: float, now: float) -> None:
        """Go to the moment `at`, in seconds from the first row: into the middle of a pause where that was recorded."""
        offset = bisect_right(self.at, at, hi=self.total)
        self.seek(offset, now)
        if self.pace is recorded and 0 < offset < self.total:
            self._passed = (at - self.at[offset - 1]) / (self.at[offset] - self.at[offset - 1])

    def position(self, now: float) -> float:
        """The replay's place in seconds from the first row, between two rows too."""
        offset = max(self.offset, self.place)
        if offset == 0:
            return 0.0
        here = self.at[offset - 1]
        if offset >= self.total:
            return here
        return here + self._fraction(now) * (self.at[offset] - here)

    def _pause(self) -> float:
        if self._gap is None:
            self._gap = self.pace(self.at, self.offset + 1) if self.offset else 0.0
        pause = self._gap / self.speed
        return pause if self.idle_time_limit is None else min(pause, self.idle_time_limit)

    def _fraction(self, now: float) -> float:
        if not self.playing or self.offset >= self.total or self.offset < self.place:
            return self._passed
        pause = self._pause()
        return min(1.0, self._passed + (now - self._since) / pause) if pause > 0 else self._passed

    def _settle(self, now: float) -> None:
        due = self.due(now)
        if self.offset >= self.place and due is not None and due <= now:
            self._passed, self._since = 1.0, due  # the row is late, and those after it count from when it was due
        else:
            self._passed, self._since = self._fraction(now), now

    def _move(self, offset: int, due: float) -> None:
        if offset > self.place:
            self._since, self._passed = due, 0.0
        self.offset = offset
        self._gap = None
