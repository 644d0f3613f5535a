"""One replay: a recording, a pace and a clock make frames, each when it is due."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from .classic_feed import CHECK_SECONDS, ClassicFeed, ClassicPage, RecordingReader
from .clock import Clock
from .rows import Run
from .visit import Visit

YIELD_EVERY = 16
"""Rows sent in one go: uvicorn's `send` gives nobody else a turn as long as the socket takes more."""


def classic_pause(shortest: float, longest: float) -> Callable[[], float]:
    """Classic's pause in seconds: a whole number at random from `shortest` to `longest`, or the one that both are."""
    if shortest == longest:
        return lambda: shortest
    return lambda: random.randint(int(shortest), int(longest))


class Playback:
    """The replays of a recording to a viewer, one after the other.

    Rows are due at moments counted from a replay's start: lateness never adds up.
    """

    def __init__(self, feed: ClassicFeed, pause: Callable[[], float], clock: Clock, visit: Visit | None = None) -> None:
        self._feed = feed
        self._prepared: tuple[RecordingReader, float] | None = None
        self._pause = pause
        self._clock = clock
        self._visit = visit

    async def prepare(self) -> None:
        """Have the first rows there by the time they are asked for. Safe to cancel."""
        now = self._clock.now()
        reader = await self._feed.begin()
        await reader.ready()
        self._prepared = reader, now

    async def _begin(self) -> RecordingReader:
        prepared, self._prepared = self._prepared, None
        if prepared is not None and self._clock.now() - prepared[1] <= CHECK_SECONDS:
            return prepared[0]
        return await self._feed.begin()

    async def play(self, send: Callable[[Run[ClassicPage]], Awaitable[None]]) -> None:
        """Send every row when it is due, and return when the pause after the last is over. Safe to cancel."""
        reader = await self._begin()
        due = self._clock.now()
        begun = paused = False
        while await reader.ready():
            if self._clock.now() < due:
                await self._clock.sleep_until(due)
            elif begun:
                await asyncio.sleep(0)
            begun = True
            together, pause = self._draw()
            while together and len(run := await reader.read(together)):
                await send(run)
                together -= len(run)
                if self._visit is not None:
                    self._visit.rows_sent(len(run), due if paused else None)
            paused = pause > 0
            due += pause
        await self._clock.sleep_until(due)

    def _draw(self) -> tuple[int, float]:
        """How many rows are due at the same moment, and the pause behind the last of them."""
        together, pause = 1, self._pause()
        while pause == 0 and together < YIELD_EVERY:
            together, pause = together + 1, self._pause()
        return together, pause
