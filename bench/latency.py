"""How soon the first row is there: on an idle server, and while 2,000 others watch; what each of those takes up."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from .crowd import QUERY, RECORDINGS, ROWS, join, leave, wait_for_rows
from .figures import Line, at_most, percentile, ratios
from .process import Server
from .rows import ROW_BYTES
from .servers import bare, ours, write_text
from .store import add_many
from .viewers import PeerViewer, V1Viewer, Viewer

PROBES = 100
SETTLE_SECONDS = 2.5


async def first_rows(server: Server, kind: type[Viewer], name: str, probes: int = PROBES) -> list[float]:
    """Seconds from `shared` to the first row, of viewers who come one after the other."""
    found = []
    for _ in range(probes):
        viewer = await kind.connect(server, name, ROWS, QUERY)
        viewer.start()
        await viewer.wait(viewer.begun, 30)
        found.append(viewer.first - viewer.began)
        viewer.leave()
        await asyncio.sleep(0.002)
    return found


def measure_first(folder: Path, *, rounds: int = 5) -> Iterator[Line]:
    """On an idle server, of a recording that nobody else watches."""
    name = add_many(folder, 1, ROWS)[0]
    write_text(folder, ROW_BYTES)
    found: dict[str, list[list[float]]] = defaultdict(list)
    with bare(folder) as peer, ours(folder, SHARE_PAUSE_SECONDS="1") as server:
        plays = (("bare", peer, PeerViewer), ("classic", server, Viewer), ("replay.v1", server, V1Viewer))
        for turn in range(rounds + 1):
            for what, at, kind in plays:
                seconds = asyncio.run(first_rows(at, kind, name))
                if turn:  # the first is for warming up
                    found[what].append(seconds)
    for what in ("classic", "replay.v1"):
        line = Line(f"first row after `shared`, idle server, {what}")
        add_latency(line, what, found[what], found["bare"])
        yield line


def add_latency(line: Line, what: str, seconds: Sequence[Sequence[float]], baseline: Sequence[Sequence[float]]) -> None:
    """The median as a ratio to the baseline's, the 99th percentile as it is."""
    medians = [[percentile(values, 0.5) for values in rounds] for rounds in (seconds, baseline)]
    line.add(f"{what} / bare, p50", "×", ratios(*medians), at_most(1.5))
    line.add(f"{what}, p99", "ms", [percentile(values, 0.99) * 1000 for values in seconds], at_most(20))
    line.add(f"{what}, p50", "ms", [value * 1000 for value in medians[0]])
    line.add("bare, p50", "ms", [value * 1000 for value in medians[1]])
    line.add("bare, p99", "ms", [percentile(values, 0.99) * 1000 for values in baseline])


class Crowd(NamedTuple):
    """What was seen of a server with a crowd: bytes for each viewer, and seconds to first rows."""

    viewer_bytes: float
    seconds: dict[str, list[float]]


async def gather_crowd(
    server: Server, kind: type[Viewer], names: Sequence[str], viewers: int, probes: Sequence[type[Viewer]]
) -> Crowd:
    """Have so many watch, a row a second, and see what one more waits for the first."""
    crowd: list[Viewer] = []
    try:
        # Who watches first brings the recording into memory; what those who follow add is theirs alone.
        await join(server, kind, names, len(names), 1, crowd)
        await asyncio.sleep(SETTLE_SECONDS)
        before = server.rss_bytes()
        await join(server, kind, names, viewers, 4, crowd)
        await asyncio.sleep(SETTLE_SECONDS)
        grown = server.rss_bytes() - before
        seconds = {probe.__name__: await first_rows(server, probe, "probe") for probe in probes}
        await wait_for_rows(crowd, time.perf_counter())
        return Crowd(grown / viewers, seconds)
    finally:
        leave(crowd)


def measure_crowd(folder: Path, *, viewers: int = 2000, rounds: int = 3) -> Iterator[Line]:
    """With a crowd that watches, each server alone and just started."""
    names = add_many(folder, RECORDINGS, ROWS)
    add_many(folder, 1, ROWS, prefix="probe")
    write_text(folder, ROW_BYTES)
    found: dict[str, list[Crowd]] = defaultdict(list)
    for _ in range(rounds):
        _gather(found, "bare", bare(folder), PeerViewer, names, viewers, [PeerViewer])
        _gather(found, "replay.v1", _paced(folder), V1Viewer, names, viewers, [V1Viewer, Viewer])
        _gather(found, "classic", _paced(folder), Viewer, names, viewers, [])
    seconds = {kind: [each.seconds[kind] for each in found["replay.v1"]] for kind in ("Viewer", "V1Viewer")}
    baseline = [each.seconds["PeerViewer"] for each in found["bare"]]
    for what, kind in (("classic", "Viewer"), ("replay.v1", "V1Viewer")):
        line = Line(f"first row after `shared`, with {viewers} paced viewers, {what}")
        add_latency(line, what, seconds[kind], baseline)
        yield line
    line = Line(f"memory of a viewer in a paced replay: growth of RSS by {viewers} viewers")
    for what in ("replay.v1", "classic", "bare"):
        kilobytes = [each.viewer_bytes / 1024 for each in found[what]]
        line.add(what, "KB", kilobytes, None if what == "bare" else at_most(32))
    yield line


def _paced(folder: Path) -> AbstractContextManager[Server]:
    return ours(folder, SHARE_PAUSE_SECONDS="1")


def _gather(
    found: dict[str, list[Crowd]],
    what: str,
    serving: AbstractContextManager[Server],
    kind: type[Viewer],
    names: Sequence[str],
    viewers: int,
    probes: Sequence[type[Viewer]],
) -> None:
    with serving as server:
        server.settle()
        found[what].append(asyncio.run(gather_crowd(server, kind, names, viewers, probes)))
