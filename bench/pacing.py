"""Five thousand viewers at a row a second: how late rows are, and what they cost."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from .crowd import RECORDINGS, ROWS, join, leave, wait_for_rows
from .figures import Line, at_most, percentile, ratios
from .process import Server
from .rows import ROW_BYTES
from .servers import bare, ours, write_text
from .store import add_many
from .viewers import PeerViewer, V1Viewer, Viewer

JOIN_SECONDS = 10
WATCH_SECONDS = 15


class Paced(NamedTuple):
    """What was seen while all watched: how late rows were, in ms, and shares of the cores; how long the joining took,
    in seconds.
    """

    late: list[float]
    share: float
    client_share: float
    joined: float


async def watch_paced(server: Server, kind: type[Viewer], names: Sequence[str], viewers: int) -> Paced:
    """Have everybody watch. Raises `BenchError` where anybody misses a row."""
    crowd: list[Viewer] = []
    began = time.perf_counter()
    try:
        await join(server, kind, names, viewers, JOIN_SECONDS, crowd, timed=True)
        joined = time.perf_counter() - began
        await asyncio.sleep(2)
        first, used, client = time.perf_counter(), server.cpu_seconds(), time.process_time()
        await asyncio.sleep(WATCH_SECONDS)
        last, used, client = time.perf_counter(), server.cpu_seconds() - used, time.process_time() - client
        await wait_for_rows(crowd, last)
    finally:
        leave(crowd)
    late = [
        (arrival - viewer.began - number) * 1000
        for viewer in crowd
        for number, arrival in enumerate(viewer.arrivals or ())
        if first <= viewer.began + number <= last
    ]
    return Paced(late, used / (last - first), client / (last - first), joined)


def measure_paced(folder: Path, *, viewers: int = 5000, rounds: int = 3) -> Iterator[Line]:
    """In turns with the bare server, each just started."""
    names = add_many(folder, RECORDINGS, ROWS)
    write_text(folder, ROW_BYTES)
    found: dict[str, list[Paced]] = defaultdict(list)
    for _ in range(rounds):
        for what, serve, kind in (("bare", bare, PeerViewer), ("replay.v1", ours, V1Viewer)):
            with serve(folder) as server:
                server.settle()
                found[what].append(asyncio.run(watch_paced(server, kind, names, viewers)))
    line = Line(f"{viewers} viewers at a row a second from {RECORDINGS} recordings, replay.v1")
    shares = {what: [each.share for each in paced] for what, paced in found.items()}
    line.add("CPU, replay.v1 / bare", "×", ratios(shares["replay.v1"], shares["bare"]), at_most(1.5))
    for what, limits in (("replay.v1", (at_most(2), at_most(10))), ("bare", (None, None))):
        for share, limit in zip((0.5, 0.99), limits, strict=True):
            late = [percentile(each.late, share) for each in found[what]]
            line.add(f"{what}: late, p{share * 100:.0f}", "ms", late, limit)
        line.add(f"{what}: until all had joined, spread over {JOIN_SECONDS} s", "s", [e.joined for e in found[what]])
        line.add(f"{what}: the server's share of its core", "", shares[what])
        line.add(f"{what}: the client's share of its core", "", [each.client_share for each in found[what]])
    line.notes.append(f"While all watched, {WATCH_SECONDS} s long; everybody had every row that was due, in order")
    yield line
