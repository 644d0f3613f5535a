from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urljoin

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from share import wire_v1
from share.wire import WireError, decode_command
from share.wire_v1 import (
    MAX_DATA_BYTES,
    PONG,
    FieldError,
    check_command,
    rows_frame,
    rows_page,
)
from storage.models import Row
from tests.asgi import row, row_frame
from tests.test_json_text import ANY_JSON, ANY_TEXT, is_strict_json

STARTED = {
    "type": "shared",
    "offset": 0,
    "epoch": None,
    "speed": 1,
    "pace": None,
    "idle_time_limit": None,
    "start_at": None,
    "follow": True,
    "autoplay": True,
}
KEYS = ["data", "status", "message", "success", "current", "node_id", "workspace_file_list", "offset", "at", "time"]
PICTURE = "PythonNotebook_execute_cell"
DEEP = "[" * 1000 + "]" * 1000


def encode(frame: Mapping[str, Any]) -> str:
    return wire_v1.encode(frame).decode()


def encode_error(*told: str, **options: bool) -> str:
    return wire_v1.encode_error(*told, **options).decode()


def check(command: Mapping[str, Any], start: str = "shared") -> dict[str, Any]:
    return check_command(command, start)


def refusal(command: Mapping[str, Any], kind: type[WireError] = FieldError) -> str:
    """The message for a command that can't be."""
    with pytest.raises(WireError) as raised:
        check(command)
    assert type(raised.value) is kind
    return str(raised.value)


def strict(text: str) -> Any:
    """What a frame says, which is JSON in UTF-8 and nothing else."""
    assert is_strict_json(text), text[:1000]
    return json.loads(text)


def rest_of(frame: str, data: str) -> dict[str, Any]:
    """A row's frame without its data, which must stand there as it was stored."""
    assert frame.startswith(f'{{"data":{data},"status":')
    rest: dict[str, Any] = strict("{" + frame[len(f'{{"data":{data},') :])
    assert ["data", *rest] == KEYS
    return rest


def data_of(stored: Row) -> Any:
    return strict(row_frame("run", stored, 1, 0.0))["data"]


def picture_row(output: Any, **fields: Any) -> Row:
    tools = {"tool_name": PICTURE, "tool_output": output}
    return row(0, {"using_tools": tools}, **{"include_pictures": True} | fields)


# Commands


@pytest.mark.parametrize("name", ["shared", "replay"])
def test_a_start_has_every_field_with_its_default(name: str) -> None:
    assert check({"type": name}, name) == STARTED | {"type": name}


@pytest.mark.parametrize(
    "fields",
    [
        {"offset": 0},
        {"offset": 2**63},
        {"epoch": None},
        {"epoch": ""},
        {"epoch": "é" * 1000},
        {"speed": 0.1},
        {"speed": 100},
        {"speed": 2.5},
        {"pace": "recorded"},
        {"pace": "classic"},
        {"pace": "instant"},
        {"pace": 0},
        {"pace": 0.25},
        {"pace": 86_400},
        {"idle_time_limit": None},
        {"idle_time_limit": 0},
        {"idle_time_limit": 2.5},
        {"start_at": None},
        {"start_at": 0},
        {"start_at": 1e9},
        {"follow": False},
        {"autoplay": False},
        {"offset": 3, "epoch": "x", "speed": 3, "pace": 1, "idle_time_limit": 1, "start_at": 1, "follow": False},
    ],
)
def test_a_start_takes_every_value_that_is_in_range(fields: dict[str, Any]) -> None:
    assert check({"type": "shared"} | fields) == STARTED | fields


@pytest.mark.parametrize("name", ["pause", "play", "ping", "disconnect"])
def test_a_command_without_fields_is_itself(name: str) -> None:
    assert check({"type": name}) == {"type": name}


@pytest.mark.parametrize("fields", [{"offset": 3}, {"at": 0}, {"at": 2.5}, {"marker": 0}])
def test_a_seek_has_one_place(fields: dict[str, Any]) -> None:
    assert check({"type": "seek"} | fields) == {"type": "seek", "offset": None, "at": None, "marker": None} | fields


@pytest.mark.parametrize("speed", [0.1, 1, 1.5, 100])
def test_a_speed_is_taken_from_a_tenth_to_a_hundred(speed: float) -> None:
    assert check({"type": "set_speed", "speed": speed}) == {"type": "set_speed", "speed": speed}


@pytest.mark.parametrize("seconds", [None, 0, 0.5, 86_400])
def test_an_idle_time_limit_is_seconds_or_null(seconds: float | None) -> None:
    command = {"type": "set_idle_time_limit", "seconds": seconds}
    assert check(command) == command


NO_WHOLE = [-1, 1.5, 1.0, True, False, "1", [], {}, [1], 1e30]
NO_NUMBER = [True, False, "1", [], {}, -1, -0.5]
WRONG: list[tuple[str, str, list[Any], str]] = [
    ("shared", "offset", [*NO_WHOLE, None], "a whole number from 0"),
    ("shared", "epoch", [1, True, [], {}], "a string, or null"),
    ("shared", "speed", [*NO_NUMBER, None, 0, 0.09, 100.1, 1e300], "a number from 0.1 to 100"),
    (
        "shared",
        "pace",
        [*NO_NUMBER, None, "", "Recorded", "fast", 86_401],
        '"recorded", "classic", "instant" or a number of seconds from 0 to 86400',
    ),
    ("shared", "idle_time_limit", [*NO_NUMBER, 86_400.5], "a number from 0 to 86400, or null"),
    ("shared", "start_at", [*NO_NUMBER], "a number from 0, or null"),
    ("shared", "follow", [None, 0, 1, "true", []], "true or false"),
    ("shared", "autoplay", [None, 0, 1, "true", []], "true or false"),
    ("seek", "offset", [*NO_WHOLE, None], "a whole number from 0"),
    ("seek", "at", [*NO_NUMBER, None], "a number from 0"),
    ("seek", "marker", [*NO_WHOLE, None], "a whole number from 0"),
    ("set_speed", "speed", [*NO_NUMBER, None, 0, 0.0999, 101], "a number from 0.1 to 100"),
    ("set_idle_time_limit", "seconds", [*NO_NUMBER, 86_401], "a number from 0 to 86400, or null"),
]


@pytest.mark.parametrize(
    ("name", "field", "value", "expected"),
    [(name, field, value, expected) for name, field, values, expected in WRONG for value in values],
)
def test_a_wrong_value_is_told_with_its_field_what_was_expected_and_what_came(
    name: str, field: str, value: Any, expected: str
) -> None:
    message = refusal({"type": name, field: value})
    assert message == f"{name}: {field} must be {expected}, got {json.dumps(value)}"


@pytest.mark.parametrize("name", ["shared", "pause", "play", "seek", "set_speed", "ping", "disconnect"])
def test_an_unknown_field_is_named_with_those_that_there_are(name: str) -> None:
    message = refusal({"type": name, "ofset": 3})
    assert message.startswith(f'{name}: "ofset" is no field of it; expected ')
    assert ("speed" in message) == (name in ("shared", "set_speed"))


@pytest.mark.parametrize(
    ("name", "field", "expected"),
    [
        ("set_speed", "speed", "a number from 0.1 to 100"),
        ("set_idle_time_limit", "seconds", "a number from 0 to 86400, or null"),
    ],
)
def test_a_missing_field_is_named_with_what_was_expected(name: str, field: str, expected: str) -> None:
    message = refusal({"type": name})
    assert message.startswith(f"{name}: {field}")
    assert "missing" in message
    assert expected in message


@pytest.mark.parametrize("fields", [{}, {"offset": 1, "at": 1}, {"offset": 1, "marker": 1}, {"at": 1, "marker": 1}])
def test_a_seek_to_no_place_or_to_two_is_none(fields: dict[str, Any]) -> None:
    message = refusal({"type": "seek"} | fields)
    assert message == f"seek: expected one of offset, at and marker, got {len(fields)} of them"


@pytest.mark.parametrize("value", [None, 1, [], {}, "", "Shared", "connect", "PAUSE", "replay", "rows", "x" * 5000])
def test_an_unknown_type_is_told_with_those_that_there_are(value: Any) -> None:
    message = refusal({"type": value}, WireError)
    assert message.startswith("type: expected one of shared, pause, play, seek, set_speed, set_idle_time_limit, ping, ")
    assert len(message) < 300


def test_a_command_without_a_type_is_unknown() -> None:
    assert refusal({}, WireError).endswith("got null")


def test_the_owners_view_knows_replay_and_not_shared() -> None:
    with pytest.raises(WireError, match=r"expected one of replay, pause, .* got .shared."):
        check({"type": "shared"}, "replay")


@pytest.mark.parametrize(
    "value",
    [orjson.loads("[" * 1000 + "]" * 1000), orjson.loads("[" * 50 + "]" * 50), "x" * 60_000, {"a": "b" * 60_000}],
)
def test_what_came_is_told_shortly(value: Any) -> None:
    assert len(refusal({"type": "seek", "offset": value})) < 300
    assert len(refusal({"type": "pause", "x" * 60_000: value})) < 300


COMMANDS = ["shared", "pause", "play", "seek", "set_speed", "set_idle_time_limit", "ping", "disconnect"]
FIELDS = ["offset", "epoch", "speed", "pace", "idle_time_limit", "start_at", "follow", "autoplay", "at", "marker"]


@given(st.dictionaries(st.sampled_from(FIELDS) | ANY_TEXT, ANY_JSON, max_size=3), st.sampled_from(COMMANDS))
def test_every_command_is_taken_whole_or_refused_with_a_message(fields: dict[str, Any], name: str) -> None:
    command = fields | {"type": name}
    try:
        checked = check(command)
    except WireError as error:
        strict(encode_error("bad_field", str(error), "id"))
    else:
        assert checked.items() >= command.items()


@given(st.text(max_size=50) | ANY_JSON.map(json.dumps) | st.binary(max_size=50))
def test_whatever_is_received_is_a_command_or_refused_with_a_message(message: str | bytes) -> None:
    try:
        check(decode_command(message))
    except WireError as error:
        strict(encode_error("bad_message", str(error), "id"))


# Frames


def test_frames_are_compact() -> None:
    assert PONG.decode() == '{"type":"pong"}'
    error = '{"type":"error","code":"c","message":"m","temporary":true,"connection":"id"}'
    assert encode_error("c", "m", "id", temporary=True) == error
    assert strict(encode_error("c", "m", "id"))["temporary"] is False


@given(st.dictionaries(ANY_TEXT, ANY_JSON, max_size=4))
def test_every_frame_is_json_that_a_text_frame_can_carry(frame: dict[str, Any]) -> None:
    # A pair of surrogates comes back as the character that they are in JSON.
    assert strict(encode(frame)) == json.loads(json.dumps(frame))


def test_a_row_alone_is_its_own_frame_and_several_are_one() -> None:
    page = rows_page([b'{"a":1}', b'{"b":2}', b'{"c":3}'])
    assert rows_frame(page, 1, 2) == (b'{"b":2}', 1)
    for first, last in ((0, 2), (1, 3), (0, 3)):
        frame, count = rows_frame(page, first, last)
        rows = [{"a": 1}, {"b": 2}, {"c": 3}][first:last]
        assert (strict(frame.decode()), count) == ({"type": "rows", "rows": rows}, len(rows))


def test_rows_that_are_too_large_for_one_frame_are_several() -> None:
    page = rows_page([b"1" * 100_000] * 4)
    assert [rows_frame(page, first, 4)[1] for first in range(4)] == [2, 2, 2, 1]
    large = rows_page([b"1" * 300_000] * 2)
    assert [rows_frame(large, first, 2)[1] for first in range(2)] == [1, 1]


@pytest.mark.parametrize("size", [10, 50_000])
def test_rows_are_the_same_in_a_frame_whether_they_are_large_or_small(size: int) -> None:
    rows = [b"%d" % number * size for number in range(1, 5)]
    page = rows_page(rows)
    assert [page.text(number) for number in range(4)] == rows
    for first, last in ((0, 4), (0, 2), (1, 3), (2, 4)):
        frame, count = rows_frame(page, first, last)
        assert (frame, count) == (b'{"type":"rows","rows":[' + b",".join(rows[first:last]) + b"]}", last - first)
    assert page.size_of(1, 3) == 2 * size + 1
    assert page.size_bytes == len(rows_frame(page, 0, 4)[0]) + 4 * 16


def test_a_row_has_classics_keys_and_its_place() -> None:
    stored = row(7, {"a": 1}, create_time="2023-11-17 10:00:00", file_list='["a.txt", 1, "数据"]', current=None)
    frame = row_frame("run", stored, 8, 2.5)
    assert list(strict(frame)) == KEYS
    assert strict(frame) == {
        "data": {"a": 1},
        "status": "inner",
        "message": "success",
        "success": True,
        "current": None,
        "node_id": "node-7",
        "workspace_file_list": [{"name": "a.txt", "suffix": "txt"}, {"name": "数据", "suffix": "数据"}],
        "offset": 8,
        "at": 2.5,
        "time": "2023-11-17 10:00:00",
    }


@pytest.mark.parametrize("file_list", [None, "null", "{}", '"a.txt"', "1", "[]", "[1, null, [], {}]"])
def test_a_file_list_that_is_none_is_empty(file_list: str | None) -> None:
    frame = strict(row_frame("run", row(0, file_list=file_list), 1, 0.0))
    assert frame["workspace_file_list"] == [] and frame["success"] is True


@pytest.mark.parametrize(
    "data",
    [
        "null",
        "1",
        '"text"',
        "[]",
        "123456789012345678901234567890",
        "-" + "9" * 5000,
        "1e400",
        "0.1234567890123456789012345678901234567890",
        "1E-07",
        '{"a":1,"a":2}',
        '{\n  "b": [ 1,\r\n\t2 ],\n  "a": "\\u6570\\/"\n}\n',
        '"\\ud800"',
        '{"\\udc00\\ud800": "\\uD83D\\uDE00"}',
        '"\u2028\U0001f600"',
        DEEP,
        "[" * 100_000 + "]" * 100_000,
        '{"a":' * 1000 + "1" + "}" * 1000,
    ],
)
def test_stored_json_is_passed_on_as_it_is(data: str) -> None:
    rest = rest_of(row_frame("run", row(0, data=data), 1, 0.0), data)
    assert (rest["status"], rest["success"]) == ("inner", True)


def test_no_data_is_null() -> None:
    assert rest_of(row_frame("run", row(0, data=None), 1, 0.0), "null")["success"] is True


@given(ANY_JSON, st.none() | st.integers(0, 4), st.booleans())
def test_any_json_is_passed_on_byte_for_byte(value: Any, indent: int | None, ascii_only: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "backslashreplace").decode()
    rest_of(row_frame("run", row(0, data=text), 1, 0.0), text)


@pytest.mark.parametrize(
    "data",
    [
        "",
        " ",
        "{",
        "nope",
        "larger",
        "NaN",
        "[NaN]",
        "Infinity",
        '{"a":-Infinity}',
        "01",
        "[1,]",
        "{'a':1}",
        '"\x00"',
        "1}",
        '1,"status":"finished"',
        "null}{",
        '"\udcff"',
        '{"a":"caf\udce9"}',
        '"\ud800"',
        "[" * 100_000,
        "\ufeff{}",
    ],
)
def test_a_row_that_cannot_be_read_is_an_error_frame_in_its_place(data: str) -> None:
    stored = row(3, data=data, create_time="2023-11-17 10:00:00")
    frame = strict(row_frame("run", stored, 4, 1.5))
    assert list(frame) == KEYS
    assert frame["message"].startswith("row 4 can't be read: ")
    assert (frame["data"], frame["status"], frame["success"]) == (None, "error", False)
    assert (frame["offset"], frame["at"], frame["time"]) == (4, 1.5, "2023-11-17 10:00:00")
    assert (frame["node_id"], frame["current"], frame["workspace_file_list"]) == ("node-3", "1.1", [])


@pytest.mark.parametrize("file_list", ["", "[", "NaN", "[NaN]", '["\udcff"]', "[" * 100_000 + "]" * 100_000])
def test_a_row_with_a_broken_file_list_is_an_error_frame_in_its_place(file_list: str) -> None:
    frame = strict(row_frame("run", row(0, {"a": 1}, file_list=file_list), 1, 0.0))
    assert (frame["data"], frame["status"], frame["offset"]) == (None, "error", 1)


def test_a_row_that_has_been_deleted_is_an_error_frame_in_its_place() -> None:
    frame = strict(row_frame("run", None, 5, 2.0))
    assert list(frame) == KEYS
    assert (frame["status"], frame["message"], frame["offset"]) == ("error", "row 5 has been deleted", 5)


@given(st.builds(row, st.integers(0, 9), data=ANY_TEXT, file_list=st.none() | ANY_TEXT), ANY_TEXT, ANY_TEXT, ANY_TEXT)
def test_whatever_is_stored_the_frame_is_json(stored: Row, status: str, current: str, create_time: str) -> None:
    fields = {name: getattr(stored, name) for name in ("node_id", "interaction_id", "data", "file_list")}
    made = Row(**fields, status=status, current=current, create_time=create_time)
    assert list(strict(row_frame("run", made, 1, 0.0))) == KEYS


@given(ANY_JSON, st.data())
def test_what_is_nearly_json_never_breaks_out_of_its_frame(value: Any, data: st.DataObject) -> None:
    text = json.dumps(value)
    place = data.draw(st.integers(0, len(text)))
    changed = text[:place] + data.draw(st.sampled_from([*'{}[]",:\\\x00', "NaN", "\udcff"])) + text[place:]
    frame = strict(row_frame("run", row(0, data=changed), 1, 0.0))
    assert frame["success"] is is_strict_json(changed)
    assert list(frame) == KEYS


# Large rows


def test_a_row_of_a_mebibyte_is_sent_whole() -> None:
    data = json.dumps("x" * (MAX_DATA_BYTES - 2))
    assert len(data) == 1024 * 1024
    assert "data_url" not in rest_of(row_frame("run", row(0, data=data), 1, 0.0), data)


@pytest.mark.parametrize(
    "data",
    [json.dumps("x" * (MAX_DATA_BYTES - 1)), json.dumps("数" * (MAX_DATA_BYTES // 3), ensure_ascii=False), "[" * 2**21],
)
def test_a_larger_row_has_an_address_instead_of_its_data(data: str) -> None:
    frame = strict(row_frame("run-1.x", row(0, data=data), 17, 0.0))
    assert list(frame) == [*KEYS, "data_url"]
    assert (frame["data"], frame["success"]) == (None, True)
    assert frame["data_url"] == "api/v1/recordings/run-1.x/rows/17/data"


# Pictures


def test_pictures_come_by_their_address() -> None:
    output = ["cell_index: 0", {"file_name": "plots/数 据?#%.png", "media_type": "image/png"}, {"other": 1}]
    tools = data_of(picture_row(output))["using_tools"]
    url = "api/v1/recordings/run/files/plots/%E6%95%B0%20%E6%8D%AE%3F%23%25.png"
    assert tools["tool_output"] == [output[0], {**output[1], "file_url": url}, output[2]]
    assert tools["is_include_pictures"] is True
    assert "file_data" not in json.dumps(tools)


@pytest.mark.parametrize("name", [None, 1, [], {}, ""])
def test_a_picture_without_a_name_has_no_address(name: Any) -> None:
    (part,) = data_of(picture_row([{"file_name": name}]))["using_tools"]["tool_output"]
    assert part == {"file_name": name}


@pytest.mark.parametrize(
    "stored",
    [
        picture_row([{"file_name": "a.png"}], include_pictures=False),
        row(0, {"using_tools": {"tool_name": "other", "tool_output": [{"file_name": PICTURE}]}}, include_pictures=True),
        row(0, {"thoughts": PICTURE}, include_pictures=True),
        row(0, [PICTURE], include_pictures=True),
        row(0, {"using_tools": [PICTURE]}, include_pictures=True),
    ],
)
def test_a_row_without_pictures_is_passed_on_as_it_is(stored: Row) -> None:
    assert stored.data is not None
    rest_of(row_frame("run", stored, 1, 0.0), stored.data)


@pytest.mark.parametrize("output", ["text", None, 1, {"file_name": "a.png"}, [], ["text", 1, None, [{}]]])
def test_an_output_without_pictures_says_that_there_are_some(output: Any) -> None:
    tools = data_of(picture_row(output))["using_tools"]
    assert tools == {"tool_name": PICTURE, "tool_output": output, "is_include_pictures": True}


@pytest.mark.parametrize("name", ["../../../logout", "a/../../../../x", "..", "/../x", "%2e%2e/../x", "/x", "./a"])
def test_a_pictures_address_never_leads_out_of_the_recordings_files(name: str) -> None:
    # Pages load it at once: the author of a recording must not be able to send its viewers to other addresses.
    (part,) = data_of(picture_row([{"file_name": name}]))["using_tools"]["tool_output"]
    files = "http://host/app/api/v1/recordings/run/files/"
    if "file_url" in part:
        assert urljoin("http://host/app/", part["file_url"]).startswith(files)


def picture_with(extra: str) -> str:
    return f'{{"using_tools":{{"tool_name":"{PICTURE}","tool_output":[{{"file_name":"a.png"}}]}},"extra":{extra}}}'


@pytest.mark.parametrize(
    "extra",
    ["123456789012345678901234567890", '"\\ud800"', "1e400", "-" + "9" * 5000, DEEP, "[" * 5000 + "]" * 5000],
    ids=["big integer", "lone surrogate", "1e400", "5000 digits", "depth 1000", "depth 5000"],
)
def test_what_is_strange_in_a_row_with_pictures_is_no_reason_to_lose_it(extra: str) -> None:
    frame = row_frame("run", row(0, data=picture_with(extra), include_pictures=True), 1, 0.0)
    assert '"status":"inner"' in frame
    assert f'"extra":{extra}' in frame


@given(ANY_JSON)
@settings(max_examples=50)
def test_nothing_else_changes_in_a_row_with_pictures(value: Any) -> None:
    stored = row(0, data=picture_with(json.dumps(value)), include_pictures=True)
    assert data_of(stored)["extra"] == json.loads(json.dumps(value))
