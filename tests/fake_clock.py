"""A clock that stands still until a test moves it on."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from itertools import count

PATIENCE_SECONDS = 60.0  # of real time: a test that waits in vain fails, and a busy machine may take its time


async def until(condition: Callable[[], bool], help_along: Callable[[], bool] = lambda: False) -> None:
    """Return when `condition()` holds: by what the loop's other tasks and the threads do, or `help_along()` does."""
    turns = 0
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            turns = 0 if help_along() else turns + 1
            # The tasks need a few turns; a thread needs the interpreter, which this loop would hold on to.
            await asyncio.sleep(0 if turns < 20 else 0.0005)


class Alarm:
    """What is set for a moment to come."""

    def __init__(self, ring: Callable[[], object]) -> None:
        self.ring = ring
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True
        self.ring = lambda: None


class FakeClock:
    """A `share.clock.Clock` whose time passes only where a test lets it: from one sleeper to the next, in no time."""

    def __init__(self, now: float = 1000.0) -> None:
        self._now = now
        self._order = count()
        self._alarms: list[tuple[float, int, Alarm]] = []

    def now(self) -> float:
        return self._now

    def call_at(self, when: float, callback: Callable[[], object]) -> Alarm:
        alarm = Alarm(callback)
        heapq.heappush(self._alarms, (when, next(self._order), alarm))
        return alarm

    async def sleep_until(self, when: float) -> None:
        if when <= self._now:
            return
        woken = asyncio.get_running_loop().create_future()
        alarm = self.call_at(when, lambda: woken.done() or woken.set_result(None))
        try:
            await woken
        finally:
            alarm.cancel()

    @property
    def sleepers(self) -> int:
        """How many wait for their moment."""
        return sum(not alarm.cancelled for _, _, alarm in self._alarms)

    def jump(self, seconds: float) -> None:
        """Let time pass while nobody sleeps."""
        assert not self.sleepers
        self._now += seconds

    @property
    def next_moment(self) -> float | None:
        """The moment for which the first sleeper waits."""
        return min((when for when, _, alarm in self._alarms if not alarm.cancelled), default=None)

    def move(self, seconds: float) -> None:
        """Let so little time pass that nobody's moment comes."""
        assert self.next_moment is None or self._now + seconds < self.next_moment
        self._now += seconds

    def wake_next(self) -> None:
        """Jump to the moment for which the first sleeper waits, and wake him."""
        while self._alarms:
            when, _, alarm = heapq.heappop(self._alarms)
            if not alarm.cancelled:
                self._now = max(self._now, when)
                alarm.ring()
                return

    async def run_until(self, condition: Callable[[], bool], *, sleepers: int = 2) -> None:
        """Let time pass until `condition()` holds: jump only while at least `sleepers` tasks sleep.

        A viewer who watches has two: his replay and his heartbeat. While fewer sleep, somebody is at work or waits for
        a thread of the database, and would find that his time has gone by.
        """

        def wake() -> bool:
            if self.sleepers < sleepers:
                return False
            self.wake_next()
            return True

        await until(condition, wake)
