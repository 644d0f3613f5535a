"""The database goes away in the middle, and comes back."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from share import ReplayClient
from tests.any_database import databases, execute
from tests.outages import OwnDatabase, OwnServer, own_database
from tests.server import PATIENCE_SECONDS, Server, make_timed_recording, run_here, start_server, write_recording

SHARED = json.dumps({"type": "shared"})
ROWS = 60
AWAY = "The database doesn't answer, please try again later."


@pytest.fixture
def own() -> Iterator[OwnDatabase]:
    with own_database() as own:
        yield own


def variables(own: OwnDatabase, wait_seconds: float = PATIENCE_SECONDS) -> dict[str, str]:
    return {
        "SHARE_DATABASE_URL": own.url,
        "SHARE_CREATE_TABLES": "1",
        "SHARE_DATABASE_WAIT_SECONDS": str(wait_seconds),
        "SHARE_PAUSE_SECONDS": "0.05",
        "SHARE_HEARTBEAT_SECONDS": "0.5",
        "SHARE_CACHE_BYTES": "0",  # each page is read when it is its turn
    }


def put_in(folder: Path, own: OwnDatabase) -> None:
    recording = make_timed_recording("slow", ROWS, 0.05)
    for raw in recording["raws"]:
        raw["data"]["thoughts"] = "x" * 20_000  # so that classic reads a few rows at a time
    file = write_recording(folder / "slow.json", recording)
    done = run_here("import", file, folder=folder, **variables(own))
    assert done.returncode == 0, done.stderr


async def ready(server: Server) -> int:
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_SECONDS) as client:
        return (await client.get(f"{server.http_url}/readyz")).status_code


async def until_ready(server: Server, code: int) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await ready(server) != code:
            await asyncio.sleep(0.05)


async def classic_rows(connection: ClientConnection) -> list[str]:
    """The node_ids of the rows as they come, until all are here."""
    found: list[str] = []
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(found) < ROWS:
            frame = json.loads(await connection.recv())
            if "node_id" in frame:
                found.append(frame["node_id"])
    return found


async def close_code(connection: ClientConnection) -> tuple[int, list[dict[str, object]]]:
    frames = []
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                frames.append(json.loads(await connection.recv()))
    except ConnectionClosed as closed:
        assert closed.rcvd is not None
        return closed.rcvd.code, frames


async def test_who_watches_keeps_his_socket_and_misses_nothing(tmp_path: Path, own: OwnDatabase) -> None:
    put_in(tmp_path, own)
    with start_server(tmp_path, **variables(own)) as server:
        async with connect(server.url("slow")) as classic, ReplayClient(server.http_url, "slow", pace=0.05) as replay:
            await classic.send(SHARED)
            first = [row["offset"] async for row in take(replay, 5)]
            watching = asyncio.create_task(classic_rows(classic))
            own.stop()
            await until_ready(server, 503)
            async with connect(server.url("slow")) as newcomer:
                code, frames = await close_code(newcomer)
                assert (code, frames[-1]["message"], frames[-1]["success"]) == (1013, AWAY, False)
            async with connect(server.url("slow"), subprotocols=["replay.v1"]) as newcomer:  # type: ignore[list-item]
                code, frames = await close_code(newcomer)
                assert (code, frames[-1]["message"], frames[-1]["temporary"]) == (1013, AWAY, True)
            await asyncio.to_thread(server.wait_for_log, "who watches waits for it")
            own.start()
            await until_ready(server, 200)
            rest = [row["offset"] async for row in replay]
            assert first + rest == list(range(1, ROWS + 1))
            assert await watching == [f"slow-{step}" for step in range(ROWS)]
            assert server.log.count("who watches waits for it") == 1
            assert "Traceback" not in server.log


async def take(replay: ReplayClient, count: int):  # type: ignore[no-untyped-def]
    for _ in range(count):
        yield await anext(replay)


@pytest.mark.parametrize("protocol", ["classic", "replay.v1"])
async def test_who_has_waited_for_too_long_is_told_to_come_again(
    protocol: str, tmp_path: Path, own: OwnDatabase
) -> None:
    put_in(tmp_path, own)
    with start_server(tmp_path, **variables(own, 1)) as server:
        subprotocols = ["replay.v1"] if protocol == "replay.v1" else None
        async with connect(server.url("slow"), subprotocols=subprotocols) as connection:  # type: ignore[arg-type]
            await connection.send(SHARED)
            for _ in range(3):
                await connection.recv()
            own.stop()
            code, frames = await close_code(connection)
            assert (code, frames[-1]["message"]) == (1013, AWAY)
        own.start()
        await until_ready(server, 200)
        async with ReplayClient(server.http_url, "slow", pace="instant") as replay:
            assert len([row async for row in replay]) == ROWS


async def test_a_run_is_followed_on_when_the_database_is_back(tmp_path: Path, own: OwnDatabase) -> None:
    put_in(tmp_path, own)
    execute(own.url, "UPDATE interactions SET status = 'running'")
    execute(own.url, "UPDATE raw SET status = 'inner'")
    with start_server(tmp_path, **variables(own)) as server:
        async with ReplayClient(server.http_url, "slow", pace="instant") as replay:
            assert [row["offset"] async for row in take(replay, ROWS)] == list(range(1, ROWS + 1))
            own.stop()
            await until_ready(server, 503)
            own.start()
            await until_ready(server, 200)
            execute(own.url, "UPDATE interactions SET status = 'finished'")
            assert [row async for row in replay] == []


async def test_no_connection_is_lost_however_often_it_goes_away(tmp_path: Path, own: OwnDatabase) -> None:
    put_in(tmp_path, own)
    with start_server(tmp_path, **variables(own)) as server:
        for _ in range(5):
            async with asyncio.TaskGroup() as group:
                all_are_in = asyncio.Barrier(31)
                viewers = [group.create_task(watch(server, all_are_in)) for _ in range(30)]
                await all_are_in.wait()
                own.stop()
                await until_ready(server, 503)
                own.start()
            assert [viewer.result() for viewer in viewers] == [list(range(1, ROWS + 1))] * 30
        assert await ready(server) == 200
        assert "Traceback" not in server.log


async def watch(server: Server, all_are_in: asyncio.Barrier) -> list[int]:
    async with asyncio.timeout(2 * PATIENCE_SECONDS), ReplayClient(server.http_url, "slow", pace=0.02) as replay:
        await all_are_in.wait()
        return [row["offset"] async for row in replay]


async def test_a_database_that_is_stopped_as_an_operator_stops_it_is_no_error_either(
    tmp_path: Path, own: OwnDatabase
) -> None:
    put_in(tmp_path, own)
    with start_server(tmp_path, **variables(own)) as server:
        begun = asyncio.Barrier(2)
        viewer = asyncio.create_task(watch(server, begun))
        await begun.wait()
        await asyncio.to_thread(own.stop, signal.SIGINT if databases.kind == "postgresql" else signal.SIGTERM)
        await until_ready(server, 503)
        own.start()
        assert await viewer == list(range(1, ROWS + 1))
        assert "Traceback" not in server.log


async def test_a_server_that_starts_before_its_database_waits_for_it(tmp_path: Path, own: OwnDatabase) -> None:
    put_in(tmp_path, own)
    if isinstance(own, OwnServer):
        own.stop()
        starting = asyncio.create_task(asyncio.to_thread(start_and_ask, tmp_path, own))
        await asyncio.sleep(2)
        assert not starting.done()
        own.start()
        assert await starting == 200


def start_and_ask(folder: Path, own: OwnDatabase) -> int:
    with start_server(folder, **variables(own)) as server:
        return httpx.get(f"{server.http_url}/readyz", trust_env=False).status_code


def test_a_command_says_in_one_line_that_the_database_is_away(tmp_path: Path, own: OwnDatabase) -> None:
    put_in(tmp_path, own)
    own.stop()
    done = run_here("list", folder=tmp_path, **variables(own))
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert ":own@" not in done.stderr


async def test_many_more_viewers_than_connections_all_see_everything(tmp_path: Path, own: OwnDatabase) -> None:
    put_in(tmp_path, own)
    small = variables(own) | ({"SHARE_DATABASE_URL": f"{own.url}?max_size=2"} if isinstance(own, OwnServer) else {})
    with start_server(tmp_path, **small) as server:
        all_are_in = asyncio.Barrier(100)
        viewers = [watch(server, all_are_in) for _ in range(100)]
        assert await asyncio.gather(*viewers) == [list(range(1, ROWS + 1))] * 100
        assert await ready(server) == 200


@pytest.mark.postgresql
@pytest.mark.mysql
async def test_a_database_that_says_nothing_any_more_holds_up_nobody_for_ever(tmp_path: Path, own: OwnDatabase) -> None:
    put_in(tmp_path, own)
    assert isinstance(own, OwnServer)
    with start_server(tmp_path, **variables(own)) as server:
        begun = asyncio.Barrier(2)
        viewer = asyncio.create_task(watch(server, begun))
        await begun.wait()
        own.pause()
        try:
            await until_ready(server, 503)
            # More than there are connections.
            assert await asyncio.gather(*(refused(server) for _ in range(20))) == [1013] * 20
        finally:
            own.go_on()
        await until_ready(server, 200)
        assert await viewer == list(range(1, ROWS + 1))


async def refused(server: Server) -> int:
    async with connect(server.url("slow"), open_timeout=PATIENCE_SECONDS) as newcomer:
        code, _ = await close_code(newcomer)
        return code


@pytest.mark.postgresql
@pytest.mark.mysql
async def test_a_server_can_be_stopped_while_its_database_says_nothing(tmp_path: Path, own: OwnDatabase) -> None:
    put_in(tmp_path, own)
    assert isinstance(own, OwnServer)
    with start_server(tmp_path, **variables(own)) as server:
        assert await ready(server) == 200
        own.pause()
        try:
            assert await ready(server) == 503
            assert await asyncio.to_thread(server.stop) in (0, -signal.SIGTERM)
        finally:
            own.go_on()
