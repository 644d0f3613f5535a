"""Real processes and real sockets: the server, the command line, a terminal, and a viewer who does as he is told."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Self

import uvicorn
from click.testing import CliRunner
from starlette.types import ASGIApp
from websockets.client import ClientProtocol
from websockets.frames import Close, Frame, Opcode
from websockets.uri import parse_uri

from share.cli import main
from tests.any_database import databases

CHECKOUT = Path(__file__).parent.parent
GOLDEN = CHECKOUT / "tests" / "data" / "golden"
SWE_AGENT = CHECKOUT / "tests" / "data" / "swe-agent"

SHORT = "5525102f49f55a78b0c019e2eb015add"
EDGE = "99d6e00b5c175a3c9826fc2cfe08dd2a"
RUNNING = "00afa0926ced59fda860d052711a577f"

PATIENCE_SECONDS = 60
"""For what is bound to happen soon, on a machine that may be busy."""

SERVE = (sys.executable, "-m", "share", "serve")
UVICORN = (sys.executable, "-m", "uvicorn", "app:app", "--port", "0", "--app-dir", str(CHECKOUT))

# The superuser may open every file: for what is about permissions he drops that power, and keeps his name.
_DROP_POWERS = """
import ctypes, os, sys
for power in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    assert ctypes.CDLL(None).prctl(24, power, 0, 0, 0) == 0  # PR_CAPBSET_DROP
os.execv(sys.argv[1], sys.argv[1:])
"""
# What a shell is to a command that reads keys: Ctrl-C reaches the command, and the shell outlives it.
_SHELL = """
import fcntl, signal, subprocess, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGINT, lambda *arguments: None)
before = termios.tcgetattr(0)
code = subprocess.call(sys.argv[1:])
kept = "kept" if termios.tcgetattr(0) == before else "changed"
termios.tcsetattr(0, termios.TCSANOW, before)
print(f"exit code {code}, settings {kept}")
"""
UNPRIVILEGED = (sys.executable, "-c", _DROP_POWERS) if os.geteuid() == 0 else ()


def environment(folder: Path, **variables: str) -> dict[str, str]:
    """This process's environment, with no `SHARE_…` in it but `variables`, and the database of `folder`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SHARE_")}
    return kept | {"COLUMNS": "200"} | databases.variables(folder, variables) | variables


def golden_frames(transcript: str) -> list[str]:
    """What the original server sent in a transcript, hearbeats left out."""
    lines = (GOLDEN / f"{transcript}.frames.jsonl").read_text("utf-8").splitlines()
    frames = [event["text"] for event in map(json.loads, lines) if event["event"] == "recv"]
    return [frame for frame in frames if '"pong"' not in frame]


def make_recording(
    interaction_id: str, rows: int, text: str = "", workspace: dict[str, str] | None = None
) -> dict[str, Any]:
    """An XAgent recording of so many rows, each with `text` in it."""
    raws = [
        {
            "node_id": f"{interaction_id}-{step}",
            "interaction_id": interaction_id,
            "current": "1.1",
            "step": step,
            "status": "inner" if step < rows - 1 else "finished",
            "data": {"thoughts": text, "using_tools": {"tool_name": "ls", "tool_input": {}, "tool_output": "a.txt"}},
        }
        for step in range(rows)
    ]
    interaction = {
        "interaction_id": interaction_id,
        "user_id": "guest",
        "create_time": "2023-11-17 10:00:00",
        "description": f"the run {interaction_id}",
        "status": "finished",
    }
    return {"interaction": interaction, "raws": raws, "workspace": workspace or {}}


def make_timed_recording(interaction_id: str, rows: int, interval_seconds: float) -> dict[str, Any]:
    """An XAgent recording whose rows were recorded at this interval, `thought 1.` and so on in them."""
    recording = make_recording(interaction_id, rows)
    for number, raw in enumerate(recording["raws"]):
        raw["create_time"] = str(datetime(2023, 11, 17, 10) + timedelta(seconds=number * interval_seconds))
        raw["data"]["thoughts"] = f"thought {number + 1}."
    return recording


def write_recording(path: Path, recording: dict[str, Any]) -> Path:
    path.write_text(json.dumps(recording))
    return path


def run(
    *arguments: str | Path,
    folder: Path,
    program: Sequence[str] = (sys.executable, "-m", "share"),
    **variables: str,
) -> subprocess.CompletedProcess[str]:
    """Run a command of `replay-share` in `folder`, where its `./data` is then."""
    return subprocess.run(
        [*program, *map(str, arguments)],
        cwd=folder,
        env=environment(folder, **variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def run_here(*arguments: str | Path, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """The same in this process, ten times as fast: for what doesn't depend on how a process starts and ends."""
    changed = {name: None for name in os.environ if name.startswith("SHARE_")}
    changed |= databases.variables(folder, variables) | variables
    command = partial(CliRunner().invoke, main, list(map(str, arguments)), prog_name="replay-share", env=changed)
    with contextlib.chdir(folder), ThreadPoolExecutor(1) as thread:  # a thread has no loop yet, whoever calls
        result = thread.submit(command).result()
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return subprocess.CompletedProcess(arguments, result.exit_code, result.stdout, result.stderr)


class Server:
    """A server in a process of its own: where it is, and what it has written so far."""

    def __init__(self, process: subprocess.Popen[bytes], log_file: Path) -> None:
        self.process = process
        self.log_file = log_file
        self.port = 0

    @property
    def log(self) -> str:
        return self.log_file.read_text("utf-8", "replace")

    @property
    def http_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def url(self, interaction_id: str = SHORT, query: str = "") -> str:
        return f"ws://127.0.0.1:{self.port}/ws/share/{interaction_id}{query}"

    def wait_until_ready(self) -> None:
        """Return when it answers. It is on a free port, and says which in its log."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            if said := re.search(r"running on http://127\.0\.0\.1:(\d+)", self.log):
                self.port = int(said[1])
                with contextlib.suppress(OSError):
                    get(f"{self.http_url}/")
                    return
            time.sleep(0.02)
        raise AssertionError(f"the server doesn't answer, exit code {self.process.poll()}\n{self.log}")

    def wait_for_log(self, text: str, times: int = 1) -> str:
        """The log, when `text` stands in it so many times."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.log.count(text) < times:
            assert time.monotonic() < deadline, f"not {times} times in the log: {text!r}\n{self.log}"
            time.sleep(0.02)
        return self.log

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal, and return the exit code when the process has ended."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"{number.name} doesn't end the server\n{self.log}") from None

    def count(self, what: str) -> int:
        """How many of `fd` or `task` (threads) the process has."""
        return len(list(Path(f"/proc/{self.process.pid}/{what}").iterdir()))


@contextlib.contextmanager
def start_server(folder: Path, program: Sequence[str] = SERVE, **variables: str) -> Iterator[Server]:
    """A server that runs in `folder`, where its `./data` is then, on a free port."""
    log_file = folder / f"server-{time.monotonic_ns()}.log"
    with log_file.open("wb") as output:
        process = subprocess.Popen(
            program,
            cwd=folder,
            env=environment(folder, **{"SHARE_PORT": "0"} | variables),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    server = Server(process, log_file)
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.stop()


def get(url: str) -> tuple[int, str]:
    """Status and body of an HTTP answer. Raises OSError where there is none."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=PATIENCE_SECONDS) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@contextlib.asynccontextmanager
async def serve_here(app: ASGIApp, **options: Any) -> AsyncIterator[int]:
    """Serve `app` by uvicorn in the running loop; the port."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, lifespan="on", **options))
    serving = asyncio.create_task(server.serve(), name="uvicorn")
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not server.started:
                assert not serving.done(), await serving
                await asyncio.sleep(0.01)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await serving


class RawViewer:
    """A WebSocket client that does what it is told and no more: reads nothing, answers nothing by itself."""

    def __init__(self, sock: socket.socket, protocol: ClientProtocol) -> None:
        self.socket = sock
        self.protocol = protocol
        self.frames: list[Frame] = []

    @classmethod
    async def connect(cls, url: str, *, receive_buffer_bytes: int | None = None, wait: bool = True) -> Self:
        """Connect; with `wait`, return when the server has accepted, else when it has been asked to."""
        uri = parse_uri(url)
        sock = socket.socket()
        sock.setblocking(False)
        if receive_buffer_bytes is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        viewer = cls(sock, ClientProtocol(uri))
        viewer.protocol.send_request(viewer.protocol.connect())
        request = b"".join(viewer.protocol.data_to_send())
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.get_running_loop().sock_connect(sock, (uri.host, uri.port))
            await viewer._send(request)
            answer = b""
            while wait and b"\r\n\r\n" not in answer:
                answer += await asyncio.get_running_loop().sock_recv(sock, 1)
                assert answer, "the server has hung up"
        viewer.protocol.receive_data(answer)
        return viewer

    def __del__(self) -> None:
        self.socket.close()  # where a test has failed before it did

    async def send(self, message: str | bytes, opcode: Opcode = Opcode.TEXT) -> None:
        """Send a message, whatever state the connection is in."""
        data = message.encode() if isinstance(message, str) else message
        await self._send(Frame(opcode, data).serialize(mask=True))

    async def send_close(self) -> None:
        await self.send(Close(1000, "").serialize(), Opcode.CLOSE)

    async def receive(self, count: int) -> None:
        """Read until `count` more frames are here, or the server has hung up."""
        count += len(self.frames)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(self.frames) < count and await self._read():
                pass

    async def receive_close(self) -> int | None:
        """Read until the server's close frame, answer it, and read until the server has hung up; the code."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while self.protocol.close_rcvd is None:
                assert await self._read(), "the server has hung up without a close frame"
        await self.send_close()
        return await self.receive_to_end()

    async def receive_to_end(self) -> int | None:
        """Read until the server has hung up; the code of its close frame, None where there was none."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await self._read():
                pass
        closed = self.protocol.close_rcvd
        return None if closed is None else closed.code

    def reset(self) -> None:
        """Leave by a TCP reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def half_close(self) -> None:
        """Say by TCP that nothing more will come, without a close frame, and go on listening."""
        self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.socket.close()

    async def _read(self) -> bool:
        try:
            data = await asyncio.get_running_loop().sock_recv(self.socket, 65536)
        except ConnectionError:
            return False
        if data:
            self.protocol.receive_data(data)
            self._take_frames()
        return bool(data)

    def _take_frames(self) -> None:
        self.frames += [event for event in self.protocol.events_received() if isinstance(event, Frame)]

    async def _send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.socket, data)


class Terminal:
    """A command of `replay-share` on a terminal of its own, so that it shows what it shows to a person.

    With a `keyboard` there is a shell around it, which says at its end how it has ended.
    """

    def __init__(self, *arguments: str | Path, folder: Path, keyboard: bool = False, **variables: str) -> None:
        self.output = ""
        shell = [sys.executable, "-c", _SHELL] if keyboard else []
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 120, 0, 0))
        try:
            self.process = subprocess.Popen(
                [*shell, sys.executable, "-m", "share", *map(str, arguments)],
                cwd=folder,
                env=environment(folder, TERM="xterm-256color", **variables),
                stdin=slave if keyboard else subprocess.DEVNULL,
                stdout=slave,
                stderr=slave,
                start_new_session=keyboard,
            )
        finally:
            os.close(slave)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._master)

    def type(self, keys: str | bytes) -> None:
        """Press keys, one after the other with nothing in between."""
        os.write(self._master, keys.encode() if isinstance(keys, str) else keys)

    def read_until(self, text: str, times: int = 1) -> str:
        """Everything that was shown, when `text` was, so many times."""
        self._read(lambda: self.output.count(text) >= times)
        return self.output

    def read_for(self, seconds: float) -> str:
        """What is shown in the next seconds."""
        shown, deadline = len(self.output), time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if select.select([self._master], [], [], left)[0]:
                before = len(self.output)
                self._read(lambda: len(self.output) > before)  # noqa: B023
        return self.output[shown:]

    def read_to_end(self) -> str:
        """Everything that was shown, when the command has ended."""
        self._read(lambda: False)
        self.process.wait(PATIENCE_SECONDS)
        return self.output

    def _read(self, enough: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not enough():
            ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"nothing more comes:\n{self.output}"
            try:
                data = os.read(self._master, 65536)
            except OSError:  # EIO: nobody has the other side open any more
                return
            if not data:
                return
            self.output += data.decode("utf-8", "replace").replace("\r\n", "\n")
