from __future__ import annotations

import contextlib
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from share.logs import MAX_FAILING, MAX_SHARE_LOG_BYTES, HideQuery, LogFiles, ShareLog, printable

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
