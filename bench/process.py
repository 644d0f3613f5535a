"""A server's process: pinned to one core, its CPU time and its memory."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, CLIENT_CORE = CORES[0], CORES[-1]
PATIENCE_SECONDS = 60


class BenchError(Exception):
    """Something that was to be measured didn't happen; the message says what."""


def pin(core: int) -> None:
    """Keep this process, and those that it starts from now on, on one core."""
    os.sched_setaffinity(0, {core})


def status_bytes(pid: int, name: str) -> int | None:
    """What /proc/PID/status says of a process' memory by that name; None of one that has ended."""
    found = re.search(rf"^{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return None if found is None else int(found[1]) * 1024


@dataclass(frozen=True)
class Server:
    """A server that runs, and serves since `start_seconds` after it was started."""

    name: str
    process: subprocess.Popen[bytes]
    port: int
    log_file: Path
    start_seconds: float = 0.0

    def cpu_seconds(self) -> float:
        """The CPU time that the process has used, all of its threads together, those that have ended, too.

        What /proc/PID/stat calls utime + stime, in nanoseconds instead of hundredths of a second.
        """
        return time.clock_gettime((~self.process.pid << 3) | 2)  # clock_getcpuclockid(3)

    def rss_bytes(self) -> int:
        return self._status("VmRSS")

    def peak_bytes(self) -> int:
        """The most memory that it has had since `forget_peak`."""
        return self._status("VmHWM")

    def forget_peak(self) -> None:
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def _status(self, name: str) -> int:
        size_bytes = status_bytes(self.process.pid, name)
        if size_bytes is None:
            raise BenchError(f"{self.name} has ended\n{self.log()}")
        return size_bytes

    def log(self) -> str:
        return self.log_file.read_text("utf-8", "replace")[-2000:]

    def settle(self, seconds: float = 10) -> None:
        """Return when it has nothing to do any more."""
        deadline = time.monotonic() + seconds
        used, before = self.cpu_seconds(), -1.0
        while used - before > 0.002 and time.monotonic() < deadline:
            time.sleep(0.1)
            before, used = used, self.cpu_seconds()


@contextlib.contextmanager
def run_server(
    name: str, command: Sequence[str | Path], port: int, folder: Path, path: str = "/", **variables: str
) -> Iterator[Server]:
    """Run a server in `folder` until the block ends; it answers `path` already."""
    log_file = folder / f"{name}-{port}.log"
    kept = {key: value for key, value in os.environ.items() if not key.startswith("SHARE_")}
    with log_file.open("wb") as output:
        pin(SERVER_CORE)  # which the new process inherits
        try:
            began = time.perf_counter()
            process = subprocess.Popen(
                [str(part) for part in command],
                cwd=folder,
                env=kept | variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        finally:
            pin(CLIENT_CORE)
    server = Server(name, process, port, log_file)
    try:
        _wait_until_it_answers(server, path)
        yield replace(server, start_seconds=time.perf_counter() - began)
    finally:
        _stop(process)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _wait_until_it_answers(server: Server, path: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline and server.process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_SECONDS)
        try:
            connection.request("GET", path)
            connection.getresponse().read()
            return
        except OSError:
            time.sleep(0.001)
        finally:
            connection.close()
    raise BenchError(f"{server.name} doesn't answer, exit code {server.process.poll()}\n{server.log()}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
