"""How the server starts, what it says in its log, and what it never says."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest
import uvicorn
from websockets.asyncio.client import connect

from share import XAgentServerEnv, serving
from share.direct_protocol import DirectProtocol
from tests.server import (
    EDGE,
    GOLDEN,
    PATIENCE_SECONDS,
    SERVE,
    SHORT,
    UVICORN,
    RawViewer,
    Server,
    get,
    golden_frames,
    make_recording,
    run,
    run_here,
    start_server,
    write_recording,
)

BOTH = pytest.mark.parametrize("program", [SERVE, UVICORN], ids=["serve", "uvicorn"])

CONNECTED, *ROWS = golden_frames("normal_short")


async def play(server: Server, query: str = "") -> list[str]:
    async with connect(server.url(query=query)) as connection:
        frames = [str(await connection.recv())]
        await connection.send('{"type": "shared"}')
        return frames + [str(await connection.recv()) for _ in ROWS]


def import_golden(folder: Path) -> None:
    done = run_here("import", GOLDEN / "short.recording.json", GOLDEN / "edge.recording.json", folder=folder)
    assert done.returncode == 0, done.stderr


# With nothing set


@BOTH
@pytest.mark.sqlite
async def test_with_nothing_set_it_makes_its_database_in_data_and_says_where_things_are(
    tmp_path: Path, program: tuple[str, ...]
) -> None:
    with start_server(tmp_path, program) as server:
        assert (tmp_path / "data" / "replay.db").read_bytes().startswith(b"SQLite format 3")
        assert "sqlite:///data/replay.db" in server.log
        assert f"files under {tmp_path / 'data'}" in server.log
        assert "no recordings yet" in server.log
        assert "replay-share import" in server.log
        async with connect(server.url()) as connection:
            assert '"success": false' in str(await connection.recv())
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".log"] == ["data"]


@BOTH
async def test_it_says_which_recordings_it_has_and_plays_them(tmp_path: Path, program: tuple[str, ...]) -> None:
    import_golden(tmp_path)
    run_here("unshare", EDGE, folder=tmp_path)
    with start_server(tmp_path, program, SHARE_PAUSE_SECONDS="0") as server:
        (short,) = re.findall(rf".*{SHORT}.*", server.log)
        (edge,) = re.findall(rf".*{EDGE}.*", server.log)
        assert "shared" in short
        assert "short run" in short
        assert "private" in edge
        assert await play(server) == [CONNECTED, *ROWS]
    assert "Traceback" not in server.log


def test_of_many_recordings_it_names_the_newest(tmp_path: Path) -> None:
    files = []
    for number in range(30):
        recording = make_recording(f"run{number:02}", 1)
        recording["interaction"]["create_time"] = f"2023-11-17 10:00:{number:02}"
        files.append(write_recording(tmp_path / f"{number}.json", recording))
    run_here("import", *files, folder=tmp_path)
    with start_server(tmp_path) as server:
        named = re.findall(r"recording (run\d\d)", server.log)
    assert named == [f"run{number:02}" for number in range(29, 9, -1)]
    assert "replay-share list" in server.log


def test_many_processes_may_start_on_a_database_that_is_not_there_yet(tmp_path: Path) -> None:
    with start_server(tmp_path, (*UVICORN, "--workers", "4")) as server:
        server.wait_for_log("Application startup complete", 4)
    assert "Traceback" not in server.log
    assert "ERROR" not in server.log


def test_where_a_title_has_line_breaks_the_log_has_none(tmp_path: Path) -> None:
    recording = make_recording("forged", 1)
    recording["interaction"]["description"] = "a title\n2023-11-17 INFO forged \x1b[2J"
    run_here("import", write_recording(tmp_path / "forged.json", recording), folder=tmp_path)
    with start_server(tmp_path) as server:
        pass
    assert "\n2023-11-17 INFO forged" not in server.log
    assert "\x1b" not in server.log


# Settings


@BOTH
@pytest.mark.sqlite
def test_a_file_named_env_is_read_and_the_environment_comes_first(tmp_path: Path, program: tuple[str, ...]) -> None:
    (tmp_path / ".env").write_text('# settings\nSHARE_BASE_DIR="else where"\nSHARE_LOG_LEVEL=DEBUG\n')
    with start_server(tmp_path, program, SHARE_LOG_LEVEL="INFO") as server:
        assert (tmp_path / "else where" / "replay.db").is_file()
        assert not (tmp_path / "data").exists()
        assert " DEBUG " not in server.log


@BOTH
def test_a_wrong_value_in_the_file_named_env_stops_the_start(tmp_path: Path, program: tuple[str, ...]) -> None:
    (tmp_path / ".env").write_text("SHARE_MAX_VIEWERS=many\n")
    done = run(folder=tmp_path, program=program)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert [line for line in done.stderr.splitlines() if "SHARE_MAX_VIEWERS" in line] == done.stderr.splitlines()


@BOTH
def test_a_port_that_is_taken_is_a_clear_line_and_an_exit_code(tmp_path: Path, program: tuple[str, ...]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        if program == UVICORN:
            program = tuple(port if argument == "0" else argument for argument in program)
        done = run(folder=tmp_path, program=program, SHARE_PORT=port)
    assert done.returncode not in (0, None)
    assert "Traceback" not in done.stderr
    assert len(re.findall(rf"(?i)error.*{port}.*in use", done.stderr)) == 1, done.stderr


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid"])
def test_a_host_that_is_not_this_machine_is_a_clear_line_and_an_exit_code(tmp_path: Path, host: str) -> None:
    done = run("serve", folder=tmp_path, SHARE_HOST=host, SHARE_PORT="0")
    assert done.returncode not in (0, None)
    assert "Traceback" not in done.stderr
    assert len(re.findall(f"(?i)error.*{host}", done.stderr)) == 1, done.stderr


# What it never says


@BOTH
@pytest.mark.parametrize("level", ["INFO", "DEBUG"])
async def test_the_token_is_never_written_anywhere(tmp_path: Path, program: tuple[str, ...], level: str) -> None:
    import_golden(tmp_path)
    with start_server(tmp_path, program, SHARE_PAUSE_SECONDS="0", SHARE_LOG_LEVEL=level) as server:
        queries = [
            "?token=SECRET",
            "?user_id=guest&token=SECRET",
            "?token=%53ECRET",
            "?token=S%45CRET&x=%0a",
            "??a=SECRET",
        ]
        for query in queries:
            assert await play(server, query) == [CONNECTED, *ROWS]
            for path in ("/", "/nosuchpage", f"/ws/share/{SHORT}", "/ws/replay/x"):
                assert get(f"{server.http_url}{path}{query}")[0] == (200 if path == "/" else 404)
            for path in (f"ws/replay/{SHORT}", f"ws/replay/{SHORT}/", "ws/share/nosuch", "ws/share/a/b", "nosuch"):
                viewer = await RawViewer.connect(f"ws://127.0.0.1:{server.port}/{path}{query}")
                viewer.close()
        log = server.wait_for_log(f"{SHORT}: disconnected", 2 * len(queries))
    assert not re.search("secret|%53ECRET|S%45CRET", log, re.IGNORECASE)
    assert "WebSocket /ws/share/" in log, "the access log itself is there"
    written = b"".join(path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file())
    assert b"SECRET" not in written
    assert SHORT.encode() in written


@BOTH
async def test_the_token_is_not_written_either_when_a_mail_program_has_quoted_the_question_mark(
    tmp_path: Path, program: tuple[str, ...]
) -> None:
    with start_server(tmp_path, program) as server:
        viewer = await RawViewer.connect(server.url(f"{SHORT}%3Fuser_id=guest&token=SECRET"))
        viewer.close()
        get(f"{server.http_url}/ws/share/{SHORT}%3ftoken%3dSECRET")
        log = server.wait_for_log("404")
    assert "SECRET" not in log


@BOTH
async def test_nobody_can_forge_a_line_of_the_log(tmp_path: Path, program: tuple[str, ...]) -> None:
    import_golden(tmp_path)
    forged = "%0d%0aFORGED%1b[2J%e2%80%a8FORGED"
    with start_server(tmp_path, program, SHARE_LOG_LEVEL="DEBUG") as server:
        for url in (server.url(forged), server.url(query=f"?user_id={forged}")):
            viewer = await RawViewer.connect(url)
            await viewer.send('{"type": "\r\nFORGED\x1b[2J"}')
            await viewer.send_close()
            await viewer.receive_to_end()
            viewer.close()
        get(f"{server.http_url}/{forged}")
        server.wait_for_log("404")
    log = server.log + "".join(path.read_text("utf-8") for path in (tmp_path / "data").rglob("share.log"))
    assert "FORGED" in log
    assert not re.search("^FORGED", log, re.MULTILINE)
    assert not {"\x1b", "\r", "\u2028"} & set(log)


# What `replay-share serve` sets


@pytest.fixture
def listener(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> socket.socket:
    """The listening socket that `run_server` has made."""
    made: list[socket.socket] = []

    def keep(self: uvicorn.Server, sockets: list[socket.socket]) -> None:
        assert self.config.ws is DirectProtocol
        made.extend(sockets)

    monkeypatch.setattr(uvicorn.Server, "run", keep)
    monkeypatch.setattr(serving, "configure_logging", lambda *settings: None)
    serving.run_server(XAgentServerEnv(base_dir=tmp_path / "data", port=0))
    (listener,) = made
    return listener


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="only Linux has TCP_USER_TIMEOUT")
def test_the_operating_system_gives_up_on_a_viewer_who_does_not_read(listener: socket.socket) -> None:
    listener.listen()
    with listener, socket.create_connection(listener.getsockname(), PATIENCE_SECONDS):
        accepted, _ = listener.accept()
        with accepted:
            timeout = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
    assert timeout == serving.UNACKNOWLEDGED_MS > 0


async def test_serve_negotiates_no_compression_with_a_client_that_offers_it(tmp_path: Path) -> None:
    with start_server(tmp_path) as server:
        async with connect(server.url(), compression="deflate") as connection:
            assert connection.response is not None
            assert "Sec-WebSocket-Extensions" not in connection.response.headers
            assert connection.protocol.extensions == []


def test_serve_listens_where_the_settings_say(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with start_server(tmp_path, SHARE_HOST="127.0.0.1", SHARE_PORT=str(port)) as server:
        assert server.port == port
