from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import databases
import pytest
from sqlalchemy import insert, update
from starlette.types import Message, Receive, Scope, Send

from share import feed as feed_module
from share.access import NOT_FOUND, RUNNING
from storage import schema
from storage.gateway import Gateway
from storage.models import Interaction, Recording, Row, Visibility
from storage.recordings import RecordingCRUD
from storage.shares import ShareCRUD
from tests.asgi import CountingGateway, ModelClient, Server, Viewer, connect, row, row_frame, start, tasks_named
from tests.fake_clock import until
from tests.test_endpoint import AUTHOR, CONNECTED, TOKEN, add_user, errors, with_settings
from tests.test_stops import Stop, is_cancelled, is_replaying, leaves, makes_send_fail, vanishes

V1 = ["replay.v1"]
REVOKED_SECONDS = 2.0  # promised is one; a busy machine may take its time
NOT_LONG_SECONDS = 3.0


def timed(*seconds: float, **fields: Any) -> list[Row]:
    """Rows that were recorded so many seconds after the first."""
    return [
        row(number, f"row {number}", create_time=f"2023-11-17 10:{int(at) // 60:02}:{at % 60:09.6f}", **fields)
        for number, at in enumerate(seconds)
    ]


RECORDED = (0, 2, 5, 5, 65)


@pytest.fixture
async def gateway(database: databases.Database) -> AsyncIterator[CountingGateway]:
    gateway = CountingGateway(database)
    yield gateway
    await until(lambda: not tasks_named("poller", "frames", "revocation", "replay", "heartbeat"))
    await gateway.drain()


@pytest.fixture(params=[False, True], ids=["any-server", "our-protocol"])
async def server(gateway: CountingGateway, tmp_path: Path, request: pytest.FixtureRequest) -> Server:
    """A server with the recording `run` of five rows, from second 0 to second 65."""
    server = Server(gateway, tmp_path)
    server.direct = request.param
    await server.record(*timed(*RECORDED), status="finished")
    return server


@pytest.fixture
def always_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every newcomer makes sure that what is known still holds, not only one a second."""
    monkeypatch.setattr(feed_module, "CHECK_SECONDS", 0.0)


@asynccontextmanager
async def watch(
    server: Server, path: str = "/ws/share/run", query: Mapping[str, str] | None = None, **options: Any
) -> AsyncIterator[ModelClient]:
    """A client of replay.v1 to whom hello has come."""
    held: Sequence[Any] = options.pop("rows", ())
    async with server.connect(path, query, **{"subprotocols": V1} | options) as viewer:
        client = ModelClient(viewer, held)
        await until(lambda: client.read().hello is not None or viewer.task.done())
        yield client
        client.read()


async def finish(server: Server, client: ModelClient, sleepers: int = 2) -> None:
    """Let time pass until the end has come."""
    await server.clock.run_until(lambda: client.read().ended, sleepers=sleepers)


async def reach(server: Server, client: ModelClient, offset: int) -> None:
    """Let time pass until the client holds this many rows, and nothing is going on."""
    await server.clock.run_until(lambda: client.offset == offset)
    await until(lambda: server.clock.sleepers == 2)


async def soon(condition: Callable[[], bool]) -> bool:
    """Whether the condition comes to hold in real time, the clock standing still."""
    deadline = time.monotonic() + NOT_LONG_SECONDS
    while not condition() and time.monotonic() < deadline:
        await asyncio.sleep(0.005)
    return condition()


def pace_of(client: ModelClient) -> list[float]:
    """When the rows have come, in seconds from the first."""
    return [time - client.came[0][0] for time, _ in client.came]


def offsets_of(client: ModelClient) -> list[int]:
    return [offset for _, offset in client.came]


async def append(gateway: Gateway, *added: Row) -> None:
    for one in added:
        await RecordingCRUD(gateway).append_row(one)


# Negotiation


@pytest.mark.parametrize(
    "offered", [V1, ["graphql-ws", "replay.v1"], ["replay.v1", "mqtt"], V1 * 2, ["replay.v2", "replay.v1", "replay"]]
)
async def test_who_offers_replay_v1_speaks_it(server: Server, offered: list[str]) -> None:
    async with watch(server, subprotocols=offered) as client:
        assert client.viewer.subprotocol == "replay.v1"
        assert client.hello["interaction_id"] == "run"


@pytest.mark.parametrize("offered", [[], ["Replay.V1"], ["replay.v10"], ["replay"], ["graphql-ws"], ["", "replay.v1 "]])
async def test_who_does_not_offer_it_speaks_classic(server: Server, offered: list[str]) -> None:
    async with server.connect(subprotocols=offered) as viewer:
        assert await viewer.receive() == CONNECTED
        assert viewer.subprotocol is None
        await viewer.send({"type": "shared"})
        await server.play_out()
        assert [json.loads(frame)["node_id"] for frame in viewer.frames[1:]] == [f"node-{n}" for n in range(5)]
        assert list(json.loads(viewer.frames[1])) == [
            *("data", "status", "message", "success", "current", "node_id", "workspace_file_list")
        ]


async def test_a_server_that_tells_of_no_subprotocols_serves_classic(server: Server) -> None:
    # ASGI: "Optional; if missing defaults to empty list."
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await server.app({key: value for key, value in scope.items() if key != "subprotocols"}, receive, send)

    async with connect(app, "/ws/share/run") as viewer:
        await until(lambda: bool(viewer.frames) or viewer.task.done())
        assert viewer.frames == [CONNECTED]


# Hello


async def test_hello_says_what_the_recording_is(server: Server) -> None:
    plan = row(0, {"subtasks": [{"task_id": "1.1", "name": "first"}]}, status="start", current="1", node_id="p0")
    first = row(1, "one", create_time="2023-11-17 10:00:00", node_id="p1")
    last = row(2, "two", create_time="2023-11-17 10:00:07.5", node_id="p2", current="1.2")
    about = {"description": "数据", "agent": "agent", "mode": "auto", "status": "failed"}
    await server.record(plan, first, last, interaction_id="other", **about)
    async with watch(server, "/ws/share/other") as client:
        epoch = client.hello["epoch"]
        assert isinstance(epoch, str) and 0 < len(epoch) <= 32
        assert client.hello == about | {
            "interaction_id": "other",
            "user_name": "author",
            "epoch": epoch,
            "total": 3,
            "duration": 8.5,
            "markers": [{"offset": 2, "at": 1.0, "label": "first"}, {"offset": 3, "at": 8.5, "label": "1.2"}],
            "live": False,
        }
        assert "\n" not in client.viewer.frames[0] and ": " not in client.viewer.frames[0]


async def test_hello_of_an_empty_recording_and_what_can_be_done_with_it(server: Server) -> None:
    await server.record(interaction_id="empty")
    async with watch(server, "/ws/share/empty") as client:
        assert (client.hello["total"], client.hello["duration"], client.hello["markers"]) == (0, 0, [])
        assert (await client.ask("shared"))["total"] == 0
        await until(lambda: client.read().ended)
        assert client.ends == [{"type": "end", "offset": 0, "reason": "truncated"}]
        for command in ({"type": "play"}, {"type": "seek", "offset": 0}, {"type": "seek", "at": 0}):
            await client.ask(**{"name": command.pop("type")} | command)
            await until(lambda: client.read().ended)
        assert (await client.ask("seek", offset=1))["code"] == "bad_field"
        assert (await client.ask("seek", at=0.1))["code"] == "bad_field"
        assert (await client.ask("seek", marker=0))["code"] == "bad_field"


async def test_nothing_comes_after_hello_until_it_is_asked_for(server: Server) -> None:
    async with watch(server) as client:
        await until(lambda: client.viewer.awaited)
        assert len(client.viewer.frames) == 1


# Rows


async def test_a_row_has_classics_keys_its_place_and_its_time(server: Server) -> None:
    async with watch(server) as client:
        await client.ask("shared")
        await finish(server, client)
        assert client.rows[1] == {
            "data": "row 1",
            "status": "inner",
            "message": "success",
            "success": True,
            "current": "1.1",
            "node_id": "node-1",
            "workspace_file_list": [],
            "offset": 2,
            "at": 2.0,
            "time": "2023-11-17 10:00:02.000000",
        }
        assert all("\n" not in frame for frame in client.viewer.frames)


async def test_rows_that_are_due_together_come_in_one_frame(server: Server) -> None:
    async with watch(server) as client:
        await client.ask("shared")
        await finish(server, client)
        assert client.batches == [1, 1, 2, 1]


async def test_a_row_that_comes_alone_is_sent_at_once_where_the_server_can_do_that(server: Server) -> None:
    async with watch(server) as client:
        await client.ask("shared")
        await finish(server, client)
    if server.direct:
        # The first row is due with the command, and goes out with its answer; two of the five are due together.
        writes = [(by == "replay run", count) for by, count in client.viewer.writes if by != "heartbeat run"]
        assert writes[1:] == [(True, 2), (False, 1), (True, 1), (False, 1), (True, 1)]
    else:
        assert not client.viewer.writes
    assert pace_of(client) == list(RECORDED)


async def test_an_error_while_a_row_is_sent_at_once_ends_the_connection(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(feed: feed_module.Feed, *place: int) -> tuple[bytes, int]:
        raise ValueError("broken")

    async with watch(server) as client:
        await client.ask("shared")
        await reach(server, client, 1)
        monkeypatch.setattr(feed_module.Feed, "ready_batch", broken)
        monkeypatch.setattr(feed_module.Feed, "batch", broken)
        with pytest.raises(ValueError, match="broken"):
            server.clock.wake_next()
        assert await client.viewer.ended() == 1011


async def test_a_frame_has_at_most_64_rows(server: Server) -> None:
    await server.record(*(row(n, n, node_id=f"many-{n}") for n in range(200)), interaction_id="many")
    async with watch(server, "/ws/share/many") as client:
        await client.ask("shared", pace="instant")
        await until(lambda: client.read().ended)
        assert client.batches == [64, 64, 64, 8]
        assert [row["data"] for row in client.rows] == list(range(200))


@pytest.mark.parametrize("filling", ["x", "数"])
async def test_a_frame_of_several_rows_has_at_most_256_kib(server: Server, filling: str) -> None:
    sizes = [10_000] * 30 + [100_000] * 6 + [400_000, 10, 300_000, 300_000, 10, 131_072 - 200, 131_072 - 200, 10]
    data = [json.dumps(filling * (size // len(filling.encode())), ensure_ascii=False) for size in sizes]
    await server.record(*(row(n, data=text, node_id=f"m-{n}") for n, text in enumerate(data)), interaction_id="many")
    async with watch(server, "/ws/share/many") as client:
        await client.ask("shared", pace="instant")
        await until(lambda: client.read().ended)
        several = [frame for frame in client.viewer.frames if frame.startswith('{"type":"rows"')]
        assert max(len(frame.encode()) for frame in several) <= 256 * 1024
        assert len(client.batches) < len(sizes) / 2
        assert [json.dumps(row["data"], ensure_ascii=False) for row in client.rows] == data


async def test_rows_that_fill_a_frame_to_the_last_byte_are_no_more_than_256_kib(server: Server) -> None:
    stored = [row(n, data='""', node_id=f"f{n}") for n in range(2)]
    room = 128 * 1024 - len(row_frame("full", stored[0], 1, 0.0))
    full = [replace(one, data='"' + "x" * (room - 2 * n) + '"') for n, one in enumerate(stored)]
    await server.record(*full, interaction_id="full")
    async with watch(server, "/ws/share/full") as client:
        await client.ask("shared", pace="instant")
        await until(lambda: client.read().ended)
        assert max(len(frame) for frame in client.viewer.frames) <= 256 * 1024


async def test_a_row_that_cannot_be_read_is_an_error_in_its_place_and_the_replay_goes_on(server: Server) -> None:
    bad = [row(0, 0, node_id="a"), row(1, data="{NaN", node_id="b"), row(2, 2, node_id="c")]
    await server.record(*bad, interaction_id="bad")
    async with watch(server, "/ws/share/bad") as client:
        await client.ask("shared")
        await finish(server, client)
        assert [row["success"] for row in client.rows] == [True, False, True]
        assert [row["status"] for row in client.rows] == ["inner", "error", "inner"]


async def test_large_data_is_only_pointed_to(server: Server) -> None:
    await server.record(row(0, "x" * 2**20, node_id="large"), interaction_id="large")
    async with watch(server, "/ws/share/large") as client:
        await client.ask("shared")
        await finish(server, client)
        assert client.rows[0]["data"] is None
        assert client.rows[0]["data_url"] == "api/v1/recordings/large/rows/1/data"


# Pace


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, [0, 2, 5, 5, 65]),
        ({"pace": "recorded", "speed": 1}, [0, 2, 5, 5, 65]),
        ({"speed": 2}, [0, 1, 2.5, 2.5, 32.5]),
        ({"speed": 0.5}, [0, 4, 10, 10, 130]),
        ({"idle_time_limit": 2.5}, [0, 2, 4.5, 4.5, 7]),
        ({"idle_time_limit": 2.5, "speed": 2}, [0, 1, 2.5, 2.5, 5]),
        ({"idle_time_limit": 0}, [0, 0, 0, 0, 0]),
        ({"pace": 3}, [0, 3, 6, 9, 12]),
        ({"pace": 0.5, "speed": 2}, [0, 0.25, 0.5, 0.75, 1]),
        ({"pace": 0}, [0, 0, 0, 0, 0]),
        ({"pace": "instant"}, [0, 0, 0, 0, 0]),
        ({"pace": "instant", "speed": 0.1}, [0, 0, 0, 0, 0]),
    ],
)
async def test_rows_come_at_the_pace_that_was_asked_for(
    server: Server, fields: dict[str, Any], expected: list[float]
) -> None:
    async with watch(server) as client:
        begin = server.clock.now()
        await client.ask("shared", **fields)
        await finish(server, client)
        assert client.came[0][0] == begin
        assert pace_of(client) == pytest.approx(expected)
        assert offsets_of(client) == [1, 2, 3, 4, 5]


async def test_classic_pace_is_one_to_three_seconds_divided_by_the_speed(server: Server) -> None:
    await server.record(*(row(n, node_id=f"c{n}") for n in range(40)), interaction_id="classic")
    async with watch(server, "/ws/share/classic") as client:
        await client.ask("shared", pace="classic", speed=4)
        await finish(server, client)
        came = pace_of(client)
        assert {after - before for before, after in pairwise(came)} == {0.25, 0.5, 0.75}


async def test_rows_without_a_usable_time_are_a_second_apart(server: Server) -> None:
    times = [None, "", "soon", "2023-11-17 10:00:00", "2023-11-17 10:00:05"]
    await server.record(
        *(row(n, node_id=f"u{n}", create_time=at) for n, at in enumerate(times)), interaction_id="untimed"
    )
    async with watch(server, "/ws/share/untimed") as client:
        await client.ask("shared")
        await finish(server, client)
        assert pace_of(client) == [0, 1, 2, 3, 8]


async def test_rows_do_not_drift_when_sending_takes_its_time(server: Server) -> None:
    await server.record(*(row(n, node_id=f"d{n}") for n in range(20)), interaction_id="slow")

    async def slow(message: Message) -> None:
        if "node_id" in message.get("text", ""):
            await server.clock.sleep_until(server.clock.now() + 0.25)

    async with watch(server, "/ws/share/slow", on_send=slow) as client:
        await client.ask("shared")
        await finish(server, client)
        assert pace_of(client) == list(range(20))


async def test_a_limit_or_a_speed_that_changes_nothing_makes_no_drift_when_sending_takes_its_time(
    server: Server,
) -> None:
    async def slow(message: Message) -> None:
        if '"offset":2,' in message.get("text", "") and "node_id" in message["text"]:
            await server.clock.sleep_until(server.clock.now() + 10)

    async with watch(server, on_send=slow) as client:
        begin = server.clock.now()
        await client.ask("shared")
        await server.clock.run_until(lambda: server.clock.now() == begin + 2)
        client.post({"type": "set_speed", "speed": 1})
        await finish(server, client)
        assert client.came[-1] == (begin + 65, 5)


# State and controls


async def test_a_command_is_carried_out_that_comes_while_the_answer_to_another_waits_for_the_socket(
    server: Server,
) -> None:
    gate = asyncio.Event()
    gate.set()
    waiting = asyncio.Event()

    async def through_the_gate(message: Message) -> None:
        if not gate.is_set():
            waiting.set()
        await gate.wait()

    async with watch(server, on_send=through_the_gate) as client:
        await client.ask("shared", autoplay=False)
        gate.clear()
        client.post({"type": "set_speed", "speed": 2})
        await waiting.wait()
        client.post({"type": "play"})
        await until(lambda: client.viewer.awaited)  # it has been read
        gate.set()
        await until(lambda: client.read().states[-1]["playing"])
        await finish(server, client)


async def test_the_state_does_not_wait_for_a_row_that_has_yet_to_be_read(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = asyncio.Event()
    batch = feed_module.Feed.batch

    async def slow(feed: feed_module.Feed, *place: int) -> tuple[bytes, int]:
        await read.wait()
        return await batch(feed, *place)

    monkeypatch.setattr(feed_module.Feed, "ready_batch", lambda feed, *place: None)
    monkeypatch.setattr(feed_module.Feed, "batch", slow)
    async with watch(server) as client:
        await client.ask("shared")
        assert client.rows == []
        read.set()
        await finish(server, client)


async def test_every_command_is_answered_with_the_state(server: Server) -> None:
    async with watch(server) as client:
        state = await client.ask("shared", autoplay=False)
        expected = {"type": "state", "playing": False, "speed": 1, "offset": 0, "at": 0.0, "total": 5, "duration": 65.0}
        expected |= {"live": False, "recovered": False}
        assert state == expected
        assert await client.ask("set_speed", speed=2.5) == expected | {"speed": 2.5}
        assert await client.ask("set_idle_time_limit", seconds=4) == expected | {"speed": 2.5}
        assert await client.ask("seek", offset=2) == expected | {"speed": 2.5, "offset": 2, "at": 2.0}
        assert await client.ask("seek", at=4) == expected | {"speed": 2.5, "offset": 2, "at": 4.0}
        assert await client.ask("seek", marker=0) == expected | {"speed": 2.5, "offset": 1, "at": 0.0}
        assert await client.ask("play") == expected | {"speed": 2.5, "offset": 1, "at": 0.0, "playing": True}
        assert await client.ask("pause") == expected | {"speed": 2.5, "offset": 1, "at": 0.0}


async def test_a_paused_replay_stands_still_and_goes_on_where_it_stopped(server: Server) -> None:
    async with watch(server) as client:
        begin = server.clock.now()
        await client.ask("shared")
        await reach(server, client, 2)
        server.clock.move(1)
        assert (await client.ask("pause"))["at"] == 3.0
        await until(lambda: server.clock.sleepers == 1)
        server.clock.move(15)
        assert (await client.ask("pause"))["at"] == 3.0
        assert (await client.ask("play"))["at"] == 3.0
        await finish(server, client)
        assert [time - begin for time, _ in client.came] == [0, 2, 20, 20, 80]


async def test_a_speed_counts_from_where_the_replay_is(server: Server) -> None:
    async with watch(server) as client:
        await client.ask("shared")
        await reach(server, client, 4)
        server.clock.move(10)
        assert (await client.ask("set_speed", speed=10))["at"] == 15.0
        await finish(server, client)
        assert pace_of(client) == [0, 2, 5, 5, 20]


async def test_an_idle_time_limit_counts_from_where_the_replay_is(server: Server) -> None:
    async with watch(server) as client:
        await client.ask("shared")
        await reach(server, client, 4)
        server.clock.move(12)  # a fifth of the pause
        assert (await client.ask("set_idle_time_limit", seconds=4))["at"] == 17.0
        await finish(server, client)
        assert pace_of(client) == pytest.approx([0, 2, 5, 5, 20.2])


async def test_a_seek_forwards_brings_the_rows_that_it_skips_at_once(server: Server) -> None:
    async with watch(server) as client:
        begin = server.clock.now()
        await client.ask("shared")
        await reach(server, client, 1)
        assert (await client.ask("seek", offset=4))["at"] == 5.0
        await until(lambda: client.offset == 4)
        assert server.clock.now() == begin
        await finish(server, client)
        assert client.came[-1] == (begin + 60, 5)


async def test_a_seek_forwards_while_paused_brings_the_rows_and_stays_paused(server: Server) -> None:
    async with watch(server) as client:
        await client.ask("shared", autoplay=False)
        state = await client.ask("seek", offset=5)
        assert state["playing"] is False
        await until(lambda: client.offset == 5)
        await asyncio.sleep(0.01)
        assert not client.read().ended
        await client.ask("play")
        await until(lambda: client.read().ended)


async def test_a_seek_backwards_sends_the_rows_again_when_their_time_comes(server: Server) -> None:
    async with watch(server) as client:
        begin = server.clock.now()
        await client.ask("shared")
        await reach(server, client, 4)
        assert (await client.ask("seek", offset=1))["offset"] == 1
        assert client.offset == 1
        await finish(server, client)
        assert offsets_of(client) == [1, 2, 3, 4, 2, 3, 4, 5]
        assert [time - begin for time, _ in client.came] == [0, 2, 5, 5, 7, 10, 10, 70]


async def test_a_seek_to_a_time_is_between_the_rows(server: Server) -> None:
    async with watch(server) as client:
        begin = server.clock.now()
        await client.ask("shared")
        state = await client.ask("seek", at=35)
        assert (state["offset"], state["at"]) == (4, 35.0)
        await finish(server, client)
        assert client.came[-1] == (begin + 30, 5)


async def test_a_seek_to_a_marker_is_where_its_subtask_begins(server: Server) -> None:
    stored = [row(n, node_id=f"m{n}", current=current) for n, current in enumerate(["", "1.1", "1.1", "1.2", "1.2"])]
    await server.record(*stored, interaction_id="marked")
    async with watch(server, "/ws/share/marked") as client:
        await client.ask("shared", autoplay=False)
        for marker, offset in enumerate((2, 4)):
            assert client.hello["markers"][marker]["offset"] == offset
            assert (await client.ask("seek", marker=marker))["offset"] == offset
        error = await client.ask("seek", marker=2)
        assert error["message"] == "seek: marker must be between 0 and 1, got 2"


async def test_a_long_seek_can_be_taken_back_before_its_rows_have_come(server: Server) -> None:
    await server.record(*(row(n, node_id=f"l{n}") for n in range(300)), interaction_id="long")
    async with watch(server, "/ws/share/long") as client:
        await client.ask("shared", autoplay=False)
        client.post({"type": "seek", "offset": 300})
        client.post({"type": "seek", "offset": 10})
        client.post({"type": "seek", "offset": 250})
        client.post({"type": "seek", "offset": 20})
        await until(lambda: len(client.read().states) == 5)
        await until(lambda: client.offset == 20)
        await client.ask("play")
        await finish(server, client)
        assert len(client.rows) == 300


async def test_commands_that_come_all_at_once_are_answered_in_their_order(server: Server) -> None:
    async with watch(server) as client:
        client.post({"type": "shared"})
        for speed in range(1, 50):
            client.post({"type": "set_speed", "speed": speed})
        client.post({"type": "pause"})
        await until(lambda: len(client.read().states) == 51)
        assert [state["speed"] for state in client.states] == [1, *range(1, 50), 49]


async def test_shared_again_starts_again(server: Server) -> None:
    async with watch(server) as client:
        await client.ask("shared")
        await reach(server, client, 2)
        state = await client.ask("shared", speed=5)
        assert (state["offset"], state["speed"]) == (0, 5)
        await finish(server, client)
        assert len(client.ends) == 1
        await client.ask("shared")
        await finish(server, client)
        assert len(client.ends) == 2


# The beginning


async def test_start_at_begins_in_the_middle_of_a_pause(server: Server) -> None:
    async with watch(server) as client:
        begin = server.clock.now()
        state = await client.ask("shared", start_at=35)
        assert (state["offset"], state["at"], state["recovered"]) == (4, 35.0, False)
        await finish(server, client)
        assert [time - begin for time, _ in client.came] == [0, 0, 0, 0, 30]


async def test_without_autoplay_the_replay_waits_for_play(server: Server) -> None:
    async with watch(server) as client:
        await client.ask("shared", autoplay=False)
        await until(lambda: server.clock.sleepers == 1)
        server.clock.move(19)
        assert client.offset == 0
        await client.ask("play")
        await finish(server, client)
        assert pace_of(client) == [0, 2, 5, 5, 65]


# The end


@pytest.mark.parametrize(
    ("status", "last", "reason"),
    [
        ("finished", "inner", "finished"),
        ("failed", "inner", "failed"),
        ("finished", "failed", "failed"),
        ("running", "failed", "failed"),
        ("closed", "inner", "truncated"),
        (None, "inner", "truncated"),
    ],
)
async def test_the_end_says_why(server: Server, status: str | None, last: str, reason: str) -> None:
    stored = [row(0, node_id="e0"), row(1, node_id="e1", status=last)]
    await server.record(*stored, interaction_id="ended", status=status)
    async with watch(server, "/ws/share/ended") as client:
        await client.ask("shared")
        await finish(server, client)
        assert client.ends == [{"type": "end", "offset": 2, "reason": reason}]


async def test_after_the_end_a_seek_goes_back_and_plays_on(server: Server) -> None:
    async with watch(server) as client:
        await client.ask("shared")
        await finish(server, client)
        state = await client.ask("seek", offset=3)
        assert (state["playing"], state["offset"]) == (True, 3)
        await finish(server, client)
        assert offsets_of(client) == [1, 2, 3, 4, 5, 4, 5]
        assert len(client.ends) == 2


async def test_after_the_end_play_brings_the_end_again_and_no_row_twice(server: Server) -> None:
    async with watch(server) as client:
        await client.ask("shared")
        await finish(server, client)
        state = await client.ask("play")
        assert (state["playing"], state["offset"], state["at"]) == (True, 5, 65.0)
        await finish(server, client)
        assert offsets_of(client) == [1, 2, 3, 4, 5]
        assert len(client.ends) == 2


async def test_after_the_end_other_commands_bring_no_second_end(server: Server) -> None:
    async with watch(server) as client:
        await client.ask("shared", speed=2)
        await finish(server, client)
        await client.ask("set_speed", speed=1)
        await client.ask("set_idle_time_limit", seconds=1)
        await client.ask("pause")
        await asyncio.sleep(0.01)
        assert len(client.read().ends) == 1
        assert (await client.ask("play"))["offset"] == 5


# The heartbeat


async def test_pongs_come_every_20_seconds_from_hello_to_the_close(server: Server) -> None:
    async with watch(server) as client:
        begin = server.clock.now()
        await server.clock.run_until(lambda: len(client.read().pongs) == 2, sleepers=1)
        await client.ask("shared")
        await finish(server, client)
        await server.clock.run_until(lambda: len(client.read().pongs) == 8, sleepers=1)
        assert client.pongs == [begin + 20 * n for n in range(1, 9)]


async def test_a_ping_is_answered_at_once(server: Server) -> None:
    async with watch(server) as client:
        begin = server.clock.now()
        for _ in range(3):
            await client.viewer.send({"type": "ping"})
        assert client.read().pongs == [begin] * 3
        await server.clock.run_until(lambda: len(client.read().pongs) == 4, sleepers=1)
        assert client.pongs[3] == begin + 20


# Errors


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ({"type": "seek", "offset": 6}, "seek: offset must be between 0 and 5, got 6"),
        ({"type": "seek", "offset": 12_345_678}, "seek: offset must be between 0 and 5, got 12345678"),
        ({"type": "seek", "at": 65.5}, "seek: at must be between 0 and 65, got 65.5"),
        ({"type": "seek", "at": 65.000001}, "seek: at must be between 0 and 65, got 65.000001"),
        ({"type": "seek", "marker": 1}, "seek: marker must be between 0 and 0, got 1"),
        ({"type": "seek"}, "seek: expected one of offset, at and marker, got 0 of them"),
        ({"type": "seek", "offset": "1"}, 'seek: offset must be a whole number from 0, got "1"'),
        ({"type": "set_speed", "speed": 0}, "set_speed: speed must be a number from 0.1 to 100, got 0"),
        ({"type": "pause", "now": True}, 'pause: "now" is no field of it; expected no field'),
        ({"type": "ping", "id": 1}, 'ping: "id" is no field of it; expected no field'),
        ({"type": "shared", "offset": 6}, "shared: offset must be between 0 and 5, got 6"),
        ({"type": "shared", "start_at": 66}, "shared: start_at must be between 0 and 65, got 66"),
        ({"type": "shared", "speed": "2"}, 'shared: speed must be a number from 0.1 to 100, got "2"'),
    ],
)
async def test_a_field_that_cannot_be_is_told_and_the_replay_goes_on(
    server: Server, command: dict[str, Any], message: str
) -> None:
    async with watch(server) as client:
        begin = server.clock.now()
        await client.ask("shared")
        await reach(server, client, 2)
        client.post(command)
        await until(lambda: bool(client.read().errors))
        error = {"type": "error", "code": "bad_field", "message": message, "temporary": False}
        assert client.errors == [error | {"connection": client.connection}]
        await finish(server, client)
        assert [time - begin for time, _ in client.came] == list(RECORDED)


@pytest.mark.parametrize(
    "message",
    [
        *("", "{", "nope", "[]", "1", "null", '"shared"', b"\xff", b"", "{}", '{"type":"nope"}', '{"type":["seek"]}'),
        *('{"type":"replay"}', '{"type":"shared","offset":NaN}', '{"type":"seek","at":1e400}', '{"type":"\\ud800"}'),
    ],
)
async def test_what_cannot_be_understood_is_told_and_the_replay_goes_on(server: Server, message: str | bytes) -> None:
    async with watch(server) as client:
        await client.ask("shared")
        await client.viewer.send(message)
        (error,) = client.read().errors
        assert (error["code"], error["temporary"]) == ("bad_message", False)
        assert "expected" in error["message"]
        await finish(server, client)


@pytest.mark.parametrize(
    "command",
    [
        {"type": "pause"},
        {"type": "play"},
        {"type": "seek", "offset": 0},
        {"type": "seek", "marker": 99},
        {"type": "set_speed", "speed": 2},
        {"type": "set_idle_time_limit", "seconds": None},
    ],
)
async def test_commands_before_the_start_are_told_so(server: Server, command: dict[str, Any]) -> None:
    async with watch(server) as client:
        client.post(command)
        await until(lambda: bool(client.read().errors))
        assert client.errors[0]["code"] == "not_started"
        assert client.errors[0]["message"].startswith(command["type"])
        await client.ask("shared")
        await finish(server, client)


async def test_too_many_messages_that_cannot_be_understood_end_the_connection(server: Server) -> None:
    async with watch(server) as client:
        await client.ask("shared")
        for _ in range(10):
            client.viewer.post("{")
        assert await client.viewer.ended() == 1008
        assert len(client.read().errors) == 10


async def test_fields_that_cannot_be_end_no_connection(server: Server) -> None:
    async with watch(server) as client:
        await client.ask("shared")
        for _ in range(30):
            await client.ask("seek", offset=-1)
        assert len(client.errors) == 30
        await finish(server, client)


async def test_who_sends_commands_and_reads_no_answers_is_sent_away(server: Server) -> None:
    async def blocked(message: Message) -> None:
        if '"state"' in message.get("text", ""):
            await asyncio.Event().wait()

    async with watch(server, on_send=blocked) as client:
        for _ in range(1100):
            client.post({"type": "shared"})
        assert await client.viewer.ended() == 1008


async def test_who_does_not_read_is_sent_away_with_4008(server: Server) -> None:
    async def blocked(message: Message) -> None:
        if "node_id" in message.get("text", ""):
            await asyncio.Event().wait()

    server = with_settings(server, send_timeout_seconds=0.1)
    async with watch(server, on_send=blocked) as client:
        client.post({"type": "shared"})
        assert await client.viewer.ended() == 4008


async def test_disconnect_ends_the_connection(server: Server) -> None:
    async with watch(server) as client:
        await client.ask("shared")
        await client.viewer.send({"type": "disconnect"})
        assert await client.viewer.ended() == 1000


async def test_an_error_of_ours_is_logged_and_ends_the_connection_with_1011(
    server: Server, gateway: CountingGateway, caplog: pytest.LogCaptureFixture
) -> None:
    many = [row(number, node_id=f"long-{number}") for number in range(100)]
    await server.record(*many, interaction_id="long", status="finished")
    async with watch(server, "/ws/share/long") as client:
        gateway.down = True
        client.post({"type": "shared", "pace": "instant"})
        assert await client.viewer.ended() == 1011
        gateway.down = False
        (frame,) = client.read().errors
    assert (frame["code"], frame["temporary"]) == ("internal", True)
    (error,) = errors(caplog)
    assert error.getMessage() == "long: closed after an error"
    assert error.exc_info
    assert error.connection == frame["connection"]  # type: ignore[attr-defined]


async def test_no_two_connections_have_the_same_id(server: Server) -> None:
    ids = set()
    for _ in range(20):
        async with watch(server) as client:
            ids.add((await client.ask("play"))["connection"])
    assert len(ids) == 20


# Refusals


async def refusal(server: Server, path: str, query: Mapping[str, str] | None = None, **options: Any) -> tuple[Any, int]:
    """The one frame for a viewer who is not let in, and the code."""
    async with server.connect(path, query, subprotocols=V1, **options) as viewer:
        code = await viewer.ended()
    assert viewer.accepted and viewer.subprotocol == "replay.v1" and code is not None
    (frame,) = map(json.loads, viewer.frames)
    assert list(frame) == ["type", "code", "message", "temporary", "connection"] and frame["type"] == "error"
    assert re.fullmatch("[0-9a-f]{12}", frame.pop("connection"))
    return frame, code


async def test_what_may_not_be_seen_is_refused_with_the_same_words(server: Server) -> None:
    await server.record(interaction_id="private", shared=False)
    await server.record(interaction_id="deleted", is_deleted=True)
    expected = {"type": "error", "code": "no_such_recording", "message": NOT_FOUND, "temporary": False}
    for name in ("unknown", "private", "deleted"):
        assert await refusal(server, f"/ws/share/{name}") == (expected, 4504)
    for name in ("..", "数据", "x" * 129, "a b"):
        assert await refusal(server, f"/ws/share/{name}") == (expected | {"code": "bad_request"}, 4505)


async def test_the_owners_view_refuses_who_is_not_the_owner(server: Server) -> None:
    await add_user(server.gateway, "author", token=TOKEN)
    await server.record(interaction_id="another", user_id="somebody else")
    for query in ({}, {"user_id": "author"}, {"user_id": "author", "token": "wrong"}, {"user_id": "x", "token": TOKEN}):
        frame, code = await refusal(server, "/ws/replay/run", query)
        assert (frame["code"], frame["temporary"], code) == ("not_allowed", False, 4503)
    frame, code = await refusal(server, "/ws/replay/another", AUTHOR)
    assert (frame["code"], frame["message"], code) == ("no_such_recording", NOT_FOUND, 4504)


async def test_a_page_of_another_origin_is_refused(server: Server) -> None:
    server = with_settings(server, allowed_origins=("https://example.org",))
    frame, code = await refusal(server, "/ws/share/run", headers={"Origin": "https://evil.example"})
    assert (frame["code"], code) == ("not_allowed", 4503)


async def test_who_may_try_again_later_is_told_so(server: Server) -> None:
    crowded = with_settings(server, max_viewers=1)
    async with watch(crowded):
        frame, code = await refusal(crowded, "/ws/share/run")
        assert (frame["code"], frame["temporary"], code) == ("try_again", True, 1013)
    strict = with_settings(server, check_running=True)
    await server.record(interaction_id="going-on", user_id="busy", status="running")
    frame, code = await refusal(strict, "/ws/share/run", {"user_id": "busy"})
    assert (frame["message"], frame["temporary"], code) == (RUNNING, True, 1013)


# The owner's view


async def test_the_owners_view_starts_with_replay_and_makes_no_pauses(server: Server) -> None:
    await add_user(server.gateway, "author", token=TOKEN)
    await server.record(row(0, node_id="p0"), row(1, node_id="p1"), interaction_id="private", shared=False)
    async with watch(server, "/ws/replay/private", AUTHOR) as client:
        begin = server.clock.now()
        await client.viewer.send({"type": "shared"})
        assert client.read().errors[0]["code"] == "bad_message"
        await client.ask("replay")
        await until(lambda: client.read().ended)
        assert pace_of(client) == [0, 0] and server.clock.now() == begin
        await client.ask("replay", pace="recorded")
        await finish(server, client)
        assert server.clock.now() == begin + 1


# Resume


async def test_who_comes_back_at_any_moment_gets_only_what_he_missed(server: Server) -> None:
    for held in range(6):
        async with watch(server) as client:
            await client.ask("shared")
            await server.clock.run_until(lambda held=held, client=client: client.offset >= held)
            epoch, kept = client.hello["epoch"], client.rows
        async with watch(server, rows=kept) as back:
            assert back.hello["epoch"] == epoch
            state = await back.ask("shared", offset=len(kept), epoch=epoch)
            assert (state["recovered"], state["offset"]) == (True, len(kept))
            await finish(server, back)
            assert offsets_of(back) == list(range(len(kept) + 1, 6))
            assert [row["offset"] for row in back.rows] == [1, 2, 3, 4, 5]


async def test_who_comes_back_to_another_process_gets_only_what_he_missed(
    server: Server, database: databases.Database
) -> None:
    async with databases.Database(database.url) as other:
        elsewhere = Server(Gateway(other), server.settings.base_dir)
        async with watch(server) as client:
            await client.ask("shared")
            await reach(server, client, 2)
        async with watch(elsewhere, rows=client.rows) as back:
            await back.ask("shared", offset=2, epoch=client.hello["epoch"])
            await finish(elsewhere, back)
            assert offsets_of(back) == [3, 4, 5]
        await elsewhere.gateway.drain()


async def test_the_pause_begins_again_for_who_comes_back(server: Server) -> None:
    async with watch(server) as client:
        begin = server.clock.now()
        await client.ask("shared", offset=4, epoch=client.hello["epoch"], speed=2)
        client.rows[:] = [{"at": 0}] * 4
        await finish(server, client)
        assert client.came == [(begin + 30, 5)]


@pytest.mark.parametrize("epoch", ["stale", "", None])
async def test_with_an_epoch_that_does_not_hold_everything_comes(server: Server, epoch: str | None) -> None:
    async with watch(server, rows=[{"at": 0}] * 3) as client:
        state = await client.ask("shared", offset=3, epoch=epoch)
        assert (state["recovered"], state["offset"]) == (False, 0)
        await finish(server, client)
        assert offsets_of(client) == [1, 2, 3, 4, 5]


async def test_with_an_epoch_that_does_not_hold_no_offset_is_too_large(server: Server) -> None:
    async with watch(server) as client:
        assert (await client.ask("shared", offset=99, epoch="stale"))["recovered"] is False
        await finish(server, client)


async def test_who_comes_back_behind_the_last_row_gets_the_end(server: Server) -> None:
    async with watch(server, rows=[{"at": 0}] * 5) as client:
        assert (await client.ask("shared", offset=5, epoch=client.hello["epoch"]))["recovered"] is True
        await until(lambda: client.read().ended)
        assert client.came == []


async def test_who_comes_back_with_a_row_that_this_process_does_not_know_yet_gets_what_follows(
    server: Server, gateway: CountingGateway, always_check: None
) -> None:
    live = await server.record(row(0, node_id="g0"), interaction_id="going", status="running")
    async with watch(server, "/ws/share/going", rows=[{"at": 0}] * 3) as client:
        await append(gateway, *(row(n, node_id=f"g{n}", interaction_id=live.interaction_id) for n in (1, 2, 3)))
        state = await client.ask("shared", offset=3, epoch=client.hello["epoch"])
        assert (state["recovered"], state["offset"]) == (True, 4)
        await until(lambda: client.offset == 4)
        assert offsets_of(client) == [4]


# Epochs


async def epoch_of(server: Server, path: str = "/ws/share/run") -> str:
    async with watch(server, path) as client:
        epoch: str = client.hello["epoch"]
        return epoch


async def test_an_epoch_holds_while_rows_are_added_and_in_every_process(
    server: Server, database: databases.Database, always_check: None
) -> None:
    await server.record(row(0, node_id="g0"), interaction_id="going", status="running")
    epoch = await epoch_of(server, "/ws/share/going")
    assert epoch != await epoch_of(server)
    async with databases.Database(database.url) as other, watch(server, "/ws/share/going"):
        elsewhere = Server(Gateway(other), server.settings.base_dir)
        for n in (1, 2):
            await append(elsewhere.gateway, row(n, node_id=f"g{n}", interaction_id="going"))
            assert epoch == await epoch_of(server, "/ws/share/going") == await epoch_of(elsewhere, "/ws/share/going")
        await until(lambda: not tasks_named("revocation") or not elsewhere.gateway._running)
        await elsewhere.gateway.drain()


@pytest.mark.parametrize("somebody_watches", [False, True])
async def test_an_epoch_changes_with_a_row_that_is_deleted(
    server: Server, gateway: CountingGateway, always_check: None, somebody_watches: bool
) -> None:
    async def check() -> None:
        epoch = await epoch_of(server)
        await gateway.execute(update(schema.raw).where(schema.raw.c.step == 1).values(is_deleted=True))
        assert await epoch_of(server) != epoch
        async with watch(server, rows=[{"at": 0}] * 3) as client:
            assert (await client.ask("shared", offset=3, epoch=epoch))["recovered"] is False
            await finish(server, client, sleepers=3 if somebody_watches else 2)
            assert [row["node_id"] for row in client.rows] == ["node-0", "node-2", "node-3", "node-4"]

    if somebody_watches:
        async with watch(server):
            await check()
    else:
        await check()


@pytest.mark.parametrize("somebody_watches", [False, True])
async def test_an_epoch_changes_with_a_recording_that_is_deleted_and_imported_again(
    server: Server, gateway: CountingGateway, always_check: None, somebody_watches: bool
) -> None:
    async def check() -> None:
        epoch = await epoch_of(server)
        run = Interaction("run", "author", create_time="2023-11-17", status="finished")
        await RecordingCRUD(gateway).delete_recording("run")
        await RecordingCRUD(gateway).add_recording(Recording(run, timed(*RECORDED)), visibility=Visibility.UNLISTED)
        async with watch(server, rows=[{"at": 0}] * 3) as client:
            assert client.hello["epoch"] != epoch
            assert (await client.ask("shared", offset=3, epoch=epoch))["recovered"] is False
            await finish(server, client, sleepers=3 if somebody_watches else 2)
            assert [row["node_id"] for row in client.rows] == [f"node-{n}" for n in range(5)]

    if somebody_watches:
        async with watch(server):
            await check()
    else:
        await check()


# Following


@pytest.fixture
async def going(server: Server) -> Server:
    """A server with the recording `going`, of a run that is going on and has two rows."""
    await server.record(row(0, node_id="g0"), row(1, node_id="g1"), interaction_id="going", status="running")
    return server


def going_row(number: int, **fields: Any) -> Row:
    return row(number, node_id=f"g{number}", interaction_id="going", **fields)


async def set_status(gateway: Gateway, status: str) -> None:
    going = schema.interactions.c.interaction_id == "going"
    await gateway.execute(update(schema.interactions).where(going).values(status=status))


@pytest.mark.parametrize("reason", ["finished", "failed"])
async def test_rows_of_a_run_that_is_going_on_come_as_they_are_recorded_and_then_the_end(
    going: Server, database: databases.Database, reason: str
) -> None:
    async with databases.Database(database.url) as other, watch(going, "/ws/share/going") as client:
        assert client.hello["live"] is True
        state = await client.ask("shared")
        assert (state["live"], state["offset"], state["total"]) == (True, 2, 2)
        await until(lambda: client.offset == 2)
        delays = []
        for step in range(2, 9):
            before = time.perf_counter()
            await append(Gateway(other), going_row(step))
            await until(lambda step=step: client.offset == step + 1)
            delays.append(time.perf_counter() - before)
        assert sorted(delays)[len(delays) // 2] < 2  # 0.25 on a machine that has nothing else to do
        assert not client.ended
        await set_status(Gateway(other), reason)
        await until(lambda: client.read().ended)
        assert client.ends == [{"type": "end", "offset": 9, "reason": reason}]
        assert (await client.ask("play"))["live"] is False
        await until(lambda: not tasks_named("poller"))


async def test_who_does_not_follow_gets_what_there_is_and_the_end(going: Server, gateway: CountingGateway) -> None:
    async with watch(going, "/ws/share/going") as client:
        await client.ask("shared", follow=False)
        assert not tasks_named("poller")
        await append(gateway, going_row(2))
        await finish(going, client)
        assert client.ends == [{"type": "end", "offset": 2, "reason": "truncated"}]
        assert pace_of(client) == [0, 1]


async def test_who_no_longer_follows_is_polled_for_no_more(going: Server) -> None:
    async with watch(going, "/ws/share/going") as client:
        await client.ask("shared")
        assert tasks_named("poller")
        await client.ask("shared", follow=False)
        await until(lambda: not tasks_named("poller"))


async def test_who_follows_and_is_paused_gets_the_rows_when_he_plays(going: Server, gateway: CountingGateway) -> None:
    async with watch(going, "/ws/share/going") as client, watch(going, "/ws/share/going") as other:
        await client.ask("shared")
        await until(lambda: client.offset == 2)
        await client.ask("pause")
        await other.ask("shared")
        await append(gateway, going_row(2), going_row(3))
        await until(lambda: other.offset == 4)
        assert client.offset == 2
        await client.ask("play")
        await going.clock.run_until(lambda: client.offset == 4, sleepers=3)
        await append(gateway, going_row(4))
        await until(lambda: client.offset == 5)


async def test_who_goes_back_in_a_run_that_is_going_on_comes_to_its_edge_again(
    going: Server, gateway: CountingGateway
) -> None:
    async with watch(going, "/ws/share/going") as client:
        await client.ask("shared")
        await until(lambda: client.offset == 2)
        await client.ask("seek", offset=0)
        await append(gateway, going_row(2))
        await going.clock.run_until(lambda: client.offset == 3)
        await append(gateway, going_row(3))
        await until(lambda: client.offset == 4)
        assert not client.ended
        await set_status(gateway, "finished")
        await until(lambda: client.read().ended)


async def test_start_at_or_no_autoplay_begins_a_run_that_is_going_on_from_there(going: Server) -> None:
    async with watch(going, "/ws/share/going") as client:
        assert (await client.ask("shared", start_at=0))["offset"] == 1
        assert (await client.ask("shared", autoplay=False))["offset"] == 0


async def test_a_row_that_comes_while_a_newcomer_gets_those_before_it_comes_at_once_too(
    going: Server, gateway: CountingGateway
) -> None:
    await append(gateway, *(going_row(n, create_time=f"2023-11-17 10:{n // 60:02}:{n % 60:02}") for n in range(2, 100)))
    released = asyncio.Event()

    async def blocked(message: Message) -> None:
        if '"rows"' in message.get("text", ""):
            await released.wait()

    async with watch(going, "/ws/share/going", on_send=blocked) as client, watch(going, "/ws/share/going") as other:
        await client.ask("shared")
        await other.ask("shared")
        await until(lambda: other.offset == 100)
        await append(gateway, going_row(100, create_time="2023-11-17 10:30:00"))
        await until(lambda: other.offset == 101)
        released.set()
        assert await soon(lambda: client.offset == 101), f"the last row is due later; there are {client.offset}"


async def test_the_number_of_queries_does_not_grow_with_the_viewers(going: Server, gateway: CountingGateway) -> None:
    async def count_queries(viewers: int) -> int:
        clients = []
        async with asyncio.TaskGroup() as group:
            leave = asyncio.Event()

            async def follow() -> None:
                async with watch(going, "/ws/share/going") as client:
                    await client.ask("shared")
                    clients.append(client)
                    await leave.wait()

            for _ in range(viewers):
                group.create_task(follow())
            await until(lambda: len(clients) == viewers)
            assert len(tasks_named("poller")) == len(tasks_named("revocation")) == 1
            total, before = clients[0].hello["total"], gateway.count
            await append(gateway, going_row(total))
            await asyncio.sleep(1)
            await until(lambda: all(client.offset == total + 1 for client in clients))
            counted = gateway.count - before
            leave.set()
        return counted

    few, many = await count_queries(1), await count_queries(40)
    assert many <= few * 1.2 + 5


async def test_pages_are_read_once_for_all_viewers(server: Server, gateway: CountingGateway) -> None:
    await server.record(*(row(n, node_id=f"p{n}") for n in range(200)), interaction_id="pages")
    async with asyncio.TaskGroup() as group:
        ready = asyncio.Barrier(21)
        done = asyncio.Barrier(21)

        async def view() -> None:
            async with watch(server, "/ws/share/pages") as client:
                await ready.wait()
                await client.ask("shared", pace="instant")
                await until(lambda: client.read().ended)
                await done.wait()

        for _ in range(20):
            group.create_task(view())
        await ready.wait()
        before = gateway.count
        await done.wait()
        assert gateway.count - before <= 4 + 3  # pages, and the checks for what is still shared


# Revocation


async def seconds_until_revoked(viewer: Viewer) -> float:
    before = time.perf_counter()
    assert await viewer.ended() == 4503
    return time.perf_counter() - before


async def unshare(gateway: Gateway) -> None:
    await ShareCRUD(gateway).set_visibility("run", Visibility.PRIVATE)


async def delete(gateway: Gateway) -> None:
    await RecordingCRUD(gateway).delete_recording("run")


async def mark_deleted(gateway: Gateway) -> None:
    await gateway.execute(update(schema.interactions).values(is_deleted=True))


@pytest.mark.parametrize("revoke", [unshare, delete, mark_deleted])
async def test_what_is_no_longer_shared_ends_for_all_who_watch_within_a_second(
    server: Server, database: databases.Database, revoke: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        databases.Database(database.url) as other,
        watch(server) as playing,
        watch(server) as paused,
        watch(server) as idle,
        server.connect() as classic,
        server.connect() as classic_idle,
    ):
        await playing.ask("shared")
        await paused.ask("shared", autoplay=False)
        await classic.send({"type": "shared"})
        await classic_idle.receive()
        await revoke(Gateway(other))
        viewers = [playing.viewer, paused.viewer, idle.viewer, classic, classic_idle]
        assert max(await asyncio.gather(*map(seconds_until_revoked, viewers))) < REVOKED_SECONDS
    assert not errors(caplog)


async def test_the_owner_sees_on_what_is_no_longer_shared_until_it_is_deleted(
    server: Server, gateway: CountingGateway
) -> None:
    await add_user(gateway, "author", token=TOKEN)
    async with (
        watch(server, "/ws/replay/run", AUTHOR) as owner,
        server.connect("/ws/replay/run", AUTHOR) as classic,
        watch(server) as viewer,
    ):
        await unshare(gateway)
        await seconds_until_revoked(viewer.viewer)
        await asyncio.sleep(1)
        assert not owner.viewer.task.done() and not classic.task.done()
        await mark_deleted(gateway)
        await asyncio.gather(*map(seconds_until_revoked, (owner.viewer, classic)))


async def test_an_open_server_shows_on_what_is_no_longer_shared(server: Server, gateway: CountingGateway) -> None:
    server = with_settings(server, require_shared=False)
    async with watch(server) as client:
        await unshare(gateway)
        await asyncio.sleep(1)
        assert not client.viewer.task.done()
        await delete(gateway)
        await seconds_until_revoked(client.viewer)


async def test_who_does_not_read_is_revoked_like_all_others(server: Server, gateway: CountingGateway) -> None:
    async def blocked(message: Message) -> None:
        if "node_id" in message.get("text", ""):
            await asyncio.Event().wait()

    async with watch(server, on_send=blocked) as client, server.connect(on_send=blocked) as classic:
        client.post({"type": "shared"})
        await classic.send({"type": "shared"})
        await unshare(gateway)
        assert max(await asyncio.gather(*map(seconds_until_revoked, (client.viewer, classic)))) < REVOKED_SECONDS


async def test_what_others_share_is_not_touched(server: Server, gateway: CountingGateway) -> None:
    await server.record(interaction_id="other")
    async with watch(server, "/ws/share/other") as other, watch(server) as client:
        await unshare(gateway)
        await seconds_until_revoked(client.viewer)
        await asyncio.sleep(0.5)
        assert not other.viewer.task.done()


async def test_a_database_that_is_down_ends_nobody(
    server: Server, gateway: CountingGateway, caplog: pytest.LogCaptureFixture
) -> None:
    async with watch(server) as client:
        gateway.down = True
        await until(lambda: bool(caplog.records))
        assert "can't check what is still shared" in caplog.records[0].getMessage()
        gateway.down = False
        assert not client.viewer.task.done()
        await unshare(gateway)
        await seconds_until_revoked(client.viewer)


# What is left


async def test_when_all_have_left_nothing_is_left(going: Server, gateway: CountingGateway) -> None:
    before = asyncio.all_tasks()
    async with (
        watch(going, "/ws/share/going") as first,
        watch(going, "/ws/share/going") as second,
        watch(going) as third,
    ):
        for client in (first, second, third):
            await client.ask("shared")
        assert len(asyncio.all_tasks()) > len(before)
    await until(lambda: asyncio.all_tasks() == before)
    assert not going.clock.sleepers
    await gateway.drain()
    count = gateway.count
    await asyncio.sleep(0.6)
    assert gateway.count == count


SCRIPT = [
    {"type": "shared", "pace": 1},
    {"type": "seek", "offset": 2},
    "{",
    {"type": "ping"},
    {"type": "seek", "offset": 0},
]


@pytest.mark.parametrize("way", [is_cancelled, leaves, vanishes, makes_send_fail])
async def test_a_connection_that_is_ended_at_any_moment_leaves_nothing_behind(
    going: Server, way: Callable[[Viewer], object], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "share")
    before = asyncio.all_tasks()
    step, stopped = 1, True
    while stopped:
        step += 3
        stop = Stop(step, way)
        with stop:
            stop.viewer = viewer = start(going.app, "/ws/share/going", subprotocols=V1, now=going.clock.now)
            for message in [*SCRIPT, {"type": "disconnect"}]:
                viewer.post(message)
            await going.clock.run_until(viewer.task.done)
        stopped = stop.happened
        assert viewer.task.cancelled() or viewer.task.exception() is None
        await going.gateway.drain()
        await until(lambda: asyncio.all_tasks() == before and not is_replaying())
        assert not going.clock.sleepers
        assert not caplog.records
    assert viewer.code == 1000


async def test_the_token_stands_in_no_log(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "share")
    await add_user(server.gateway, "author", token=TOKEN)
    async with watch(server, "/ws/replay/run", AUTHOR) as client:
        await client.ask("replay")
        await until(lambda: client.read().ended)
    assert TOKEN not in caplog.text


async def test_a_share_added_again_lets_viewers_in_again(server: Server, gateway: CountingGateway) -> None:
    await unshare(gateway)
    assert (await refusal(server, "/ws/share/run"))[1] == 4504
    await ShareCRUD(gateway).set_visibility("run", Visibility.UNLISTED)
    async with watch(server) as client:
        await client.ask("shared")
        await finish(server, client)


async def test_a_shared_interaction_without_a_name_has_its_users_id(server: Server, gateway: CountingGateway) -> None:
    server = with_settings(server, require_shared=False)
    await gateway.execute(insert(schema.interactions).values(interaction_id="bare", user_id="someone"))
    async with watch(server, "/ws/share/bare") as client:
        assert client.hello["user_name"] == "someone"
        assert client.hello["description"] is None
