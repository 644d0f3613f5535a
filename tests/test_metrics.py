from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import databases
import httpx
import pytest
from prometheus_client import REGISTRY
from starlette.types import Message
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from share.metrics import MeasuredGateway, metrics
from storage.errors import DatabaseError
from tests.asgi import CountingGateway, Server, row, tasks_named
from tests.fake_clock import until
from tests.server import (
    CHECKOUT,
    GOLDEN,
    PATIENCE_SECONDS,
    UVICORN,
    environment,
    get,
    make_recording,
    run_here,
    start_server,
    write_recording,
)
from tests.server import Server as Process
from tests.test_endpoint import SHARED
from tests.test_replay_v1 import RECORDED, V1, finish, timed, watch

CJK = "思考 😀"
BUCKETS = ("0.001", "0.1", "0.25", "0.5", "+Inf")


class Counting:
    """What is counted from here on."""

    def __init__(self) -> None:
        self._before = self._figures()

    @staticmethod
    def _figures() -> dict[tuple[str, ...], float]:
        return {
            (sample.name.removeprefix("replay_share_"), *sample.labels.values()): sample.value
            for metric in REGISTRY.collect()
            for sample in metric.samples
            if sample.name.startswith("replay_share_") and not sample.name.endswith("_created")
        }

    def __call__(self, *name: str) -> float:
        return self._figures().get(name, 0.0) - self._before.get(name, 0.0)

    def changed(self, name: str) -> dict[tuple[str, ...], float]:
        return {
            key[1:]: self(*key) for key in self._figures().keys() | self._before.keys() if key[0] == name and self(*key)
        }


@pytest.fixture
async def gateway(database: databases.Database) -> AsyncIterator[CountingGateway]:
    gateway = CountingGateway(database)
    yield gateway
    await until(lambda: not tasks_named("poller", "frames", "revocation", "replay", "heartbeat"))
    await gateway.drain()


@pytest.fixture
async def server(gateway: CountingGateway, tmp_path: Path) -> Server:
    """A server with the recording `run` of five rows, from second 0 to second 65."""
    server = Server(gateway, tmp_path)
    await server.record(*timed(*RECORDED), status="finished")
    return server


@pytest.fixture
def counted() -> Counting:
    metrics()
    return Counting()


def size_of(frames: list[str]) -> int:
    return sum(len(frame.encode()) for frame in frames)


async def watch_classic(server: Server, path: str = "/ws/share/run", **options: Any) -> list[str]:
    async with server.connect(path, **options) as viewer:
        await viewer.send(SHARED)
        await server.play_out()
    return viewer.frames


# Rows and bytes


async def test_each_row_is_counted_also_where_several_go_in_one_frame(server: Server, counted: Counting) -> None:
    many = [row(number, node_id=f"long-{number}") for number in range(150)]
    await server.record(*many, interaction_id="long", status="finished")
    async with watch(server, "/ws/share/long") as client:
        await client.ask("shared", pace="instant")
        await finish(server, client)
        assert max(client.batches) == 64
    assert counted("rows_sent_total") == 150
    assert counted("replays_total") == 1
    assert counted("sent_bytes_total") == size_of(client.viewer.frames)


async def test_classics_rows_are_counted_and_bytes_are_those_of_utf8(server: Server, counted: Counting) -> None:
    await server.record(row(0, CJK, node_id="cjk-0"), row(1, CJK, node_id="cjk-1"), interaction_id="cjk")
    frames = await watch_classic(server, "/ws/share/cjk")
    assert any(CJK in frame for frame in frames)
    assert counted("rows_sent_total") == 2
    assert counted("replays_total") == 1
    assert counted("sent_bytes_total") == size_of(frames)


async def test_what_a_viewer_is_sent_is_counted_while_he_watches(server: Server, counted: Counting) -> None:
    async with watch(server) as client:
        await client.ask("shared")
        await until(lambda: counted("rows_sent_total") == 1)
        assert counted("viewers") == 1
        await client.ask("seek", offset=4)
        await until(lambda: counted("rows_sent_total") == 4)
        await until(lambda: counted("sent_bytes_total") == size_of(client.viewer.frames))
    assert counted("viewers") == 0


async def test_a_start_that_cannot_be_is_no_replay(server: Server, counted: Counting) -> None:
    async with watch(server) as client:
        await client.ask("shared", offset=6)
        await client.ask("shared")
        await client.ask("shared")
    assert counted("replays_total") == 2


@pytest.mark.parametrize("leaving", ["close", "disconnect", "vanish"])
async def test_a_viewer_is_one_until_he_is_gone(server: Server, counted: Counting, leaving: str) -> None:
    async with server.connect(subprotocols=V1) as viewer:
        await viewer.receive()
        assert counted("viewers") == 1
        getattr(viewer, leaving)()
        viewer.post({"type": "ping"})
        await viewer.ended()
    assert counted("viewers") == 0
    assert counted.changed("errors_total") == {}


# Lateness


def takes(server: Server, seconds: float) -> Any:
    """Lets time pass while a row is written."""

    async def slowly(message: Message) -> None:
        if "node_id" in message.get("text", ""):
            server.clock._now += seconds

    return slowly


def buckets(counted: Counting, name: str) -> list[float]:
    return [counted(f"{name}_bucket", bucket) for bucket in BUCKETS]


async def test_a_row_that_follows_a_pause_is_late_by_what_it_takes(server: Server, counted: Counting) -> None:
    async with watch(server, on_send=takes(server, 0.2)) as client:
        await client.ask("shared")
        await finish(server, client)
    after_a_pause = 3  # of the five the first is due at once, and two are due together
    assert counted("row_lateness_seconds_count") == after_a_pause
    assert buckets(counted, "row_lateness_seconds") == [0, 0, 3, 3, 3]
    assert counted("first_row_seconds_count") == 1
    assert buckets(counted, "first_row_seconds") == [0, 0, 1, 1, 1]


async def test_who_falls_behind_is_seen_to(server: Server, counted: Counting) -> None:
    async with watch(server, on_send=takes(server, 0.2)) as client:
        await client.ask("shared", pace=0.15)
        await finish(server, client)
    assert counted("row_lateness_seconds_count") > 1
    assert counted("row_lateness_seconds_bucket", "0.25") < counted("row_lateness_seconds_count")


async def test_classics_rows_are_late_too(server: Server, counted: Counting) -> None:
    await watch_classic(server, on_send=takes(server, 0.2))
    assert counted("row_lateness_seconds_count") == len(RECORDED) - 1
    assert buckets(counted, "row_lateness_seconds") == [0, 0, 4, 4, 4]
    assert buckets(counted, "first_row_seconds") == [0, 0, 1, 1, 1]


async def test_without_pauses_nothing_is_late(server: Server, counted: Counting) -> None:
    async with watch(server, on_send=takes(server, 5)) as client:
        for options in ({"pace": "instant"}, {"pace": 0}, {"idle_time_limit": 0}, {"start_at": 65}):
            await client.ask("shared", **options)
            await finish(server, client)
    instant = Server(server.gateway, server.settings.base_dir, pause_seconds=(0, 0))
    await watch_classic(instant, on_send=takes(instant, 5))
    assert counted("rows_sent_total") == 5 * len(RECORDED)
    assert counted("row_lateness_seconds_count") == 0
    assert counted("first_row_seconds_count") == 5


async def test_a_first_row_that_is_to_wait_says_nothing_of_us(server: Server, counted: Counting) -> None:
    async with watch(server) as client:
        await client.ask("shared", autoplay=False)
        await until(lambda: not client.viewer.unread)
        await client.ask("play")
        await finish(server, client)
    assert counted("rows_sent_total") == 5
    assert counted("first_row_seconds_count") == 0


# The cache, the database, errors


async def test_a_page_that_is_there_is_a_hit(server: Server, counted: Counting) -> None:
    async with watch(server) as client:
        for _ in range(3):
            await client.ask("shared", pace="instant")
            await finish(server, client)
    # The one that isn't there is asked for before the viewer asks for anything.
    assert counted.changed("cache_requests_total") == {("miss",): 1, ("hit",): 3}


async def test_calls_of_the_database_are_timed_also_those_that_fail(
    gateway: CountingGateway,
    counted: Counting,
) -> None:
    measured = MeasuredGateway(gateway.database, limit=1, wait_seconds=0.01)
    await measured.execute("SELECT 1")
    with pytest.raises(DatabaseError):
        await measured.execute("no SQL")
    assert counted("database_seconds_count") == 2
    never = asyncio.create_task(measured.run(lambda connection: asyncio.sleep(0.2)))
    await asyncio.sleep(0)
    with pytest.raises(DatabaseError, match="became free"):
        await measured.execute("SELECT 1")
    await never
    assert counted("database_seconds_count") == 4


async def test_errors_are_counted_by_their_code(server: Server, counted: Counting) -> None:
    async with watch(server) as client:
        await client.ask("play")
        await client.ask("seek", offset="x")
        await client.viewer.send("{")
        await client.viewer.send({"type": "anything that a client likes"})
    async with server.connect() as viewer:
        await viewer.send("{")
        viewer.close(4321)
    for name, options in (("unknown", {"subprotocols": V1}), ("..", {})):
        async with server.connect(f"/ws/share/{name}", **options) as viewer:
            await viewer.ended()
    assert counted.changed("errors_total") == {
        ("frame", "not_started"): 1,
        ("frame", "bad_field"): 1,
        ("frame", "bad_message"): 3,
        ("frame", "no_such_recording"): 1,
        ("frame", "bad_request"): 1,
        ("close", "4504"): 1,
    }


async def test_an_error_of_ours_is_one_frame_and_one_close(
    server: Server,
    gateway: CountingGateway,
    counted: Counting,
) -> None:
    many = [row(number, node_id=f"long-{number}") for number in range(100)]
    await server.record(*many, interaction_id="long", status="finished")
    async with watch(server, "/ws/share/long") as client:
        gateway.down = True
        client.post({"type": "shared", "pace": "instant"})
        assert await client.viewer.ended() == 1011
        gateway.down = False
    assert counted.changed("errors_total") == {("frame", "internal"): 1, ("close", "1011"): 1}


# /metrics


async def test_scrapes_at_one_time_all_get_the_figures(server: Server) -> None:
    transport = httpx.ASGITransport(server.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
        answers = await asyncio.gather(*(client.get("/metrics") for _ in range(10)))
    for answer in answers:
        assert answer.status_code == 200
        assert re.match(r"text/plain; version=\d", answer.headers["content-type"])
        assert "\nreplay_share_viewers 0.0\n" in answer.text
        assert "# TYPE replay_share_row_lateness_seconds histogram" in answer.text


WITHOUT = """
import sys
sys.modules["prometheus_client"] = None
sys.argv[1:] = ["serve"]
from share.cli import main
main()
"""


async def test_without_prometheus_client_everything_works_and_the_page_says_what_it_needs(tmp_path: Path) -> None:
    assert run_here("import", GOLDEN / "short.recording.json", folder=tmp_path).returncode == 0
    with start_server(tmp_path, (sys.executable, "-c", WITHOUT), SHARE_PAUSE_SECONDS="0") as process:
        assert get(f"{process.http_url}/metrics") == (
            404,
            "Nothing is counted here: that needs the extra replay-share[metrics].\n",
        )
        async with connect(process.url(), subprotocols=[Subprotocol("replay.v1")]) as connection:
            await connection.recv()
            await connection.send(json.dumps({"type": "shared", "pace": "instant"}))
            assert json.loads(await connection.recv())["type"] == "state"
            assert len(json.loads(await connection.recv())["rows"]) == 6
        async with connect(process.url()) as connection:
            await connection.send(json.dumps(SHARED))
            assert len([await connection.recv() for _ in range(7)]) == 7


def test_a_command_leaves_no_figures_behind(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "share", "list"],
        cwd=tmp_path,
        env=environment(tmp_path, PROMETHEUS_MULTIPROC_DIR=str(tmp_path / "figures"), PYTHONPATH=str(CHECKOUT)),
        capture_output=True,
        timeout=PATIENCE_SECONDS,
    )
    assert ended.returncode == 0
    assert not (tmp_path / "figures").exists()


# Several workers


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    recording = make_recording("long", 200, CJK)
    assert run_here("import", write_recording(tmp_path / "long.json", recording), folder=tmp_path).returncode == 0
    return tmp_path


def workers_of(process: Process) -> list[int]:
    """The ids of the processes that serve."""
    children = Path(f"/proc/{process.process.pid}/task/{process.process.pid}/children").read_text().split()
    return [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def scrape(process: Process) -> dict[str, float]:
    status, text = get(f"{process.http_url}/metrics")
    assert status == 200, text
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name.removeprefix("replay_share_"): float(value) for name, _, value in lines}


@asynccontextmanager
async def served_by(worker: int, others: list[int]) -> AsyncIterator[None]:
    """Let none but one worker take connections."""
    stopped = [other for other in others if other != worker]
    for other in stopped:
        os.kill(other, signal.SIGSTOP)
    try:
        yield
    finally:
        for other in stopped:
            os.kill(other, signal.SIGCONT)


async def play_out(process: Process) -> tuple[ClientConnection, int]:
    """A socket that has been sent the whole recording, and how many bytes that was."""
    connection = await connect(process.url("long"), subprotocols=[Subprotocol("replay.v1")], compression=None)
    frames = [await connection.recv()]
    await connection.send(json.dumps({"type": "shared", "pace": "instant"}))
    while not isinstance(frames[-1], str) or '"end"' not in frames[-1]:
        frames.append(await connection.recv())
    return connection, size_of([frame for frame in frames if isinstance(frame, str)])


async def agree(process: Process, **expected: float) -> None:
    """Return when each of several scrapes, of whichever worker, has the figures."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            scrapes = await asyncio.gather(*(asyncio.to_thread(scrape, process) for _ in range(6)))
            if all(figures[name] == value for figures in scrapes for name, value in expected.items()):
                return
            await asyncio.sleep(0.1)


async def test_whichever_worker_is_asked_adds_up_all_and_one_that_is_killed_has_no_viewers(folder: Path) -> None:
    program = (*UVICORN, "--workers", "2")
    figures = str(folder / "made" / "figures")
    async with AsyncExitStack() as stack:
        process = stack.enter_context(start_server(folder, program, PROMETHEUS_MULTIPROC_DIR=figures))
        process.wait_for_log("Application startup complete", 2)
        first, second = workers_of(process)
        sent = 0
        for worker, count in ((first, 3), (second, 2)):
            async with served_by(worker, [first, second]):
                for _ in range(count):
                    connection, size = await play_out(process)
                    stack.push_async_callback(connection.close)
                    sent += size
        await agree(process, viewers=5, replays_total=5, rows_sent_total=1000, sent_bytes_total=sent)
        await agree(process, first_row_seconds_count=5, **{'cache_requests_total{result="miss"}': 8})
        os.kill(first, signal.SIGKILL)
        await agree(process, viewers=2, replays_total=5, rows_sent_total=1000)
        process.wait_for_log("Application startup complete", 3)
        connection, _ = await play_out(process)
        await agree(process, viewers=3, replays_total=6, rows_sent_total=1200)
        await connection.close()
        await agree(process, viewers=2)


def test_one_of_several_workers_that_share_no_folder_says_what_to_set(folder: Path) -> None:
    with start_server(folder, (*UVICORN, "--workers", "2")) as process:
        status, text = get(f"{process.http_url}/metrics")
    assert status == 503
    assert "set PROMETHEUS_MULTIPROC_DIR" in text and text.count("\n") == 1


async def test_the_figures_of_a_single_process_may_lie_in_a_folder_too(folder: Path) -> None:
    figures = folder / "figures"
    figures.mkdir()
    with start_server(folder, PROMETHEUS_MULTIPROC_DIR=str(figures)) as process:
        connection, _ = await play_out(process)
        await agree(process, viewers=1, rows_sent_total=200)
        await connection.close()
