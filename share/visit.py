"""One viewer's connection: what it is called in error frames and logs, and what was sent on it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any

from .clock import Clock
from .metrics import Metrics


@dataclass(slots=True)
class Visit:
    """What is known of one connection, from its beginning to its end.

    `recording` and `user` are as a log may have them: no token stands in them. `refused` is why the viewer wasn't let
    in, `error` what else ended the connection before he left.
    """

    recording: str
    protocol: str
    clock: Clock
    metrics: Metrics | None
    id: str = field(default_factory=lambda: secrets.token_hex(6))
    user: str = ""
    address: str | None = None
    link: int | None = None
    rows: int = 0
    sent_bytes: int = 0
    refused: str | None = None
    error: str | None = None
    _began: float = 0.0
    _asked: float | None = None

    def begin(self) -> None:
        """The connection is there."""
        self._began = self.clock.now()
        if self.metrics is not None:
            self.metrics.viewers.inc()

    def end(self, code: int) -> None:
        """The connection is over, by this close code of ours."""
        if self.metrics is not None:
            self.metrics.flush()
            self.metrics.viewers.dec()
            if code not in (1000, 1001):
                self.metrics.errors.labels("close", str(code)).inc()

    def members(self, code: int) -> dict[str, Any]:
        """What the log says of the connection when it is over, by this close code."""
        return {
            "connection": self.id,
            "recording": self.recording,
            "protocol": self.protocol,
            "user": self.user,
            "address": self.address,
            "link": self.link,
            "seconds": round(self.clock.now() - self._began, 3),
            "rows": self.rows,
            "bytes": self.sent_bytes,
            "code": code,
            "refused": self.refused,
            "error": self.error,
        }

    def replay_started(self, asked: float) -> None:
        """A replay has begun, that the viewer has asked for at this moment of the clock."""
        self._asked = asked
        if self.metrics is not None:
            self.metrics.replays.inc()

    def waiting(self) -> None:
        """The replay waits for a moment to come: how long its first row takes says nothing any more."""
        self._asked = None

    def rows_sent(self, count: int, due: float | None = None) -> None:
        """So many rows have been written; `due` is when the first was, where it follows a pause."""
        self.rows += count
        if self.metrics is None:
            return
        if due is not None:
            self.metrics.lateness.observe(max(0.0, self.clock.now() - due))
        if self._asked is not None:
            self.metrics.first_row.observe(self.clock.now() - self._asked)
            self._asked = None
        self.metrics.count(rows=count)

    def frame_sent(self, size_bytes: int) -> None:
        """A text frame of that size has been written."""
        self.sent_bytes += size_bytes
        if self.metrics is not None:
            self.metrics.count(sent_bytes=size_bytes)

    def error_frame(self, code: str) -> None:
        """An error frame was made, of one of our codes."""
        if self.metrics is not None:
            self.metrics.errors.labels("frame", code).inc()
