"""A run that one process records is watched on a server in another while it is going on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import statistics
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import databases
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

import share.feed
from share import Recorder, XAgentServerEnv, create_app
from share.client import ReplayClient, ReplayError
from storage.database import open_database
from tests.any_database import database_url
from tests.server import (
    CHECKOUT,
    PATIENCE_SECONDS,
    Server,
    make_timed_recording,
    run_here,
    serve_here,
    start_server,
    write_recording,
)

# The server, with a line in its log for every query.
COUNTED = """
import logging
from share import cli
logging.getLogger("databases").setLevel("DEBUG")
cli.main(["serve"])
"""

# Prints the run's id, and with each line that it reads does what stands there.
RECORDING = """
import asyncio, random, sys
from share import Recorder
from storage.database import open_database
from tests.any_database import database_url

async def main():
    async with open_database(sys.argv[1]) as database:
        async with Recorder(database).record(description="a live run", user_id="author") as run:
            print(run.interaction_id, flush=True)
            number = 0
            for line in sys.stdin:
                what, _, argument = line.strip().partition(" ")
                if what == "fail":
                    raise RuntimeError(argument)
                for _ in range(int(argument)):
                    await asyncio.sleep(random.choice([0, 0, 0.001, 0.02, 0.05, 0.1]) if what == "irregular" else 0)
                    number += 1
                    await run.append(data=number)
                print("done", flush=True)

asyncio.run(main())
"""


class Agent:
    """A process that records a run."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", RECORDING, database_url(folder / "data")],
            cwd=folder,
            env={"PYTHONPATH": str(CHECKOUT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.interaction_id = self._read_line()

    async def record(self, rows: int, how: str = "quick") -> None:
        """Have so many rows recorded, quickly or at irregular moments, and return when they are."""
        await asyncio.to_thread(self._do, f"{how} {rows}")

    def _do(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        assert self._read_line() == "done"

    def _read_line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self, failure: str | None = None) -> None:
        """Let the run end, when the process has ended too."""
        _, errors = self.process.communicate(f"fail {failure}\n" if failure else "", PATIENCE_SECONDS)
        assert self.process.returncode == (1 if failure else 0), errors
        assert ("Traceback" in errors) == bool(failure), errors

    async def end_soon(self, failure: str | None = None) -> None:
        await asyncio.to_thread(self.end, failure)


@contextlib.contextmanager
def agent_in(folder: Path) -> Iterator[Agent]:
    agent = Agent(folder)
    try:
        yield agent
    finally:
        agent.process.kill()
        agent.process.communicate()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("follow")
    with start_server(folder, (sys.executable, "-c", COUNTED), SHARE_PAUSE_SECONDS="0.04") as server:
        yield server


@pytest.fixture
def agent(server: Server) -> Iterator[Agent]:
    with agent_in(server.log_file.parent) as agent:
        yield agent


@pytest.fixture
async def database(server: Server) -> AsyncIterator[databases.Database]:
    """The server's database."""
    async with open_database(database_url(server.log_file.parent / "data")) as database:
        yield database


def count_queries(server: Server, words: str = "") -> int:
    return sum(words in line for line in server.log.splitlines() if "Query: SELECT" in line)


async def take(client: ReplayClient, count: int) -> list[Any]:
    """The data of the next rows."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        return [(await anext(client))["data"] for _ in range(count)]


async def take_all(client: ReplayClient) -> list[Any]:
    """The data of all rows that still come, but for the one that says that the run is over."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        rows = [row async for row in client]
    assert [row["offset"] for row in rows] == list(range(rows[0]["offset"], rows[0]["offset"] + len(rows)))
    assert rows[-1]["status"] == client.end
    return [row["data"] for row in rows[:-1]]


async def take_what_comes(client: ReplayClient, seconds: float = 1) -> list[Any]:
    """The data of the rows that come until none has for a while."""
    taken = []
    with contextlib.suppress(TimeoutError):
        while True:
            async with asyncio.timeout(seconds):
                taken.append((await anext(client))["data"])
    return taken


async def follow(url: str, interaction_id: str, inside: asyncio.Semaphore) -> tuple[list[Any], list[float]]:
    """The data of all rows, and how many seconds after it was recorded each one came."""
    taken, delays = [], []
    async with ReplayClient(url, interaction_id) as replay:
        inside.release()
        async for row in replay:
            recorded = datetime.fromisoformat(row["time"]).replace(tzinfo=UTC)
            delays.append((datetime.now(UTC) - recorded).total_seconds())
            taken.append((row["offset"], row["data"]))
    return taken, delays


async def watch_classic(url: str, count: int) -> list[Any]:
    """The data of so many rows, in classic."""
    async with connect(url) as connection, asyncio.timeout(PATIENCE_SECONDS):
        await connection.recv()
        await connection.send('{"type": "shared"}')
        taken: list[Any] = []
        while len(taken) < count:
            frame = json.loads(await connection.recv())
            taken += [frame["data"]] if "data" in frame else []
    return taken


# Fifty viewers


async def test_fifty_viewers_have_all_of_two_hundred_rows_in_order_and_soon(server: Server, agent: Agent) -> None:
    inside = asyncio.Semaphore(0)
    async with asyncio.timeout(3 * PATIENCE_SECONDS), asyncio.TaskGroup() as group:
        watching = [group.create_task(follow(server.http_url, agent.interaction_id, inside)) for _ in range(50)]
        for _ in watching:
            await inside.acquire()
        await agent.record(150, "irregular")
        # Classic follows nothing: it sees what has been recorded when it gets there, a long time from now.
        classic = [group.create_task(watch_classic(server.url(agent.interaction_id), 201)) for _ in range(5)]
        await agent.record(50, "irregular")
        await agent.end_soon()

    followed = [task.result() for task in watching]
    expected = [*((number, number) for number in range(1, 201)), (201, [])]
    assert all(taken == expected for taken, _ in followed)
    assert [task.result() for task in classic] == [[*range(1, 201), []]] * 5
    median = statistics.median(delay for _, delays in followed for delay in delays)
    latest = max(delay for _, delays in followed for delay in delays)
    print(f"\nfollow delay: median {median * 1000:.0f} ms, latest {latest * 1000:.0f} ms")  # noqa: T201
    assert median < 2


async def test_the_number_of_queries_does_not_grow_with_the_viewers(server: Server) -> None:
    async def count_with(viewers: int) -> int:
        with agent_in(server.log_file.parent) as agent:
            inside = asyncio.Semaphore(0)
            async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as group:
                for _ in range(viewers):
                    group.create_task(follow(server.http_url, agent.interaction_id, inside))
                for _ in range(viewers):
                    await inside.acquire()
                before = count_queries(server)
                await agent.record(60, "irregular")
                queries = count_queries(server) - before
                await agent.end_soon()
        return queries

    alone = await count_with(1)
    assert await count_with(50) < 2 * alone + 100


async def test_when_nobody_watches_any_more_nothing_is_asked_of_the_database(server: Server, agent: Agent) -> None:
    async with ReplayClient(server.http_url, agent.interaction_id) as replay:
        await agent.record(1)
        await take(replay, 1)
    await asyncio.to_thread(server.wait_for_log, f"{agent.interaction_id}: disconnected")
    await asyncio.sleep(0.5)
    before = count_queries(server)
    await agent.record(10)
    await asyncio.sleep(1)
    assert count_queries(server) == before


async def test_a_recording_that_is_finished_is_not_asked_for_more_rows(server: Server, agent: Agent) -> None:
    await agent.record(3)
    await agent.end_soon()
    async with ReplayClient(server.http_url, agent.interaction_id, pace="instant") as replay:
        assert await take_all(replay) == [1, 2, 3]
        await asyncio.sleep(0.5)
        before = count_queries(server, "FROM raw")
        await asyncio.sleep(1)
        assert count_queries(server, "FROM raw") == before


async def test_a_run_that_ends_while_it_is_followed_is_not_asked_for_more_rows(server: Server, agent: Agent) -> None:
    async with ReplayClient(server.http_url, agent.interaction_id) as replay:
        await agent.record(3)
        await agent.end_soon()
        assert await take_all(replay) == [1, 2, 3]
        await asyncio.sleep(0.5)
        before = count_queries(server, "FROM raw")
        await asyncio.sleep(1)
        assert count_queries(server, "FROM raw") == before


# Late, early, in between


async def test_who_comes_in_the_middle_gets_everything_too(server: Server, agent: Agent) -> None:
    async def come_late() -> list[Any]:
        await asyncio.sleep(random.uniform(0, 3))
        async with ReplayClient(server.http_url, agent.interaction_id) as replay:
            return await take_all(replay)

    async with asyncio.timeout(2 * PATIENCE_SECONDS), asyncio.TaskGroup() as group:
        watching = [group.create_task(come_late()) for _ in range(25)]
        await agent.record(100, "irregular")
        await agent.end_soon()
    assert [task.result() for task in watching] == [list(range(1, 101))] * 25


async def test_hello_of_a_run_without_a_row_says_that_it_is_live(server: Server, agent: Agent) -> None:
    async with ReplayClient(server.http_url, agent.interaction_id) as replay:
        known = {name: replay.recording[name] for name in ("total", "duration", "live", "status", "markers")}
        assert known == {"total": 0, "duration": 0, "live": True, "status": "running", "markers": []}
        assert await take_what_comes(replay) == []
        await agent.record(2)
        assert await take(replay, 2) == [1, 2]


async def test_a_run_without_a_row_ends_too(server: Server, agent: Agent) -> None:
    async with ReplayClient(server.http_url, agent.interaction_id) as replay:
        await agent.end_soon()
        assert await take_all(replay) == []
        assert replay.end == "finished"


async def test_after_a_while_without_rows_the_next_ones_come_all_the_same(server: Server, agent: Agent) -> None:
    async with ReplayClient(server.http_url, agent.interaction_id, speed=0.1) as replay:
        for number in range(1, 4):
            await agent.record(1)
            assert await take(replay, 1) == [number]
            assert await take_what_comes(replay) == []
        await agent.end_soon()
        assert await take_all(replay) == []


async def test_a_burst_of_rows_comes_whole(server: Server, agent: Agent) -> None:
    async with ReplayClient(server.http_url, agent.interaction_id) as replay:
        for _ in range(3):
            await agent.record(300)
        assert await take(replay, 900) == list(range(1, 901))


@pytest.mark.parametrize("failure", [None, "the model is gone: 模型"])
async def test_the_end_comes_when_the_run_ends_and_says_how(server: Server, agent: Agent, failure: str | None) -> None:
    async with ReplayClient(server.http_url, agent.interaction_id) as replay:
        await agent.record(1)
        assert await take(replay, 1) == [1]
        assert replay.end is None
        await agent.end_soon(failure)
        async with asyncio.timeout(PATIENCE_SECONDS):
            (last,) = [row async for row in replay]
    assert replay.end == last["status"] == ("failed" if failure else "finished")
    assert last["data"] == (failure or [])


async def test_a_run_that_ends_while_nobody_watches_is_over_for_who_comes_then(server: Server, agent: Agent) -> None:
    async with ReplayClient(server.http_url, agent.interaction_id) as replay:
        await agent.record(2)
        assert await take(replay, 2) == [1, 2]
    await agent.record(3)
    await agent.end_soon()
    async with ReplayClient(server.http_url, agent.interaction_id, pace="instant") as replay:
        assert replay.recording["live"] is False
        assert replay.recording["status"] == "finished"
        assert await take_all(replay) == [1, 2, 3, 4, 5]


async def test_a_follower_who_pauses_gets_the_rest_when_he_goes_on(server: Server, agent: Agent) -> None:
    async with ReplayClient(server.http_url, agent.interaction_id) as replay:
        await agent.record(5)
        taken = await take(replay, 5)
        await replay.pause()
        await agent.record(20)
        taken += await take_what_comes(replay)
        assert len(taken) < 25
        await replay.play()
        await agent.record(5)
        await agent.end_soon()
        await replay.set_idle_time_limit(0)
        taken += await take_all(replay)
    assert taken == list(range(1, 31))


async def test_a_follower_who_goes_back_sees_it_again_and_comes_to_the_live_edge_again(
    server: Server, agent: Agent
) -> None:
    async with ReplayClient(server.http_url, agent.interaction_id, pace=0.01) as replay:
        await agent.record(10)
        assert await take(replay, 10) == list(range(1, 11))
        await replay.seek(offset=4)
        assert await take(replay, 6) == list(range(5, 11))
        await agent.record(2)
        assert await take(replay, 2) == [11, 12]
        await agent.end_soon()
        assert await take_all(replay) == []


async def test_who_does_not_follow_has_what_was_there_when_he_came(server: Server, agent: Agent) -> None:
    await agent.record(5)
    async with ReplayClient(server.http_url, agent.interaction_id, follow=False, pace="instant") as replay:
        await agent.record(5)
        async with asyncio.timeout(PATIENCE_SECONDS):
            taken = [row["data"] async for row in replay]
        assert taken == [1, 2, 3, 4, 5]
        assert replay.end == "truncated"


async def test_several_runs_are_followed_at_once_and_none_gets_another_ones_rows(server: Server) -> None:
    with contextlib.ExitStack() as stack:
        agents = [stack.enter_context(agent_in(server.log_file.parent)) for _ in range(3)]
        async with asyncio.timeout(2 * PATIENCE_SECONDS), asyncio.TaskGroup() as group:
            inside = asyncio.Semaphore(0)
            watching = [
                group.create_task(follow(server.http_url, agent.interaction_id, inside)) for agent in agents * 5
            ]
            for _ in watching:
                await inside.acquire()
            await asyncio.gather(*(agent.record(10 * n, "irregular") for n, agent in enumerate(agents, 1)))
            for agent in agents:
                await agent.end_soon()
    for number, task in enumerate(watching):
        rows = 10 * (number % 3 + 1)
        assert task.result()[0] == [*((row, row) for row in range(1, rows + 1)), (rows + 1, [])]


# Somebody else learns of it first


@pytest.mark.parametrize("newcomer", ["a viewer", "a viewer who comes back and knows more"])
@pytest.mark.parametrize("what", ["a row", "the end"])
async def test_followers_are_told_also_of_what_a_newcomer_was_the_first_to_make_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, newcomer: str
) -> None:
    monkeypatch.setattr(share.feed, "POLL_SECONDS", 2)
    monkeypatch.setattr(share.feed, "CHECK_SECONDS", 0 if newcomer == "a viewer" else 3600)
    settings = XAgentServerEnv(base_dir=tmp_path, database_url=database_url(tmp_path), create_tables=True)
    async with serve_here(create_app(settings)) as port, open_database(settings.url) as database:
        url = f"http://127.0.0.1:{port}"
        async with contextlib.AsyncExitStack() as stack:
            run = await stack.enter_async_context(Recorder(database, tmp_path).record(description="", user_id="u"))
            async with ReplayClient(url, run.interaction_id) as follower:
                await run.append(data=1)
                assert await take(follower, 1) == [1]
                if what == "a row":
                    await run.append(data=2)
                else:
                    await stack.aclose()
                await let_it_be_known(f"ws://127.0.0.1:{port}/ws/share/{run.interaction_id}")
                if what == "a row":
                    assert await take(follower, 1) == [2]
                else:
                    assert await take_all(follower) == []
                    assert follower.end == "finished"


async def let_it_be_known(url: str) -> None:
    """Come, knowing of two rows, and leave."""
    async with connect(url, subprotocols=["replay.v1"]) as connection:  # type: ignore[list-item]
        hello = json.loads(await connection.recv())
        await connection.send(json.dumps({"type": "shared", "offset": 2, "epoch": hello["data"]["epoch"]}))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while json.loads(await connection.recv()).get("type") != "state":
                pass


# It is taken back


@pytest.mark.parametrize("command", ["delete", "unshare"])
async def test_followers_are_ended_with_4503_when_it_is_taken_back_elsewhere(
    server: Server, agent: Agent, command: str
) -> None:
    folder = server.log_file.parent
    async with (
        ReplayClient(server.http_url, agent.interaction_id) as replay,
        connect(server.url(agent.interaction_id)) as classic,
    ):
        await agent.record(1)
        assert await take(replay, 1) == [1]
        done = await asyncio.to_thread(run_here, command, agent.interaction_id, folder=folder)
        assert done.returncode == 0
        async with asyncio.timeout(10):
            with pytest.raises(ReplayError) as refused:
                await anext(replay)
            assert refused.value.code == 4503
            with contextlib.suppress(ConnectionClosed):
                while True:
                    await classic.recv()
        assert classic.close_code == 4503


async def test_others_go_on_when_one_recording_is_taken_back(server: Server, agent: Agent) -> None:
    folder = server.log_file.parent
    file = write_recording(folder / "taken.json", make_timed_recording("taken", 3, 3600))
    await asyncio.to_thread(run_here, "import", file, folder=folder)
    async with (
        ReplayClient(server.http_url, agent.interaction_id) as follower,
        ReplayClient(server.http_url, "taken") as watcher,
    ):
        await take(watcher, 1)
        await asyncio.to_thread(run_here, "unshare", "taken", folder=folder)
        async with asyncio.timeout(PATIENCE_SECONDS):
            with pytest.raises(ReplayError):
                await anext(watcher)
        await agent.record(1)
        assert await take(follower, 1) == [1]


async def test_an_agent_that_is_killed_leaves_a_run_that_can_still_be_watched(server: Server, agent: Agent) -> None:
    await agent.record(5)
    agent.process.kill()
    async with ReplayClient(server.http_url, agent.interaction_id) as replay:
        assert await take(replay, 5) == [1, 2, 3, 4, 5]
        assert await take_what_comes(replay) == []
        assert replay.recording["live"] is True


async def test_a_run_recorded_as_private_cannot_be_followed(server: Server, database: databases.Database) -> None:
    async with Recorder(database).record(description="mine", user_id="author", shared=False) as run:
        with pytest.raises(ReplayError) as refused:
            async with ReplayClient(server.http_url, run.interaction_id):
                pass
        assert refused.value.code == 4504
