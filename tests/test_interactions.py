from __future__ import annotations

import ast
import asyncio
import contextlib
import logging
import re
import sqlite3
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import databases
import pytest

from share.formats import read_recording
from storage.database import open_database
from storage.errors import DatabaseConflict
from storage.gateway import Gateway
from storage.interactions import InteractionCRUD, OutlineRows, Position
from storage.migrations import create_tables
from storage.models import Interaction, Recording, Row, Visibility
from storage.recordings import RecordingCRUD, RecordingExists
from storage.shares import ShareCRUD
from tests.any_database import Connection, connection

Add = Callable[..., Coroutine[Any, Any, None]]
GOLDEN = Path(__file__).parent / "data" / "golden"
RUN = Interaction("run", "guest", create_time="2023-11-17 10:00:00", status="finished", description="a run")


@pytest.fixture
def sql(database: databases.Database) -> Iterator[Connection]:
    """A connection past the code, for what only an older database holds."""
    with connection(str(database.url)) as opened:
        yield opened


def rows_of(*steps: int | None, interaction_id: str = "run", **values: Any) -> list[Row]:
    return [Row(f"{interaction_id}-{n}", interaction_id, step=step, **values) for n, step in enumerate(steps)]


@pytest.fixture
def add(recordings: RecordingCRUD) -> Add:
    async def add(*rows: Row, interaction: Interaction = RUN, shared: bool = True) -> None:
        visibility = Visibility.UNLISTED if shared else Visibility.PRIVATE
        await recordings.add_recording(Recording(interaction, rows), visibility=visibility)

    return add


async def read_all(interactions: InteractionCRUD, interaction_id: str = "run", limit: int = 2) -> list[str]:
    names, after = [], None
    while page := await interactions.search_many_raws(interaction_id, after=after, limit=limit):
        assert len(page) <= limit
        names += [row.node_id for row in page]
        after = Position.of(page[-1])
    return names


# Rows


async def test_rows_come_in_order_of_step(interactions: InteractionCRUD, add: Add) -> None:
    await add(*rows_of(3, 1, 2))
    assert await read_all(interactions, limit=10) == ["run-1", "run-2", "run-0"]


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 100])
async def test_rows_of_one_step_come_in_the_order_stored_in_pages_of_any_size(
    limit: int, interactions: InteractionCRUD, add: Add
) -> None:
    await add(*rows_of(1, 1, 0, 1, 0, 1, 2, 1))
    expected = ["run-2", "run-4", "run-0", "run-1", "run-3", "run-5", "run-7", "run-6"]
    assert await read_all(interactions, limit=limit) == expected


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
async def test_rows_without_a_step_come_first_in_pages_of_any_size(
    limit: int, interactions: InteractionCRUD, add: Add
) -> None:
    await add(*rows_of(None, 0, None, 1, None, 0))
    assert await read_all(interactions, limit=limit) == ["run-0", "run-2", "run-4", "run-1", "run-5", "run-3"]


@pytest.mark.parametrize("limit", [1, 2, 100])
async def test_steps_below_zero_are_steps(limit: int, interactions: InteractionCRUD, add: Add) -> None:
    await add(*rows_of(0, -1, -(2**31), 2**31 - 1, -1))
    assert await read_all(interactions, limit=limit) == ["run-2", "run-1", "run-4", "run-0", "run-3"]


async def test_a_deleted_row_is_never_read(interactions: InteractionCRUD, add: Add) -> None:
    rows = rows_of(0, 1, 2, 3)
    rows[1], rows[3] = replace(rows[1], is_deleted=True), replace(rows[3], is_deleted=True)
    await add(*rows)
    assert await read_all(interactions, limit=1) == ["run-0", "run-2"]


async def test_a_flag_that_was_never_set_is_not_set(sql: Connection, interactions: InteractionCRUD, add: Add) -> None:
    await add(*rows_of(0, 1))
    sql("UPDATE raw SET is_deleted = NULL")
    sql("UPDATE interactions SET is_deleted = NULL")
    assert await read_all(interactions) == ["run-0", "run-1"]
    assert (await interactions.search_many_raws("run"))[0].is_deleted is None
    assert await interactions.get_shared_interaction("run")
    assert [listed.row_count for listed in await interactions.list_interactions()] == [2]


async def test_rows_of_others_are_not_read(interactions: InteractionCRUD, add: Add) -> None:
    await add(*rows_of(0))
    await add(*rows_of(0, interaction_id="Run"), interaction=replace(RUN, interaction_id="Run"))
    assert await read_all(interactions, "run") == ["run-0"]
    assert await read_all(interactions, "nobody") == []
    assert await read_all(interactions, "run' OR '1'='1") == []


async def test_rows_that_are_stored_behind_the_place_reached_are_read(interactions: InteractionCRUD, add: Add) -> None:
    await add(*rows_of(0, 1))
    place = Position.of((await interactions.search_many_raws("run"))[-1])
    assert await interactions.search_many_raws("run", after=place) == []
    await add(*rows_of(1, 2, interaction_id="run2"), interaction=replace(RUN, interaction_id="run2"))
    assert await interactions.search_many_raws("run", after=place) == []
    assert [row.step for row in await interactions.search_many_raws("run2", after=place)] == [1, 2]


@pytest.mark.parametrize(
    "stored",
    [
        "1.0",
        "1e400",
        "123456789012345678901234567890",
        '{"b": 1, "a": 2,  "a":3}',
        '"\\ud800 \\uD83D\\uDE00 \\u0000"',
        '"数据 😀"',
        " [ ] ",
        "null",
        "no JSON at all",
        "",
        "'); DROP TABLE raw; --",
        "%s %(a)s ? :a $1",
    ],
)
async def test_json_text_comes_out_as_it_went_in(stored: str, interactions: InteractionCRUD, add: Add) -> None:
    row = Row("n", "run", data=stored, file_list=stored, human_data=stored, human_file_list=stored)
    await add(row, interaction=replace(RUN, file_list=stored, description=stored))
    assert await interactions.search_many_raws("run") == [replace(row, id=1)]
    assert await interactions.get_interaction("run") == replace(RUN, file_list=stored, description=stored, id=1)


@pytest.mark.sqlite
async def test_a_text_that_is_no_utf8_spoils_one_row(sql: Connection, interactions: InteractionCRUD, add: Add) -> None:
    await add(*rows_of(0, 1, data='"ok"'))
    sql("UPDATE raw SET data = CAST(x'22ff22' AS TEXT) WHERE step = 0")
    assert [row.data for row in await interactions.search_many_raws("run")] == ['"\udcff"', '"ok"']


@pytest.mark.sqlite
async def test_a_json_column_is_text_also_where_a_blob_was_stored(
    interactions: InteractionCRUD, add: Add, sql: Connection
) -> None:
    await add(*rows_of(0, 1))
    sql("UPDATE raw SET data = x'7b7d' WHERE step = 0")
    sql("UPDATE raw SET data = x'22ff22' WHERE step = 1")
    assert [row.data for row in await interactions.search_many_raws("run")] == ["{}", '"\udcff"']


@pytest.mark.sqlite
async def test_a_json_column_is_text_also_where_sqlite_made_a_number_of_it(tmp_path: Path) -> None:
    # SQLAlchemy's own JSON type, which XAgent uses, is declared JSON on SQLite: that has the affinity of numbers.
    path = tmp_path / "xagent.db"
    async with open_database(f"sqlite:///{path}") as database:
        gateway = Gateway(database)
        await create_tables(gateway)
        interactions, recordings = InteractionCRUD(gateway), RecordingCRUD(gateway)
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as xagent:
            table = xagent.execute("SELECT sql FROM sqlite_master WHERE name = 'raw'").fetchone()[0]
            xagent.execute("DROP TABLE raw")
            xagent.execute(re.sub(r"\bdata TEXT", "data JSON", table))
        await recordings.add_recording(Recording(RUN, [Row("n", "run", data="12")]), visibility=Visibility.UNLISTED)
        assert [row.data for row in await interactions.search_many_raws("run")] == ["12"]


@pytest.mark.sqlite
async def test_a_page_in_the_middle_enters_the_index_at_its_place(
    sql: Connection, caplog: pytest.LogCaptureFixture, interactions: InteractionCRUD, add: Add
) -> None:
    await add(*rows_of(*range(50)))
    with caplog.at_level(logging.DEBUG, "databases"):
        await interactions.search_many_raws("run", after=Position(20, 21), limit=5)
    query, values = next(record.args for record in caplog.records if "FROM raw" in record.getMessage())
    plan = [step[3] for step in sql(f"EXPLAIN QUERY PLAN {query}", *ast.literal_eval(values))]
    assert plan == ["SEARCH raw USING INDEX ix_raw_outline (interaction_id=? AND step>?)"]


@pytest.mark.parametrize("name", ["short", "edge"])
async def test_the_outline_is_the_rows_without_their_content(
    name: str, interactions: InteractionCRUD, recordings: RecordingCRUD
) -> None:
    recording = read_recording(GOLDEN / f"{name}.recording.json")
    await recordings.add_recording(recording, visibility=Visibility.UNLISTED)
    interaction_id = recording.interaction.interaction_id
    rows = await interactions.search_many_raws(interaction_id, limit=1000)
    expected = [[getattr(row, name) for row in rows] for name in OutlineRows._fields]
    stored = await interactions.get_interaction(interaction_id)
    for after, first in ((None, 0), (Position.of(rows[2]), 3)):
        found, read = await interactions.read_on(interaction_id, after)
        assert found == stored
        assert [list(column) for column in read] == [column[first:] for column in expected]
    assert await interactions.read_on(interaction_id, Position.of(rows[-1])) == (stored, OutlineRows())


async def test_plans_are_the_data_of_the_rows_that_hold_some(interactions: InteractionCRUD, add: Add) -> None:
    held = [("start", "1"), ("inner", "2"), ("subtask", None), ("subtask", "3"), ("running", "4"), ("subtask", "5")]
    rows = [Row(f"n{n}", "run", step=9 - n, status=status, data=data) for n, (status, data) in enumerate(held)]
    await add(*rows[:-1], replace(rows[-1], is_deleted=True), *rows_of(99, status="start", data="6"))
    assert await interactions.search_plans("run") == ["3", "1", "6"]


async def test_rows_are_counted_and_a_deleted_one_shows(
    sql: Connection, interactions: InteractionCRUD, add: Add
) -> None:
    assert await interactions.count_rows("run") == (0, 0, None)
    await add(*rows_of(0, 1, 2))
    await add(*rows_of(0, interaction_id="other"), interaction=replace(RUN, interaction_id="other"))
    assert await interactions.count_rows("run") == (3, 0, None)
    sql("UPDATE raw SET is_deleted = NULL WHERE node_id = 'run-2'")
    sql("UPDATE raw SET is_deleted = TRUE WHERE node_id = 'run-1'")
    assert await interactions.count_rows("run") == (2, 1, 2)


async def test_what_may_be_watched_of_many(interactions: InteractionCRUD, add: Add) -> None:
    for name, is_deleted, shared in (("a", False, True), ("b", False, False), ("c", True, True), ("d", None, True)):
        await add(interaction=replace(RUN, interaction_id=name, is_deleted=is_deleted), shared=shared)
    a, b, c, d = [(await interactions.get_interaction(name)).id for name in "abcd"]
    asked = [a, b, c, d, *range(1000, 2200), d]
    assert await interactions.search_watchable(asked, shared=True) == {a, d}
    assert await interactions.search_watchable(asked, shared=False) == {a, b, d}
    assert await interactions.search_watchable([], shared=True) == set()


async def test_a_row_that_was_never_stored_has_no_position() -> None:
    with pytest.raises(AssertionError):
        Position.of(Row("n", "run"))


# Interactions


@pytest.mark.parametrize("is_shared", [True, False])
@pytest.mark.parametrize("is_deleted", [True, False])
@pytest.mark.parametrize("share_is_deleted", [True, False, None])
async def test_a_shared_interaction_is_one_that_is_shared_and_neither_is_deleted(
    is_shared: bool,
    is_deleted: bool,
    share_is_deleted: bool | None,
    sql: Connection,
    interactions: InteractionCRUD,
    add: Add,
) -> None:
    await add(interaction=replace(RUN, is_deleted=is_deleted), shared=is_shared)
    if share_is_deleted:
        sql("UPDATE shared_interactions SET is_deleted = TRUE")
    found = await interactions.get_shared_interaction("run")
    assert (found is not None) == (is_shared and not is_deleted and not share_is_deleted)
    assert await interactions.get_interaction("run") == replace(RUN, id=1, is_deleted=is_deleted)


async def test_one_share_that_stands_is_enough(
    sql: Connection, interactions: InteractionCRUD, shares: ShareCRUD, add: Add
) -> None:
    await add()
    sql(
        "INSERT INTO shared_interactions (interaction_id, user_name, create_time, update_time, description, agent,"
        " mode, is_deleted) SELECT interaction_id, user_name, create_time, update_time, description, agent, mode, TRUE"
        " FROM shared_interactions"
    )
    assert await interactions.get_shared_interaction("run")
    assert len(await interactions.list_interactions()) == 1
    assert await shares.set_visibility("run", Visibility.PRIVATE)
    assert await interactions.get_shared_interaction("run") is None


async def test_the_name_is_that_of_the_last_share_or_the_user(
    interactions: InteractionCRUD, add: Add, sql: Connection
) -> None:
    await add(shared=False)
    assert await interactions.get_user_name(RUN) == "guest"
    for name in ("first", "last"):
        sql(
            "INSERT INTO shared_interactions (interaction_id, user_name, create_time, update_time, description, agent,"
            " mode) VALUES ('run', ?, '', '', '', '', '')",
            name,
        )
    assert await interactions.get_user_name(RUN) == "last"


async def test_an_id_that_nobody_has_is_none(interactions: InteractionCRUD, add: Add) -> None:
    await add()
    for interaction_id in ("", "RUN", "run ", "%", "_un"):
        assert await interactions.get_interaction(interaction_id) is None
        assert await interactions.get_shared_interaction(interaction_id) is None


@pytest.mark.parametrize(
    ("status", "is_deleted", "expected"),
    [
        ("running", False, True),
        ("waiting", False, True),
        ("running", None, True),
        ("running", True, False),
        ("waiting", True, False),
        ("finished", False, False),
        ("failed", False, False),
        ("RUNNING", False, False),
        (None, False, False),
    ],
)
async def test_a_user_is_running_whose_interaction_goes_on(
    status: str | None, is_deleted: bool | None, expected: bool, interactions: InteractionCRUD, add: Add
) -> None:
    await add(interaction=replace(RUN, user_id="busy", status=status, is_deleted=is_deleted))
    await add(interaction=replace(RUN, interaction_id="other"))
    assert await interactions.is_running("busy") is expected
    assert await interactions.is_running("guest") is False
    assert await interactions.is_running("") is False


async def test_the_list_has_the_newest_first_and_no_deleted_ones(
    interactions: InteractionCRUD, shares: ShareCRUD, add: Add
) -> None:
    for name, day, shared in (("a", "02", True), ("b", "03", False), ("c", "01", True), ("d", "03", True)):
        run = replace(RUN, interaction_id=name, create_time=f"2023-11-{day} 10:00:00")
        await add(Row(f"{name}1", name), Row(f"{name}2", name, is_deleted=True), interaction=run)
        if not shared:
            await shares.set_visibility(name, Visibility.PRIVATE)
    await add(interaction=replace(RUN, interaction_id="e", is_deleted=True))
    listed = await interactions.list_interactions()
    assert [(each.interaction.interaction_id, each.is_shared, each.row_count) for each in listed] == [
        ("d", True, 1),
        ("b", False, 1),
        ("a", True, 1),
        ("c", True, 1),
    ]
    assert await interactions.list_interactions(limit=2) == listed[:2]


# Storing


@pytest.mark.parametrize("name", ["short", "edge", "running"])
async def test_a_recording_comes_out_as_it_went_in(
    name: str, interactions: InteractionCRUD, recordings: RecordingCRUD
) -> None:
    recording = read_recording(GOLDEN / f"{name}.recording.json")
    interaction_id = recording.interaction.interaction_id
    assert not await recordings.holds(recording)
    await recordings.add_recording(recording, visibility=Visibility.UNLISTED)
    assert await recordings.holds(recording)
    assert replace(await interactions.get_shared_interaction(interaction_id), id=None) == recording.interaction
    rows = await interactions.search_many_raws(interaction_id, limit=1000)
    assert [replace(row, id=None) for row in rows] == [row for row in recording.rows if not row.is_deleted]


async def test_many_rows_are_stored_in_batches_and_progress_is_told(recordings: RecordingCRUD) -> None:
    told: list[int] = []
    recording = Recording(RUN, rows_of(*range(1001)))
    await recordings.add_recording(recording, visibility=Visibility.UNLISTED, progress=told.append)
    assert sum(told) == 1001
    assert len(told) > 1
    assert await recordings.holds(recording)


async def test_a_private_recording_is_not_shared(interactions: InteractionCRUD, add: Add) -> None:
    await add(*rows_of(0), shared=False)
    assert await interactions.get_interaction("run")
    assert await interactions.get_shared_interaction("run") is None


async def test_a_private_recording_is_not_shared_by_what_was_left_of_another(
    sql: Connection, interactions: InteractionCRUD, add: Add
) -> None:
    await add()
    sql("DELETE FROM interactions")  # as XAgent, or a hand, would: the share stays
    await add(*rows_of(0), shared=False)
    assert await interactions.get_shared_interaction("run") is None


async def test_an_error_before_the_commit_takes_everything_back(
    sql: Connection, recordings: RecordingCRUD, add: Add
) -> None:
    seen_inside: list[Any] = []

    def refuse() -> None:
        seen_inside.append(sql("SELECT count(*) FROM raw")[0])  # nothing is visible to others
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space left"):
        await recordings.add_recording(
            Recording(RUN, rows_of(0, 1)), visibility=Visibility.UNLISTED, before_commit=refuse
        )
    assert seen_inside == [(0,)]
    for table in ("interactions", "raw", "shared_interactions"):
        assert sql(f"SELECT count(*) FROM {table}")[0] == (0,)
    await add(*rows_of(0, 1))


async def test_an_error_of_progress_takes_everything_back(
    interactions: InteractionCRUD, recordings: RecordingCRUD
) -> None:
    def interrupt(rows: int) -> None:
        raise KeyError(rows)

    with pytest.raises(KeyError):
        await recordings.add_recording(Recording(RUN, rows_of(0)), visibility=Visibility.UNLISTED, progress=interrupt)
    assert await interactions.get_interaction("run") is None


async def test_a_row_that_cant_be_stored_takes_everything_back(
    interactions: InteractionCRUD, recordings: RecordingCRUD
) -> None:
    twice = Recording(RUN, [Row("n", "run"), Row("n", "run")])
    with pytest.raises(DatabaseConflict):
        await recordings.add_recording(twice, visibility=Visibility.UNLISTED)
    assert await interactions.get_interaction("run") is None


@pytest.mark.parametrize("is_deleted", [True, False])
async def test_an_id_that_is_taken_is_refused(is_deleted: bool, interactions: InteractionCRUD, add: Add) -> None:
    await add(*rows_of(0), interaction=replace(RUN, is_deleted=is_deleted))
    with pytest.raises(RecordingExists):
        await add(Row("other", "run"))
    assert (await read_all(interactions)) == ["run-0"]


async def test_rows_without_their_interaction_are_refused_too(sql: Connection, add: Add) -> None:
    await add(*rows_of(0))
    sql("DELETE FROM interactions")
    with pytest.raises(RecordingExists):
        await add(Row("other", "run"))


@pytest.mark.parametrize("place", [0, 250, 599])
async def test_a_node_id_that_is_taken_is_refused_wherever_it_stands(
    place: int, interactions: InteractionCRUD, add: Add
) -> None:
    await add(Row(f"other-{place}", "run"))
    other = replace(RUN, interaction_id="other")
    with pytest.raises(RecordingExists):
        await add(*rows_of(*range(600), interaction_id="other"), interaction=other)
    assert await interactions.get_interaction("other") is None


async def test_two_who_store_the_same_at_once_are_told_apart(add: Add) -> None:
    results = await asyncio.gather(*(add(*rows_of(0, 1)) for _ in range(5)), return_exceptions=True)
    assert sorted(str(type(result).__name__) for result in results) == ["NoneType"] + ["RecordingExists"] * 4


@pytest.mark.parametrize(
    "other",
    [
        Recording(replace(RUN, description="another"), rows_of(0, 1)),
        Recording(replace(RUN, is_deleted=True), rows_of(0, 1)),
        Recording(RUN, rows_of(0)),
        Recording(RUN, rows_of(0, 1, 2)),
        Recording(RUN, rows_of(0, 2)),
        Recording(RUN, rows_of(0, 1, data="{}")),
        Recording(replace(RUN, interaction_id="other"), rows_of(0, 1, interaction_id="other")),
    ],
)
async def test_a_recording_that_differs_is_not_held(other: Recording, recordings: RecordingCRUD, add: Add) -> None:
    await add(*rows_of(0, 1))
    assert await recordings.holds(Recording(RUN, rows_of(0, 1)))
    assert not await recordings.holds(other)


async def test_a_caller_who_leaves_at_any_moment_leaves_all_or_nothing(
    interactions: InteractionCRUD, add: Add, gateway: Gateway
) -> None:
    for turns in range(0, 300, 3):
        run = replace(RUN, interaction_id=f"run{turns}")
        rows = rows_of(0, 1, 2, interaction_id=run.interaction_id)
        task = asyncio.create_task(add(*rows, interaction=run))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    await gateway.drain()
    listed = await interactions.list_interactions()
    assert {(each.row_count, each.is_shared) for each in listed} <= {(3, True)}
    count = await gateway.fetch_one(databases.core.text("SELECT count(*) AS n FROM raw"))
    assert count is not None
    assert count["n"] == 3 * len(listed)


# Removing and sharing


async def test_a_deleted_interaction_leaves_nothing_behind(
    sql: Connection, recordings: RecordingCRUD, add: Add
) -> None:
    await add(*rows_of(0, 1))
    sql("INSERT INTO interaction_parameters (interaction_id, parameter_id) VALUES ('run', 'p')")
    await add(*rows_of(0, interaction_id="kept"), interaction=replace(RUN, interaction_id="kept"))
    assert await recordings.delete_recording("run") is True
    for table in ("interactions", "raw", "shared_interactions"):
        assert sql(f"SELECT interaction_id FROM {table}") == [("kept",)]
    assert sql("SELECT * FROM interaction_parameters") == []
    assert await recordings.delete_recording("run") is False


async def test_to_share_is_to_share_once(
    sql: Connection, interactions: InteractionCRUD, shares: ShareCRUD, add: Add
) -> None:
    await add(shared=False)
    assert [await shares.set_visibility("run", Visibility.UNLISTED) for _ in range(3)] == [True, False, False]
    assert await interactions.get_shared_interaction("run")
    assert [await shares.set_visibility("run", Visibility.PRIVATE) for _ in range(3)] == [True, False, False]
    assert await interactions.get_shared_interaction("run") is None
    assert await shares.set_visibility("run", Visibility.UNLISTED) is True
    assert await interactions.get_shared_interaction("run")
    assert sql("SELECT count(*) FROM shared_interactions")[0] == (1,)


async def test_what_isnt_there_is_neither_shared_nor_unshared(sql: Connection, shares: ShareCRUD) -> None:
    assert await shares.set_visibility("nobody", Visibility.UNLISTED) is False
    assert await shares.set_visibility("nobody", Visibility.PRIVATE) is False
    assert sql("SELECT count(*) FROM shared_interactions")[0] == (0,)


async def test_a_deleted_interaction_is_not_shared_anew(sql: Connection, shares: ShareCRUD, add: Add) -> None:
    await add(interaction=replace(RUN, is_deleted=True), shared=False)
    assert [await shares.set_visibility("run", Visibility.UNLISTED) for _ in range(2)] == [False, False]
    assert sql("SELECT count(*) FROM shared_interactions")[0] == (0,)


async def test_two_who_share_at_once_share_once(sql: Connection, shares: ShareCRUD, add: Add) -> None:
    await add(shared=False)
    await asyncio.gather(*(shares.set_visibility("run", Visibility.UNLISTED) for _ in range(5)))
    assert sql("SELECT count(*) FROM shared_interactions")[0] == (1,)


async def test_a_share_says_what_xagent_shows_of_it(sql: Connection, add: Add) -> None:
    await add(interaction=replace(RUN, agent="a", mode=None))
    columns = "interaction_id, user_name, description, agent, mode, is_deleted, star, record_dir, is_audit"
    assert sql(f"SELECT {columns} FROM shared_interactions")[0] == (*("run", "guest", "a run", "a", "", 0, 0, None, 0),)
    times = sql("SELECT create_time, update_time FROM shared_interactions")[0]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", time) for time in times)
