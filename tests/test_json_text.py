from __future__ import annotations

import json
import re
import sys
import time
from typing import Any, NoReturn

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from share.json_text import is_json

ANY_TEXT = st.text(st.characters(exclude_categories=()))
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=12,
)
SPELLINGS = st.fixed_dictionaries(
    {"ensure_ascii": st.booleans(), "indent": st.none() | st.integers(0, 3)},
)
# What the standard library and orjson differ about: the second has no float so large, and takes no lone surrogate.
BEYOND_ORJSON = ["1e400", '"\\ud800"', "-1E+999", '{"\\udfff":0}']
PIECES = st.sampled_from(
    [*'[]{},:"\\0123456789.-+eEtrufalsn \t\r\n\0\x1f\x7f\ufeff\xa0é\ud800', "NaN", "null", "\\u12"]
)
LINEAR_SECONDS = 10.0  # a fifth of a second at most; what is not linear takes minutes


def refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def is_strict_json(text: str) -> bool:
    """The standard library's opinion, of what can be sent as UTF-8."""
    try:
        text.encode()
        # Numbers aren't made: the library refuses an integer of more than 4,300 digits.
        json.loads(text, parse_constant=refuse, parse_int=len, parse_float=len)
    except ValueError:
        return False
    return True


def agree(text: str) -> None:
    assert is_json(text) is is_strict_json(text)
    for strange in BEYOND_ORJSON:
        both = f"[{strange},{text}]"
        assert is_json(both) is is_strict_json(both)
        assert is_json(text + strange) is is_strict_json(text + strange)


@given(ANY_JSON, SPELLINGS)
def test_what_the_standard_library_writes_is_json(value: Any, spelling: dict[str, Any]) -> None:
    text = json.dumps(value, **spelling)
    sendable = not re.search("[\ud800-\udfff]", text)
    assert is_json(text) is sendable
    agree(text)


@given(ANY_JSON, SPELLINGS, st.data())
@settings(max_examples=300)
def test_it_agrees_with_the_standard_library_about_texts_that_were_changed(
    value: Any, spelling: dict[str, Any], data: st.DataObject
) -> None:
    text = json.dumps(value, **spelling)
    for _ in range(data.draw(st.integers(1, 3))):
        begin = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(begin, min(len(text), begin + 2)))
        text = text[:begin] + data.draw(PIECES | st.just("")) + text[end:]
    agree(text)


@given(st.lists(PIECES, max_size=8).map("".join))
@settings(max_examples=300)
@example("")
@example(" ")
@example("]")
@example("[}")
@example('{"a"}')
@example('{"a":1,}')
@example("[1,]")
@example("[,1]")
@example("{,}")
@example("1 2")
@example("01")
@example("-")
@example("1.")
@example(".5")
@example("+1")
@example("1e")
@example("1e+")
@example("0x10")
@example("truefalse")
@example("True")
@example("Infinity")
@example("-Infinity")
@example("NaN")
@example("'a'")
@example('"\\x41"')
@example('"\\u123"')
@example('"\t"')
@example("\ufeff{}")
@example("\xa0{}")
@example("{}\0")
@example("/**/1")
def test_it_agrees_with_the_standard_library_about_scraps(text: str) -> None:
    agree(text)


@pytest.mark.parametrize(
    "text",
    [
        "9" * 100_000,
        f"[{'1' * 5000}.{'2' * 5000}e{'3' * 5000}]",
        "1e400",
        "-1E-400",
        '"\\ud800"',
        '"\\udc00\\ud800"',
        '{"\\ud800":"\\uDFFF"}',
        ' \r\n\t{"a" : [ 1 , 2 ] }\n',
        '"\u2028\x7f\U0001f600"',
        "-0",
        "-0.0e-0",
        '{"a":1,"a":2}',
        "[[],{},[{}],{'a':[]}]".replace("'", '"'),
    ],
)
def test_all_that_json_has_is_json(text: str) -> None:
    assert is_json(text)


@pytest.mark.parametrize("text", ['"\ud800"', '"\udcff"', '{"\udfff":1}', "[1e400,\ud800]"])
def test_what_no_text_frame_can_carry_is_not(text: str) -> None:
    assert not is_json(text)


@pytest.mark.parametrize(
    ("depth", "begin", "end"),
    [
        *(
            (depth, begin, end)
            for depth in (1000, 1025)
            for begin, end in (("[", "]"), ('{"a":', "}"), ('[{"a":', "}]"))
        ),
        (100_000, "[", "]"),
        (50_000, '{"a":', "}"),
    ],
)
def test_any_depth_is_json_and_needs_no_recursion(depth: int, begin: str, end: str) -> None:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(200)
    try:
        assert is_json(begin * depth + "1" + end * depth)
        assert not is_json(begin * depth + "1" + end * (depth - 1))
        assert not is_json(begin * depth + "1" + end * (depth + 1))
    finally:
        sys.setrecursionlimit(limit)


N = 200_000


@pytest.mark.parametrize(
    "text",
    [
        "[" * N,
        "[" * N + "]" * N,
        "[1e400" + " " * N + "x",
        "[1e400," + "1," * N,
        '[1e400,"' + "a" * N,
        '[1e400,"' + "\\u0041" * (N // 6),
        '[1e400,"' + "\\" * N,
        "[1e400," + '""' * N,
        "[1e400," + "1" * N + "x",
        "1e400" + " " * N,
        " " * N,
        "-" * N,
        "[1e400," + "1e1" * N,
        '{"\\ud800":' * (N // 10),
    ],
    ids=range(14),
)
def test_it_takes_time_in_proportion_to_the_length(text: str) -> None:
    before = time.process_time()
    is_json(text)
    assert time.process_time() - before < LINEAR_SECONDS
