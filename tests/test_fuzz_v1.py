"""Whatever a client sends, and whenever: always an answer, never an error of ours, and in the end all rows."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from share import feed as feed_module
from share.endpoint import MAX_ERRORS
from storage import schema
from storage.gateway import Gateway
from storage.recordings import RecordingCRUD
from tests.asgi import ModelClient, Server, row, tasks_named
from tests.fake_clock import until
from tests.test_json_text import ANY_JSON, ANY_TEXT
from tests.test_replay_v1 import V1, timed

# The fixtures of a test are there for all of its examples: one server, which none of them changes.
fuzz = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])

TOTALS = {"run": 7, "many": 150, "empty": 0, "bad": 5}


@pytest.fixture
async def server(gateway: Gateway, tmp_path: Path) -> Server:
    server = Server(gateway, tmp_path)

    mixed = [row(n, n, current=f"1.{n // 40}", create_time=None if n % 3 else "2023-11-17") for n in range(150)]
    broken = [row(0), row(1, data="{"), row(2, data="1e400"), row(3, file_list="["), row(4, data="[" * 5000)]
    recordings = {"run": timed(0, 2, 2, 5, 65, 65, 66), "many": mixed, "empty": [], "bad": broken}
    assert {name: len(stored) for name, stored in recordings.items()} == TOTALS
    for name, stored in recordings.items():
        named = [replace(one, node_id=f"{name}-{number}") for number, one in enumerate(stored)]
        await server.record(*named, interaction_id=name, status="finished")
    return server


# Messages

NUMBERS = st.one_of(
    st.integers(0, 8),
    st.integers(-1, 200),
    st.sampled_from([0, 0.1, 0.5, 1, 2, 65, 65.5, 100, 1e9, 1e300, 2**53, 2**64, -1, -0.0, 0.0999]),
    st.floats(0, 150),
)
FIELDS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "shared": {
        "offset": st.integers(0, 8) | NUMBERS,
        "epoch": st.sampled_from([None, "", "stale", "EPOCH"]),
        "speed": NUMBERS,
        "pace": st.sampled_from(["recorded", "classic", "instant"]) | NUMBERS,
        "idle_time_limit": st.none() | NUMBERS,
        "start_at": st.none() | NUMBERS,
        "follow": st.booleans(),
        "autoplay": st.booleans(),
    },
    "pause": {},
    "play": {},
    "seek": {"offset": NUMBERS, "at": NUMBERS, "marker": st.integers(0, 4)},
    "set_speed": {"speed": NUMBERS},
    "set_idle_time_limit": {"seconds": st.none() | NUMBERS},
    "ping": {},
}


@st.composite
def good_commands(draw: st.DrawFn) -> dict[str, Any]:
    """Commands whose fields are named rightly, and mostly in range."""
    name = draw(st.sampled_from(list(FIELDS)))
    fields = FIELDS[name]
    if name == "seek":
        fields = {(field := draw(st.sampled_from(list(fields)))): fields[field]}
    some = {} if name == "shared" else fields
    return {"type": name, **draw(st.fixed_dictionaries(some, optional=fields if name == "shared" else None))}


NAMES = st.sampled_from([*FIELDS, "replay", "disconnect", "connect", "rows"])
FIELD_NAMES = st.sampled_from(sorted({field for fields in FIELDS.values() for field in fields})) | ANY_TEXT
ODD_COMMANDS = st.builds(
    lambda name, fields: fields | {"type": name},
    NAMES | ANY_JSON,
    st.dictionaries(FIELD_NAMES, NUMBERS | ANY_JSON, max_size=3),
).filter(lambda command: command != {"type": "disconnect"})
GOOD = good_commands().map(json.dumps)
MESSAGES = st.one_of(
    GOOD,
    GOOD,
    GOOD,
    GOOD,
    ODD_COMMANDS.map(json.dumps),
    ANY_JSON.map(json.dumps),
    st.text(max_size=20),
    st.binary(max_size=20),
)
WAITS = st.sampled_from([0.0, 0.5, 1.0, 3.0, 30.0, 200.0])
STEPS = st.lists(st.one_of(MESSAGES, MESSAGES, GOOD, GOOD, GOOD, GOOD, WAITS, WAITS, st.just("back")), max_size=25)


def kind_of(message: str | bytes) -> tuple[str, Any]:
    """How a message is to be answered: by a `pong`, as a command when it is its `turn`, or `at once` with an error."""
    try:
        value = orjson.loads(message)
    except ValueError:
        return "at once", None
    name = value.get("type") if isinstance(value, dict) else None
    if not isinstance(name, str) or (name not in FIELDS and name != "disconnect"):
        return "at once", None
    return ("pong" if value == {"type": "ping"} else "turn"), value


class Fuzz:
    """A client who does what he is told, and comes back with what he holds."""

    def __init__(self, server: Server, name: str, stack: AsyncExitStack) -> None:
        self.server = server
        self.name = name
        self.connection = stack
        self.client: ModelClient
        self.misunderstood = self.pings = 0

    async def connect(self, rows: Iterable[Any] = ()) -> None:
        path = f"/ws/share/{self.name}"
        viewer = await self.connection.enter_async_context(self.server.connect(path, subprotocols=V1))
        self.client = ModelClient(viewer, list(rows))
        self.misunderstood = self.pings = 0
        await until(lambda: self.client.read().hello is not None)

    async def come_back(self) -> None:
        """Leave at once, whatever is on its way, and come back."""
        held, epoch = self.client.read().rows, self.client.hello["epoch"]
        self.client.viewer.disconnect()
        await self.client.viewer.ended()
        await self.connection.aclose()
        await self.connect(held)
        assert self.client.hello["epoch"] == epoch
        self.send(json.dumps({"type": "shared", "offset": len(held), "epoch": epoch, "pace": 1}))

    def send(self, message: str | bytes) -> None:
        if isinstance(message, str):
            message = message.replace("EPOCH", self.client.hello["epoch"])
        match kind_of(message):
            case "turn", command:
                self.client.asked.append(command)
            case "pong", _:
                self.pings += 1
            case _:
                self.misunderstood += 1
        self.client.viewer.post(message)

    def is_quiet(self) -> bool:
        viewer = self.client.viewer
        return (viewer.awaited or viewer.task.done()) and not tasks_named("database", "frames")

    async def quiet(self) -> None:
        """Wait until the server has done all that it can while time stands still."""
        turns = 0
        while turns < 12:
            await until(self.is_quiet)
            await asyncio.sleep(0)
            turns = turns + 1 if self.is_quiet() else 0
        self.client.read()

    async def wait(self, seconds: float) -> None:
        clock = self.server.clock
        end = clock.now() + seconds
        await self.quiet()
        while clock.next_moment is not None and clock.next_moment <= end:
            clock.wake_next()
            await self.quiet()
        if end > clock.now():
            clock.move(end - clock.now())

    def check(self) -> None:
        """Everything that was asked has been answered."""
        client, viewer = self.client.read(), self.client.viewer
        errors = [error for error in client.errors if error["code"] == "bad_message"]
        assert len(errors) == min(self.misunderstood, MAX_ERRORS)
        assert viewer.code == (1008 if self.misunderstood >= MAX_ERRORS else None)
        if viewer.code is None:
            assert not client.asked
            assert len(client.pongs) >= self.pings

    async def finish(self) -> None:
        """Play on to the end, all rows held."""
        for command in ({"type": "shared", "autoplay": False}, {"type": "set_idle_time_limit", "seconds": 1}):
            if command["type"] != "shared" or not self.client.states:
                self.send(json.dumps(command))
        self.send(json.dumps({"type": "play"}))
        await self.quiet()
        self.check()
        await self.server.clock.run_until(lambda: self.client.read().ended)
        total = TOTALS[self.name]
        assert [one["offset"] for one in self.client.rows] == list(range(1, total + 1))
        assert self.client.ends[-1] == {"type": "end", "offset": total, "reason": "finished"}


@fuzz
@given(st.sampled_from(list(TOTALS)), STEPS)
@example("run", [b"\xff"] * 12)
@example("many", ['{"type":"shared"}', '{"type":"seek","offset":150}', "back", '{"type":"seek","offset":0}', "back"])
async def test_whatever_is_sent_is_answered_and_in_the_end_all_rows_have_come(
    server: Server, caplog: pytest.LogCaptureFixture, name: str, steps: list[Any]
) -> None:
    async with AsyncExitStack() as stack:
        fuzz = Fuzz(server, name, stack)
        await fuzz.connect()
        for step in steps:
            if step == "back":
                await fuzz.quiet()
                if fuzz.client.viewer.code is None:
                    await fuzz.come_back()
            elif isinstance(step, float):
                await fuzz.wait(step)
            else:
                fuzz.send(step)
        await fuzz.quiet()
        fuzz.check()
        if fuzz.client.viewer.code is None:
            await fuzz.finish()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    await until(lambda: not tasks_named("replay", "heartbeat", "revoked", "poller"))
    assert not server.clock.sleepers


@settings(fuzz, max_examples=20)
@given(st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=8), st.sampled_from(["run", "many"]))
async def test_who_loses_his_connection_at_any_moment_sees_every_row_exactly_once(
    server: Server, caplog: pytest.LogCaptureFixture, losses: list[tuple[int, bool]], name: str
) -> None:
    seen: list[int] = []
    async with AsyncExitStack() as stack:
        fuzz = Fuzz(server, name, stack)
        await fuzz.connect()
        fuzz.send(json.dumps({"type": "shared", "pace": "instant" if name == "many" else 1}))
        for turns, wake in losses:
            for _ in range(turns):
                await asyncio.sleep(0)
            if wake and server.clock.sleepers:
                server.clock.wake_next()
            client = fuzz.client
            await fuzz.come_back()
            seen += [offset for _, offset in client.came]
        await server.clock.run_until(lambda: fuzz.client.read().ended)
        seen += [offset for _, offset in fuzz.client.came]
    assert seen == list(range(1, TOTALS[name] + 1))
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


numbers = count()


@settings(fuzz, max_examples=15)
@given(st.lists(good_commands().map(json.dumps) | st.just("append") | st.just("wake"), max_size=20), st.integers(0, 3))
async def test_whatever_is_commanded_while_a_run_is_going_on_all_its_rows_come(
    server: Server,
    gateway: Gateway,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    steps: list[str],
    before: int,
) -> None:
    monkeypatch.setattr(feed_module, "POLL_SECONDS", 0.001)
    name = f"going{next(numbers)}"
    recordings, total = RecordingCRUD(gateway), 0
    await server.record(interaction_id=name, status="running")

    async def append() -> None:
        nonlocal total
        await recordings.append_row(row(0, interaction_id=name, node_id=f"{name}-{total}", create_time=None))
        total += 1

    for _ in range(before):
        await append()
    async with AsyncExitStack() as stack:
        fuzz = Fuzz(server, name, stack)
        await fuzz.connect()
        for step in steps:
            if step == "append":
                await append()
            elif step != "wake":
                fuzz.send(step)
            elif server.clock.sleepers > 1:
                server.clock.wake_next()
            await asyncio.sleep(0)
        for command in ({"type": "shared"}, {"type": "set_idle_time_limit", "seconds": 1}, {"type": "play"}):
            fuzz.send(json.dumps(command))
        await append()
        await gateway.execute(
            update(schema.interactions).where(schema.interactions.c.interaction_id == name).values(status="failed")
        )
        await until(lambda: not fuzz.client.read().asked)
        await server.clock.run_until(lambda: fuzz.client.read().ended)
        assert [one["node_id"] for one in fuzz.client.rows] == [f"{name}-{number}" for number in range(total)]
        assert fuzz.client.ends[-1] == {"type": "end", "offset": total, "reason": "failed"}
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
