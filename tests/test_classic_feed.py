from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from share import classic_feed, frames
from share.classic_feed import ClassicFeed, ClassicFeeds, RecordingReader
from share.frames import FrameCache
from storage.interactions import InteractionCRUD
from storage.models import Interaction
from tests.asgi import CountingGateway, Server, rows

ALWAYS, NEVER = 0.0, 3600.0


@pytest.fixture
async def gateway(database: object) -> CountingGateway:
    return CountingGateway(database)  # type: ignore[arg-type]


@pytest.fixture
async def run(gateway: CountingGateway, tmp_path: Path) -> Interaction:
    stored = await Server(gateway, tmp_path).record(*rows(40))
    found = await InteractionCRUD(gateway).get_interaction(stored.interaction_id)
    assert found is not None
    return found


@pytest.fixture
def feeds(gateway: CountingGateway, tmp_path: Path) -> ClassicFeeds:
    return ClassicFeeds(InteractionCRUD(gateway), FrameCache(2**20), tmp_path)


@contextmanager
def watched(feeds: ClassicFeeds, interaction: Interaction) -> Iterator[ClassicFeed]:
    feed = feeds.join(interaction)
    yield feed
    feeds.leave(feed)


async def read_all(reader: RecordingReader) -> int:
    count = 0
    while len(run := await reader.read(7)):
        count += len(run)
    return count


async def delete_a_row(gateway: CountingGateway) -> None:
    await gateway.execute("UPDATE raw SET is_deleted = TRUE WHERE node_id = 'node-5'")


async def test_who_watches_beside_another_reads_no_row_again(
    gateway: CountingGateway, feeds: ClassicFeeds, run: Interaction, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classic_feed, "CHECK_SECONDS", NEVER)
    with watched(feeds, run) as feed, watched(feeds, run) as same:
        assert same is feed
        assert await read_all(await feed.begin()) == 40
        count = gateway.count
        assert await read_all(await feed.begin()) == 40
        assert gateway.count == count + 1  # whether there are more by now


async def test_who_begins_sees_the_rows_as_they_are_now(
    gateway: CountingGateway, feeds: ClassicFeeds, run: Interaction, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classic_feed, "CHECK_SECONDS", ALWAYS)
    for others in (0, 1):
        with watched(feeds, run) as feed:
            feed.viewers += others
            before = await feed.begin()
            await before.read(7)
            assert await read_all(await feed.begin()) == 40
            await delete_a_row(gateway)
            assert await read_all(await feed.begin()) == 39
            await gateway.execute("UPDATE raw SET is_deleted = FALSE")
            feed.viewers -= others


async def test_a_place_is_kept_where_the_page_was_not_and_has_become_shorter(
    gateway: CountingGateway, feeds: ClassicFeeds, run: Interaction, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "ALONE_BYTES", 0)
    with watched(feeds, run) as feed:
        reader = await feed.begin()
        assert len(await reader.read(7)) == 7
        await delete_a_row(gateway)
        first = await reader.read(1)
        assert b'"node-7"' in first.texts()[0]
        assert await read_all(reader) == 32


async def test_the_last_who_watches_takes_the_frames_with_him(feeds: ClassicFeeds, run: Interaction) -> None:
    with watched(feeds, run) as first:
        with watched(feeds, replace(run, id=99)) as another:
            assert another is not first
        with watched(feeds, run) as second:
            assert second is not another
    with watched(feeds, run) as third:
        assert third is not first
