"""`Recorder`: what the process that runs the agent writes, whatever happens to it."""

from __future__ import annotations

import asyncio
import json
import random
import re
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import databases
import pytest
from sqlalchemy import select
from websockets.asyncio.client import connect

from share import Recorder, XAgentServerEnv, create_app
from share.client import ReplayClient, ReplayError
from share.recorder import Run
from storage import schema
from storage.database import fitting, open_database
from storage.errors import DatabaseError
from storage.gateway import Gateway
from storage.recordings import RecordingCRUD, RunEnded
from tests.any_database import database_url
from tests.server import CHECKOUT, GOLDEN, PATIENCE_SECONDS, environment, serve_here

HEX_ID = re.compile(r"[0-9a-f]{32}")
GOLDEN_RUN = json.loads((GOLDEN / "short.recording.json").read_text())


@pytest.fixture
def recorder(database: databases.Database, tmp_path: Path) -> Recorder:
    return Recorder(database, tmp_path)


async def stored_rows(database: databases.Database) -> list[dict[str, Any]]:
    """All rows that are stored, by step."""
    records = await database.fetch_all(select(schema.raw).order_by(schema.raw.c.step, schema.raw.c.id))
    return [dict(record._mapping) for record in records]


async def stored_runs(database: databases.Database) -> list[dict[str, Any]]:
    return [
        dict(record._mapping)
        for record in await database.fetch_all(select(schema.interactions).order_by(schema.interactions.c.id))
    ]


async def statuses(database: databases.Database) -> list[str]:
    return [row["status"] for row in await stored_rows(database)]


# What XAgent would have written


async def test_a_run_is_stored_as_xagent_stores_it(recorder: Recorder, database: databases.Database) -> None:
    async with recorder.record(description="count the files", user_id="author", agent="claude", mode="auto") as run:
        (stored,) = await stored_runs(database)
        assert (stored["status"], stored["interaction_id"]) == ("running", run.interaction_id)
    (stored,) = await stored_runs(database)
    assert HEX_ID.fullmatch(run.interaction_id)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", stored["create_time"])
    told = {name: stored[name] for name in ("description", "user_id", "agent", "mode", "status", "message")}
    assert told == {
        "description": "count the files",
        "user_id": "author",
        "agent": "claude",
        "mode": "auto",
        "status": "finished",
        "message": "finished",
    }
    golden = GOLDEN_RUN["interaction"]
    assert {name for name in golden if stored[name] is None} == {name for name in golden if golden[name] is None}
    assert not stored["is_deleted"]


async def test_rows_are_stored_as_xagent_stores_them(recorder: Recorder, database: databases.Database) -> None:
    tools = {"tool_name": "ls", "tool_input": {"path": "."}, "tool_output": "数据.csv"}
    async with recorder.record(description="", user_id="author") as run:
        assert await run.append(status="start", data={"goal": "g"}) == 0
        assert await run.append(data={"using_tools": tools}, current="1.1", files=["数据.csv"]) == 1
    first, second, last = await stored_rows(database)
    golden = GOLDEN_RUN["raws"][-1]
    for row in (first, second, last):
        assert HEX_ID.fullmatch(row["node_id"])
        assert row["interaction_id"] == run.interaction_id
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}", row["create_time"])
        assert row["create_time"] == row["update_time"]
        assert json.loads(row["human_file_list"]) == golden["human_file_list"]
        for flag in ("do_interrupt", "wait_seconds", "ask_for_human_help", "is_human", "human_data", "is_send"):
            assert row[flag] == golden[flag], flag
    assert [row["step"] for row in (first, second, last)] == [0, 1, 2]
    assert [row["status"] for row in (first, second, last)] == ["start", "inner", "finished"]
    assert json.loads(second["data"]) == {"using_tools": tools}
    assert json.loads(second["file_list"]) == ["数据.csv"]
    assert second["current"] == "1.1"
    assert json.loads(last["data"]) == golden["data"]
    assert last["current"] == golden["current"]


async def test_a_run_is_shared_unless_it_is_said_not_to_be(recorder: Recorder, database: databases.Database) -> None:
    async with recorder.record(description="d", user_id="author") as shared:
        pass
    async with recorder.record(description="d", user_id="author", shared=False):
        pass
    shares = [dict(row._mapping) for row in await database.fetch_all(select(schema.shared_interactions))]
    assert [(share["interaction_id"], share["user_name"]) for share in shares] == [(shared.interaction_id, "author")]


# How it ends


async def test_a_run_that_ends_well_has_one_finished_row(recorder: Recorder, database: databases.Database) -> None:
    async with recorder.record(description="", user_id="author") as run:
        await run.append(data=1)
    assert await statuses(database) == ["inner", "finished"]


async def test_who_has_written_the_finished_row_himself_gets_no_second_one(
    recorder: Recorder, database: databases.Database
) -> None:
    async with recorder.record(description="", user_id="author") as run:
        await run.append(status="finished", data={"mine": True})
    (row,) = await stored_rows(database)
    assert (row["status"], json.loads(row["data"])) == ("finished", {"mine": True})
    assert (await stored_runs(database))[0]["status"] == "finished"


class AgentError(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (AgentError("the model is gone: 模型"), "the model is gone: 模型"),
        (AgentError(), "AgentError"),
        (AgentError("two\nlines\0and a NUL"), "two\nlines\0and a NUL"),
        (AgentError("x" * 100_000), "x" * 100_000),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (SystemExit(3), "3"),
        (asyncio.CancelledError(), "CancelledError"),
        (ExceptionGroup("several", [AgentError("one")]), "several (1 sub-exception)"),
    ],
    ids=["message", "no message", "control characters", "long", "Ctrl-C", "exit", "cancel", "group"],
)
async def test_an_error_marks_the_run_as_failed_and_goes_on(
    recorder: Recorder, database: databases.Database, error: BaseException, message: str
) -> None:
    with pytest.raises(type(error)) as raised:
        async with recorder.record(description="", user_id="author") as run:
            await run.append(data=1)
            raise error
    assert raised.value is error
    _, last = await stored_rows(database)
    assert (last["status"], json.loads(last["data"])) == ("failed", message)
    (stored,) = await stored_runs(database)
    assert (stored["status"], stored["message"]) == ("failed", fitting(database, message))


async def test_an_error_whose_message_no_database_takes_marks_the_run_as_failed_and_goes_on_too(
    recorder: Recorder, database: databases.Database
) -> None:
    error = AgentError("caf\udce9.txt can't be read")  # a file name that is no UTF-8
    with pytest.raises(AgentError) as raised:
        async with recorder.record(description="", user_id="author"):
            raise error
    assert raised.value is error
    assert await statuses(database) == ["failed"]
    assert (await stored_runs(database))[0]["status"] == "failed"


async def test_an_error_that_cannot_say_what_it_is_marks_the_run_as_failed_and_goes_on_too(
    recorder: Recorder, database: databases.Database
) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    with pytest.raises(Mute):
        async with recorder.record(description="", user_id="author"):
            raise Mute
    assert (await stored_runs(database))[0]["status"] == "failed"


async def test_an_error_goes_on_also_when_the_database_is_gone(
    recorder: Recorder, database: databases.Database
) -> None:
    with pytest.raises(AgentError):
        async with recorder.record(description="", user_id="author"):
            await database.execute("ALTER TABLE raw RENAME TO elsewhere")
            raise AgentError


async def test_an_error_after_the_finished_row_still_marks_the_run_as_failed(
    recorder: Recorder, database: databases.Database
) -> None:
    with pytest.raises(AgentError):
        async with recorder.record(description="", user_id="author") as run:
            await run.append(status="finished")
            raise AgentError("late")
    assert (await stored_runs(database))[0]["status"] == "failed"


async def test_a_task_that_is_cancelled_marks_its_run_as_failed(
    recorder: Recorder, database: databases.Database
) -> None:
    async def agent() -> None:
        async with recorder.record(description="", user_id="author"):
            await asyncio.Future()

    task = asyncio.create_task(agent())
    while not await stored_runs(database):
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await statuses(database) == ["failed"]


@pytest.mark.parametrize("again", [0, 1, 2, 5, 10])
async def test_a_task_that_is_cancelled_twice_marks_its_run_as_failed_too(
    recorder: Recorder, database: databases.Database, again: int
) -> None:
    began = asyncio.Event()

    async def agent() -> None:
        async with recorder.record(description="", user_id="author"):
            began.set()
            await asyncio.Future()

    task = asyncio.create_task(agent())
    await began.wait()
    task.cancel()
    for _ in range(again):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task], timeout=PATIENCE_SECONDS)
    assert task.cancelled()
    assert await statuses(database) == ["failed"]


async def test_a_run_whose_beginning_is_cancelled_is_not_left_running(
    recorder: Recorder, database: databases.Database
) -> None:
    began = False

    async def agent() -> None:
        nonlocal began
        async with recorder.record(description="", user_id="author"):
            began = True
            await asyncio.Future()

    turns = 0
    while not began:
        task = asyncio.create_task(agent())
        for _ in range(turns):
            await asyncio.sleep(0)
        if turns > 20:
            await asyncio.sleep((turns - 20) / 2000)  # the database's thread needs real time
        task.cancel()
        await asyncio.wait([task], timeout=PATIENCE_SECONDS)
        assert task.cancelled()
        turns += 1
    await asyncio.sleep(0.2)
    assert "running" not in [run["status"] for run in await stored_runs(database)]


async def test_nothing_is_appended_after_the_end(recorder: Recorder, database: databases.Database) -> None:
    async with recorder.record(description="", user_id="author") as run:
        await run.append()
    before = await stored_rows(database)
    with pytest.raises(RunEnded, match=run.interaction_id):
        await run.append(data="late", files={"late.txt": b"late"})
    await run.end("failed", "late")
    assert await stored_rows(database) == before
    assert (await stored_runs(database))[0]["status"] == "finished"


async def test_a_step_that_comes_too_late_writes_no_file(recorder: Recorder, tmp_path: Path) -> None:
    async with recorder.record(description="", user_id="author") as run:
        pass
    with pytest.raises(RunEnded):
        await run.append(files={"late.txt": b"late"})
    assert not list(tmp_path.rglob("late.txt"))


async def test_a_run_that_is_deleted_meanwhile_ends_with_an_error_that_says_so(
    recorder: Recorder, database: databases.Database
) -> None:
    with pytest.raises(RunEnded, match="ended, or there is none"):
        async with recorder.record(description="", user_id="author") as run:
            gateway = Gateway(database)
            await RecordingCRUD(gateway).delete_recording(run.interaction_id)
            await run.append()
    assert await stored_runs(database) == []
    assert await stored_rows(database) == []


@pytest.mark.parametrize("writers", [1, 20])
async def test_a_run_ends_also_while_another_one_of_the_same_recorder_is_busy(
    recorder: Recorder, database: databases.Database, writers: int
) -> None:
    over = asyncio.Event()

    async def write(run: Run) -> None:
        while not over.is_set():
            await run.append()

    async with recorder.record(description="busy", user_id="author") as busy, asyncio.TaskGroup() as group:
        for _ in range(writers):
            group.create_task(write(busy))
        try:
            async with asyncio.timeout(PATIENCE_SECONDS / 2):
                async with recorder.record(description="short", user_id="author"):
                    pass
                with pytest.raises(AgentError):
                    async with recorder.record(description="failing", user_id="author"):
                        raise AgentError
        finally:
            over.set()
    assert [run["status"] for run in await stored_runs(database)] == ["finished", "finished", "failed"]


# Many writers


async def test_many_tasks_append_without_a_gap_and_without_a_repeat(
    recorder: Recorder, database: databases.Database
) -> None:
    async with recorder.record(description="", user_id="author") as run:
        steps = await asyncio.gather(*(run.append(data=number) for number in range(100)))
    assert sorted(steps) == list(range(100))
    rows = await stored_rows(database)
    assert [row["step"] for row in rows] == list(range(101))
    assert {row["step"]: json.loads(row["data"]) for row in rows[:-1]} == dict(zip(steps, range(100), strict=True))


JOIN = """
import asyncio, sys
from share import Recorder
from storage.database import open_database

async def main(url, base_dir, interaction_id, rows):
    async with open_database(url) as database:
        run = await Recorder(database, base_dir).join(interaction_id)
        print(*await asyncio.gather(*(run.append(data=number) for number in range(int(rows)))))

asyncio.run(main(*sys.argv[1:]))
"""


async def test_several_processes_append_without_a_gap_and_without_a_repeat(
    recorder: Recorder, database: databases.Database, tmp_path: Path
) -> None:
    async with recorder.record(description="", user_id="author") as run:
        arguments = [sys.executable, "-c", JOIN, str(database.url), str(tmp_path), run.interaction_id, "40"]
        others = [
            await asyncio.create_subprocess_exec(
                *arguments, cwd=CHECKOUT, env=environment(tmp_path), stdout=asyncio.subprocess.PIPE
            )
            for _ in range(3)
        ]
        own = [await run.append(data=number) for number in range(40)]
        async with asyncio.timeout(PATIENCE_SECONDS):
            outputs = [(await other.communicate())[0] for other in others]
        assert [other.returncode for other in others] == [0, 0, 0]
    theirs = [int(step) for output in outputs for step in output.split()]
    assert sorted(own + theirs) == list(range(160))
    rows = await stored_rows(database)
    assert [row["step"] for row in rows] == list(range(161))
    assert sorted(rows, key=lambda row: row["id"]) == rows, "who has seen a step never finds a lower one later"


async def test_who_joins_is_a_writer_until_the_run_ends(recorder: Recorder, database: databases.Database) -> None:
    async with recorder.record(description="", user_id="author") as run:
        other = await Recorder(database).join(run.interaction_id)
        assert await other.append() == 0
        assert await run.append() == 1
    with pytest.raises(RunEnded):
        await other.append()
    with pytest.raises(RunEnded):
        await (await recorder.join(run.interaction_id)).append()


@pytest.mark.parametrize("interaction_id", ["none", "", "../x", "a" * 1000])
async def test_joining_a_run_that_is_not_there_is_a_lookup_error(recorder: Recorder, interaction_id: str) -> None:
    with pytest.raises(LookupError, match="no run"):
        await recorder.join(interaction_id)


async def test_a_writer_elsewhere_may_end_the_run(recorder: Recorder, database: databases.Database) -> None:
    async with recorder.record(description="", user_id="author") as run:
        other = await recorder.join(run.interaction_id)
        await other.append()
        await other.end("failed", "given up")
        with pytest.raises(RunEnded):
            await run.append()
    assert await statuses(database) == ["inner", "failed"]
    assert (await stored_runs(database))[0]["status"] == "failed"


# What can't be recorded, and what can


def nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


def circle() -> Any:
    value: list[Any] = []
    value.append(value)
    return value


WRONG: dict[str, dict[str, Any]] = {
    "NaN": {"data": float("nan")},
    "infinity inside": {"data": {"a": [1, float("inf")]}},
    "a set": {"data": {1, 2}},
    "bytes": {"data": b"bytes"},
    "an object": {"data": object()},
    "a key that is no text": {"data": {(1, 2): 3}},
    "a circle": {"data": circle()},
    "an integer of 5000 digits": {"data": 10**5000},
    "too deep": {"data": nested(100_000)},
    "a status too long": {"status": "x" * 21},
    "a status that is none": {"status": None},
    "a status that is a number": {"status": 5},
    "a status with a lone surrogate": {"status": "\ud800"},
    "a current with a lone surrogate": {"current": "\ud800"},
    "a current that is a list": {"current": ["1"]},
    "a current too long for the column": {"current": "1." * 65},
    "a file outside": {"files": {"../out.txt": b""}},
    "a file outside, further": {"files": {"a/../../out.txt": b""}},
    "a file anywhere": {"files": {"/tmp/out.txt": b""}},
    "a file with NUL": {"files": {"a\0b": b""}},
    "a file without a name": {"files": {"": b""}},
    "a file that is the folder": {"files": {".": b""}},
    "a file with a lone surrogate": {"files": {"\ud800": b""}},
    "a file that is no text": {"files": {5: b""}},
    "files that are text instead of bytes": {"files": {"good.txt": b"good", "a.txt": "text"}},
    "files whose names are no text": {"files": [1, 2]},
    "files that are one text": {"files": "a.txt"},
    "files that are one bytes": {"files": b"a.txt"},
    "one file good, one outside": {"files": {"good.txt": b"good", "../out.txt": b"bad"}},
    "a good file with a bad status": {"files": {"good.txt": b"good"}, "status": "x" * 21},
    "a good file with bad data": {"files": {"good.txt": b"good"}, "data": float("nan")},
}


@pytest.mark.parametrize("arguments", WRONG.values(), ids=WRONG.keys())
async def test_what_cannot_be_recorded_is_a_clear_error_and_nothing_is_recorded(
    recorder: Recorder, database: databases.Database, tmp_path: Path, arguments: dict[str, Any]
) -> None:
    async with recorder.record(description="", user_id="author") as run:
        with pytest.raises((TypeError, ValueError, OSError)) as wrong:
            await run.append(**arguments)
        assert str(wrong.value)
        assert await stored_rows(database) == []
        assert not [path for path in tmp_path.rglob("*.txt") if path.is_file()], "no file is left either"
        assert await run.append(data="and it goes on") == 0
    assert await statuses(database) == ["inner", "finished"]


KEPT: dict[str, Any] = {
    "false": False,
    "zero": 0,
    "an empty text": "",
    "huge integers": [2**53 + 1, 2**63, 2**64, -(2**64), 10**300],
    "floats": [0.1, 1e-300, 1.7976931348623157e308, -0.0],
    "lone surrogates": {"\ud800 key": "caf\udce9 \udc00\ud800"},
    "every character": "".join(map(chr, range(0x300))) + "\u2028\u2029\ufeff\ufffe\U0001f600",
    "200 levels": nested(200),
    "500 levels": nested(500),
    "a large text": "x" * 3_000_000,
    "keys in their order": {"b": 1, "a": 2, "": 3},
    "what looks like an escape": "\\u6570 \\n",
}


@pytest.mark.parametrize("value", KEPT.values(), ids=KEPT.keys())
async def test_what_json_has_is_kept_as_it_was(recorder: Recorder, database: databases.Database, value: Any) -> None:
    async with recorder.record(description="", user_id="author") as run:
        await run.append(data=value)
    row, _ = await stored_rows(database)
    kept = json.loads(row["data"])
    assert kept == value
    if isinstance(value, dict):
        assert list(kept) == list(value)


@pytest.mark.parametrize("depth", [900, 960, 980, 1000, 1020, 1030, 2000, 10_000])
async def test_what_is_nested_deeply_is_refused_or_kept(
    recorder: Recorder, database: databases.Database, depth: int
) -> None:
    async with recorder.record(description="", user_id="author") as run:
        try:
            await run.append(data=nested(depth))
        except ValueError as error:
            assert "nested" in str(error)
        else:
            assert (await stored_rows(database))[0]["data"] == "[" * depth + "0" + "]" * depth
    assert (await statuses(database))[-1] == "finished"


async def test_words_of_all_kinds_are_kept_in_what_describes_a_run(
    recorder: Recorder, database: databases.Database
) -> None:
    words = "数据 😀 ' \" \\ ; DROP TABLE raw; -- \n\t\x1b[2J"
    async with recorder.record(description=words, user_id=words[:30], agent=words[:30], mode=words[:30]) as run:
        await run.append(status="数据 ' ; --", current="1.1 ' ; --", files=["数据 ' ;.csv"])
    row, _ = await stored_rows(database)
    assert (row["status"], row["current"], json.loads(row["file_list"])) == (
        "数据 ' ; --",
        "1.1 ' ; --",
        ["数据 ' ;.csv"],
    )
    assert (await stored_runs(database))[0]["description"] == words


async def test_a_description_that_no_database_takes_is_a_clear_error(
    recorder: Recorder, database: databases.Database
) -> None:
    with pytest.raises((TypeError, ValueError)):
        async with recorder.record(description="\ud800", user_id="author"):
            pass
    assert await stored_runs(database) == []


async def test_a_database_without_tables_is_a_database_error(tmp_path: Path) -> None:
    async with open_database(database_url(tmp_path / "empty")) as database:
        with pytest.raises(DatabaseError, match=r"no such table|does not exist|doesn't exist"):
            async with Recorder(database).record(description="", user_id="author"):
                pass


# Files


async def test_files_are_written_into_the_workspace_and_listed(
    recorder: Recorder, database: databases.Database, tmp_path: Path
) -> None:
    async with recorder.record(description="", user_id="author") as run:
        await run.append(files={"a.txt": b"one", "deep/down/数据.csv": b"\x00\xff"})
        await run.append(files={"a.txt": b"two"})
        await run.append(files=["a.txt", "deep/down/数据.csv"])
        await run.append(files=iter(["a.txt"]))
    lists = [json.loads(row["file_list"]) for row in await stored_rows(database)]
    both = ["a.txt", "deep/down/数据.csv"]
    assert lists == [both, ["a.txt"], both, ["a.txt"], []]
    (workspace,) = tmp_path.glob(f"localstorage/interact_records/*/{run.interaction_id}/workspace")
    assert (workspace / "a.txt").read_bytes() == b"two"
    assert (workspace / "deep/down/数据.csv").read_bytes() == b"\x00\xff"


async def test_who_joins_writes_into_the_same_workspace(recorder: Recorder, tmp_path: Path) -> None:
    async with recorder.record(description="", user_id="author") as run:
        other = await recorder.join(run.interaction_id)
        await run.append(files={"a.txt": b""})
        await other.append(files={"b.txt": b""})
    (workspace,) = tmp_path.glob("localstorage/interact_records/*/*/workspace")
    assert sorted(path.name for path in workspace.iterdir()) == ["a.txt", "b.txt"]


async def test_a_symbolic_link_in_the_workspace_leads_nowhere_else(
    recorder: Recorder, database: databases.Database, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    async with recorder.record(description="", user_id="author") as run:
        await run.append(files={"a.txt": b""})
        (workspace,) = tmp_path.glob("localstorage/interact_records/*/*/workspace")
        (workspace / "link").symlink_to(outside)
        with pytest.raises(ValueError, match="workspace"):
            await run.append(files={"link/b.txt": b""})
        assert len(await stored_rows(database)) == 1
    assert list(outside.iterdir()) == []


# Cancelled at any moment


class Stepped(Coroutine[Any, Any, Any]):
    """A coroutine that counts its steps, and is cancelled before one of them."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], at_step: int) -> None:
        self.task: asyncio.Task[Any]
        self.steps = 0
        self._coroutine = coroutine
        self._at_step = at_step

    def send(self, value: Any) -> Any:
        self.steps += 1
        if self.steps == self._at_step:
            asyncio.get_running_loop().call_soon(self.task.cancel)
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        return self._coroutine.throw(*error)

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Any:
        return self._coroutine.__await__()


async def cancelled_at(step: int, begin: Callable[[], Coroutine[Any, Any, Any]]) -> bool:
    """Run what begins, cancel it at this step of its own; whether it had so many."""
    stepped = Stepped(begin(), step)
    stepped.task = asyncio.Task(stepped)
    await asyncio.wait([stepped.task], timeout=PATIENCE_SECONDS)
    assert stepped.task.done()
    return stepped.steps >= step


async def cancel_after_a_while(begin: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    task = asyncio.create_task(begin())
    await asyncio.sleep(random.uniform(0, 0.02))
    task.cancel()
    await asyncio.wait([task], timeout=PATIENCE_SECONDS)


async def append_with_file(run: Run, number: int) -> None:
    await run.append(data={"number": number}, current="1.1", files={f"{number}.txt": b"x" * 1000})


async def test_a_step_whose_recording_is_cancelled_is_recorded_whole_or_not_at_all(
    recorder: Recorder, database: databases.Database, tmp_path: Path
) -> None:
    async with recorder.record(description="", user_id="author") as run:
        number = 1
        while await cancelled_at(number, partial(append_with_file, run, number)):
            number += 1
        for later in range(number + 1, number + 60):
            await cancel_after_a_while(partial(append_with_file, run, later))
        await recorder._gateway.drain()  # what was cancelled may yet be recorded
        async with asyncio.timeout(PATIENCE_SECONDS):
            last = await run.append(data="last")
    rows = await stored_rows(database)
    assert [row["step"] for row in rows] == list(range(last + 2))
    (workspace,) = tmp_path.glob("localstorage/interact_records/*/*/workspace")
    for row in rows[:-2]:
        number = json.loads(row["data"])["number"]
        assert (row["status"], row["current"], json.loads(row["file_list"])) == ("inner", "1.1", [f"{number}.txt"])
        assert (workspace / f"{number}.txt").read_bytes() == b"x" * 1000


async def test_many_steps_that_are_cancelled_cost_no_connection(
    recorder: Recorder, database: databases.Database
) -> None:
    async with recorder.record(description="", user_id="author") as run:
        await asyncio.gather(*(cancel_after_a_while(run.append) for _ in range(100)))
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.gather(*(run.append() for _ in range(20)))
    steps = [row["step"] for row in await stored_rows(database)]
    assert steps == list(range(len(steps)))


# As it is watched


@pytest.fixture
async def url(tmp_path: Path, database: databases.Database) -> AsyncIterator[str]:
    """A server on the same database."""
    settings = XAgentServerEnv(base_dir=tmp_path, database_url=str(database.url), pause_seconds=(0, 0))
    async with serve_here(create_app(settings)) as port:
        yield f"http://127.0.0.1:{port}"


async def test_what_was_recorded_is_replayed_in_classic_and_in_replay_v1(url: str, recorder: Recorder) -> None:
    values = [{"thoughts": "数据 \ud800", "big": 2**70}, ["a", None], "text", 0, None, nested(100)]
    async with recorder.record(description="all kinds", user_id="author") as run:
        for value in values:
            await run.append(status="subtask", data=value, current="1.2", files=["a.txt", "b"])
    async with ReplayClient(url, run.interaction_id, pace="instant") as replay:
        assert replay.recording["description"] == "all kinds"
        rows = [row async for row in replay]
    classic = []
    async with connect(f"{url.replace('http', 'ws')}/ws/share/{run.interaction_id}") as connection:
        await connection.recv()
        await connection.send('{"type": "shared"}')
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(classic) < len(values) + 1:
                classic.append(json.loads(await connection.recv()))
    for frames in (rows, classic):
        assert [frame["data"] for frame in frames] == [*values, []]
        assert [frame["status"] for frame in frames] == ["subtask"] * len(values) + ["finished"]
        assert all(frame["success"] for frame in frames)
        files = [{"name": "a.txt", "suffix": "txt"}, {"name": "b", "suffix": "b"}]
        assert frames[0]["workspace_file_list"] == files
        assert frames[0]["current"] == "1.2"


async def test_a_replay_runs_as_the_run_did(url: str, recorder: Recorder) -> None:
    async with recorder.record(description="", user_id="author") as run:
        await run.append()
        await asyncio.sleep(0.35)
        await run.append()
    async with ReplayClient(url, run.interaction_id, pace="instant") as replay:
        first, second, _ = [row async for row in replay]
    assert first["at"] == 0
    assert second["at"] >= 0.35


async def test_what_was_recorded_as_private_is_not_replayed(url: str, recorder: Recorder) -> None:
    async with recorder.record(description="", user_id="author", shared=False) as run:
        pass
    with pytest.raises(ReplayError, match="no such recording"):
        async with ReplayClient(url, run.interaction_id):
            pass
