"""Five thousand viewers at a row a second: how late rows are, and what they cost."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from .figures import Line, at_most, percentile, ratios
from .process import Server
from .rows import ROW_BYTES
from .servers import bare, ours, write_text
from .store import add_many
from .viewers import PeerViewer, V1Viewer, Viewer

JOIN_SECONDS = 10
ROWS = 35
STEADY = (12.0, 32.0)
"""Seconds from the beginning between which all watch, and nobody comes or has all rows."""

RECORDINGS = 100


class Paced(NamedTuple):
    """What was seen while all watched: how late rows were, in ms, and CPU shares of the server and the client."""

    late: list[float]
    share: float
    client_share: float


async def watch_paced(server: Server, kind: type[Viewer], names: Sequence[str], viewers: int) -> Paced:
    """Have everybody watch to the end. Raises `BenchError` where anybody misses a row."""
    query = f"?rows={ROWS}&text={ROW_BYTES}&pause=1"
    began = time.perf_counter()
    crowd: list[Viewer] = []

    async def watch(number: int) -> None:
        await asyncio.sleep(began + JOIN_SECONDS * number / viewers - time.perf_counter())
        viewer = await kind.connect(server, names[number % len(names)], ROWS, query, timed=True)
        crowd.append(viewer)
        viewer.start()
        await viewer.wait(viewer.done, ROWS + 60)

    async def observe() -> tuple[float, float]:
        used = []
        for moment in STEADY:
            await asyncio.sleep(began + moment - time.perf_counter())
            used.append((server.cpu_seconds(), time.process_time()))
        seconds = STEADY[1] - STEADY[0]
        return (used[1][0] - used[0][0]) / seconds, (used[1][1] - used[0][1]) / seconds

    try:
        shares, *_ = await asyncio.gather(observe(), *map(watch, range(viewers)))
    finally:
        for viewer in crowd:
            viewer.leave()
    late = [
        (arrival - viewer.began - number) * 1000
        for viewer in crowd
        for number, arrival in enumerate(viewer.arrivals or ())
        if STEADY[0] <= arrival - began <= STEADY[1]
    ]
    return Paced(late, *shares)


def measure_paced(folder: Path, *, viewers: int = 5000, rounds: int = 2) -> Iterator[Line]:
    """In turns with the bare server, each just started."""
    names = add_many(folder, RECORDINGS, ROWS)
    write_text(folder, ROW_BYTES)
    found: dict[str, list[Paced]] = defaultdict(list)
    for _ in range(rounds):
        with bare(folder) as server:
            found["bare"].append(asyncio.run(watch_paced(server, PeerViewer, names, viewers)))
        with ours(folder) as server:
            found["replay.v1"].append(asyncio.run(watch_paced(server, V1Viewer, names, viewers)))
    line = Line(f"{viewers} viewers at a row a second from {RECORDINGS} recordings, replay.v1")
    shares = {what: [each.share for each in paced] for what, paced in found.items()}
    line.add("CPU, replay.v1 / bare", "×", ratios(shares["replay.v1"], shares["bare"]), at_most(1.5))
    for what, limits in (("replay.v1", (2.0, 10.0)), ("bare", None)):
        for part, number in ((0.5, 0), (0.99, 1)):
            late = [percentile(each.late, part) for each in found[what]]
            line.add(
                f"{what}: late, p{part * 100:.0f}", "ms", late, None if limits is None else at_most(limits[number])
            )
        line.add(f"{what}: the server's share of its core", "", shares[what])
        line.add(f"{what}: the client's share of its core", "", [each.client_share for each in found[what]])
    line.notes.append(f"Everybody had all of his {ROWS} rows, each once and in order")
    yield line
