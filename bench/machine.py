"""What it was measured on."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sqlite3
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .process import CLIENT_CORE, CORES, SERVER_CORE
from .servers import PEERS

_PACKAGES = ("uvicorn", "uvloop", "websockets", "starlette", "orjson", "aiosqlite", "picows", "fastapi", "sqlalchemy")


def describe() -> dict[str, str]:
    """The machine and the versions of what runs on it."""
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "CPU": found[1] if found else platform.machine(),
        "cores": f"{os.cpu_count()}, {len(CORES)} for us: server on {SERVER_CORE}, client on {CLIENT_CORE}",
        "kernel": platform.release(),
        "Python": platform.python_version(),
        "SQLite": sqlite3.sqlite_version,
        "node": _say("node", "--version").removeprefix("v"),
        "ws": _ws_version(),
        **{name: _version(name) for name in _PACKAGES},
        "commit": _say("git", "describe", "--always", "--dirty"),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _ws_version() -> str:
    package = PEERS / "node" / "node_modules" / "ws" / "package.json"
    found = re.search(r'"version": "([^"]+)"', package.read_text()) if package.exists() else None
    return found[1] if found else "not installed"


def _say(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return "not installed"
    done = subprocess.run(command, cwd=PEERS, capture_output=True, text=True, timeout=10, check=False)
    return done.stdout.strip() or "unknown"
