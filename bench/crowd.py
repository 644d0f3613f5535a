"""Many viewers of many recordings, a row a second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from .process import BenchError, Server
from .rows import ROW_BYTES
from .viewers import Viewer

RECORDINGS = 100
ROWS = 120
"""More than anybody gets."""

QUERY = f"?rows={ROWS}&text={ROW_BYTES}&pause=1"


async def join(
    server: Server,
    kind: type[Viewer],
    names: Sequence[str],
    viewers: int,
    seconds: float,
    crowd: list[Viewer],
    *,
    timed: bool = False,
) -> None:
    """So many viewers come, spread over so many seconds, and are put into `crowd`."""
    began = time.perf_counter()

    async def come(number: int) -> None:
        await asyncio.sleep(began + seconds * number / viewers - time.perf_counter())
        viewer = await kind.connect(server, names[number % len(names)], ROWS, QUERY, timed=timed)
        crowd.append(viewer)
        viewer.start()

    async with asyncio.timeout(seconds + 60):
        await asyncio.gather(*map(come, range(viewers)))


async def wait_for_rows(crowd: Sequence[Viewer], moment: float, patience_seconds: float = 20) -> None:
    """Return when everybody has every row that was due at `moment`.

    Raises `BenchError` where somebody hasn't in time, has lost his connection, or a row.
    """
    deadline = time.perf_counter() + patience_seconds
    for viewer in crowd:
        due = int(moment - viewer.began) + 1
        while viewer.rows < due and not viewer.done.done() and time.perf_counter() < deadline:
            await asyncio.sleep(0.05)
        if viewer.done.done():
            viewer.done.result()
        if viewer.rows < due:
            raise BenchError(f"{viewer.name}: {viewer.rows} rows of {due} that were due {patience_seconds} s ago")


def leave(crowd: Sequence[Viewer]) -> None:
    for viewer in crowd:
        viewer.leave()
