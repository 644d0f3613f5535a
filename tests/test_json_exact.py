from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from share.json_exact import decode, encode, read_quickly
from tests.test_json_text import ANY_JSON

SPELLINGS = st.fixed_dictionaries(
    {
        "ensure_ascii": st.booleans(),
        "indent": st.sampled_from([None, 0, 2, "\t"]),
        "separators": st.sampled_from([None, (",", ":"), (" , ", " : ")]),
    }
)
# What orjson changes, or doesn't see.
LOST = [
    "12345678901234567890123",
    "-9223372036854775809",
    "0.10",
    "1E5",
    "1e5",
    "-0",
    "1.0000000000000000001",
    "1e-7",
    '{"a":1,"a":2}',
    '{"a":1,"\\u0061":1}',
    '{"a b":1,"ab":2,"a b":1}',
    '"\\/"',
    '"\\u0041"',
    '"\\u001F"',
    '"\\ud83d\\ude00 é"',
    '[1 , 2,"a ,  b"]',
    '"  "',
]


def agree(text: bytes) -> None:
    if (quick := read_quickly(text)) is not None:
        value, write = quick
        exact = decode(text.decode())
        assert write(value) == encode(exact)
        if isinstance(value, dict):
            assert [write(part) for part in value.values()] == [encode(part) for part in exact.values()]


@given(ANY_JSON, SPELLINGS, st.sampled_from(LOST))
def test_what_is_read_quickly_is_what_is_read_exactly(value: Any, spelling: dict[str, Any], lost: str) -> None:
    text = json.dumps(value, **spelling)
    for each in (text, f'{{"a": {text}, "b": {lost}}}', f"[{lost},{text}]"):
        agree(each.encode("utf-8", "surrogatepass"))


@given(st.text('[]{}:, "\\u01ade.+-', max_size=30))
@example('{"a":1 ,"a":1}')
@example("[1 2]")
@example("[-0,-0.0,0]")
def test_scraps_are_read_exactly_or_not_quickly(text: str) -> None:
    agree(text.encode())


@pytest.mark.parametrize("text", ['{"a": [1, 2.5, "é数", null]}', '{"a": [1, 2.5, "\\u00e9\\u6570", 1e-07, null]}'])
@pytest.mark.parametrize("blank", ["", " ", "\n\t"])
def test_what_orjson_and_python_write_is_read_quickly(text: str, blank: str) -> None:
    assert read_quickly(text.replace(" ", blank).encode()) is not None


@pytest.mark.parametrize("text", [*LOST[:6], *LOST[8:15], "[" * 300 + "]" * 300, "NaN", "1 2", "", '"\\ud800"'])
def test_what_would_be_lost_is_not_read_quickly(text: str) -> None:
    assert read_quickly(text.encode()) is None
