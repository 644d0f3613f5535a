"""Rows as fast as they go: many viewers of one recording, each of another, and rows of several sizes."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from .figures import Line, Target, at_least, ratios
from .process import Server
from .rows import ROW_BYTES
from .servers import bare, node, ours, seed_like, write_text
from .store import add_many
from .viewers import PeerViewer, V1Viewer, Viewer

ENOUGH_CPU_SECONDS = 0.4
MAX_PASSES = 10
MAX_SEED_VIEWERS = 10
"""It has a connection to its database for each viewer, and no more than fifteen of those."""


class Play(NamedTuple):
    """Viewers who watch at the same moment: what each watches, and how."""

    kind: type[Viewer]
    names: Sequence[str]
    rows: int
    query: str = ""

    @property
    def options(self) -> dict[str, str]:
        return {"pace": "instant"} if self.kind is V1Viewer else {}


@dataclass(frozen=True)
class Sent:
    """What was sent in how much time, all in seconds."""

    rows: int
    cpu: float
    wall: float
    client_cpu: float

    def __add__(self, other: Sent) -> Sent:
        return Sent(
            self.rows + other.rows, self.cpu + other.cpu, self.wall + other.wall, self.client_cpu + other.client_cpu
        )


async def send_rows(server: Server, play: Play, *, seconds: float = 120) -> Sent:
    """Have everybody watch, from when all have said `shared` until each has the last row."""
    connecting = [play.kind.connect(server, name, play.rows, play.query) for name in play.names]
    viewers = await asyncio.gather(*connecting)
    try:
        if isinstance(viewers[0], V1Viewer):
            viewers[0].thorough = True
        cpu, client, began = server.cpu_seconds(), time.process_time(), time.perf_counter()
        for viewer in viewers:
            viewer.start(**play.options)
        await asyncio.gather(*(viewer.wait(viewer.done, seconds) for viewer in viewers))
        wall = time.perf_counter() - began
        return Sent(play.rows * len(viewers), server.cpu_seconds() - cpu, wall, time.process_time() - client)
    finally:
        for viewer in viewers:
            viewer.leave()


async def hot_rows(server: Server, play: Play) -> Sent:
    """The same as often as it takes to be measured, while somebody who has seen all of it stays."""
    keeper = await play.kind.connect(server, play.names[0], play.rows, play.query)
    keeper.start(**play.options)
    await keeper.wait(keeper.done, 60)
    sent, passes = Sent(0, 0, 0, 0), 0
    while sent.cpu < ENOUGH_CPU_SECONDS and passes < MAX_PASSES:
        sent += await send_rows(server, play)
        passes += 1
        await asyncio.sleep(0.05)  # they leave
    keeper.leave()
    server.settle()
    return sent


Rounds = dict[str, list[Sent]]


def add_figures(line: Line, rounds: Rounds, ours_as: str, targets: dict[str, Target]) -> None:
    """The ratios of ours to the others, and what they are made of."""
    rates = {name: [each.rows / each.cpu for each in sent] for name, sent in rounds.items()}
    for name in rates:
        if name != ours_as:
            line.add(f"{ours_as} / {name}", "×", ratios(rates[ours_as], rates[name]), targets.get(name))
    for name, sent in rounds.items():
        line.add(f"{name}: rows a CPU second", "rows/s", rates[name])
        line.add(f"{name}: rows a second", "rows/s", [each.rows / each.wall for each in sent])
        line.add(f"{name}: the server's share of its core", "", [each.cpu / each.wall for each in sent])
        line.add(f"{name}: the client's share of its core", "", [each.client_cpu / each.wall for each in sent])


def measure_hot(folder: Path, *, viewers: int = 50, rows: int = 1000, rounds: int = 7) -> Iterator[Line]:
    """Many viewers of one recording."""
    name = add_many(folder, 1, rows)[0]
    write_text(folder, ROW_BYTES)
    peer = Play(PeerViewer, [name] * viewers, rows, f"?rows={rows}&text={ROW_BYTES}")
    seed = Play(Viewer, [name] * min(viewers, MAX_SEED_VIEWERS), rows)
    found: Rounds = defaultdict(list)
    with ExitStack() as stack:
        plays = [
            ("bare", stack.enter_context(bare(folder)), peer),
            ("classic", server := stack.enter_context(ours(folder)), Play(Viewer, [name] * viewers, rows)),
            ("node", stack.enter_context(node(folder)), peer),
            ("replay.v1", server, Play(V1Viewer, [name] * viewers, rows)),
            ("seed-like", stack.enter_context(seed_like(folder)), seed),
        ]
        for _ in range(rounds):
            for what, server, play in plays:
                found[what].append(asyncio.run(hot_rows(server, play)))
    what = f"hot: {viewers} viewers of one recording of {rows} rows of 2 KB"
    classic = Line(f"{what}, classic")
    targets = {"bare": at_least(0.95), "node": at_least(1.0), "seed-like": at_least(20)}
    add_figures(classic, {name: found[name] for name in ("classic", *targets)}, "classic", targets)
    classic.notes.append(f"seed-like has {len(seed.names)} viewers: with more than fifteen it stands still")
    yield classic
    instant = Line(f"{what}, replay.v1, instant")
    add_figures(instant, {name: found[name] for name in ("replay.v1", "bare")}, "replay.v1", {"bare": at_least(10)})
    yield instant


def measure_cold(folder: Path, *, viewers: int = 50, rows: int = 2000, rounds: int = 3) -> Iterator[Line]:
    """Each viewer watches another recording, which a server that has just been started has never read."""
    names = add_many(folder, viewers, rows)
    write_text(folder, ROW_BYTES)
    found: Rounds = defaultdict(list)
    with bare(folder) as peer:
        for _ in range(rounds):
            for what, kind in (("classic", Viewer), ("replay.v1", V1Viewer)):
                play = Play(PeerViewer, names, rows, f"?rows={rows}&text={ROW_BYTES}")
                found["bare"].append(asyncio.run(send_rows(peer, play)))
                with ours(folder) as server:
                    server.settle()
                    found[what].append(asyncio.run(send_rows(server, Play(kind, names, rows))))
    what = f"cold: {viewers} viewers of {viewers} recordings, {rows} rows of 2 KB each, a server just started"
    targets = {"classic": at_least(0.4), "replay.v1": at_least(2, floor=0.4)}
    for number, (ours_as, target) in enumerate(targets.items()):
        line = Line(f"{what}, {ours_as}")
        both = {ours_as: found[ours_as], "bare": found["bare"][number::2]}
        add_figures(line, both, ours_as, {"bare": target})
        yield line


def measure_sizes(folder: Path, *, rounds: int = 5) -> Iterator[Line]:
    """Rows that are smaller and larger."""
    for size_bytes, viewers, rows in ((512, 50, 1000), (8192, 50, 400), (65536, 20, 100), (524288, 8, 20)):
        here = folder / str(size_bytes)
        name = add_many(here, 1, rows, size_bytes)[0]
        write_text(here, size_bytes)
        found: Rounds = defaultdict(list)
        with bare(here) as peer, ours(here) as server:
            for _ in range(rounds):
                play = Play(PeerViewer, [name] * viewers, rows, f"?rows={rows}&text={size_bytes}")
                found["bare"].append(asyncio.run(hot_rows(peer, play)))
                found["classic"].append(asyncio.run(hot_rows(server, Play(Viewer, [name] * viewers, rows))))
                found["replay.v1"].append(asyncio.run(hot_rows(server, Play(V1Viewer, [name] * viewers, rows))))
        for ours_as in ("classic", "replay.v1"):
            line = Line(f"rows of {size_bytes / 1024:g} KB, {viewers} viewers, {ours_as}")
            both = {ours_as: found[ours_as], "bare": found["bare"]}
            add_figures(line, both, ours_as, {"bare": at_least(0.9)})
            yield line
