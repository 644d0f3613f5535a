"""Viewers: connections that count what they are sent, and know when something is missing."""

from __future__ import annotations

import asyncio
import json
import re
import time
from array import array
from collections.abc import Mapping
from typing import Any, Self

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from .process import PATIENCE_SECONDS, BenchError, Server

_NO_ROW_BYTES = 64  # a heartbeat is smaller, and a row isn't
_OFFSET = b'"offset":'
_NUMBER = re.compile(rb'"offset":(\d+)')
_HEAD_BYTES = 4096
_READ_BYTES = 64 * 1024


class Viewer(WSListener):
    """A viewer of one recording of `total` rows, in classic. `done` is set when the last row is here.

    What ends the connection before, or a row that is missing, is raised by `wait`. With `timed`, the moments at which
    rows have come are kept, in seconds of `time.perf_counter`.
    """

    subprotocol: str | None = None

    def __init__(self, name: str, total: int, *, timed: bool = False) -> None:
        self.name = name
        self.total = total
        self.rows = 0
        self.frames = 0
        self.began = 0.0
        self.first = 0.0
        self.arrivals = array("d") if timed else None
        loop = asyncio.get_running_loop()
        self.accepted: asyncio.Future[None] = loop.create_future()
        self.begun: asyncio.Future[None] = loop.create_future()
        self.done: asyncio.Future[None] = loop.create_future()
        self.hello = b""
        self._transport: WSTransport | None = None
        self._left = False

    @classmethod
    async def connect(cls, server: Server, name: str, total: int, query: str = "", *, timed: bool = False) -> Self:
        """Connect, and return when the server has said hello."""
        viewer = cls(name, total, timed=timed)
        viewer.began = time.perf_counter()
        headers = {"Sec-WebSocket-Protocol": cls.subprotocol} if cls.subprotocol else None
        url = f"ws://127.0.0.1:{server.port}/ws/share/{name}{query}"
        try:
            await ws_connect(
                lambda: viewer,
                url,
                extra_headers=headers,
                websocket_handshake_timeout=PATIENCE_SECONDS,
                read_buffer_init_size=_READ_BYTES,
            )
        except (OSError, TimeoutError) as error:
            raise BenchError(f"{server.name}: {name} can't be watched: {error!r}\n{server.log()}") from error
        await viewer.wait(viewer.accepted, PATIENCE_SECONDS)
        return viewer

    def start(self, **options: Any) -> None:
        """Say `shared`."""
        self.say({"type": "shared", **options})

    def say(self, command: Mapping[str, Any]) -> None:
        """Send a command; what comes is timed from here."""
        assert self._transport is not None
        self.began = time.perf_counter()
        self._transport.send(WSMsgType.TEXT, json.dumps(command).encode())

    async def wait(self, future: asyncio.Future[None], seconds: float) -> None:
        """Wait for one of `accepted`, `begun` and `done`. Raises `BenchError` when it doesn't come."""
        try:
            await asyncio.wait_for(asyncio.shield(future), seconds)
        except TimeoutError:
            raise BenchError(f"{self.name}: {self.rows} of {self.total} rows after {seconds} s") from None

    def leave(self) -> None:
        self._left = True
        if self._transport is not None:
            self._transport.send_close()
            self._transport.disconnect()

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        code = transport.close_handshake and transport.close_handshake.recv
        self._fail(f"the server has hung up after {self.rows} of {self.total} rows: {code and code.code}")

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        now = time.perf_counter()  # before it is looked at, which takes this side's time
        if frame.msg_type is not WSMsgType.TEXT:
            return
        if not self.hello:
            self.hello = frame.get_payload_as_bytes()
            if b"false" in self.hello.partition(b'"success":')[2][:6]:
                self._fail(f"refused: {self.hello.decode()}")
            elif not self.accepted.done():
                self.accepted.set_result(None)
        elif frame.payload_size > _NO_ROW_BYTES and (new := self.count(frame)):
            self._take(new, now)

    def count(self, frame: WSFrame) -> int:
        """How many rows are in a frame; the last is looked at: when it is the last one, none is missing."""
        if self.rows + 1 == self.total and self.name:
            tail = bytes(frame.get_payload_as_memoryview()[-300:])
            if b'"node_id": "%s-%d"' % (self.name.encode(), self.total - 1) not in tail:
                self._fail(f"another row than the last one at its place: {tail.decode('utf-8', 'replace')}")
        return 1

    def _take(self, new: int, now: float) -> None:
        if not self.rows:
            self.first = now
            if not self.begun.done():
                self.begun.set_result(None)
        self.rows += new
        self.frames += 1
        if self.arrivals is not None:
            self.arrivals.extend([now] * new)
        if self.rows >= self.total and not self.done.done():
            self.done.set_result(None)

    def _fail(self, message: str) -> None:
        for future in (self.accepted, self.begun, self.done):
            if not future.done() and not self._left:
                future.set_exception(BenchError(f"{self.name}: {message}"))
                future.exception()  # somebody may wait for one of the others only


class PeerViewer(Viewer):
    """A viewer of bare or node, whose rows are all the same."""

    def count(self, frame: WSFrame) -> int:
        return 1


class V1Viewer(Viewer):
    """A viewer in replay.v1. Rows that are missing, or come twice, are seen by their offsets in every frame."""

    subprotocol = "replay.v1"
    thorough = False
    """Whether the rows between the first and the last of a frame are looked at, too."""
    offset = 0

    def count(self, frame: WSFrame) -> int:
        payload = frame.get_payload_as_memoryview()
        head = bytes(payload[:_HEAD_BYTES])
        if not head.startswith((b'{"data":', b'{"type":"rows"')):
            if head.startswith(b'{"type":"error"'):
                self._fail(head.decode("utf-8", "replace"))
            return 0
        tail = bytes(payload[-_HEAD_BYTES:])
        last = int(_NUMBER.match(tail, tail.rindex(_OFFSET))[1])  # type: ignore[index]
        first = last
        if head.startswith(b'{"type"'):
            first = int((_NUMBER.search(head) or _NUMBER.search(payload))[1])  # type: ignore[index]
        if first != self.offset + 1 or (self.thorough and bytes(payload).count(_OFFSET) != last - first + 1):
            self._fail(f"expected row {self.offset + 1}, got rows {first} to {last}")
        self.offset = last
        return last - first + 1
