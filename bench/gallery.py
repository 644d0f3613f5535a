"""The list of 100,000 public recordings."""

from __future__ import annotations

import http.client
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from storage.schema import interactions, raw, shared_interactions

from .figures import Line, at_most, percentile, ratios, turns
from .process import BenchError, Server
from .servers import ours
from .store import add_recordings, insert

RECORDINGS = 100_000
PAGE = 20
ASKED = 20
"""Times in a round."""

MAX_REQUESTS = 2000
OLDEST, NOWHERE = "customer 07919,", "no such thing"


class Reader:
    """Asks one server, on one connection."""

    def __init__(self, server: Server) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)

    def page(self, **query: str) -> tuple[list[dict[str, Any]], str | None]:
        """A page of the list, and the cursor of the next."""
        self._connection.request("GET", f"/api/v1/recordings?{urlencode(query | {'limit': str(PAGE)})}")
        response = self._connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise BenchError(f"{query}: {response.status} {body[:500].decode()}")
        found = json.loads(body)
        return found["recordings"], found["next_cursor"]

    def search(self, text: str, wanted: int) -> int:
        """Ask until so many are found, or there are no more; how many requests that took."""
        found, cursor, requests = 0, "", 0
        while requests < MAX_REQUESTS:
            recordings, following = self.page(q=text, **({"cursor": cursor} if cursor else {}))
            found += len(recordings)
            requests += 1
            if (found >= wanted and wanted) or following is None:
                break
            cursor = following
        if found != wanted:
            raise BenchError(f"search for {text!r}: expected {wanted}, got {found} after {requests} requests")
        return requests

    def last_page(self) -> str:
        """The cursor behind which the oldest are. To walk there would take thousands of requests."""
        _, cursor = self.page()
        newest = RECORDINGS - PAGE + 1
        if cursor != _cursor(newest):
            raise BenchError(f"next_cursor: expected {_cursor(newest)}, got {cursor}: they are made in another way now")
        recordings, following = self.page(cursor=_cursor(PAGE + 1))
        if len(recordings) != PAGE or following is not None:
            raise BenchError(f"the last page: expected {PAGE} recordings and no cursor, got {len(recordings)}")
        return _cursor(PAGE + 1)


def _cursor(number: int) -> str:
    # As share/api_recordings.py makes it.
    return f"{number}.{_time(number).encode().hex()}"


def _time(number: int) -> str:
    return str(datetime(2023, 11, 17, 10) + timedelta(minutes=number))


def add_gallery(folder: Path) -> None:
    """Put the recordings into the database of `folder`: 1 is the oldest. One in ten is about a flight."""
    add_recordings(folder, [])
    numbers = range(1, RECORDINGS + 1)
    described = ("interaction_id", "user_id", "create_time", "update_time", "description", "agent", "mode", "status")
    runs = ((f"run-{n}", "guest", _time(n), _time(n), _description(n), "XAgent", "auto", "finished") for n in numbers)
    insert(folder, interactions, described, runs)
    share = ("interaction_id", "user_name", "create_time", "update_time", "description", "agent", "mode", "is_audit")
    shares = ((f"run-{n}", "guest", _time(n), _time(n), "", "XAgent", "auto", True, False) for n in numbers)
    insert(folder, shared_interactions, (*share, "is_deleted"), shares)
    steps = ("node_id", "interaction_id", "step", "create_time", "status", "is_human", "human_data", "data")
    flags = ("is_deleted", "is_send", "is_receive", "include_pictures")
    rows = (
        (
            f"run-{n}-{step}",
            f"run-{n}",
            step,
            _time(n),
            "inner",
            step == 0,
            None if step else _goal(n),
            "{}",
            *[False] * 4,
        )
        for n in numbers
        for step in range(2)
    )
    insert(folder, raw, (*steps, *flags), rows)


def _description(number: int) -> str:
    what = "Book a flight" if number % 10 == 0 else "Analyse the table of sales"
    return f"{what} for customer {number * 7919 % RECORDINGS:05d}, and write a report about it"


def _goal(number: int) -> str:
    return json.dumps({"goal": f"a report of at least {number % 97} pages", "plan": []})


def measure_gallery(folder: Path, *, rounds: int = 5) -> Iterator[Line]:
    """Pages and searches, one after the other on one connection."""
    add_gallery(folder)
    times: dict[str, list[float]] = defaultdict(list)
    requests: dict[str, int] = {}
    with ours(folder) as server:
        reader = Reader(server)
        last = reader.last_page()
        server.settle()
        asks: dict[str, Callable[[], object]] = {
            "first page": reader.page,
            "last page": lambda: reader.page(cursor=last),
            "search that finds the oldest": lambda: reader.search(OLDEST, 1),
            "search that finds none": lambda: reader.search(NOWHERE, 0),
            "search that finds many": lambda: reader.page(q="flight"),
        }
        for _ in turns(rounds, seconds=90):
            for what, ask in asks.items():
                times[what].append(percentile([_milliseconds(ask) for _ in turns(ASKED, least=1, seconds=3)], 0.5))
        requests = {
            text: reader.search(text, wanted) for text, wanted in (("customer 07919,", 1), ("no such thing", 0))
        }
    line = Line(f"the gallery with {RECORDINGS:,} public recordings, p50 of a round, {PAGE} in a page")
    for what, values in times.items():
        line.add(what, "ms", values, at_most(50 if "search" in what else 20))
    line.add("last page / first page", "×", ratios(times["last page"], times["first page"]), at_most(1.1))
    told = ", ".join(f"{count} for {text!r}" for text, count in requests.items())
    line.notes.append(f"A search is all of the requests until what there is has been found: {told}")
    yield line


def _milliseconds(ask: Callable[[], object]) -> float:
    began = time.perf_counter()
    ask()
    return (time.perf_counter() - began) * 1000
