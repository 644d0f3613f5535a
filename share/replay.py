"""One replay: a recording, a timeline and a clock make frames, each sent when it is due. It owns its state alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from .clock import Timer
from .feed import Feed
from .steering import Steering
from .timeline import Timeline
from .visit import Visit
from .wire_v1 import FieldError, encode

MAX_BATCH_ROWS = 64
MAX_WAITING_COMMANDS = 1000

Command = Mapping[str, Any] | bytes
"""A checked command, or the frame that answers one that could not be."""


class Send(Protocol):
    """Sends frames, which may go out in one write. Safe to cancel."""

    async def __call__(self, *frames: bytes) -> None: ...


class Replay:
    """The replay of one viewer. Commands are put in by `command`, and carried out one after the other by `run`.

    So nothing of a replay changes while a frame of it is on its way: what a `state` says is true when it is sent.
    `error_frame` makes an error frame of a code and a message.
    """

    def __init__(
        self,
        feed: Feed,
        visit: Visit,
        send: Send,
        try_send: Callable[[bytes], bool],
        error_frame: Callable[[str, str], bytes],
        *,
        pace: str,
    ) -> None:
        self._feed = feed
        self._visit = visit
        self._clock = visit.clock
        self._send_all = send
        self._try_send = try_send
        self._error_frame = error_frame
        self._steering = Steering(feed, pace)
        self._commands: list[tuple[Command, float]] = []  # a deque takes 700 bytes with nothing in it
        self._woken: asyncio.Future[None] | None = None
        self._timer: Timer | None = None
        self._held: tuple[bytes, ...] = ()
        """A state that goes out with the row behind it, where that is there: a write takes longer than the row."""
        self._owed: tuple[int, float] | None = None
        """Rows after this offset have been passed, and the task is to send them; when the first was due."""

    def command(self, command: Command) -> bool:
        """Have a command carried out as soon as it is its turn; False where too many are waiting."""
        self._commands.append((command, self._clock.now()))
        self._wake()
        return len(self._commands) <= MAX_WAITING_COMMANDS

    async def run(self) -> None:
        """Carry out commands and send rows until cancelled. Safe to cancel."""
        try:
            while True:
                if self._owed is not None:
                    (offset, due), self._owed = self._owed, None
                    await self._send_rows(offset, due)
                while self._commands:
                    await self._send()
                    await self._answer(*self._commands.pop(0))
                if not await self._send_due():
                    if self._held:
                        await self._send()  # meanwhile a command may have come
                    else:
                        await self._wait()
        finally:
            self._feed.unfollow(self._wake)

    async def _send(self, *frames: bytes) -> None:
        """Send what is held, and these."""
        frames, self._held = self._held + frames, ()
        if frames:
            await self._send_all(*frames)

    async def _wait(self) -> None:
        self._visit.waiting()
        self._woken = asyncio.get_running_loop().create_future()
        due = self._steering.timeline.due(self._clock.now()) if self._steering.timeline else None
        if due is not None:
            self._timer = self._clock.call_at(due, self._on_due)
        try:
            await self._woken
        finally:
            self._woken = None
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def _wake(self) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    def _on_due(self) -> None:
        self._timer, due = None, None
        try:
            due = self._pass_row()
        finally:
            if due is None:
                self._wake()
            else:
                self._timer = self._clock.call_at(due, self._on_due)

    def _pass_row(self) -> float | None:
        """Send the row that is due, where no task is needed for it: it comes alone, is there, and the socket takes it.

        When the next one is due, which is later; None where the task has to go on.
        """
        timeline, now = self._steering.timeline, self._clock.now()
        if timeline is None or self._woken is None or self._woken.done() or not timeline.is_timed():
            return None
        due, offset = timeline.due(now), timeline.offset
        if due is None or due > now:
            return due
        self._steering.ended = False
        self._owed = offset, due  # also where an error comes: the task meets it then, and ends the connection
        if timeline.advance(now, MAX_BATCH_ROWS) > 1 or not self._send_at_once(offset):
            return None
        self._owed = None
        self._visit.rows_sent(1, due)
        return timeline.due(now)

    def _send_at_once(self, offset: int) -> bool:
        ready = self._feed.ready_batch(offset, 1)
        return ready is not None and self._try_send(ready[0])

    async def _send_due(self) -> bool:
        timeline = self._steering.timeline
        if timeline is None:
            return False
        now = self._clock.now()
        if self._steering.following:
            timeline.grow(len(self._feed.outline), now, at_once=True)
        offset = timeline.offset
        due = timeline.due(now) if timeline.is_timed() else None
        if not timeline.advance(now, MAX_BATCH_ROWS):
            return await self._send_end(timeline)
        self._steering.ended = False
        await self._send_rows(offset, due)
        return True

    async def _send_rows(self, offset: int, due: float | None) -> None:
        """Send the rows after `offset` that the timeline has passed; the first was due then, where it was timed."""
        assert self._steering.timeline is not None
        while offset < self._steering.timeline.offset:
            limit = self._steering.timeline.offset - offset
            if (ready := self._feed.ready_batch(offset, limit)) is None:
                await self._send()
                ready = await self._feed.batch(offset, limit)
            frame, count = ready
            await self._send(frame)
            self._visit.rows_sent(count, due)
            if due is None or count > 1:  # the socket may take everything at once, and nobody else would get a turn
                await asyncio.sleep(0)
            due = None
            offset += count

    async def _send_end(self, timeline: Timeline) -> bool:
        if self._steering.ended or not timeline.playing or timeline.offset < timeline.total:
            return False
        if self._steering.following and (self._feed.live or len(self._feed.outline) > timeline.total):
            return False
        self._steering.ended = True
        await self._send(encode({"type": "end", "offset": timeline.offset, "reason": self._feed.reason}))
        return True

    async def _answer(self, command: Command, asked: float) -> None:
        if isinstance(command, bytes):
            await self._send(command)
            return
        try:
            if command["type"] in ("shared", "replay"):
                await self._start(command)
                self._visit.replay_started(asked)
            else:
                self._steering.carry_out(command, self._clock.now())
        except FieldError as error:
            await self._send(self._error_frame("bad_field", str(error)))
        else:
            self._held = (self._state(command),)

    async def _start(self, command: Mapping[str, Any]) -> None:
        await self._steering.start(command, self._clock.now)
        if self._steering.following:
            self._feed.follow(self._wake)
        else:
            self._feed.unfollow(self._wake)

    def _state(self, command: Mapping[str, Any]) -> bytes:
        if self._steering.timeline is None:
            return self._error_frame("not_started", f"{command['type']}: expected the replay to be started first")
        return self._steering.state(self._clock.now())
