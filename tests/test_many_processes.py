"""Several processes over one database, and nothing else between them: a viewer may come to any of them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from share.client import ReplayClient, ReplayError
from tests.balancer import start_balancer
from tests.server import (
    PATIENCE_SECONDS,
    UVICORN,
    Server,
    environment,
    make_timed_recording,
    run_here,
    start_server,
    write_recording,
)
from tests.visitor import ask, make_user, upload

ROWS = 60
ALL = list(range(1, ROWS + 1))
WATCHED = "many-processes"
HOUR = 3600.0

Urls = list[str]
"""Where viewers come in, one after the other."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    file = write_recording(folder / "recording.json", make_timed_recording(WATCHED, ROWS, 0.02))
    assert run_here("import", file, folder=folder).returncode == 0
    return folder


@pytest.fixture(scope="module")
def token(folder: Path) -> str:
    return make_user(folder)


@pytest.fixture(scope="module", params=["two processes", "behind nginx", "four workers"])
def urls(request: pytest.FixtureRequest, folder: Path) -> Iterator[Urls]:
    if request.param == "four workers":
        with start_server(folder, (*UVICORN, "--workers", "4")) as workers:
            workers.wait_for_log("Application startup complete", 4)
            yield [workers.http_url] * 2
        return
    with start_server(folder) as one, start_server(folder) as other:
        if request.param == "two processes":
            yield [one.http_url, other.http_url]
            return
        with start_balancer(folder, (one.port, other.port)) as balancer:
            yield [balancer.http_url] * 2


@contextlib.asynccontextmanager
async def enter(url: str, **start: Any) -> AsyncIterator[tuple[ClientConnection, dict[str, Any]]]:
    """A viewer in replay.v1 who does no more than start: his connection, and the first thing he is told."""
    address = f"{url.replace('http', 'ws', 1)}/ws/share/{WATCHED}"
    async with asyncio.timeout(PATIENCE_SECONDS), connect(address, subprotocols=["replay.v1"]) as connection:
        hello = json.loads(await connection.recv())
        await connection.send(json.dumps({"type": "shared", **start}))
        yield connection, hello


async def read(connection: ClientConnection, count: int) -> tuple[bool, list[int]]:
    """Whether the replay goes on where the viewer was, and the offsets of the next rows: at least so many."""
    state = json.loads(await connection.recv())
    offsets: list[int] = []
    while len(offsets) < count:
        frame = json.loads(await connection.recv())
        offsets += [row["offset"] for row in frame.get("rows", [frame])]
    return state["recovered"], offsets


async def test_who_comes_back_to_another_process_goes_on_where_he_was(urls: Urls) -> None:
    async with enter(urls[0], pace=0.01) as (connection, hello):
        _, taken = await read(connection, 5)
    for url in itertools.cycle(urls):
        if len(taken) == ROWS:
            break
        place = {"offset": len(taken), "epoch": hello["data"]["epoch"]}
        async with enter(url, pace=0.01, **place) as (connection, hello):
            recovered, offsets = await read(connection, min(5, ROWS - len(taken)))
        assert recovered
        taken += offsets
    assert taken == ALL


async def test_a_link_is_never_used_more_often_than_it_may_through_whichever_process(urls: Urls, token: str) -> None:
    made = upload(urls[0], make_timed_recording(secrets.token_hex(8), 3, HOUR), token)[1]
    status, link = ask("POST", f"{urls[1]}/api/v1/recordings/{made['id']}/links", token, {"max_views": 5})
    assert status == 201

    async def come(url: str) -> bool:
        try:
            async with ReplayClient(url, link["url"].rpartition("/")[2]):
                return True
        except ReplayError as refused:
            assert refused.code == 4503
            return False

    let_in = await asyncio.gather(*(come(urls[number % 2]) for number in range(24)))
    assert let_in.count(True) == 5
    (views,) = [
        each["views"] for each in ask("GET", f"{urls[0]}/api/v1/links", token)[1]["links"] if each["id"] == link["id"]
    ]
    assert views == 5


async def test_who_comes_back_by_a_link_to_another_process_is_not_counted_again(urls: Urls, token: str) -> None:
    made = upload(urls[0], make_timed_recording(secrets.token_hex(8), 3, HOUR), token)[1]
    _, link = ask("POST", f"{urls[1]}/api/v1/recordings/{made['id']}/links", token, {"max_views": 1})
    place = f"{link['url'].rpartition('/')[2]}?viewer="
    for url, viewer, expected in [
        (urls[0], "one", "success"),
        (urls[1], "one", "success"),
        (urls[1], "two", "not_allowed"),
    ]:
        async with connect(
            f"{url.replace('http', 'ws', 1)}/ws/share/{place}{viewer}", subprotocols=["replay.v1"]
        ) as came:
            assert expected in str(await came.recv())


@pytest.mark.parametrize("how", ["revoked", "made private", "deleted"])
async def test_what_is_taken_back_at_one_process_ends_the_viewers_of_the_other(
    urls: Urls, token: str, how: str
) -> None:
    made = upload(urls[0], make_timed_recording(secrets.token_hex(8), 3, HOUR), token)[1]
    place = f"{urls[1]}/api/v1/recordings/{made['id']}"
    name = made["link"]["url"].rpartition("/")[2]
    requests: dict[str, tuple[Any, ...]] = {
        "revoked": ("DELETE", f"{urls[1]}/api/v1/links/{made['link']['id']}", token),
        "made private": ("PATCH", place, token, {"visibility": "private"}),
        "deleted": ("DELETE", place, token),
    }
    async with contextlib.AsyncExitStack() as stack:
        viewers = [await stack.enter_async_context(ReplayClient(urls[0], name)) for _ in range(6)]
        for viewer in viewers:
            assert (await anext(viewer))["offset"] == 1
        assert (await asyncio.to_thread(ask, *requests[how]))[0] in (200, 204)
        async with asyncio.timeout(PATIENCE_SECONDS):
            for viewer in viewers:
                with pytest.raises(ReplayError) as refused:
                    await anext(viewer)
                assert refused.value.code == 4503


async def test_a_run_that_one_process_records_is_followed_at_all_others(urls: Urls, folder: Path) -> None:
    command = [sys.executable, "-m", "share", "record", "--description", "live"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=folder, env=environment(folder), **pipes) as recording:
        assert recording.stdin is not None and recording.stdout is not None
        name = (await asyncio.to_thread(recording.stdout.readline)).decode().strip()
        async with asyncio.timeout(PATIENCE_SECONDS), contextlib.AsyncExitStack() as stack:
            viewers = [await stack.enter_async_context(ReplayClient(urls[n % 2], name)) for n in range(6)]
            for number in range(1, 6):
                recording.stdin.write(f"{number}\n".encode())
                recording.stdin.flush()
                for viewer in viewers:
                    assert (await anext(viewer))["data"] == number
            recording.stdin.close()
            for viewer in viewers:
                assert [row["status"] async for row in viewer] == ["finished"]
                assert viewer.end == "finished"


async def test_when_one_machine_goes_its_viewers_go_on_at_the_other_and_come_back(folder: Path, tmp_path: Path) -> None:
    async def watch(client: ReplayClient) -> list[int]:
        return [row["offset"] async for row in client]

    with contextlib.ExitStack() as processes, start_server(folder) as other:
        one = processes.enter_context(start_server(folder))
        balancer = processes.enter_context(start_balancer(tmp_path, (one.port, other.port)))
        async with asyncio.timeout(PATIENCE_SECONDS), contextlib.AsyncExitStack() as stack:
            told: list[str] = []
            clients = [ReplayClient(balancer.http_url, WATCHED, pace=0.1, on_connection=told.append) for _ in range(10)]
            for client in clients:
                await stack.enter_async_context(client)
            watching = [asyncio.create_task(watch(client)) for client in clients]
            await asyncio.to_thread(stop_and_start, one, processes, folder)
            other.process.send_signal(signal.SIGKILL)
            assert await asyncio.gather(*watching) == [ALL] * len(clients)
    assert told.count("connected again") >= len(clients)


def stop_and_start(server: Server, processes: contextlib.ExitStack, folder: Path) -> None:
    server.stop()
    processes.enter_context(start_server(folder, SHARE_PORT=str(server.port)))
