"""How long a process takes until it serves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from .figures import Line, at_most, ratios
from .rows import ROW_BYTES
from .servers import bare, ours, write_text
from .store import add_many


def measure_start(folder: Path, *, rounds: int = 9) -> Iterator[Line]:
    """From its start until it answers HTTP: ours /healthz, with its database there; bare anything."""
    add_many(folder, 1, 10)
    write_text(folder, ROW_BYTES)
    seconds: dict[str, list[float]] = defaultdict(list)
    for turn in range(rounds + 1):
        for what, serve in (("bare", bare), ("ours", ours)):
            with serve(folder) as server:
                if turn:  # at first their modules are compiled
                    seconds[what].append(server.start_seconds)
    line = Line("start of the process until it serves")
    line.add("ours / bare", "×", ratios(seconds["ours"], seconds["bare"]), at_most(1.3))
    for what, values in seconds.items():
        line.add(what, "ms", [value * 1000 for value in values])
    yield line
