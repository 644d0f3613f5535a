"""Time, as the replay sees it: handed in, so that a test replays an hour in milliseconds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol


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
    """The clock of the running event loop: monotonic, so nothing that sets the machine's time moves a replay."""

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep_until(self, when: float) -> None:
        if (delay := when - self.now()) > 0:
            await asyncio.sleep(delay)

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        return asyncio.get_running_loop().call_at(when, callback)
