"""Four worker processes behind nginx, killed one after the other: 500 viewers have every row once, and in order."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

from share.client import ReplayClient
from tests.balancer import start_balancer
from tests.server import (
    PATIENCE_SECONDS,
    UVICORN,
    Server,
    make_timed_recording,
    run_here,
    start_server,
    write_recording,
)

KILLING_SECONDS = 60
KILL_EVERY_SECONDS = 2
VIEWERS = 500
WORKERS = 4

# Recorded at these intervals, and lasting longer than the killing: at its end the viewers make haste.
INTERVALS = {"chaos-1": 1.0, "chaos-2": 1.5, "chaos-3": 2.0}
ROWS = {name: int(2 * KILLING_SECONDS / seconds) for name, seconds in INTERVALS.items()}

# As the configuration says it is to be where all workers have one address.
SHARED_ADDRESS = {"app1:8090 max_fails=2": "app1:8090 max_fails=0", "app2:8090 max_fails=2": "app2:8090 max_fails=0"}

# Who is killed can't write down his coverage, and would only start the more slowly for it.
UNMEASURED = {"COVERAGE_PROCESS_CONFIG": ""}


class Crowd:
    """Viewers, each with what has come to him, and what he was told of his connection."""

    def __init__(self, url: str) -> None:
        self.clients: list[ReplayClient] = []
        self.told: list[list[str]] = []
        self._url = url
        self._entering = asyncio.Semaphore(50)
        self._inside = asyncio.Semaphore(0)

    async def watch(self, name: str) -> list[Any]:
        """Enter, watch to the end, and return what has come."""
        told: list[str] = []
        client = ReplayClient(self._url, name, on_connection=told.append)
        async with self._entering:
            await client.__aenter__()
        try:
            self.clients.append(client)
            self.told.append(told)
            self._inside.release()
            return [(row["offset"], row["data"]["thoughts"]) async for row in client]
        finally:
            await client.__aexit__(None, None, None)

    async def all_inside(self) -> None:
        for _ in range(VIEWERS):
            await self._inside.acquire()

    async def make_haste(self) -> None:
        for client in self.clients:
            await client.set_speed(100)


def worker_processes(server: Server) -> list[int]:
    """The workers of uvicorn's supervisor, which starts another one for each that dies; the oldest first."""
    pid = server.process.pid
    children = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return [child for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


async def kill_workers(server: Server) -> int:
    """Kill the oldest worker every two seconds, for a minute; how many that were."""
    loop, killed = asyncio.get_running_loop(), 0
    due, end = loop.time(), loop.time() + KILLING_SECONDS
    while (due := due + KILL_EVERY_SECONDS) <= end:
        await asyncio.sleep(due - loop.time())
        for pid in worker_processes(server)[:1]:
            os.kill(pid, signal.SIGKILL)
            killed += 1
    return killed


async def test_500_viewers_whose_servers_are_killed_for_a_minute_have_every_row_once(tmp_path: Path) -> None:
    recordings = [make_timed_recording(name, ROWS[name], seconds) for name, seconds in INTERVALS.items()]
    files = [write_recording(tmp_path / f"{number}.json", each) for number, each in enumerate(recordings)]
    assert run_here("import", *files, folder=tmp_path).returncode == 0
    names = [list(INTERVALS)[number % len(INTERVALS)] for number in range(VIEWERS)]
    with start_server(tmp_path, (*UVICORN, "--workers", str(WORKERS)), **UNMEASURED) as server:
        server.wait_for_log("Application startup complete", WORKERS)
        with start_balancer(tmp_path, (server.port, server.port), SHARED_ADDRESS) as balancer:
            crowd = Crowd(balancer.http_url)
            async with asyncio.timeout(4 * PATIENCE_SECONDS), asyncio.TaskGroup() as group:
                watching = [group.create_task(crowd.watch(name)) for name in names]
                await crowd.all_inside()
                killed = await kill_workers(server)
                assert not any(task.done() for task in watching), "killed in the middle"
                await crowd.make_haste()
    for name, task in zip(names, watching, strict=True):
        assert task.result() == [(offset, f"thought {offset}.") for offset in range(1, ROWS[name] + 1)]
    assert killed > 0.8 * KILLING_SECONDS / KILL_EVERY_SECONDS
    assert all("connected again" in told for told in crowd.told)
