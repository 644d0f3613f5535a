"""`replay-share watch`: on a terminal with a keyboard, and in a pipe."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from share import Recorder
from storage.database import open_database
from storage.gateway import Gateway
from storage.links import LinkCRUD
from tests.any_database import database_url
from tests.server import (
    PATIENCE_SECONDS,
    Server,
    Terminal,
    environment,
    make_timed_recording,
    run,
    run_here,
    start_server,
    write_recording,
)

HOUR = 3600.0
ROWS = 30
RIGHT, LEFT = "\x1b[C", "\x1b[D"
WELL = "exit code 0, settings kept"

_STYLE = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("watch")
    for recording in (
        make_timed_recording("quick", ROWS, 0.15),
        make_timed_recording("slow", ROWS, HOUR),
        make_timed_recording("even", ROWS, 2),
    ):
        file = write_recording(folder / "recording.json", recording)
        assert run_here("import", file, folder=folder).returncode == 0
    with start_server(folder) as server:
        yield server


def watch(server: Server, interaction_id: str, *options: str) -> Terminal:
    """A person watches."""
    folder = server.log_file.parent
    return Terminal("watch", interaction_id, *options, folder=folder, keyboard=True, SHARE_PORT=str(server.port))


def watch_piped(server: Server, interaction_id: str, *options: str) -> subprocess.CompletedProcess[str]:
    folder = server.log_file.parent
    return run_here("watch", interaction_id, *options, folder=folder, SHARE_PORT=str(server.port))


def steps(output: str) -> list[int]:
    """The numbers of the rows that were shown, in order."""
    return [int(number) for number in re.findall(r"thought (\d+)\.", _STYLE.sub("", output))]


def plain(output: str) -> str:
    return _STYLE.sub("", output)


# Keys


def test_space_pauses_and_goes_on_and_every_row_is_shown_once(server: Server) -> None:
    with watch(server, "quick") as terminal:
        terminal.read_until("thought 3.")
        terminal.type(" ")
        said = terminal.read_until("paused at step")
        assert re.search(r"paused at step \d+", plain(said))
        terminal.read_for(0.3)  # what was on its way
        assert terminal.read_for(1) == ""
        assert len(steps(terminal.output)) < ROWS
        terminal.type(" ")
        terminal.read_until("playing")
        assert WELL in terminal.read_to_end()
    assert steps(terminal.output) == list(range(1, ROWS + 1))


def test_the_arrows_go_a_step_forth_and_back_while_it_is_paused(server: Server) -> None:
    with watch(server, "slow") as terminal:
        terminal.read_until("thought 1.")
        terminal.type(" ")
        terminal.read_until("paused at step 1")
        for number in (2, 3, 4):
            terminal.type(RIGHT)
            terminal.read_until(f"thought {number}.")
        terminal.type(LEFT)
        terminal.read_until("back to step 3")
        terminal.read_until("thought 3.", times=2)
        terminal.type("\x1bOD")
        terminal.read_until("thought 2.", times=2)
        terminal.type("\x1bOC")
        terminal.read_until("thought 3.", times=3)
        terminal.type("q")
        assert WELL in terminal.read_to_end()
    assert steps(terminal.output) == [1, 2, 3, 4, 3, 2, 3]


def test_the_arrows_go_a_step_forth_and_back_while_it_plays(server: Server) -> None:
    with watch(server, "slow") as terminal:
        for number in (1, 2, 3):
            terminal.read_until(f"thought {number}.")
            terminal.type(RIGHT)
        terminal.read_until("thought 4.")
        terminal.type(LEFT)
        terminal.read_until("thought 3.", times=2)
        terminal.type("q")
        assert WELL in terminal.read_to_end()
    assert steps(terminal.output) == [1, 2, 3, 4, 3]


def test_each_press_of_an_arrow_is_a_step_however_quickly_they_come(server: Server) -> None:
    with watch(server, "slow") as terminal:
        terminal.read_until("thought 1.")
        terminal.type(RIGHT * 5)
        terminal.read_until("thought 6.")
        terminal.type(LEFT * 3)
        terminal.read_until("thought 3.", times=2)
        terminal.read_for(0.5)
        terminal.type("q")
        assert WELL in terminal.read_to_end()
    assert steps(terminal.output)[:6] == [1, 2, 3, 4, 5, 6]
    assert steps(terminal.output)[-1] == 3


def test_an_arrow_at_either_end_goes_nowhere(server: Server) -> None:
    with watch(server, "slow") as terminal:
        terminal.read_until("thought 1.")
        terminal.type(LEFT + LEFT)
        assert steps(terminal.read_for(0.5)) == []
        for number in range(2, ROWS):
            terminal.type(RIGHT)
            terminal.read_until(f"thought {number}.")
        terminal.type(RIGHT)
        assert WELL in terminal.read_to_end()
    assert steps(terminal.output) == list(range(1, ROWS + 1))


def test_plus_and_minus_change_the_speed_and_say_so(server: Server) -> None:
    with watch(server, "even") as terminal:
        terminal.read_until("thought 1.")
        for key, said in (
            ("+", "speed 1.5"),
            ("=", "speed 2"),
            ("-", "speed 1.5"),
            ("-", "speed 1 "),
            ("-", "speed 0.5"),
        ):
            terminal.type(key)
            assert said in plain(terminal.read_until(said))
        terminal.type("+" * 20)
        terminal.read_until("speed 100")
        assert WELL in terminal.read_to_end()
    assert steps(terminal.output) == list(range(1, ROWS + 1))


def test_the_speed_stays_within_what_the_server_takes(server: Server) -> None:
    with watch(server, "slow") as terminal:
        terminal.read_until("thought 1.")
        terminal.type("-" * 20)
        terminal.read_until("speed 0.1")
        terminal.type("+" * 30)
        terminal.read_until("speed 100")
        terminal.read_for(0.3)
        terminal.type("q")
        assert WELL in terminal.read_to_end()
    assert "Error" not in terminal.output


def test_a_speed_of_ones_own_is_where_plus_and_minus_start(server: Server) -> None:
    with watch(server, "slow", "--speed", "3") as terminal:
        terminal.read_until("thought 1.")
        terminal.type("+")
        terminal.read_until("speed 4")
        terminal.type("--")
        terminal.read_until("speed 1.5")
        terminal.type("q")
        assert WELL in terminal.read_to_end()


def test_keys_that_mean_nothing_do_nothing_and_are_not_shown(server: Server) -> None:
    with watch(server, "slow") as terminal:
        terminal.read_until("a.txt")
        terminal.type("xyz\x1b[A\x1b[B\x1b[5~\x1b\x00\x7f\r\n\té数")
        assert terminal.read_for(0.7) == ""
        terminal.type("q")
        assert WELL in terminal.read_to_end()


def test_a_paste_of_any_bytes_does_no_harm(server: Server) -> None:
    with watch(server, "slow") as terminal:
        terminal.read_until("thought 1.")
        terminal.type(bytes(set(range(256)) - {3, 4, 17, 19, 26, 28, ord("q")}) * 8)
        terminal.read_for(0.5)
        terminal.type("q")
        assert WELL in terminal.read_to_end()
    assert "Traceback" not in terminal.output


# Leaving


def test_q_leaves_at_once(server: Server) -> None:
    with watch(server, "slow") as terminal:
        terminal.read_until("thought 1.")
        terminal.type("q")
        assert WELL in terminal.read_to_end()
    assert steps(terminal.output) == [1]


def test_the_end_leaves_the_terminal_as_it_was(server: Server) -> None:
    with watch(server, "slow", "--pace", "instant") as terminal:
        assert WELL in terminal.read_to_end()


@pytest.mark.parametrize("moment", ["playing", "paused"])
def test_ctrl_c_leaves_without_a_complaint_and_the_terminal_as_it_was(server: Server, moment: str) -> None:
    with watch(server, "slow") as terminal:
        terminal.read_until("thought 1.")
        if moment == "paused":
            terminal.type(" ")
            terminal.read_until("paused")
        terminal.type("\x03")
        assert "exit code 130, settings kept" in terminal.read_to_end()
    assert "Traceback" not in terminal.output
    assert "Error" not in terminal.output


def test_an_error_leaves_the_terminal_as_it_was(server: Server) -> None:
    folder = server.log_file.parent
    file = write_recording(folder / "recording.json", make_timed_recording("unshared", 3, HOUR))
    run_here("import", file, folder=folder)
    with watch(server, "unshared") as terminal:
        terminal.read_until("thought 1.")
        run_here("unshare", "unshared", folder=folder)
        assert "exit code 1, settings kept" in terminal.read_to_end()
    (complaint,) = [line for line in terminal.output.splitlines() if line.startswith("Error: ")]
    assert "shared" in complaint


def test_sigterm_leaves_the_terminal_as_it_was(server: Server) -> None:
    with watch(server, "slow") as terminal:
        terminal.read_until("thought 1.")
        children = Path(f"/proc/{terminal.process.pid}/task/{terminal.process.pid}/children").read_text()
        os.kill(int(children.split()[0]), signal.SIGTERM)
        assert "settings kept" in terminal.read_to_end()
    assert "Traceback" not in terminal.output


def test_a_terminal_that_goes_away_ends_it(server: Server) -> None:
    # Without a shell around it, whose end would end it too.
    folder = server.log_file.parent
    master, slave = os.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "share", "watch", "slow"],
        cwd=folder,
        env=environment(folder, SHARE_PORT=str(server.port)),
        stdin=slave,
        stdout=slave,
        stderr=subprocess.DEVNULL,
    ) as process:
        os.close(slave)
        try:
            shown = b""
            while b"thought 1." not in shown:
                shown += os.read(master, 1024)
            os.close(master)
            process.wait(PATIENCE_SECONDS / 2)
        finally:
            process.kill()


# The connection is lost


def test_it_resumes_after_the_server_was_killed_and_says_so(tmp_path: Path) -> None:
    file = write_recording(tmp_path / "run.json", make_timed_recording("run", ROWS, 0.15))
    run_here("import", file, folder=tmp_path)
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(start_server(tmp_path))
        terminal = stack.enter_context(watch(server, "run"))
        terminal.read_until("thought 5.")
        server.stop(signal.SIGKILL)
        terminal.read_until("connection lost")
        stack.enter_context(start_server(tmp_path, SHARE_PORT=str(server.port)))
        terminal.read_until("connected again")
        assert WELL in terminal.read_to_end()
    assert steps(terminal.output) == list(range(1, ROWS + 1))
    assert "Traceback" not in terminal.output


def test_keys_work_also_while_the_connection_is_lost(tmp_path: Path) -> None:
    file = write_recording(tmp_path / "run.json", make_timed_recording("run", ROWS, 0.15))
    run_here("import", file, folder=tmp_path)
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(start_server(tmp_path))
        terminal = stack.enter_context(watch(server, "run"))
        terminal.read_until("thought 5.")
        server.stop(signal.SIGKILL)
        terminal.read_until("connection lost")
        terminal.type(" ")
        terminal.read_until("paused at step")
        terminal.type("+")
        terminal.read_until("speed 1.5")
        stack.enter_context(start_server(tmp_path, SHARE_PORT=str(server.port)))
        terminal.read_until("connected again")
        assert steps(terminal.read_for(1)) == []
        terminal.type(" ")
        terminal.read_until("playing")
        assert WELL in terminal.read_to_end()
    assert steps(terminal.output) == list(range(1, ROWS + 1))


def test_q_leaves_also_while_the_server_is_away(tmp_path: Path) -> None:
    file = write_recording(tmp_path / "run.json", make_timed_recording("run", ROWS, HOUR))
    run_here("import", file, folder=tmp_path)
    with start_server(tmp_path) as server, watch(server, "run") as terminal:
        terminal.read_until("thought 1.")
        server.stop(signal.SIGKILL)
        terminal.read_until("not yet")
        terminal.type("q")
        assert WELL in terminal.read_to_end()


# A run that is going on


async def test_a_run_that_is_going_on_is_followed_with_keys(server: Server) -> None:
    folder = server.log_file.parent
    async with (
        open_database(database_url(folder / "data")) as database,
        Recorder(database, folder / "data").record(description="live", user_id="me") as run,
    ):
        with watch(server, run.interaction_id) as terminal:
            for number in range(1, 6):
                await run.append(data={"thoughts": f"thought {number}."})
            await asyncio.to_thread(terminal.read_until, "thought 5.")
            terminal.type(LEFT)
            await asyncio.to_thread(terminal.read_until, "thought 4.", 2)
            terminal.type(" ")
            await asyncio.to_thread(terminal.read_until, "paused at step 4")
            terminal.type(RIGHT)
            await asyncio.to_thread(terminal.read_until, "thought 5.", 2)
            for number in range(6, 9):
                await run.append(data={"thoughts": f"thought {number}."})
            assert steps(await asyncio.to_thread(terminal.read_for, 0.7)) == []
            for number in range(6, 9):
                terminal.type(RIGHT)
                await asyncio.to_thread(terminal.read_until, f"thought {number}.")
            terminal.type(" ")
            await asyncio.to_thread(terminal.read_until, "playing")
            await run.end("failed", "that was it")
            assert WELL in await asyncio.to_thread(terminal.read_to_end)
    assert steps(terminal.output) == [1, 2, 3, 4, 5, 4, 5, 6, 7, 8]
    assert "that was it" in terminal.output


# In a pipe


def test_in_a_pipe_it_is_plain(server: Server) -> None:
    done = watch_piped(server, "quick")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    assert steps(done.stdout) == list(range(1, ROWS + 1))


def test_what_is_piped_into_it_are_no_keys(server: Server) -> None:
    command = f"yes ' q' | head -100 | {sys.executable} -m share watch quick --pace 0.01"
    done = run("-c", command, folder=server.log_file.parent, program=("sh",), SHARE_PORT=str(server.port))
    assert (done.returncode, done.stderr) == (0, "")
    assert steps(done.stdout) == list(range(1, ROWS + 1))


def test_a_keyboard_alone_makes_no_keys_where_the_output_goes_into_a_pipe(server: Server) -> None:
    master, slave = os.openpty()
    os.write(master, b" q")
    try:
        done = subprocess.run(
            [sys.executable, "-m", "share", "watch", "quick", "--pace", "0.05"],
            cwd=server.log_file.parent,
            env=environment(server.log_file.parent, SHARE_PORT=str(server.port)),
            stdin=slave,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
    finally:
        os.close(master)
        os.close(slave)
    assert (done.returncode, done.stderr) == (0, "")
    assert steps(done.stdout) == list(range(1, ROWS + 1))


# Options


@pytest.mark.parametrize(
    "options",
    [
        ("--pace", "instant"),
        ("--pace", "0"),
        ("--pace", "0.02"),
        ("--idle-time-limit", "0"),
        ("--idle-time-limit", "0.02"),
        ("--pace", "2", "--speed", "100"),
    ],
)
def test_an_option_makes_hours_pass_in_no_time(server: Server, options: tuple[str, ...]) -> None:
    done = watch_piped(server, "slow", *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert steps(done.stdout) == list(range(1, ROWS + 1))


def test_the_pace_is_kept(server: Server) -> None:
    began = time.monotonic()
    assert watch_piped(server, "slow", "--pace", "0.1").returncode == 0
    assert time.monotonic() - began >= (ROWS - 1) * 0.1


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--pace", "nonsense"), "recorded, classic, instant or a number of seconds"),
        (("--pace", "-1"), "recorded, classic, instant or a number of seconds"),
        (("--pace", "nan"), "recorded, classic, instant or a number of seconds"),
        (("--pace", "inf"), "recorded, classic, instant or a number of seconds"),
        (("--pace", ""), "recorded, classic, instant or a number of seconds"),
        (("--speed", "0"), "0.1<=x<=100"),
        (("--speed", "101"), "0.1<=x<=100"),
        (("--speed", "nan"), "--speed"),
        (("--speed", "fast"), "--speed"),
        (("--idle-time-limit", "-1"), "0<=x<=86400"),
        (("--idle-time-limit", "nan"), "--idle-time-limit"),
    ],
)
def test_an_option_that_cannot_be_is_an_error_in_one_line_that_says_what_can(
    server: Server, options: tuple[str, ...], expected: str
) -> None:
    done = watch_piped(server, "quick", *options)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert done.stderr.splitlines()[-1] == line
    assert expected in line
    assert "Traceback" not in done.stderr


def test_classic_pace_waits_whole_seconds(server: Server) -> None:
    began = time.monotonic()
    assert watch_piped(server, "slow", "--pace", "classic", "--speed", "100").returncode == 0
    assert time.monotonic() - began >= (ROWS - 1) * 0.01


# Links


@pytest.fixture(scope="module")
def token(server: Server) -> str:
    """A share link to the recording `quick` that takes one viewer."""

    async def make() -> str:
        async with open_database(database_url(server.log_file.parent / "data")) as database:
            gateway = Gateway(database)
            _, token = await LinkCRUD(gateway).add_link("quick", "author", max_views=1)
            await gateway.drain()
            return token

    return asyncio.run(make())


@pytest.mark.parametrize("decoration", ["", "?a=b", "#step=3"])
def test_a_link_says_which_recording_and_where_and_is_counted(server: Server, token: str, decoration: str) -> None:
    folder = server.log_file.parent
    watched = run_here("watch", f"{server.http_url}/s/{token}{decoration}", "--pace", "instant", folder=folder)
    if decoration == "":
        assert steps(watched.stdout) == list(range(1, ROWS + 1))
    else:  # it takes one viewer, and each run of the command is a new one
        assert (watched.returncode, watched.stdout) == (1, "")
        assert "There is no such link" in watched.stderr


def test_the_address_of_a_recording_will_do(server: Server) -> None:
    folder = server.log_file.parent
    watched = run_here("watch", f"{server.http_url}/r/quick", "--pace", "instant", folder=folder)
    assert steps(watched.stdout) == list(range(1, ROWS + 1))


@pytest.mark.parametrize("link", ["http://127.0.0.1/", "ftp://x/s/abc", "://", "http:///s/abc", "http://127.0.0.1/s/"])
def test_what_is_no_link_is_an_error_in_a_line(server: Server, link: str) -> None:
    watched = run_here("watch", link, folder=server.log_file.parent)
    assert watched.returncode == 1
    assert len(watched.stderr.splitlines()) == 1
