from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from share.outline import Outline, epoch_of
from storage.interactions import OutlineRows, Position, RowCount
from storage.models import Interaction
from tests.test_json_text import ANY_JSON

RUN = Interaction("run", "author", create_time="2023-11-17 10:00:00", id=7)
COUNT = RowCount(3, 0, None)


class OutlineRow(NamedTuple):
    id: int
    step: int | None
    status: str | None
    current: str | None
    create_time: str | None


def append(outline: Outline, *rows: OutlineRow) -> None:
    outline.append(OutlineRows(*zip(*rows, strict=True)))


def outline_of(*rows: OutlineRow) -> Outline:
    outline = Outline()
    append(outline, *rows)
    return outline


def outline_row(number: int, current: str | None = "1.1", status: str | None = "inner", **fields: Any) -> OutlineRow:
    time = f"2023-11-17 10:00:{number:02}"
    return OutlineRow(
        **{"id": 100 + number, "step": number, "create_time": time} | fields, current=current, status=status
    )


def offsets_of(currents: Sequence[tuple[str | None, str | None]]) -> list[int]:
    rows = [outline_row(number, current, status) for number, (current, status) in enumerate(currents)]
    return outline_of(*rows).marker_offsets


def test_an_outline_without_rows_is_empty() -> None:
    outline = Outline()
    assert (len(outline), outline.duration, outline.last_status, outline.marker_offsets) == (0, 0.0, None, [])
    assert outline.position(0) is None
    assert outline.markers([]) == []


def test_an_outline_grows() -> None:
    outline = outline_of(outline_row(0), outline_row(3))
    append(outline, outline_row(5, status="finished"))
    outline.append(OutlineRows())
    assert list(outline.at) == [0, 3, 5]
    assert (len(outline), outline.duration, outline.last_status) == (3, 5.0, "finished")


def test_a_row_has_the_position_that_it_has_in_the_table() -> None:
    outline = outline_of(outline_row(0, step=None), outline_row(1, step=-5), outline_row(2, step=2**31))
    positions = [outline.position(offset) for offset in range(4)]
    assert positions == [None, Position(None, 100), Position(-5, 101), Position(2**31, 102)]


@pytest.mark.parametrize("number", [2**32, 2**63 - 1, -1])
@pytest.mark.parametrize("column", ["id", "step"])
def test_positions_are_exact_where_one_of_many_is_larger_than_the_others(column: str, number: int) -> None:
    outline = outline_of(outline_row(0), outline_row(1, **{column: 2**32 - 1}))
    append(outline, outline_row(2), outline_row(3, **{column: number}))
    append(outline, outline_row(4))
    values = {"step": [0, 1, 2, 3, 4], "id": [100, 101, 102, 103, 104]}
    values[column][1], values[column][3] = 2**32 - 1, number
    expected = [Position(*each) for each in zip(values["step"], values["id"], strict=True)]
    assert [outline.position(offset) for offset in range(1, 6)] == expected
    assert list(outline.ids(2, 4)) == values["id"][1:4]


# Steps


def test_steps_are_all_rows_in_order() -> None:
    outline = outline_of(outline_row(0, status="start"), outline_row(2), outline_row(2, status=None))
    assert outline.steps(3, 3) == [(1, 0.0, "start"), (2, 2.0, "inner"), (3, 2.0, "")]
    assert outline.steps(2, 3) == [(1, 0.0, "start"), (2, 2.0, "inner")]
    assert outline.steps(0, 3) == []


def test_of_very_many_statuses_the_last_are_not_told_apart() -> None:
    statuses = [f"status {number}" for number in range(300)] + ["status 7", "x" * 10_000]
    told = [status for _, _, status in outline_of(*(outline_row(0, status=one) for one in statuses)).steps(302, 302)]
    assert told == [*statuses[:255], *["other"] * 45, "status 7", "other"]


def test_a_status_that_is_too_long_to_be_kept_is_another_one() -> None:
    told = outline_of(outline_row(0, status="x" * 64), outline_row(0, status="x" * 65)).steps(2, 2)
    assert [status for _, _, status in told] == ["x" * 64, "other"]


def test_of_too_many_steps_the_first_of_each_span_of_time_is_kept() -> None:
    outline = outline_of(*(outline_row(second, current="1") for second in (0, 1, 2, 3, 30, 31, 32, 59)))
    assert [offset for offset, _, _ in outline.steps(8, 3)] == [1, 5, 8]


def test_failures_and_where_subtasks_begin_are_kept() -> None:
    rows = [outline_row(0, current="1", id=number) for number in range(1000)]
    for number, status in ((300, "failed"), (301, "error"), (302, "failed")):
        rows[number] = rows[number]._replace(status=status)
    rows[600] = rows[600]._replace(current="1.2")
    offsets = [offset for offset, _, _ in outline_of(*rows).steps(1000, 20)]
    assert {1, 301, 302, 303, 601, 1000} <= set(offsets)
    assert 15 <= len(offsets) <= 20


@given(
    st.lists(st.tuples(st.integers(0, 59), st.sampled_from(["inner", "failed", "subtask"]), st.integers(1, 9))),
    st.integers(2, 40),
)
def test_there_are_never_more_steps_than_wanted(told: list[tuple[int, str, int]], limit: int) -> None:
    rows = [outline_row(second, f"1.{task}", status) for second, status, task in told]
    outline = outline_of(*rows)
    steps = outline.steps(len(rows), limit)
    offsets = [offset for offset, _, _ in steps]
    assert len(steps) == min(len(rows), limit) if len(rows) <= limit else 1 <= len(steps) <= limit
    assert offsets == sorted(set(offsets)) and (not rows or offsets[-1] == len(rows))
    assert all((at, status) == (outline.at[offset - 1], rows[offset - 1].status) for offset, at, status in steps)


def test_steps_can_be_read_while_rows_come() -> None:
    outline = outline_of(outline_row(0))
    with ThreadPoolExecutor(1) as thread:
        for number in range(1, 300):
            reading = thread.submit(outline.steps, len(outline), 100)
            append(outline, *[outline_row(0, f"1.{number}", f"s{number}")] * 10)
            assert reading.result()[0] == (1, 0.0, "inner")


# Markers


def test_a_marker_stands_where_a_subtask_begins() -> None:
    currents = [("", "running"), ("1", "start"), ("1.1", "inner"), ("1.1", "inner"), ("1.1", "subtask_submit")]
    currents += [("1.2", "subtask"), ("1.2", "inner"), ("1.1", "refinement"), ("1.3", "refinement"), ("", "finished")]
    assert offsets_of(currents) == [3, 6, 9]


@pytest.mark.parametrize(
    ("current", "status"),
    [(None, "inner"), ("", "inner"), ("1", "inner"), ("ab12", "ask_for_human_help"), ("1.1", None), ("1.1", "start")],
)
def test_what_is_no_subtask_has_no_marker(current: str | None, status: str | None) -> None:
    assert offsets_of([(current, status)]) == []


def test_a_marker_is_named_by_the_plan_and_the_last_plan_counts() -> None:
    outline = outline_of(
        outline_row(0, "1", "start"), outline_row(2, "1.1"), outline_row(5, "1.2"), outline_row(9, "1.3")
    )
    start = {"task_id": "1", "name": "all", "subtasks": [{"task_id": "1.1", "name": "first"}]}
    later = [
        {"task_id": "1.2", "name": "old"},
        {"task_id": "1.2", "name": "second"},
        {"task_id": "1.9", "name": "never"},
    ]
    assert outline.markers([start, later]) == [
        {"offset": 2, "at": 2.0, "label": "first"},
        {"offset": 3, "at": 5.0, "label": "second"},
        {"offset": 4, "at": 9.0, "label": "1.3"},
    ]


@given(st.lists(ANY_JSON | st.builds(lambda plan: {"subtasks": plan}, ANY_JSON | st.lists(ANY_JSON)), max_size=4))
def test_what_is_no_plan_names_nothing(plans: list[Any]) -> None:
    assert outline_of(outline_row(0)).markers(plans) == [{"offset": 1, "at": 0.0, "label": "1.1"}]


@pytest.mark.parametrize(
    "subtask", [{"task_id": "1.1"}, {"task_id": "1.1", "name": None}, {"task_id": 1.1, "name": "x"}]
)
def test_a_subtask_without_a_name_has_its_id(subtask: dict[str, Any]) -> None:
    assert outline_of(outline_row(0)).markers([[subtask]])[0]["label"] == "1.1"


# Epochs


def test_an_epoch_is_short_and_the_same_for_the_same() -> None:
    assert epoch_of(RUN, COUNT) == epoch_of(replace(RUN, status="finished", update_time="later"), COUNT)
    assert 0 < len(epoch_of(RUN, COUNT)) <= 16
    assert epoch_of(RUN, COUNT).isalnum()


def test_rows_that_are_added_change_no_epoch() -> None:
    assert epoch_of(RUN, COUNT) == epoch_of(RUN, COUNT._replace(total=4))


@pytest.mark.parametrize(
    ("run", "count"),
    [
        (replace(RUN, id=8), COUNT),
        (RUN, RowCount(2, 1, 101)),
        (RUN, RowCount(2, 1, 102)),
        (RUN, RowCount(1, 2, 102)),
    ],
)
def test_what_is_taken_away_changes_the_epoch(run: Interaction, count: RowCount) -> None:
    others = {epoch_of(RUN, COUNT), epoch_of(RUN, RowCount(2, 1, 100))}
    assert epoch_of(run, count) not in others


def test_an_epoch_is_made_of_any_text() -> None:
    assert epoch_of(replace(RUN, create_time="\udcff\ud800"), COUNT)
