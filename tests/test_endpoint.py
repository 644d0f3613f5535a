from __future__ import annotations

import asyncio
import base64
import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import databases
import pytest
from sqlalchemy import insert, update
from starlette.types import Message

from share.access import NOT_FOUND, RUNNING
from storage import schema
from storage.gateway import Gateway
from tests.any_database import NO_TABLE
from tests.asgi import Server, Viewer, database_threads, row, rows, tasks_named
from tests.fake_clock import until

SHARED = {"type": "shared"}
REPLAY = {"type": "replay"}
CONNECTED = json.dumps({"data": None, "status": "connect", "message": "connect success", "success": True}, indent=2)
PONG = json.dumps({"type": "pong"}, indent=2)
TOKEN = "t0ken-that-nobody-may-see"
AUTHOR = {"user_id": "author", "token": TOKEN}


@pytest.fixture
async def server(gateway: Gateway, tmp_path: Path) -> Server:
    """A server with the shared recording `run` of three rows."""
    server = Server(gateway, tmp_path)
    await server.record(*rows(3))
    return server


@pytest.fixture
async def author(gateway: Gateway) -> None:
    await add_user(gateway, "author", token=TOKEN)


async def add_user(gateway: Gateway, user_id: str, **fields: Any) -> None:
    await gateway.execute(insert(schema.users).values(user_id=user_id, email=f"{user_id}@example.org", **fields))


def with_settings(server: Server, **settings: Any) -> Server:
    """Another server over the same database."""
    return Server(server.gateway, server.settings.base_dir, **settings)


def rows_of(viewer: Viewer) -> list[str]:
    """The node_ids of the rows that the viewer has seen."""
    return [frame["node_id"] for frame in map(json.loads, viewer.frames) if "node_id" in frame]


def pong_times(viewer: Viewer) -> list[float]:
    return [time for time, frame in zip(viewer.times, viewer.frames, strict=True) if frame == PONG]


async def refusal(server: Server, path: str, query: Mapping[str, str] | None = None, **options: Any) -> tuple[str, int]:
    """What a viewer who is not let in is told, and the code, when nothing else has come of it."""
    async with server.connect(path, query, **options) as viewer:
        viewer.post(SHARED)
        viewer.post(REPLAY)
        code = await viewer.ended()
    assert viewer.accepted and code is not None
    assert not tasks_named("heartbeat", "replay") and not server.clock.sleepers
    (frame,) = viewer.frames
    message = json.loads(frame)["message"]
    assert frame == json.dumps({"data": None, "status": "connect", "message": message, "success": False}, indent=2)
    return message, code


def logged(caplog: pytest.LogCaptureFixture, text: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if text in record.getMessage()]


def errors(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.levelno >= logging.ERROR]


# Watching


async def test_a_viewer_is_let_in_and_nothing_more_is_sent_until_he_asks(server: Server) -> None:
    async with server.connect() as viewer:
        assert await viewer.receive() == CONNECTED
        await until(lambda: viewer.awaited)
        assert viewer.frames == [CONNECTED]
        assert not tasks_named("heartbeat", "replay")


@pytest.mark.parametrize("message", [SHARED, b'{"type": "shared"}', '{"type":"shared","extra":[1]}'])
async def test_shared_replays_the_recording(server: Server, message: Any) -> None:
    async with server.connect() as viewer:
        await viewer.send(message)
        await server.play_out()
        assert rows_of(viewer) == ["node-0", "node-1", "node-2"]


async def test_a_recording_without_rows_is_over_at_once_and_the_socket_stays_open(server: Server) -> None:
    await server.record(interaction_id="empty")
    async with server.connect("/ws/share/empty") as viewer:
        await viewer.send(SHARED)
        await server.play_out()
        assert viewer.frames == [CONNECTED]
        assert not viewer.task.done()


async def test_pictures_come_from_the_interactions_workspace_whatever_day_a_row_is_from(
    server: Server,
) -> None:
    tools = {"tool_name": "PythonNotebook_execute_cell", "tool_output": [{"file_name": "one.png"}]}
    dated = {"include_pictures": True, "create_time": "2099-01-01 00:00:00"}
    await server.record(row(7, {"using_tools": tools}, **dated), interaction_id="drawn")
    workspace = server.log_path("drawn").with_name("workspace")
    workspace.mkdir(parents=True)
    (workspace / "one.png").write_bytes(b"picture")
    async with server.connect("/ws/share/drawn") as viewer:
        await viewer.send(SHARED)
        await server.play_out()
        sent = json.loads(viewer.frames[1])["data"]["using_tools"]
    assert sent["tool_output"] == [{"file_name": "one.png", "file_data": base64.b64encode(b"picture").decode()}]
    assert sent["is_include_pictures"] is True


async def test_two_viewers_of_one_recording_are_each_at_their_own_place(server: Server) -> None:
    server = with_settings(server, pause_seconds=(5, 5))
    async with server.connect() as first, server.connect() as second:
        await first.send(SHARED)
        await server.clock.run_until(lambda: len(rows_of(first)) == 2)
        await second.send(SHARED)
        await server.clock.run_until(lambda: len(rows_of(second)) == 1, sleepers=4)
        assert len(rows_of(first)) == 2
        await server.play_out()
        assert rows_of(first) == rows_of(second) == ["node-0", "node-1", "node-2"]


async def test_a_second_shared_is_ignored_while_one_runs_and_replays_everything_again_afterwards(
    server: Server,
) -> None:
    async with server.connect() as viewer:
        await viewer.send(SHARED)
        for count in (1, 2, 3):
            await server.clock.run_until(lambda count=count: len(rows_of(viewer)) == count)
            await viewer.send(SHARED)
        await server.play_out()
        assert rows_of(viewer) == ["node-0", "node-1", "node-2"]
        await viewer.send(SHARED)
        await server.play_out()
        assert rows_of(viewer) == ["node-0", "node-1", "node-2"] * 2


@pytest.mark.parametrize(
    "message",
    [{"type": "ping"}, {"type": "connect"}, {"type": "nope"}, {}, {"type": None}, {"type": ["shared"]}, REPLAY],
)
async def test_what_asks_for_nothing_gets_no_answer(server: Server, message: Any) -> None:
    async with server.connect() as viewer:
        await viewer.send(message)
        assert viewer.frames == [CONNECTED]
        assert not tasks_named("heartbeat", "replay")


async def test_disconnect_ends_the_connection_in_the_middle_of_a_replay(server: Server) -> None:
    async with server.connect() as viewer:
        await viewer.send(SHARED)
        await server.clock.run_until(lambda: len(rows_of(viewer)) == 1)
        await viewer.send({"type": "disconnect"})
        assert await viewer.ended() == 1000
        assert not tasks_named("heartbeat", "replay") and not server.clock.sleepers


@pytest.mark.parametrize("leave", [Viewer.close, Viewer.disconnect])
async def test_a_viewer_who_leaves_takes_everything_with_him(
    server: Server, leave: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with server.connect() as viewer:
        await viewer.send(SHARED)
        await server.clock.run_until(lambda: len(rows_of(viewer)) == 1)
        leave(viewer)
        assert await viewer.ended() is None
    assert not tasks_named("heartbeat", "replay") and not server.clock.sleepers
    assert logged(caplog, "disconnected") == ["run: disconnected with 1000; heartbeat stopped, replay stopped"]
    assert not errors(caplog)


async def test_a_viewer_who_leaves_before_he_is_let_in_is_no_error(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with server.connect() as viewer:
        viewer.disconnect()
        assert await viewer.ended() is None
    assert logged(caplog, "disconnected") == [
        "run: disconnected with 1000; heartbeat never started, replay never started"
    ]
    assert not errors(caplog)


async def test_a_viewer_who_leaves_while_several_frames_wait_to_be_sent_is_no_error(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    blocked, released = asyncio.Event(), asyncio.Event()

    async def wait(message: Message) -> None:
        if "node_id" in message.get("text", ""):
            blocked.set()
            await released.wait()

    async with server.connect(on_send=wait) as viewer:
        await viewer.send(SHARED)
        await blocked.wait()
        viewer.post("{not json")
        await until(lambda: not viewer.unread)  # its answer has to wait for the row
        viewer.vanish()
        released.set()
        assert await viewer.ended() is None
    assert not errors(caplog)


# The heartbeat


async def test_pongs_come_every_20_seconds_from_shared_on_and_none_after_the_end(server: Server) -> None:
    server = with_settings(server, pause_seconds=(3, 3))
    await server.record(*(row(step, node_id=f"long-{step}") for step in range(24)), interaction_id="long")
    async with server.connect("/ws/share/long") as viewer:
        server.clock.jump(7.0)
        await viewer.send(SHARED)
        start = server.clock.now()
        await server.play_out()
        assert server.clock.now() == start + 72
        assert pong_times(viewer) == [start + 20, start + 40, start + 60]
        assert not server.clock.sleepers


async def test_a_replay_that_is_played_again_has_its_pongs_again(server: Server) -> None:
    server = with_settings(server, pause_seconds=(9, 9))
    async with server.connect() as viewer:
        for _ in range(2):
            start, before = server.clock.now(), len(pong_times(viewer))
            await viewer.send(SHARED)
            await server.play_out()
            assert pong_times(viewer)[before:] == [start + 20]


async def test_a_replay_asked_for_in_the_very_moment_in_which_one_ends_has_its_pongs_too(server: Server) -> None:
    server = with_settings(server, pause_seconds=(9, 9))
    async with server.connect() as viewer:
        await viewer.send(SHARED)
        await server.clock.run_until(lambda: server.clock.now() >= 1020)
        await until(lambda: server.clock.sleepers == 2)
        server.clock.wake_next()  # from the pause after the last row
        viewer.post(SHARED)
        await server.clock.run_until(lambda: len(rows_of(viewer)) == 6)
        assert pong_times(viewer) == [1020]
        await server.play_out()
        assert pong_times(viewer) == [1020, 1047]


async def test_the_heartbeat_can_be_set(server: Server) -> None:
    server = with_settings(server, pause_seconds=(4, 4), heartbeat_seconds=2.5)
    async with server.connect() as viewer:
        await viewer.send(SHARED)
        await server.play_out()
        assert pong_times(viewer) == [1002.5, 1005, 1007.5, 1010]


async def test_neither_rows_nor_pongs_drift_when_sending_takes_its_time(server: Server) -> None:
    server = with_settings(server, pause_seconds=(3, 3))
    await server.record(*(row(step, node_id=f"long-{step}") for step in range(16)), interaction_id="long")

    async def slow(message: Message) -> None:
        await server.clock.sleep_until(server.clock.now() + 0.5)

    async with server.connect("/ws/share/long", on_send=slow) as viewer:
        await server.clock.run_until(lambda: viewer.awaited, sleepers=1)
        start = server.clock.now()
        await viewer.send(SHARED)
        await server.play_out()
        rows_at = [time for time in viewer.times[1:] if time not in pong_times(viewer)]
        assert rows_at == [start + 3 * step + 0.5 for step in range(16)]
        assert pong_times(viewer) == [start + 20.5, start + 40.5]


# The owner's view


async def test_the_owner_sees_his_recording_without_pauses(server: Server, author: None) -> None:
    async with server.connect("/ws/replay/run", AUTHOR) as viewer:
        await viewer.send(REPLAY)
        await until(lambda: not tasks_named("replay"))
        assert rows_of(viewer) == ["node-0", "node-1", "node-2"]
        assert server.clock.now() == 1000


async def test_the_owners_view_does_not_start_with_shared(server: Server, author: None) -> None:
    async with server.connect("/ws/replay/run", AUTHOR) as viewer:
        await viewer.send(SHARED)
        assert viewer.frames == [CONNECTED]
        assert not tasks_named("heartbeat", "replay")


async def test_the_owner_sees_what_is_not_shared(server: Server, author: None) -> None:
    await server.record(row(0, node_id="secret"), interaction_id="private", shared=False)
    async with server.connect("/ws/replay/private", AUTHOR) as viewer:
        await viewer.send(REPLAY)
        await until(lambda: not tasks_named("replay"))
        assert rows_of(viewer) == ["secret"]


@pytest.mark.parametrize("query", [{}, {"user_id": "nobody", "token": TOKEN}, {"user_id": "gone", "token": TOKEN}])
async def test_the_owners_view_refuses_who_is_no_user(server: Server, author: None, query: dict[str, str]) -> None:
    await add_user(server.gateway, "gone", token=TOKEN, deleted=True)
    assert await refusal(server, "/ws/replay/run", query) == ("user is not exist!", 1000)


@pytest.mark.parametrize(
    "query",
    [
        {"user_id": "author"},
        {"user_id": "author", "token": ""},
        {"user_id": "author", "token": TOKEN + "x"},
        {"user_id": "author", "token": "数据\ud800".encode("utf-8", "replace").decode()},
        {"user_id": "barred", "token": TOKEN},
        {"user_id": "tokenless"},
        {"user_id": "tokenless", "token": ""},
    ],
)
async def test_the_owners_view_refuses_who_is_not_available(
    server: Server, author: None, query: dict[str, str]
) -> None:
    await add_user(server.gateway, "barred", token=TOKEN, available=False)
    await add_user(server.gateway, "tokenless", token="")
    assert await refusal(server, "/ws/replay/run", query) == ("user is not available!", 1000)


async def test_the_owners_view_shows_only_what_is_his(server: Server, author: None) -> None:
    await server.record(interaction_id="another", user_id="somebody else")
    assert await refusal(server, "/ws/replay/another", AUTHOR) == (NOT_FOUND, 1000)
    assert await refusal(server, "/ws/replay/unknown", AUTHOR) == (NOT_FOUND, 1000)


async def test_the_owner_does_not_see_what_is_deleted(server: Server, author: None) -> None:
    await server.record(interaction_id="deleted", is_deleted=True)
    assert await refusal(server, "/ws/replay/deleted", AUTHOR) == (NOT_FOUND, 1000)


# Refusals


@pytest.mark.parametrize(
    "client_id",
    [
        "unknown",
        "private",
        "deleted",
        "unshared",
        ".",
        "..",
        ".hidden",
        "a b",
        "数据",
        "run\n",
        "a\0b",
        "%2e",
        "x" * 129,
    ],
)
async def test_what_may_not_be_seen_is_refused_with_the_same_words(server: Server, client_id: str) -> None:
    await server.record(interaction_id="private", shared=False)
    await server.record(interaction_id="deleted", is_deleted=True)
    await server.record(interaction_id="unshared")
    await server.gateway.execute(
        update(schema.shared_interactions)
        .where(schema.shared_interactions.c.interaction_id == "unshared")
        .values(is_deleted=True)
    )
    assert await refusal(server, f"/ws/share/{client_id}") == (NOT_FOUND, 1000)


async def test_an_open_server_serves_what_is_not_shared_but_not_what_is_deleted(server: Server) -> None:
    server = with_settings(server, require_shared=False)
    await server.record(interaction_id="private", shared=False)
    await server.record(interaction_id="deleted", is_deleted=True)
    async with server.connect("/ws/share/private") as viewer:
        assert await viewer.receive() == CONNECTED
    assert await refusal(server, "/ws/share/deleted") == (NOT_FOUND, 1000)


@pytest.mark.parametrize("status", ["running", "waiting"])
async def test_a_user_with_a_run_going_on_is_refused_where_the_setting_says_so(server: Server, status: str) -> None:
    strict = with_settings(server, check_running=True)
    await server.record(interaction_id="going-on", user_id="busy", status=status)
    assert await refusal(strict, "/ws/share/run", {"user_id": "busy"}) == (RUNNING, 1000)
    async with strict.connect("/ws/share/run", {"user_id": "idle"}) as viewer:
        assert await viewer.receive() == CONNECTED
    async with server.connect("/ws/share/run", {"user_id": "busy"}) as viewer:
        assert await viewer.receive() == CONNECTED


async def test_a_page_of_another_origin_is_refused_where_the_setting_says_so(server: Server) -> None:
    server = with_settings(server, allowed_origins=("https://example.org",))
    message, code = await refusal(server, "/ws/share/run", headers={"Origin": "https://evil.example"})
    assert (message, code) == ("Pages of this origin may not open a socket here.", 1000)
    for headers in ({"Origin": "https://Example.org"}, {}):
        async with server.connect(headers=headers) as viewer:
            assert await viewer.receive() == CONNECTED


async def test_more_viewers_than_there_may_be_are_sent_away_with_1013(server: Server) -> None:
    server = with_settings(server, max_viewers=2)
    async with server.connect() as first, server.connect() as second:
        assert await first.receive() == await second.receive() == CONNECTED
        async with server.connect() as third:
            assert json.loads(await third.receive())["success"] is False
            assert await third.ended() == 1013
        second.close()
        await second.ended()
        async with server.connect() as fourth:
            assert await fourth.receive() == CONNECTED


# What can't be understood

GARBAGE = ["{not json", "", "[]", "1", "null", '"shared"', "true", b"\xff\xfe", "[" * 5000, "NaN"]


@pytest.mark.parametrize("message", GARBAGE)
async def test_what_is_no_json_object_gets_an_error_frame_that_says_what_was_expected(
    server: Server, message: Any
) -> None:
    async with server.connect() as viewer:
        await viewer.send(message)
        text, connection = json.loads(viewer.frames[1])["message"], json.loads(viewer.frames[1])["connection"]
        assert re.fullmatch("[0-9a-f]{12}", connection)
        assert viewer.frames[1] == json.dumps(
            {"data": None, "status": "error", "message": text, "success": False, "connection": connection}, indent=2
        )
        assert text.startswith('expected a JSON object such as {"type": "shared"}, got ')


async def test_after_ten_messages_that_no_one_understands_the_connection_is_closed(server: Server) -> None:
    async with server.connect() as viewer:
        await viewer.send(SHARED)
        await server.clock.run_until(lambda: len(rows_of(viewer)) == 1)
        for message in GARBAGE[:9]:
            await viewer.send(message)
        await server.play_out()
        assert rows_of(viewer) == ["node-0", "node-1", "node-2"]
        assert not viewer.task.done()
        await viewer.send(GARBAGE[9])
        assert await viewer.ended() == 1008
        assert sum(json.loads(frame).get("status") == "error" for frame in viewer.frames) == 10


# Errors of ours


@pytest.mark.parametrize("rows_sent", [1, 16])
async def test_a_table_that_vanishes_in_the_middle_ends_the_replay_with_1011_and_a_traceback(
    server: Server, rows_sent: int, caplog: pytest.LogCaptureFixture
) -> None:
    await server.record(*(row(step, node_id=f"long-{step}") for step in range(40)), interaction_id="long")
    async with server.connect("/ws/share/long") as viewer:
        await viewer.send(SHARED)
        await server.clock.run_until(lambda: len(rows_of(viewer)) == rows_sent)
        await server.gateway.drain()
        await server.gateway.execute("DROP TABLE raw")
        await server.clock.run_until(viewer.task.done)
        assert viewer.code == 1011
    (error,) = errors(caplog)
    assert "Traceback" in caplog.text and NO_TABLE.search(caplog.text)
    assert error.getMessage() == "long: closed after an error"
    assert not tasks_named("heartbeat", "replay") and not server.clock.sleepers


@pytest.mark.sqlite
async def test_a_database_file_full_of_garbage_ends_the_replay_with_1011(
    server: Server, database: databases.Database, caplog: pytest.LogCaptureFixture
) -> None:
    await server.record(*(row(step, node_id=f"long-{step}") for step in range(40)), interaction_id="long")
    async with server.connect("/ws/share/long") as viewer:
        await viewer.send(SHARED)
        await server.clock.run_until(lambda: len(rows_of(viewer)) == 1)
        await server.gateway.drain()
        for suffix in ("-wal", "-shm"):
            Path(f"{database.url.database}{suffix}").unlink(missing_ok=True)
        Path(database.url.database).write_bytes(b"This is no database. " * 1000)
        await server.clock.run_until(viewer.task.done)
        assert viewer.code == 1011
    assert len(errors(caplog)) == 1 and "file is not a database" in caplog.text
    await server.gateway.drain()
    await until(lambda: not database_threads())  # aiosqlite doesn't wait for that of a connection that failed


@pytest.mark.parametrize(
    ("table", "path"),
    [("interactions", "/ws/share/run"), ("shared_interactions", "/ws/share/run"), ("users", "/ws/replay/run")],
)
async def test_an_error_before_the_viewer_is_let_in_closes_with_1011_too(
    server: Server, table: str, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    await server.gateway.execute(f"DROP TABLE {table}")
    async with server.connect(path, AUTHOR) as viewer:
        assert await viewer.ended() == 1011
        (frame,) = map(json.loads, viewer.frames)
    assert list(frame) == ["data", "status", "message", "success", "connection"] and frame["status"] == "error"
    (error,) = errors(caplog)
    assert error.connection == frame["connection"]  # type: ignore[attr-defined]
    assert NO_TABLE.search(caplog.text) and table not in frame["message"]
    assert TOKEN not in caplog.text


async def test_a_share_log_that_cannot_be_written_keeps_nobody_from_watching(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    (server.settings.base_dir / "localstorage").write_text("a file where a folder should be")
    async with server.connect() as viewer:
        await viewer.send(SHARED)
        await server.play_out()
        assert rows_of(viewer) == ["node-0", "node-1", "node-2"]
    await until(lambda: len(logged(caplog, "can't be written")) == 1)


async def test_a_row_that_cannot_be_read_becomes_an_error_frame_and_the_replay_goes_on(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    await server.gateway.execute(update(schema.raw).where(schema.raw.c.step == 1).values(data="{broken"))
    async with server.connect() as viewer:
        await viewer.send(SHARED)
        await server.play_out()
        assert rows_of(viewer) == ["node-0", "node-1", "node-2"]
        frame = json.loads(viewer.frames[2])
        assert (frame["status"], frame["success"], frame["data"]) == ("error", False, None)
        assert frame["message"].startswith("row node-1 can't be read: expected valid JSON")
    (warning,) = logged(caplog, "node-1")
    assert warning.startswith("run: row node-1 can't be read")


# Viewers who don't read


async def test_a_viewer_who_does_not_read_is_closed_with_4008_and_nobody_else_notices(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server = with_settings(server, pause_seconds=(0, 0), send_timeout_seconds=0.2)

    async def blocked(message: Message) -> None:
        if "node_id" in message.get("text", ""):
            await asyncio.get_running_loop().create_future()

    async with server.connect(on_send=blocked) as slow, server.connect() as other:
        await slow.send(SHARED)
        await until(lambda: bool(tasks_named("replay")))
        await other.send(SHARED)
        await until(lambda: rows_of(other) == ["node-0", "node-1", "node-2"])
        assert await slow.ended() == 4008
        await until(lambda: not tasks_named("replay", "heartbeat"))
        assert not other.task.done()
    assert not errors(caplog)


# Log lines


async def share_log(server: Server, interaction_id: str = "run") -> list[str]:
    """The lines of the file, when the last viewer's leaving stands in it."""
    path = server.log_path(interaction_id)
    await until(lambda: path.exists() and "disconnected" in path.read_text("utf-8"))
    return path.read_text("utf-8").splitlines()


async def watch(server: Server, query: Mapping[str, str] | None = None, **options: Any) -> None:
    async with server.connect("/ws/share/run", query, **options) as viewer:
        await viewer.send({"type": "ping"})
        await viewer.send(SHARED)
        await server.play_out()


async def test_the_share_log_says_who_came_and_that_all_was_stopped(server: Server) -> None:
    await watch(server, AUTHOR)
    connected, disconnected = await share_log(server)
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d INFO run: connected: user 'author' from 127\.0\.0\.1",
        connected,
    )
    assert disconnected.endswith("INFO run: disconnected with 1000; heartbeat stopped, replay stopped")


@pytest.mark.parametrize("create_time", [None, "", "yesterday", "../../../etc"])
async def test_the_share_log_of_a_run_without_a_usable_day_is_kept_too(server: Server, create_time: str | None) -> None:
    await server.record(interaction_id="undated", create_time=create_time)
    async with server.connect("/ws/share/undated") as viewer:
        await viewer.receive()
    await until(lambda: (server.log_path("undated").parents[2] / "undated" / "undated" / "share.log").is_file())


async def test_each_row_is_logged_at_debug(server: Server) -> None:
    server = with_settings(server, log_level="DEBUG")
    async with server.connect() as viewer:
        await viewer.send(SHARED)
        await server.play_out()
    sizes = [len(frame) for frame in viewer.frames if "node_id" in frame]
    lines = [line.partition(" DEBUG run: ")[2] for line in await share_log(server)]
    assert [line for line in lines if line] == [
        'received {"type": "shared"}',
        *(f"sent row node-{step}, a frame of {sizes[step]} bytes" for step in range(3)),
    ]


async def test_the_share_log_is_opened_only_for_who_is_let_in(server: Server) -> None:
    await refusal(
        with_settings(server, allowed_origins=()), "/ws/share/run", headers={"Origin": "https://evil.example"}
    )
    assert not server.log_path().exists()


async def test_no_token_ever_stands_in_a_log(server: Server, author: None, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    server = with_settings(server, log_level="DEBUG", check_running=True)
    await watch(server, AUTHOR)
    async with server.connect("/ws/replay/run", AUTHOR) as viewer:
        await viewer.send(REPLAY)
        await until(lambda: not tasks_named("replay"))
    await refusal(server, "/ws/replay/run", {"user_id": "author", "token": TOKEN + "x"})
    await refusal(server, "/ws/replay/unknown", AUTHOR)
    await refusal(server, "/ws/share/..", AUTHOR)
    lines = await share_log(server)
    await server.gateway.execute("DROP TABLE raw")
    async with server.connect("/ws/replay/run", AUTHOR) as viewer:
        viewer.post(REPLAY)
        assert await viewer.ended() == 1011
    assert len(caplog.records) > 20 and len(lines) > 5
    assert TOKEN not in caplog.text
    assert not any(TOKEN in line for line in lines)


HOSTILE = [
    "a\nb\r\nc",
    "\x1b[31mred\x1b[0m",
    "\x9b31m",
    "a\u2028b\u2029c",
    "\0",
    "\u202eevil",
    "x" * 10_000,
    "%s %d {0}",
]


@pytest.mark.parametrize("hostile", HOSTILE)
async def test_no_client_breaks_a_log_line(
    server: Server, author: None, hostile: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server = with_settings(server, log_level="DEBUG")
    async with server.connect("/ws/share/run", {"user_id": hostile}) as viewer:
        await viewer.send(hostile)
        await viewer.send(hostile.encode())
    await refusal(server, f"/ws/share/{hostile}", {"user_id": hostile})
    await refusal(server, f"/ws/replay/{hostile}", {"user_id": hostile, "token": hostile})
    await refusal(server, "/ws/replay/run", {"user_id": hostile, "token": hostile})
    lines = await share_log(server)
    lines += [record.getMessage() for record in caplog.records if record.name.startswith(("share", "storage"))]
    assert len(lines) >= 12
    for line in lines:
        assert line.isprintable() and len(line) < 1000


async def test_a_clients_address_breaks_no_log_line_either(server: Server) -> None:
    # It comes from a header where a proxy is trusted.
    await watch(server, client=("1.2.3.4\n\x1b[31mforged", 1))
    assert all(line.isprintable() for line in await share_log(server))


async def test_a_client_without_an_address_is_let_in(server: Server) -> None:
    await watch(server, client=None)
    assert (await share_log(server))[0].endswith("connected: user '' from an unknown address")
