from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import databases
import pytest
from sqlalchemy import delete, insert, update

from share import feed as feed_module
from share.feed import POLL_SECONDS, Feed
from share.feeds import Feeds
from share.frames import PAGE_ROWS, FrameCache
from storage import schema
from storage.gateway import Gateway
from storage.interactions import InteractionCRUD
from storage.models import Interaction, Recording, Row, Visibility
from storage.recordings import RecordingCRUD
from tests.asgi import CountingGateway, row, rows, tasks_named
from tests.fake_clock import until


@pytest.fixture
async def gateway(database: databases.Database) -> AsyncIterator[CountingGateway]:
    gateway = CountingGateway(database)
    yield gateway
    await until(lambda: not tasks_named("poller", "frames"))
    await gateway.drain()


@pytest.fixture
def cache() -> FrameCache:
    return FrameCache(2**20)


@pytest.fixture
def feeds(interactions: InteractionCRUD, cache: FrameCache, monkeypatch: pytest.MonkeyPatch) -> Feeds:
    monkeypatch.setattr(feed_module, "CHECK_SECONDS", 0.0)
    monkeypatch.setattr(feed_module, "RETRY_SECONDS", 0.01)
    return Feeds(interactions, cache)


async def store(gateway: Gateway, *stored: Row, status: str = "finished", name: str = "run") -> Interaction:
    interaction = Interaction(name, "author", create_time="2023-11-17 10:00:00", status=status)
    await RecordingCRUD(gateway).add_recording(Recording(interaction, stored), visibility=Visibility.UNLISTED)
    return await find(gateway, name)


async def find(gateway: Gateway, name: str = "run") -> Interaction:
    found = await InteractionCRUD(gateway).get_interaction(name)
    assert found is not None
    return found


async def mark_deleted(gateway: Gateway, step: int, deleted: bool = True) -> None:
    await gateway.execute(update(schema.raw).where(schema.raw.c.step == step).values(is_deleted=deleted))


async def set_status(gateway: Gateway, status: str) -> None:
    await gateway.execute(update(schema.interactions).values(status=status))


async def append(gateway: Gateway, *added: Row) -> None:
    for one in added:
        await RecordingCRUD(gateway).append_row(one)


def node_ids(frames: list[str]) -> list[str]:
    return [json.loads(frame)["node_id"] for frame in frames]


class Listener:
    """Follows a feed, and counts how often it is called."""

    def __init__(self, feed: Feed) -> None:
        self.calls = 0
        self.feed = feed
        feed.follow(self.call)

    def call(self) -> None:
        self.calls += 1

    def stop(self) -> None:
        self.feed.unfollow(self.call)


# What is known


async def test_a_feed_knows_its_recording(gateway: Gateway, feeds: Feeds) -> None:
    async with feeds.open(await store(gateway, *rows(3))) as feed:
        assert (len(feed.outline), feed.live, feed.reason) == (3, False, "finished")
        assert await feed.user_name() == "author"
        assert await feed.markers() == [{"offset": 1, "at": 0.0, "label": "1.1"}]
        assert feed.epoch


@pytest.mark.parametrize(
    ("status", "last", "live", "reason"),
    [
        ("running", "inner", True, "truncated"),
        ("waiting", "inner", True, "truncated"),
        ("running", "finished", False, "finished"),
        ("running", "failed", False, "failed"),
        ("finished", "inner", False, "finished"),
        ("failed", "inner", False, "failed"),
        ("finished", "failed", False, "failed"),
        ("closed", "inner", False, "truncated"),
        (None, None, False, "truncated"),
    ],
)
async def test_whether_a_run_is_going_on_and_how_it_ended(
    gateway: Gateway, feeds: Feeds, status: Any, last: Any, live: bool, reason: str
) -> None:
    async with feeds.open(await store(gateway, row(0), row(1, status=last), status=status)) as feed:
        assert (feed.live, feed.reason) == (live, reason)


async def test_deleted_rows_are_not_part_of_it(gateway: Gateway, feeds: Feeds) -> None:
    async with feeds.open(await store(gateway, row(0), row(1, is_deleted=True), row(2))) as feed:
        assert node_ids(await feed.frames(0, 64)) == ["node-0", "node-2"]


async def test_plans_that_cannot_be_read_are_left_out_of_the_markers(gateway: Gateway, feeds: Feeds) -> None:
    plan = row(1, [{"task_id": "1.1", "name": "first"}], status="subtask")
    async with feeds.open(await store(gateway, row(0, data="{", status="start"), plan)) as feed:
        assert [marker["label"] for marker in await feed.markers()] == ["first"]


async def test_markers_are_known_anew_when_rows_have_come(gateway: CountingGateway, feeds: Feeds) -> None:
    async with feeds.open(await store(gateway, row(0), status="running")) as feed:
        assert [marker["label"] for marker in await feed.markers()] == ["1.1"]
        count = gateway.count
        await feed.markers()
        assert gateway.count == count
        await append(gateway, row(1, [{"task_id": "1.2", "name": "second"}], status="subtask", current="1.2"))
        await feed.refresh()
        assert [marker["label"] for marker in await feed.markers()] == ["1.1", "second"]


@pytest.mark.parametrize("count", [0, 1, PAGE_ROWS - 1, PAGE_ROWS, PAGE_ROWS + 1, 3 * PAGE_ROWS])
async def test_every_row_has_its_frame_wherever_one_begins(gateway: Gateway, feeds: Feeds, count: int) -> None:
    async with feeds.open(await store(gateway, *rows(count))) as feed:
        for first in {0, 1, PAGE_ROWS - 1, PAGE_ROWS, count // 2, count - 1} & set(range(count)):
            frames: list[str] = []
            while first + len(frames) < count:
                page = await feed.frames(first + len(frames), 64)
                assert 1 <= len(page) <= 64
                frames += page
            assert node_ids(frames) == [f"node-{step}" for step in range(first, count)]
            assert [json.loads(frame)["offset"] for frame in frames] == list(range(first + 1, count + 1))
        assert len(feed.outline) == count


async def test_frames_are_no_more_than_was_asked_for(gateway: Gateway, feeds: Feeds) -> None:
    async with feeds.open(await store(gateway, *rows(10))) as feed:
        assert node_ids(await feed.frames(3, 2)) == ["node-3", "node-4"]


async def test_rows_without_a_step_come_first_and_equal_steps_in_order_of_id(gateway: Gateway, feeds: Feeds) -> None:
    stored = [row(5), row(1, node_id="b", step=3), row(2, node_id="c", step=3), row(3, step=None), row(4, step=None)]
    async with feeds.open(await store(gateway, *stored)) as feed:
        order = ["node-3", "node-4", "b", "c", "node-5"]
        assert node_ids(await feed.frames(0, 64)) == order
    found = [await InteractionCRUD(gateway).get_row("run", offset) for offset in range(1, 7)]
    assert [stored and stored.node_id for stored in found] == [*order, None]


async def test_a_recording_larger_than_one_query_is_known_whole(gateway: Gateway, feeds: Feeds) -> None:
    async with feeds.open(await store(gateway, *(row(step, step=step // 3) for step in range(10_001)))) as feed:
        assert len(feed.outline) == 10_001
        assert node_ids(await feed.frames(10_000, 64)) == ["node-10000"]


async def test_a_row_that_is_deleted_while_somebody_watches_leaves_its_place(gateway: Gateway, feeds: Feeds) -> None:
    async with feeds.open(await store(gateway, *rows(4))) as feed:
        await mark_deleted(gateway, 1)
        frames = [json.loads(frame) for frame in await feed.frames(0, 64)]
        assert [frame["node_id"] for frame in frames] == ["node-0", "", "node-2", "node-3"]
        assert frames[1]["message"] == "row 2 has been deleted"


@pytest.mark.parametrize(
    ("count", "slow"),
    [
        (6, {"data": "[1e400" + ",1" * 50_000 + "]"}),
        (24, {"data": "[1e400" + ",1" * 15_000 + "]"}),
        (6, {"file_list": json.dumps(["a.txt"] * 50_000)}),
    ],
    ids=["large rows", "many rows", "many files"],
)
async def test_rows_that_take_long_to_encode_hold_up_nobody(
    gateway: Gateway, feeds: Feeds, count: int, slow: dict[str, str]
) -> None:
    # Beyond what orjson reads, every token is looked at; the author of a recording must not stop the server by that.
    turns = 0

    async def watch() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.001)
            turns += 1

    async with feeds.open(await store(gateway, *(row(step, **slow) for step in range(count)))) as feed:
        watching = asyncio.create_task(watch())
        frames = await feed.frames(0, 64)
        watching.cancel()
        assert len(frames) == count
        assert turns > count


# One feed for all


async def test_all_who_watch_share_one_feed_and_the_last_takes_it_with_him(
    gateway: Gateway, feeds: Feeds, cache: FrameCache
) -> None:
    run = await store(gateway, *rows(3))
    async with feeds.open(run) as first:
        async with feeds.open(run) as second:
            assert first is second
            await second.frames(0, 64)
        assert cache.size_bytes > 0
    assert cache.size_bytes == 0
    async with feeds.open(run) as third:
        assert third is not first


async def test_frames_are_made_once_for_all(gateway: CountingGateway, feeds: Feeds) -> None:
    async with feeds.open(await store(gateway, *rows(3))) as feed:
        await feed.frames(0, 64)
        count = gateway.count
        await asyncio.gather(*(feed.frames(place, 64) for place in (0, 1, 2) * 20))
        assert gateway.count == count


async def test_a_newcomer_knows_the_rows_that_have_come(gateway: Gateway, feeds: Feeds) -> None:
    run = await store(gateway, row(0), status="running")
    async with feeds.open(run) as feed:
        epoch = feed.epoch
        await append(gateway, row(1))
        async with feeds.open(run) as same:
            assert same is feed
            assert (len(feed.outline), feed.epoch) == (2, epoch)


async def test_many_newcomers_ask_the_database_once(
    gateway: CountingGateway, feeds: Feeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "CHECK_SECONDS", 60.0)
    run = await store(gateway, *rows(3))
    async with feeds.open(run):
        count = gateway.count

        async def watch() -> None:
            async with feeds.open(run) as feed:
                await feed.frames(0, 64)

        await asyncio.gather(*(watch() for _ in range(50)))
        assert gateway.count == count + 1  # the page


@pytest.mark.parametrize("step", [0, 1, 2])
async def test_a_row_that_is_deleted_makes_a_new_epoch_for_newcomers(gateway: Gateway, feeds: Feeds, step: int) -> None:
    run = await store(gateway, *rows(3))
    async with feeds.open(run) as before:
        await mark_deleted(gateway, step)
        async with feeds.open(run) as after:
            assert after.epoch != before.epoch
            assert (len(before.outline), len(after.outline)) == (3, 2)
            async with feeds.open(run) as another:
                assert another is after


async def test_a_row_that_is_no_longer_deleted_makes_a_new_epoch_too(gateway: Gateway, feeds: Feeds) -> None:
    run = await store(gateway, row(0), row(1, is_deleted=True), row(2))
    async with feeds.open(run) as before:
        await mark_deleted(gateway, 1, False)
        async with feeds.open(run) as after:
            assert after.epoch != before.epoch
            assert len(after.outline) == 3


async def test_a_row_that_is_gone_for_good_is_noticed(gateway: Gateway, feeds: Feeds) -> None:
    run = await store(gateway, *rows(3))
    async with feeds.open(run) as before:
        await gateway.execute(delete(schema.raw).where(schema.raw.c.step == 1))
        async with feeds.open(run) as after:
            assert after is not before
            assert len(after.outline) == 2


async def test_a_row_that_comes_in_between_makes_a_new_epoch(gateway: Gateway, feeds: Feeds) -> None:
    run = await store(gateway, row(0), row(5), status="running")
    async with feeds.open(run) as before:
        values = {"node_id": "between", "interaction_id": "run", "step": 3, "data": "1", "status": "inner"}
        await gateway.execute(insert(schema.raw).values(values))
        async with feeds.open(run) as after:
            assert node_ids(await after.frames(0, 64)) == ["node-0", "between", "node-5"]
            assert after.epoch != before.epoch


async def test_a_recording_that_is_deleted_and_stored_again_is_another(gateway: Gateway, feeds: Feeds) -> None:
    run = await store(gateway, *rows(3))
    async with feeds.open(run) as before:
        await RecordingCRUD(gateway).delete_recording("run")
        again = await store(gateway, *rows(3))
        async with feeds.open(again) as after:
            assert node_ids(await after.frames(0, 64)) == ["node-0", "node-1", "node-2"]
            assert after.epoch != before.epoch
    async with feeds.open(again) as alone:
        assert alone.epoch == after.epoch


@pytest.mark.sqlite
async def test_a_flag_that_is_neither_true_nor_false_keeps_nobody_waiting_for_ever(
    gateway: Gateway, feeds: Feeds
) -> None:
    run = await store(gateway, *rows(3))
    await gateway.execute("UPDATE raw SET is_deleted = 2 WHERE step = 1")
    async with asyncio.timeout(5), feeds.open(run) as feed:
        assert len(feed.outline) in (2, 3)


async def test_an_error_of_the_database_comes_out_and_leaves_nothing_behind(
    gateway: CountingGateway, feeds: Feeds
) -> None:
    run = await store(gateway, *rows(3))
    gateway.down = True
    with pytest.raises(OSError, match="the database is down"):
        async with feeds.open(run):
            pass
    gateway.down = False
    async with feeds.open(run) as feed:
        assert (len(feed.outline), feed.viewers) == (3, 1)


async def test_who_is_cancelled_while_he_opens_leaves_nothing_behind(gateway: Gateway, feeds: Feeds) -> None:
    run = await store(gateway, *rows(3))

    async def watch() -> None:
        async with feeds.open(run):
            await asyncio.sleep(60)

    for turns in range(30):
        watching = asyncio.create_task(watch())
        for _ in range(turns):
            await asyncio.sleep(0.0005)
        watching.cancel()
        await asyncio.wait([watching])
        assert watching.cancelled()
    async with feeds.open(run) as feed:
        assert (len(feed.outline), feed.viewers) == (3, 1)


# Following


async def test_rows_that_come_are_told_to_all_who_follow(gateway: Gateway, feeds: Feeds) -> None:
    async with feeds.open(await store(gateway, row(0), status="running")) as feed:
        first, second = Listener(feed), Listener(feed)
        await append(gateway, row(1))
        await until(lambda: bool(first.calls and second.calls))
        assert len(feed.outline) == 2
        assert node_ids(await feed.frames(1, 64)) == ["node-1"]
        first.stop()
        calls = first.calls
        await append(gateway, row(2))
        await until(lambda: len(feed.outline) == 3 and second.calls >= 2)
        assert first.calls == calls
        second.stop()


async def test_a_row_that_another_process_records_is_known_within_a_quarter_of_a_second(
    gateway: Gateway, feeds: Feeds, database: databases.Database
) -> None:
    async with feeds.open(await store(gateway, row(0), status="running")) as feed:
        listener = Listener(feed)
        delays = []
        async with databases.Database(database.url) as other:
            for step in range(1, 8):
                before = time.perf_counter()
                await append(Gateway(other), row(step))
                await until(lambda step=step: len(feed.outline) == step + 1)
                delays.append(time.perf_counter() - before)
        listener.stop()
        assert sorted(delays)[len(delays) // 2] < 0.25


@pytest.mark.parametrize("status", ["finished", "failed"])
async def test_the_end_of_a_run_is_told_and_nothing_is_asked_after_it(
    gateway: CountingGateway, feeds: Feeds, status: str
) -> None:
    async with feeds.open(await store(gateway, row(0), status="running")) as feed:
        listener = Listener(feed)
        await set_status(gateway, status)
        await until(lambda: not feed.live)
        await until(lambda: listener.calls == 1)
        assert feed.reason == status
        await until(lambda: not tasks_named("poller"))
        count = gateway.count
        await asyncio.sleep(4 * POLL_SECONDS)
        assert gateway.count == count
        listener.stop()


async def test_a_last_row_ends_a_run_that_nobody_has_marked_as_ended(gateway: Gateway, feeds: Feeds) -> None:
    async with feeds.open(await store(gateway, row(0), status="running")) as feed:
        listener = Listener(feed)
        await append(gateway, row(1, "it broke", status="failed"))
        await until(lambda: not feed.live)
        assert feed.reason == "failed"
        listener.stop()


async def test_a_run_that_goes_on_after_a_last_row_is_followed_again(gateway: Gateway, feeds: Feeds) -> None:
    run = await store(gateway, row(0), row(1, [], status="finished"), status="running")
    async with feeds.open(run) as feed:
        first = Listener(feed)
        assert not feed.live
        await append(gateway, row(2))
        async with feeds.open(run):
            assert feed.live
            second = Listener(feed)
            await append(gateway, row(3))
            await until(lambda: len(feed.outline) == 4)
            await append(gateway, row(4, [], status="finished"))
            await until(lambda: not feed.live and not tasks_named("poller"))
            await append(gateway, row(5))
        async with feeds.open(run):
            assert feed.live
            third = Listener(feed)
            await append(gateway, row(6))
            deadline = time.monotonic() + 5
            while len(feed.outline) < 7 and time.monotonic() < deadline:
                await asyncio.sleep(0.05)
            assert len(feed.outline) == 7
            for listener in (first, second, third):
                listener.stop()


async def test_nothing_is_asked_while_nobody_follows(gateway: CountingGateway, feeds: Feeds) -> None:
    async with feeds.open(await store(gateway, row(0), status="running")) as feed:
        count = gateway.count
        await asyncio.sleep(3 * POLL_SECONDS)
        assert gateway.count == count
        Listener(feed).stop()
        await until(lambda: not tasks_named("poller"))
        count = gateway.count
        await asyncio.sleep(3 * POLL_SECONDS)
        assert gateway.count == count


async def test_a_run_that_is_over_has_no_poller(gateway: Gateway, feeds: Feeds) -> None:
    async with feeds.open(await store(gateway, *rows(3))) as feed:
        listener = Listener(feed)
        assert not tasks_named("poller")
        listener.stop()


async def test_however_many_follow_there_is_one_poller(gateway: CountingGateway, feeds: Feeds) -> None:
    run = await store(gateway, row(0), status="running")
    async with feeds.open(run) as feed:
        listeners = [Listener(feed) for _ in range(100)]
        assert len(tasks_named("poller")) == 1
        count, before = gateway.count, time.monotonic()
        await asyncio.sleep(5 * POLL_SECONDS)
        rounds = (time.monotonic() - before) / POLL_SECONDS + 1
        assert gateway.count - count <= 2 * rounds
        for listener in listeners:
            listener.stop()


async def test_a_database_that_is_down_for_a_while_is_asked_again(
    gateway: CountingGateway, feeds: Feeds, caplog: pytest.LogCaptureFixture
) -> None:
    async with feeds.open(await store(gateway, row(0), status="running")) as feed:
        listener = Listener(feed)
        gateway.down = True
        await until(lambda: bool(caplog.records))
        assert caplog.records[0].levelno == logging.WARNING
        assert caplog.records[0].getMessage() == "run: can't be followed for now: the database is down"
        gateway.down = False
        await append(gateway, row(1))
        await until(lambda: listener.calls > 0)
        assert len(feed.outline) == 2
        listener.stop()


async def test_a_recording_that_disappears_while_it_is_followed_is_no_error(
    gateway: Gateway, feeds: Feeds, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    async with feeds.open(await store(gateway, row(0), status="running")) as feed:
        listener = Listener(feed)
        await RecordingCRUD(gateway).delete_recording("run")
        await asyncio.sleep(3 * POLL_SECONDS)
        listener.stop()
    assert not caplog.records
