from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import ColumnElement, text
from sqlalchemy.dialects import sqlite

from storage import gallery
from storage.gallery import GalleryCRUD
from storage.gateway import Gateway
from storage.indexes import INDEXES
from storage.migrations import create_tables, upgrade_tables
from storage.models import Interaction, Recording, Row, Visibility
from storage.recordings import RecordingCRUD
from storage.schema import interactions as table
from storage.search import Page, Stretch
from storage.shares import IS_PUBLIC, ShareCRUD
from tests.any_database import database_url, execute
from tests.any_database import databases as test_databases

PUBLIC = IS_PUBLIC
OWN = table.c.user_id == "author"
TIMES = ["2024-05-01 10:00:00", "2024-05-01 10:00:00", "2023-05-01 10:00:00", None, "", None]


async def put_in(recordings: RecordingCRUD, name: str, *, goal: Any = None, rows: int = 2, **interaction: Any) -> None:
    """Store a public recording in which somebody asked for something."""
    said = {"is_human": True, "human_data": json.dumps({"goal": goal, "plan": []})}
    stored = [
        Row(f"{name}-{step}", name, step=step, **(said if step == 0 and goal else {}))  # type: ignore[arg-type]
        for step in range(rows)
    ]
    made = Interaction(name, **{"user_id": "author", "description": "", **interaction})
    await recordings.add_recording(Recording(made, stored), visibility=Visibility.PUBLIC)


async def visit(gateway: Gateway, limit: int = 20, **search: Any) -> list[str]:
    """What all pages of a list show, in their order."""
    seen: list[str] = []
    after: Page | None = None
    while True:
        cards, after = await GalleryCRUD(gateway).search(after=after, limit=limit, **search)
        seen += [card.interaction.interaction_id for card in cards]
        if after is None:
            return seen


@pytest.fixture(params=["indexed", "as XAgent's"])
async def shelf(request: pytest.FixtureRequest, gateway: Gateway, recordings: RecordingCRUD) -> list[str]:
    """Recordings from several times, and from none; each third is about balloons. Their ids, newest first."""
    if request.param != "indexed":
        await drop_indexes(gateway)
    for number in range(24):
        about = {"description": "red Balloons", "goal": "a house"} if number % 6 == 0 else {}
        about = {"goal": "get balloons 气球"} if number % 6 == 3 else about
        await put_in(recordings, f"run {number}", create_time=TIMES[number % len(TIMES)], **about)
    made = [TIMES[number % len(TIMES)] for number in range(24)]
    order = sorted(range(24), key=lambda number: (made[number] is not None, made[number] or "", number))
    return [f"run {number}" for number in reversed(order)]


async def drop_indexes(gateway: Gateway) -> None:
    """As the tables are before the program has indexes on them, or where they are XAgent's."""
    for name, index in INDEXES[test_databases.dialect].items():
        await gateway.execute(f"DROP INDEX {name}" + (f" ON {index.table}" * (test_databases.dialect == "mysql")))


@pytest.mark.parametrize("mine", [False, True])
@pytest.mark.parametrize("limit", [1, 5, 24, 100])
async def test_pages_show_all_in_one_order_and_those_of_no_time_at_the_end(
    mine: bool, limit: int, shelf: list[str], gateway: Gateway
) -> None:
    assert await visit(gateway, limit, user_id="author" if mine else None) == shelf


@pytest.mark.parametrize("mine", [False, True])
@pytest.mark.parametrize("few", [0, 5_000])
@pytest.mark.parametrize(("near", "limit"), [(1, 1), (4, 3), (9, 100), (1_000, 3)])
async def test_a_search_finds_what_is_near_and_what_is_far_once_and_in_order(
    mine: bool, few: int, near: int, limit: int, shelf: list[str], gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gallery, "_SHORT", near)
    monkeypatch.setattr(gallery, "_FEW", few)
    user_id = "author" if mine else None
    about = [name for name in shelf if int(name[4:]) % 3 == 0]
    assert await visit(gateway, limit, user_id=user_id, text="BALLOONS") == about
    assert await visit(gateway, limit, user_id=user_id, text="气球") == [name for name in about if int(name[4:]) % 6]
    assert await visit(gateway, limit, user_id=user_id, text="plan") == []


async def test_a_page_behind_which_nothing_is_about_the_text_is_the_last(
    gateway: Gateway, recordings: RecordingCRUD
) -> None:
    for number in range(9):
        await put_in(recordings, f"run {number}", description="a balloon" if number > 6 else "a goal", goal="x")
    cards, after = await GalleryCRUD(gateway).search(text="balloon", limit=2)
    assert (len(cards), after) == (2, None)


@pytest.mark.parametrize("words", [{}, {"text": "balloon"}])
async def test_what_others_write_is_seen_at_once(
    words: dict[str, str], tmp_path: Path, gateway: Gateway, recordings: RecordingCRUD, shares: ShareCRUD
) -> None:
    url = database_url(tmp_path)
    for name in ("kept", "renamed", "deleted", "taken back", "private", "told"):
        await put_in(recordings, name, description="a balloon" if name != "told" else "balloon, secret")
    await shares.set_visibility("private", Visibility.PRIVATE)
    assert await visit(gateway, **words) == ["told", "taken back", "deleted", "renamed", "kept"]
    execute(url, "UPDATE interactions SET is_deleted = TRUE WHERE interaction_id = 'deleted'")
    execute(url, "UPDATE shared_interactions SET is_deleted = TRUE WHERE interaction_id = 'taken back'")
    execute(url, "UPDATE shared_interactions SET is_deleted = FALSE WHERE interaction_id = 'private'")
    execute(url, "UPDATE shared_interactions SET is_audit = TRUE WHERE interaction_id = 'private'")
    execute(url, "UPDATE interactions SET description = 'a house' WHERE interaction_id = 'told'")
    execute(url, "UPDATE interactions SET description = 'my Balloon' WHERE interaction_id = 'renamed'")
    await recordings.delete_recording("kept")
    assert await visit(gateway, **words) == (["private", "renamed"] if words else ["told", "private", "renamed"])
    said = "UPDATE raw SET is_human = TRUE, human_data = ? WHERE node_id = 'told-1'"
    execute(url, said, json.dumps({"goal": "a balloon"}))
    assert "told" in await visit(gateway, **words)
    execute(url, "UPDATE raw SET is_deleted = TRUE WHERE node_id = 'told-1'")
    assert ("told" in await visit(gateway, **words)) == (not words)


# Plans


def plan(file: str, stretch: Stretch, condition: ColumnElement[bool], words: str) -> list[str]:
    """How SQLite goes about a page: it doesn't ask how many recordings there are."""
    query = stretch.query(condition, text=words).limit(21)
    dialect = sqlite.dialect()  # type: ignore[no-untyped-call]
    compiled = query.compile(dialect=dialect, compile_kwargs={"literal_binds": True})
    with closing(sqlite3.connect(file)) as connection:
        return [step[3] for step in connection.execute(f"EXPLAIN QUERY PLAN {compiled}")]


def first_of(stretch: Stretch) -> Sequence[Stretch]:
    after = Page("2020-01-01 00:00:00", 9)
    return [stretch, stretch._replace(after=after), Stretch(after, is_short=False), Stretch(after, is_timed=False)]


@pytest.mark.sqlite
@pytest.mark.parametrize("words", ["", "balloon", "数据"])
@pytest.mark.parametrize(
    ("condition", "index"), [(PUBLIC, "ix_interactions_listed"), (OWN, "ix_interactions_owned")], ids=["public", "own"]
)
async def test_every_page_is_read_from_its_place_in_the_index_and_nothing_is_sorted(
    condition: ColumnElement[bool], index: str, words: str, gateway: Gateway
) -> None:
    for stretch in first_of(Stretch(None)):
        steps = plan(gateway.database.url.database, stretch, condition, words)
        assert steps[0].startswith(f"SEARCH interactions USING INDEX {index} (")
        assert not [step for step in steps if "TEMP B-TREE" in step]
        assert not [step for step in steps if step.startswith("SCAN") and "ix_raw_human_data" not in step]
        # Of a recording's rows, only those that a person has said.
        assert not [step for step in steps if " raw " in step and "ix_raw_human_data" not in step]


# Indexes


async def index_names(gateway: Gateway) -> set[str]:
    """The indexes that make reading faster, of those that there are."""
    records = await gateway.fetch_all(text(INDEXES_PRESENT[test_databases.dialect]))
    return {str(record["name"]) for record in records} & INDEXES[test_databases.dialect].keys()


INDEXES_PRESENT = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'index'",
    "postgresql": "SELECT indexname AS name FROM pg_indexes WHERE schemaname = current_schema()",
    "mysql": "SELECT index_name AS name FROM information_schema.statistics WHERE table_schema = database()",
}


async def test_a_new_database_has_the_indexes(gateway: Gateway) -> None:
    assert await index_names(gateway) == INDEXES[test_databases.dialect].keys()


async def test_an_older_database_gets_them_when_it_is_upgraded(gateway: Gateway) -> None:
    await drop_indexes(gateway)
    await gateway.execute("UPDATE share_migrations SET number = 1")
    assert await upgrade_tables(gateway) == [2, 3]
    assert await index_names(gateway) == INDEXES[test_databases.dialect].keys()


async def test_a_table_that_is_made_again_has_them_again(gateway: Gateway) -> None:
    await gateway.execute("DROP TABLE interactions")
    assert await create_tables(gateway) == ["interactions"]
    assert await index_names(gateway) == INDEXES[test_databases.dialect].keys()


async def test_a_table_that_others_made_gets_none(gateway: Gateway) -> None:
    on_table = " ON interactions" if test_databases.dialect == "mysql" else ""
    await drop_indexes(gateway)
    await gateway.execute(f"DROP INDEX ix_interactions_interaction_id{on_table}")
    await gateway.execute("UPDATE share_migrations SET number = 1")
    await upgrade_tables(gateway)
    assert not {name for name in await index_names(gateway) if "ix_interactions" in name}
