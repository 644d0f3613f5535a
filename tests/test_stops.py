"""A connection that is ended at every possible moment leaves nothing behind."""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import databases
import pytest
from sqlalchemy import insert, select

from storage import schema
from storage.gateway import Gateway
from tests.asgi import Server, Viewer, database_threads, row, start, tasks_named
from tests.fake_clock import until

GONE = re.compile(r"run: disconnected with \d+; heartbeat (never started|stopped), replay (never started|stopped)")


class Stop:
    """Does something to a viewer between two steps of the event loop, the test's own not counted."""

    def __init__(self, before_step: int, way: Callable[[Viewer], object]) -> None:
        self.happened = False
        self.viewer: Viewer
        self._steps_left = before_step
        self._way = way
        self._test = asyncio.current_task()
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> Stop:
        # Everything that the loop does has been put into one of these.
        for name in ("call_soon", "call_soon_threadsafe"):
            setattr(self._loop, name, self._counting(getattr(self._loop, name)))
        return self

    def __exit__(self, *exc_info: object) -> None:
        del self._loop.call_soon, self._loop.call_soon_threadsafe  # type: ignore[method-assign]

    def _counting(self, schedule: Callable[..., Any]) -> Callable[..., Any]:
        def counted(callback: Callable[..., object], *args: Any, **options: Any) -> Any:
            if getattr(callback, "__self__", None) is self._test:
                return schedule(callback, *args, **options)
            return schedule(self._step, callback, *args, **options)

        return counted

    def _step(self, callback: Callable[..., object], *args: Any) -> None:
        self._steps_left -= 1
        if self._steps_left == 0:
            self.happened = True
            self._way(self.viewer)
        callback(*args)


def is_cancelled(viewer: Viewer) -> None:
    viewer.task.cancel()


def is_cancelled_twice(viewer: Viewer) -> None:
    viewer.task.cancel()
    asyncio.get_running_loop().call_soon(viewer.task.cancel)


def leaves(viewer: Viewer) -> None:
    viewer.disconnect()


def vanishes(viewer: Viewer) -> None:
    viewer.vanish()


def makes_send_fail(viewer: Viewer) -> None:
    viewer.vanish(RuntimeError("the server has closed the socket"))


def makes_send_cancel(viewer: Viewer) -> None:
    viewer.vanish(asyncio.CancelledError())


WAYS = [is_cancelled, is_cancelled_twice, leaves, vanishes, makes_send_fail, makes_send_cancel]

# The path, the query, what the viewer sends, and how many frames he gets where nothing stops it.
SCRIPTS = {
    "share": ("/ws/share/run", {}, [{"type": "shared"}, "{not json", {"type": "ping"}], 7),
    "replay": ("/ws/replay/run", {"user_id": "author", "token": "t"}, [{"type": "replay"}, {"type": "replay"}], 4),
    "refused": ("/ws/replay/run", {"user_id": "author", "token": "wrong"}, [{"type": "replay"}], 1),
}


@pytest.fixture
async def server(database: databases.Database, tmp_path: Path) -> Server:
    """A server that lets in one viewer at a time, over a gateway that lets in one query: it would notice a lost one."""
    settings = {"max_viewers": 1, "pause_seconds": (1, 1), "heartbeat_seconds": 1.25}
    server = Server(Gateway(database, limit=1), tmp_path, **settings)
    picture = {"tool_name": "PythonNotebook_execute_cell", "tool_output": [{"file_name": "one.png"}]}
    await server.record(row(0), row(1, {"using_tools": picture}, include_pictures=True), row(2))
    await server.gateway.execute(insert(schema.users).values(user_id="author", email="author@example.org", token="t"))
    workspace = server.log_path().with_name("workspace")
    workspace.mkdir(parents=True)
    (workspace / "one.png").write_bytes(b"picture")
    return server


def is_replaying() -> bool:
    return bool(tasks_named("replay", "heartbeat"))


def what_is_held() -> tuple[Any, ...]:
    """The tasks, the open files, and the threads, but for those in which the program writes logs and reads pictures."""
    lasting = ("share-log", "asyncio_")
    threads = [thread for thread in threading.enumerate() if not thread.name.startswith(lasting)]
    return asyncio.all_tasks(), len(list(Path("/dev/fd").iterdir())), threads


def holds_no_more_than(before: tuple[Any, ...]) -> bool:
    """Whether nothing has been added. What other tests of this process have left to be collected may go meanwhile."""
    tasks, files, threads = what_is_held()
    return tasks == before[0] and files <= before[1] and set(threads) <= set(before[2])


async def watch(server: Server, stop: Stop, path: str, query: dict[str, str], messages: list[Any]) -> Viewer:
    """A connection from its beginning to its end, by itself or by the stop."""
    with stop:
        stop.viewer = viewer = start(server.app, path, query, now=server.clock.now)
        for message in messages:
            viewer.post(message)
        await server.clock.run_until(lambda: viewer.task.done() or (viewer.awaited and not is_replaying()))
        viewer.post({"type": "disconnect"})
        await server.clock.run_until(viewer.task.done)
    assert viewer.task.cancelled() or viewer.task.exception() is None
    return viewer


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("script", SCRIPTS)
async def test_a_connection_that_is_ended_at_any_moment_leaves_nothing_behind(
    server: Server, script: str, way: Callable[[Viewer], object], caplog: pytest.LogCaptureFixture
) -> None:
    path, query, messages, frames = SCRIPTS[script]
    caplog.set_level(logging.INFO, "share")
    await until(lambda: not database_threads())
    before = what_is_held()
    step, stopped = 1, True  # before the first step there is no connection yet
    while stopped:
        step += 1
        caplog.clear()
        stop = Stop(step, way)
        viewer = await watch(server, stop, path, query, messages)
        stopped = stop.happened
        await server.gateway.drain()
        await until(lambda: holds_no_more_than(before))
        assert not server.clock.sleepers
        (gone,) = (record.getMessage() for record in caplog.records if "disconnected" in record.getMessage())
        assert GONE.fullmatch(gone)
        assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert await server.gateway.fetch_one(select(schema.interactions.c.id)) is not None
        await server.gateway.drain()
    assert len(viewer.frames) == frames
