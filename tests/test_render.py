from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from share.formats import read_recording
from share.render import plain, render

DATA = Path(__file__).parent / "data"
OURS = re.compile(r"\x1b\[[0-9;]*m")  # what the styles are made of
ANY_TEXT = st.text(
    st.characters(exclude_categories=()) | st.sampled_from("\x1b[]()0123456789;?mHJKPX^_\\\x07\x9b\x9c\r\n\t")
)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(ANY_TEXT, inner),
    max_leaves=15,
)
HOSTILE = {
    "clear the screen": "\x1b[2J\x1b[H",
    "colour": "\x1b[31mred\x1b[0m",
    "private mode": "\x1b[?1049h\x1b[?25l",
    "parameters of every kind": "\x1b[>0;1<=c\x1b[38:2::1:2:3m",
    "intermediates": "\x1b[!p\x1b[1 q\x1b[1$r",
    "report": "\x1b[6n\x1b[c\x1bZ",
    "title": "\x1b]0;owned\x07\x1b]2;owned\x1b\\",
    "link": "\x1b]8;;https://evil.example/\x1b\\click me\x1b]8;;\x1b\\",
    "clipboard": "\x1b]52;c;cm0gLXJmIH4=\x07",
    "clipboard without an end": "\x1b]52;c;cm0gLXJmIH4=",
    "device control": '\x1bP$q"p\x1b\\',
    "privacy and application": "\x1b^secret\x1b\\\x1b_secret\x1b\\\x1bXsecret\x1b\\",
    "charset": "\x1b(0\x1b)B\x0e\x0f\x1b%G",
    "reset": "\x1bc\x1b7\x1b8\x1b=\x1b>",
    "C1": "\x9b2J\x9d0;owned\x9c\x90q\x9c\x85\x84\x8d",
    "overwrite": "harmless\rrm -rf ~\b\b\b\x7f",
    "bell and others": "\a\v\f\0\x05\x1a",
    "unfinished": "\x1b[31",
    "nested": "\x1b\x1b[0m[2J\x1b[\x1b[0m2J\x1b]\x1b]0;a\x07",
    "lone surrogates": "\ud800\udfff\udc1b",
    "right to left": "\u202eexe.txt\u202c\u2066\u200f",
    "separators": "a\u2028b\u2029c",
    "tags and joiners": "\U000e0041\u200d\ufeff",
    "many lines": "a\n" * 5,
}


def shown(frame: dict[str, Any], max_lines: int | None = None) -> list[str]:
    """The lines, after a check that nothing in them but our own colours does anything to a terminal."""
    lines = list(render(frame, max_lines))
    for line in lines:
        bare = OURS.sub("", line)
        assert bare.isprintable(), ascii(line)
        assert line.encode()
        assert re.fullmatch(r"(?:[^\x1b]|\x1b\[(?:0|1|2|31|32|36)m)*", line), ascii(line)
    return [click.unstyle(line) for line in lines]


def frame(data: Any, status: str = "inner", **more: Any) -> dict[str, Any]:
    return {"data": data, "status": status, "success": True, "current": "1.1", "workspace_file_list": [], **more}


def inner(**values: Any) -> dict[str, Any]:
    return frame({"thoughts": "", "using_tools": {"tool_name": "", "tool_input": "", "tool_output": "", **values}})


# Hostile text


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_does_nothing_to_a_terminal(text: str) -> None:
    assert plain(text).replace("\n", "").isprintable()
    shown(inner(tool_name=text, tool_input=text, tool_output=text))
    shown(inner(tool_input={text: text, "b": [text]}, tool_output=[text, {"a": text}]))
    shown(frame(dict.fromkeys(("goal", "thoughts", "reasoning", "plan", "criticism", "action_list_summary"), text)))
    shown(frame([{"name": text}, text], status="subtask"))
    shown(frame(text, status="failed"))
    shown(frame(None, success=False, message=text))
    shown(frame(None, workspace_file_list=[{"name": text, "suffix": text}]))


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_title_is_one_line_and_does_nothing(text: str) -> None:
    assert len(shown(frame(None, current=text))) == 1
    assert len(shown(frame(None, status=text))) == 1


@given(ANY_TEXT)
def test_no_text_gets_through(text: str) -> None:
    assert plain(text).replace("\n", "").isprintable()
    assert len(shown(frame(text, status="failed"))) >= 1


@given(ANY_JSON, st.sampled_from(["inner", "subtask", "failed", "finished", "start", "running", "refinement"]))
def test_no_data_gets_through_or_breaks_it(data: Any, status: str) -> None:
    shown(frame(data, status), max_lines=3)
    shown(frame({"using_tools": data, "goal": data, "thoughts": data}, status))
    shown(frame({"using_tools": {"tool_name": data, "tool_input": data, "tool_output": data}}, status))
    shown(frame(None, status, message=data, success=False, current=data))


def test_colours_are_taken_out_and_the_text_stays() -> None:
    assert plain("\x1b[1;31mred\x1b[0m \x1b]8;;https://a\x1b\\link\x1b]8;;\x07 \x1b[38:5:1mend") == "red link end"


def test_other_controls_are_shown_as_escapes() -> None:
    assert plain("a\rb\x07\x9b\ud800") == r"a\rb\x07\x9b\ud800"
    assert plain("\x1b[>c") == r"\x1b[>c"


def test_line_breaks_and_tabs_stay() -> None:
    assert plain("a\r\nb\n\tc\n") == "a\nb\n        c\n"


def test_long_text_is_not_cut() -> None:
    assert plain("数" * 10_000) == "数" * 10_000


def test_many_unfinished_sequences_cost_no_more_than_they_are_many() -> None:
    assert plain("\x1b]" * 200_000) == ""
    assert plain("\x1b[1" * 200_000) == r"\x1b[1" * 200_000


# What is shown


@pytest.mark.parametrize("transcript", sorted(DATA.glob("golden/*.frames.jsonl")), ids=lambda path: path.name)
def test_every_golden_frame_is_shown(transcript: Path) -> None:
    events = [json.loads(line) for line in transcript.read_text(encoding="utf-8").strip().split("\n")]
    received = [json.loads(event["text"]) for event in events if event["event"] == "recv"]
    for row in (row for row in received if "status" in row):
        lines = shown(row)
        assert row["status"] in lines[0]
        assert len(shown(row, max_lines=1)) <= len(lines)


@pytest.mark.parametrize("file", sorted([*DATA.glob("golden/*.recording.json"), *DATA.glob("swe-agent/*.traj")]))
def test_every_recorded_row_is_shown(file: Path) -> None:
    for row in read_recording(file).rows:
        shown(frame(json.loads(row.data or "null"), row.status or "", current=row.current))


def test_a_step_is_shown_with_its_tool() -> None:
    data = {
        "thoughts": "look",
        "reasoning": "why",
        "plan": "",
        "using_tools": {"tool_name": "bash", "tool_input": {"command": "ls"}, "tool_output": "a\nb\n"},
    }
    lines = shown(frame(data, workspace_file_list=[{"name": "a.png", "suffix": "png"}, {"name": "b", "suffix": "b"}]))
    assert [line.split(maxsplit=1) for line in lines] == [
        ["●", "inner 1.1"],
        ["thoughts", "look"],
        ["reasoning", "why"],
        ["tool", "bash"],
        ["input", "ls"],
        ["output", "a"],
        ["b"],
        ["files", "a.png, b"],
    ]


@pytest.mark.parametrize(("status", "mark"), [("finished", "✔"), ("failed", "✘"), ("error", "!"), ("subtask", "●")])
def test_a_row_has_the_mark_of_its_status(status: str, mark: str) -> None:
    assert shown(frame(None, status=status)) == [f"{mark} {status} 1.1"]


def test_a_plan_is_its_subtasks() -> None:
    lines = shown(frame([{"name": "One", "goal": "g"}, {"name": "Two"}, "Three"], status="subtask"))
    assert [line.split()[-1] for line in lines[1:]] == ["One", "Two", "Three"]


def test_a_row_that_cant_be_read_shows_why() -> None:
    lines = shown(frame(None, status="error", success=False, message="row n can't be read"))
    assert lines[1].strip() == "row n can't be read"


@pytest.mark.parametrize("nothing", [None, "", [], {}])
def test_what_is_empty_is_not_shown(nothing: Any) -> None:
    assert len(shown(inner(tool_name=nothing, tool_input=nothing, tool_output=nothing))) == 1
    assert len(shown(frame(nothing, status="finished"))) == 1


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (False, "false"), (1.5, "1.5"), ("数", "数"), (2**70, str(2**70))]
)
def test_what_is_not_empty_is(value: Any, text: str) -> None:
    assert shown(inner(tool_output=value))[-1].split()[-1] == text


@pytest.mark.parametrize(("max_lines", "count"), [(None, 100), (100, 100), (99, 100), (3, 4), (1, 2)])
def test_no_more_lines_of_a_text_are_shown_than_wanted(max_lines: int | None, count: int) -> None:
    lines = shown(inner(tool_output="\n".join(f"line {n}" for n in range(100))), max_lines)
    assert len(lines) == 1 + count
    if max_lines is not None and max_lines < 100:
        assert lines[-1].split() == ["…", str(100 - max_lines), "more", "lines"]


def test_a_title_of_many_lines_counts_as_one() -> None:
    assert len(shown(frame(None, current="1\n" * 50), max_lines=3)) == 1


@pytest.mark.parametrize("depth", [100, 400])
def test_what_is_nested_deeply_is_shown(depth: int) -> None:
    value: Any = "deep"
    for _ in range(depth):
        value = [value]
    assert any("deep" in line for line in shown(inner(tool_output=value)))
