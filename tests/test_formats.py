from __future__ import annotations

import base64
import copy
import dataclasses
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from share import swe_agent
from share.formats import RecordingError, read_recording
from share.json_exact import decode
from share.recording_json import recording_of
from storage.models import Recording

ROOT = Path(__file__).parent
GOLDEN = ROOT / "data" / "golden"
MARSHMALLOW = ROOT / "data" / "swe-agent" / "marshmallow-1867-function_calling_replace_from_source.traj"
SIMPLE = ROOT / "data" / "swe-agent" / "function_calling_simple.traj"
DEMO = ROOT.parent / "share" / "demo" / "marshmallow-1867.traj"

MTIME = 1_700_000_000  # 2023-11-14 22:13:20 UTC
Read = Callable[[Any], Recording]


@pytest.fixture(scope="session")
def read(tmp_path_factory: pytest.TempPathFactory) -> Read:
    """Reads what is given as a file's content: bytes, text, or a value that becomes JSON."""
    path = tmp_path_factory.mktemp("formats") / "run.json"

    def read(content: Any) -> Recording:
        text = content if isinstance(content, str | bytes) else json.dumps(content)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        os.utime(path, (MTIME, MTIME))
        return read_recording(path)

    return read


@pytest.fixture
def refusal(read: Read) -> Callable[[Any], str]:
    """What the error says about a content, after the file's path."""

    def refusal(content: Any) -> str:
        with pytest.raises(RecordingError) as caught:
            read(content)
        message = str(caught.value)
        assert "\n" not in message
        return message.partition("run.json: ")[2]

    return refusal


Refusal = Callable[[Any], str]


def xagent(*raws: dict[str, Any], interaction: dict[str, Any] | None = None, workspace: Any = None) -> dict[str, Any]:
    recording: dict[str, Any] = {
        "interaction": {"interaction_id": "run", "user_id": "guest", **(interaction or {})},
        "raws": [{"node_id": f"n{index}", "interaction_id": "run", **raw} for index, raw in enumerate(raws or ({},))],
    }
    return recording if workspace is None else {**recording, "workspace": workspace}


def raw_text(column: str, text: str) -> str:
    """A recording in which a JSON column holds exactly this text."""
    return json.dumps(xagent({column: "HERE"})).replace('"HERE"', text)


def trajectory(*steps: dict[str, Any], **others: Any) -> dict[str, Any]:
    return {"trajectory": list(steps or ({"thought": "t", "action": "ls", "observation": "o"},)), **others}


def data(recording: Recording, index: int) -> Any:
    return json.loads(recording.rows[index].data or "null")


def tools(recording: Recording, index: int = 2) -> Any:
    return data(recording, index)["using_tools"]


# XAgent recordings


@pytest.mark.parametrize("name", ["short", "edge", "running"])
def test_a_golden_recording_is_read_column_for_column(name: str) -> None:
    path = GOLDEN / f"{name}.recording.json"
    source = json.loads(path.read_text())
    recording = read_recording(path)
    interaction = dataclasses.asdict(recording.interaction)
    assert {**source["interaction"], "file_list": "[]", "is_deleted": False, "id": None} == interaction
    assert recording.workspace == {}
    for row, raw in zip(recording.rows, source["raws"], strict=True):
        columns = dataclasses.asdict(row)
        for column in ("data", "file_list", "human_data", "human_file_list"):
            assert (None if columns[column] is None else json.loads(columns[column])) == raw.pop(column)
            del columns[column]
        assert columns == {**raw, "id": None}


def test_json_columns_are_compact_and_keep_the_order_of_their_keys(read: Read) -> None:
    row = read(raw_text("data", ' { "b" : [ 1 , {} , [ ] ] ,\n "a" : "字 \\u00e9\\/" } ')).rows[0]
    assert row.data == '{"b":[1,{},[]],"a":"字 é/"}'


def test_null_in_a_json_column_is_none(read: Read) -> None:
    assert read(raw_text("data", "null")).rows[0].data is None


@pytest.mark.parametrize("column", ["data", "file_list", "human_data", "human_file_list"])
@pytest.mark.parametrize(
    "text",
    [
        "12345678901234567890123",
        "-18446744073709551616",
        "1e400",
        "1e-400",
        "0.10",
        "3.14159265358979323846264338327950288",
        r'"\ud800"',
        r'{"\udfff":["\ud83d"]}',
        r'"\u0000"',
        '"😀 字"',
        "[" * 400 + "]" * 400,
        '{"a":' * 400 + "1" + "}" * 400,
        "9" * 4300,
    ],
)
def test_what_json_can_say_is_kept_as_it_was_said(read: Read, column: str, text: str) -> None:
    assert getattr(read(raw_text(column, text)).rows[0], column) == text


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
@pytest.mark.parametrize("depth", [502, 900, 1_000, 100_000])
def test_deeper_than_five_hundred_levels_is_refused(refusal: Refusal, opening: str, closing: str, depth: int) -> None:
    message = refusal(raw_text("data", opening * depth + "1" + closing * depth))
    assert message in (
        "$.raws[0].data: expected at most 500 levels of lists and objects, got more",
        "expected JSON that Python can read, got it nested too deep",
    )


def test_a_byte_order_mark_is_accepted(read: Read) -> None:
    assert read(b"\xef\xbb\xbf" + json.dumps(xagent()).encode()).interaction.interaction_id == "run"


def test_columns_that_are_not_given_have_the_tables_defaults(read: Read) -> None:
    recording = read(xagent())
    assert recording.interaction.call_method == "web"
    assert (recording.rows[0].status, recording.rows[0].step, recording.rows[0].is_send) == ("running", 0, False)


def test_the_ids_that_another_database_counted_are_left_out(read: Read) -> None:
    recording = read(xagent({"id": 7}, interaction={"id": 8}))
    assert (recording.interaction.id, recording.rows[0].id) == (None, None)


def test_rows_come_in_the_order_of_their_steps_and_then_of_the_file(read: Read) -> None:
    rows = read(xagent({"step": 2}, {"step": None}, {"step": 1}, {"step": 2}, {"step": None}, {"step": -1})).rows
    assert [row.node_id for row in rows] == ["n1", "n4", "n5", "n2", "n0", "n3"]


def test_booleans_may_be_numbers_as_in_mysql(read: Read) -> None:
    row = read(xagent({"is_deleted": 1, "is_send": 0, "is_human": None, "is_receive": True})).rows[0]
    assert [row.is_deleted, row.is_send, row.is_human, row.is_receive] == [True, False, None, True]


def test_the_files_of_the_workspace_are_decoded(read: Read) -> None:
    files = {"a.txt": b"a", "b/c.bin": bytes(range(256)), "b/empty": b"", "..c/d..": b"d", "字": b"ef"}
    encoded = {name: base64.b64encode(content).decode() for name, content in files.items()}
    assert read(xagent(workspace=encoded)).workspace == files


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"step": "1"}, '$.raws[0].step: expected a whole number of 32 bits, got "1"'),
        ({"step": True}, "$.raws[0].step: expected a whole number of 32 bits, got true"),
        ({"step": 1.0}, "$.raws[0].step: expected a whole number of 32 bits, got 1.0"),
        ({"wait_seconds": 2**31}, "$.raws[0].wait_seconds: expected a whole number of 32 bits, got 2147483648"),
        ({"is_send": None}, "$.raws[0].is_send: expected true, false, 0 or 1, got null"),
        ({"is_human": 2}, "$.raws[0].is_human: expected true, false, 0 or 1, got 2"),
        ({"is_human": 1.0}, "$.raws[0].is_human: expected true, false, 0 or 1, got 1.0"),
        ({"is_human": []}, "$.raws[0].is_human: expected true, false, 0 or 1, got an empty list"),
        (
            {"current": "x" * 129},
            "$.raws[0].current: expected a string of 0 to 128 characters without NUL and lone surrogates, "
            f'got "{"x" * 58}…',
        ),
        (
            {"status": "\ud800"},
            r"$.raws[0].status: expected a string of 0 to 20 characters without NUL and lone surrogates, "
            r'got "\ud800"',
        ),
        (
            {"node_id": ""},
            '$.raws[0].node_id: expected a string of 1 to 255 characters without NUL and lone surrogates, got ""',
        ),
        ({"interaction_id": "other"}, '$.raws[0].interaction_id: expected run as above, got "other"'),
    ],
)
def test_a_value_that_its_column_does_not_hold_is_refused(refusal: Refusal, row: dict[str, Any], message: str) -> None:
    assert refusal(xagent(row)) == message


def test_text_columns_have_no_length(read: Read) -> None:
    assert read(xagent(interaction={"description": "x" * 100_000})).interaction.description == "x" * 100_000


@pytest.mark.parametrize("column", ["user_id", "call_method"])
def test_an_interaction_needs_what_its_table_needs(refusal: Refusal, column: str) -> None:
    assert refusal(xagent(interaction={column: None})).startswith(f"$.interaction.{column}: expected a string of 0 to")


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "a b", "x" * 129, "é", "run\n", None, 5])
def test_an_interaction_id_that_may_not_stand_in_a_path_is_refused(refusal: Refusal, name: Any) -> None:
    assert refusal(xagent(interaction={"interaction_id": name})).startswith("$.interaction.interaction_id: expected")


@pytest.mark.parametrize("column", ["node_id", "interaction_id"])
def test_a_row_without_its_ids_is_refused(refusal: Refusal, column: str) -> None:
    recording = xagent()
    del recording["raws"][0][column]
    assert refusal(recording) == f"$.raws[0]: expected {column}, got no such key"


def test_a_node_id_that_comes_twice_is_refused(refusal: Refusal) -> None:
    message = refusal(xagent({}, {"node_id": "n0"}))
    assert message == '$.raws[1].node_id: expected one that no row before has, got "n0"'


def test_keys_that_nobody_knows_are_refused_by_name(refusal: Refusal) -> None:
    assert refusal(xagent({"stepp": 1})).endswith('include_pictures, got "stepp"')
    assert refusal(xagent(interaction={"star": 1})).startswith("$.interaction: expected only the keys id, interaction")
    assert refusal({**xagent(), "id": 1}) == '$: expected only the keys interaction, raws, workspace, got "id"'


def test_a_key_that_comes_twice_is_refused_since_one_value_would_be_lost(refusal: Refusal) -> None:
    assert refusal(raw_text("data", '{"b":1,"a":1,"a":2}')) == 'expected each key of an object once, got "a" again'


@pytest.mark.parametrize("key", ["interaction", "raws"])
def test_half_a_recording_is_refused(refusal: Refusal, key: str) -> None:
    recording = xagent()
    del recording[key]
    assert refusal(recording) == f"$: expected {key}, got no such key"


@pytest.mark.parametrize(("raws", "got"), [([], "an empty list"), ({}, "an object"), (None, "null"), ("x", '"x"')])
def test_a_run_without_rows_is_refused(refusal: Refusal, raws: Any, got: str) -> None:
    assert refusal({**xagent(), "raws": raws}) == f"$.raws: expected a list of at least one row, got {got}"


def test_rows_and_interaction_must_be_objects(refusal: Refusal) -> None:
    assert refusal({**xagent(), "raws": [[1]]}) == "$.raws[0]: expected an object, got a list"
    assert refusal({**xagent(), "interaction": "x"}) == '$.interaction: expected an object, got "x"'
    assert refusal({**xagent(), "workspace": None}) == "$.workspace: expected an object, got null"


@pytest.mark.parametrize(
    "name",
    [
        "", "/", "/etc/passwd", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", "a/..", "a\\b", "a\0b",
        "C:", "c:/x", "C:x", "\ud800", "x" * 1025, "a/" * 600 + "a",
    ],
)  # fmt: skip
def test_a_workspace_path_that_may_lead_elsewhere_is_refused(refusal: Refusal, name: str) -> None:
    message = refusal(xagent(workspace={name: ""}))
    assert message.startswith("$.workspace[") and "expected a relative path of at most 1024 characters" in message


def test_no_workspace_name_is_both_a_file_and_a_folder(refusal: Refusal) -> None:
    message = refusal(xagent(workspace={"a/b/c": "", "a/b": ""}))
    assert message == '$.workspace["a/b/c"]: expected no file to have the name of its folder, got "a/b"'


@pytest.mark.parametrize(
    "content", ["A", "A===", "=", "QQ=", "QQ==\n", "Q Q=", "QQ==QQ==", "é", "-_-_", None, 1, ["QQ=="]]
)
def test_base64_is_taken_strictly(refusal: Refusal, content: Any) -> None:
    assert refusal(xagent(workspace={"a": content})).startswith('$.workspace["a"]: expected base64, got')


def test_a_large_file_in_the_workspace_is_no_problem(read: Read) -> None:
    assert len(read(xagent(workspace={"a": "QUJD" * 2_000_000})).workspace["a"]) == 6_000_000


# What is no recording


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "line 1, column 1: expected JSON, got: Expecting value"),
        (b"{\n  x", "line 2, column 3: expected JSON, got: Expecting property name enclosed in double quotes"),
        (b'{"a": 1} x', "line 1, column 10: expected JSON, got: Extra data"),
        (b'"\n"', "line 1, column 2: expected JSON, got: Invalid control character at"),
        (b'{"a": "\xff"}', "'utf-8' codec can't decode byte 0xff in position 7: invalid start byte"),
        (b"[NaN]", "expected JSON, got NaN, which JSON has not"),
        (b'{"raws": -Infinity}', "expected JSON, got -Infinity, which JSON has not"),
        (b"[]", "$: expected an object, got an empty list"),
        (b"null", "$: expected an object, got null"),
        (
            b'{"a": 1}',
            "$: expected the keys of XAgent (interaction, raws) or SWE-agent (trajectory), got neither",
        ),
        (b"1" * 4301, "expected integers of at most 4300 digits, got one of 4301"),
    ],
)
def test_what_is_no_recording_is_refused_with_the_reason(refusal: Refusal, content: bytes, message: str) -> None:
    assert refusal(content) == message


def test_what_cannot_be_read_is_refused_with_the_reason(tmp_path: Path) -> None:
    for path, reason in (
        (tmp_path / "missing", "expected a readable file, got: No such file or directory"),
        (tmp_path, "expected a readable file, got: Is a directory"),
        (tmp_path / ("x" * 300), "expected a readable file, got: File name too long"),
        (tmp_path / "a\0b", "embedded null byte"),
    ):
        with pytest.raises(RecordingError, match=f"{re.escape(reason)}$"):
            read_recording(path)


def test_an_error_is_one_line_whatever_the_file_is_called(tmp_path: Path) -> None:
    with pytest.raises(RecordingError) as caught:
        read_recording(tmp_path / "two\nlines\udcff")
    assert r"two\nlines\udcff: expected" in str(caught.value)


# SWE-agent's trajectories


def test_a_trajectory_is_framed_as_a_run_from_the_web() -> None:
    short = read_recording(GOLDEN / "short.recording.json").rows
    rows = read_recording(MARSHMALLOW).rows
    assert [row.status for row in rows] == ["running", "start", *["inner"] * 13, "finished"]
    assert [row.step for row in rows] == list(range(16))
    for ours, theirs in ((0, 0), (1, 1), (2, 2), (-1, -1)):
        same = {"current": theirs, "is_human": theirs, "file_list": theirs, "human_file_list": theirs}
        assert all(getattr(rows[ours], column) == getattr(short[theirs], column) for column in same)
        assert _keys(rows[ours].data) == _keys(short[theirs].data)
    assert _keys(rows[0].human_data) == _keys(short[0].human_data)


def _keys(text: str | None) -> Any:
    """The keys of the objects in a JSON text, in their order."""

    def keys(value: Any) -> Any:
        return (
            [(key, keys(item)) for key, item in value.items() if key != "tool_input"] if isinstance(value, dict) else 0
        )

    return keys(json.loads(text or "null"))


def test_a_step_of_a_trajectory_becomes_an_inner_row() -> None:
    step = json.loads(MARSHMALLOW.read_text())["trajectory"][1]
    row = read_recording(MARSHMALLOW).rows[3]
    thought = {"properties": {"plan": [], "thought": step["thought"], "reasoning": "", "criticism": ""}}
    assert row.current == "1.1"
    assert json.loads(row.data or "") == {
        "thoughts": step["thought"],
        "reasoning": "",
        "plan": "",
        "criticism": "",
        "node_id": row.node_id,
        "using_tools": {
            "tool_name": "open",
            "tool_input": {"command": 'open "setup.py"'},
            "tool_output": step["observation"],
            "tool_status_code": "TOOL_CALL_SUCCESS",
            "thought_data": {"thought": thought, "content": None},
        },
    }


def test_the_first_rows_hold_the_problem_statement() -> None:
    goal = json.loads(MARSHMALLOW.read_text())["replay_config"]["problem_statement"]["text"]
    recording = read_recording(MARSHMALLOW)
    assert json.loads(recording.rows[0].human_data or "") == {"goal": goal}
    assert data(recording, 1)["goal"] == data(recording, 1)["subtasks"][0]["goal"] == goal
    assert data(recording, 1)["name"] == "TimeDelta serialization precision"
    assert recording.interaction.description == "TimeDelta serialization precision"


def test_an_imported_run_is_guests_and_finished() -> None:
    run = read_recording(MARSHMALLOW).interaction
    assert (run.agent, run.mode, run.call_method) == ("swe-agent", "auto", "import")
    assert (run.user_id, run.status, run.message) == ("import", "finished", "finished")


def test_the_demo_is_the_original_but_for_its_ids(tmp_path: Path) -> None:
    rows = []
    for source in (DEMO, MARSHMALLOW):
        path = tmp_path / source.name
        path.write_bytes(source.read_bytes())
        os.utime(path, (MTIME, MTIME))
        recording = read_recording(path)
        rows.append(
            [
                dataclasses.replace(row, node_id="", interaction_id="", data=(row.data or "").replace(row.node_id, ""))
                for row in recording.rows
            ]
        )
    assert rows[0] == rows[1]
    assert DEMO.stat().st_size < MARSHMALLOW.stat().st_size / 10


def test_ids_follow_from_the_content_alone(read: Read) -> None:
    first, again, other = read(trajectory()), read(trajectory()), read(trajectory(environment="x"))
    assert first == again
    assert re.fullmatch("[0-9a-f]{32}", first.interaction.interaction_id)
    ids = [row.node_id for run in (first, other) for row in run.rows]
    assert len(set(ids)) == 8 and all(re.fullmatch("[0-9a-f]{32}", node_id) for node_id in ids)


def test_rows_are_timed_from_the_files_time_by_what_the_steps_took(read: Read) -> None:
    steps = [{"action": "a", "execution_time": seconds} for seconds in (0.5, 2, 0)]
    recording = read(trajectory(*steps))
    assert [row.create_time for row in recording.rows] == [
        "2023-11-14 22:13:20.000000",
        "2023-11-14 22:13:20.000000",
        "2023-11-14 22:13:20.500000",
        "2023-11-14 22:13:22.500000",
        "2023-11-14 22:13:22.500000",
        "2023-11-14 22:13:22.500000",
    ]
    assert recording.interaction.create_time == "2023-11-14 22:13:20"
    assert recording.interaction.update_time == "2023-11-14 22:13:22"


def test_a_step_without_a_duration_takes_one_second(read: Read) -> None:
    assert read(trajectory({"action": "a"})).rows[-1].create_time == "2023-11-14 22:13:21.000000"


@pytest.mark.parametrize("duration", ["null", "-1", "-0.5", '"nan"', '"2"', "true", "[]", "1e400", "1e300", "9" * 400])
def test_a_step_without_a_usable_duration_takes_one_second(read: Read, duration: str) -> None:
    content = json.dumps(trajectory({"action": "a", "execution_time": "HERE"})).replace('"HERE"', duration)
    assert read(content).rows[-1].create_time == "2023-11-14 22:13:21.000000"


@pytest.mark.parametrize(
    ("began", "time"),
    [
        (10**18, "9999-12-31 23:59:59.000000"),
        (253402300799, "9999-12-31 23:59:59.000000"),
        (-(10**18), "0001-01-01 00:00:00.000000"),
        (-1, "1970-01-01 00:00:00.000000"),
    ],
)
def test_a_file_time_that_no_date_can_say_becomes_the_nearest(began: int, time: str) -> None:
    assert swe_agent.to_xagent(trajectory(), "run", began)["raws"][-1]["create_time"] == time


@pytest.mark.parametrize("info", [{}, None, {"exit_status": None}, {"exit_status": ""}, {"exit_status": "submitted"},
                                  {"exit_status": "submitted (exit_context)"}])  # fmt: skip
def test_a_run_that_submitted_is_finished(read: Read, info: Any) -> None:
    recording = read(trajectory(info=info))
    assert recording.interaction.status == "finished"
    assert (recording.rows[-1].status, recording.rows[-1].data, recording.rows[-1].current) == ("finished", "[]", "")


@pytest.mark.parametrize(
    ("status", "stored"),
    [("exit_cost", '"exit_cost"'), ("exit_error", '"exit_error"'), ("early_exit", '"early_exit"'), (1, '"1"')],
)
def test_a_run_that_gave_up_has_failed(read: Read, status: Any, stored: str) -> None:
    recording = read(trajectory(info={"exit_status": status}))
    assert recording.interaction.status == "failed"
    assert (recording.rows[-1].status, recording.rows[-1].data, recording.rows[-1].current) == ("failed", stored, "")


@pytest.mark.parametrize(
    ("action", "name"),
    [
        ("ls -F", "ls"),
        ("  submit\n", "submit"),
        ("./run.sh --now", "./run.sh"),
        ("/usr/bin/env-x a", "/usr/bin/env-x"),
        ("_private", "_private"),
        ("X=1 make", "bash"),
        ("(cd a && ls)", "bash"),
        ("2to3 x", "bash"),
        ("ls;pwd", "bash"),
        ("", "bash"),
        (None, "bash"),
    ],
)
def test_a_tool_is_named_by_the_commands_first_word(read: Read, action: str | None, name: str) -> None:
    used = tools(read(trajectory({"action": action})))
    assert (used["tool_name"], used["tool_input"]) == (name, {"command": action or ""})


@pytest.mark.parametrize(
    ("value", "text", "output"),
    [
        (None, "", ""),
        ([{"type": "text", "text": "字"}], '[{"type": "text", "text": "字"}]', [{"type": "text", "text": "字"}]),
        ({"a": 1}, '{"a": 1}', {"a": 1}),
        (5, "5", "5"),
        (False, "false", "false"),
    ],
)
def test_what_is_no_text_is_kept_as_json(read: Read, value: Any, text: str, output: Any) -> None:
    recording = read(trajectory({"thought": value, "action": value, "observation": value}))
    assert data(recording, 2)["thoughts"] == text
    assert tools(recording)["tool_input"] == {"command": text}
    assert tools(recording)["tool_output"] == output


def test_numbers_and_lone_surrogates_in_an_observation_are_kept(read: Read) -> None:
    content = json.dumps(trajectory({"observation": "HERE"})).replace('"HERE"', r'{"a":[1e400,"\ud800"]}')
    assert r'"tool_output":{"a":[1e400,"\ud800"]}' in (read(content).rows[2].data or "")


def goal(recording: Recording) -> str:
    return str(json.loads(recording.rows[0].human_data or "")["goal"])


def user(content: Any, **others: Any) -> dict[str, Any]:
    return {"role": "user", "content": content, **others}


STATEMENT = {"problem_statement": {"text": "Fix it\nnow"}}
PROMPT = "Solve this.\nISSUE:\nFix it\nnow\n\nINSTRUCTIONS:\nGo."


@pytest.mark.parametrize(
    "others",
    [
        {"replay_config": STATEMENT},
        {"replay_config": json.dumps(STATEMENT), "history": [user("another")]},
        {"history": [{"role": "system", "content": "no"}, user(PROMPT), user("later")]},
        {"history": [user("<uploaded/>\n<pr_description>\nFix it\nnow\n</pr_description>\nGo.")]},
        {"history": [user("Fix it\nnow")]},
        {"history": [user([{"type": "text", "text": PROMPT}, {"type": "image"}])]},
        {"history": [user([{"type": "text", "text": "Fix it"}, {"type": "text", "text": "now"}])]},
        {"history": [user("a demonstration", is_demo=True), user(PROMPT)]},
        {"history": [user(None), user(" "), user(PROMPT)]},
        {"replay_config": "{", "history": [user(PROMPT)]},
        {"replay_config": '{"a": NaN}', "history": [user(PROMPT)]},
        {"replay_config": "[]", "history": [user(PROMPT)]},
        {"replay_config": {"problem_statement": "x"}, "history": [user(PROMPT)]},
        {"replay_config": {"problem_statement": {"text": "\n"}}, "history": [user(PROMPT)]},
    ],
)
def test_the_goal_is_the_problem_statement_wherever_it_stands(read: Read, others: dict[str, Any]) -> None:
    assert goal(read(trajectory(**others))) == "Fix it\nnow"


@pytest.mark.parametrize("key", ["messages", "query"])
def test_the_goal_may_stand_in_what_the_first_step_was_told(read: Read, key: str) -> None:
    recording = read(trajectory({"action": "ls", key: [user(PROMPT)]}, {"action": "ls", key: [user("x")]}))
    assert goal(recording) == "Fix it\nnow"


@pytest.mark.parametrize("query", [None, 5, [5], [user(7)]])
def test_a_run_without_a_problem_statement_has_a_title_all_the_same(read: Read, query: Any) -> None:
    recording = read(trajectory({"action": "ls", "query": query}))
    assert (goal(recording), recording.interaction.description) == ("", "SWE-agent run")


def test_a_title_is_the_first_line_made_short_and_storable(read: Read) -> None:
    text = "\n \n  a\0 \tb\ud800 " + "x" * 200 + "\nsecond"
    recording = read(trajectory(replay_config={"problem_statement": {"text": text}}))
    assert recording.interaction.description == "a\ufffd b\ufffd " + "x" * 113 + "…"
    assert goal(recording) == text


def test_a_history_alone_is_a_run_too() -> None:
    recording = read_recording(SIMPLE)
    assert [row.status for row in recording.rows] == ["running", "start", *["inner"] * 5, "finished"]
    assert goal(recording).startswith("SyntaxError: invalid syntax\nI'm running `missing_colon.py`")
    assert goal(recording).endswith("SyntaxError: invalid syntax\r\n```\n")
    assert data(recording, 2)["thoughts"].startswith("The `SyntaxError` in `missing_colon.py` is likely")
    used = [tools(recording, index) for index in range(2, 7)]
    assert [tool["tool_name"] for tool in used] == ["find_file", "open", "edit", "bash", "submit"]
    assert used[0]["tool_input"] == {"file_name": "missing_colon.py"}
    assert used[0]["tool_output"].startswith('Found 1 matches for "missing_colon.py"')
    assert used[4]["tool_input"] == {}


def assistant(**others: Any) -> dict[str, Any]:
    return {"role": "assistant", **others}


def call(name: Any = "edit", arguments: Any = '{"a": 1}') -> dict[str, Any]:
    return {"function": {"name": name, "arguments": arguments}}


@pytest.mark.parametrize("arguments", ['{"a": 1}', {"a": 1}])
def test_a_tool_call_gives_the_tools_name_and_arguments(read: Read, arguments: Any) -> None:
    used = tools(read({"history": [assistant(action="edit 1", tool_calls=[call(arguments=arguments)])]}))
    assert (used["tool_name"], used["tool_input"]) == ("edit", {"a": 1})


@pytest.mark.parametrize(
    "calls",
    [
        None,
        [],
        "edit",
        [5],
        [{}],
        [{"function": "edit"}],
        [call(name="")],
        [call(name=5)],
        [call(arguments="[1]")],
        [call(arguments="{")],
        [call(arguments='{"a": NaN}')],
        [call(arguments='{"a": 1e400}')],
        [call(arguments=None)],
        [call(), call()],
    ],
)
def test_a_tool_call_that_is_none_leaves_the_action(read: Read, calls: Any) -> None:
    used = tools(read({"history": [assistant(action="edit 1.5", tool_calls=calls)]}))
    assert (used["tool_name"], used["tool_input"]) == ("edit", {"command": "edit 1.5"})


def test_tool_calls_without_an_action_are_kept_as_json(read: Read) -> None:
    calls = [call(), call("ls")]
    used = tools(read({"history": [assistant(tool_calls=calls)]}))
    assert (used["tool_name"], json.loads(used["tool_input"]["command"])) == ("bash", calls)


def test_arguments_may_hold_any_finite_number(read: Read) -> None:
    used = tools(read({"history": [assistant(tool_calls=[call(arguments='{"a": [1.5, 18446744073709551616]}')])]}))
    assert used["tool_input"] == {"a": [1.5, 18446744073709551616]}


@pytest.mark.parametrize(
    ("message", "thought"),
    [
        ({"thought": "why", "content": "all of it"}, "why"),
        ({"thought": "", "content": "all of it"}, ""),
        ({"thought": None, "content": "all of it"}, "all of it"),
        ({"content": [{"type": "text", "text": "all"}, {"type": "text", "text": "of it"}]}, "all\nof it"),
        ({}, ""),
    ],
)
def test_the_thought_is_the_messages_or_its_content(read: Read, message: dict[str, Any], thought: str) -> None:
    assert data(read({"history": [assistant(**message)]}), 2)["thoughts"] == thought


def test_an_observation_is_the_next_message_of_tool_or_user(read: Read) -> None:
    answers = [{"role": "tool", "content": "from the tool"}, user("from the user"), None]
    history = [message for answer in answers for message in (assistant(action="x"), answer) if message]
    recording = read({"history": history})
    assert [tools(recording, index)["tool_output"] for index in (2, 3, 4)] == ["from the tool", "from the user", ""]


def test_a_demonstration_is_no_part_of_the_run(read: Read) -> None:
    demo = [assistant(action="demo", is_demo=True), user("demo", is_demo=True)]
    recording = read({"history": [*demo, assistant(action="ls")], "trajectory": []})
    assert [row.status for row in recording.rows] == ["running", "start", "inner", "finished"]
    assert tools(recording)["tool_name"] == "ls"


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"trajectory": []}, "$: expected at least one step in trajectory or history, got none"),
        (
            {"trajectory": None, "history": [user("x")]},
            "$: expected at least one step in trajectory or history, got none",
        ),
        ({"trajectory": "x"}, '$.trajectory: expected a list, got "x"'),
        ({"trajectory": [{"action": ""}, 5]}, "$.trajectory[1]: expected an object, got 5"),
        ({"trajectory": [{"x": 1}]}, '$.trajectory[0]: expected thought, action and observation, got {"x": 1}'),
        ({"history": [None]}, "$.history[0]: expected an object, got null"),
        (trajectory(info=[]), "$.info: expected an object, got []"),
    ],
)
def test_what_is_no_trajectory_is_refused_with_the_reason(refusal: Refusal, document: Any, message: str) -> None:
    assert refusal(document) == message


# Anything at all

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a loaded machine is no failure

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["run", "assistant", "{}"]),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
keys = st.sampled_from(
    [
        *("interaction", "raws", "workspace", "interaction_id", "node_id", "step", "data"),
        *("trajectory", "history", "info", "exit_status", "replay_config", "problem_statement", "text"),
        *("thought", "action", "observation", "execution_time", "query", "messages"),
        *("role", "content", "tool_calls", "function", "name", "arguments", "is_demo"),
    ]
)
documents = st.recursive(json_values, lambda inner: st.lists(inner) | st.dictionaries(keys, inner), max_leaves=15)
SEEDS: list[Any] = [
    xagent({"data": {"a": [1]}, "step": 1}, {"step": 0}, workspace={"a/b": "QQ=="}),
    trajectory({"action": "ls", "execution_time": 1.5, "query": [user("x")]}, info={"exit_status": "x"}),
    {"history": [user(PROMPT), assistant(tool_calls=[call()]), {"role": "tool", "content": "x"}]},
]


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """A valid recording in which one value, at any depth, has become another one, or is gone."""
    document = copy.deepcopy(draw(st.sampled_from(SEEDS)))
    holder = document
    while True:
        place = draw(st.sampled_from(sorted(holder) if isinstance(holder, dict) else range(len(holder))))
        if not isinstance(holder[place], dict | list) or not holder[place] or draw(st.booleans()):
            break
        holder = holder[place]
    if draw(st.booleans()):
        holder[place] = draw(json_values)
    else:
        del holder[place]
    return document


def reads_or_refuses(read: Read, content: Any) -> None:
    try:
        recording = read(content)
    except RecordingError as error:
        # A mistake in the reader that comes out as some ValueError of Python's own has not this form.
        assert re.fullmatch(r".*run\.json: (.*expected .*, got.*|'utf-8' codec can't decode .*)", str(error))
        return
    assert recording.rows
    for row in recording.rows:
        assert row.interaction_id == recording.interaction.interaction_id
        for column in (row.data, row.file_list, row.human_data, row.human_file_list):
            json.loads((column or "null").encode(), parse_constant=pytest.fail)


@unhurried
@given(content=st.binary())
def test_no_bytes_raise_anything_but_a_recording_error(read: Read, content: bytes) -> None:
    reads_or_refuses(read, content)


@unhurried
@given(document=documents | st.dictionaries(keys, documents))
def test_no_json_raises_anything_but_a_recording_error(read: Read, document: Any) -> None:
    reads_or_refuses(read, document)


@settings(unhurried, max_examples=300)
@given(document=mutated())
def test_no_damaged_recording_raises_anything_but_a_recording_error(read: Read, document: Any) -> None:
    reads_or_refuses(read, document)


def as_a_whole(text: str) -> Recording | None:
    try:
        return recording_of(decode(text))
    except (ValueError, RecursionError):
        return None


LAYOUTS = st.sampled_from([{}, {"separators": (",", ":")}, {"indent": 1}, {"ensure_ascii": False}])


@settings(unhurried, max_examples=300)
@given(document=mutated(), layout=LAYOUTS, data=st.data())
def test_a_file_that_is_read_a_row_at_a_time_is_read_as_it_is_as_a_whole(
    read: Read, document: Any, layout: dict[str, Any], data: st.DataObject
) -> None:
    if not isinstance(document, dict) or "interaction" not in document:
        return
    if isinstance(document.get("raws"), list) and data.draw(st.booleans()):
        value = data.draw(json_values)
        document["raws"] += [{"node_id": f"m{step}", "interaction_id": "run", "data": value} for step in range(4)]
    text = json.dumps(document, **layout)
    if data.draw(st.booleans()):
        text = text.replace("1", data.draw(st.sampled_from(["0.10", "1e400", "18446744073709551616", "[1 ]"])), 1)
    try:
        recording: Recording | None = read(text.encode("utf-8", "surrogatepass"))
    except RecordingError:
        recording = None
    assert recording == as_a_whole(text)


@unhurried
@given(seed=st.sampled_from(SEEDS), cut=st.integers(0, 400), junk=st.binary(max_size=4))
def test_no_damaged_file_raises_anything_but_a_recording_error(read: Read, seed: Any, cut: int, junk: bytes) -> None:
    content = json.dumps(seed).encode()
    reads_or_refuses(read, content[:cut] + junk + content[cut + 1 :])


@unhurried
@given(value=json_values.filter(lambda value: "NaN" not in json.dumps(value) and "Infinity" not in json.dumps(value)))
def test_any_json_in_a_column_is_the_same_json_after_it(read: Read, value: Any) -> None:
    assert json.loads(read(xagent({"data": value})).rows[0].data or "null") == value
