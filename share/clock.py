"""Time, as the replay sees it: handed in, so that a test replays an hour in milliseconds."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from functools import partial
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Protocol
from weakref import WeakKeyDictionary

CALLS_AT_ONCE = 100
"""Of those that are due; then everything else in the loop has its turn."""

SPARE_CALLS = 1000
"""Timers that were taken back and may stay in their place until that is due, beside as many as there are others."""


class Timer(Protocol):
    """What has been set for a moment to come."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """Something that tells the time and can wait. Its methods count in seconds from the same unknown moment."""

    def now(self) -> float: ...

    async def sleep_until(self, when: float) -> None:
        """Return when `now()` has come to `when`, at once where it has already. Safe to cancel."""

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Call `callback` when `now()` has come to `when`, unless the timer is cancelled before."""


class LoopClock:
    """The clock of the running event loop: monotonic, so nothing that sets the machine's time moves a replay.

    Of all that is to be called, in the order of time, only the first has a timer of the loop: theirs cost more than to
    keep that order, and uvloop's, which count whole milliseconds, come half of one too early, or go round until it is
    over. Here they come up to one late.
    """

    def __init__(self) -> None:
        self._schedules: WeakKeyDictionary[asyncio.AbstractEventLoop, _Schedule] = WeakKeyDictionary()

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep_until(self, when: float) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() >= when:
            return
        woken = loop.create_future()
        timer = self.call_at(when, partial(_wake, woken))
        try:
            await woken
        finally:
            timer.cancel()

    def call_at(self, when: float, callback: Callable[[], object]) -> Timer:
        loop = asyncio.get_running_loop()
        schedule = self._schedules.get(loop)
        if schedule is None:
            schedule = self._schedules[loop] = _Schedule()
        return schedule.call_at(loop, when, callback)


def _wake(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)


class _Call:
    __slots__ = ("_schedule", "callback")

    def __init__(self, callback: Callable[[], object], schedule: _Schedule) -> None:
        self.callback: Callable[[], object] | None = callback
        self._schedule = schedule

    def cancel(self) -> None:
        self._schedule.live -= self.callback is not None
        self.callback = None


class _Schedule:
    """What is to be called, and when."""

    def __init__(self) -> None:
        self.live = 0
        self._calls: list[tuple[float, int, _Call]] = []
        self._numbers = count()  # of two at the same moment, the first comes first
        self._timer: asyncio.TimerHandle | None = None
        self._due = math.inf

    def call_at(self, loop: asyncio.AbstractEventLoop, when: float, callback: Callable[[], object]) -> Timer:
        if len(self._calls) > 2 * self.live + SPARE_CALLS:  # somebody sets timers far ahead, and takes them back
            self._calls = [entry for entry in self._calls if entry[2].callback is not None]
            heapify(self._calls)
        call = _Call(callback, self)
        self.live += 1
        heappush(self._calls, (when, next(self._numbers), call))
        if when < self._due:
            self._wake_at(loop, when)
        return call

    def _wake_at(self, loop: asyncio.AbstractEventLoop, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        milliseconds = math.ceil((when - loop.time()) * 1000)
        self._due, self._timer = when, loop.call_later(max(0, milliseconds) / 1000, self._run, loop)

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer, self._due = None, math.inf
        try:
            now = loop.time()
            for _ in range(min(len(self._calls), CALLS_AT_ONCE)):
                if self._calls[0][0] > now:
                    break
                call = heappop(self._calls)[2]
                if (callback := call.callback) is not None:
                    call.cancel()
                    callback()
        finally:
            while self._calls and self._calls[0][2].callback is None:
                heappop(self._calls)
            if self._calls and self._calls[0][0] < self._due:
                self._wake_at(loop, self._calls[0][0])
