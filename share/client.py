"""`ReplayClient`: watch a recording from a Python program. Needs nothing but `websockets`."""

from __future__ import annotations

import asyncio
import json
import random
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.typing import Subprotocol

FINAL_CODES = range(4500, 5000)
"""Close codes after which trying again can't help."""

HELLO_SECONDS = 20.0
FIRST_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS = 0.5, 10.0

Row = dict[str, Any]


class ReplayError(Exception):
    """The server said no, or can't be understood. `code` is the close code, where there was one."""

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class ReplayClient:
    """An asynchronous iterator over the rows of a recording, as they become due; it ends when the recording is over.

    A row is its frame in replay.v1 (docs/protocol.md) as a dict: `offset`, `at` (seconds), `status`, `data` and so on.
    When the connection is lost the client comes back by itself, waiting up to 10 s between two tries, and goes on after
    the last row that it has: every row comes once. After a seek backwards the rows come again. Enter it with
    `async with`; leaving closes the connection. Only one task may iterate. Cancelling that is safe, and loses no row.

    Arguments: `url` of the server (http, https, ws or wss, with the path it is mounted at), the recording's id, and how
    to play: `pace` is `recorded`, `classic`, `instant` or a number of seconds, `speed` 0.1 to 100, `idle_time_limit`
    and `start_at` in seconds, `follow` whether to wait for rows of a run that is still going on. `on_connection` is
    told, in words, when the connection is lost and when it is back.

    Entering raises `OSError` or `TimeoutError` when the server can't be reached and `ReplayError` when it refuses;
    iterating raises `ReplayError` when it refuses later on, or doesn't accept a command.
    """

    def __init__(
        self,
        url: str,
        interaction_id: str,
        *,
        pace: str | float = "recorded",
        speed: float = 1,
        idle_time_limit: float | None = None,
        start_at: float | None = None,
        follow: bool = True,
        on_connection: Callable[[str], None] = lambda message: None,
    ) -> None:
        self._address = socket_url(url, interaction_id)
        if interaction_id.startswith(
            "rs_"
        ):  # a share link, which may count its viewers: who comes back is the same one
            self._address += f"?viewer={secrets.token_urlsafe(16)}"
        self._pace = pace
        self._follow = follow
        self._start_at = start_at
        self._on_connection = on_connection
        self._connection: ClientConnection | None = None
        self._rows: deque[Row] = deque()
        self._at_live_edge = start_at is None
        self._unanswered: list[dict[str, Any]] = []
        self._backoff = FIRST_BACKOFF_SECONDS
        self._accepted = (speed, idle_time_limit)
        self.playing = True
        self.speed = speed
        self.idle_time_limit = idle_time_limit
        self.recording: dict[str, Any] = {}
        """What the server said of the recording: description, total, duration, markers, live and so on."""
        self.offset = 0
        """The last row that has come: 1 is the first."""
        self.at = 0.0
        """That row's time, in seconds from the first."""
        self.end: str | None = None
        """How the recording ended, `finished`, `failed` or `truncated`, once it is over."""

    async def __aenter__(self) -> Self:
        await self._connect()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._connection is not None:
            await self._connection.close()

    def __aiter__(self) -> AsyncIterator[Row]:
        return self

    async def __anext__(self) -> Row:
        while not self._rows:
            if self.end is not None:
                raise StopAsyncIteration
            await self._receive()
        row = self._rows.popleft()
        self.offset, self.at = row["offset"], row["at"]
        return row

    @property
    def is_seeking(self) -> bool:
        """Whether a seek has been asked for to which the server has not yet answered."""
        return any(command["type"] == "seek" for command in self._unanswered)

    async def pause(self) -> None:
        """Stop where the replay is."""
        self.playing = self._at_live_edge = False
        await self._send({"type": "pause"})

    async def play(self) -> None:
        """Go on; after the end, play everything again."""
        if self.end is not None:
            await self.seek(offset=0)
        self.playing = True
        await self._send({"type": "play"})

    async def seek(self, *, offset: int | None = None, at: float | None = None, marker: int | None = None) -> None:
        """Go to a row, to a moment in seconds from the first row, or to a marker: exactly one of them."""
        target = {"offset": offset, "at": at, "marker": marker}
        self._at_live_edge, self.end = False, None
        await self._send({"type": "seek"} | {name: value for name, value in target.items() if value is not None})

    async def set_speed(self, speed: float) -> None:
        """Play `speed` times as fast, 0.1 to 100."""
        self.speed = speed
        await self._send({"type": "set_speed", "speed": speed})

    async def set_idle_time_limit(self, seconds: float | None) -> None:
        """Let no pause be longer than `seconds`; None for no limit."""
        self.idle_time_limit = seconds
        await self._send({"type": "set_idle_time_limit", "seconds": seconds})

    async def _send(self, command: dict[str, Any]) -> None:
        self._unanswered.append(command)
        if self._connection is not None:
            with suppress(ConnectionClosed):  # the next receive notices, and what was asked for is sent again
                await self._connection.send(json.dumps(command))

    async def _receive(self) -> None:
        assert self._connection is not None, "enter the client with async with"
        try:
            message = await self._connection.recv()
        except ConnectionClosed as closed:
            await self._come_back(closed)
        else:
            with _understanding():
                self._take(json.loads(message))

    def _take(self, frame: dict[str, Any]) -> None:
        self._backoff = FIRST_BACKOFF_SECONDS
        match frame.get("type"):
            case None:
                self._rows.append(_checked(frame))
            case "rows":
                self._rows.extend(map(_checked, frame["rows"]))
            case "state":
                self._take_state(frame)
            case "end":
                reason = _text(frame["reason"])
                if not self.is_seeking and {"type": "play"} not in self._unanswered:
                    self.end = reason  # else it was sent before what was asked for since
            case "error" if frame.get("code") == "internal":
                pass  # the server has trouble of its own, and hangs up: then we come back
            case "error":
                del self._unanswered[:1]
                self.speed, self.idle_time_limit = self._accepted
                raise ReplayError(_text(frame["message"]))

    def _take_state(self, state: dict[str, Any]) -> None:
        del self._unanswered[:1]
        if not self._unanswered:
            self._accepted = (self.speed, self.idle_time_limit)
        # After a seek backwards we hold only the rows up to there; those that are on their way were sent before it.
        if state["offset"] < self._newest:
            while self._rows and self._rows[-1]["offset"] > state["offset"]:
                self._rows.pop()
            self.offset, self.at = min(self.offset, state["offset"]), state["at"]
        self.recording |= {name: state[name] for name in ("total", "duration", "live")}

    @property
    def _newest(self) -> int:
        return self._rows[-1]["offset"] if self._rows else self.offset

    async def _connect(self) -> None:
        try:
            connection = await connect(
                self._address, subprotocols=[Subprotocol("replay.v1")], compression=None, max_size=None, close_timeout=1
            )
        except (WebSocketException, ValueError) as error:
            raise ReplayError(f"there is no replay server: {error}") from None
        try:
            await self._greet(connection)
        except BaseException:
            await connection.close()
            raise
        self._connection = connection

    async def _greet(self, connection: ClientConnection) -> None:
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                message = await connection.recv()
        except ConnectionClosed as closed:
            raise _refusal(closed) from None
        with _understanding():
            await self._start(connection, json.loads(message))

    async def _start(self, connection: ClientConnection, hello: dict[str, Any]) -> None:
        if hello.get("type") == "error":
            raise ReplayError(_text(hello["message"]), await _close_code(connection))
        if connection.subprotocol != "replay.v1" or hello.get("status") != "connect":
            raise ReplayError("the server doesn't speak replay.v1")
        epoch = self.recording.get("epoch")
        self.recording = {"epoch": _text(hello["data"]["epoch"])} | hello["data"]
        start: dict[str, Any] = {
            "type": "shared",
            "speed": self.speed,
            "pace": self._pace,
            "idle_time_limit": self.idle_time_limit,
            "follow": self._follow,
            "autoplay": self.playing,
            "start_at": self._start_at,
        }
        if epoch is not None:
            start |= {"offset": self._newest, "epoch": epoch}
            if self._newest or self._at_live_edge:
                start["start_at"] = None if self._at_live_edge else self.at
            if epoch != self.recording["epoch"]:
                self._rows.clear()
                self.offset, self.at, start["start_at"] = 0, 0.0, None
        # All but where to go is in the start; that comes behind it, where it was not answered before the loss.
        self._unanswered = [start, *(command for command in self._unanswered if command["type"] == "seek")]
        with suppress(ConnectionClosed):  # the next receive notices
            for command in self._unanswered:
                await connection.send(json.dumps(command))

    async def _come_back(self, closed: ConnectionClosed) -> None:
        if closed.rcvd is not None and closed.rcvd.code in FINAL_CODES:
            raise _refusal(closed)
        self._on_connection("connection lost")
        while True:
            await asyncio.sleep(random.uniform(0, self._backoff))
            self._backoff = min(2 * self._backoff, MAX_BACKOFF_SECONDS)
            try:
                await self._connect()
            except ReplayError as error:
                if error.code in FINAL_CODES:
                    raise
                self._on_connection(f"not yet: {error}")
            except (OSError, TimeoutError) as error:
                self._on_connection(f"not yet: {error}")
            else:
                self._on_connection("connected again")
                return


@contextmanager
def _understanding() -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ReplayError(f"the server sent what is no frame of replay.v1: {error!r}"[:200]) from None


def _checked(row: Row) -> Row:
    if not isinstance(row["offset"], int) or not isinstance(row["at"], int | float):
        raise TypeError("a row has no place")
    return row


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a string, got {value!r}")
    return value


def _refusal(closed: ConnectionClosed) -> ReplayError:
    code = closed.rcvd.code if closed.rcvd else None
    reason = closed.rcvd.reason if closed.rcvd else ""
    return ReplayError(reason or f"the server closed the connection with {code}", code)


async def _close_code(connection: ClientConnection) -> int | None:
    try:
        async with asyncio.timeout(5):
            await connection.wait_closed()
    except TimeoutError:
        return None
    return connection.close_code


def socket_url(url: str, interaction_id: str) -> str:
    """The address of a recording's socket on the server at `url`: http, https, ws or wss, with or without a path.

    Raises `ReplayError` for what is no such address.
    """
    try:
        parts = urlsplit(url)
        assert parts.port is None or parts.port  # the port is looked at only now
    except (ValueError, AssertionError):
        parts = urlsplit("")
    scheme = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}.get(parts.scheme)
    if scheme is None or not parts.netloc:
        raise ReplayError(f"url: expected an address such as http://127.0.0.1:8090, got {url}")
    return f"{scheme}://{parts.netloc}{parts.path.rstrip('/')}/ws/share/{quote(interaction_id, safe='')}"
