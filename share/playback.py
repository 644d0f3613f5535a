"""One replay: a recording, a pace and a clock make frames, each when it is due."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from storage.models import Row

from .clock import Clock
from .recording import RecordingReader
from .visit import Visit

YIELD_EVERY = 16
"""Rows sent in one go: uvicorn's `send` gives nobody else a turn as long as the socket takes more."""


def classic_pause(shortest: float, longest: float) -> Callable[[], float]:
    """Classic's pause in seconds: a whole number at random from `shortest` to `longest`, or the one that both are."""
    if shortest == longest:
        return lambda: shortest
    return lambda: random.randint(int(shortest), int(longest))


class Playback:
    """One replay of a recording to a viewer. Rows are due at moments counted from its start: lateness never adds up."""

    def __init__(
        self, reader: RecordingReader, pause: Callable[[], float], clock: Clock, visit: Visit | None = None
    ) -> None:
        self._reader = reader
        self._pause = pause
        self._clock = clock
        self._visit = visit

    async def play(self, send: Callable[[Row, str], Awaitable[None]]) -> None:
        """Send every row when it is due, and return when the pause after the last is over. Safe to cancel."""
        due = self._clock.now()
        count, pause = 0, 0.0
        while rows := await self._reader.read_page():
            for row in rows:
                await self._clock.sleep_until(due)
                if count % YIELD_EVERY == 0:
                    await asyncio.sleep(0)
                await send(row, await self._reader.encode(row))
                if self._visit is not None:
                    self._visit.rows_sent(1, due if pause else None)
                due += (pause := self._pause())
                count += 1
        await self._clock.sleep_until(due)
