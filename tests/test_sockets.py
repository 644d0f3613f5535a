"""What crosses a real socket: a server in a process of its own, and clients that others wrote."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.frames import Opcode
from websockets.typing import Subprotocol

from share.serving import MAX_MESSAGE_BYTES, SHUTDOWN_SECONDS
from storage.database import CONNECTIONS
from tests.any_database import NO_TABLE, database_url, execute
from tests.server import (
    GOLDEN,
    PATIENCE_SECONDS,
    SERVE,
    UVICORN,
    RawViewer,
    Server,
    golden_frames,
    make_recording,
    run,
    start_server,
    write_recording,
)

SHARED = '{"type": "shared"}'
CONNECTED, *ROWS = golden_frames("normal_short")

NODE_CLIENT = Path(__file__).parent / "node"


@dataclass
class Seen:
    """What a client got: text frames, and whether its ping was answered."""

    frames: list[str] = field(default_factory=list)
    binary: bool = False
    pong: bool = False
    extensions: str = ""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `short`, and with `large`, of which the sockets' buffers hold no more than a part."""
    folder = tmp_path_factory.mktemp("sockets")
    large = write_recording(folder / "large.json", make_recording("large", 250, "x" * 100_000))
    done = run("import", GOLDEN / "short.recording.json", large, folder=folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module", params=["serve", "uvicorn"])
def server(request: pytest.FixtureRequest, folder: Path) -> Iterator[Server]:
    program = SERVE if request.param == "serve" else UVICORN
    with start_server(folder, program, SHARE_PAUSE_SECONDS="0", SHARE_LOG_LEVEL="DEBUG") as server:
        yield server


@pytest.fixture(scope="module")
def serve(folder: Path) -> Iterator[Server]:
    with start_server(folder, SHARE_PAUSE_SECONDS="0") as server:
        yield server


async def receive(connection: ClientConnection, count: int) -> list[str]:
    async with asyncio.timeout(PATIENCE_SECONDS):
        frames = [await connection.recv() for _ in range(count)]
    assert all(isinstance(frame, str) for frame in frames)
    return [str(frame) for frame in frames]


async def close_code(connection: ClientConnection) -> int:
    """The code in the close frame that the server sends, as `onclose` of a browser has it."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        with contextlib.suppress(ConnectionClosed):
            while True:
                await connection.recv()
    assert connection.close_code is not None
    return connection.close_code


async def play_golden(url: str) -> None:
    async with connect(url) as connection:
        assert await receive(connection, 1) == [CONNECTED]
        await connection.send(SHARED)
        assert await receive(connection, len(ROWS)) == ROWS


async def play_with_websockets(url: str, start: str | bytes, count: int) -> Seen:
    seen = Seen()
    async with connect(url) as connection:
        await asyncio.wait_for(await connection.ping(), PATIENCE_SECONDS)
        seen.pong = True
        seen.frames += await receive(connection, 1)
        await connection.send(start)
        seen.frames += await receive(connection, count - 1)
    return seen


async def play_with_aiohttp(url: str, start: str | bytes, count: int) -> Seen:
    seen = Seen()
    async with aiohttp.ClientSession() as session, session.ws_connect(url, autoping=False) as socket:
        await socket.ping()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(seen.frames) < count or not seen.pong:
                message = await socket.receive()
                if message.type is aiohttp.WSMsgType.PONG:
                    seen.pong = True
                    continue
                assert message.type is aiohttp.WSMsgType.TEXT, message
                seen.frames.append(message.data)
                if len(seen.frames) == 1:
                    await (socket.send_bytes(start) if isinstance(start, bytes) else socket.send_str(start))
    return seen


async def play_with_node(url: str, start: str | bytes, count: int) -> Seen:
    node = shutil.which("node")
    if node is None or not (NODE_CLIENT / "node_modules" / "ws").is_dir():
        missing = "Node's ws is not there: install Node, then npm ci --prefix tests/node"
        if os.environ.get("REPLAY_SHARE_CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    binary = isinstance(start, bytes)
    arguments = [url, start.decode() if isinstance(start, bytes) else start, str(binary).lower(), str(count)]
    process = await asyncio.create_subprocess_exec(
        node, NODE_CLIENT / "client.mjs", *arguments, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
    assert process.returncode == 0
    seen = json.loads(output)
    assert seen["code"] == 1000
    return Seen(seen["frames"], seen["binary"], seen["pong"], seen["extensions"])


CLIENTS = {"websockets": play_with_websockets, "aiohttp": play_with_aiohttp, "node": play_with_node}


@pytest.mark.parametrize("transcript", ["normal_short", "binary_shared"])
@pytest.mark.parametrize("client", CLIENTS)
async def test_a_client_that_others_wrote_gets_the_golden_frames_byte_for_byte(
    server: Server, client: str, transcript: str
) -> None:
    start = SHARED.encode() if transcript == "binary_shared" else SHARED
    expected = golden_frames(transcript)

    seen = await CLIENTS[client](server.url(query="?user_id=guest&token=xagent"), start, len(expected))

    assert seen.frames == expected
    assert not seen.binary, "rows are text frames"
    assert seen.pong, "a ping of the protocol is answered"


async def test_a_viewer_who_asks_again_after_the_end_gets_everything_again(server: Server) -> None:
    async with connect(server.url()) as connection:
        received = await receive(connection, 1)
        for _ in range(3):
            # One that comes before the pause after the last row is over counts as a second of the same replay.
            await asyncio.sleep(0.3)
            await connection.send(SHARED)
            received += await receive(connection, len(ROWS))

    assert received == golden_frames("second_shared_after_end")


async def test_messages_that_mean_nothing_get_no_answer(server: Server) -> None:
    async with connect(server.url()) as connection:
        for message in ('{"type": "ping"}', '{"type": "connect"}', '{"type": "nope"}', "{}", b'{"type": ["shared"]}'):
            await connection.send(message)
        await connection.send(SHARED)

        assert await receive(connection, 1 + len(ROWS)) == [CONNECTED, *ROWS]


async def test_a_hundred_viewers_at_once_all_get_the_golden_frames(server: Server) -> None:
    await asyncio.gather(*(play_golden(server.url()) for _ in range(100)))


async def test_a_ping_of_the_protocol_is_answered_while_rows_are_being_sent(server: Server) -> None:
    async with connect(server.url("large"), max_size=None) as connection:
        await connection.send(SHARED)
        await receive(connection, 2)
        pong = await connection.ping()
        while not pong.done():
            await receive(connection, 1)


@pytest.mark.parametrize("offered", [None, ["chat", "superchat"]])
async def test_classic_negotiates_no_subprotocol(server: Server, offered: list[Subprotocol] | None) -> None:
    async with connect(server.url(), subprotocols=offered) as connection:
        assert connection.subprotocol is None
        assert await receive(connection, 1) == [CONNECTED]


@pytest.mark.parametrize("how", ["close frame", "reset", "half close"])
async def test_a_viewer_who_leaves_in_the_middle_leaves_nothing_running(server: Server, how: str) -> None:
    left = "large: disconnected with 1000; heartbeat stopped, replay stopped"
    before = server.log.count(left)
    viewer = await RawViewer.connect(server.url("large"))
    await viewer.send(SHARED)
    await viewer.receive(3)
    match how:
        case "close frame":
            await viewer.send_close()
            await viewer.receive_to_end()
            viewer.close()
        case "reset":
            viewer.reset()
        case "half close":
            viewer.half_close()
            await viewer.receive_to_end()
            viewer.close()

    log = await asyncio.to_thread(server.wait_for_log, left, before + 1)
    assert "STILL RUNNING" not in log
    assert "Traceback" not in log
    await play_golden(server.url())


async def test_a_viewer_who_says_disconnect_sees_1000(server: Server) -> None:
    async with connect(server.url()) as connection:
        await connection.send('{"type": "disconnect"}')
        assert await close_code(connection) == 1000


@pytest.mark.parametrize("path", ["nosuchrecording", "%2e%2e", "%0aFAKE%20LINE", ".hidden", "a" * 200])
async def test_a_viewer_who_is_refused_sees_why_and_then_1000(server: Server, path: str) -> None:
    async with connect(server.url(path)) as connection:
        (frame,) = await receive(connection, 1)
        assert json.loads(frame) == {
            "data": None,
            "status": "connect",
            "message": "There is no such recording, or it is not shared.",
            "success": False,
        }
        assert list(json.loads(frame)) == list(json.loads(CONNECTED))
        assert await close_code(connection) == 1000
    assert "\nFAKE" not in server.log


async def test_a_viewer_whose_messages_are_never_json_sees_1008_after_the_tenth(server: Server) -> None:
    async with connect(server.url()) as connection:
        for number in range(12):
            await connection.send("{not json" if number % 2 else b"\xff\xfe")
        frames = await receive(connection, 11)
        assert [json.loads(frame)["success"] for frame in frames] == [True] + [False] * 10
        assert await close_code(connection) == 1008


async def test_a_text_frame_that_is_no_utf_8_ends_only_its_own_connection(server: Server) -> None:
    viewer = await RawViewer.connect(server.url())
    await viewer.send(b'{"type": "\xff"}', Opcode.TEXT)
    assert await viewer.receive_to_end() == 1007
    viewer.close()
    await play_golden(server.url())


async def test_a_viewer_too_many_sees_1013_and_gets_in_when_another_has_left(folder: Path) -> None:
    with start_server(folder, SHARE_PAUSE_SECONDS="0", SHARE_MAX_VIEWERS="1") as server:
        async with connect(server.url()) as first:
            await receive(first, 1)
            async with connect(server.url()) as second:
                (frame,) = await receive(second, 1)
                assert json.loads(frame)["success"] is False
                assert await close_code(second) == 1013
        await asyncio.to_thread(server.wait_for_log, ": disconnected with", 2)
        await play_golden(server.url())


async def test_an_error_of_the_server_shows_as_1011_and_stands_in_the_log(tmp_path: Path) -> None:
    run("import", GOLDEN / "short.recording.json", folder=tmp_path)
    with start_server(tmp_path, SHARE_PAUSE_SECONDS="0") as server:
        execute(database_url(tmp_path / "data"), "ALTER TABLE raw RENAME TO elsewhere")
        async with connect(server.url(query="?token=SECRET")) as connection:
            await connection.send(SHARED)
            assert await close_code(connection) == 1011
        log = server.wait_for_log("disconnected with 1011")
        assert "Traceback" in log
        assert NO_TABLE.search(log)

        execute(database_url(tmp_path / "data"), "ALTER TABLE elsewhere RENAME TO raw")
        await play_golden(server.url())


async def test_the_heartbeat_is_the_golden_pong_and_ends_with_the_replay(folder: Path) -> None:
    with start_server(folder, SHARE_PAUSE_SECONDS="0.3", SHARE_HEARTBEAT_SECONDS="0.1") as server:
        async with connect(server.url()) as connection:
            await connection.send(SHARED)
            frames = []
            while len([frame for frame in frames if frame in ROWS]) < len(ROWS):
                frames += await receive(connection, 1)
            await connection.send('{"type": "disconnect"}')
            assert await close_code(connection) == 1000

    pongs = [frame for frame in frames[1:] if frame not in ROWS]
    assert pongs
    assert set(pongs) == {'{\n  "type": "pong"\n}'}


async def test_serve_takes_a_message_of_64_kib_and_closes_on_a_larger_one_with_1009(serve: Server) -> None:
    async with connect(serve.url()) as connection:
        await connection.send('{"type": "shared", "pad": ""}'.replace('""', f'"{"x" * (MAX_MESSAGE_BYTES - 29)}"'))
        assert await receive(connection, 1 + len(ROWS)) == [CONNECTED, *ROWS]
        await connection.send("x" * (MAX_MESSAGE_BYTES + 1))
        assert await close_code(connection) == 1009


async def test_serve_counts_the_64_kib_over_all_the_fragments_of_a_message(serve: Server) -> None:
    async with connect(serve.url()) as connection:
        with contextlib.suppress(ConnectionClosed):
            await connection.send(["x" * 10_000] * 20)
        # What it hasn't read any more may reset the connection before the close frame is there.
        assert await close_code(connection) in (1009, 1006)


async def test_a_viewer_who_stops_reading_disturbs_nobody_and_is_freed_in_the_end(folder: Path) -> None:
    # As `replay-share serve`, but that the operating system gives up on him after 4 s, not 30: later than the server.
    impatient = "from share import cli, serving; serving.UNACKNOWLEDGED_MS = 4000; cli.main(['serve'])"
    settings = {"SHARE_PAUSE_SECONDS": "0", "SHARE_SEND_TIMEOUT_SECONDS": "1"}
    with start_server(folder, (sys.executable, "-c", impatient), **settings) as server:
        await play_golden(server.url())
        files = server.count("fd")
        stalled = await RawViewer.connect(server.url("large"), receive_buffer_bytes=4096)
        await stalled.send(SHARED)
        plays = 0
        deadline = time.monotonic() + PATIENCE_SECONDS
        while "large: disconnected with 4008" not in server.log and time.monotonic() < deadline:
            await play_golden(server.url())
            plays += 1
        assert "large: disconnected with 4008; heartbeat stopped, replay stopped" in server.log
        assert plays > 5

        # A pool keeps its connections, and SQLite's are kept by us.
        while server.count("fd") > files + CONNECTIONS:
            assert time.monotonic() < deadline, "his connection is never freed"
            await asyncio.sleep(0.05)
        stalled.close()


@pytest.mark.parametrize("program", [SERVE, UVICORN], ids=["serve", "uvicorn"])
async def test_viewers_see_1012_when_sigterm_ends_the_server(folder: Path, program: tuple[str, ...]) -> None:
    with start_server(folder, program, SHARE_PAUSE_SECONDS="1") as server:
        async with connect(server.url()) as idle, connect(server.url()) as watching:
            await receive(idle, 1)
            await watching.send(SHARED)
            await receive(watching, 2)
            stopping = asyncio.create_task(asyncio.to_thread(server.stop))
            assert [await close_code(viewer) for viewer in (idle, watching)] == [1012, 1012]
            assert await stopping in (0, -signal.SIGTERM)
    assert "Traceback" not in server.log
    assert "heartbeat stopped, replay stopped" in server.log
    assert "STILL RUNNING" not in server.log


async def test_sigterm_ends_serve_in_its_time_also_when_a_viewer_does_not_read(folder: Path) -> None:
    assert SHUTDOWN_SECONDS <= 10
    hasty = "from share import cli, serving; serving.SHUTDOWN_SECONDS = 1; cli.main(['serve'])"
    with start_server(folder, (sys.executable, "-c", hasty), SHARE_PAUSE_SECONDS="0") as server:
        stalled = await RawViewer.connect(server.url("large"), receive_buffer_bytes=4096)
        await stalled.send(SHARED)
        async with connect(server.url()) as reading:
            await receive(reading, 1)
            began = time.monotonic()
            stopping = asyncio.create_task(asyncio.to_thread(server.stop))
            assert await close_code(reading) == 1012
            assert await stopping in (0, -signal.SIGTERM)
    assert time.monotonic() - began < 1 + 15
    assert "large: disconnected with" in server.log
    assert "STILL RUNNING" not in server.log
    stalled.close()


async def test_ctrl_c_ends_serve_without_a_complaint(folder: Path) -> None:
    with start_server(folder) as server:
        async with connect(server.url()) as viewer:
            await receive(viewer, 1)
            stopping = asyncio.create_task(asyncio.to_thread(server.stop, signal.SIGINT))
            assert await close_code(viewer) == 1012
            assert await stopping in (0, 130, -signal.SIGINT)
    assert "Traceback" not in server.log
    assert not re.search("abort", server.log, re.IGNORECASE)
