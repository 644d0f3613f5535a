"""A viewer whose connection is lost, in any way and at any moment, comes back and has every row once."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import random
import signal
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import databases
import pytest
from websockets.asyncio.client import connect

import share.client
from share import Recorder
from share.client import ReplayClient, ReplayError
from share.formats import read_recording
from storage.database import open_database
from storage.gateway import Gateway
from storage.models import Visibility
from storage.recordings import RecordingCRUD
from tests.any_database import database_url
from tests.server import (
    PATIENCE_SECONDS,
    Server,
    make_recording,
    make_timed_recording,
    run_here,
    start_server,
    write_recording,
)

HOUR = 3600.0
ROWS = 100
ALL = list(range(1, ROWS + 1))


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who comes back doesn't wait long."""
    monkeypatch.setattr(share.client, "FIRST_BACKOFF_SECONDS", 0.02)
    monkeypatch.setattr(share.client, "MAX_BACKOFF_SECONDS", 0.2)


def store(folder: Path, *recordings: dict[str, Any]) -> None:
    for recording in recordings:
        file = write_recording(folder / f"{recording['interaction']['interaction_id']}.json", recording)
        assert run_here("import", file, folder=folder).returncode == 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resume")
    store(
        folder,
        make_timed_recording("quick", ROWS, 0.02),
        make_timed_recording("slow", ROWS, HOUR),
        make_recording("large", ROWS, "x" * 20_000),
    )
    return folder


@pytest.fixture(scope="module")
def servers(folder: Path) -> Iterator[tuple[Server, Server]]:
    """Two processes on one database."""
    with start_server(folder) as one, start_server(folder) as other:
        yield one, other


@pytest.fixture
async def database(folder: Path) -> AsyncIterator[databases.Database]:
    """The same database, for what others do to it."""
    async with open_database(database_url(folder / "data")) as database:
        yield database


class Proxy:
    """Stands between viewers and servers, lets them talk or cuts them off, and keeps what was said."""

    def __init__(self, servers: tuple[Server, ...]) -> None:
        self.port = 0
        self.is_open = True
        self.cut_after: Callable[[], int | None] = lambda: None
        """How many bytes get through to the viewer, asked for each connection."""
        self.cut_by = "reset"
        self.said: list[bytearray] = []
        """What the viewer has said, in each connection."""
        self.heard: list[bytearray] = []
        self._ports = [server.port for server in servers]
        self._writers: list[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = []
        self._stalled: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None] | None] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        return len(self.heard)

    async def wait_for_connection(self, number: int) -> None:
        """Return when the viewer of that connection, 1 being the first, has been told something after his start."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while self.connections < number or '"type":"state"' not in "".join(texts(self.heard[number - 1])):
                await asyncio.sleep(0.01)

    def start_commands(self) -> list[dict[str, Any]]:
        """How the viewer has started the replay, in each connection in which he came to it."""
        return [json.loads(said) for data in self.said for said in texts(data)[:1]]

    def states(self) -> list[dict[str, Any]]:
        """The first state that he was told in each connection in which he was told one."""
        told = [[json.loads(text) for text in texts(data)] for data in self.heard]
        return [next(frame for frame in frames if frame.get("type") == "state") for frames in told if len(frames) > 1]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.is_open:
            self._cut(writer, "reset")
            return
        self.said.append(bytearray())
        self.heard.append(bytearray())
        said, heard = self.said[-1], self.heard[-1]
        port = self._ports[len(self.said) % len(self._ports)]
        self._serving.add(asyncio.current_task())
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", port)
        self._writers.append((writer, server_writer))
        pumps = [
            asyncio.create_task(self._pump(reader, server_writer, said, None)),
            asyncio.create_task(self._pump(server_reader, writer, heard, self.cut_after())),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            self._cut(writer, self.cut_by)
            self._cut(server_writer, "close")
        await asyncio.wait(pumps)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bytearray, limit: int | None
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                if writer in self._stalled:
                    continue
                data = data if limit is None else data[: limit - len(kept)]
                kept += data
                writer.write(data)
                await writer.drain()
                if len(kept) == limit:
                    return

    async def stop(self) -> None:
        """Cut all connections, also those that carry nothing any more, and leave nothing open."""
        self.cut()
        serving = [task for task in self._serving if task is not None and not task.done()]
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    def cut(self, how: str = "reset") -> None:
        """Cut all connections: by a TCP reset, by TCP's orderly end, or by a network that carries nothing any more."""
        for writer, server_writer in self._writers:
            if how == "half-open":
                self._stalled |= {writer, server_writer}
            else:
                self._cut(writer, how)
        self._writers.clear()

    def _cut(self, writer: asyncio.StreamWriter, how: str) -> None:
        if how == "reset":
            with contextlib.suppress(OSError):
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        writer.close()


def texts(stream: bytes) -> list[str]:
    """The texts of the whole WebSocket frames in what has gone through a connection in one direction."""
    found = []
    data = bytes(stream).partition(b"\r\n\r\n")[2]
    while len(data) >= 2:
        masked, length = data[1] >> 7, data[1] & 127
        extra = {126: 2, 127: 8}.get(length, 0)
        start = 2 + extra + 4 * masked
        length = int.from_bytes(data[2 : 2 + extra], "big") if extra else length
        if len(data) < start + length:
            break
        payload = data[start : start + length]
        if masked:
            mask = data[start - 4 : start]
            payload = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
        if data[0] & 15 == 1:
            found.append(payload.decode())
        data = data[start + length :]
    return found


@contextlib.asynccontextmanager
async def proxy_of(*servers: Server) -> AsyncIterator[Proxy]:
    proxy = Proxy(servers)
    listener = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = listener.sockets[0].getsockname()[1]
    async with listener:
        yield proxy
        await proxy.stop()


async def take(client: ReplayClient, count: int) -> list[int]:
    """The offsets of the next rows."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        return [(await anext(client))["offset"] for _ in range(count)]


async def take_all(client: ReplayClient) -> list[int]:
    async with asyncio.timeout(PATIENCE_SECONDS):
        return [row["offset"] async for row in client]


async def take_what_comes(client: ReplayClient, seconds: float = 1) -> list[int]:
    """The offsets of the rows that come until none has for a while."""
    taken = []
    with contextlib.suppress(TimeoutError):
        while True:
            async with asyncio.timeout(seconds):
                taken.append((await anext(client))["offset"])
    return taken


async def come_back(client: ReplayClient, proxy: Proxy) -> list[int]:
    """Let a client who waits for a row come back, until the server has told him its state; the rows that came."""
    reading = asyncio.create_task(take_what_comes(client))
    await proxy.wait_for_connection(proxy.connections + 1)
    return await reading


# The server is killed


async def test_a_server_killed_twenty_times_costs_no_row_and_brings_none_twice(tmp_path: Path) -> None:
    store(tmp_path, make_timed_recording("run", ROWS, 0.4))
    viewers: list[dict[str, Any]] = [
        {},
        {"follow": False},
        {"pace": 0.3},
        {"speed": 2},
        {"pace": "classic", "speed": 5},
        {"idle_time_limit": 0.35},
    ]
    clients: list[ReplayClient] = []
    told: list[list[str]] = [[] for _ in viewers]
    inside = asyncio.Semaphore(0)

    async def watch(options: dict[str, Any], told: list[str], url: str) -> tuple[list[Any], str | None]:
        async with ReplayClient(url, "run", on_connection=told.append, **options) as replay:
            clients.append(replay)
            inside.release()
            return [(row["offset"], row["data"]["thoughts"]) async for row in replay], replay.end

    with contextlib.ExitStack() as stack:
        start = functools.partial(stack.enter_context, start_server(tmp_path))
        server = await asyncio.to_thread(start)
        async with asyncio.timeout(4 * PATIENCE_SECONDS), asyncio.TaskGroup() as group:
            watching = [
                group.create_task(watch(options, list_of_words, server.http_url))
                for options, list_of_words in zip(viewers, told, strict=True)
            ]
            for _ in viewers:
                await inside.acquire()
            for _ in range(20):
                await asyncio.sleep(random.uniform(0, 0.6))
                assert not any(task.done() for task in watching), "killed in the middle"
                await asyncio.to_thread(server.stop, signal.SIGKILL)
                again = start_server(tmp_path, SHARE_PORT=str(server.port))
                server = await asyncio.to_thread(stack.enter_context, again)
            for client in clients:
                await client.set_speed(100)
    for task in watching:
        assert task.result() == ([(offset, f"thought {offset}.") for offset in ALL], "finished")
    assert all(words.count("connection lost") > 4 for words in told)


async def test_a_server_that_is_stopped_and_started_again_goes_on_as_well(tmp_path: Path) -> None:
    store(tmp_path, make_timed_recording("run", ROWS, 0.02))
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(start_server(tmp_path))
        async with ReplayClient(server.http_url, "run") as replay:
            taken = await take(replay, 20)
            await asyncio.to_thread(server.stop)
            again = start_server(tmp_path, SHARE_PORT=str(server.port))
            starting = asyncio.create_task(asyncio.to_thread(stack.enter_context, again))
            taken += await take_all(replay)
            await starting
    assert taken == ALL


# The connection is cut, and the next one leads to another process


@pytest.mark.parametrize("cut_by", ["reset", "close"])
@pytest.mark.parametrize(
    ("recording", "options", "most_bytes"),
    [("quick", {"speed": 5}, 6_000), ("quick", {"pace": "instant"}, 6_000), ("large", {"pace": 0.02}, 200_000)],
    ids=["row by row", "many rows in a frame", "large rows"],
)
async def test_a_connection_may_be_cut_after_any_byte(
    servers: tuple[Server, Server], recording: str, options: dict[str, Any], most_bytes: int, cut_by: str
) -> None:
    async with proxy_of(*servers) as proxy:
        proxy.cut_by = cut_by

        # The two after the first break off in the handshake or in hello: by chance alone, they may bring all the rest.
        def cut_after() -> int | None:
            if proxy.connections == 1 or proxy.connections > 40:
                return None
            return random.randint(1, 300 if proxy.connections <= 3 else most_bytes)

        proxy.cut_after = cut_after
        async with ReplayClient(proxy.url, recording, **options) as replay:
            taken = await take(replay, 1)
            proxy.cut(cut_by)
            taken += await take_all(replay)
    assert taken == ALL
    assert proxy.connections > 3


@pytest.mark.parametrize("nth", range(0, 700, 50))
async def test_the_first_connection_cut_after_any_byte_is_an_error_that_the_client_promises(
    servers: tuple[Server, Server], nth: int
) -> None:
    async with proxy_of(*servers) as proxy:
        proxy.cut_after = lambda: nth + 1 if proxy.connections == 1 else None
        async with asyncio.timeout(PATIENCE_SECONDS):
            try:
                async with ReplayClient(proxy.url, "quick", pace="instant") as replay:
                    assert await take_all(replay) == ALL
            except (OSError, ReplayError):
                pass


async def test_a_connection_that_carries_nothing_any_more_is_noticed_and_replaced(
    servers: tuple[Server, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient = functools.partial(connect, ping_interval=0.5, ping_timeout=2)
    monkeypatch.setattr(share.client, "connect", impatient)
    async with proxy_of(*servers) as proxy, ReplayClient(proxy.url, "quick") as replay:
        taken = await take(replay, 30)
        proxy.cut("half-open")
        taken += await take_all(replay)
    assert taken == ALL
    assert proxy.connections > 1


async def test_many_viewers_who_are_all_cut_off_again_and_again_have_every_row_once(
    servers: tuple[Server, Server],
) -> None:
    let_in = 0

    async def watch(url: str) -> list[int]:
        nonlocal let_in
        async with ReplayClient(url, "quick") as replay:
            let_in += 1
            return await take_all(replay)

    async with proxy_of(*servers) as proxy, asyncio.TaskGroup() as group:
        watching = [group.create_task(watch(proxy.url)) for _ in range(20)]
        while let_in < 20:  # who is cut off before he is let in is told so, and doesn't come back
            await asyncio.sleep(0.01)
        for _ in range(10):
            await asyncio.sleep(random.uniform(0, 0.2))
            proxy.cut(random.choice(["reset", "close"]))
    assert [task.result() for task in watching] == [ALL] * 20


# What it was, it is again


async def test_who_was_paused_is_paused_when_he_is_back(servers: tuple[Server, Server]) -> None:
    async with proxy_of(*servers) as proxy, ReplayClient(proxy.url, "quick") as replay:
        taken = await take(replay, 10)
        await replay.pause()
        taken += await take_what_comes(replay)
        proxy.cut()
        assert await come_back(replay, proxy) == []
        assert not replay.playing
        assert proxy.states()[-1]["playing"] is False
        assert proxy.states()[-1]["offset"] == taken[-1]
        await replay.play()
        taken += await take_all(replay)
    assert taken == ALL


async def test_who_pauses_while_he_is_away_is_paused_when_he_is_back(servers: tuple[Server, Server]) -> None:
    async with proxy_of(*servers) as proxy, ReplayClient(proxy.url, "quick") as replay:
        taken = await take(replay, 10)
        proxy.is_open = False
        proxy.cut()
        taken += await take_what_comes(replay)
        await replay.pause()
        proxy.is_open = True
        assert await come_back(replay, proxy) == []
        await replay.play()
        taken += await take_all(replay)
    assert taken == ALL


async def test_speed_and_idle_limit_are_what_they_were(servers: tuple[Server, Server]) -> None:
    async with proxy_of(*servers) as proxy, ReplayClient(proxy.url, "slow", speed=2) as replay:
        taken = await take(replay, 1)
        await replay.set_speed(50)
        await replay.set_idle_time_limit(0.01)
        taken += await take(replay, 5)
        await replay.pause()
        taken += await take_what_comes(replay)
        proxy.cut()
        assert await come_back(replay, proxy) == []
        assert proxy.states()[-1]["speed"] == 50
        await replay.play()
        taken += await take_all(replay)
    assert taken == ALL
    assert proxy.start_commands()[-1]["idle_time_limit"] == 0.01
    assert proxy.states()[-1]["recovered"] is True


async def test_a_pace_of_its_own_is_what_it_was(servers: tuple[Server, Server]) -> None:
    async with proxy_of(*servers) as proxy, ReplayClient(proxy.url, "slow", pace=0.01) as replay:
        taken = await take(replay, 10)
        proxy.cut()
        taken += await take_all(replay)
    assert taken == ALL


async def test_who_has_gone_back_goes_on_from_there(servers: tuple[Server, Server]) -> None:
    async with proxy_of(*servers) as proxy, ReplayClient(proxy.url, "slow", pace=0.005) as replay:
        await take(replay, 60)
        await replay.pause()
        await take_what_comes(replay)
        await replay.seek(offset=10)
        assert await take_what_comes(replay) == []
        proxy.cut()
        assert await come_back(replay, proxy) == []
        assert proxy.states()[-1]["offset"] == 10
        await replay.play()
        assert await take_all(replay) == ALL[10:]


async def test_a_place_to_start_at_is_kept_when_the_connection_is_lost_before_the_first_row(
    servers: tuple[Server, Server],
) -> None:
    async with proxy_of(*servers) as proxy, ReplayClient(proxy.url, "slow", start_at=20 * HOUR + 1) as replay:
        proxy.cut()  # what was on its way, and has not been read, is lost or not: both are right
        assert await take_what_comes(replay) == ALL[:21]


@pytest.mark.parametrize("target", [{"offset": 30}, {"at": 29 * HOUR}])
async def test_a_seek_while_the_connection_is_lost_is_not_forgotten(
    servers: tuple[Server, Server], target: dict[str, Any]
) -> None:
    async with proxy_of(*servers) as proxy, ReplayClient(proxy.url, "slow") as replay:
        taken = await take(replay, 1)
        proxy.is_open = False
        proxy.cut()
        assert await take_what_comes(replay) == []
        await replay.seek(**target)
        proxy.is_open = True
        taken += await take_what_comes(replay, 3)
    assert taken == ALL[:30]


async def test_a_seek_backwards_while_the_connection_is_lost_is_not_forgotten(servers: tuple[Server, Server]) -> None:
    async with proxy_of(*servers) as proxy, ReplayClient(proxy.url, "slow", pace=0.005) as replay:
        await take(replay, 50)
        await replay.pause()
        await take_what_comes(replay)
        proxy.is_open = False
        proxy.cut()
        assert await take_what_comes(replay) == []
        await replay.seek(offset=10)
        await replay.play()
        proxy.is_open = True
        assert await take_all(replay) == ALL[10:]


async def test_play_after_the_end_while_the_connection_is_lost_plays_everything_again(
    servers: tuple[Server, Server],
) -> None:
    async with proxy_of(*servers) as proxy, ReplayClient(proxy.url, "slow", pace="instant") as replay:
        assert await take_all(replay) == ALL
        proxy.cut()
        await asyncio.sleep(0.1)
        await replay.play()
        assert await take_all(replay) == ALL


async def test_rows_of_the_same_moment_are_not_lost_and_not_doubled(servers: tuple[Server, Server]) -> None:
    recording = make_timed_recording("together", ROWS, 0)
    store(servers[0].log_file.parent, recording)
    async with proxy_of(*servers) as proxy, ReplayClient(proxy.url, "together", start_at=0) as replay:
        proxy.cut_after = lambda: random.randint(1, 8_000) if proxy.connections < 20 else None
        taken = await take(replay, 1)
        proxy.cut()
        taken += await take_all(replay)
    assert taken == ALL


# A run that is going on


async def test_who_was_at_the_live_edge_has_at_once_what_he_missed(
    servers: tuple[Server, Server], database: databases.Database
) -> None:
    async with (
        proxy_of(*servers) as proxy,
        Recorder(database).record(description="live", user_id="author") as run,
        ReplayClient(proxy.url, run.interaction_id, speed=0.1) as replay,
    ):
        await run.append(data=1)
        assert await take(replay, 1) == [1]
        proxy.is_open = False
        proxy.cut()
        assert await take_what_comes(replay) == []
        for number in range(2, 31):
            await run.append(data=number)
            await asyncio.sleep(0.01)
        proxy.is_open = True
        assert await take(replay, 29) == list(range(2, 31))
        await run.append(data=31)
        assert await take(replay, 1) == [31]


async def test_who_was_behind_the_live_edge_is_not_thrown_forward_to_it(
    servers: tuple[Server, Server], database: databases.Database
) -> None:
    async with proxy_of(*servers) as proxy, Recorder(database).record(description="live", user_id="author") as run:
        for number in range(5):
            await run.append(data=number)
        await asyncio.sleep(3)
        await run.append(data="after three seconds")
        # At a tenth of the speed, what came after three seconds comes after thirty.
        async with ReplayClient(proxy.url, run.interaction_id, start_at=0, speed=0.1) as replay:
            taken = await take(replay, 5)
            proxy.cut()
            assert await come_back(replay, proxy) == []
            assert proxy.states()[-1]["offset"] == 5
            assert proxy.states()[-1]["live"] is True
            await replay.set_speed(100)
            taken += await take(replay, 1)
    assert taken == [1, 2, 3, 4, 5, 6]


async def test_a_process_that_knows_fewer_rows_than_the_viewer_looks_for_more(
    servers: tuple[Server, Server], database: databases.Database
) -> None:
    one, other = servers
    async with Recorder(database).record(description="live", user_id="author") as run:
        await run.append(data=1)
        behind = ReplayClient(other.http_url, run.interaction_id, follow=False)
        async with behind, proxy_of(other, one) as proxy, ReplayClient(proxy.url, run.interaction_id) as replay:
            assert await take(behind, 1) == [1]
            for _ in range(20):
                await run.append()
            taken = await take(replay, 21)
            proxy.cut()
            await come_back(replay, proxy)
            await run.append()
            taken += await take(replay, 1)
    assert taken == list(range(1, 23))


# What has changed while he was away


@pytest.mark.parametrize("command", ["unshare", "delete"])
async def test_what_was_taken_back_while_he_was_away_is_final(tmp_path: Path, command: str) -> None:
    store(tmp_path, make_timed_recording("run", ROWS, HOUR))
    told: list[str] = []
    with start_server(tmp_path) as server:
        async with proxy_of(server) as proxy, ReplayClient(proxy.url, "run", on_connection=told.append) as replay:
            await take(replay, 1)
            proxy.is_open = False
            proxy.cut()
            assert await take_what_comes(replay) == []
            assert (await asyncio.to_thread(run_here, command, "run", folder=tmp_path)).returncode == 0
            connections, proxy.is_open = proxy.connections, True
            with pytest.raises(ReplayError) as refused:
                await take(replay, 1)
            assert refused.value.code in (4503, 4504)
            assert proxy.connections == connections + 1
            assert "connected again" not in told


@pytest.mark.parametrize("command", ["unshare", "delete"])
async def test_what_is_taken_back_while_he_watches_is_final(tmp_path: Path, command: str) -> None:
    store(tmp_path, make_timed_recording("run", ROWS, HOUR))
    with start_server(tmp_path) as server:
        async with proxy_of(server) as proxy, ReplayClient(proxy.url, "run") as replay:
            await take(replay, 1)
            assert (await asyncio.to_thread(run_here, command, "run", folder=tmp_path)).returncode == 0
            with pytest.raises(ReplayError) as refused:
                await take(replay, 1)
            assert refused.value.code == 4503
            assert proxy.connections == 1


async def put_another_in_its_place(folder: Path, database: databases.Database, recording: dict[str, Any]) -> None:
    """Delete a recording and store another one under its id, with nothing in between."""
    interaction_id = recording["interaction"]["interaction_id"]
    file = write_recording(folder / "other.json", recording)
    gateway = Gateway(database)
    recordings = RecordingCRUD(gateway)
    assert await recordings.delete_recording(interaction_id)
    await recordings.add_recording(read_recording(file), visibility=Visibility.UNLISTED)
    await gateway.drain()


@pytest.mark.parametrize("rows", [3, 20, 50])
async def test_another_recording_under_the_same_id_starts_over(
    servers: tuple[Server, Server], folder: Path, database: databases.Database, rows: int
) -> None:
    interaction_id = f"replaced{rows}"
    store(folder, make_timed_recording(interaction_id, 20, 0.01))
    async with proxy_of(*servers) as proxy, ReplayClient(proxy.url, interaction_id, speed=0.1) as replay:
        assert await take(replay, 5) == [1, 2, 3, 4, 5]
        proxy.is_open = False
        proxy.cut()
        await take_what_comes(replay)
        other = make_recording(interaction_id, rows, "other content")
        await put_another_in_its_place(folder, database, other)
        proxy.is_open = True
        await replay.set_idle_time_limit(0)
        async with asyncio.timeout(PATIENCE_SECONDS):
            taken = [(row["offset"], row["data"]["thoughts"]) async for row in replay]
        assert proxy.states()[-1]["recovered"] is False
    assert taken == [(offset, "other content") for offset in range(1, rows + 1)]


@pytest.mark.parametrize("rows", [3, 20, 50])
async def test_another_recording_under_the_same_id_is_noticed_also_while_somebody_watches_the_first(
    servers: tuple[Server, Server], folder: Path, database: databases.Database, rows: int
) -> None:
    interaction_id = f"watched{rows}"
    store(folder, make_timed_recording(interaction_id, 20, HOUR))
    async with ReplayClient(servers[0].http_url, interaction_id) as first:
        assert await take(first, 1) == [1]
        await put_another_in_its_place(folder, database, make_recording(interaction_id, rows, "other content"))
        await asyncio.sleep(2)  # now everything that is known of the first must have been looked at again
        async with ReplayClient(servers[0].http_url, interaction_id, pace="instant") as replay:
            async with asyncio.timeout(PATIENCE_SECONDS):
                taken = [(row["offset"], row["data"] and row["data"]["thoughts"]) async for row in replay]
            assert replay.recording["epoch"] != first.recording["epoch"]
    assert taken == [(offset, "other content") for offset in range(1, rows + 1)]


async def test_who_watches_a_recording_while_another_is_put_in_its_place_gets_no_mixture(
    servers: tuple[Server, Server], folder: Path, database: databases.Database
) -> None:
    store(folder, make_timed_recording("mixed", 20, HOUR))
    async with ReplayClient(servers[0].http_url, "mixed") as replay:
        assert await take(replay, 1) == [1]
        await put_another_in_its_place(folder, database, make_recording("mixed", 20, "other content"))
        await asyncio.sleep(2)
        taken = []
        try:
            await replay.set_idle_time_limit(0)
            async with asyncio.timeout(PATIENCE_SECONDS):
                taken = [(row["offset"], row["data"] and row["data"]["thoughts"]) async for row in replay]
        except ReplayError as ended:
            assert ended.code == 4503
        assert taken in ([], [(offset, "other content") for offset in range(1, 21)])
