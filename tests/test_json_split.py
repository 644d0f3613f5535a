from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from share.json_exact import compact
from share.json_split import MAX_DEPTH, PartTooLarge, SplitError, elements, end_of, members
from share.json_text import is_json
from share.recording_rows import read_files, read_row

ANY_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
INDENTS = st.sampled_from([None, 0, 3])


@given(st.dictionaries(st.text(), ANY_JSON), INDENTS, st.booleans())
def test_the_members_are_those_of_the_object(value: dict[str, Any], indent: int | None, ascii_only: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    found = [(json.loads(key), json.loads(text[start:end])) for key, start, end in members(text, 0)]
    assert found == list(value.items())


@given(st.lists(ANY_JSON), INDENTS)
def test_the_elements_are_those_of_the_list(value: list[Any], indent: int | None) -> None:
    text = json.dumps(value, indent=indent).encode()
    assert [json.loads(text[start:end]) for start, end in elements(text, 0, len(text))] == value


def are_json(text: bytes) -> bool:
    try:
        json.loads(b"[%b]" % text)
    except ValueError:
        return False
    return True


ROWS = st.fixed_dictionaries({"id": st.integers()}, optional={"a": ANY_JSON, "b": st.just([{"id": 1}, {"id": 2}])})


def values(text: bytes, max_bytes: int) -> list[Any]:
    """The elements of a list, of which each part that is said to be some is."""
    parts = [text[start:end] for start, end in elements(text, 0, max_bytes, are_json)]
    return [value for part in parts for value in json.loads(b"[%b]" % part)]


@given(st.lists(ROWS | ANY_JSON), INDENTS)
def test_the_elements_are_the_same_where_their_ends_are_guessed(value: list[Any], indent: int | None) -> None:
    text = json.dumps(value, indent=indent).encode() + b', {"id": 3}], [{"id": 4}, {"id": 5}]'
    for max_bytes in (len(text), 200):
        try:
            assert values(text, max_bytes) == value
        except PartTooLarge:
            assert max_bytes == 200


def test_the_end_of_elements_is_guessed_by_what_stood_behind_the_first() -> None:
    rows = [{"id": number, "more": [{"id": 1}, {"id": 2}] if number == 5 else "}, {"} for number in range(9)]
    text = json.dumps(rows).encode()
    assert values(text, len(text)) == rows
    assert [json.loads(text[start:end]) for start, end in elements(text, 0, len(text), lambda text: False)] == rows
    _, many, _ = elements(text, 0, len(text), are_json)
    assert json.loads(b"[%b]" % text[many[0] : many[1]]) == rows[1:-1]


def test_no_place_is_tried_twice() -> None:
    tried: list[bytes] = []

    def never(part: bytes) -> bool:
        tried.append(part)
        return False

    text = json.dumps([{"id": number} for number in range(5000)]).encode()
    assert len(list(elements(text, 0, len(text), never))) == 5000
    assert sum(map(len, tried)) < 2 * len(text)


@pytest.mark.parametrize("size", [4, 100])
def test_guessing_takes_no_element_that_is_too_large(size: int) -> None:
    text = b'[{"a":1},{"a":1},{"a":"' + b"x" * size + b'"},{"a":1}]'
    assert len(values(text, 8 + size)) == 4
    with pytest.raises(PartTooLarge):
        values(text, 7 + size)


@given(st.binary(max_size=40) | st.text('[]{},:"\\ 1an', max_size=40).map(str.encode))
def test_whatever_it_is_there_is_an_end_or_an_error(text: bytes) -> None:
    try:
        assert 0 < end_of(text, 0, len(text)) <= len(text)
        list(members(text, 0))
    except SplitError as error:
        assert str(error)


@pytest.mark.parametrize(
    "text",
    ["", " ", "[", "{", '{"a"', '{"a":', '{"a":1', '{"a":1,', '{"a":1,}', '{"a":1]', "{1:2}", '{"a" 1}', "{a:1}"],
)
def test_what_breaks_off_is_an_error_that_says_where(text: str) -> None:
    with pytest.raises(SplitError, match=r"byte [0-9]+: expected"):
        list(members(text.encode(), 0))


def test_what_is_nested_too_deep_is_an_error_and_not_a_crash() -> None:
    assert end_of(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, 0, 10**6) == 2 * MAX_DEPTH
    with pytest.raises(SplitError, match="levels"):
        end_of(b"[" * 100_000, 0, 10**6)


@pytest.mark.parametrize("part", ["[1,2,3,4,5]", '"12345678"', "12345678901", '{"a":[[[]]]}'])
def test_a_part_that_is_too_large_is_told_before_its_end(part: str) -> None:
    text = f"[{part}]".encode()
    assert list(elements(text, 0, len(part))) == [(1, 1 + len(part))]
    with pytest.raises(PartTooLarge):
        list(elements(text, 0, len(part) - 1))


@given(ANY_JSON, INDENTS, st.booleans())
def test_a_compact_text_has_the_same_value_and_is_compact_already(
    value: Any, indent: int | None, ascii_only: bool
) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    if not is_json(text):  # a lone surrogate that isn't written as an escape
        return
    short = compact(text)
    assert json.loads(short) == value
    assert compact(short) == short
    assert is_json(short)


def test_compact_keeps_how_numbers_are_spelt_and_unescapes_what_it_can() -> None:
    assert compact('{ "\\u6570" : [1.50, 1e400, 12345678901234567890] }') == '{"数":[1.50,1e400,12345678901234567890]}'
    assert compact('"\\ud800 \\ud83d\\ude00 \\/ \\n"') == '"\\ud800 😀 / \\n"'


def test_a_row_is_read_without_its_json() -> None:
    row = read_row(b' {"node_id": "n", "step": 3, "data": {"a": [1.50]}, "human_data": null} ')
    assert row == {"node_id": "n", "step": 3, "data": ('{"a": [1.50]}',), "human_data": None}


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (b"[]", "an object"),
        (b'{"a":1} {}', "more behind"),
        (b'{"a":1,"a":2}', "once"),
        (b'{"\\u0061":1,"a":2}', "once"),
        (b'{"node_id":"' + b"x" * 70_000 + b'"}', "at most"),
    ],
)
def test_what_is_no_row_is_an_error(row: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        read_row(row)


def test_files_are_read_as_paths_and_base64() -> None:
    assert read_files(b'{"a/b.txt": "QQ==", "\\u6570": ""}', 2) == {"a/b.txt": "QQ==", "数": ""}
    with pytest.raises(PartTooLarge):
        read_files(b'{"a": "", "b": ""}', 1)
    for text in (b'{"a": 1}', b'{"a": ["QQ=="]}', b'{"a": "", "a": ""}'):
        with pytest.raises(ValueError, match="expected"):
            read_files(text, 9)
