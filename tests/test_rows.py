from __future__ import annotations

from dataclasses import astuple, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.models import Row
from storage.rows import BATCH_BYTES, BATCH_ROWS, COLUMNS, IN_MEMORY_BYTES, Rows, batches_of, values_of

STEPS = st.none() | st.integers(-(2**31), 2**31 - 1) | st.integers(0, 3)


def row(number: int, **fields: Any) -> Row:
    return Row(f"n{number}", "run", **fields)


def written_down(*rows: Row) -> Rows:
    stored = Rows()
    for each in rows:
        stored.append(values_of(each))
    return stored


@given(st.lists(STEPS, max_size=20))
def test_rows_come_in_the_order_of_their_steps_and_then_as_they_were_added(steps: list[int | None]) -> None:
    rows = [row(number, step=step) for number, step in enumerate(steps)]
    stored = written_down(*rows)
    in_order = sorted(rows, key=lambda row: (row.step is not None, row.step or 0))
    assert list(stored) == in_order
    assert [stored[place] for place in range(len(stored))] == in_order
    assert stored[1:-1] == in_order[1:-1]
    assert [Row(*values) for batch in stored.batches() for values in batch] == in_order


def test_a_row_has_every_value_that_it_had() -> None:
    full = replace(Row(*(f"{name} 数\0😀" for name in COLUMNS)), step=2**31 - 1)
    for each in (full, Row("n", "run", step=None, is_deleted=None, is_send=True, wait_seconds=-(2**31))):
        (found,) = written_down(each)
        assert astuple(found) == astuple(each)
        assert type(found.is_send) is type(each.is_send)


def test_more_rows_can_be_added_after_some_were_read() -> None:
    stored = written_down(row(1, step=1))
    assert stored[0].node_id == "n1"
    stored.append(values_of(row(0, step=0)))
    assert [each.node_id for each in stored] == ["n0", "n1"]


def test_rows_beyond_a_megabyte_lie_in_a_file_until_they_are_closed() -> None:
    rows = [row(number, step=-number, data="x" * 10_000) for number in range(2 * IN_MEMORY_BYTES // 10_000)]
    stored = written_down(*rows)
    assert list(stored) == rows[::-1]
    assert stored[-1] == rows[0]
    stored.close()
    stored.close()
    with pytest.raises(ValueError, match="closed"):
        list(stored)


def test_a_batch_is_bounded_in_rows_and_in_bytes() -> None:
    small = [row(number) for number in range(2 * BATCH_ROWS + 1)]
    for rows in (small, written_down(*small)):
        assert [len(batch) for batch in batches_of(rows)] == [BATCH_ROWS, BATCH_ROWS, 1]
    large = written_down(*(row(number, data="x" * BATCH_BYTES) for number in range(3)))
    assert [len(batch) for batch in large.batches()] == [1, 1, 1]


def test_rows_are_equal_where_each_is() -> None:
    rows = [row(0), row(1)]
    assert written_down(*rows) == written_down(*rows) == rows
    assert written_down(*rows) != written_down(rows[0])
    assert written_down(*rows) != written_down(rows[0], row(1, data="2"))
    assert list(written_down()) == [] and not written_down()
