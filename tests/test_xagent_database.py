"""A MySQL database that XAgent has made: nothing in it is changed, and who may only read it can replay."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from share.formats import read_recording
from share.recording_json import Recording
from storage.schema import metadata
from tests.any_database import Connection, connection
from tests.outages import OwnDatabase, own_database
from tests.server import (
    EDGE,
    GOLDEN,
    PATIENCE_SECONDS,
    SHORT,
    Server,
    golden_frames,
    make_timed_recording,
    run_here,
    start_server,
    write_recording,
)
from tests.test_golden import original_but_for_escapes, spelt_alike
from tests.test_schema import GOLDEN as TABLES

pytestmark = pytest.mark.mysql

OWN_TABLES = {"share_links", "share_link_views", "share_migrations"}
SHARED = json.dumps({"type": "shared"})


def create_statement(name: str) -> str:
    """The table as XAgent has it."""
    table = TABLES[name]
    lines = []
    for column in table.columns:
        default = "" if column.default in ("", "auto increment") else f" DEFAULT '{column.default}'"
        increment = " AUTO_INCREMENT" if column.default == "auto increment" else ""
        null = "NULL" if column.nullable else "NOT NULL"
        lines.append(f"`{column.name}` {column.type} {null}{default}{increment}")
    lines.append("PRIMARY KEY (`id`)")
    lines += [f"UNIQUE INDEX `{index}`(`{column}` ASC)" for index, column in table.unique]
    lines += [f"INDEX `{column}`(`{column}` ASC)" for column in table.indexes]
    return f"CREATE TABLE `{name}` ({', '.join(lines)}) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci"


def insert(sql: Connection, table: str, values: dict[str, Any]) -> None:
    values = {name: value for name, value in values.items() if name != "id"}
    columns = ", ".join(f"`{name}`" for name in values)
    sql(f"INSERT INTO `{table}` ({columns}) VALUES ({', '.join('?' * len(values))})", *values.values())


def put_in(sql: Connection, recording: Recording) -> None:
    """A shared run, as XAgent writes one."""
    interaction = recording.interaction
    insert(sql, "interactions", asdict(interaction))
    for row in recording.rows:
        insert(sql, "raw", asdict(row))
    texts = {name: getattr(interaction, name) or "" for name in ("interaction_id", "create_time", "update_time")}
    texts |= {name: getattr(interaction, name) or "" for name in ("description", "agent", "mode")}
    insert(sql, "shared_interactions", texts | {"user_name": "guest", "is_audit": 1})


def described(sql: Connection) -> dict[str, Any]:
    """XAgent's tables as they are declared, and what they hold."""
    found = {}
    for name in TABLES:
        declared = re.sub(r"AUTO_INCREMENT=\d+", "", sql(f"SHOW CREATE TABLE {name}")[0][1])
        found[name] = (declared, sql(f"SELECT * FROM {name} ORDER BY id"))
    return found


@pytest.fixture(scope="module")
def own() -> Iterator[OwnDatabase]:
    with own_database() as own, connection(own.url) as sql:
        for name in TABLES:
            sql(create_statement(name))
        guest = {"user_id": "guest", "email": "Guest", "name": "guest", "token": "xagent", "available": 1, "is_beta": 1}
        insert(sql, "users", guest)
        for name in ("short", "edge"):
            put_in(sql, read_recording(GOLDEN / f"{name}.recording.json"))
        sql("CREATE OR REPLACE USER reader@'%' IDENTIFIED BY 'reader'")
        sql("GRANT SELECT ON test.* TO reader@'%'")
        yield own


@pytest.fixture
def sql(own: OwnDatabase) -> Iterator[Connection]:
    with connection(own.url) as opened:
        yield opened


def read_only(own: OwnDatabase) -> dict[str, str]:
    return {"SHARE_DATABASE_URL": own.url.replace("own:own@", "reader:reader@"), "SHARE_PAUSE_SECONDS": "0"}


async def frames(server: Server, interaction_id: str, count: int) -> list[str]:
    async with connect(server.url(interaction_id), max_size=None) as socket:
        await socket.send(SHARED)
        return [str(await socket.recv()) for _ in range(count)]


@pytest.mark.parametrize("interaction_id", [SHORT, EDGE])
async def test_who_may_only_read_replays_what_xagent_has_recorded(
    interaction_id: str, own: OwnDatabase, sql: Connection, tmp_path: Path
) -> None:
    before = described(sql)
    expected = golden_frames("normal_short") if interaction_id == SHORT else original_but_for_escapes()
    expected = [spelt_alike(frame) for frame in expected]
    with start_server(tmp_path, **read_only(own)) as server:
        found = await frames(server, interaction_id, len(expected))
        if "MariaDB" in sql("SELECT version()")[0][0]:
            assert [spelt_alike(frame) for frame in found] == expected
        else:  # MySQL's JSON gives keys back in another order
            assert [json.loads(frame) for frame in found] == [json.loads(frame) for frame in expected]
        assert "Traceback" not in server.log
    assert described(sql) == before
    assert {name for (name,) in sql("SHOW TABLES")} == set(TABLES)


def test_what_it_can_not_do_there_is_said(own: OwnDatabase, tmp_path: Path) -> None:
    with start_server(tmp_path, **read_only(own)) as server, httpx.Client(trust_env=False) as client:
        link = client.get(f"{server.http_url}/api/v1/recordings/rs_{'a' * 32}", timeout=PATIENCE_SECONDS)
        assert link.status_code == 404  # no link has been made, where there is no table for any
        headers = {"authorization": "Bearer xagent"}
        made = client.post(f"{server.http_url}/api/v1/recordings/{SHORT}/links", headers=headers)
        assert made.status_code in (403, 503)
        assert (
            client.get(f"{server.http_url}/api/v1/links", headers=headers)
            .json()["detail"]
            .endswith("replay-share db init makes the tables")
        )
        assert client.get(f"{server.http_url}/api/v1/recordings").json()["recordings"]
        assert "Traceback" not in server.log
    done = run_here("import", GOLDEN / "running.recording.json", folder=tmp_path, **read_only(own))
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1


def test_db_init_makes_only_what_is_ours(own: OwnDatabase, sql: Connection, tmp_path: Path) -> None:
    before = described(sql)
    own_url = {"SHARE_DATABASE_URL": own.url}
    made = run_here("db", "init", folder=tmp_path, **own_url)
    assert (made.returncode, set(re.findall(r"\w+", made.stdout)) - {"made"}) == (0, OWN_TABLES)
    assert run_here("db", "init", folder=tmp_path, **own_url).stdout == "all tables are there\n"
    assert described(sql) == before
    assert {name for (name,) in sql("SHOW TABLES")} == set(metadata.tables)

    file = write_recording(tmp_path / "run.json", make_timed_recording("ours", 3, 1))
    assert run_here("import", file, folder=tmp_path, **own_url).returncode == 0
    with start_server(tmp_path, **own_url) as server, httpx.Client(trust_env=False) as client:
        headers = {"authorization": "Bearer xagent"}
        link = client.post(f"{server.http_url}/api/v1/recordings/ours/links", headers=headers).json()
        token = link["url"].rpartition("/")[2]
        assert client.get(f"{server.http_url}/api/v1/recordings/{token}").status_code == 200
    for table in ("interactions", "raw", "shared_interactions"):
        sql(f"DELETE FROM {table} WHERE interaction_id = 'ours'")
    assert described(sql) == before
    for table in OWN_TABLES:
        sql(f"DROP TABLE {table}")


def test_the_same_letters_in_another_case_are_another_id(own: OwnDatabase, tmp_path: Path) -> None:
    # XAgent's columns compare without regard to case.
    with start_server(tmp_path, **read_only(own)) as server, httpx.Client(trust_env=False) as client:
        assert client.get(f"{server.http_url}/api/v1/recordings/{SHORT}").status_code == 200
        assert client.get(f"{server.http_url}/api/v1/recordings/{SHORT.upper()}").status_code == 404
