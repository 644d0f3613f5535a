"""`my-agent | replay-share record`: any program's lines become a run, as they come."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect

from share.client import ReplayClient
from tests.any_database import NO_TABLE, database_url, execute, no_table_yet
from tests.server import PATIENCE_SECONDS, Server, environment, run, run_here, start_server

MODULE = (sys.executable, "-m", "share")
ID = re.compile(r"[0-9a-f]{32}")


def query(folder: Path, statement: str) -> list[tuple[Any, ...]]:
    return execute(database_url(folder / "data"), statement)


def stored_rows(folder: Path) -> list[tuple[str, Any]]:
    """Status and data of all rows, in order; none while there is no table yet."""
    with no_table_yet():
        rows = query(folder, "SELECT status, data FROM raw ORDER BY step, id")
        return [(status, None if data is None else json.loads(data)) for status, data in rows]
    return []


def stored_run(folder: Path) -> tuple[Any, ...]:
    """Status and message of the only run."""
    (found,) = query(folder, "SELECT status, message FROM interactions")
    return found


class Record:
    """A `replay-share record` whose standard input is open."""

    def __init__(self, folder: Path, *arguments: str, program: Sequence[str] = MODULE, **variables: str) -> None:
        self.process = subprocess.Popen(
            [*program, "record", *arguments],
            cwd=folder,
            env=environment(folder, **variables),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin, self.stdout = self.process.stdin, self.process.stdout

    def read_line(self) -> str:
        return self.stdout.readline().decode().strip()

    def write(self, *lines: Any) -> None:
        """Write lines: bytes as they are, values as JSON."""
        for line in lines:
            self.stdin.write(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n")
        self.stdin.flush()

    def end(self, number: signal.Signals | None = None) -> tuple[int, str]:
        """Close its standard input, or send it a signal; its exit code and what it has complained of."""
        if number is not None:
            self.process.send_signal(number)
            self.process.wait(PATIENCE_SECONDS)
        _, errors = self.process.communicate(timeout=PATIENCE_SECONDS)
        return self.process.returncode, errors.decode()


@contextlib.contextmanager
def recording(folder: Path, *arguments: str, **options: Any) -> Iterator[Record]:
    record = Record(folder, *arguments, **options)
    try:
        yield record
    finally:
        record.process.kill()
        with contextlib.suppress(BrokenPipeError):
            record.stdin.close()
        with record.process:  # waits, and closes the rest
            pass


def record_all(folder: Path, content: bytes, *arguments: str) -> tuple[int, str]:
    """Record what stands there; exit code and complaints."""
    done = subprocess.run(
        [*MODULE, "record", *arguments],
        cwd=folder,
        env=environment(folder),
        input=content,
        capture_output=True,
        timeout=2 * PATIENCE_SECONDS,
        check=False,
    )
    return done.returncode, done.stderr.decode()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with start_server(tmp_path_factory.mktemp("record")) as server:
        yield server


# Followed while it goes on


async def test_rows_are_followed_while_the_pipe_is_open_and_its_end_ends_the_run(server: Server) -> None:
    folder = server.log_file.parent
    with recording(folder, "--follow-link", "--description", "数据", SHARE_PORT=str(server.port)) as record:
        interaction_id, link, hint = record.read_line(), record.read_line(), record.read_line()
        assert ID.fullmatch(interaction_id)
        assert link == server.url(interaction_id)
        assert f"watch {interaction_id}" in hint
        async with ReplayClient(server.http_url, interaction_id) as replay, asyncio.timeout(PATIENCE_SECONDS):
            assert (replay.recording["description"], replay.recording["live"]) == ("数据", True)
            for number in range(3):
                record.write({"status": "inner", "data": {"thoughts": f"thought {number}"}})
                row = await anext(replay)
                assert (row["offset"], row["data"]) == (number + 1, {"thoughts": f"thought {number}"})
            assert await asyncio.to_thread(record.end) == (0, "")
            (last,) = [row async for row in replay]
        assert last["status"] == replay.end == "finished"


async def test_the_link_leads_to_the_run(server: Server) -> None:
    with recording(server.log_file.parent, "--follow-link", SHARE_PORT=str(server.port)) as record:
        interaction_id, link = record.read_line(), record.read_line()
        async with connect(link, subprotocols=["replay.v1"]) as connection:  # type: ignore[list-item]
            assert json.loads(await connection.recv())["data"]["interaction_id"] == interaction_id


def test_without_the_option_only_the_id_is_printed(tmp_path: Path) -> None:
    with recording(tmp_path) as record:
        interaction_id = record.read_line()
        assert ID.fullmatch(interaction_id)
        record.stdin.close()
        assert record.stdout.read() == b""
    assert query(tmp_path, "SELECT interaction_id FROM interactions") == [(interaction_id,)]


def test_a_private_run_is_not_shared(tmp_path: Path) -> None:
    assert record_all(tmp_path, b"1\n", "--private", "--user", "me", "--description", "mine") == (0, "")
    listed = run_here("list", folder=tmp_path).stdout
    assert "private" in listed
    assert "mine" in listed
    assert query(tmp_path, "SELECT user_id FROM interactions") == [("me",)]


def test_two_records_at_once_are_two_runs(tmp_path: Path) -> None:
    run_here("list", folder=tmp_path)
    with recording(tmp_path) as one, recording(tmp_path) as other:
        ids = one.read_line(), other.read_line()
        for number in range(20):
            one.write(f"one {number}")
            other.write(f"other {number}")
        assert one.end() == other.end() == (0, "")
    for interaction_id, name in zip(ids, ("one", "other"), strict=True):
        rows = query(tmp_path, f"SELECT step, data FROM raw WHERE interaction_id = '{interaction_id}' ORDER BY step")
        assert rows == [*((step, json.dumps(f"{name} {step}")) for step in range(20)), (20, "[]")]


# What the lines may be


GOOD: list[tuple[bytes, tuple[str, Any]]] = [
    (b'{"status":"subtask","data":{"a":1}}', ("subtask", {"a": 1})),
    (b'{"data":null}', ("inner", None)),
    (b'{"status":"start"}', ("start", None)),
    (b'{"status":"inner","current":"1.1","files":["a.txt"],"include_pictures":true}', ("inner", None)),
    (b'{"thoughts":"other keys","status":"inner"}', ("inner", {"thoughts": "other keys", "status": "inner"})),
    (b"{}", ("inner", {})),
    (b"[1, 2]", ("inner", [1, 2])),
    (b'"text"', ("inner", "text")),
    (b"5", ("inner", 5)),
    (b"null", ("inner", None)),
    (b"false", ("inner", False)),
    (b'"\\ud800"', ("inner", "\ud800")),
    (b"  [1]\t", ("inner", [1])),
    (b"[1]\r", ("inner", [1])),
    (b"36893488147419103232", ("inner", 2**65)),
    ('"数据 😀"'.encode(), ("inner", "数据 😀")),
    (b"[" * 200 + b"]" * 200, ("inner", json.loads("[" * 200 + "]" * 200))),
]
BAD: list[tuple[bytes, Any]] = [
    (b"hello world", "hello world"),
    (b'{"status":', '{"status":'),
    (b"NaN", "NaN"),
    (b"[1e400]", "[1e400]"),
    (b"'single'", "'single'"),
    (b"caf\xe9", "caf\ufffd"),
    (b'"\xff\xfe"', '"\ufffd\ufffd"'),
    (b"\x00\x01", "\x00\x01"),
    (b'{"status":5}', '{"status":5}'),
    (b'{"status":null}', '{"status":null}'),
    (b'{"status":"' + b"x" * 21 + b'"}', '{"status":"' + "x" * 21 + '"}'),
    (b'{"status":"\\ud800"}', '{"status":"\\ud800"}'),
    (b'{"current":5}', '{"current":5}'),
    (b'{"files":"a.txt"}', '{"files":"a.txt"}'),
    (b'{"files":[5]}', '{"files":[5]}'),
    (b'{"files":[["a"]]}', '{"files":[["a"]]}'),
    (b'{"include_pictures":1}', '{"include_pictures":1}'),
    (b"9" * 5000, "9" * 5000),
    (b"[" * 100_000 + b"]" * 100_000, "[" * 100_000 + "]" * 100_000),
    (b"\x1b[2J\x1b]0;owned\x07", "\x1b[2J\x1b]0;owned\x07"),
]


def test_every_json_value_is_a_row(tmp_path: Path) -> None:
    content = b"\n".join(line for line, _ in GOOD) + b"\n"
    assert record_all(tmp_path, content) == (0, "")
    assert stored_rows(tmp_path) == [*(row for _, row in GOOD), ("finished", [])]
    assert query(tmp_path, "SELECT file_list, include_pictures FROM raw WHERE step = 3") == [('["a.txt"]', 1)]


@pytest.mark.parametrize(("line", "kept"), BAD, ids=[repr(line[:30]) for line, _ in BAD])
def test_a_line_that_is_none_is_recorded_as_the_text_that_it_is_and_said_to_be_bad(
    tmp_path: Path, line: bytes, kept: str
) -> None:
    code, errors = record_all(tmp_path, b'"before"\n' + line + b'\n"after"\n')
    rows = [("inner", "before"), ("inner", kept), ("inner", "after"), ("finished", [])]
    assert stored_rows(tmp_path) == rows
    assert stored_run(tmp_path) == ("finished", "finished")
    assert code == 1
    (complaint,) = errors.splitlines()
    assert "line 2" in complaint
    assert len(complaint) < 500
    assert "\x1b" not in complaint


@pytest.mark.parametrize("depth", [900, 960, 990, 1000, 1020, 1100])
def test_a_line_that_is_nested_deeply_is_kept_as_a_value_or_as_text(tmp_path: Path, depth: int) -> None:
    line = "[" * depth + "]" * depth
    code, errors = record_all(tmp_path, f"{line}\n1\n".encode())
    (kept,), *_ = query(tmp_path, "SELECT data FROM raw ORDER BY step")
    assert (kept, code, errors) == (line, 0, "") or (kept, code) == (json.dumps(line), 1)
    assert stored_run(tmp_path)[0] == "finished"


def test_a_status_of_ten_megabytes_is_not_repeated_in_the_complaint(tmp_path: Path) -> None:
    code, errors = record_all(tmp_path, json.dumps({"status": "x" * 10_000_000}).encode() + b"\n")
    assert code == 1
    assert len(errors) < 1000


def test_empty_lines_are_left_out_and_counted_all_the_same(tmp_path: Path) -> None:
    code, errors = record_all(tmp_path, b'\n\n"a"\n   \n\r\n\nnot json\n\n')
    assert stored_rows(tmp_path) == [("inner", "a"), ("inner", "not json"), ("finished", [])]
    assert code == 1
    assert "line 7" in errors


def test_the_last_line_needs_no_newline(tmp_path: Path) -> None:
    assert record_all(tmp_path, b'"a"\n"b"') == (0, "")
    assert stored_rows(tmp_path) == [("inner", "a"), ("inner", "b"), ("finished", [])]


def test_a_line_that_comes_in_pieces_is_one_row(tmp_path: Path) -> None:
    with recording(tmp_path) as record:
        record.read_line()
        text = '{"data": "数据"}'.encode()
        for place in range(len(text)):
            record.write(text[place : place + 1])
        record.write(b"\n")
        assert record.end() == (0, "")
    assert stored_rows(tmp_path) == [("inner", "数据"), ("finished", [])]


def test_who_writes_the_finished_row_himself_gets_no_second_one(tmp_path: Path) -> None:
    assert record_all(tmp_path, b'1\n{"status":"finished","data":"done"}\n') == (0, "")
    assert stored_rows(tmp_path) == [("inner", 1), ("finished", "done")]


def test_a_line_of_five_megabytes_is_a_row(tmp_path: Path) -> None:
    assert record_all(tmp_path, json.dumps("x" * 5_000_000).encode() + b"\n") == (0, "")
    assert stored_rows(tmp_path) == [("inner", "x" * 5_000_000), ("finished", [])]


@pytest.mark.parametrize("newline", [b"\n", b""])
def test_a_line_of_twenty_megabytes_ends_the_run_as_failed_and_keeps_what_was_before(
    tmp_path: Path, newline: bytes
) -> None:
    with recording(tmp_path) as record:

        def write() -> None:
            with contextlib.suppress(BrokenPipeError):
                record.write(b'"before"\n' + json.dumps("x" * 20_000_000).encode() + newline + b'"after"\n')

        thread = threading.Thread(target=write)
        thread.start()
        record.process.wait(PATIENCE_SECONDS)
        thread.join(PATIENCE_SECONDS)
        assert record.process.stderr is not None
        complaint = record.process.stderr.read().decode()
    assert record.process.returncode == 1
    assert "16777216 bytes" in complaint
    assert len(complaint.splitlines()) == 1, complaint
    (before, failed) = stored_rows(tmp_path)
    assert before == ("inner", "before")
    assert failed[0] == "failed"
    assert stored_run(tmp_path)[0] == "failed"


def test_megabytes_of_empty_lines_are_read_in_time(tmp_path: Path) -> None:
    assert record_all(tmp_path, b"\n" * 2_000_000 + b'"a"\n') == (0, "")
    assert stored_rows(tmp_path) == [("inner", "a"), ("finished", [])]


def test_many_lines_at_once_are_all_recorded_in_order(tmp_path: Path) -> None:
    assert record_all(tmp_path, b"".join(b"%d\n" % number for number in range(500))) == (0, "")
    assert stored_rows(tmp_path) == [*(("inner", number) for number in range(500)), ("finished", [])]


# How it is stopped


STOPS = [signal.SIGINT, signal.SIGTERM]


def assert_marked_as_failed(folder: Path, code: int, errors: str) -> None:
    assert code not in (0, -signal.SIGKILL)
    assert len(errors.splitlines()) == 1, errors
    assert "Traceback" not in errors
    assert stored_run(folder)[0] == "failed"
    assert stored_rows(folder)[-1][0] == "failed"


@pytest.mark.parametrize("number", STOPS)
@pytest.mark.parametrize("lines", [0, 3])
def test_a_signal_marks_the_run_as_failed(tmp_path: Path, number: signal.Signals, lines: int) -> None:
    with recording(tmp_path) as record:
        interaction_id = record.read_line()
        record.write(*range(lines))
        while len(stored_rows(tmp_path)) < lines:
            assert record.process.poll() is None
        code, errors = record.end(number)
    assert_marked_as_failed(tmp_path, code, errors)
    assert interaction_id in errors
    assert stored_rows(tmp_path)[:-1] == [("inner", number) for number in range(lines)]


@pytest.mark.parametrize("number", STOPS)
def test_a_signal_in_a_flood_of_lines_marks_the_run_as_failed(tmp_path: Path, number: signal.Signals) -> None:
    with recording(tmp_path) as record:
        record.read_line()

        def flood() -> None:
            with contextlib.suppress(BrokenPipeError):
                while True:
                    record.write(b'"again"\n' * 1000)

        thread = threading.Thread(target=flood)
        thread.start()
        while len(stored_rows(tmp_path)) < 20:
            assert record.process.poll() is None
        record.process.send_signal(number)
        record.process.wait(PATIENCE_SECONDS)
        thread.join(PATIENCE_SECONDS)
        assert record.process.stderr is not None
        errors = record.process.stderr.read().decode()
    assert_marked_as_failed(tmp_path, record.process.returncode, errors)


@pytest.mark.parametrize("number", STOPS)
@pytest.mark.parametrize("seconds", [0, 0.001, 0.003, 0.01])
def test_a_signal_that_comes_again_and_again_still_ends_it(
    tmp_path: Path, number: signal.Signals, seconds: float
) -> None:
    for tries in range(1, 4):
        with recording(tmp_path) as record:
            record.read_line()
            for _ in range(2):
                with contextlib.suppress(ProcessLookupError):
                    record.process.send_signal(number)
                time.sleep(seconds)
            code, _ = record.end()
        assert code != 0
        assert query(tmp_path, "SELECT status FROM interactions") == [("failed",)] * tries


INTERRUPTED = """
import os, signal, sys
from share import cli, store
from storage.recordings import RecordingCRUD

def interrupting(function):
    async def interrupted(*args, **options):
        os.kill(os.getpid(), int(sys.argv.pop()))
        return await function(*args, **options)
    return interrupted

if sys.argv.pop() == "tables":
    store.create_tables = interrupting(store.create_tables)
else:
    RecordingCRUD.add_recording = interrupting(RecordingCRUD.add_recording)
cli.main(["record"])
"""


@pytest.mark.parametrize("number", STOPS)
@pytest.mark.parametrize("moment", ["tables", "run"])
def test_a_signal_before_the_run_has_begun_leaves_no_run_that_goes_on(
    tmp_path: Path, moment: str, number: signal.Signals
) -> None:
    program = (sys.executable, "-c", INTERRUPTED, str(int(number)), moment)
    done = subprocess.run(
        program,
        cwd=tmp_path,
        env=environment(tmp_path),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode not in (0, -signal.SIGKILL)
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 1
    with no_table_yet():
        assert ("running",) not in query(tmp_path, "SELECT status FROM interactions")


ENDING_SLOWLY = """
import asyncio, time
from share import cli
run = asyncio.run

def run_slowly(work):
    try:
        return run(work)
    finally:
        print("ended", flush=True)
        time.sleep(0.5)

asyncio.run = run_slowly
cli.main()
"""


@pytest.mark.parametrize("line", [b"late\n", b""])
def test_a_line_that_comes_when_everything_is_over_is_no_warning(tmp_path: Path, line: bytes) -> None:
    with recording(tmp_path, program=(sys.executable, "-c", ENDING_SLOWLY)) as record:
        record.read_line()
        record.process.send_signal(signal.SIGTERM)
        assert record.read_line() == "ended"
        record.write(line)
        code, errors = record.end()
    assert_marked_as_failed(tmp_path, code, errors)


@pytest.mark.parametrize("done", ["delete", "end"])
def test_a_run_that_is_ended_elsewhere_ends_the_command_in_one_line(tmp_path: Path, done: str) -> None:
    with recording(tmp_path) as record:
        interaction_id = record.read_line()
        record.write("before")
        while not stored_rows(tmp_path):
            assert record.process.poll() is None
        if done == "delete":
            assert run_here("delete", interaction_id, folder=tmp_path).returncode == 0
        else:
            query(tmp_path, "UPDATE interactions SET status = 'finished'")
        record.write("after")
        code, errors = record.end()
    assert code == 1
    assert len(errors.splitlines()) == 1, errors
    assert interaction_id in errors


# Other inputs, and databases that can't be used


def test_a_file_is_recorded_as_a_pipe_is(tmp_path: Path) -> None:
    file = tmp_path / "lines.jsonl"
    file.write_text('"a"\n"b"\n')
    done = run("-c", f"{sys.executable} -m share record < {file}", folder=tmp_path, program=("sh",))
    assert (done.returncode, done.stderr) == (0, "")
    assert stored_rows(tmp_path) == [("inner", "a"), ("inner", "b"), ("finished", [])]


@pytest.mark.parametrize("source", ["/dev/null", "a pipe without a word"])
def test_no_line_at_all_is_a_run_that_has_finished(tmp_path: Path, source: str) -> None:
    command = f"{sys.executable} -m share record"
    command = f"{command} < /dev/null" if source == "/dev/null" else f"true | {command}"
    done = run("-c", command, folder=tmp_path, program=("sh",))
    assert (done.returncode, done.stderr) == (0, "")
    assert stored_rows(tmp_path) == [("finished", [])]
    assert stored_run(tmp_path)[0] == "finished"


def test_a_closed_standard_input_is_an_error_in_one_line(tmp_path: Path) -> None:
    done = run("-c", f"{sys.executable} -m share record <&-", folder=tmp_path, program=("sh",))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_an_output_that_nobody_reads_is_no_traceback(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [*MODULE, "record", "--follow-link"],
            cwd=tmp_path,
            env=environment(tmp_path),
            input=b'"a"\n',
            stdout=writer,
            stderr=subprocess.PIPE,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
    finally:
        os.close(writer)
    assert b"Traceback" not in done.stderr
    assert stored_run(tmp_path)[0] != "running"


def test_a_full_disk_under_the_output_is_no_traceback(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*MODULE, "record"],
            cwd=tmp_path,
            env=environment(tmp_path),
            input=b'"a"\n',
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
    assert b"Traceback" not in done.stderr
    assert stored_run(tmp_path)[0] != "running"


@pytest.mark.sqlite
@pytest.mark.parametrize(
    "variables",
    [
        {"SHARE_DATABASE_URL": "sqlite:////proc/nowhere/replay.db"},
        {"SHARE_DATABASE_URL": "nonsense"},
        {"SHARE_DATABASE_URL": "oracle://me:SECRET@host/db"},
        {"SHARE_BASE_DIR": "/dev/null"},
    ],
)
def test_a_database_that_cannot_be_opened_is_an_error_in_one_line(tmp_path: Path, variables: dict[str, str]) -> None:
    done = run("record", folder=tmp_path, **variables)
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: ")
    assert "SECRET" not in line


@pytest.mark.sqlite
def test_a_file_that_is_no_database_is_an_error_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "replay.db").write_text("this is no database" * 100)
    done = run("record", folder=tmp_path)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


def test_a_database_that_breaks_in_the_middle_is_an_error_in_one_line(tmp_path: Path) -> None:
    with recording(tmp_path) as record:
        record.read_line()
        record.write("before")
        while not stored_rows(tmp_path):
            assert record.process.poll() is None
        query(tmp_path, "ALTER TABLE raw RENAME TO elsewhere")
        record.write("after")
        code, errors = record.end()
    assert code == 1
    assert len(errors.splitlines()) == 1, errors
    assert NO_TABLE.search(errors)


@pytest.mark.sqlite
@pytest.mark.postgresql  # aiomysql wants to know him, too
def test_a_user_whom_the_system_does_not_know_is_no_traceback(tmp_path: Path) -> None:
    # As in a container that runs under a number: no entry in the list of users, and nothing in the environment.
    unknown = "import sys; sys.modules['pwd'] = None; from share import cli; cli.main(['record'])"
    names = ("LOGNAME", "USER", "LNAME", "USERNAME")
    variables = {name: value for name, value in environment(tmp_path).items() if name not in names}
    done = subprocess.run(
        [sys.executable, "-c", unknown],
        cwd=tmp_path,
        env=variables,
        input="1\n",
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert "Traceback" not in done.stderr
    if done.returncode == 0:
        assert stored_rows(tmp_path) == [("inner", 1), ("finished", [])]
    else:
        assert "--user" in done.stderr
