"""One replay: a recording, a timeline and a clock make frames, each sent when it is due. It owns its state alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from .clock import Timer
from .feed import Feed
from .timeline import Pace, Timeline, classic, every, instant, recorded
from .visit import Visit
from .wire_v1 import FieldError, encode

MAX_BATCH_ROWS = 64
MAX_WAITING_COMMANDS = 1000

Command = Mapping[str, Any] | bytes
"""A checked command, or the frame that answers one that could not be."""


class Replay:
    """The replay of one viewer. Commands are put in by `command`, and carried out one after the other by `run`.

    So nothing of a replay changes while a frame of it is on its way: what a `state` says is true when it is sent.
    `send` is given frames that may go out in one write, `error_frame` makes an error frame of a code and a message.
    """

    def __init__(
        self,
        feed: Feed,
        visit: Visit,
        send: Callable[..., Awaitable[None]],
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
        self._default_pace = pace
        self._commands: list[tuple[Command, float]] = []  # a deque takes 700 bytes with nothing in it
        self._woken: asyncio.Future[None] | None = None
        self._timer: Timer | None = None
        self._held: tuple[bytes, ...] = ()
        """A state that goes out with the row behind it, where that is there: a write takes longer than the row."""
        self._owed: tuple[int, float] | None = None
        """Rows after this offset have been passed, and the task is to send them; when the first was due."""
        self._timeline: Timeline | None = None
        self._following = False
        self._ended = False
        self._recovered = False

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
                    await self._send()
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
        due = self._timeline.due(self._clock.now()) if self._timeline else None
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
        timeline, now = self._timeline, self._clock.now()
        if timeline is None or self._woken is None or self._woken.done() or not timeline.is_timed():
            return None
        due, offset = timeline.due(now), timeline.offset
        if due is None or due > now:
            return due
        self._ended = False
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
        timeline = self._timeline
        if timeline is None:
            return False
        now = self._clock.now()
        if self._following:
            timeline.grow(len(self._feed.outline), now, at_once=True)
        offset = timeline.offset
        due = timeline.due(now) if timeline.is_timed() else None
        if not timeline.advance(now, MAX_BATCH_ROWS):
            return await self._send_end(timeline)
        self._ended = False
        await self._send_rows(offset, due)
        return True

    async def _send_rows(self, offset: int, due: float | None) -> None:
        """Send the rows after `offset` that the timeline has passed; the first was due then, where it was timed."""
        assert self._timeline is not None
        while offset < self._timeline.offset:
            limit = self._timeline.offset - offset
            if (ready := self._feed.ready_batch(offset, limit)) is None:
                await self._send()
                ready = await self._feed.batch(offset, limit)
            frame, count = ready
            await self._send(frame)
            self._visit.rows_sent(count, due)
            if due is None:  # the socket may take everything at once, and nobody else would get a turn
                await asyncio.sleep(0)
            due = None
            offset += count

    async def _send_end(self, timeline: Timeline) -> bool:
        if self._ended or not timeline.playing or timeline.offset < timeline.total:
            return False
        if self._following and (self._feed.live or len(self._feed.outline) > timeline.total):
            return False
        self._ended = True
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
                self._carry_out(command)
        except FieldError as error:
            await self._send(self._error_frame("bad_field", str(error)))
        else:
            self._held = (self._state() if self._timeline else self._not_started(command),)

    def _carry_out(self, command: Mapping[str, Any]) -> None:
        now = self._clock.now()
        timeline = self._timeline
        if timeline is None:
            return
        match command["type"]:
            case "play":
                # After the end it is said again, and nothing else: a client may send it before it hears of the end.
                self._ended = False
                timeline.play(now)
            case "pause":
                timeline.pause(now)
            case "seek":
                self._seek(timeline, command, now)
                self._ended = False
            case "set_speed":
                timeline.set_speed(command["speed"], now)
            case "set_idle_time_limit":
                timeline.set_idle_time_limit(command["seconds"], now)

    async def _start(self, command: Mapping[str, Any]) -> None:
        outline, offset = self._feed.outline, command["offset"]
        if offset > len(outline):  # another process may have shown rows of which this one doesn't know yet
            await self._feed.refresh()
        now, total = self._clock.now(), len(outline)
        recovered = command["epoch"] == self._feed.epoch
        if recovered or command["epoch"] is None:
            _check_range("shared", "offset", offset, total)
        start_at = command["start_at"]
        if start_at is not None:
            _check_range("shared", "start_at", start_at, outline.duration)
        timeline = Timeline(
            outline.at,
            pace=_pace(self._default_pace if command["pace"] is None else command["pace"]),
            speed=command["speed"],
            idle_time_limit=command["idle_time_limit"],
            playing=command["autoplay"],
            total=total,
        )
        timeline.start(offset if recovered else 0, now)
        if start_at is not None:
            timeline.seek_at(start_at, now)
        elif command["follow"] and self._feed.live and command["autoplay"]:
            timeline.seek(total, now)
        self._timeline, self._recovered, self._ended = timeline, recovered, False
        self._following = command["follow"]
        if self._following:
            self._feed.follow(self._wake)
        else:
            self._feed.unfollow(self._wake)

    def _seek(self, timeline: Timeline, command: Mapping[str, Any], now: float) -> None:
        if command["at"] is not None:
            _check_range("seek", "at", command["at"], timeline.at[timeline.total - 1] if timeline.total else 0)
            timeline.seek_at(command["at"], now)
            return
        offset = command["offset"]
        if command["marker"] is not None:
            offsets = self._feed.outline.marker_offsets
            _check_range("seek", "marker", command["marker"], len(offsets) - 1)
            offset = offsets[command["marker"]]
        _check_range("seek", "offset", offset, timeline.total)
        timeline.seek(offset, now)

    def _state(self) -> bytes:
        timeline = self._timeline
        assert timeline is not None
        return encode(
            {
                "type": "state",
                "playing": timeline.playing,
                "speed": timeline.speed,
                "offset": max(timeline.offset, timeline.place),
                "at": timeline.position(self._clock.now()),
                "total": timeline.total,
                "duration": timeline.at[timeline.total - 1] if timeline.total else 0.0,
                "live": self._feed.live,
                "recovered": self._recovered,
            }
        )

    def _not_started(self, command: Mapping[str, Any]) -> bytes:
        return self._error_frame("not_started", f"{command['type']}: expected the replay to be started first")


def _pace(pace: str | float) -> Pace:
    match pace:
        case "recorded":
            return recorded
        case "classic":
            return classic
        case "instant":
            return instant
        case seconds:
            return every(float(seconds))


def _check_range(command: str, field: str, value: float, highest: float) -> None:
    if value > highest:
        expected = f"between 0 and {_shown(highest)}" if highest >= 0 else "left out, there is none"
        raise FieldError(f"{command}: {field} must be {expected}, got {_shown(value)}")


def _shown(number: float) -> str:
    return str(int(number)) if number == int(number) else str(number)
