"""Ours, and those that it is compared with."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .process import BenchError, Server, free_port, run_server
from .rows import frame_text

PEERS = Path(__file__).parent / "peers"

# Frames above 128 KB are otherwise taken from the system and given back one by one, which is most of what they cost
# (measured at 512 KB: 2,700 a CPU second, or 9,700), and some runs are spared it by chance.
_KEEPS_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(32 * 1024 * 1024), "MALLOC_TRIM_THRESHOLD_": str(256 * 1024 * 1024)}


@contextmanager
def ours(folder: Path, **settings: str) -> Iterator[Server]:
    """`replay-share serve` over the database in `folder`, without classic's pauses."""
    port = free_port()
    settings = {"SHARE_PAUSE_SECONDS": "0", "SHARE_BASE_DIR": str(folder), "SHARE_PORT": str(port)} | settings
    with run_server("ours", [sys.executable, "-m", "share", "serve"], port, folder, "/healthz", **settings) as server:
        yield server


@contextmanager
def bare(folder: Path) -> Iterator[Server]:
    """The ASGI callable that does nothing but send; texts are in `folder`."""
    port = free_port()
    command = [sys.executable, PEERS / "bare.py", str(port), folder]
    with run_server("bare", command, port, folder, **_KEEPS_MEMORY) as server:
        yield server


@contextmanager
def node(folder: Path) -> Iterator[Server]:
    """The same with Node's `ws`."""
    if shutil.which("node") is None or not (PEERS / "node" / "node_modules" / "ws").is_dir():
        raise BenchError("node or its package ws is not installed: `make bench` installs ws where there is npm")
    port = free_port()
    with run_server("node", ["node", PEERS / "node" / "server.mjs", str(port), folder], port, folder) as server:
        yield server


@contextmanager
def seed_like(folder: Path) -> Iterator[Server]:
    """What somebody would write first, over the database in `folder`, without pauses."""
    port = free_port()
    command = [sys.executable, PEERS / "seed_like.py", str(port), folder / "replay.db", folder]
    with run_server("seed-like", command, port, folder, "/docs", BENCH_PAUSE="0") as server:
        yield server


def write_text(folder: Path, size_bytes: int) -> None:
    """Put the row there that bare and node send for `?text=size_bytes`."""
    (folder / f"{size_bytes}.txt").write_text(frame_text(size_bytes), "utf-8")
