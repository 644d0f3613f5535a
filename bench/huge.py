"""A recording of a million rows: what it takes up, and whether its size is felt."""

from __future__ import annotations

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from .figures import Line, at_most, ratios, turns
from .process import Server
from .servers import ours
from .store import add_huge, add_many
from .throughput import Play, send_rows
from .viewers import V1Viewer, Viewer

ROWS = 1_000_000
SMALL = 10
AS_FAST = 1.1
"""As fast as in a small one, and a tenth for what no two measurements have in common."""

PLAY_SECONDS = 400


def measure_huge(folder: Path, *, rounds: int = 2, probes: int = 9) -> Iterator[Line]:
    """The recording in question and a small one are in one database."""
    add_huge(folder, "huge", ROWS)
    add_many(folder, 1, SMALL, prefix="small")
    yield from _measure_playing(folder, rounds)
    yield from _measure_first(folder, probes)


def _measure_playing(folder: Path, rounds: int) -> Iterator[Line]:
    for what, kind in (("replay.v1, instant", V1Viewer), ("classic, no pauses", Viewer)):
        line = Line(f"{ROWS:,} rows of 2 KB, played through at once, {what}")
        peaks, seconds = [], []
        for _ in range(rounds):
            with ours(folder) as server:
                asyncio.run(send_rows(server, Play(kind, ["small"], SMALL)))
                server.settle()
                idle = server.rss_bytes()
                server.forget_peak()
                sent = asyncio.run(send_rows(server, Play(kind, ["huge"], ROWS), seconds=PLAY_SECONDS))
                peaks.append((server.peak_bytes() - idle) / 1e6)
                seconds.append(sent.rows / sent.cpu)
        line.add("peak memory above idle", "MB", peaks, at_most(40))
        line.add("rows a CPU second", "rows/s", seconds)
        yield line


async def _first(server: Server, kind: type[Viewer], name: str, total: int) -> tuple[float, float]:
    # Seconds to the first row: from `shared`, and from the beginning of the connection.
    began = time.perf_counter()
    viewer = await kind.connect(server, name, total)
    viewer.start()
    await viewer.wait(viewer.begun, 120)
    viewer.leave()
    return viewer.first - viewer.began, viewer.first - began


async def _seek(server: Server, name: str, total: int) -> float:
    # The rows that are skipped are sent, from the first.
    viewer = await V1Viewer.connect(server, name, total)
    viewer.start(autoplay=False)
    await asyncio.sleep(0.2)
    viewer.say({"type": "seek", "offset": total // 2})
    await viewer.wait(viewer.begun, 120)
    viewer.leave()
    return viewer.first - viewer.began


async def _resume(server: Server, name: str, total: int) -> float:
    viewer = await V1Viewer.connect(server, name, total)
    viewer.offset = total // 2
    epoch = json.loads(viewer.hello)["data"]["epoch"]
    viewer.start(offset=viewer.offset, epoch=epoch, pace="instant")  # else the first row is due after its pause
    await viewer.wait(viewer.begun, 120)
    viewer.leave()
    return viewer.first - viewer.began


def _measure_first(folder: Path, probes: int) -> Iterator[Line]:
    recordings = (("huge", ROWS), ("small", SMALL))
    with ours(folder, SHARE_PAUSE_SECONDS="1") as server:
        for what, kind in (("replay.v1", V1Viewer), ("classic", Viewer)):
            found: dict[str, list[tuple[float, float]]] = defaultdict(list)
            for _ in turns(probes):
                for name, total in recordings:
                    found[name].append(asyncio.run(_first(server, kind, name, total)))
                    server.settle()
            yield _compare(f"first row of {ROWS:,}, beside that of {SMALL}, {what}", found)
        jumps: tuple[tuple[str, Callable[[Server, str, int], Awaitable[float]]], ...] = (
            ("seek to the middle", _seek),
            ("resume in the middle, which sends no row before it", _resume),
        )
        for what, jump in jumps:
            both: dict[str, list[float]] = defaultdict(list)
            for _ in turns(probes):
                for name, total in recordings:
                    both[name].append(asyncio.run(_run(jump, server, name, total)) * 1000)
                    server.settle()
            line = Line(f"{what} of {ROWS:,} rows, replay.v1: the first row")
            line.add("after the command", "ms", both["huge"], at_most(20))
            line.add(f"in a recording of {SMALL}", "ms", both["small"])
            yield line


async def _run(jump: Callable[[Server, str, int], Awaitable[float]], server: Server, name: str, total: int) -> float:
    return await jump(server, name, total)


def _compare(what: str, found: dict[str, list[tuple[float, float]]]) -> Line:
    line = Line(what)
    for number, since in enumerate(("`shared`", "the beginning of the connection")):
        huge, small = ([pair[number] * 1000 for pair in found[name]] for name in ("huge", "small"))
        line.add(f"huge / small, since {since}", "×", ratios(huge, small), at_most(AS_FAST))
        line.add(f"huge, since {since}", "ms", huge)
        line.add(f"small, since {since}", "ms", small)
    return line
