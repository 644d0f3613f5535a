from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from share import wire
from share.wire import (
    CONNECTED,
    PONG,
    WireError,
    decode_command,
    decode_stored,
    encode_stored,
)

# All of Unicode, with the lone surrogates that JSON can only hold as escapes, and what JSON has to escape.
TEXT = st.text(st.characters(exclude_categories=()) | st.sampled_from('"\\/\b\f\n\r\t\0\x1f\x7f\x85\u2028\ud83d\ude00'))
INTEGERS = st.integers() | st.integers(-(2**63) - 5, -(2**63) + 5) | st.integers(2**63 - 5, 2**64 + 5)
INTEGERS |= st.integers(10**4200, 10**4299)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)


def json_values(scalars: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    scalars = scalars | st.none() | st.booleans() | TEXT | INTEGERS
    return st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=20)


def original(value: Any) -> str:
    """What the original server writes; a lone surrogate, on which it dies, as the escape that it was."""
    return json.dumps(value, ensure_ascii=False, indent=2).encode("utf-8", "backslashreplace").decode()


def encode_classic(frame: dict[str, Any]) -> str:
    return wire.encode_classic(frame).decode()


def encode_error(message: str, connection: str) -> str:
    return wire.encode_error(message, connection).decode()


def encode_refusal(message: str) -> str:
    return wire.encode_refusal(message).decode()


def encode_row(**fields: Any) -> str:
    return wire.encode_row(**fields).decode()


def respelt(text: str) -> str:
    """The JSON text with its fractions and exponents in one spelling."""

    def spell(token: re.Match[str]) -> str:
        return repr(float(token[0])) if re.fullmatch(r"-?[0-9]+(\.|[eE]).*", token[0]) else token[0]

    return re.sub(r'"(?:\\.|[^"\\])*"|-?[0-9][0-9.eE+-]*', spell, text)


# Frames


@given(json_values(st.nothing()), st.booleans())
def test_a_stored_value_comes_out_as_the_original_writes_it(value: Any, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "backslashreplace").decode()
    value = json.loads(text)  # two halves of a pair have become one character
    assert decode_stored(text) == value
    assert encode_classic({"data": decode_stored(text)}) == original({"data": value})


@given(json_values(FLOATS))
def test_a_number_may_be_spelt_another_way_and_stays_the_same(value: Any) -> None:
    value = json.loads(json.dumps(value))
    frame = encode_classic({"data": decode_stored(json.dumps(value))})
    assert json.loads(frame) == {"data": value}
    assert respelt(frame) == respelt(original({"data": value}))


@given(st.integers(1, 400), json_values(FLOATS), st.booleans())
def test_what_is_nested_deeply_comes_out_too(depth: int, value: Any, in_lists: bool) -> None:
    value = json.loads(json.dumps(value))
    for _ in range(depth):
        value = [value] if in_lists else {"a": value}
    frame = encode_classic({"data": decode_stored(json.dumps(value))})
    assert respelt(frame) == respelt(original({"data": value}))


@given(json_values(FLOATS))
def test_every_frame_is_utf8_and_json(value: Any) -> None:
    frame = encode_classic({"data": value})
    assert json.loads(frame.encode()) == json.loads(json.dumps({"data": value}))


@pytest.mark.parametrize(
    ("stored", "sent"),
    [
        ("1.0", "1.0"),
        ("-0.0", "-0.0"),
        ("18446744073709551615", "18446744073709551615"),
        ("18446744073709551616", "18446744073709551616"),
        ("-9223372036854775809", "-9223372036854775809"),
        ("9" * 4300, "9" * 4300),
        ('"\\ud800"', '"\\ud800"'),
        ('"\\uDFFF!"', '"\\udfff!"'),
        ('"\\ud83d\\ude00"', '"😀"'),
        ('"\\u0000\\u001f"', '"\\u0000\\u001f"'),
        ('"\\u007f\\u2028"', '"\x7f\u2028"'),
        ('"\\/"', '"/"'),
        ("[]", "[]"),
        ("{}", "{}"),
        ("[[], {}]", "[\n    [],\n    {}\n  ]"),
        (' \n{"b": 1,\t"a": 2}\r', '{\n    "b": 1,\n    "a": 2\n  }'),
        ('{"b": 1, "a": 2, "b": 3}', '{\n    "b": 3,\n    "a": 2\n  }'),
        ('{"": null}', '{\n    "": null\n  }'),
    ],
)
def test_stored_text_and_what_is_sent_of_it(stored: str, sent: str) -> None:
    assert encode_classic({"data": decode_stored(stored)}) == f'{{\n  "data": {sent}\n}}'


def test_null_in_the_column_is_null() -> None:
    assert decode_stored(None) is None
    assert decode_stored("null") is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "NaN",
        "-Infinity",
        "[1, Infinity]",
        "1e400",
        "-1e400",
        "[" + "9" * 400 + ".5]",
        "9" * 4301,
        "01",
        "+1",
        ".5",
        "1.",
        "0x10",
        "'a'",
        '"a',
        '"\\x41"',
        '"\\u12"',
        '"a\nb"',
        '"\0"',
        "[1,]",
        '{"a": 1,}',
        "{'a': 1}",
        '{"a"}',
        "{1: 2}",
        "[1] [2]",
        "// comment\n1",
        "None",
        "True",
        "\ufeff1",
        "\xa01",
        "\u0661",
        '"\udcff"',
        '"\ud800"',
        "\udcff",
        '{"\udcff": 1}',
        '"' + "9" * 20 + '\udcff"',
        "[" * 100_000,
    ],
)
def test_what_is_no_json_is_a_wire_error(text: str) -> None:
    with pytest.raises(WireError, match="expected") as error:
        decode_stored(text)
    assert len(str(error.value)) < 500
    assert str(error.value).isprintable()


def test_a_number_that_is_too_large_is_not_repeated_whole() -> None:
    with pytest.raises(WireError) as error:
        decode_stored("9" * 100_000 + "e9")
    assert len(str(error.value)) < 500


@given(st.text(st.characters(exclude_categories=()) | st.sampled_from('[]{}",:\\u0123456789eE+-.ntf \udcff')))
def test_any_text_is_a_value_or_a_wire_error(text: str) -> None:
    try:
        value = decode_stored(text)
    except WireError:
        return
    assert json.loads(text) == value


# Hypothesis lifts Python's recursion limit; a server doesn't.
@pytest.mark.parametrize("depth", [254, 255, 500])
@pytest.mark.parametrize("core", ["1", str(2**70), '"\\ud800"'])
def test_as_deep_as_a_recording_may_be_it_comes_out(depth: int, core: str) -> None:
    frame = encode_classic({"data": decode_stored("[" * depth + core + "]" * depth)})
    assert "".join(frame.split()) == '{"data":' + "[" * depth + core + "]" * depth + "}"


@pytest.mark.parametrize("depth", [1000, 1023, 1025, 5000])
@pytest.mark.parametrize(("opening", "core", "closing"), [("[", "", "]"), ('{"a":', "1", "}")])
def test_deeper_it_comes_out_or_is_a_wire_error(depth: int, opening: str, core: str, closing: str) -> None:
    text = opening * depth + core + closing * depth  # Python's versions differ in how deep they can go
    try:
        frame = encode_classic({"data": decode_stored(text)})
    except WireError as error:
        assert "not nested as deeply" in str(error)
    else:
        assert "".join(frame.split()) == '{"data":' + text + "}"


@settings(max_examples=20)
@given(st.integers(401, 1200), st.booleans())
def test_at_any_depth_it_is_a_frame_or_a_wire_error(depth: int, in_lists: bool) -> None:
    text = "[" * depth + "]" * depth if in_lists else '{"a":' * depth + "1" + "}" * depth
    try:
        frame = encode_classic({"data": decode_stored(text)})
    except WireError:
        return
    assert "".join(frame.split()) == f'{{"data":{text}}}'


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_json_hasnt_is_never_sent_as_python_writes_it(value: float) -> None:
    try:
        frame = encode_classic({"data": value, "big": 2**70})
    except WireError:
        return
    json.loads(frame, parse_constant=pytest.fail)


# What is stored


@given(json_values(FLOATS))
def test_a_value_is_stored_so_that_it_comes_out_the_same(value: Any) -> None:
    text = encode_stored(value)
    assert text.encode()
    assert decode_stored(text) == json.loads(json.dumps(value))


def test_a_value_is_stored_as_short_as_it_can_be_read() -> None:
    assert encode_stored({"数": ["\ud800", 2**70, None, (1.0, True)]}) == (
        '{"数": ["\\ud800", 1180591620717411303424, null, [1.0, true]]}'
    )


@pytest.mark.parametrize("value", [float("nan"), [float("-inf")], {1, 2}, object(), b"bytes", {(1, 2): 3}, [10**5000]])
def test_a_value_that_json_hasnt_is_not_stored(value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        encode_stored(value)


def test_a_value_that_is_nested_too_deeply_is_not_stored() -> None:
    value: Any = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(ValueError):
        encode_stored(value)


# Commands


@given(st.binary() | st.text(st.characters(exclude_categories=())) | json_values(FLOATS).map(json.dumps))
def test_any_message_is_a_command_or_a_wire_error(message: str | bytes) -> None:
    try:
        command = decode_command(message)
    except WireError as error:
        assert str(error).startswith('expected a JSON object such as {"type": "shared"}, got ')
        encode_error(str(error), "id")
    else:
        assert isinstance(command, dict)


@pytest.mark.parametrize("message", ['{"type": "shared"}', b'{"type": "shared"}', b' {"type" :\n"shared"} '])
def test_a_command_is_an_object_in_text_or_in_bytes(message: str | bytes) -> None:
    assert decode_command(message) == {"type": "shared"}


@pytest.mark.parametrize(
    ("message", "got"),
    [
        ("", "no valid JSON"),
        (b"", "no valid JSON"),
        ("shared", "no valid JSON"),
        ("{'type': 'shared'}", "no valid JSON"),
        ('{"type": NaN}', "no valid JSON"),
        (b"\xff", "no valid JSON"),
        (b'{"type": "\xff"}', "no valid JSON"),
        ("\ud800", "no valid JSON"),
        ("[" * 60_000, "no valid JSON"),
        ('{"a":' * 2000, "no valid JSON"),
        ("[]", "an array"),
        ('"shared"', "a string"),
        ("null", "null"),
        ("true", "true or false"),
        ("1", "a number"),
        ("1.5", "a number"),
    ],
)
def test_an_error_says_what_came(message: str | bytes, got: str) -> None:
    with pytest.raises(WireError, match=f"got {got}"):
        decode_command(message)


# The frames of the protocol


def test_the_frames_are_laid_out_as_the_original_does() -> None:
    assert (
        original({"data": None, "status": "connect", "message": "connect success", "success": True})
        == CONNECTED.decode()
    )
    assert original({"type": "pong"}) == PONG.decode()
    assert encode_refusal("为什么") == original(
        {"data": None, "status": "connect", "message": "为什么", "success": False}
    )
    error = {"data": None, "status": "error", "message": "why", "success": False, "connection": "id"}
    assert encode_error("why", "id") == json.dumps(error, indent=2)


def test_a_row_has_its_keys_in_the_order_of_the_protocol() -> None:
    frame = encode_row(
        data={"z": 1, "a": 2},
        status="inner",
        current="1.1",
        node_id="n",
        workspace_file_list=[{"name": "a.png", "suffix": "png"}],
    )
    assert frame == original(
        {
            "data": {"z": 1, "a": 2},
            "status": "inner",
            "message": "success",
            "success": True,
            "current": "1.1",
            "node_id": "n",
            "workspace_file_list": [{"name": "a.png", "suffix": "png"}],
        }
    )


def test_a_row_that_cant_be_read_has_an_error_in_its_place() -> None:
    frame = encode_row(data=None, status="inner", current="1", node_id="n", workspace_file_list=[], error="why")
    assert json.loads(frame) == {
        "data": None,
        "status": "error",
        "message": "why",
        "success": False,
        "current": "1",
        "node_id": "n",
        "workspace_file_list": [],
    }


def test_a_column_that_is_no_utf8_can_be_sent() -> None:
    frame = encode_row(data=None, status="a\udcff", current=None, node_id="n\udcff", workspace_file_list=[])
    assert frame.encode()
    assert json.loads(frame)["node_id"] == "n\udcff"
