"""Putting recordings in: by the command, and over HTTP."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from share.settings import XAgentServerEnv
from share.store import open_store
from storage.users import UserCRUD

from .figures import Line, at_least, at_most, ratios
from .process import CLIENT_CORE, SERVER_CORE, BenchError, Server, pin, status_bytes
from .rows import ROW_BYTES, make_rows
from .servers import PEERS, ours

IMPORT_ROWS = 100_000
COMMAND_SECONDS = 180
UPLOAD_ROWS, UPLOAD_ROW_BYTES = 11_800, 8192  # at most 100 MB and 20,000 rows are taken


def write_recording(path: Path, name: str, rows: int, size_bytes: int = ROW_BYTES) -> Path:
    """Write the file of a recording as XAgent exports it."""
    interaction = {"interaction_id": name, "user_id": "guest", "description": "a run", "status": "finished"}
    with path.open("w", encoding="utf-8") as file:
        file.write(f'{{"interaction": {json.dumps(interaction)}, "raws": [')
        for row in make_rows(name, rows, size_bytes):
            comma = "," if row.step else ""
            rest = {"node_id": row.node_id, "interaction_id": name, "current": row.current, "step": row.step}
            rest |= {"status": row.status, "create_time": row.create_time}
            file.write(f'{comma}\n{{"data": {row.data}, {json.dumps(rest)[1:]}')
        file.write("]}")
    return path


def measure_import(folder: Path, *, rounds: int = 3) -> Iterator[Line]:
    """The whole command, from its start to its end, beside a script that checks nothing."""
    file = write_recording(folder / "large.json", "large", IMPORT_ROWS)
    seconds: dict[str, list[float]] = {"plain": [], "import": []}
    cpu, peaks = [], []
    for turn in range(rounds):
        here = folder / str(turn)
        here.mkdir()
        took, _, _ = _run([sys.executable, str(PEERS / "plain_import.py"), str(file), str(here / "plain.db")], here)
        seconds["plain"].append(took)
        took, used, peak = _run([sys.executable, "-m", "share", "import", str(file)], here)
        seconds["import"].append(took)
        cpu.append(used)
        peaks.append(peak / 1e6)
    line = Line(f"`replay-share import` of {IMPORT_ROWS:,} rows of 2 KB")
    line.add("import", "rows/s", [IMPORT_ROWS / each for each in seconds["import"]], at_least(50_000))
    line.add("a script that checks nothing", "rows/s", [IMPORT_ROWS / each for each in seconds["plain"]])
    line.add("import, by its CPU time", "rows/s", [IMPORT_ROWS / each for each in cpu])
    line.add("script / import, time", "×", ratios(seconds["plain"], seconds["import"]))
    line.add("peak memory of the process", "MB", peaks)
    yield line


def _run(command: list[str], folder: Path) -> tuple[float, float, int]:
    # Seconds, those of the CPU, and the peak of the memory in bytes.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SHARE_")}
    pin(SERVER_CORE)
    try:
        began = time.perf_counter()
        with (folder / "command.log").open("ab") as log:
            environment["SHARE_BASE_DIR"] = str(folder / "data")
            process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    finally:
        pin(CLIENT_CORE)
    usage, status, peak = _wait(process)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise BenchError(f"{command}: exit code {process.returncode}\n{(folder / 'command.log').read_text()[-1000:]}")
    return seconds, usage.ru_utime + usage.ru_stime, peak


def _wait(process: subprocess.Popen[bytes]) -> tuple[resource.struct_rusage, int, int]:
    deadline, peak = time.monotonic() + COMMAND_SECONDS, 0
    while time.monotonic() < deadline:
        # Not ru_maxrss: what this process had when it started the other counts there, too.
        peak = status_bytes(process.pid, "VmHWM") or peak
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            return usage, status, peak
        time.sleep(0.01)
    process.kill()
    process.wait()
    raise BenchError(f"{process.args!r} hasn't ended after {COMMAND_SECONDS} s")


def measure_upload(folder: Path, *, rounds: int = 3) -> Iterator[Line]:
    """Into a server that has just taken a small one."""
    small = write_recording(folder / "small.json", "small", 10)
    large = write_recording(folder / "large.json", "large", UPLOAD_ROWS, UPLOAD_ROW_BYTES)
    peaks, seconds = [], []
    for turn in range(rounds):
        here = folder / str(turn)
        here.mkdir()
        token = asyncio.run(_add_user(here))
        with ours(here) as server:
            _upload(server, small, token)
            server.settle()
            idle = server.rss_bytes()
            server.forget_peak()
            began = time.perf_counter()
            _upload(server, large, token)
            seconds.append(time.perf_counter() - began)
            peaks.append((server.peak_bytes() - idle) / 1e6)
    line = Line(f"upload of a recording of {large.stat().st_size / 1e6:.0f} MB, {UPLOAD_ROWS:,} rows")
    line.add("peak memory above idle", "MB", peaks, at_most(64))
    line.add("until it is answered", "s", seconds)
    yield line


async def _add_user(folder: Path) -> str:
    async with open_store(XAgentServerEnv(base_dir=folder)) as gateway:
        user = await UserCRUD(gateway).add_user("bench@example.org", "bench")
        if user is None or user.token is None:
            raise BenchError("the user couldn't be made")
        return user.token


def _upload(server: Server, path: Path, token: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120, blocksize=256 * 1024)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    headers["Content-Length"] = str(path.stat().st_size)
    try:
        with path.open("rb") as file:
            connection.request("POST", "/api/v1/recordings", file, headers)
        response = connection.getresponse()
        answer = response.read()
    finally:
        connection.close()
    if response.status != 201:
        raise BenchError(f"upload of {path.name}: {response.status} {answer[:500].decode()}")
