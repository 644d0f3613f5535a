"""What is counted, for Prometheus. Without prometheus_client nothing is, and everything else works."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from functools import cache
from typing import TypeVar

from storage.gateway import Gateway, Work

from .settings import prometheus_folder

T = TypeVar("T")

LATENESS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
FIRST_ROW_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
DATABASE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 30)
"""Seconds. A call of the database gives up after 30 of them."""

FLUSH_SECONDS = 0.1
"""How long rows, bytes and pages may be kept back from the figures: adding to those costs more than to a number."""


class Metrics:
    """The figures of one process, in the registry that all of the process shares: `metrics()` makes them once."""

    def __init__(self) -> None:
        from prometheus_client import Counter, Gauge, Histogram

        self.viewers = Gauge("replay_share_viewers", "Open connections of viewers.", multiprocess_mode="livesum")
        self.viewers.set(0)  # a process that had the same number may have been killed while it had some
        self.replays = Counter("replay_share_replays", "Replays that were started.")
        self.rows = Counter("replay_share_rows_sent", "Rows that were sent.")
        self.sent_bytes = Counter("replay_share_sent_bytes", "Bytes of the text frames that were sent.")
        self.lateness = Histogram(
            "replay_share_row_lateness_seconds",
            "How long after it was due a row that follows a pause was written; of rows sent together, the first.",
            buckets=LATENESS_BUCKETS,
        )
        self.first_row = Histogram(
            "replay_share_first_row_seconds",
            "From the command that starts a replay to its first row written, where that is due at once.",
            buckets=FIRST_ROW_BUCKETS,
        )
        self.database = Histogram(
            "replay_share_database_seconds",
            "How long a call of the database took, waiting for a connection included.",
            buckets=DATABASE_BUCKETS,
        )
        self.errors = Counter(
            "replay_share_errors",
            "Error frames by their code (kind frame), and connections by our close code unless it is 1000 or 1001.",
            ("kind", "code"),
        )
        requests = Counter("replay_share_cache_requests", "Pages of frames that were asked for.", ("result",))
        self._hits, self._misses = requests.labels("hit"), requests.labels("miss")
        self._kept_back: dict[Counter, int] = defaultdict(int)
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def cache_request(self, hit: bool) -> None:
        """A page of frames was asked for, and was there or was not."""
        self._kept_back[self._hits if hit else self._misses] += 1
        self._flush_soon()

    def count(self, *, rows: int = 0, sent_bytes: int = 0) -> None:
        """So many rows were sent, or bytes of text frames."""
        self._kept_back[self.rows] += rows
        self._kept_back[self.sent_bytes] += sent_bytes
        self._flush_soon()

    def _flush_soon(self) -> None:
        loop = asyncio.get_running_loop()
        if self._timer is None or self._loop is not loop:  # another loop may have ended before its time
            self._loop, self._timer = loop, loop.call_later(FLUSH_SECONDS, self.flush)

    def flush(self) -> None:
        """Bring the figures up to date."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for counter, number in self._kept_back.items():
            counter.inc(number)
        self._kept_back.clear()


@cache
def metrics() -> Metrics | None:
    """The process's figures, made when they are first asked for; None without prometheus_client."""
    folder = prometheus_folder()
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    try:
        return Metrics()
    except ImportError:
        return None


class MeasuredGateway(Gateway):
    """A gateway whose calls are timed, as long as somebody waits for them."""

    async def call(self, work: Work[T], seconds: float, *slots: asyncio.Semaphore) -> T:
        measured = metrics()
        if measured is None:
            return await super().call(work, seconds, *slots)
        start = time.perf_counter()
        try:
            return await super().call(work, seconds, *slots)
        finally:
            measured.database.observe(time.perf_counter() - start)
