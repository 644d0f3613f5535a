from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from share.classic_feed import ClassicFeed, ClassicPage
from share.frames import FrameCache
from share.playback import YIELD_EVERY, Playback, classic_pause
from share.recording import RowEncoder
from share.rows import Run
from storage.gateway import Gateway
from storage.interactions import InteractionCRUD
from storage.models import Interaction
from storage.workspace import Workspace
from tests.asgi import Server, row, rows
from tests.fake_clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


class Screen:
    """Plays the recording `run`, and keeps which row came when."""

    def __init__(self, gateway: Gateway, clock: FakeClock, pause: Callable[[], float], send_seconds: float = 0) -> None:
        self.clock = clock
        self.shown: list[tuple[float, str]] = []
        self._send_seconds = send_seconds
        encoder = RowEncoder("run", Workspace(Path("nowhere")))
        self._feed = ClassicFeed(Interaction("run", "author"), InteractionCRUD(gateway), FrameCache(2**20), encoder)
        self.task = asyncio.create_task(self._play(pause))

    async def _play(self, pause: Callable[[], float]) -> None:
        await Playback(self._feed, pause, self.clock).play(self._show)

    async def _show(self, run: Run[ClassicPage]) -> None:
        for text in run.texts():
            self.shown.append((self.clock.now(), json.loads(text)["node_id"]))
        await self.clock.sleep_until(self.clock.now() + self._send_seconds)

    async def play_out(self) -> list[float]:
        """When each row came, counted from the first, and when it was over."""
        await self.clock.run_until(self.task.done, sleepers=1)
        assert self.task.exception() is None
        start = self.shown[0][0] if self.shown else self.clock.now()
        return [at - start for at in (*(at for at, _ in self.shown), self.clock.now())]


async def record(gateway: Gateway, count: int) -> None:
    await Server(gateway, Path("nowhere")).record(*rows(count))


def test_a_range_of_pauses_is_of_whole_seconds_and_all_of_them_occur() -> None:
    pause = classic_pause(1, 3)
    assert {pause() for _ in range(1000)} == {1, 2, 3}


@pytest.mark.parametrize("seconds", [0, 0.1, 2])
def test_a_single_pause_is_always_that(seconds: float) -> None:
    pause = classic_pause(seconds, seconds)
    assert {pause() for _ in range(10)} == {seconds}


async def test_the_pause_between_rows_is_one_two_or_three_seconds(gateway: Gateway, clock: FakeClock) -> None:
    await record(gateway, 100)
    times = await Screen(gateway, clock, classic_pause(1, 3)).play_out()
    assert {after - before for before, after in pairwise(times)} == {1, 2, 3}


async def test_there_is_a_pause_after_the_last_row_too(gateway: Gateway, clock: FakeClock) -> None:
    await record(gateway, 2)
    assert await Screen(gateway, clock, lambda: 5).play_out() == [0, 5, 10]


async def test_a_recording_without_rows_is_over_at_once(gateway: Gateway, clock: FakeClock) -> None:
    assert await Screen(gateway, clock, lambda: 5).play_out() == [0]


async def test_the_rows_come_in_order(gateway: Gateway, clock: FakeClock) -> None:
    await record(gateway, 40)
    screen = Screen(gateway, clock, lambda: 1)
    await screen.play_out()
    assert [node_id for _, node_id in screen.shown] == [f"node-{number}" for number in range(40)]


async def test_rows_do_not_drift_when_sending_takes_its_time(gateway: Gateway, clock: FakeClock) -> None:
    await record(gateway, 40)
    times = await Screen(gateway, clock, lambda: 3, send_seconds=2).play_out()
    assert times == [3 * number for number in range(41)]


async def test_what_is_late_comes_at_once_and_does_not_make_the_rest_late(gateway: Gateway, clock: FakeClock) -> None:
    await record(gateway, 6)
    pauses = iter([1, 1, 1, 6, 1, 1])
    times = await Screen(gateway, clock, lambda: next(pauses), send_seconds=2).play_out()
    assert times == [0, 2, 4, 6, 9, 11, 13]


async def test_a_cancelled_replay_shows_nothing_more(gateway: Gateway, clock: FakeClock) -> None:
    await record(gateway, 6)
    screen = Screen(gateway, clock, lambda: 3)
    await clock.run_until(lambda: len(screen.shown) == 2, sleepers=1)
    screen.task.cancel()
    await asyncio.wait([screen.task])
    assert screen.task.cancelled()
    assert (len(screen.shown), clock.sleepers) == (2, 0)


async def test_without_pauses_everybody_else_gets_his_turn_every_sixteen_rows(
    gateway: Gateway, clock: FakeClock
) -> None:
    await record(gateway, 300)
    screen = Screen(gateway, clock, lambda: 0)
    counts = []
    while not screen.task.done():
        counts.append(len(screen.shown))
        await asyncio.sleep(0)
    counts.append(len(screen.shown))
    assert counts[-1] == 300
    assert max(after - before for before, after in pairwise(counts)) == YIELD_EVERY == 16


async def test_an_hour_is_replayed_in_under_a_second(gateway: Gateway, tmp_path: Path) -> None:
    server = Server(gateway, tmp_path, pause_seconds=(2, 2))
    await server.record(*(row(number) for number in range(1801)))
    async with server.connect() as viewer:
        await viewer.send({"type": "shared"})
        start, started = server.clock.now(), time.process_time()
        await server.play_out()
        took, replayed = time.process_time() - started, server.clock.now() - start
    assert replayed == 3602
    assert len(viewer.frames) == 1 + 1801 + 180
    assert took < 1  # of the processor's time: a busy machine may take longer
