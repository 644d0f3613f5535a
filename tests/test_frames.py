from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from share import frames
from share.frames import FrameCache
from tests.asgi import tasks_named
from tests.fake_clock import until

FRAME = "x" * 1000
FRAME_BYTES = 1000


class Frames(list[str]):
    @property
    def size_bytes(self) -> int:
        return sum(map(len, self))


@pytest.fixture(autouse=True)
async def nothing_is_left() -> AsyncIterator[None]:
    yield
    await until(lambda: not tasks_named("frames"))


class Loads:
    """Counts what is loaded; with `hold`, nothing is loaded until it is set."""

    def __init__(self) -> None:
        self.count = 0
        self.go = asyncio.Event()
        self.go.set()

    def page(self, *frames: str) -> Callable[[], Awaitable[Frames]]:
        async def load() -> Frames:
            self.count += 1
            await self.go.wait()
            return Frames(frames)

        return load


@pytest.fixture
async def loads() -> Loads:
    return Loads()


async def test_a_page_is_loaded_once(loads: Loads) -> None:
    cache = FrameCache[Frames](10_000)
    for _ in range(3):
        assert await cache.get((1, 0), 2, loads.page("a", "b")) == ["a", "b"]
    assert loads.count == 1


async def test_a_page_that_many_want_at_once_is_loaded_once(loads: Loads) -> None:
    cache = FrameCache[Frames](10_000)
    loads.go.clear()
    waiting = [asyncio.create_task(cache.get((1, 0), 1, loads.page("a"))) for _ in range(50)]
    await until(lambda: loads.count == 1)
    loads.go.set()
    assert await asyncio.gather(*waiting) == [["a"]] * 50
    assert loads.count == 1


async def test_a_page_that_has_too_few_rows_is_loaded_again(loads: Loads) -> None:
    cache = FrameCache[Frames](10_000)
    await cache.get((1, 0), 1, loads.page("a"))
    assert await cache.get((1, 0), 2, loads.page("a", "b")) == ["a", "b"]
    assert loads.count == 2
    assert await cache.get((1, 0), 1, loads.page()) == ["a", "b"]
    assert cache.size_bytes == 2


async def test_who_wants_more_than_is_on_its_way_waits_for_a_load_of_his_own(loads: Loads) -> None:
    cache = FrameCache[Frames](10_000)
    loads.go.clear()
    first = asyncio.create_task(cache.get((1, 0), 1, loads.page("a")))
    await until(lambda: loads.count == 1)
    second = asyncio.create_task(cache.get((1, 0), 2, loads.page("a", "b")))
    await asyncio.sleep(0)
    loads.go.set()
    assert await first == ["a"]
    assert await second == ["a", "b"]


async def test_the_cache_is_bounded_in_bytes_and_keeps_what_was_asked_for_last(loads: Loads) -> None:
    cache = FrameCache[Frames](3 * FRAME_BYTES)
    for number in range(3):
        await cache.get((1, number), 1, loads.page(FRAME))
    await cache.get((1, 0), 1, loads.page(FRAME))
    assert (loads.count, cache.size_bytes) == (3, 3 * FRAME_BYTES)
    await cache.get((1, 3), 1, loads.page(FRAME))
    assert cache.size_bytes == 3 * FRAME_BYTES
    await cache.get((1, 0), 1, loads.page(FRAME))
    assert loads.count == 4
    await cache.get((1, 1), 1, loads.page(FRAME))
    assert loads.count == 5


async def test_many_pages_never_take_more_than_the_limit(loads: Loads) -> None:
    cache = FrameCache[Frames](10 * FRAME_BYTES + 1)
    for number in range(100):
        await cache.get((number % 7, number), 1, loads.page(*[FRAME] * (number % 5 + 1)))
        assert cache.size_bytes <= 10 * FRAME_BYTES + 1


@pytest.mark.parametrize("limit", [0, 100])
async def test_a_page_that_is_larger_than_the_cache_is_served_and_not_kept(loads: Loads, limit: int) -> None:
    cache = FrameCache[Frames](limit)
    for _ in range(2):
        assert await cache.get((1, 0), 1, loads.page(FRAME)) == [FRAME]
    assert (loads.count, cache.size_bytes) == (2, 0)


async def test_what_is_dropped_is_loaded_again_and_the_rest_stays(loads: Loads) -> None:
    cache = FrameCache[Frames](10 * FRAME_BYTES)
    for owner in (1, 2):
        for number in range(2):
            await cache.get((owner, number), 1, loads.page(FRAME))
    cache.drop(1)
    assert cache.size_bytes == 2 * FRAME_BYTES
    await cache.get((2, 1), 1, loads.page(FRAME))
    assert loads.count == 4
    await cache.get((1, 1), 1, loads.page(FRAME))
    assert loads.count == 5


async def test_what_is_dropped_while_it_is_loaded_is_served_and_not_kept(loads: Loads) -> None:
    cache = FrameCache[Frames](10 * FRAME_BYTES)
    loads.go.clear()
    waiting = asyncio.create_task(cache.get((1, 0), 1, loads.page(FRAME)))
    await until(lambda: loads.count == 1)
    cache.drop(1)
    loads.go.set()
    assert await waiting == [FRAME]
    assert cache.size_bytes == 0


async def test_who_asks_again_after_a_drop_is_not_confused_by_the_load_before_it(loads: Loads) -> None:
    cache = FrameCache[Frames](10 * FRAME_BYTES)
    loads.go.clear()
    before = asyncio.create_task(cache.get((1, 0), 1, loads.page("old")))
    await until(lambda: loads.count == 1)
    cache.drop(1)
    after = asyncio.create_task(cache.get((1, 0), 1, loads.page("new")))
    await until(lambda: loads.count == 2)
    loads.go.set()
    assert (await before, await after) == (["old"], ["new"])
    assert await cache.get((1, 0), 1, loads.page()) == ["new"]


async def test_who_is_cancelled_takes_nothing_from_the_others(loads: Loads) -> None:
    cache = FrameCache[Frames](10_000)
    loads.go.clear()
    first, second = (asyncio.create_task(cache.get((1, 0), 1, loads.page("a"))) for _ in range(2))
    await until(lambda: loads.count == 1)
    first.cancel()
    await asyncio.wait([first])
    loads.go.set()
    assert await second == ["a"]
    assert loads.count == 1


async def test_a_load_that_fails_is_told_to_all_who_wait_and_tried_again_by_the_next(loads: Loads) -> None:
    cache = FrameCache[Frames](10_000)
    loads.go.clear()

    async def fail() -> Frames:
        await loads.go.wait()
        raise OSError("no such luck")

    waiting = [asyncio.create_task(cache.get((1, 0), 1, fail)) for _ in range(2)]
    await asyncio.sleep(0)
    loads.go.set()
    errors = await asyncio.gather(*waiting, return_exceptions=True)
    assert [str(error) for error in errors] == ["no such luck"] * 2
    assert await cache.get((1, 0), 1, loads.page("a")) == ["a"]


async def test_a_load_that_fails_when_nobody_waits_any_more_concerns_nobody(
    loads: Loads, caplog: pytest.LogCaptureFixture
) -> None:
    cache = FrameCache[Frames](10_000)

    async def fail() -> Frames:
        await loads.go.wait()
        raise OSError("no such luck")

    loads.go.clear()
    waiting = asyncio.create_task(cache.get((1, 0), 1, fail))
    await until(lambda: bool(tasks_named("frames")))
    waiting.cancel()
    await asyncio.wait([waiting])
    loads.go.set()
    await until(lambda: not tasks_named("frames"))
    assert not caplog.records


async def test_nothing_is_kept_of_what_is_not_there_yet(loads: Loads) -> None:
    cache = FrameCache[Frames](10_000)
    assert await cache.get((1, 0), 0, loads.page()) == []
    assert await cache.get((1, 0), 0, loads.page("a")) == ["a"]


async def test_for_who_watches_alone_only_the_last_pages_are_kept(
    loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "ALONE_BYTES", 2 * FRAME_BYTES)
    cache = FrameCache[Frames](10 * FRAME_BYTES)
    await cache.get((2, 0), 1, loads.page(FRAME))
    for number in range(4):
        await cache.get((1, number), 1, loads.page(FRAME), alone=True)
    assert cache.size_bytes == 3 * FRAME_BYTES
    for key in ((1, 3), (1, 2), (2, 0)):
        await cache.get(key, 1, loads.page())
    assert loads.count == 5


async def test_a_page_that_is_larger_than_that_is_kept_all_the_same(loads: Loads) -> None:
    cache = FrameCache[Frames](100 * 1024 * 1024)
    large = "x" * (frames.ALONE_BYTES + 1)
    for _ in range(2):
        await cache.get((1, 0), 1, loads.page(large), alone=True)
    assert loads.count == 1
