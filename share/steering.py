"""What commands do to a replay: where its timeline is, how fast it goes, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .feed import Feed
from .timeline import Pace, Timeline, classic, every, instant, recorded
from .wire_v1 import FieldError, encode


class Steering:
    """The timeline of a replay of `feed`, None before the first `start`.

    `following`: rows that come while it plays belong to it; `ended`: that it is over has been said. Every moment `now`
    is in seconds of one clock. What a command asks for and can't be raises `FieldError`, and nothing has changed.
    """

    def __init__(self, feed: Feed, default_pace: str) -> None:
        self.timeline: Timeline | None = None
        self.following = False
        self.ended = False
        self._feed = feed
        self._default_pace = default_pace
        self._recovered = False

    async def start(self, command: Mapping[str, Any], now: Callable[[], float]) -> None:
        """Begin at the place that the command names, `now()` once it is known to exist. Safe to cancel."""
        outline, offset = self._feed.outline, command["offset"]
        if offset > len(outline):  # another process may have shown rows of which this one doesn't know yet
            await self._feed.refresh()
        moment, total = now(), len(outline)
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
        timeline.start(offset if recovered else 0, moment)
        if start_at is not None:
            timeline.seek_at(start_at, moment)
        elif command["follow"] and self._feed.live and command["autoplay"]:
            timeline.seek(total, moment)
        self.timeline, self._recovered, self.ended = timeline, recovered, False
        self.following = command["follow"]

    def carry_out(self, command: Mapping[str, Any], now: float) -> None:
        """Do what a checked command other than the one that starts says; nothing before that one."""
        timeline = self.timeline
        if timeline is None:
            return
        match command["type"]:
            case "play":
                # After the end it is said again, and nothing else: a client may send it before it hears of the end.
                self.ended = False
                timeline.play(now)
            case "pause":
                timeline.pause(now)
            case "seek":
                self._seek(timeline, command, now)
                self.ended = False
            case "set_speed":
                timeline.set_speed(command["speed"], now)
            case "set_idle_time_limit":
                timeline.set_idle_time_limit(command["seconds"], now)

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

    def state(self, now: float) -> bytes:
        """The frame that says where the replay, which has been started, is."""
        timeline = self.timeline
        assert timeline is not None
        return encode(
            {
                "type": "state",
                "playing": timeline.playing,
                "speed": timeline.speed,
                "offset": max(timeline.offset, timeline.place),
                "at": timeline.position(now),
                "total": timeline.total,
                "duration": timeline.at[timeline.total - 1] if timeline.total else 0.0,
                "live": self._feed.live,
                "recovered": self._recovered,
            }
        )


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
