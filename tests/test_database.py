from __future__ import annotations

import asyncio
import configparser
import contextlib
import importlib.util
import logging
import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import databases
import pytest
from databases.core import Connection
from sqlalchemy import text

from share.settings import XAgentServerEnv
from storage.database import is_sqlite, open_database, table_names
from storage.errors import DatabaseError
from storage.gateway import Gateway
from tests.any_database import NO_TABLE, execute

ROOT = Path(__file__).parent.parent


def wait_for_new_threads(before: set[threading.Thread]) -> None:
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
        assert not thread.is_alive(), thread


@pytest.fixture(autouse=True)
def no_thread_stays_behind() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    wait_for_new_threads(before)


@pytest.fixture
async def counted(gateway: Gateway) -> Gateway:
    await gateway.execute("CREATE TABLE counted (n INTEGER)")
    return gateway


async def count(gateway: Gateway) -> int:
    record = await gateway.fetch_one(text("SELECT count(*) AS n FROM counted"))
    assert record is not None
    return int(record["n"])


async def add_one(connection: Connection) -> None:
    await connection.execute("INSERT INTO counted VALUES (1)")


async def all_connections_are_free(gateway: Gateway, limit: int) -> bool:
    """Whether `limit` calls can run at once: each waits until all of them do."""
    together = asyncio.Barrier(limit)

    async def meet(connection: Connection) -> None:
        await connection.fetch_one("SELECT 1")
        await together.wait()

    async def meet_all() -> None:
        # Not a transaction, of which SQLite lets one run at a time.
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            for _ in range(limit):
                group.create_task(gateway.run(meet))

    await meet_all()
    return True


async def cancelled_after(turns: int, work: Coroutine[Any, Any, Any]) -> None:
    task = asyncio.create_task(work)
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


# URLs


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("", "expected sqlite:///<file>"),
        ("replay.db", "expected sqlite:///<file>"),
        ("mssql://host/name", "expected sqlite:///<file>"),
        ("http://[", "expected sqlite:///<file>"),
        ("sqlite://", "needs a file"),
        ("sqlite:///", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
        ("sqlite:///%3Amemory%3A", "needs a file"),
        ("sqlite:///replay.db?timeout=30", "no options"),
        ("sqlite:////proc/nothing/replay.db", "No such file or directory: '/proc/nothing'"),
        ("sqlite:///" + "a" * 300 + "/replay.db", "File name too long"),
        ("postgresql://host", "the name of a database, as in postgresql://host/name"),
        ("postgresql://host:port/name", "expected sqlite:///<file>"),
        ("postgresql://host/name?max_size=0", "max_size must be a whole number from 1, got '0'"),
        ("postgresql://host/name?max_size=many", "max_size must be a whole number from 1, got 'many'"),
        ("postgresql://host/name?sslmode=require", "expected max_size, min_size or ssl behind the '?', got 'sslmode'"),
        ("mysql://host/name?ssl=true", "ssl is for mysql+asyncmy://, which fails where there is no TLS"),
        ("mysql+asyncmy://host/name?ssl=require", "ssl must be true or false, got 'require'"),
        ("mysql+pymysql://host/name", "expected mysql:// with aiomysql or asyncmy, got pymysql"),
    ],
)
def test_a_url_that_cant_work_is_refused_with_the_reason(url: str, expected: str) -> None:
    with pytest.raises(DatabaseError, match=re.escape(expected)):
        open_database(url)


@pytest.mark.parametrize("url", ["sqlite://folder/replay.db", "sqlite:///a%00b/replay.db", "sqlite:///replay#2.db"])
def test_a_url_that_names_another_file_than_it_seems_to_is_refused(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DatabaseError):
        open_database(url)


@pytest.mark.parametrize(
    "url", ["postgresql//user:hunter2@host/name", "//user:hunter2@host/name", "postgresql://user:hunter2℀@host/name"]
)
def test_a_refusal_never_shows_the_password_of_the_url(url: str) -> None:
    with pytest.raises(DatabaseError) as refusal:
        open_database(url)
    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize("url", ["postgresql+aiopg://user:hunter2@host/name", "mysql+asyncmy://user:hunter2@host/name"])
def test_a_driver_that_isnt_there_is_named(url: str) -> None:
    driver = url.partition("+")[2].partition(":")[0]
    if importlib.util.find_spec(driver):
        pytest.skip(f"{driver} is installed")
    with pytest.raises(DatabaseError, match=driver) as refusal:
        open_database(url)
    assert "hunter2" not in str(refusal.value)
    for extra in re.findall(r"replay-share\[(\w+)\]", str(refusal.value)):
        config = configparser.ConfigParser()
        config.read(ROOT / "setup.cfg")
        assert extra in config["options.extras_require"]


def test_the_folder_of_the_file_is_made(tmp_path: Path) -> None:
    assert is_sqlite(open_database(f"sqlite:///{tmp_path}/a/b/replay.db"))
    assert (tmp_path / "a" / "b").is_dir()


@pytest.mark.parametrize(
    "name", ["with spaces", "100%", "100%25", "a#b", "a?b=c", "数据", "a;b&c", "'quoted'", ":memory:"]
)
async def test_a_base_dir_may_have_any_name(name: str, tmp_path: Path) -> None:
    settings = XAgentServerEnv(base_dir=tmp_path / name)
    async with open_database(settings.url) as database:
        await Gateway(database).execute("CREATE TABLE here (n INTEGER)")
    assert (tmp_path / name / "replay.db").stat().st_size > 0
    assert [path.name for path in tmp_path.iterdir()] == [name]


async def test_a_relative_base_dir_is_relative_to_where_the_process_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with open_database(XAgentServerEnv().url) as database:
        await Gateway(database).execute("CREATE TABLE here (n INTEGER)")
    assert (tmp_path / "data" / "replay.db").exists()


@pytest.mark.parametrize("content", [b"this is no database at all" * 100, None])
async def test_a_file_that_is_no_database_is_an_error_that_names_it(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "replay.db"
    path.mkdir() if content is None else path.write_bytes(content)
    threads = set(threading.enumerate())
    with pytest.raises(DatabaseError, match=r"replay\.db"):
        async with open_database(f"sqlite:///{path}") as database:
            await Gateway(database).fetch_all(text("SELECT 1"))
    wait_for_new_threads(threads)


FAILING = """
import asyncio, sys
from sqlalchemy import text
from storage.database import open_database
from storage.errors import DatabaseError
from storage.gateway import Gateway

async def main():
    async with open_database(sys.argv[1]) as database:
        await Gateway(database).fetch_all(text("SELECT 1"))

for _ in range(20):
    try:
        asyncio.run(main())
    except DatabaseError as error:
        print(error)
"""


def test_a_process_that_ends_with_such_an_error_shows_no_traceback_of_a_thread(tmp_path: Path) -> None:
    (tmp_path / "replay.db").mkdir()
    command = [sys.executable, "-c", FAILING, f"sqlite:///{tmp_path}/replay.db"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout.count("replay.db") == 20
    assert ended.stderr == ""


# SQLite's tuning


@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("pragma", "value"), [("journal_mode", "wal"), ("foreign_keys", 1), ("busy_timeout", 30_000), ("synchronous", 1)]
)
async def test_every_connection_is_tuned(pragma: str, value: Any, gateway: Gateway) -> None:
    async def read(connection: Connection) -> Any:
        return await connection.fetch_val(f"PRAGMA {pragma}")

    assert await gateway.run(read) == value
    assert await gateway.transaction(read) == value


@pytest.mark.sqlite
async def test_foreign_keys_are_enforced(gateway: Gateway) -> None:
    await gateway.execute("CREATE TABLE parent (id INTEGER PRIMARY KEY)")
    await gateway.execute("CREATE TABLE child (id INTEGER REFERENCES parent (id))")
    with pytest.raises(DatabaseError, match="FOREIGN KEY constraint failed"):
        await gateway.execute("INSERT INTO child VALUES (1)")


@pytest.mark.sqlite
async def test_a_writer_waits_for_another_process(counted: Gateway, tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "replay.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("INSERT INTO counted VALUES (1)")
        writer = asyncio.create_task(counted.transaction(add_one))
        await asyncio.sleep(0.1)  # long enough to fail in, if it didn't wait
        assert not writer.done()
        other.execute("COMMIT")
        await writer
    assert await count(counted) == 2


async def test_readers_dont_wait_for_a_writer(counted: Gateway) -> None:
    async def write(connection: Connection) -> int:
        await add_one(connection)
        return await count(counted)

    assert await counted.transaction(write) == 0
    assert await count(counted) == 1


@pytest.mark.sqlite
async def test_a_text_that_is_no_utf8_spoils_nothing_else(gateway: Gateway) -> None:
    records = await gateway.fetch_all(text("SELECT CAST(x'61ff' AS TEXT) AS t UNION ALL SELECT '数'"))
    assert [record["t"] for record in records] == ["a\udcff", "数"]


@pytest.mark.sqlite
async def test_the_tables_are_told_and_nothing_else(counted: Gateway) -> None:
    await counted.execute("CREATE VIEW seen AS SELECT * FROM counted")
    names = await counted.run(table_names)
    assert {"counted", "raw"} <= names
    assert "seen" not in names


# Transactions


async def test_a_transaction_answers_with_what_its_work_does_and_is_committed(counted: Gateway, tmp_path: Path) -> None:
    async def work(connection: Connection) -> str:
        await add_one(connection)
        return "done"

    assert await counted.transaction(work) == "done"
    assert execute(str(counted.database.url), "SELECT count(*) FROM counted") == [(1,)]


@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError, DatabaseError])
async def test_an_error_takes_everything_back_and_comes_out_as_it_is(
    error: type[BaseException], counted: Gateway
) -> None:
    async def work(connection: Connection) -> None:
        await add_one(connection)
        raise error

    with pytest.raises(error):
        await counted.transaction(work)
    assert await count(counted) == 0


async def test_an_error_of_the_database_takes_everything_back(counted: Gateway) -> None:
    async def work(connection: Connection) -> None:
        await add_one(connection)
        await connection.execute("INSERT INTO nowhere VALUES (1)")

    with pytest.raises(DatabaseError, match=NO_TABLE.pattern):
        await counted.transaction(work)
    assert await count(counted) == 0


@pytest.mark.sqlite
async def test_work_that_has_ended_its_transaction_itself_raises_its_own_error(
    counted: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(connection: Connection) -> None:
        await connection.execute("ROLLBACK")
        raise ValueError("mine")

    with caplog.at_level(logging.DEBUG, "storage"), pytest.raises(ValueError, match="mine"):
        await counted.transaction(work)
    assert "no transaction is active" in caplog.text
    assert await all_connections_are_free(counted, 8)


@pytest.mark.sqlite
async def test_a_failed_commit_takes_everything_back_and_frees_its_connection(database: databases.Database) -> None:
    gateway = Gateway(database, limit=1)
    await gateway.execute("CREATE TABLE parent (id INTEGER PRIMARY KEY)")
    await gateway.execute("CREATE TABLE child (id INTEGER REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED)")
    before = threading.active_count()
    for _ in range(20):
        with pytest.raises(DatabaseError, match="FOREIGN KEY constraint failed"):
            await gateway.transaction(lambda connection: connection.execute("INSERT INTO child VALUES (1)"))
    assert threading.active_count() <= before + 1  # the last one may still be on its way out
    assert await gateway.fetch_all(text("SELECT * FROM child")) == []
    await gateway.transaction(lambda connection: connection.execute("INSERT INTO parent VALUES (1)"))


@pytest.mark.sqlite
async def test_a_transaction_that_reads_before_it_writes_waits_for_the_others(counted: Gateway) -> None:
    async def increase(connection: Connection) -> None:
        n = await connection.fetch_val("SELECT coalesce(max(n), 0) FROM counted")
        await asyncio.sleep(0.001)
        await connection.execute(f"INSERT INTO counted VALUES ({n + 1})")

    await asyncio.gather(*(counted.transaction(increase) for _ in range(20)))
    records = await counted.fetch_all(text("SELECT n FROM counted ORDER BY n"))
    assert [record["n"] for record in records] == list(range(1, 21))


async def test_transactions_with_the_same_lock_run_one_after_the_other(counted: Gateway) -> None:
    async def increase(connection: Connection) -> None:
        n = await connection.fetch_val("SELECT coalesce(max(n), 0) FROM counted")
        await asyncio.sleep(0.001)
        await connection.execute(f"INSERT INTO counted VALUES ({n + 1})")

    others = Gateway(counted.database)  # as another process
    gateways = [counted, others] * 10
    await asyncio.gather(*(gateway.transaction(increase, lock="counted") for gateway in gateways))
    records = await counted.fetch_all(text("SELECT n FROM counted ORDER BY n"))
    assert [record["n"] for record in records] == list(range(1, 21))


async def test_a_lock_is_given_back_also_by_a_transaction_that_fails(counted: Gateway) -> None:
    async def fail(connection: Connection) -> None:
        raise ValueError("mine")

    for _ in range(20):  # more than there are connections
        with pytest.raises(ValueError, match="mine"):
            await counted.transaction(fail, lock="counted")
    await asyncio.gather(*(counted.transaction(add_one, lock="counted") for _ in range(20)))
    assert await count(counted) == 20


# Cancellation


async def test_callers_who_leave_at_any_moment_of_a_transaction_cost_nothing(database: databases.Database) -> None:
    gateway = Gateway(database, limit=3)
    await gateway.execute("CREATE TABLE counted (n INTEGER)")
    begun = 0

    async def work(connection: Connection) -> None:
        nonlocal begun
        begun += 1
        await connection.fetch_one("SELECT 1")
        await asyncio.sleep(0)
        await add_one(connection)

    for turns in range(300):
        await cancelled_after(turns, gateway.transaction(work))
    await gateway.drain()
    assert 0 < begun <= 300
    assert await count(gateway) == begun
    assert await all_connections_are_free(gateway, 3)


@pytest.mark.parametrize(
    "call",
    [
        lambda gateway: gateway.fetch_all(text("SELECT * FROM counted")),
        lambda gateway: gateway.fetch_one(text("SELECT * FROM counted")),
        lambda gateway: gateway.execute("INSERT INTO counted VALUES (1)"),
        lambda gateway: gateway.execute("INSERT INTO nowhere VALUES (1)"),
    ],
    ids=["fetch_all", "fetch_one", "execute", "failing"],
)
async def test_callers_who_leave_at_any_moment_of_a_call_cost_nothing(
    call: Callable[[Gateway], Coroutine[Any, Any, Any]],
    database: databases.Database,
    caplog: pytest.LogCaptureFixture,
) -> None:
    gateway = Gateway(database, limit=2)
    await gateway.execute("CREATE TABLE counted (n INTEGER)")
    for turns in range(300):
        with contextlib.suppress(DatabaseError):
            await cancelled_after(turns % 100, call(gateway))
    await gateway.drain()
    assert await all_connections_are_free(gateway, 2)
    assert "never retrieved" not in caplog.text


async def test_a_crowd_that_leaves_at_once_costs_nothing(database: databases.Database) -> None:
    gateway = Gateway(database, limit=2)
    await gateway.execute("CREATE TABLE counted (n INTEGER)")
    crowd = [asyncio.create_task(gateway.transaction(add_one)) for _ in range(300)]
    for _ in range(50):
        await asyncio.sleep(0)
    for task in crowd:
        task.cancel()
    await asyncio.wait(crowd)
    await gateway.drain()
    assert await count(gateway) <= 10  # those who waited for their turn never came to it
    assert await all_connections_are_free(gateway, 2)


async def test_what_has_begun_goes_on_when_its_caller_leaves(counted: Gateway) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def work(connection: Connection) -> None:
        begun.set()
        await go_on.wait()
        await add_one(connection)

    caller = asyncio.create_task(counted.transaction(work))
    await begun.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    go_on.set()
    await counted.drain()
    assert await count(counted) == 1


async def test_what_has_not_begun_when_its_caller_leaves_never_does(database: databases.Database) -> None:
    gateway = Gateway(database, limit=1)
    begun, go_on = asyncio.Event(), asyncio.Event()
    done: list[str] = []

    async def hold(connection: Connection) -> None:
        begun.set()
        await go_on.wait()

    async def work(connection: Connection) -> None:
        done.append("work")

    holder = asyncio.create_task(gateway.transaction(hold))
    await begun.wait()
    left = asyncio.create_task(gateway.transaction(work))
    stayed = asyncio.create_task(gateway.transaction(work))
    await asyncio.sleep(0)
    left.cancel()
    go_on.set()
    await asyncio.wait([holder, left, stayed])
    await gateway.drain()
    assert left.cancelled()
    assert done == ["work"]


async def test_an_error_that_nobody_waits_for_is_no_unseen_error(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def work(connection: Connection) -> None:
        begun.set()
        await go_on.wait()
        raise ValueError("too late")

    caller = asyncio.create_task(gateway.transaction(work))
    await begun.wait()
    caller.cancel()
    await asyncio.wait([caller])
    go_on.set()
    with caplog.at_level(logging.DEBUG, "storage"):
        await gateway.drain()
        await asyncio.sleep(0)
    assert [record.message for record in caplog.records if record.name == "storage.gateway"] == [
        "database call failed: too late"
    ]
    assert not [record for record in caplog.records if record.name == "asyncio"]


# The crowd


async def test_no_more_than_the_limit_run_at_once(database: databases.Database) -> None:
    gateway = Gateway(database, limit=3)
    assert await all_connections_are_free(gateway, 3)  # and are open, where there is a pool
    running, most = 0, 0

    async def work(connection: Connection) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await connection.fetch_one("SELECT 1")
        running -= 1

    await asyncio.gather(*(gateway.run(work) for _ in range(50)))
    assert most == 3


async def test_who_waits_too_long_for_a_connection_is_told(database: databases.Database) -> None:
    gateway = Gateway(database, limit=1, wait_seconds=0.01)
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def hold(connection: Connection) -> None:
        begun.set()
        await go_on.wait()

    holder = asyncio.create_task(gateway.transaction(hold))
    await begun.wait()
    for _ in range(3):
        with pytest.raises(DatabaseError, match=r"no connection became free in 0\.01 s"):
            await gateway.fetch_all(text("SELECT 1"))
    go_on.set()
    await holder
    await gateway.drain()
    assert await all_connections_are_free(gateway, 1)


async def test_what_has_begun_is_not_bounded_by_the_wait(database: databases.Database) -> None:
    gateway = Gateway(database, wait_seconds=0.01)

    async def work(connection: Connection) -> str:
        await asyncio.sleep(0.05)
        return "done"

    assert await gateway.transaction(work) == "done"


async def test_drain_waits_for_what_nobody_waits_for(counted: Gateway) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def work(connection: Connection) -> None:
        begun.set()
        await go_on.wait()
        await add_one(connection)

    caller = asyncio.create_task(counted.transaction(work))
    await begun.wait()
    caller.cancel()
    draining = asyncio.create_task(counted.drain())
    await asyncio.sleep(0.01)
    assert not draining.done()
    go_on.set()
    await draining
    assert await count(counted) == 1


async def test_drain_waits_for_those_who_still_wait_for_their_turn(database: databases.Database) -> None:
    gateway = Gateway(database, limit=1)
    await gateway.execute("CREATE TABLE counted (n INTEGER)")
    callers = [asyncio.create_task(gateway.transaction(add_one)) for _ in range(10)]
    await asyncio.sleep(0)
    await gateway.drain()
    assert await count(gateway) == 10
    await asyncio.gather(*callers)


UNDRAINED = """
import asyncio, sys
from sqlalchemy import text
from storage.database import open_database
from storage.gateway import Gateway

async def main():
    async with open_database(sys.argv[1]) as database:
        gateway = Gateway(database)
        await gateway.execute("CREATE TABLE counted (n INTEGER)")
        begun = asyncio.Event()

        async def work(connection):
            await connection.execute("INSERT INTO counted VALUES (1)")
            begun.set()
            await asyncio.sleep(3600)

        caller = asyncio.create_task(gateway.transaction(work))
        await begun.wait()
        caller.cancel()

asyncio.run(main())
"""


def test_a_process_that_never_drains_ends_all_the_same_and_takes_back_what_was_unfinished(tmp_path: Path) -> None:
    command = [sys.executable, "-c", UNDRAINED, f"sqlite:///{tmp_path}/replay.db"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert ended.stderr == ""
    with contextlib.closing(sqlite3.connect(tmp_path / "replay.db")) as database:
        assert database.execute("SELECT count(*) FROM counted").fetchone() == (0,)


async def test_drain_has_nothing_to_wait_for_where_nothing_runs(gateway: Gateway) -> None:
    await gateway.drain()
