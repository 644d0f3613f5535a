"""Whatever ends a connection, nothing of it is left: no task, no thread, no open file."""

from __future__ import annotations

import asyncio
import gc
import socket
import time
from collections.abc import Awaitable, Callable
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import pytest
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from share import XAgentServerEnv, create_app
from storage import database, gateway
from tests.any_database import database_url, databases
from tests.server import (
    EDGE,
    GOLDEN,
    PATIENCE_SECONDS,
    SERVE,
    UVICORN,
    RawViewer,
    make_recording,
    run,
    serve_here,
    start_server,
    write_recording,
)

SHARED = '{"type": "shared"}'
CONNECTIONS = 200


class Held(NamedTuple):
    """What a process holds. Tasks are counted only in this one."""

    tasks: int
    threads: int
    files: int

    @classmethod
    def here(cls) -> Held:
        gc.collect()
        return cls(len(asyncio.all_tasks()), _entries("/proc/self/task"), _entries("/proc/self/fd"))

    def is_within(self, other: Held) -> bool:
        # A pool keeps connections, and so do we for SQLite, where each has a thread; and SQLite closes no file while
        # another connection has the same one open, but uses it for the next.
        files, threads = database.CONNECTIONS, gateway.KEPT_CONNECTIONS if databases.kind == "sqlite" else 0
        more = Held(0, threads, files)
        return all(held <= before + room for held, before, room in zip(self, other, more, strict=True))


def _entries(folder: str) -> int:
    return len(list(Path(folder).iterdir()))


async def assert_settles(count: Callable[[], Held], before: Held) -> None:
    """What is held comes to be no more than before."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (held := count()).is_within(before):
        assert time.monotonic() < deadline, f"{held}, and before {before}"
        await asyncio.sleep(0.05)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("leaks")
    large = write_recording(folder / "large.json", make_recording("large", 80, "x" * 50_000))
    done = run("import", GOLDEN / "short.recording.json", GOLDEN / "edge.recording.json", large, folder=folder)
    assert done.returncode == 0, done.stderr
    return folder


async def _watch(url: str) -> RawViewer:
    viewer = await RawViewer.connect(url)
    await viewer.send(SHARED)
    await viewer.receive(2)
    return viewer


async def leaves_with_a_close_frame(url: str) -> None:
    viewer = await RawViewer.connect(url)
    await viewer.send_close()
    await viewer.receive_to_end()
    viewer.close()


async def leaves_with_a_reset(url: str) -> None:
    (await RawViewer.connect(url)).reset()


async def leaves_by_a_half_close(url: str) -> None:
    viewer = await RawViewer.connect(url)
    viewer.half_close()
    await viewer.receive_to_end()
    viewer.close()


async def says_disconnect(url: str) -> None:
    viewer = await RawViewer.connect(url)
    await viewer.send('{"type": "disconnect"}')
    assert await viewer.receive_close() == 1000
    viewer.close()


async def is_refused(url: str) -> None:
    viewer = await RawViewer.connect(url.replace("/large", "/nosuchrecording"))
    assert await viewer.receive_close() == 1000
    viewer.close()


async def is_refused_and_resets(url: str) -> None:
    (await RawViewer.connect(url.replace("/large", "/nosuchrecording"))).reset()


async def sends_nothing_but_nonsense(url: str) -> None:
    viewer = await RawViewer.connect(url)
    for _ in range(10):
        await viewer.send("{not json")
    await viewer.receive(12)
    viewer.reset()


async def leaves_in_the_middle_with_a_close_frame(url: str) -> None:
    viewer = await _watch(url)
    await viewer.send_close()
    await viewer.receive_to_end()
    viewer.close()


async def leaves_in_the_middle_with_a_reset(url: str) -> None:
    (await _watch(url)).reset()


async def leaves_in_the_middle_by_a_half_close(url: str) -> None:
    viewer = await _watch(url)
    viewer.half_close()
    await viewer.receive_to_end()
    viewer.close()


async def says_disconnect_in_the_middle(url: str) -> None:
    viewer = await _watch(url)
    await viewer.send('{"type": "disconnect"}')
    assert await viewer.receive_close() == 1000
    viewer.close()


async def does_not_read_and_resets(url: str) -> None:
    viewer = await RawViewer.connect(url, receive_buffer_bytes=4096)
    await viewer.send(SHARED)
    await asyncio.sleep(0.1)
    viewer.reset()


async def resets_before_it_is_accepted(url: str) -> None:
    (await RawViewer.connect(url, wait=False)).reset()


async def asks_to_start_and_resets_before_it_is_accepted(url: str) -> None:
    viewer = await RawViewer.connect(url, wait=False)
    await viewer.send(SHARED)
    viewer.reset()


async def never_says_a_word(url: str) -> None:
    with socket.socket() as sock:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", int(url.split(":")[2].split("/")[0])))


async def plays_to_the_end(url: str) -> None:
    viewer = await RawViewer.connect(url.rpartition("/")[0] + f"/{EDGE}")
    await viewer.send(SHARED)
    await viewer.receive(19)
    await viewer.send_close()
    await viewer.receive_to_end()
    viewer.close()


WAYS: list[Callable[[str], Awaitable[None]]] = [
    leaves_with_a_close_frame,
    leaves_with_a_reset,
    leaves_by_a_half_close,
    says_disconnect,
    is_refused,
    is_refused_and_resets,
    sends_nothing_but_nonsense,
    leaves_in_the_middle_with_a_close_frame,
    leaves_in_the_middle_with_a_reset,
    leaves_in_the_middle_by_a_half_close,
    says_disconnect_in_the_middle,
    does_not_read_and_resets,
    resets_before_it_is_accepted,
    asks_to_start_and_resets_before_it_is_accepted,
    never_says_a_word,
    plays_to_the_end,
]


async def come_and_go(url: str, count: int = CONNECTIONS) -> None:
    """So many connections, torn down in every way, at most 25 at a time."""
    crowd = asyncio.Semaphore(25)

    async def one(way: Callable[[str], Awaitable[None]]) -> None:
        async with crowd:
            await way(url)

    ways = WAYS * (count // len(WAYS) + 1)
    await asyncio.gather(*(one(way) for way in islice(ways, count)))


def settings(folder: Path, **values: float) -> XAgentServerEnv:
    url = database_url(folder / "data")
    return XAgentServerEnv(
        base_dir=folder / "data", database_url=url, create_tables=True, pause_seconds=(0, 0), **values
    )  # type: ignore[arg-type]


async def test_200_connections_leave_no_task_no_thread_and_no_file_in_a_loop(folder: Path) -> None:
    async with serve_here(create_app(settings(folder))) as port:
        url = f"ws://127.0.0.1:{port}/ws/share/large"
        await plays_to_the_end(url)
        before = await _quiet()

        await come_and_go(url)

        await assert_settles(Held.here, before)


async def _quiet() -> Held:
    """What is held once nothing changes any more."""
    held = Held.here()
    for _ in range(20):
        await asyncio.sleep(0.05)
        if (now := Held.here()) == held:
            break
        held = now
    return held


@pytest.mark.parametrize("program", [SERVE, UVICORN], ids=["serve", "uvicorn"])
async def test_200_connections_leave_no_thread_and_no_file_in_a_process(folder: Path, program: tuple[str, ...]) -> None:
    with start_server(folder, program, SHARE_PAUSE_SECONDS="0") as server:

        def held() -> Held:
            return Held(0, server.count("task"), server.count("fd"))

        await plays_to_the_end(server.url("large"))
        await asyncio.sleep(0.5)
        before = held()

        await come_and_go(server.url("large"))

        await assert_settles(held, before)
        assert "STILL RUNNING" not in server.log
        assert "Traceback" not in server.log


async def test_a_refused_viewer_who_never_answers_the_close_frame_is_dropped(folder: Path) -> None:
    class Impatient(WebSocketsSansIOProtocol):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, **kwargs)  # type: ignore[arg-type]
            self.close_timeout = 0.2  # instead of 10 s

    async with serve_here(create_app(settings(folder)), ws=Impatient) as port:
        url = f"ws://127.0.0.1:{port}/ws/share/nosuchrecording"
        await plays_to_the_end(url)
        before = await _quiet()
        viewers = await asyncio.gather(*(RawViewer.connect(url) for _ in range(20)))
        assert await asyncio.gather(*(viewer.receive_to_end() for viewer in viewers)) == [1000] * 20
        for viewer in viewers:
            viewer.close()
        await assert_settles(Held.here, before)


async def test_a_viewer_who_vanishes_without_a_word_is_found_out_by_ping(folder: Path) -> None:
    app = create_app(settings(folder))
    async with serve_here(app, ws_ping_interval=0.2, ws_ping_timeout=0.2) as port:
        url = f"ws://127.0.0.1:{port}/ws/share/large"
        await plays_to_the_end(url)
        before = await _quiet()
        viewers = await asyncio.gather(*(RawViewer.connect(url) for _ in range(20)))
        assert await asyncio.gather(*(viewer.receive_to_end() for viewer in viewers)) == [1011] * 20
        for viewer in viewers:
            viewer.close()
        await assert_settles(Held.here, before)


async def test_a_stopped_server_leaves_no_task_no_thread_and_no_file(folder: Path) -> None:
    async def start_and_stop() -> None:
        app = create_app(settings(folder))
        async with serve_here(app, timeout_graceful_shutdown=1) as port:
            url = f"ws://127.0.0.1:{port}/ws/share/large"
            await plays_to_the_end(url)
            viewers = [await RawViewer.connect(url) for _ in range(20)]
            viewers += [await _watch(url) for _ in range(10)]
            stalled = await RawViewer.connect(url, receive_buffer_bytes=4096)
            await stalled.send(SHARED)
        for viewer in [*viewers, stalled]:
            viewer.reset()

    await start_and_stop()
    before = await _quiet()

    await start_and_stop()

    await assert_settles(Held.here, before)
