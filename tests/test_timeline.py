from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from share.timeline import RecordedTimes, Timeline, classic, every, parse_time, recorded

START = 1000.0
GAPS = st.lists(st.one_of(st.just(0.0), st.integers(1, 4000).map(lambda n: n / 16)), max_size=12)
SPEEDS = st.sampled_from([0.1, 0.25, 0.5, 1, 2, 8, 100])
LIMITS = st.none() | st.sampled_from([0, 0.125, 1, 5, 60])
RECORDINGS = GAPS.map(lambda gaps: [sum(gaps[:count]) for count in range(len(gaps) + 1)])


def times_of(*create_times: str | None) -> list[float]:
    times = RecordedTimes()
    for create_time in create_times:
        times.append(create_time)
    return list(times.at)


class Player:
    """Passes the rows of a timeline when they are due, with a clock of its own, and keeps when each was passed."""

    def __init__(self, at: Sequence[float], **options: Any) -> None:
        self.timeline = Timeline(at, **{"total": len(at)} | options)
        self.now = self.last_due = START
        self.timeline.start(0, self.now)
        self.passed: list[tuple[int, float]] = []

    def wait(self, seconds: float) -> None:
        """Let time pass, and all rows that are due in it."""
        end = self.now + seconds
        while (due := self.timeline.due(self.now)) is not None and due <= end:
            assert due >= self.last_due - 1e-6, "a row is due before one that has been passed"
            self.now, self.last_due = max(self.now, due), due
            offset = self.timeline.offset
            assert self.timeline.advance(self.now, 1) == 1
            self.passed.append((offset + 1, self.now))
        self.now = end

    def finish(self) -> None:
        while (due := self.timeline.due(self.now)) is not None:
            self.wait(max(0.0, due - self.now))

    @property
    def offsets(self) -> list[int]:
        return [offset for offset, _ in self.passed]

    @property
    def pauses(self) -> list[float]:
        return [after - before for (_, before), (_, after) in pairwise(self.passed)]


# Recorded times


@pytest.mark.parametrize(
    "text",
    [
        "2023-11-17 10:00:00",
        "2023-11-17T10:00:00",
        "2023-11-17 10:00",
        "2023-11-17T10:00:00Z",
        "2023-11-17T12:00:00+02:00",
        "2023-11-17 02:00:00-08:00",
        "2023-11-17 10:00:00.000",
        "2023-11-17 10:00:00.000000",
        "2023-11-17T10:00:00.000000000Z",
        "20231117T100000Z",
        "  2023-11-17 10:00:00\n",
    ],
)
def test_one_moment_is_read_however_it_is_written(text: str) -> None:
    assert times_of("2023-11-17 09:59:50", text) == [0, 10]


@pytest.mark.parametrize(("text", "at"), [("10:00:00.5", 0.5), ("10:00:00.25", 0.25), ("10:00:00.123456", 0.123456)])
def test_fractions_of_a_second_count(text: str, at: float) -> None:
    assert times_of("2023-11-17 10:00:00", f"2023-11-17 {text}") == pytest.approx([0, at])


def test_a_date_alone_is_its_midnight() -> None:
    assert times_of("2023-11-17", "2023-11-17 00:01:00") == [0, 60]


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        " ",
        "yesterday",
        "0000-00-00 00:00:00",
        "2023-02-30 10:00:00",
        "2023-11-17 25:00:00",
        "1700215200",
        "NaN",
        "9999-12-31T23:59:59-23:59",
        "0001-01-01T00:00:00+23:59",
        "2023-11-17\ud80010:00:00\udcff",
        "٢٠٢٣-11-17 10:00:00",
    ],
)
def test_a_time_that_cannot_be_read_is_one_second_later(text: str | None) -> None:
    assert parse_time(text) is None
    assert times_of("2023-11-17 10:00:00", text, "2023-11-17 10:00:09") == [0, 1, 9]


def test_rows_without_any_time_are_a_second_apart() -> None:
    assert times_of(None, None, "nonsense", "") == [0, 1, 2, 3]


def test_the_first_time_that_can_be_read_is_counted_from_the_row_before() -> None:
    assert times_of(None, None, "2023-11-17 10:00:00", "2023-11-17 10:00:05") == [0, 1, 2, 7]


def test_a_time_that_goes_back_is_recorded_together_with_the_row_before() -> None:
    at = times_of("2023-11-17 10:00:10", "2023-11-17 10:00:20", "2023-11-17 10:00:00", "2023-11-17 10:00:30")
    assert at == [0, 10, 10, 20]


def test_a_time_before_the_first_row_is_no_time_before_it() -> None:
    assert times_of("2023-11-17 10:00:00", "1970-01-01 00:00:00", "2023-11-17 10:00:01") == [0, 0, 1]


ANY_TIME = st.one_of(
    st.none(),
    st.text(st.characters(exclude_categories=()), max_size=30),
    st.datetimes().map(str),
    st.datetimes(timezones=st.timezones()).map(lambda time: time.isoformat()),
    st.datetimes().map(lambda time: time.isoformat(timespec="milliseconds") + "Z"),
)


@given(st.lists(ANY_TIME, max_size=20))
def test_times_never_go_back_whatever_was_recorded(create_times: list[str | None]) -> None:
    at = times_of(*create_times)
    assert len(at) == len(create_times)
    assert at[:1] == [0.0][: len(at)]
    assert all(before <= after < float("inf") for before, after in pairwise(at))


# Pace


@given(RECORDINGS, SPEEDS)
def test_without_a_limit_the_pauses_are_the_recorded_ones_divided_by_the_speed(at: list[float], speed: float) -> None:
    player = Player(at, speed=speed)
    player.finish()
    assert player.offsets == list(range(1, len(at) + 1))
    assert sum(player.pauses) == pytest.approx(at[-1] / speed)
    assert player.pauses == pytest.approx([(after - before) / speed for before, after in pairwise(at)], abs=1e-6)


@given(RECORDINGS, SPEEDS, LIMITS)
def test_no_pause_is_longer_than_the_limit_and_none_is_cut_that_is_not(
    at: list[float], speed: float, limit: float | None
) -> None:
    player = Player(at, speed=speed, idle_time_limit=limit)
    player.finish()
    longest = float("inf") if limit is None else limit
    expected = [min((after - before) / speed, longest) for before, after in pairwise(at)]
    assert player.pauses == pytest.approx(expected, abs=1e-6)


@given(RECORDINGS, st.sampled_from([0, 0.5, 3]), SPEEDS)
def test_a_number_of_seconds_is_every_pause(at: list[float], seconds: float, speed: float) -> None:
    player = Player(at, pace=every(seconds), speed=speed)
    player.finish()
    assert player.pauses == pytest.approx([seconds / speed] * (len(at) - 1), abs=1e-6)


@given(RECORDINGS)
def test_instant_passes_all_rows_at_once(at: list[float]) -> None:
    timeline = Player(at, pace=every(0)).timeline
    assert timeline.advance(START, len(at) + 1) == len(at)


def test_classic_pauses_are_one_to_three_whole_seconds_divided_by_the_speed() -> None:
    player = Player([0.0] * 200, pace=classic, speed=2)
    player.finish()
    assert set(player.pauses) == {0.5, 1.0, 1.5}


def test_the_same_pause_is_asked_for_again_and_again_and_stays_what_it_is() -> None:
    timeline = Player([0.0] * 3, pace=classic).timeline
    timeline.advance(START, 1)
    assert len({timeline.due(START + wait) for wait in (0, 0.25, 0.5) * 10}) == 1


@given(st.floats(0, 86_400), st.floats(0.1, 100), st.none() | st.floats(0, 86_400), st.floats(0, 1e6))
@example(5e-324, 100.0, None, 1.0)
@example(1.0, 1.0, 5e-324, 1.0)
def test_no_number_is_too_small_or_too_large(seconds: float, speed: float, limit: float | None, wait: float) -> None:
    player = Player([0.0] * 4, pace=every(seconds), speed=speed, idle_time_limit=limit)
    player.wait(wait)
    player.timeline.set_speed(100.0, player.now)
    player.timeline.set_idle_time_limit(1e-300, player.now)
    assert 0 <= player.timeline.position(player.now + 1) < float("inf")
    player.finish()
    assert player.offsets == [1, 2, 3, 4]


# The first row, the last, none


def test_the_first_row_is_due_at_once() -> None:
    assert Player([0.0, 5.0]).timeline.due(START + 3) == START


def test_an_empty_recording_has_nothing_due_and_can_be_told_everything() -> None:
    timeline = Player([]).timeline
    timeline.seek(0, START)
    timeline.seek_at(0, START)
    timeline.pause(START)
    timeline.play(START)
    timeline.set_speed(2, START)
    timeline.set_idle_time_limit(0, START)
    assert timeline.due(START) is None
    assert timeline.advance(START + 10, 5) == 0
    assert timeline.position(START) == 0


def test_advance_passes_no_more_rows_than_the_limit() -> None:
    timeline = Player([0.0] * 10).timeline
    assert [timeline.advance(START, 4) for _ in range(4)] == [4, 4, 2, 0]


def test_a_paused_replay_has_nothing_due() -> None:
    player = Player([0.0, 1.0])
    player.timeline.pause(START)
    assert player.timeline.due(START + 100) is None


def test_lateness_does_not_add_up() -> None:
    timeline = Player([0.0, 1.0, 2.0, 3.0, 4.0]).timeline
    for late in (0.4, 0.3, 0.2):
        due = timeline.due(START)
        assert due is not None
        timeline.advance(due + late, 1)
    assert timeline.due(START) == START + 3
    assert timeline.advance(START + 3.9, 10) == 1
    assert timeline.due(START) == START + 4


# Changes at any moment: no jump, no drift

CHANGES = st.one_of(
    st.tuples(st.just("set_speed"), SPEEDS),
    st.tuples(st.just("set_idle_time_limit"), LIMITS),
    st.tuples(st.just("pause"), st.none()),
    st.tuples(st.just("play"), st.none()),
)
WAITS = st.integers(0, 600).map(lambda n: n / 8)


def apply(timeline: Timeline, change: tuple[str, Any], now: float) -> None:
    name, value = change
    arguments = () if name in ("pause", "play") else (value,)
    getattr(timeline, name)(*arguments, now)


@given(RECORDINGS, st.lists(st.tuples(WAITS, CHANGES), max_size=12))
def test_no_change_moves_the_position(at: list[float], changes: list[tuple[float, tuple[str, Any]]]) -> None:
    player = Player(at)
    for wait, change in changes:
        before = player.timeline.position(player.now)
        player.wait(wait)
        here = player.timeline.position(player.now)
        assert here >= before - 1e-6
        apply(player.timeline, change, player.now)
        assert player.timeline.position(player.now) == pytest.approx(here, abs=1e-6)


class Exactly:
    """The same by definition, in exact numbers: of each pause the fraction that has passed grows with time."""

    def __init__(self, at: Sequence[float]) -> None:
        self.gaps = [Fraction(0), *(Fraction(after) - Fraction(before) for before, after in pairwise(at))]
        self.speed, self.limit, self.playing = Fraction(1), None, True
        self.offset, self.fraction, self.now = 0, Fraction(0), Fraction(START)
        self.passed: list[tuple[int, Fraction]] = []

    def wait(self, seconds: Fraction | None) -> None:
        end = None if seconds is None else self.now + seconds
        while self.playing and self.offset < len(self.gaps):
            pause = self.gaps[self.offset] / self.speed
            pause = pause if self.limit is None else min(pause, self.limit)
            due = self.now + (1 - self.fraction) * pause
            if end is not None and due > end:
                self.fraction += (end - self.now) / pause
                break
            self.offset, self.fraction, self.now = self.offset + 1, Fraction(0), due
            self.passed.append((self.offset, due))
        self.now = self.now if end is None else end

    def change(self, change: tuple[str, Any]) -> None:
        match change:
            case "set_speed", speed:
                self.speed = Fraction(speed)
            case "set_idle_time_limit", limit:
                self.limit = None if limit is None else Fraction(limit)
            case name, _:
                self.playing = name == "play"


@given(RECORDINGS, st.lists(st.tuples(WAITS, CHANGES), max_size=12))
def test_every_row_is_passed_when_it_is_due_by_definition(
    at: list[float], changes: list[tuple[float, tuple[str, Any]]]
) -> None:
    player, exactly = Player(at), Exactly(at)
    for wait, change in [*changes, (0.0, ("play", None))]:
        player.wait(wait)
        exactly.wait(Fraction(wait))
        apply(player.timeline, change, player.now)
        exactly.change(change)
    player.finish()
    exactly.wait(None)
    assert player.offsets == [offset for offset, _ in exactly.passed]
    assert [time for _, time in player.passed] == pytest.approx([float(time) for _, time in exactly.passed], abs=1e-4)


@given(RECORDINGS, st.lists(WAITS, max_size=20), SPEEDS)
def test_changes_that_change_nothing_make_no_drift(at: list[float], waits: list[float], speed: float) -> None:
    player, undisturbed = Player(at, speed=speed), Player(at, speed=speed)
    for wait in waits:
        player.wait(wait)
        player.timeline.set_speed(speed, player.now)
        player.timeline.set_idle_time_limit(None, player.now)
        player.timeline.pause(player.now)
        player.timeline.play(player.now)
        player.timeline.play(player.now)
    player.finish()
    undisturbed.finish()
    assert [time for _, time in player.passed] == pytest.approx([time for _, time in undisturbed.passed], abs=1e-6)


def test_a_change_that_comes_before_rows_that_are_late_makes_no_drift() -> None:
    # A command is carried out before the rows are sent that became due while a slow reader held up a frame.
    at = [0.0, 10.0, 11.0, 12.0, 20.0]
    late, undisturbed = Player(at), Player(at)
    late.wait(0)
    late.now += 15
    late.timeline.set_speed(1.0, late.now)
    late.timeline.set_idle_time_limit(None, late.now)
    late.finish()
    undisturbed.finish()
    assert late.passed[-1] == undisturbed.passed[-1] == (5, START + 20)


def test_pausing_twice_is_pausing_once() -> None:
    player = Player([0.0, 10.0])
    player.wait(4)
    player.timeline.pause(player.now)
    player.wait(100)
    player.timeline.pause(player.now)
    player.wait(100)
    player.timeline.play(player.now)
    assert player.timeline.due(player.now) == player.now + 6


# Seeking


@given(RECORDINGS, st.data(), SPEEDS, WAITS)
def test_a_seek_is_there_at_once_and_goes_on_from_there(
    at: list[float], data: st.DataObject, speed: float, wait: float
) -> None:
    player = Player(at, speed=speed)
    player.wait(wait)
    offset = data.draw(st.integers(0, len(at)))
    before = player.timeline.offset
    player.timeline.seek(offset, player.now)
    assert player.timeline.position(player.now) == (at[offset - 1] if offset else 0)
    player.passed.clear()
    start = player.now
    player.finish()
    assert player.offsets == list(range(min(before, offset) + 1, len(at) + 1))
    for passed, time in player.passed:
        since = at[passed - 1] - at[max(offset, 1) - 1] if passed > offset else 0.0
        assert time - start == pytest.approx(since / speed, abs=1e-6)


@given(RECORDINGS, st.data(), WAITS)
def test_a_seek_to_a_time_is_at_that_time(at: list[float], data: st.DataObject, wait: float) -> None:
    player = Player(at)
    player.wait(wait)
    place = data.draw(st.floats(0, at[-1]))
    player.timeline.seek_at(place, player.now)
    assert player.timeline.position(player.now) == pytest.approx(place, abs=1e-6)
    start = player.now
    player.finish()
    assert player.timeline.offset == len(at)
    assert player.now - start == pytest.approx(at[-1] - place, abs=1e-6)


@pytest.mark.parametrize("playing", [True, False])
def test_a_seek_forwards_makes_the_rows_due_that_it_skips_even_while_paused(playing: bool) -> None:
    timeline = Player([0.0, 10.0, 20.0, 30.0], playing=playing).timeline
    timeline.seek(3, START)
    assert timeline.advance(START, 10) == 3
    assert timeline.due(START) == (START + 10 if playing else None)


def test_a_seek_backwards_makes_nothing_due_before_its_time() -> None:
    player = Player([0.0, 10.0, 20.0])
    player.wait(15)
    player.timeline.seek(1, player.now)
    assert player.timeline.due(player.now) == player.now + 10


def test_a_seek_to_the_end_and_one_behind_it_before_the_rows_were_passed() -> None:
    timeline = Player([0.0, 10.0, 20.0, 30.0]).timeline
    timeline.seek(4, START)
    timeline.advance(START, 1)
    timeline.seek(2, START)
    assert timeline.advance(START, 10) == 1
    assert timeline.due(START) == START + 10


COMMANDS = st.one_of(
    st.tuples(st.just("wait"), WAITS),
    st.tuples(st.just("seek"), st.floats(0, 1)),
    st.tuples(st.just("seek_at"), st.floats(0, 1)),
    CHANGES,
)


@given(RECORDINGS, st.lists(COMMANDS, max_size=20), st.sampled_from([recorded, classic, every(0), every(2)]))
@settings(max_examples=200)
def test_whatever_is_commanded_play_ends_with_every_row_passed_in_order_and_as_often_as_asked(
    at: list[float], commands: list[tuple[str, Any]], pace: Callable[..., float]
) -> None:
    player = Player(at, pace=pace)
    asked = [1] * len(at)  # once, and once more for every seek to before it after it was passed

    def go(seek: Callable[[], None], place: int) -> None:
        for offset in range(place, player.timeline.offset):
            asked[offset] += 1
        seek()

    for name, value in commands:
        match name:
            case "wait":
                player.wait(value)
            case "seek":
                place = round(value * len(at))
                go(lambda place=place: player.timeline.seek(place, player.now), place)
            case "seek_at":
                time = min(value * at[-1], at[-1])
                place = sum(one <= time for one in at)
                go(lambda time=time: player.timeline.seek_at(time, player.now), place)
            case _:
                apply(player.timeline, (name, value), player.now)
    player.timeline.play(player.now)
    player.finish()
    held = 0
    for offset in player.offsets:
        assert offset <= held + 1, "a row was left out"
        held = offset
    assert held == len(at)
    assert [player.offsets.count(offset) for offset in range(1, len(at) + 1)] == asked
    assert player.timeline.position(player.now) == at[-1]


# A recording that grows


def test_a_row_that_comes_at_the_live_edge_is_due_at_once() -> None:
    at = [0.0]
    player = Player(at)
    player.wait(100)
    at.append(90.0)
    player.timeline.grow(2, player.now, at_once=True)
    assert player.timeline.due(player.now) == player.now


def test_a_row_that_comes_while_others_are_still_to_come_has_its_recorded_pause() -> None:
    at = [0.0, 50.0]
    player = Player(at)
    player.wait(10)
    at.append(60.0)
    player.timeline.grow(3, player.now, at_once=True)
    player.finish()
    assert player.passed == [(1, START), (2, START + 50), (3, START + 60)]


def test_rows_that_come_while_those_before_them_are_on_their_way_are_due_at_once_too() -> None:
    # Who starts at the live edge of 100 rows, and gets them in batches, must not fall behind for ever.
    at = [float(n) for n in range(100)]
    player = Player(at)
    player.timeline.seek(100, player.now)
    player.timeline.advance(player.now, 64)
    at.append(130.0)
    player.timeline.grow(101, player.now, at_once=True)
    player.timeline.advance(player.now, 64)
    assert player.timeline.offset == 101


def test_a_row_that_comes_while_the_replay_is_paused_waits_for_play() -> None:
    at = [0.0]
    player = Player(at)
    player.wait(1)
    player.timeline.pause(player.now)
    at.append(5.0)
    player.timeline.grow(2, player.now, at_once=True)
    assert player.timeline.due(player.now) is None
    player.wait(100)
    player.timeline.play(player.now)
    player.finish()
    assert player.offsets == [1, 2]


def test_growing_without_at_once_begins_the_pause_when_the_row_comes() -> None:
    at = [0.0]
    player = Player(at)
    player.wait(100)
    at.append(5.0)
    player.timeline.grow(2, player.now, at_once=False)
    assert player.timeline.due(player.now) == player.now + 5


@given(RECORDINGS, RECORDINGS, st.lists(st.tuples(WAITS, CHANGES), max_size=6))
def test_growing_moves_no_position_back_and_loses_no_row(
    first: list[float], second: list[float], changes: list[tuple[float, tuple[str, Any]]]
) -> None:
    at = list(first)
    player = Player(at)
    for wait, change in changes:
        player.wait(wait)
        apply(player.timeline, change, player.now)
    before = player.timeline.position(player.now)
    at.extend(first[-1] + more for more in second)
    player.timeline.grow(len(at), player.now, at_once=True)
    assert player.timeline.position(player.now) >= before - 1e-6
    player.timeline.play(player.now)
    player.finish()
    assert player.offsets == list(range(1, len(at) + 1))
