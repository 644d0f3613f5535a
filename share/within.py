"""A time limit for what mostly doesn't have to wait at all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Generator
from typing import Any


async def within(seconds: float, work: Awaitable[None]) -> None:
    """Wait for `work`. Raises `TimeoutError` after so many seconds. Safe to cancel, as far as `work` is.

    `asyncio.timeout` sets a timer and takes it back, which costs more than to send a frame that the socket takes at
    once. So that is done only where `work` has to wait.
    """
    steps = work.__await__()
    try:
        waits_for = steps.send(None)
    except StopIteration:
        return
    async with asyncio.timeout(seconds):
        await _Begun(steps, waits_for)


class _Begun:
    # What has run up to where it waits for the first time, as something to go on waiting for.
    def __init__(self, steps: Generator[Any, Any, None], waits_for: Any) -> None:
        self._steps = steps
        self._waits_for = waits_for

    def __await__(self) -> Generator[Any, Any, None]:
        waits_for = self._waits_for
        while True:
            try:
                try:
                    result = yield waits_for
                except BaseException as error:
                    waits_for = self._steps.throw(error)
                else:
                    waits_for = self._steps.send(result)
            except StopIteration:
                return
