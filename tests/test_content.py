from __future__ import annotations

import copy
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from share.content import PICTURE_TOOL, handle_data, handle_workspace_filelist, unescape

ANY_TEXT = st.text(st.characters(exclude_categories=()))
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT | st.just(PICTURE_TOOL),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(ANY_TEXT, inner)
        | st.dictionaries(
            st.sampled_from(["using_tools", "tool_name", "tool_input", "tool_output", "file_name", "file_data"]), inner
        )
    ),
    max_leaves=25,
)


def tools(**using_tools: Any) -> dict[str, Any]:
    return {"thoughts": "\\u6570", "using_tools": using_tools}


def expected(text: str) -> str:
    """What PROTOCOL.md says of escapes, read from left to right."""
    result, position = "", 0
    while position < len(text):
        escape = re.compile(r"\\u([0-9a-fA-F]{4})").match(text, position)
        if escape is None:
            length = 2 if text[position] == "\\" else 1  # a backslash and what it escapes
            result += text[position : position + length]
            position += length
            continue
        unit, position = int(escape[1], 16), escape.end()
        low = re.compile(r"\\u([dD][c-fC-F][0-9a-fA-F]{2})").match(text, position)
        if 0xD800 <= unit < 0xDC00 and low is not None:
            result += chr(0x10000 + ((unit - 0xD800) << 10) + int(low[1], 16) - 0xDC00)
            position = low.end()
        else:
            result += escape[0] if 0xD800 <= unit < 0xE000 else chr(unit)
    return result


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("", ""),
        ("plain", "plain"),
        (r"\u6570\u636e.csv", "数据.csv"),
        (r"\u0041", "A"),
        (r"\u00e9\u00E9", "éé"),
        (r"\ud83d\ude00", "😀"),
        (r"\uD83D\uDE00", "😀"),
        (r"\uD83d\udE00", "😀"),
        (r"\ud83d", r"\ud83d"),
        (r"\uDe00", r"\uDe00"),
        (r"\ude00\ud83d", r"\ude00\ud83d"),
        (r"\ud83d\ud83d\ude00\ude00", "\\ud83d😀\\ude00"),
        (r"\uD83D\u0041\uDE00", r"\uD83DA\uDE00"),
        (r"\ud83d \ude00", r"\ud83d \ude00"),
        (r"a\ud83d\ude00b\uD800c", "a😀b\\uD800c"),
        (r"\\u0041", r"\\u0041"),
        (r"\\\u0041", r"\\A"),
        (r"\\\\u0041", r"\\\\u0041"),
        (r"\\\\\u0041\\u0042", r"\\\\A\\u0042"),
        (r"\u0041\\u0042\u0043", r"A\\u0042C"),
        (r"\u005cu0041", r"\u0041"),
        (r"\u005c\u0041", r"\A"),
        (r"\u0000", "\0"),
        ("\\", "\\"),
        ("\\u0041\\", "A\\"),
        (r"\u", r"\u"),
        (r"\u004", r"\u004"),
        (r"\u004g", r"\u004g"),
        (r"\U0041", r"\U0041"),
        (r"\u00411", "A1"),
        (r"\x41\n\t\101", r"\x41\n\t\101"),
        (r"C:\new\users\u6570", "C:\\new\\users数"),
        ("数据 é 😀", "数据 é 😀"),
        ("\\u٠٠٤١", "\\u٠٠٤١"),
        ("\ud83d\\ude00", "\ud83d\\ude00"),
    ],
)
def test_an_escape_becomes_its_character_and_all_else_stays(written: str, shown: str) -> None:
    assert unescape(written) == shown == expected(written)


@given(st.text(alphabet=st.sampled_from("\\\\\\uu0048dDeEfFcCx ")))
def test_backslashes_are_read_from_left_to_right(text: str) -> None:
    # As a tool's text is: an odd backslash before another character than u is that tool's own escape.
    assert unescape(text) == expected(text)


@given(st.lists(st.sampled_from([r"\ud83d", r"\ude00", r"\uDBFF", r"\uDC00", r"\u0041", "x", "\\\\", "\\"])))
def test_pairs_are_joined_and_halves_are_left(pieces: list[str]) -> None:
    assert unescape("".join(pieces)) == expected("".join(pieces))


@given(st.text())
def test_a_text_in_escapes_is_the_text(text: str) -> None:
    escaped = "".join(
        f"\\u{unit[0]:02x}{unit[1]:02X}" for unit in zip(*[iter(text.encode("utf-16-be"))] * 2, strict=True)
    )
    assert unescape(escaped) == text


@given(ANY_TEXT)
def test_a_text_without_escapes_stays(text: str) -> None:
    if "\\u" not in text:
        assert unescape(text) is text


def test_many_backslashes_cost_no_more_than_they_are_many() -> None:
    assert unescape("\\" * 1_000_000 + "u0041") == "\\" * 1_000_000 + "u0041"
    assert unescape("\\u004" * 200_000) == "\\u004" * 200_000
    assert unescape("\\ud83d" * 100_000) == "\\ud83d" * 100_000


# Rows


@given(ANY_JSON)
def test_no_json_breaks_it(data: Any) -> None:
    handle_data(copy.deepcopy(data))
    handle_data(copy.deepcopy(data), lambda name: None)
    handle_data({"using_tools": copy.deepcopy(data)}, lambda name: name)
    handle_data({"using_tools": {"tool_name": PICTURE_TOOL, "tool_output": copy.deepcopy(data)}}, lambda name: name)
    json.dumps(handle_workspace_filelist(data))


@given(ANY_JSON)
def test_what_uses_no_tools_stays(data: Any) -> None:
    if not (isinstance(data, dict) and "using_tools" in data):
        before = repr(data)
        assert handle_data(data, lambda name: "picture") is data
        assert repr(data) == before


def test_escapes_are_read_in_input_and_output_where_they_are_text() -> None:
    data = handle_data(tools(tool_name=r"\u6570", tool_input=r"\u6570", tool_output=r"\u636e"))
    assert data == {
        "thoughts": r"\u6570",
        "using_tools": {"tool_name": r"\u6570", "tool_input": "数", "tool_output": "据"},
    }


def test_each_for_itself() -> None:
    assert handle_data(tools(tool_input=r"\ud83d", tool_output=r"\ude00")) == tools(
        tool_input=r"\ud83d", tool_output=r"\ude00"
    )
    assert handle_data(tools(tool_input={"a": r"\u6570"}, tool_output=r"\u6570")) == tools(
        tool_input={"a": r"\u6570"}, tool_output="数"
    )


@pytest.mark.parametrize("meant", [{"code": r"\u6570"}, [r"\u6570"], 1, None, True])
def test_an_escape_in_what_is_parsed_already_was_meant(meant: Any) -> None:
    assert handle_data(tools(tool_input=meant, tool_output=meant)) == tools(tool_input=meant, tool_output=meant)


def test_pictures_are_put_in_where_they_are_named() -> None:
    output = ["cell_index: 0", {"media_type": "image/png", "file_name": "a.png"}, {"file_name": "b.png"}, {"text": "c"}]
    data = handle_data(tools(tool_name=PICTURE_TOOL, tool_output=output), {"a.png": "QQ=="}.get)
    assert data["using_tools"] == {
        "tool_name": PICTURE_TOOL,
        "tool_output": [
            "cell_index: 0",
            {"media_type": "image/png", "file_name": "a.png", "file_data": "QQ=="},
            {"file_name": "b.png", "file_data": None},
            {"text": "c"},
        ],
        "is_include_pictures": True,
    }
    assert list(data["using_tools"])[-1] == "is_include_pictures"


@pytest.mark.parametrize("name", [None, 1, True, ["a.png"], {"a": 1}, 1.5])
def test_a_picture_whose_name_is_no_text_is_not_there(name: Any) -> None:
    data = tools(tool_name=PICTURE_TOOL, tool_output=[{"file_name": name, "file_data": "forged"}])
    assert handle_data(data, pytest.fail)["using_tools"]["tool_output"] == [{"file_name": name, "file_data": None}]


def test_a_row_without_pictures_gets_none() -> None:
    data = tools(tool_name=PICTURE_TOOL, tool_output=[{"file_name": "a.png"}])
    assert handle_data(copy.deepcopy(data)) == data


@pytest.mark.parametrize("name", ["python", None, PICTURE_TOOL.lower(), [PICTURE_TOOL]])
def test_another_tool_gets_no_pictures(name: Any) -> None:
    data = tools(tool_name=name, tool_output=[{"file_name": "a.png"}])
    assert handle_data(copy.deepcopy(data), pytest.fail) == data


@pytest.mark.parametrize("output", [None, "text", {"file_name": "a.png"}, [[{"file_name": "a.png"}]], 7])
def test_only_the_objects_of_the_outputs_list_are_pictures(output: Any) -> None:
    data = handle_data(tools(tool_name=PICTURE_TOOL, tool_output=copy.deepcopy(output)), pytest.fail)
    assert data == tools(tool_name=PICTURE_TOOL, tool_output=output, is_include_pictures=True)


# Files


def test_a_suffix_is_what_follows_the_last_dot() -> None:
    names = ["a.png", "a.tar.gz", "Makefile", ".env", "a.", "", "数据.数", "a/b.c/d", "\ud800.x"]
    suffixes = ["png", "gz", "Makefile", "env", "", "", "数", "c/d", "x"]
    assert handle_workspace_filelist(names) == [
        {"name": name, "suffix": suffix} for name, suffix in zip(names, suffixes, strict=True)
    ]


@pytest.mark.parametrize("file_list", [None, "a.png", {"a.png": 1}, 1, True, 1.5, []])
def test_what_is_no_list_has_no_files(file_list: Any) -> None:
    assert handle_workspace_filelist(file_list) == []


def test_an_entry_that_is_no_string_is_left_out() -> None:
    assert handle_workspace_filelist([None, 1, ["a"], {"name": "a"}, "a.b", False]) == [{"name": "a.b", "suffix": "b"}]
