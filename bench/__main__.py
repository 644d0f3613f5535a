"""The benchmark.

    python -m bench [--quick] [GROUP ...]

Measures all groups, or those that are named, and writes bench/results/<date>.md and .json. The quick form measures a
small form of the first lines, writes nothing, and fails under 0.7 of what is asked for.
"""

from __future__ import annotations

import argparse
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import uvloop

from . import gallery, huge, latency, pacing, starting, storing, throughput
from .figures import Line
from .machine import describe
from .process import CLIENT_CORE, pin
from .report import say, write_results

RESULTS = Path(__file__).parent / "results"
Measure = Callable[[Path], Iterator[Line]]

GROUPS: dict[str, Measure] = {
    "hot": throughput.measure_hot,
    "cold": throughput.measure_cold,
    "sizes": throughput.measure_sizes,
    "first": latency.measure_first,
    "crowd": latency.measure_crowd,
    "paced": pacing.measure_paced,
    "huge": huge.measure_huge,
    "import": storing.measure_import,
    "upload": storing.measure_upload,
    "gallery": gallery.measure_gallery,
    "start": starting.measure_start,
}
QUICK: dict[str, Measure] = {
    "hot": partial(throughput.measure_hot, rounds=3),
    "cold": partial(throughput.measure_cold, viewers=20, rows=1000, rounds=5),
}


def measure(groups: dict[str, Measure]) -> list[Line]:
    """The lines of all groups; one that can't be measured says why, and the others are."""
    lines = []
    for name, group in groups.items():
        began = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="replay-share-bench-") as folder:
            try:
                for line in group(Path(folder)):
                    lines.append(line)
                    print(say(line), flush=True)
            except Exception as error:
                lines.append(Line(name, error=f"{type(error).__name__}: {error}"))
                print(say(lines[-1]), flush=True)
        print(f"    ({name}: {time.perf_counter() - began:.0f} s)", flush=True)
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description="The benchmark.")
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)}; all")
    parser.add_argument("--quick", action="store_true", help="a small form of the first lines, for CI")
    arguments = parser.parse_args()
    if unknown := set(arguments.groups) - GROUPS.keys():
        parser.error(f"expected {', '.join(GROUPS)}, got {', '.join(sorted(unknown))}")
    chosen = QUICK if arguments.quick else GROUPS
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are ended, too
    pin(CLIENT_CORE)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    uvloop.install()
    lines = measure({name: chosen[name] for name in arguments.groups or chosen})
    if arguments.quick:
        return 0 if all(line.error is None and all(figure.is_near for figure in line.figures) for line in lines) else 1
    print(f"\n{write_results(RESULTS, describe(), lines)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
