"""`ReplayClient`: against a real server, and against servers that are none, or mean harm."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import random
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.typing import Subprotocol

import share.client
from share.client import ReplayClient, ReplayError, socket_url
from tests.server import (
    CHECKOUT,
    EDGE,
    GOLDEN,
    PATIENCE_SECONDS,
    RUNNING,
    SHORT,
    Server,
    make_recording,
    make_timed_recording,
    run_here,
    start_server,
    write_recording,
)

HOUR = 3600.0
EPOCH = "0123456789ab"
HELLO_DATA = {"interaction_id": "run", "epoch": EPOCH, "total": 3, "duration": 2.0, "markers": [], "live": False}
HELLO = json.dumps({"status": "connect", "success": True, "message": "connect success", "data": HELLO_DATA})
END = '{"type":"end","offset":3,"reason":"finished"}'

Talk = Callable[[ServerConnection], Awaitable[None]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("client")
    recordings = [
        make_timed_recording("quick", 40, 0.05),
        make_timed_recording("slow", 10, HOUR),
        make_recording("large", 100, "x" * 100_000),
    ]
    recordings[1]["raws"][5]["current"] = "2.1"
    files = [write_recording(folder / f"{number}.json", recording) for number, recording in enumerate(recordings)]
    golden = [GOLDEN / f"{name}.recording.json" for name in ("short", "edge", "running")]
    assert run_here("import", *files, *golden, folder=folder).returncode == 0
    with start_server(folder) as server:
        yield server


def row(offset: int) -> str:
    return json.dumps({"data": None, "status": "inner", "offset": offset, "at": float(offset - 1), "time": None})


def offsets(rows: list[dict[str, Any]]) -> list[int]:
    return [row["offset"] for row in rows]


async def take(client: ReplayClient, count: int) -> list[int]:
    """The offsets of the next rows."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        return [(await anext(client))["offset"] for _ in range(count)]


async def take_all(client: ReplayClient) -> list[int]:
    async with asyncio.timeout(PATIENCE_SECONDS):
        return offsets([row async for row in client])


async def take_what_comes(client: ReplayClient, seconds: float = 0.5) -> list[int]:
    """The offsets of the rows that come until none has for a while."""
    taken = []
    with contextlib.suppress(TimeoutError):
        while True:
            async with asyncio.timeout(seconds):
                taken.append((await anext(client))["offset"])
    return taken


@contextlib.asynccontextmanager
async def server_that(talk: Talk, **options: Any) -> AsyncIterator[str]:
    """A WebSocket server that is not ours: the URL where it is."""
    options = {"subprotocols": [Subprotocol("replay.v1")]} | options
    async with serve(talk, "127.0.0.1", 0, compression=None, **options) as other:
        yield f"http://127.0.0.1:{next(iter(other.sockets)).getsockname()[1]}"


@contextlib.asynccontextmanager
async def tcp_server_that(answer: bytes | None) -> AsyncIterator[str]:
    """A server that answers a request with this and hangs up, or says nothing at all: the URL where it is."""
    talking: set[asyncio.Task[Any]] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talking.add(asyncio.current_task())  # type: ignore[arg-type]
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            if answer is None:
                await reader.read()
            else:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(answer)
                await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    other = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with other:
        yield f"http://127.0.0.1:{other.sockets[0].getsockname()[1]}"
    if talking:
        await asyncio.wait(talking, timeout=PATIENCE_SECONDS)


def saying(*messages: str | bytes) -> Talk:
    """Talks like this, then waits for the viewer to leave."""

    async def talk(connection: ServerConnection) -> None:
        for message in messages:
            await connection.send(message)
        await connection.wait_closed()

    return talk


# As the README has it


@pytest.mark.parametrize(("interaction_id", "end"), [(SHORT, "finished"), (EDGE, "finished"), ("slow", "finished")])
async def test_six_lines_get_all_rows_in_order_and_how_it_ended(server: Server, interaction_id: str, end: str) -> None:
    async with ReplayClient(server.http_url, interaction_id, pace="instant") as replay:
        rows = [row async for row in replay]
    assert offsets(rows) == list(range(1, replay.recording["total"] + 1))
    assert replay.end == end
    assert replay.offset == rows[-1]["offset"]
    assert replay.at == rows[-1]["at"] == replay.recording["duration"]


async def test_a_run_that_breaks_off_ends_only_for_who_does_not_follow(server: Server) -> None:
    async with ReplayClient(server.http_url, RUNNING, pace="instant", follow=False) as replay:
        assert await take_all(replay) == list(range(1, replay.recording["total"] + 1))
    assert replay.end == "truncated"


@pytest.mark.parametrize("url", ["http://127.0.0.1:{}", "http://127.0.0.1:{}/", "ws://127.0.0.1:{}"])
async def test_the_address_may_be_the_one_in_the_browser_or_the_sockets(server: Server, url: str) -> None:
    async with ReplayClient(url.format(server.port), SHORT, pace="instant") as replay:
        assert await take_all(replay)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://a", "ws://a/ws/share/x%2F%3F"),
        ("https://a:1/deep/", "wss://a:1/deep/ws/share/x%2F%3F"),
        ("wss://a/deep", "wss://a/deep/ws/share/x%2F%3F"),
    ],
)
def test_the_sockets_address_keeps_the_path_and_quotes_the_id(url: str, expected: str) -> None:
    assert socket_url(url, "x/?") == expected


async def test_hello_tells_what_the_recording_is_before_the_first_row(server: Server) -> None:
    async with ReplayClient(server.http_url, "slow") as replay:
        assert replay.recording["description"] == "the run slow"
        assert (replay.recording["total"], replay.recording["duration"]) == (10, 9 * HOUR)
        assert (replay.offset, replay.at, replay.end) == (0, 0.0, None)


async def test_large_rows_all_come(server: Server) -> None:
    async with ReplayClient(server.http_url, "large", pace="instant") as replay:
        async with asyncio.timeout(PATIENCE_SECONDS):
            sizes = {len(row["data"]["thoughts"]) async for row in replay}
    assert sizes == {100_000}


# Pause, seek, speed


async def test_nothing_comes_while_it_is_paused_and_the_rest_when_it_goes_on(server: Server) -> None:
    async with ReplayClient(server.http_url, "quick") as replay:
        taken = await take(replay, 3)
        await replay.pause()
        taken += await take_what_comes(replay, 1)
        assert len(taken) < 40
        assert not replay.playing
        await replay.play()
        taken += await take_all(replay)
    assert taken == list(range(1, 41))


@pytest.mark.parametrize(
    ("target", "last"), [({"offset": 7}, 7), ({"at": 4.5 * HOUR}, 5), ({"marker": 1}, 6), ({"offset": 10}, 10)]
)
async def test_a_seek_forwards_brings_the_rows_in_between_at_once(
    server: Server, target: dict[str, Any], last: int
) -> None:
    async with ReplayClient(server.http_url, "slow") as replay:
        assert await take(replay, 1) == [1]
        await replay.seek(**target)
        assert await take(replay, last - 1) == list(range(2, last + 1))


async def test_a_seek_backwards_brings_the_rows_again(server: Server) -> None:
    async with ReplayClient(server.http_url, "slow", pace=0.02) as replay:
        await take(replay, 8)
        await replay.pause()
        await take_what_comes(replay)
        await replay.seek(offset=2)
        await replay.play()
        assert await take_all(replay) == list(range(3, 11))


async def test_a_seek_backwards_on_the_last_row_goes_back_all_the_same(server: Server) -> None:
    async with ReplayClient(server.http_url, "slow", pace="instant") as replay:
        assert await take(replay, 10) == list(range(1, 11))
        await replay.seek(offset=4)
        assert await take_all(replay) == [5, 6, 7, 8, 9, 10]
    assert replay.end == "finished"


async def test_after_the_end_play_plays_everything_again_and_seek_the_rest(server: Server) -> None:
    async with ReplayClient(server.http_url, "slow", pace="instant") as replay:
        assert await take_all(replay) == list(range(1, 11))
        await replay.play()
        assert await take_all(replay) == list(range(1, 11))
        await replay.seek(offset=8)
        assert await take_all(replay) == [9, 10]
        assert replay.end == "finished"


async def test_speed_and_idle_limit_change_while_it_plays(server: Server) -> None:
    async with ReplayClient(server.http_url, "slow", pace=100) as replay:
        assert await take(replay, 1) == [1]
        await replay.set_speed(100)
        assert await take(replay, 1) == [2]
        assert replay.speed == 100
        await replay.set_speed(1)
        await replay.set_idle_time_limit(0)
        assert await take_all(replay) == list(range(3, 11))


async def test_an_idle_limit_is_taken_back_by_none(server: Server) -> None:
    async with ReplayClient(server.http_url, "slow", idle_time_limit=0.01) as replay:
        taken = await take(replay, 2)
        await replay.set_idle_time_limit(None)
        taken += await take_what_comes(replay)
        assert len(taken) < 10
        await replay.set_idle_time_limit(0)
        taken += await take_all(replay)
    assert taken == list(range(1, 11))


async def test_start_at_brings_what_is_before_at_once(server: Server) -> None:
    async with ReplayClient(server.http_url, "slow", start_at=2.5 * HOUR) as replay:
        assert await take_what_comes(replay, 1) == [1, 2, 3]


async def test_any_number_of_commands_but_seek_ends_with_every_row_once_and_in_order(server: Server) -> None:
    async with ReplayClient(server.http_url, "quick") as replay:
        taken = []
        async with asyncio.timeout(PATIENCE_SECONDS):
            async for row in replay:
                taken.append(row["offset"])
                await replay.pause()
                await replay.set_speed(random.choice([0.5, 1, 2, 100]))
                await replay.set_idle_time_limit(random.choice([None, 0, 0.01]))
                await replay.play()
    assert taken == list(range(1, 41))


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (lambda replay: replay.set_speed(1000), "speed must be"),
        (lambda replay: replay.set_speed(float("nan")), ""),
        (lambda replay: replay.set_idle_time_limit(-1), "seconds must be"),
        (lambda replay: replay.seek(offset=11), "offset must be"),
        (lambda replay: replay.seek(marker=99), "marker must be"),
        (lambda replay: replay.seek(at=1e9), "at must be"),
        (lambda replay: replay.seek(), "seek"),
        (lambda replay: replay.seek(offset=1, at=1), "seek"),
    ],
)
async def test_a_command_that_is_not_accepted_says_why_and_the_replay_goes_on(
    server: Server, command: Callable[[ReplayClient], Awaitable[None]], words: str
) -> None:
    async with ReplayClient(server.http_url, "slow") as replay:
        await take(replay, 1)
        with pytest.raises(ReplayError) as refused:
            await command(replay)
            await take(replay, 1)
        assert words in str(refused.value)
        await replay.seek(offset=2)
        assert await take(replay, 1) == [2]


async def test_a_speed_that_was_not_accepted_does_not_stay(server: Server) -> None:
    async with ReplayClient(server.http_url, "slow", speed=2) as replay:
        await take(replay, 1)
        with pytest.raises(ReplayError):
            await replay.set_speed(1000)
            await take(replay, 1)
        assert replay.speed == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"speed": 1000}, "speed"),
        ({"pace": "nonsense"}, "pace"),
        ({"idle_time_limit": -1}, "idle_time_limit"),
        ({"start_at": 1e9}, "start_at"),
    ],
)
async def test_an_option_that_is_not_accepted_is_named(server: Server, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ReplayError, match=words):
        async with ReplayClient(server.http_url, "slow", **options) as replay:
            await take(replay, 1)


# What it leaves behind


def held() -> tuple[set[asyncio.Task[Any]], int]:
    """The tasks and the open files of this process."""
    return asyncio.all_tasks(), len(list(Path("/dev/fd").iterdir()))


async def assert_nothing_more_is_held(before: tuple[set[asyncio.Task[Any]], int]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while held() != before:  # a transport closes its socket in the next turn
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("left", ["at the end", "by break", "by an error", "by a cancel", "without a row"])
async def test_leaving_the_block_leaves_no_task_and_no_connection(server: Server, left: str) -> None:
    before, gone = held(), server.log.count("slow: disconnected with 1000")

    async def watch() -> None:
        current = asyncio.current_task()
        assert current is not None
        async with ReplayClient(server.http_url, "slow", pace=0.01) as replay:
            while left != "without a row" and (row := await anext(replay, None)):
                if row["offset"] == 3:
                    match left:
                        case "by break":
                            break
                        case "by an error":
                            raise LookupError
                        case "by a cancel":
                            current.cancel()

    task = asyncio.create_task(watch())
    await asyncio.wait([task], timeout=PATIENCE_SECONDS)
    assert task.done()
    assert task.cancelled() or isinstance(task.exception(), LookupError | None)
    del task
    await assert_nothing_more_is_held(before)
    await asyncio.to_thread(server.wait_for_log, "slow: disconnected with 1000", gone + 1)


async def test_entering_can_be_cancelled_at_any_moment(server: Server) -> None:
    before = held()
    for turns in [*range(30), *range(30, 200, 10)]:
        task = asyncio.create_task(ReplayClient(server.http_url, "slow").__aenter__())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task], timeout=PATIENCE_SECONDS)
        assert task.done()
        if not task.cancelled():
            await (await task).__aexit__(None, None, None)
        del task
    await assert_nothing_more_is_held(before)


async def test_iterating_can_be_cancelled_at_any_moment_and_no_row_is_lost(server: Server) -> None:
    taken = []
    async with ReplayClient(server.http_url, "quick") as replay:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while replay.end is None or replay.offset < 40:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(random.uniform(0, 0.06)):
                        async for row in replay:
                            taken.append(row["offset"])
    assert taken == list(range(1, 41))


async def test_a_server_that_never_answers_the_close_does_not_keep_us() -> None:
    async def talk(connection: ServerConnection) -> None:
        await connection.send(HELLO)
        await connection.recv()
        await connection.send(row(1))
        connection.transport.pause_reading()
        await connection.wait_closed()

    async with server_that(talk, close_timeout=0.1) as url:
        async with asyncio.timeout(PATIENCE_SECONDS):
            async with ReplayClient(url, "run") as replay:
                assert await take(replay, 1) == [1]


# Servers that are not there, or no replay servers


async def test_a_server_that_is_not_there_is_an_os_error() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and never listens
        with pytest.raises((OSError, ReplayError)):
            async with ReplayClient(f"http://127.0.0.1:{bound.getsockname()[1]}", "run"):
                pass


@pytest.mark.parametrize(
    "url", ["", "nonsense", "ftp://a", "http://", "http://[bad", "http://a:99999", "http://a:port", "http://a b/"]
)
async def test_an_address_that_is_none_is_a_replay_error(url: str) -> None:
    with pytest.raises((OSError, ReplayError)):
        async with ReplayClient(url, "run"):
            pass


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nnot found",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://[bad\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x00\xff" * 100,
        b"x" * 100_000,
        b"",
    ],
)
async def test_a_server_that_is_no_websocket_server_is_a_replay_error(answer: bytes) -> None:
    async with tcp_server_that(answer) as url, asyncio.timeout(PATIENCE_SECONDS):
        with pytest.raises(ReplayError):
            async with ReplayClient(url, "run"):
                pass


async def test_a_server_that_takes_the_connection_and_says_nothing_is_no_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(share.client, "connect", partial(connect, open_timeout=1))
    async with tcp_server_that(None) as url, asyncio.timeout(PATIENCE_SECONDS):
        with pytest.raises((OSError, ReplayError)):
            async with ReplayClient(url, "run"):
                pass


async def test_a_server_that_accepts_and_never_says_hello_is_no_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(share.client, "HELLO_SECONDS", 1)
    async with server_that(saying()) as url, asyncio.timeout(PATIENCE_SECONDS):
        with pytest.raises((OSError, ReplayError)):
            async with ReplayClient(url, "run"):
                pass


async def test_a_server_that_speaks_only_classic_is_a_replay_error() -> None:
    connected = json.dumps({"data": None, "status": "connect", "message": "connect success", "success": True})
    async with server_that(saying(connected), subprotocols=None) as url, asyncio.timeout(PATIENCE_SECONDS):
        with pytest.raises(ReplayError, match=r"replay\.v1"):
            async with ReplayClient(url, "run"):
                pass


NO_FRAMES = {
    "empty": "",
    "text": "hello",
    "half an object": '{"type":',
    "bytes that are no text": b"\xff\xfe\x00",
    "a list": "[]",
    "a number": "1",
    "null": "null",
    "a string": '"connect"',
    "NaN": "NaN",
    "too deep": "[" * 100_000 + "]" * 100_000,
    "an integer of 5000 digits": "9" * 5000,
}
NO_HELLOS = {
    "no data": '{"status":"connect","success":true}',
    "data null": '{"status":"connect","success":true,"message":"","data":null}',
    "data a list": '{"status":"connect","success":true,"message":"","data":[]}',
    "no epoch": '{"status":"connect","success":true,"message":"","data":{}}',
    "refused": '{"status":"connect","success":false,"message":"no","data":null}',
    "a row": row(1),
    "an error without a message": '{"type":"error"}',
    "an error with a list for a message": '{"type":"error","message":[]}',
}
NO_ROWS = {
    "an empty object": "{}",
    "no offset": '{"data":null,"at":0}',
    "no at": '{"data":null,"offset":1}',
    "offset a string": '{"offset":"1","at":0}',
    "offset null": '{"offset":null,"at":0}',
    "offset a list": '{"offset":[],"at":0}',
    "offset no number": '{"offset":NaN,"at":0}',
    "at a string": '{"offset":1,"at":"0"}',
    "rows without rows": '{"type":"rows"}',
    "rows a number": '{"type":"rows","rows":5}',
    "rows a string": '{"type":"rows","rows":"abc"}',
    "rows of numbers": '{"type":"rows","rows":[1]}',
    "rows of empty objects": '{"type":"rows","rows":[{}]}',
    "rows an object": '{"type":"rows","rows":{"a":1}}',
    "state without offset": '{"type":"state"}',
    "state with offset a string": '{"type":"state","offset":"5","total":1,"duration":1,"live":false}',
    "state with offset null": '{"type":"state","offset":null,"total":1,"duration":1,"live":false}',
    "state without total": '{"type":"state","offset":0}',
    "end without a reason": '{"type":"end"}',
    "end with null": '{"type":"end","reason":null}',
    "an error without a message": '{"type":"error"}',
}


@pytest.mark.parametrize("frame", (NO_FRAMES | NO_HELLOS).values(), ids=(NO_FRAMES | NO_HELLOS).keys())
async def test_a_hello_that_is_none_is_a_replay_error(frame: str | bytes) -> None:
    async with server_that(saying(frame, END)) as url, asyncio.timeout(PATIENCE_SECONDS):
        with pytest.raises(ReplayError):
            async with ReplayClient(url, "run") as replay:
                await take_all(replay)


@pytest.mark.parametrize("frame", (NO_FRAMES | NO_ROWS).values(), ids=(NO_FRAMES | NO_ROWS).keys())
async def test_a_frame_that_is_none_is_a_replay_error(frame: str | bytes) -> None:
    async with server_that(saying(HELLO, frame, END)) as url, asyncio.timeout(PATIENCE_SECONDS):
        with pytest.raises(ReplayError):
            async with ReplayClient(url, "run") as replay:
                await take_all(replay)


async def test_frames_of_a_type_that_it_does_not_know_and_fields_too_are_left_alone() -> None:
    known = [row(1).replace("{", '{"new":1,'), '{"type":"new"}', '{"type":["new"]}', row(2), '{"type":"pong"}']
    end = '{"type":"end","offset":2,"reason":"finished","new":1}'
    async with server_that(saying(HELLO, *known, end)) as url, ReplayClient(url, "run") as replay:
        assert await take_all(replay) == [1, 2]


async def test_a_frame_in_bytes_is_read_as_well() -> None:
    async with (
        server_that(saying(HELLO.encode(), row(1).encode(), END.encode())) as url,
        ReplayClient(url, "run") as replay,
    ):
        assert await take_all(replay) == [1]


@pytest.mark.parametrize("code", [1000, 1011, 1012])
async def test_between_the_tries_to_reach_a_server_that_hangs_up_each_time_the_pauses_grow(
    code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    longest: list[float] = []

    def no_pause(shortest: float, upper: float) -> float:
        longest.append(upper)
        return 0.0

    async def talk(connection: ServerConnection) -> None:
        await connection.send(HELLO)
        if len(longest) < 8:
            await connection.close(code)
        else:
            await connection.send(END)
            await connection.wait_closed()

    monkeypatch.setattr(random, "uniform", no_pause)
    async with server_that(talk) as url, ReplayClient(url, "run") as replay:
        assert await take_all(replay) == []
    assert longest == sorted(longest)
    assert longest[-1] == 10


async def test_it_is_told_in_words_when_the_connection_is_lost_and_back() -> None:
    told: list[str] = []

    async def talk(connection: ServerConnection) -> None:
        await connection.send(HELLO)
        start = json.loads(await connection.recv())
        if "epoch" not in start:
            await connection.send(row(1))
            connection.transport.abort()
        else:
            assert (start["offset"], start["epoch"]) == (1, EPOCH)
            await connection.send(row(2))
            await connection.send(END)
            await connection.wait_closed()

    async with server_that(talk) as url, ReplayClient(url, "run", on_connection=told.append) as replay:
        assert await take_all(replay) == [1, 2]
    assert "lost" in told[0]
    assert "again" in told[-1]


@pytest.mark.parametrize("code", [4500, 4503, 4504, 4505, 4999])
async def test_a_close_that_is_final_is_a_replay_error_with_its_code(code: int) -> None:
    tries = 0

    async def talk(connection: ServerConnection) -> None:
        nonlocal tries
        tries += 1
        await connection.send(HELLO)
        await connection.send(row(1))
        await connection.close(code, "because")

    async with server_that(talk) as url, ReplayClient(url, "run") as replay:
        with pytest.raises(ReplayError, match="because") as refused:
            await take(replay, 2)
    assert refused.value.code == code
    assert tries == 1


async def test_a_refusal_is_a_replay_error_with_the_servers_words_and_code(server: Server) -> None:
    with pytest.raises(ReplayError, match="no such recording") as refused:
        async with ReplayClient(server.http_url, "nosuchrecording"):
            pass
    assert refused.value.code == 4504
    with pytest.raises(ReplayError) as refused:
        async with ReplayClient(server.http_url, "../x"):
            pass


async def test_without_async_with_it_says_what_to_do() -> None:
    replay = ReplayClient("http://127.0.0.1:1", "run")
    with pytest.raises((AssertionError, ReplayError, RuntimeError), match="async with"):
        await anext(replay)
    gc.collect()


def test_it_needs_nothing_but_websockets(server: Server) -> None:
    program = """
import asyncio, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        blocked = "starlette", "databases", "sqlalchemy", "aiosqlite", "orjson", "click", "uvicorn", "uvloop", "storage"
        if name.partition(".")[0] in blocked:
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocked())
from share.client import ReplayClient
from share import ReplayClient as same, ReplayError
assert same is ReplayClient

async def main():
    async with ReplayClient(sys.argv[1], sys.argv[2], pace="instant") as replay:
        print(len([row async for row in replay]), replay.end)

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, server.http_url, "slow"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("10 finished\n", "", 0)
