from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from share.logs import MAX_FAILING, MAX_SHARE_LOG_BYTES, HideQuery, LogFiles, ShareLog, TextFormatter, printable
from tests.any_database import NO_TABLE, database_url, execute
from tests.server import GOLDEN, SERVE, SHORT, UVICORN, Server, run_here, start_server

ROOT = Path(__file__).parent.parent


class Files(LogFiles):
    """Log files that can tell when all that was given to them has been dealt with."""

    def wait(self) -> None:
        self._thread.submit(lambda: None).result(60)


@pytest.fixture
def files() -> Iterator[Files]:
    files = Files()
    yield files
    files._thread.shutdown()


# printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain 数据 é 😀", "plain 数据 é 😀"),
        ("a\nb\r\n", r"a\nb\r\n"),
        ("\0\x1b[31m\x7f", r"\x00\x1b[31m\x7f"),
        ("\x85\x9b\u2028\u2029", r"\x85\x9b\u2028\u2029"),
        ("\u202e\u200b\ufeff", r"\u202e\u200b\ufeff"),
        ("\ud800\udcff", r"\ud800\udcff"),
        ("\U000e0001", r"\U000e0001"),
        ("\t", r"\t"),
        ("", ""),
    ],
)
def test_what_controls_a_terminal_or_a_log_is_an_escape(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_what_is_long_is_cut() -> None:
    assert printable("a" * 200) == "a" * 200
    assert printable("a" * 201) == "a" * 200 + "…"
    assert printable("abc", 2) == "ab…"
    assert printable("\n\n\n", 2) == r"\n\n…"


@given(st.text(st.characters(exclude_categories=())), st.integers(0, 300))
def test_anything_becomes_one_line_that_can_be_written(text: str, limit: int) -> None:
    line = printable(text, limit)
    assert line.isprintable()
    assert line.encode().decode() == line
    assert len(line) <= 10 * limit + 1


# LogFiles


def test_lines_are_written_in_order_into_a_folder_that_is_made(files: Files, tmp_path: Path) -> None:
    for n in range(500):
        files.append(tmp_path / f"{n % 3}" / "share.log", f"{n} 数据")
    files.wait()
    for k in range(3):
        written = (tmp_path / f"{k}" / "share.log").read_text(encoding="utf-8").splitlines()
        assert written == [f"{n} 数据" for n in range(k, 500, 3)]


def test_what_is_there_is_kept(files: Files, tmp_path: Path) -> None:
    (tmp_path / "share.log").write_text("before\n")
    files.append(tmp_path / "share.log", "after")
    files.wait()
    assert (tmp_path / "share.log").read_text() == "before\nafter\n"


def test_no_file_stays_open(files: Files, tmp_path: Path) -> None:
    for n in range(50):
        files.append(tmp_path / f"{n}.log", "line")
    files.wait()
    for number in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the one that the folder was read by
            assert not number.readlink().is_relative_to(tmp_path)


def test_a_file_that_is_full_gives_way_to_a_new_one(files: Files, tmp_path: Path) -> None:
    path, old = tmp_path / "share.log", tmp_path / "share.log.1"
    old.write_text("the one before")
    path.write_bytes(b"x" * (MAX_SHARE_LOG_BYTES - 6))
    files.append(path, "1234")
    files.wait()
    assert path.stat().st_size == MAX_SHARE_LOG_BYTES - 1
    assert old.read_text() == "the one before"
    files.append(path, "the last")
    files.append(path, "the first")
    files.wait()
    assert path.read_text() == "the first\n"
    assert old.read_bytes().endswith(b"x1234\nthe last\n")
    assert sorted(found.name for found in tmp_path.iterdir()) == ["share.log", "share.log.1"]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_what_cant_be_written_is_reported_once(files: Files, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    for n in range(10):
        files.append(tmp_path / "file" / "share.log", f"{n}")
    files.wait()
    assert len(warnings(caplog)) == 1
    assert str(tmp_path / "file" / "share.log") in warnings(caplog)[0]


def test_what_cant_be_written_is_reported_once_also_where_others_can(
    files: Files, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    for n in range(10):
        files.append(tmp_path / "file" / "share.log", f"{n}")
        files.append(tmp_path / "good" / "share.log", f"{n}")
    files.wait()
    assert len(warnings(caplog)) == 1
    assert (tmp_path / "good" / "share.log").read_text().count("\n") == 10


def test_each_file_that_cant_be_written_is_reported_and_no_endless_number_of_them(
    files: Files, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    for _ in range(2):
        for n in range(MAX_FAILING + 10):
            files.append(tmp_path / "file" / f"{n}.log", "line")
    files.wait()
    assert len(warnings(caplog)) == MAX_FAILING
    assert len(set(warnings(caplog))) == MAX_FAILING


def test_what_can_be_written_again_is(files: Files, tmp_path: Path) -> None:
    (tmp_path / "folder").touch()
    files.append(tmp_path / "folder" / "share.log", "lost")
    files.wait()
    (tmp_path / "folder").unlink()
    files.append(tmp_path / "folder" / "share.log", "kept")
    files.wait()
    assert (tmp_path / "folder" / "share.log").read_text() == "kept\n"


def test_a_line_that_is_no_utf8_is_not_lost_unseen(
    files: Files, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files.append(tmp_path / "share.log", "a \ud800 line")
    files.wait()
    assert warnings(caplog) or "line" in (tmp_path / "share.log").read_text(encoding="utf-8")


# ShareLog


def lines_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def test_a_line_says_when_how_grave_and_whose(files: Files, tmp_path: Path) -> None:
    log = ShareLog(files, "run", "INFO")
    log.open(tmp_path / "share.log")
    log.info("connected")
    files.wait()
    date, clock, level, whose, what = lines_of(tmp_path / "share.log")[0].split(" ")
    assert (level, whose, what) == ("INFO", "run:", "connected")
    assert len(date) == 10
    assert clock.count(":") >= 2


@pytest.mark.parametrize(
    ("level", "written"),
    [("DEBUG", ["info", "debug"]), ("INFO", ["info"]), ("WARNING", []), ("ERROR", [])],
)
def test_a_file_has_what_is_grave_enough(level: str, written: list[str], files: Files, tmp_path: Path) -> None:
    log = ShareLog(files, "run", level)
    log.open(tmp_path / "share.log")
    log.info("info")
    log.debug("debug")
    files.wait()
    assert [line.split()[-1] for line in lines_of(tmp_path / "share.log")] == written


def test_before_there_is_a_file_a_line_goes_into_the_programs_log_only(
    files: Files, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = ShareLog(files, "run", "DEBUG")
    with caplog.at_level(logging.DEBUG, "share"):
        log.info("early %s {} %")
        log.open(tmp_path / "share.log")
        log.debug("late")
    files.wait()
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "run: early %s {} %"),
        ("DEBUG", "run: late"),
    ]
    assert len(lines_of(tmp_path / "share.log")) == 1


def test_a_debug_line_is_worth_the_trouble_where_somebody_wants_it(files: Files) -> None:
    logger = logging.getLogger("share.logs")
    assert ShareLog(files, "run", "DEBUG").is_debug()
    for level, wanted in ((logging.DEBUG, True), (logging.INFO, False)):
        logger.setLevel(level)
        try:
            assert ShareLog(files, "run", "INFO").is_debug() is wanted
        finally:
            logger.setLevel(logging.NOTSET)


# Queries


def filtered(message: str, *args: Any) -> str:
    record = logging.makeLogRecord({"msg": message, "args": args})
    assert HideQuery().filter(record)
    return record.getMessage()


@pytest.mark.parametrize(
    ("message", "args"),
    [
        ('%s - "%s %s HTTP/%s" %d', ("127.0.0.1:1", "GET", "/ws/share/run?user_id=guest&token=secret", "1.1", 200)),
        ('%s - "WebSocket %s" [accepted]', ("127.0.0.1:1", "/ws/share/run?user_id=guest&token=secret")),
        ('%s - "WebSocket %s" %d', ("127.0.0.1:1", "/ws/replay/run?token=secret", 403)),
        ("< GET %s HTTP/1.1", ("/ws/share/run?token=secret",)),
        ("%s", ("/a?b=?token=secret&c?token=secret",)),
        ("%s %s", ("/?token=secret", "/?token=secret")),
        ("%s", ("https://host/a?token=secret#secret",)),
    ],
)
def test_a_query_is_not_logged(message: str, args: tuple[Any, ...]) -> None:
    line = filtered(message, *args)
    assert "secret" not in line
    assert "?…" in line
    assert "/" in line


def test_what_has_no_query_is_logged_as_it_is() -> None:
    assert filtered('%s - "%s %s HTTP/%s" %d', "127.0.0.1:1", "GET", "/a/b", "1.1", 200) == (
        '127.0.0.1:1 - "GET /a/b HTTP/1.1" 200'
    )
    assert filtered("no arguments") == "no arguments"
    assert filtered("%s %d", None, 7) == "None 7"


def test_named_arguments_are_let_through() -> None:
    record = logging.makeLogRecord({"msg": "%(a)s", "args": {"a": "b"}})
    assert HideQuery().filter(record)
    assert record.getMessage() == "b"


CONFIGURED = """
import logging, sys
from share.logs import configure_logging
logging.basicConfig()
configure_logging(sys.argv[1])
configure_logging(sys.argv[1])
logging.getLogger("uvicorn.access").info('%s - "%s %s HTTP/%s" %d', "1:1", "GET", "/a?token=secret", "1.1", 200)
logging.getLogger("uvicorn.error").info('%s - "WebSocket %s" [accepted]', "1:1", "/b?token=secret")
logging.getLogger("uvicorn.error").debug("< GET %s HTTP/1.1", "/c?token=secret")
logging.getLogger("share.endpoint").debug("share speaks")
logging.getLogger("storage.database").debug("storage speaks")
logging.getLogger("databases").info("databases speaks")
logging.getLogger("asyncio").warning("asyncio warns")
"""


@pytest.mark.parametrize(("level", "lines"), [("DEBUG", 6), ("INFO", 3), ("WARNING", 1)])
def test_a_process_logs_what_is_wanted_once_and_no_token(level: str, lines: int) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", CONFIGURED, level], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert ended.stdout == ""
    assert "secret" not in ended.stderr
    assert "databases speaks" not in ended.stderr
    assert "asyncio warns" in ended.stderr
    assert len(ended.stderr.splitlines()) == lines
    assert time.strftime("%Y-") in ended.stderr


# JSON

AS_JSON = """
import logging, sys
from share.logs import configure_logging
logging.getLogger("uvicorn").addHandler(logging.StreamHandler())
logging.getLogger("uvicorn").propagate = False
configure_logging("INFO", "json")
logging.getLogger("uvicorn.access").info('%s - "%s %s HTTP/%s" %d', "1:1", "GET", "/a?token=secret", "1.1", 200)
logging.getLogger("uvicorn.error").info('%s - "WebSocket %s" [accepted]', "1:1", "/b?token=secret")
logging.getLogger("uvicorn.error").info("connection open")
logging.getLogger("uvicorn.error").info("Started server process [%d]", 1)
logging.getLogger("share.a").info("a line\\nrs_secret-that-nobody may see \\ud800 数据")
try:
    raise ValueError("/s/rs_secret\\nrs_secret")
except ValueError:
    logging.getLogger("share.b").exception("broken", extra={"connection": "0123456789ab"})
"""


def test_as_json_each_record_is_one_object_on_a_line_with_no_token_in_it() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", AS_JSON], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    lines = [json.loads(line) for line in ended.stderr.splitlines()]
    assert [line["message"] for line in lines] == [
        '1:1 - "GET /a?… HTTP/1.1" 200',
        "Started server process [1]",
        "a line\nrs_… may see \ud800 数据",
        "broken",
    ]
    assert all(datetime.fromisoformat(line["time"]).tzinfo is not None for line in lines)
    assert [line["level"] for line in lines] == ["INFO", "INFO", "INFO", "ERROR"]
    assert [line["logger"] for line in lines] == ["uvicorn.access", "uvicorn.error", "share.a", "share.b"]
    assert [list(line)[4:] for line in lines] == [[], [], [], ["connection", "traceback"]]
    assert "ValueError" in lines[3]["traceback"] and "secret" not in ended.stderr


def test_as_text_a_line_about_a_connection_has_its_id_at_the_end(
    caplog: pytest.LogCaptureFixture, files: Files
) -> None:
    with caplog.at_level(logging.INFO, "share"):
        ShareLog(files, "run", "INFO", "0123456789ab").info("connected")
    assert TextFormatter().format(caplog.records[0]).endswith("INFO    share.logs  run: connected  [0123456789ab]")


MEMBERS = ["connection", "recording", "protocol", "user", "address", "link", "seconds", "rows", "bytes", "code"]
MEMBERS += ["refused", "error"]


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("logs")
    assert run_here("import", GOLDEN / "short.recording.json", folder=folder).returncode == 0
    return folder


async def watch(server: Server, path: str, subprotocol: str | None) -> list[dict[str, Any]]:
    """What a viewer is sent who starts a replay, and leaves after its last row."""
    subprotocols = None if subprotocol is None else [Subprotocol(subprotocol)]
    frames: list[dict[str, Any]] = []
    with contextlib.suppress(ConnectionClosed):
        async with connect(f"ws://127.0.0.1:{server.port}{path}", subprotocols=subprotocols) as connection:
            with contextlib.suppress(ConnectionClosed):  # who is refused may still read why
                await connection.send("{")
                await connection.send(json.dumps({"type": "shared"} | ({"pace": "instant"} if subprotocol else {})))
            while not frames or not any(end in str(frames[-1]) for end in ("'end'", "'finished', 'message'")):
                frames.append(json.loads(await connection.recv()))
    return frames


def connections(server: Server, count: int) -> list[dict[str, Any]]:
    """The lines that are about connections, when there are so many; every line is JSON."""
    server.wait_for_log('"protocol"', count)
    lines = [json.loads(line) for line in server.log.splitlines() if line.startswith("{")]
    return [line for line in lines if "connection" in line or "WebSocket" in line["message"]]


@pytest.mark.parametrize("program", [SERVE, UVICORN], ids=["serve", "uvicorn"])
def test_as_json_a_connection_is_one_line_at_its_end(shared_folder: Path, program: tuple[str, ...]) -> None:
    with start_server(shared_folder, program, SHARE_LOG_FORMAT="json", SHARE_PAUSE_SECONDS="0") as server:
        query = "?user_id=guest%26token%3Dsecret&token=secret"
        v1 = asyncio.run(watch(server, f"/ws/share/{SHORT}{query}", "replay.v1"))
        classic = asyncio.run(watch(server, f"/ws/share/{SHORT}", None))
        refused = asyncio.run(watch(server, f"/ws/share/rs_{'secret' * 5}ab", "replay.v1"))
        lines = connections(server, 3)
    assert [list(line)[4:] for line in lines] == [MEMBERS] * 3
    assert "secret" not in server.log
    assert [line["protocol"] for line in lines] == ["replay.v1", "classic", "replay.v1"]
    assert [line["recording"] for line in lines] == [SHORT, SHORT, "(a link)"]
    assert [line["rows"] for line in lines] == [6, 6, 0]
    assert [line["code"] for line in lines] == [1000, 1000, 4503]
    assert [line["user"] for line in lines] == ["guest?…", "", ""]
    assert [line["address"] for line in lines] == ["127.0.0.1"] * 3
    assert [line["refused"] for line in lines] == [None, None, "There is no such link, or it is not valid any more."]
    assert all(line["error"] is None and line["bytes"] > 0 and 0 <= line["seconds"] < 60 for line in lines)
    told = [[frame["connection"] for frame in frames if "connection" in frame] for frames in (v1, classic, refused)]
    assert told == [[line["connection"]] for line in lines]
    assert len({line["connection"] for line in lines}) == 3


def test_as_json_an_error_of_ours_is_in_the_one_line_of_the_connection(tmp_path: Path) -> None:
    assert run_here("import", GOLDEN / "short.recording.json", folder=tmp_path).returncode == 0
    with start_server(tmp_path, SHARE_LOG_FORMAT="json") as server:
        execute(database_url(tmp_path / "data"), "DROP TABLE raw")
        frames = asyncio.run(watch(server, f"/ws/share/{SHORT}", "replay.v1"))
        (line,) = connections(server, 1)
    assert list(line)[4:] == [*MEMBERS, "traceback"]
    assert (line["level"], line["code"]) == ("ERROR", 1011)
    assert NO_TABLE.search(line["error"]) and "Traceback" in line["traceback"]
    assert (frames[-1]["code"], frames[-1]["connection"]) == ("internal", line["connection"])


def test_the_file_of_a_recording_is_the_same_in_both_formats(shared_folder: Path) -> None:
    written = []
    for log_format in ("text", "json"):
        with start_server(shared_folder, SHARE_LOG_FORMAT=log_format, SHARE_PAUSE_SECONDS="0") as server:
            asyncio.run(watch(server, f"/ws/share/{SHORT}", None))
            server.wait_for_log("disconnected")
        (path,) = shared_folder.glob("data/**/share.log")
        lines = path.read_text("utf-8").splitlines()[-2:]
        written.append([line.split(" ", 2)[2] for line in lines])
    assert written[0] == written[1]
    assert written[0][1] == f"INFO {SHORT}: disconnected with 1000; heartbeat stopped, replay stopped"
