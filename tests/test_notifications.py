"""Followers are woken at once where the database can: on Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import databases
import pytest
from sqlalchemy import text

import share.feed
from share import Recorder, ReplayClient, XAgentServerEnv, create_app
from share.recorder import Run
from storage.database import open_database
from storage.gateway import Gateway
from storage.notifications import Notifications
from tests.any_database import database_url, execute
from tests.fake_clock import PATIENCE_SECONDS, until
from tests.server import serve_here

pytestmark = pytest.mark.postgresql

LISTENING = "SELECT pid FROM pg_stat_activity WHERE usename = current_user AND query LIKE 'LISTEN%'"


@asynccontextmanager
async def followed(folder: Path) -> AsyncIterator[tuple[ReplayClient, Run]]:
    """A run that is recorded here and followed through a server that doesn't ask by itself."""
    settings = XAgentServerEnv(base_dir=folder, database_url=database_url(folder), create_tables=True)
    async with (
        serve_here(create_app(settings)) as port,
        open_database(settings.url) as database,
        Recorder(database, folder).record(description="", user_id="u") as run,
        ReplayClient(f"http://127.0.0.1:{port}", run.interaction_id) as replay,
    ):
        yield replay, run


async def listening(url: str) -> list[int]:
    return [pid for (pid,) in await asyncio.to_thread(execute, url, LISTENING)]


async def until_listening(url: str, count: int) -> list[int]:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(found := await listening(url)) != count:
            await asyncio.sleep(0.05)
    return found


async def test_a_follower_is_told_also_where_nobody_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(share.feed, "POLL_SECONDS", 3600)
    async with asyncio.timeout(PATIENCE_SECONDS), followed(tmp_path) as (replay, run):
        await until_listening(database_url(tmp_path), 1)
        for number in range(5):
            await run.append(data=number)
            assert (await anext(replay))["data"] == number
        await run.end("finished")
        assert [row["status"] async for row in replay] == ["finished"]


async def test_who_listens_is_connected_once_and_gone_with_the_last_follower(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(share.feed, "POLL_SECONDS", 3600)
    url = database_url(tmp_path)
    async with asyncio.timeout(PATIENCE_SECONDS), followed(tmp_path) as (_, run):
        await until_listening(url, 1)
        await run.end("finished")
        await until_listening(url, 0)


async def test_what_others_write_is_found_by_asking(tmp_path: Path) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS), followed(tmp_path) as (replay, run):
        statement = "INSERT INTO raw (node_id, interaction_id, step, status, data) VALUES ('x', ?, 1, 'inner', '7')"
        await asyncio.to_thread(execute, database_url(tmp_path), statement, run.interaction_id)
        assert (await anext(replay))["data"] == 7


async def test_a_listener_whose_connection_is_lost_comes_back(database: databases.Database, gateway: Gateway) -> None:
    url = database.url._url
    notifications = Notifications(gateway)
    with notifications.of("run") as written, notifications.of("another") as other:
        (pid,) = await until_listening(url, 1)
        await asyncio.to_thread(execute, url, "SELECT pg_terminate_backend(?)", pid)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await until_listening(url, 1) == [pid]:
                await asyncio.sleep(0.05)
        await asyncio.to_thread(execute, url, "SELECT pg_notify('replay_share_written', 'run')")
        await asyncio.wait_for(written.wait(), PATIENCE_SECONDS)
        assert not other.is_set()
    await until(lambda: notifications._listener is None)


async def test_a_pool_of_one_connection_keeps_it_for_the_queries(tmp_path: Path) -> None:
    async with open_database(f"{database_url(tmp_path)}?max_size=1") as database:
        gateway = Gateway(database)
        with Notifications(gateway).of("run"):
            await asyncio.sleep(0.1)
            assert await asyncio.wait_for(gateway.fetch_one(text("SELECT 1")), PATIENCE_SECONDS)
        await gateway.drain()
