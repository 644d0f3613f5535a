"""The commands, each in a process of its own, as a person types them."""

from __future__ import annotations

import base64
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest

from storage.schema import metadata
from tests.any_database import Rows, connection, database_url, execute
from tests.server import (
    EDGE,
    GOLDEN,
    PATIENCE_SECONDS,
    RUNNING,
    SHORT,
    SWE_AGENT,
    UNPRIVILEGED,
    UVICORN,
    Server,
    Terminal,
    environment,
    make_recording,
    run,
    run_here,
    start_server,
    write_recording,
)

GOLDEN_RECORDINGS = {EDGE: GOLDEN / "edge.recording.json", RUNNING: GOLDEN / "running.recording.json"}
GOLDEN_RECORDINGS[SHORT] = GOLDEN / "short.recording.json"
TRAJECTORIES = sorted(SWE_AGENT.glob("*.traj"))

BIG_ROWS = 20_000

MODULE = (sys.executable, "-m", "share")
SCRIPT = (str(Path(sys.executable).with_name("replay-share")),)


def query(folder: Path, statement: str) -> list[tuple[Any, ...]]:
    return execute(database_url(folder / "data"), statement)


def stored(folder: Path) -> tuple[dict[str, Rows], dict[str, bytes]]:
    """All that is stored: the tables' rows, and the files."""
    with connection(database_url(folder / "data")) as sql:
        tables = {name: sql(f"SELECT * FROM {name} ORDER BY 1") for name in metadata.tables}
    records = folder / "data" / "localstorage"
    return tables, {str(path): path.read_bytes() for path in records.rglob("*") if path.is_file()}


def assert_one_line(done: subprocess.CompletedProcess[str], *expected: str) -> None:
    """It failed, and said so in one line with these words in it."""
    assert done.returncode not in (0, -signal.SIGKILL), done.stdout
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    for words in expected:
        assert words in lines[0]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with recordings in it, some `private`."""
    folder = tmp_path_factory.mktemp("cli")
    large = write_recording(folder / "large.json", make_recording("large", 20, "x" * 100_000))
    done = run_here("import", *GOLDEN_RECORDINGS.values(), large, *TRAJECTORIES, folder=folder)
    assert done.returncode == 0, done.stderr
    with start_server(folder, SHARE_PAUSE_SECONDS="0", SHARE_HEARTBEAT_SECONDS="0.5") as server:
        yield server


def run_watch(server: Server, interaction_id: str) -> subprocess.CompletedProcess[str]:
    arguments = ("watch", interaction_id, "--pace", "instant")
    return run_here(*arguments, folder=server.log_file.parent, SHARE_PORT=str(server.port))


def watch_on_terminal(server: Server, interaction_id: str, pace: str = "instant") -> Terminal:
    arguments = ("watch", interaction_id, "--pace", pace)
    return Terminal(*arguments, folder=server.log_file.parent, SHARE_PORT=str(server.port))


# The program


@pytest.mark.parametrize("program", [MODULE, SCRIPT], ids=["python -m share", "replay-share"])
def test_help_lists_the_commands_however_it_is_started(tmp_path: Path, program: tuple[str, ...]) -> None:
    done = run("--help", folder=tmp_path, program=program)
    assert done.returncode == 0
    assert "Usage: replay-share" in done.stdout
    for command in ("import", "list", "delete", "share", "unshare", "watch", "serve", "record", "user"):
        assert f"\n  {command} " in done.stdout
    assert list(tmp_path.iterdir()) == [], "asking for help makes nothing"


def test_a_recording_is_known_under_both_names_of_the_program(tmp_path: Path) -> None:
    run("import", GOLDEN_RECORDINGS[SHORT], folder=tmp_path, program=MODULE)
    assert SHORT in run("list", folder=tmp_path, program=SCRIPT).stdout


# Import


@pytest.mark.parametrize("file", [*GOLDEN_RECORDINGS.values(), *TRAJECTORIES], ids=lambda file: file.name)
def test_import_prints_the_id_and_how_to_watch_and_a_second_time_doubles_nothing(tmp_path: Path, file: Path) -> None:
    first = run_here("import", file, folder=tmp_path)
    assert (first.returncode, first.stderr) == (0, "")
    interaction_id = first.stdout.split()[0]
    assert f"replay-share watch {interaction_id}" in first.stdout
    assert "shared" in first.stdout
    before = stored(tmp_path)

    second = run_here("import", file, folder=tmp_path)

    assert (second.returncode, second.stderr) == (0, "")
    assert interaction_id in second.stdout
    assert "already" in second.stdout
    assert stored(tmp_path) == before
    assert query(tmp_path, "SELECT interaction_id FROM interactions") == [(interaction_id,)]


def test_the_same_file_twice_in_one_command_is_there_once(tmp_path: Path) -> None:
    file = GOLDEN_RECORDINGS[SHORT]
    done = run_here("import", file, file, folder=tmp_path)
    assert done.returncode == 0
    assert query(tmp_path, "SELECT count(*) FROM interactions") == [(1,)]


def test_two_imports_of_the_same_file_at_the_same_time_double_nothing(tmp_path: Path) -> None:
    workspace = {"notes.txt": base64.b64encode(b"hello").decode()}
    file = write_recording(tmp_path / "run.json", make_recording("both", 1000, "x" * 100, workspace))
    run_here("list", folder=tmp_path)
    both = [
        subprocess.Popen([*MODULE, "import", file], cwd=tmp_path, env=environment(tmp_path), stdout=PIPE, stderr=PIPE)
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=PATIENCE_SECONDS) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert sorted(b"already" in output for output, _ in outputs) == [False, True]
    assert query(tmp_path, "SELECT count(*) FROM raw") == [(1000,)]
    (notes,) = (tmp_path / "data").rglob("notes.txt")
    assert notes.read_bytes() == b"hello"


def test_what_is_imported_is_watched_at_once_on_a_server_that_runs(server: Server) -> None:
    folder = server.log_file.parent
    file = write_recording(folder / "new.json", make_recording("new", 3, "brand new"))
    done = run_here("import", "--private", file, folder=folder)
    assert "replay-share share new" in done.stdout
    assert "watch" not in done.stdout
    assert_one_line(run_watch(server, "new"), "not shared")

    assert run_here("share", "new", folder=folder).returncode == 0
    assert "brand new" in run_watch(server, "new").stdout

    assert run_here("unshare", "new", folder=folder).returncode == 0
    assert_one_line(run_watch(server, "new"), "not shared")

    assert run_here("delete", "new", folder=folder).returncode == 0
    assert "new" not in run_here("list", folder=folder).stdout.split()
    assert_one_line(run_watch(server, "new"), "not shared")


def test_importing_again_what_is_private_does_not_promise_that_it_can_be_watched(tmp_path: Path) -> None:
    run_here("import", "--private", GOLDEN_RECORDINGS[SHORT], folder=tmp_path)
    again = run_here("import", GOLDEN_RECORDINGS[SHORT], folder=tmp_path)
    assert "private" in run_here("list", folder=tmp_path).stdout
    assert f"replay-share share {SHORT}" in again.stdout


def test_importing_again_as_private_says_that_it_is_shared_all_the_same(tmp_path: Path) -> None:
    run_here("import", GOLDEN_RECORDINGS[SHORT], folder=tmp_path)
    again = run_here("import", "--private", GOLDEN_RECORDINGS[SHORT], folder=tmp_path)
    shared = "shared" in run_here("list", folder=tmp_path).stdout
    assert ("shared" if shared else "private") in again.stdout


def test_another_recording_under_the_same_id_is_refused_in_one_line(tmp_path: Path) -> None:
    recording = make_recording("same", 3, "first")
    file = write_recording(tmp_path / "same.json", recording)
    assert run_here("import", file, folder=tmp_path).returncode == 0
    before = stored(tmp_path)
    write_recording(file, make_recording("same", 3, "second"))

    assert_one_line(run_here("import", file, folder=tmp_path), "Error: ", str(file), "replay-share delete same")
    assert stored(tmp_path) == before


def test_the_same_recording_with_other_files_is_not_taken_for_the_same(tmp_path: Path) -> None:
    for content in (b"first", b"second"):
        workspace = {"notes.txt": base64.b64encode(content).decode()}
        file = write_recording(tmp_path / "same.json", make_recording("same", 3, "", workspace))
        done = run_here("import", file, folder=tmp_path)
    (notes,) = (tmp_path / "data").rglob("notes.txt")
    assert notes.read_bytes() == b"first"
    assert_one_line(done, "Error: ", str(file))


def test_the_files_of_a_run_are_imported_and_deleted_with_it(tmp_path: Path) -> None:
    workspace = {name: base64.b64encode(name.encode()).decode() for name in ("a.txt", "folder/数据 b.csv")}
    file = write_recording(tmp_path / "run.json", make_recording("files", 3, "", workspace))
    run_here("import", file, folder=tmp_path)
    (folder,) = (tmp_path / "data" / "localstorage" / "interact_records").glob("*/files/workspace")
    assert (folder / "folder" / "数据 b.csv").read_text() == "folder/数据 b.csv"

    done = run_here("delete", "files", folder=tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    assert "files" in done.stdout
    assert not folder.parent.exists()
    for table in ("interactions", "raw", "shared_interactions"):
        assert query(tmp_path, f"SELECT * FROM {table}") == []
    assert run_here("import", file, folder=tmp_path).returncode == 0


def _broken_files(folder: Path) -> dict[Path, str]:
    """Files that hold no recording, and what is said about each."""
    short = json.loads(GOLDEN_RECORDINGS[SHORT].read_text("utf-8"))

    def changed(change: Callable[[Any], object]) -> bytes:
        recording = json.loads(json.dumps(short))
        change(recording)
        return json.dumps(recording).encode()

    def row(**columns: Any) -> bytes:
        return changed(lambda recording: recording["raws"][1].update(columns))

    def interaction(**columns: Any) -> bytes:
        return changed(lambda recording: recording["interaction"].update(columns))

    def files(**workspace: Any) -> bytes:
        return changed(lambda recording: recording.update(workspace=workspace))

    contents = {
        "empty": (b"", "expected JSON"),
        "blank": (b" \n ", "expected JSON"),
        "not JSON": (b"{nope", "line 1, column 2"),
        "cut off": (GOLDEN_RECORDINGS[SHORT].read_bytes()[:1500], "expected JSON"),
        "two documents": (b"{}{}", "expected JSON"),
        "a picture": (b"\x89PNG\r\n\x1a\n\x00\x00", "utf-8"),
        "UTF-16": (json.dumps(short).encode("utf-16"), "utf-8"),
        "a list": (b"[]", "expected an object"),
        "a number": (b"1", "expected an object"),
        "null": (b"null", "expected an object"),
        "an empty object": (b"{}", "expected the keys"),
        "too deep": (b"[" * 100_000, "deep"),
        "deep data": (row(data=json.loads("[" * 600 + "]" * 600)), "$.raws[1].data"),
        "NaN": (b'{"interaction": NaN}', "NaN"),
        "a huge number": (b"9" * 5000, "digits"),
        "a key twice": (b'{"interaction": {}, "interaction": {}}', "interaction"),
        "no rows": (changed(lambda recording: recording.pop("raws")), "raws"),
        "an empty list of rows": (changed(lambda recording: recording.update(raws=[])), "$.raws"),
        "rows that are none": (changed(lambda recording: recording.update(raws=[1])), "$.raws[0]"),
        "no interaction": (changed(lambda recording: recording.pop("interaction")), "interaction"),
        "an unknown key": (changed(lambda recording: recording.update(extra=1)), "extra"),
        "an unknown column": (row(extra=1), "$.raws[1]"),
        "no id": (changed(lambda recording: recording["interaction"].pop("interaction_id")), "interaction_id"),
        "an id that climbs": (interaction(interaction_id="../../etc"), "$.interaction.interaction_id"),
        "a hidden id": (interaction(interaction_id=".hidden"), "$.interaction.interaction_id"),
        "a long id": (interaction(interaction_id="x" * 129), "$.interaction.interaction_id"),
        "an id with a line break": (interaction(interaction_id="x\n"), "$.interaction.interaction_id"),
        "an id that is no text": (interaction(interaction_id=5), "$.interaction.interaction_id"),
        "NUL": (interaction(description="a\0b"), "$.interaction.description"),
        "a lone surrogate": (interaction(description="\ud800"), "$.interaction.description"),
        "a row of another run": (row(interaction_id="other"), "$.raws[1].interaction_id"),
        "a node_id twice": (row(node_id=short["raws"][0]["node_id"]), "$.raws[1].node_id"),
        "a long status": (row(status="x" * 21), "$.raws[1].status"),
        "a large step": (row(step=2**31), "$.raws[1].step"),
        "a step that is no number": (row(step="1"), "$.raws[1].step"),
        "a flag that is none": (row(is_deleted="no"), "$.raws[1].is_deleted"),
        "a file that climbs": (files(**{"../../x": ""}), "../../x"),
        "a file with a root": (files(**{"/tmp/x": ""}), "/tmp/x"),
        "a file on Windows": (files(**{"C:\\x": ""}), "C:"),
        "a file in a file": (files(**{"a": "", "a/b": ""}), "folder"),
        "no base64": (files(a="%%%"), "base64"),
        "half of base64": (files(a="QQ"), "base64"),
        "no steps": (b'{"trajectory": [], "history": []}', "at least one step"),
        "steps that are none": (b'{"trajectory": "none"}', "$.trajectory"),
        "info that is none": (b'{"trajectory": [{"action": "ls"}], "info": 1}', "$.info"),
    }
    result = {}
    for number, (name, (content, words)) in enumerate(contents.items()):
        path = folder / f"{number:02} {name}.json"
        path.write_bytes(content)
        result[path] = words
    (folder / "a folder").mkdir()
    return result | {folder / "a folder": "directory", folder / "missing.json": "No such file"}


def test_each_broken_file_is_one_line_and_changes_nothing_and_a_good_one_beside_it_is_imported(tmp_path: Path) -> None:
    run_here("import", GOLDEN_RECORDINGS[EDGE], folder=tmp_path)
    before = stored(tmp_path)
    broken = _broken_files(tmp_path)

    done = run_here("import", *broken, folder=tmp_path)

    assert done.returncode == 1
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == len(broken), done.stderr
    for line, (path, words) in zip(lines, broken.items(), strict=True):
        assert line.startswith(f"Error: {path}: ")
        assert words in line.removeprefix(f"Error: {path}: ")
        assert len(line) < len(str(path)) + 600, "a line that can be read"
    assert stored(tmp_path) == before

    first, *rest = broken
    done = run_here("import", first, GOLDEN_RECORDINGS[SHORT], *rest, folder=tmp_path)
    assert done.returncode == 1
    assert done.stdout.startswith(SHORT)
    assert query(tmp_path, "SELECT interaction_id FROM interactions ORDER BY 1") == [(SHORT,), (EDGE,)]


def test_a_file_that_may_not_be_read_is_one_line_and_a_good_one_beside_it_is_imported(tmp_path: Path) -> None:
    secret = write_recording(tmp_path / "secret.json", make_recording("secret", 3))
    secret.chmod(0)
    program = (*UNPRIVILEGED, *MODULE)
    done = run("import", secret, GOLDEN_RECORDINGS[SHORT], folder=tmp_path, program=program)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [f"Error: {secret}: expected a readable file, got: Permission denied"]
    assert done.stdout.startswith(SHORT)


def test_a_file_name_with_a_line_break_stays_on_one_line(tmp_path: Path) -> None:
    file = write_recording(tmp_path / "a\nb.json", make_recording("same", 3, "first"))
    run_here("import", file, folder=tmp_path)
    write_recording(file, make_recording("same", 3, "second"))
    assert_one_line(run_here("import", file, folder=tmp_path), "Error: ")
    file.write_text("{nope")
    assert_one_line(run_here("import", file, folder=tmp_path), "Error: ")


def test_a_disk_that_takes_no_files_is_one_line_and_nothing_is_half_written(tmp_path: Path) -> None:
    run_here("list", folder=tmp_path)
    (tmp_path / "data").mkdir(exist_ok=True)
    (tmp_path / "data" / "localstorage").write_text("in the way")
    workspace = {"notes.txt": base64.b64encode(b"hello").decode()}
    file = write_recording(tmp_path / "run.json", make_recording("files", 3, "", workspace))
    assert_one_line(run_here("import", file, folder=tmp_path), "Error: ", str(file))
    assert query(tmp_path, "SELECT * FROM raw") == []


# An import that is interrupted


@pytest.fixture(scope="module")
def big_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = {f"folder/{number}.txt": base64.b64encode(b"x" * 1000).decode() for number in range(200)}
    recording = make_recording("big", BIG_ROWS, "x" * 100, workspace)
    return write_recording(tmp_path_factory.mktemp("big") / "big.json", recording)


def interrupt(folder: Path, file: Path, number: signal.Signals) -> tuple[int, str]:
    """Import `file` on a terminal and send the signal when its progress shows; the exit code, and what it showed."""
    with Terminal("import", file, folder=folder) as terminal:
        terminal.read_until("%")
        terminal.process.send_signal(number)
        shown = terminal.read_to_end()
        return terminal.process.returncode, shown


def assert_nothing_is_visible(folder: Path) -> None:
    assert run_here("list", folder=folder).stdout == ""
    assert query(folder, "SELECT count(*) FROM raw") == [(0,)]
    assert list((folder / "data" / "localstorage").glob("**/workspace")) == []


def test_an_import_that_is_killed_leaves_nothing_visible_and_the_next_one_works(tmp_path: Path, big_file: Path) -> None:
    assert interrupt(tmp_path, big_file, signal.SIGKILL)[0] == -signal.SIGKILL
    assert_nothing_is_visible(tmp_path)

    workspace = {"notes.txt": base64.b64encode(b"hello").decode()}
    small_file = write_recording(tmp_path / "small.json", make_recording("big", 300, "x", workspace))
    assert run_here("import", small_file, folder=tmp_path).returncode == 0
    assert query(tmp_path, "SELECT count(*), max(step) FROM raw") == [(300, 299)]
    (folder,) = (tmp_path / "data" / "localstorage").glob("**/big/workspace")
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]

    run_here("delete", "big", folder=tmp_path)
    assert not folder.parent.exists(), "what the killed one left goes too"


@pytest.mark.parametrize("with_files", [True, False], ids=["with files", "without files"])
def test_ctrl_c_ends_an_import_and_leaves_nothing(tmp_path: Path, big_file: Path, with_files: bool) -> None:
    file = big_file
    if not with_files:
        file = write_recording(tmp_path / "big.json", json.loads(big_file.read_text()) | {"workspace": {}})
    code, shown = interrupt(tmp_path, file, signal.SIGINT)
    assert code not in (0, -signal.SIGKILL)
    assert "Traceback" not in shown
    assert_nothing_is_visible(tmp_path)
    assert list((tmp_path / "data" / "localstorage").rglob("*.txt")) == []


# What a terminal shows, and what a pipe


def test_a_long_import_shows_its_progress_on_a_terminal_and_not_in_a_pipe(tmp_path: Path) -> None:
    file = write_recording(tmp_path / "long.json", make_recording("long", 2000, "x"))
    with Terminal("import", file, folder=tmp_path) as terminal:
        shown = terminal.read_to_end()
        assert terminal.process.returncode == 0
    assert "100%" in shown
    assert "replay-share watch long" in shown

    run_here("delete", "long", folder=tmp_path)
    done = run_here("import", file, folder=tmp_path)
    assert done.returncode == 0
    assert "%" not in done.stdout + done.stderr


def test_a_short_import_shows_no_progress(tmp_path: Path) -> None:
    with Terminal("import", GOLDEN_RECORDINGS[SHORT], folder=tmp_path) as terminal:
        assert "%" not in terminal.read_to_end()


def test_watch_prints_the_steps_in_colour_on_a_terminal_and_plain_in_a_pipe(server: Server) -> None:
    done = run_watch(server, SHORT)
    assert (done.returncode, done.stderr) == (0, "")
    for words in ("start", "Let me look at the workspace first.", "shell_command_executor", "a.txt", "finished"):
        assert words in done.stdout
    assert "\x1b" not in done.stdout

    with watch_on_terminal(server, SHORT) as terminal:
        shown = terminal.read_to_end()
        assert terminal.process.returncode == 0
    assert "\x1b[" in shown
    assert "Let me look at the workspace first." in shown


def test_watch_takes_the_address_of_the_server(server: Server) -> None:
    for url in (server.http_url, f"{server.http_url}/", f"ws://127.0.0.1:{server.port}"):
        arguments = ("watch", SHORT, "--pace", "instant", "--url", url)
        done = run_here(*arguments, folder=server.log_file.parent, SHARE_PORT="1")
        assert done.returncode == 0, done.stderr
        assert "finished" in done.stdout


@pytest.mark.parametrize("file", TRAJECTORIES, ids=lambda file: file.name)
def test_watch_shows_a_trajectory_to_its_end(server: Server, file: Path) -> None:
    interaction_id = run_here("import", file, folder=server.log_file.parent).stdout.split()[0]
    done = run_watch(server, interaction_id)
    assert (done.returncode, done.stderr) == (0, "")
    assert "● inner 1.1" in done.stdout
    assert done.stdout.rstrip().splitlines()[-1] == "✔ finished"


def test_watch_ends_by_itself_after_the_last_row_of_a_recording_that_breaks_off(server: Server) -> None:
    folder = server.log_file.parent
    recording = make_recording("brokenoff", 3, "and then")
    recording["raws"][-1]["status"] = "inner"
    run_here("import", write_recording(folder / "brokenoff.json", recording), folder=folder)
    with watch_on_terminal(server, "brokenoff") as terminal:
        terminal.read_until("and then")
        assert terminal.process.wait(15) == 0


def test_nothing_in_a_recording_controls_the_terminal(server: Server) -> None:
    folder = server.log_file.parent
    recording = make_recording("evil", 3, "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e\r\x08 end")
    recording["interaction"]["description"] = "\x1b[2J\u202e title"
    recording["raws"][0]["current"] = "\x1b[2J"
    assert "\x1b" not in run_here("import", write_recording(folder / "evil.json", recording), folder=folder).stdout
    for done in (run_watch(server, "evil"), run_here("list", folder=folder)):
        assert done.returncode == 0
        assert not {"\x1b", "\x9b", "\u202e", "\r", "\x08", "\x07"} & set(done.stdout)
    with watch_on_terminal(server, "evil") as terminal:
        shown = terminal.read_to_end()
    assert "end" in shown
    assert not any(sequence in shown for sequence in ("\x1b[2J", "\x1b]0", "\x9b", "\u202e", "\x08", "\x07"))
    run_here("delete", "evil", folder=folder)


def test_ctrl_c_ends_watch_without_a_complaint(server: Server) -> None:
    with watch_on_terminal(server, SHORT, pace="60") as terminal:
        terminal.read_until("running")
        terminal.process.send_signal(signal.SIGINT)
        shown = terminal.read_to_end()
        assert terminal.process.returncode == 130
    assert "Traceback" not in shown
    assert "Error" not in shown


def test_watch_says_that_the_server_has_gone_and_ctrl_c_ends_it_then(tmp_path: Path) -> None:
    run_here("import", GOLDEN_RECORDINGS[SHORT], folder=tmp_path)
    with start_server(tmp_path) as server, watch_on_terminal(server, SHORT, pace="60") as terminal:
        terminal.read_until("running")
        server.stop()
        terminal.read_until("connection lost")
        terminal.process.send_signal(signal.SIGINT)
        shown = terminal.read_to_end()
        assert terminal.process.returncode == 130
    assert "Traceback" not in shown


@pytest.mark.parametrize("interaction_id", ["nosuchrecording", "../x", "a/b", "a?b", "a#b", "%2e", "a b", "ä", ""])
def test_watch_refuses_what_is_no_recording_in_one_line(server: Server, interaction_id: str) -> None:
    done = run_watch(server, interaction_id)
    assert done.returncode == 1
    assert_one_line(done, "Error: ", "no such recording")


def test_watch_says_in_one_line_that_no_server_runs(tmp_path: Path) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and never listens
        port = str(bound.getsockname()[1])
        done = run_here("watch", SHORT, folder=tmp_path, SHARE_PORT=port)
    assert done.returncode == 1
    assert_one_line(done, "Error: ", port, "running")


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "ftp://127.0.0.1",
        "http://",
        "http://[bad",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:port",
        "http://::1:8090",
        "http://a..b",
        "http://127.0.0.1:1\n/x",
        "http://user:password@127.0.0.1:1",
    ],
)
def test_watch_refuses_an_address_that_is_none_in_one_line(tmp_path: Path, url: str) -> None:
    done = run_here("watch", SHORT, "--url", url, folder=tmp_path)
    assert_one_line(done, "Error: ")


def test_watch_finds_a_server_on_an_ipv6_address(tmp_path: Path) -> None:
    done = run_here("watch", SHORT, folder=tmp_path, SHARE_HOST="::1", SHARE_PORT="1")
    assert_one_line(done, "can't connect to http://[::1]:1")
    assert "URI" not in done.stderr


def test_watch_does_not_fall_over_a_server_that_speaks_something_else(server: Server, tmp_path: Path) -> None:
    code = """
import asyncio, sys
from websockets.asyncio.server import serve

async def main():
    async def handler(socket):
        await socket.send(sys.argv[1])
        await socket.wait_closed()
    async with serve(handler, "127.0.0.1", 0) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Future()
asyncio.run(main())
"""
    for message in ("hello", "[]", '"connect"', '{"status": "connect"}', '{"status": "connect", "success": false}'):
        with subprocess.Popen([sys.executable, "-c", code, message], stdout=subprocess.PIPE, text=True) as other:
            try:
                assert other.stdout is not None
                url = f"http://127.0.0.1:{int(other.stdout.readline())}"
                assert_one_line(run_here("watch", SHORT, "--url", url, folder=tmp_path), "Error: ")
            finally:
                other.kill()


def test_output_into_a_pipe_that_nobody_reads_any_more_is_no_error(server: Server) -> None:
    folder = server.log_file.parent
    file = write_recording(folder / "piped.json", make_recording("piped", 3))
    commands: list[list[str]] = [
        ["--help"],
        ["import", str(file)],
        ["list"],
        ["unshare", "piped"],
        ["watch", "large", "--pace", "instant"],
        ["delete", "piped"],
    ]
    for command in commands:
        reader, writer = os.pipe()
        os.close(reader)
        try:
            done = subprocess.run(
                [*MODULE, *command],
                cwd=folder,
                env=environment(folder, SHARE_PORT=str(server.port)),
                stdout=writer,
                stderr=subprocess.PIPE,
                text=True,
                timeout=PATIENCE_SECONDS,
                check=False,
            )
        finally:
            os.close(writer)
        assert done.stderr == "", command


def test_watch_into_head_ends_when_head_does(server: Server) -> None:
    command = f"{sys.executable} -m share watch large --pace instant | head -1"
    done = run("-c", command, folder=server.log_file.parent, program=("sh",), SHARE_PORT=str(server.port))
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


# List, delete, share


def test_list_of_nothing_says_what_to_do(tmp_path: Path) -> None:
    done = run_here("list", folder=tmp_path)
    assert done.returncode == 0
    assert done.stdout == ""
    assert "replay-share import" in done.stderr


def test_list_shows_each_recording_in_one_line_newest_first(tmp_path: Path) -> None:
    run_here("import", *GOLDEN_RECORDINGS.values(), *TRAJECTORIES, folder=tmp_path)
    run_here("unshare", EDGE, folder=tmp_path)
    lines = run_here("list", folder=tmp_path).stdout.splitlines()
    assert len(lines) == 5
    line = {line.split()[0]: line for line in lines}
    assert "private" in line[EDGE]
    assert "short run" in line[SHORT]
    assert "shared" in line[SHORT]
    created = dict(query(tmp_path, "SELECT interaction_id, create_time FROM interactions"))
    times = [created[line.split()[0]] for line in lines]
    assert times == sorted(times, reverse=True)


def test_sharing_twice_and_taking_it_back_twice_says_so(tmp_path: Path) -> None:
    run_here("import", GOLDEN_RECORDINGS[SHORT], folder=tmp_path)
    outputs = [
        run_here(command, SHORT, folder=tmp_path) for command in ("share", "unshare", "unshare", "share", "share")
    ]
    assert [done.returncode for done in outputs] == [0] * 5
    said = ["already" in done.stdout for done in outputs]
    assert said == [True, False, True, False, True]
    assert len(query(tmp_path, "SELECT * FROM shared_interactions")) == 1


@pytest.mark.parametrize("command", ["delete", "share", "unshare"])
def test_an_id_that_is_unknown_or_malformed_is_one_line_and_changes_nothing(tmp_path: Path, command: str) -> None:
    run_here("import", GOLDEN_RECORDINGS[SHORT], folder=tmp_path)
    before = stored(tmp_path)
    ids = ["nosuch", "../x", "/etc", "a\nb", "x" * 5000]
    if command == "delete":
        ids += ["", ".", "%", "*", "ä", "\x1b[31m", SHORT.upper(), f"{SHORT} "]
    for interaction_id in ids:
        done = run_here(command, interaction_id, folder=tmp_path)
        assert done.returncode == 1
        assert_one_line(done, "Error: there is no recording")
        assert done.stderr[:-1].isprintable()
    assert stored(tmp_path) == before


def test_delete_leaves_what_lies_beside_and_behind_a_link_alone(tmp_path: Path) -> None:
    workspace = {"a.txt": base64.b64encode(b"a").decode()}
    file = write_recording(tmp_path / "run.json", make_recording("files", 3, "", workspace))
    run_here("import", GOLDEN_RECORDINGS[EDGE], file, folder=tmp_path)
    (folder,) = (tmp_path / "data" / "localstorage").glob("**/files")
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "kept").write_text("kept")
    (folder / "workspace" / "link").symlink_to(precious)

    assert run_here("delete", "files", folder=tmp_path).returncode == 0

    assert (precious / "kept").read_text() == "kept"
    assert query(tmp_path, "SELECT DISTINCT interaction_id FROM raw") == [(EDGE,)]


def test_what_has_been_deleted_while_it_was_watched_does_not_come_back(tmp_path: Path) -> None:
    run_here("import", GOLDEN_RECORDINGS[SHORT], folder=tmp_path)
    with start_server(tmp_path) as server, watch_on_terminal(server, SHORT, pace="60") as terminal:
        terminal.read_until("running")
        assert run_here("delete", SHORT, folder=tmp_path).returncode == 0
        terminal.process.send_signal(signal.SIGINT)
        terminal.read_to_end()
        server.wait_for_log("disconnected with")
    assert list((tmp_path / "data" / "localstorage").rglob(SHORT)) == []


# Settings


WRONG = {
    "SHARE_PORT": "port",
    "SHARE_PAUSE_SECONDS": "3-1",
    "SHARE_HEARTBEAT_SECONDS": "0",
    "SHARE_CHECK_RUNNING": "perhaps",
    "SHARE_REQUIRE_SHARED": "2",
    "SHARE_MAX_VIEWERS": "-1",
    "SHARE_ALLOWED_ORIGINS": "example.com",
    "SHARE_SEND_TIMEOUT_SECONDS": "nan",
    "SHARE_LOG_LEVEL": "LOUD",
    "SHARE_BASE_DIR": "~nosuchuser/data",
    "SHARE_DATABASE_URL": "mongodb://localhost/replays",
}
COMMANDS = {
    "import": ["import", str(GOLDEN_RECORDINGS[SHORT])],
    "list": ["list"],
    "delete": ["delete", SHORT],
    "share": ["share", SHORT],
    "unshare": ["unshare", SHORT],
    "serve": ["serve"],
}


@pytest.mark.parametrize(
    ("command", "variable"),
    [*zip(itertools.cycle(COMMANDS), WRONG, strict=False), ("watch", "SHARE_PORT"), ("watch", "SHARE_LOG_LEVEL")],
)
def test_a_wrong_setting_stops_every_command_with_the_name_of_the_variable(
    tmp_path: Path, command: str, variable: str
) -> None:
    arguments = COMMANDS.get(command, ["watch", SHORT])
    start = run if command == "serve" else run_here  # a server that starts all the same would set up this one's log
    done = start(*arguments, folder=tmp_path, **{variable: WRONG[variable]})
    assert_one_line(done, "Error: ", variable)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("variable", ["SHARE_PAUSE_SECONDS", "SHARE_LOG_LEVEL", "SHARE_DATABASE_URL"])
def test_a_wrong_setting_stops_uvicorn_with_the_name_of_the_variable(tmp_path: Path, variable: str) -> None:
    done = run(folder=tmp_path, program=UVICORN, **{variable: WRONG[variable]})
    assert_one_line(done, variable)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.sqlite
@pytest.mark.parametrize("kind", ["no database", "a directory", "no permission", "folder is a file", "read only"])
@pytest.mark.parametrize("command", ["list", "import", "serve", "uvicorn"])
def test_a_database_that_cannot_be_used_is_one_line(tmp_path: Path, command: str, kind: str) -> None:
    base = tmp_path / "data"
    if kind == "folder is a file":
        base.write_text("in the way")
    else:
        base.mkdir()
    match kind:
        case "no database":
            (base / "replay.db").write_text("this is no database, and long enough to be looked at as one\n" * 20)
        case "a directory":
            (base / "replay.db").mkdir()
        case "no permission":
            base.chmod(0)
        case "read only":
            base.chmod(0o555)
    program = UVICORN if command == "uvicorn" else (*MODULE, *COMMANDS[command])

    done = run(folder=tmp_path, program=(*UNPRIVILEGED, *program), SHARE_PORT="0")

    assert done.returncode not in (0, -signal.SIGKILL)
    assert "Traceback" not in done.stderr
    told = [line for line in done.stderr.splitlines() if "replay.db" in line]
    assert len(told) == 1, done.stderr
    if command in ("list", "import"):
        assert_one_line(done, "Error: ", "replay.db")


def test_a_password_in_the_address_of_the_database_is_never_printed(tmp_path: Path) -> None:
    for url in ("postgresql://me:SECRET@localhost:1/replays", "nosuch://me:SECRET@localhost/replays"):
        done = run_here("list", folder=tmp_path, SHARE_DATABASE_URL=url)
        assert done.returncode == 1
        assert "SECRET" not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.sqlite
def test_a_base_folder_may_have_any_name(tmp_path: Path) -> None:
    for name in ("with blanks", "100%25", "what?#", "数据", "a&b=c;d", "-x"):
        done = run_here("import", GOLDEN_RECORDINGS[SHORT], folder=tmp_path, SHARE_BASE_DIR=name)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / name / "replay.db").is_file()


def test_two_commands_at_the_same_time_wait_for_each_other(tmp_path: Path) -> None:
    file = write_recording(tmp_path / "long.json", make_recording("long", 3000, "x"))
    run_here("import", GOLDEN_RECORDINGS[SHORT], folder=tmp_path)
    with Terminal("import", file, folder=tmp_path) as terminal:
        terminal.read_until("%")
        began = time.monotonic()
        assert "short run" in run_here("list", folder=tmp_path).stdout, "a reader doesn't wait for a writer"
        assert run_here("unshare", SHORT, folder=tmp_path).returncode == 0
        assert time.monotonic() - began < PATIENCE_SECONDS
        terminal.read_to_end()
        assert terminal.process.returncode == 0
    assert query(tmp_path, "SELECT count(*) FROM raw WHERE interaction_id = 'long'") == [(3000,)]
