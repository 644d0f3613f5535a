from __future__ import annotations

import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

import databases
import pytest
from databases.core import Connection
from sqlalchemy import text

from storage import migrations
from storage.database import open_database, table_names
from storage.gateway import Gateway
from storage.migrations import SchemaError, check_tables, create_tables, latest, upgrade_tables
from storage.schema import metadata
from tests.any_database import connection, database_url, execute
from tests.server import PATIENCE_SECONDS, SERVE, environment, run_here

OURS = {"share_links", "share_link_views", "share_migrations"}


async def add_a_note(connection: Connection) -> None:
    await connection.execute("ALTER TABLE share_links ADD COLUMN note VARCHAR(20)")


async def fail(connection: Connection) -> None:
    await connection.execute("INSERT INTO share_migrations (number, applied_at) VALUES (77, 1)")
    raise ValueError("this migration fails")


@pytest.fixture
def migrate(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have the program know these migrations."""

    def know(**known: Callable[[Connection], Awaitable[None]]) -> None:
        numbered = {int(name[1:]): migration for name, migration in known.items()}
        monkeypatch.setattr(migrations, "MIGRATIONS", numbered)

    return know


async def versions(gateway: Gateway) -> list[int]:
    records = await gateway.fetch_all(text("SELECT number FROM share_migrations ORDER BY number"))
    return [record["number"] for record in records]


async def test_a_new_database_has_all_tables_and_the_newest_version(gateway: Gateway) -> None:
    assert metadata.tables.keys() <= await gateway.run(table_names)
    assert await versions(gateway) == [latest()]
    assert await check_tables(gateway)
    assert await create_tables(gateway) == []
    assert await upgrade_tables(gateway) == []


async def test_a_database_from_before_there_were_migrations_is_the_first_version(gateway: Gateway) -> None:
    await gateway.execute("DROP TABLE share_migrations")
    assert await create_tables(gateway) == ["share_migrations"]
    assert await versions(gateway) == [1, *migrations.MIGRATIONS]


@pytest.mark.parametrize("noted", [True, False])
async def test_an_older_database_stops_the_start_until_it_is_upgraded(
    noted: bool, gateway: Gateway, migrate: Callable[..., None]
) -> None:
    before = [latest()] if noted else [1]
    if not noted:
        await gateway.execute("DROP TABLE share_migrations")
    migrate(_52=add_a_note, _53=add_nothing)
    expected = f"of version {before[0]}, this program needs 53: run replay-share db upgrade"
    with pytest.raises(SchemaError, match=expected):
        await check_tables(gateway)
    assert await upgrade_tables(gateway) == [52, 53]
    assert await check_tables(gateway)
    assert await versions(gateway) == [*before, 52, 53]
    assert await upgrade_tables(gateway) == []
    await gateway.execute("UPDATE share_links SET note = 'a note'")


async def add_nothing(connection: Connection) -> None:
    pass


async def test_where_tables_are_made_they_are_upgraded_too(gateway: Gateway, migrate: Callable[..., None]) -> None:
    before = await versions(gateway)
    migrate(_52=add_a_note)
    assert await create_tables(gateway) == []
    assert await versions(gateway) == [*before, 52]


@pytest.mark.parametrize("step", [create_tables, check_tables, upgrade_tables])
async def test_a_newer_database_stops_the_start(step: Callable[[Gateway], Awaitable[object]], gateway: Gateway) -> None:
    await gateway.execute("INSERT INTO share_migrations (number, applied_at) VALUES (99, 0)")
    with pytest.raises(SchemaError, match=f"of version 99, this program only knows {latest()}: upgrade replay-share"):
        await step(gateway)


async def test_a_migration_that_fails_is_taken_back(gateway: Gateway, migrate: Callable[..., None]) -> None:
    before = await versions(gateway)
    migrate(_52=fail)
    with pytest.raises(ValueError, match="this migration fails"):
        await upgrade_tables(gateway)
    assert await versions(gateway) == before


async def test_xagents_tables_alone_are_enough_to_start(gateway: Gateway) -> None:
    for table in OURS:
        await gateway.execute(f"DROP TABLE {table}")
    assert await check_tables(gateway) is False
    with pytest.raises(SchemaError, match="replay-share db init"):
        await upgrade_tables(gateway)
    assert set(await create_tables(gateway)) == OURS


async def test_without_xagents_tables_nothing_starts(tmp_path: Path) -> None:
    async with open_database(database_url(tmp_path / "empty")) as database:
        with pytest.raises(SchemaError, match="no table interactions"):
            await check_tables(Gateway(database))


async def test_a_table_that_is_missing_is_made_again(database: databases.Database, gateway: Gateway) -> None:
    await gateway.execute("DROP TABLE share_link_views")
    await gateway.execute("DROP TABLE running_record")
    assert set(await create_tables(gateway)) == {"share_link_views", "running_record"}
    assert await versions(gateway) == [latest()]


# Commands


def test_db_init_makes_the_tables_once(tmp_path: Path) -> None:
    first = run_here("db", "init", folder=tmp_path)
    assert first.returncode == 0
    assert set(first.stdout.removeprefix("made ").strip().split(", ")) == set(metadata.tables)
    assert run_here("db", "init", folder=tmp_path).stdout == "all tables are there\n"
    assert run_here("db", "upgrade", folder=tmp_path).stdout == "nothing to upgrade\n"


@pytest.mark.parametrize("command", ["list", "import", "serve"])
def test_where_no_tables_are_to_be_made_a_command_says_what_is_missing(command: str, tmp_path: Path) -> None:
    arguments = ["run.json"] if command == "import" else []
    done = subprocess.run(
        [*SERVE[:-1], command, *arguments],
        cwd=tmp_path,
        env=environment(tmp_path) | {"SHARE_CREATE_TABLES": "0", "SHARE_PORT": "0"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == (3 if command == "serve" else 1)
    assert "replay-share db init" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_server_does_not_start_on_a_newer_database(tmp_path: Path) -> None:
    assert run_here("db", "init", folder=tmp_path).returncode == 0
    execute(database_url(tmp_path / "data"), "INSERT INTO share_migrations (number, applied_at) VALUES (99, 0)")
    done = subprocess.run(
        SERVE,
        cwd=tmp_path,
        env=environment(tmp_path, SHARE_PORT="0"),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 3
    assert f"of version 99, this program only knows {latest()}: upgrade replay-share" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.postgresql
async def test_tables_of_another_schema_in_the_search_path_count_as_there(tmp_path: Path) -> None:
    # As of a user who may read XAgent's tables in `public`, and makes ours in a schema of his own.
    async with open_database(database_url(tmp_path / "theirs")) as theirs:
        await create_tables(Gateway(theirs))
    schema = execute(database_url(tmp_path / "theirs"), "SELECT current_schema()")[0][0]
    reader = execute(database_url(tmp_path / "ours"), "SELECT current_user")[0][0]
    with connection(database_url(tmp_path / "theirs")) as sql:
        sql(f"GRANT USAGE ON SCHEMA {schema} TO {reader}")
        for table in metadata.tables.keys() - OURS:
            sql(f"GRANT SELECT ON {schema}.{table} TO {reader}")
    execute(database_url(tmp_path / "ours"), f"ALTER ROLE {reader} SET search_path = {reader}, {schema}")
    async with open_database(database_url(tmp_path / "ours")) as ours:
        assert await check_tables(Gateway(ours)) is False
        assert set(await create_tables(Gateway(ours))) == OURS
        assert await check_tables(Gateway(ours)) is True


@pytest.mark.mysql
async def test_a_table_is_never_there_without_its_indexes(gateway: Gateway) -> None:
    for table in metadata.sorted_tables:
        records = await gateway.fetch_all(text(f"SHOW INDEX FROM {table.name}"))
        found = {record["Key_name"]: bool(record["Non_unique"]) for record in records}
        assert {str(index.name): not index.unique for index in table.indexes}.items() <= found.items()
