from __future__ import annotations

import contextlib
import re
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import databases
import pytest
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from storage.database import open_database
from storage.errors import DatabaseError
from storage.gateway import Gateway
from storage.migrations import create_tables
from storage.schema import metadata

ROOT = Path(__file__).parent.parent
SCHEMA = (Path(__file__).parent / "data" / "golden" / "schema.md").read_text(encoding="utf-8")


class Column(NamedTuple):
    name: str
    type: str
    nullable: bool
    default: str


class Golden(NamedTuple):
    columns: list[Column]
    unique: list[tuple[str, str]]
    indexes: list[str]


def parsed() -> dict[str, Golden]:
    tables = {}
    for section in SCHEMA.split("\n## ")[1:]:
        rows = re.findall(r"^\| (.*?) \| (.*?) \| (yes|no) \| (.*?) ?\|$", section, re.MULTILINE)
        tables[section.split("\n")[0].strip()] = Golden(
            [Column(name, type_, null == "yes", default.strip("' ")) for name, type_, null, default in rows],
            re.findall(r"UNIQUE INDEX `(\w+)`\(`(\w+)` ASC\)", section),
            re.findall(r"(?<!UNIQUE )INDEX `\w+`\(`(\w+)` ASC\)", section),
        )
    return tables


GOLDEN = parsed()
COLUMNS = [(table, column) for table, golden in GOLDEN.items() for column in golden.columns]
names = pytest.mark.parametrize("table", GOLDEN)
each_column = pytest.mark.parametrize(
    ("table", "column"), COLUMNS, ids=[f"{table}.{column.name}" for table, column in COLUMNS]
)


@pytest.fixture
def connection(database: databases.Database) -> sqlite3.Connection:
    with contextlib.closing(sqlite3.connect(database.url.database)) as connection:
        connection.row_factory = sqlite3.Row
        yield connection


def affinity(declared: str) -> str:
    """SQLite's own rules, https://sqlite.org/datatype3.html#determination_of_column_affinity."""
    for words, kind in ((("INT",), "INTEGER"), (("CHAR", "CLOB", "TEXT"), "TEXT"), (("BLOB",), "BLOB")):
        if any(word in declared.upper() for word in words):
            return kind
    return "REAL" if any(word in declared.upper() for word in ("REAL", "FLOA", "DOUB")) else "NUMERIC"


def indexes(connection: sqlite3.Connection, table: str) -> dict[str, tuple[bool, list[str]]]:
    return {
        index["name"]: (
            bool(index["unique"]),
            [column["name"] for column in connection.execute(f"PRAGMA index_info({index['name']})")],
        )
        for index in connection.execute(f"PRAGMA index_list({table})")
    }


def test_the_golden_tables_are_read_whole() -> None:
    assert list(GOLDEN) == [
        "interaction_parameters",
        "interactions",
        "raw",
        "running_record",
        "shared_interactions",
        "users",
    ]
    assert len(COLUMNS) == SCHEMA.count("\n| ") - len(GOLDEN) == 73
    assert GOLDEN["raw"].unique == [("node_id", "node_id")]
    assert GOLDEN["raw"].indexes == ["interaction_id"]


def test_the_tables_are_xagents() -> None:
    assert set(metadata.tables) >= set(GOLDEN)


@names
@pytest.mark.sqlite
def test_a_table_has_xagents_columns_in_xagents_order(table: str, connection: sqlite3.Connection) -> None:
    columns = [column["name"] for column in connection.execute(f"PRAGMA table_info({table})")]
    assert columns == [column.name for column in GOLDEN[table].columns]


@each_column
@pytest.mark.sqlite
def test_a_column_is_xagents_in_sqlite(table: str, column: Column, connection: sqlite3.Connection) -> None:
    found = {found["name"]: found for found in connection.execute(f"PRAGMA table_info({table})")}[column.name]
    expected = {"int": "INTEGER", "json": "TEXT", "text": "TEXT", "tinyint(1)": "NUMERIC"}
    assert affinity(found["type"]) == expected.get(column.type, "TEXT")
    assert (not found["notnull"]) == column.nullable
    assert bool(found["pk"]) == (column.name == "id")
    if column.default != "auto increment":
        assert str(found["dflt_value"] or "").strip("'") == column.default


@each_column
def test_a_column_is_xagents_in_mysql(table: str, column: Column) -> None:
    ours = metadata.tables[table].c[column.name]
    type_ = ours.type.compile(dialect=mysql.dialect()).lower()
    # JSON, which changes or refuses some of what is stored, is text where we make the table.
    assert type_ == {"int": "integer", "json": "longtext"}.get(column.type, column.type)
    assert ours.nullable == column.nullable
    lines = str(CreateTable(metadata.tables[table]).compile(dialect=mysql.dialect())).split("\n")
    line = next(line for line in lines if re.match(rf"\s*`?{column.name}`? ", line))
    if column.default == "auto increment":
        assert "AUTO_INCREMENT" in line
    elif not column.default:
        assert "DEFAULT" not in line
    else:
        default = line.partition("DEFAULT ")[2].rstrip(", ").strip("'")
        assert {"false": "0", "true": "1"}.get(default, default) == column.default


@pytest.mark.parametrize("dialect", [mysql.dialect(), postgresql.dialect()], ids=["mysql", "postgresql"])
@names
def test_a_table_can_be_written_in_the_other_dialects(table: str, dialect: object) -> None:
    assert str(CreateTable(metadata.tables[table]).compile(dialect=dialect))
    for index in metadata.tables[table].indexes:
        assert str(CreateIndex(index).compile(dialect=dialect))


@names
@pytest.mark.sqlite
def test_a_table_has_xagents_indexes(table: str, connection: sqlite3.Connection) -> None:
    found = indexes(connection, table)
    for name, column in GOLDEN[table].unique:
        assert found[name] == (True, [column])
    for column in GOLDEN[table].indexes:
        assert any(columns[0] == column for _, columns in found.values())


@pytest.mark.sqlite
def test_what_is_looked_up_by_has_an_index(connection: sqlite3.Connection) -> None:
    first = {
        table: {columns[0] for _, columns in indexes(connection, table).values()}
        for table in ("interactions", "raw", "shared_interactions", "users")
    }
    assert {"interaction_id", "user_id"} <= first["interactions"]
    assert {"interaction_id", "node_id"} <= first["raw"]
    assert "interaction_id" in first["shared_interactions"]
    assert "user_id" in first["users"]


@pytest.mark.sqlite
def test_the_defaults_are_what_an_insert_without_them_gets(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO raw (node_id, interaction_id) VALUES ('n', 'i')")
    row = connection.execute("SELECT * FROM raw").fetchone()
    expected = {"id": 1, "node_id": "n", "interaction_id": "i", "step": 0, "status": "running", "wait_seconds": 0}
    flags = [column.name for column in GOLDEN["raw"].columns if column.type == "tinyint(1)"]
    assert {name: value for name, value in dict(row).items() if value is not None} == expected | dict.fromkeys(flags, 0)


@pytest.mark.sqlite
def test_text_that_looks_like_a_number_stays_text(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO raw (node_id, interaction_id, data) VALUES ('n', 'i', '1.0')")
    assert connection.execute("SELECT data FROM raw").fetchone()["data"] == "1.0"


async def test_making_them_again_makes_nothing(database: databases.Database) -> None:
    assert await create_tables(Gateway(database)) == []


async def test_the_tables_made_are_told(tmp_path: Path) -> None:
    async with open_database(f"sqlite:///{tmp_path}/new.db") as database:
        assert sorted(await create_tables(Gateway(database))) == sorted(metadata.tables)


@pytest.mark.sqlite
async def test_a_table_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as old:
        old.execute("CREATE TABLE raw (id INTEGER PRIMARY KEY, node_id TEXT, mine TEXT)")
        old.execute("INSERT INTO raw (node_id, mine) VALUES ('n', 'kept')")
        old.execute("CREATE TABLE users (name TEXT)")
        before = old.execute("SELECT * FROM sqlite_master WHERE tbl_name IN ('raw', 'users')").fetchall()
        async with open_database(f"sqlite:///{path}") as database:
            made = await create_tables(Gateway(database))
        assert not {"raw", "users"} & set(made)
        assert {"raw", "users"} | set(made) == set(metadata.tables)
        assert old.execute("SELECT * FROM sqlite_master WHERE tbl_name IN ('raw', 'users')").fetchall() == before
        assert old.execute("SELECT node_id, mine FROM raw").fetchall() == [("n", "kept")]


@pytest.mark.sqlite
async def test_either_all_that_is_missing_is_made_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "host.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as host:
        host.execute("CREATE TABLE host (a TEXT)")
        host.execute("CREATE VIEW users AS SELECT a FROM host")
        async with open_database(f"sqlite:///{path}") as database:
            with pytest.raises(DatabaseError, match="users"):
                await create_tables(Gateway(database))
        assert host.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall() == [("host",)]


PROCESS = """
import asyncio, sys
from pathlib import Path
from storage.database import open_database
from storage.gateway import Gateway
from storage.migrations import create_tables

async def main():
    async with open_database(f"sqlite:///{sys.argv[1]}/replay.db") as database:
        print("ready", flush=True)
        while not Path(sys.argv[1], "go").exists():
            pass
        print(*await create_tables(Gateway(database)))

asyncio.run(main())
"""


@pytest.mark.parametrize("attempt", range(3))
def test_processes_that_make_them_at_once_dont_disturb_each_other(attempt: int, tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROCESS, str(tmp_path)]
    processes = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    (tmp_path / "go").touch()
    made = []
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert (process.returncode, err) == (0, "")
        made += out.split()
    assert sorted(made) == sorted(metadata.tables)
