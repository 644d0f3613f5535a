"""The real clock: what is set for a moment is called then, in order, and nothing of what was taken back stays."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

import pytest

import share.clock
from share.clock import LoopClock
from tests.fake_clock import until


async def test_the_first_to_be_due_comes_first() -> None:
    clock, called = LoopClock(), list[str]()
    now = clock.now()
    for name, delay in (("third", 0.03), ("first", 0.01), ("fourth", 0.03), ("second", 0.02)):
        clock.call_at(now + delay, partial(called.append, name))
    await until(lambda: len(called) == 4)
    assert called == ["first", "second", "third", "fourth"]


async def test_nothing_comes_before_its_moment() -> None:
    clock, early = LoopClock(), list[float]()

    def look(when: float) -> None:
        early.append(when - clock.now())

    start = clock.now()
    for number in range(50):
        when = start + 0.01 + number * 0.00037
        clock.call_at(when, partial(look, when))
    await until(lambda: len(early) == 50)
    assert max(early) <= 0


async def test_who_sleeps_until_a_moment_that_is_past_goes_on_at_once() -> None:
    clock = LoopClock()
    await clock.sleep_until(clock.now() - 1)
    before = clock.now()
    await clock.sleep_until(before + 0.01)
    assert clock.now() >= before + 0.01


async def test_what_is_taken_back_is_not_called() -> None:
    clock, called = LoopClock(), list[str]()
    now = clock.now()
    clock.call_at(now + 0.01, partial(called.append, "taken back")).cancel()
    clock.call_at(now + 0.02, partial(called.append, "kept"))
    await until(lambda: bool(called))
    assert called == ["kept"]


async def test_a_cancelled_sleeper_leaves_the_others_asleep() -> None:
    clock = LoopClock()
    now = clock.now()
    cancelled, other = (asyncio.create_task(clock.sleep_until(now + delay)) for delay in (0.01, 0.02))
    await asyncio.sleep(0)
    cancelled.cancel()
    await other
    assert cancelled.cancelled()


async def test_a_broken_call_takes_no_other_with_it() -> None:
    clock, called, told = LoopClock(), list[str](), list[BaseException]()
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context["exception"]))

    def break_down() -> None:
        raise ValueError("broken")

    when = clock.now() + 0.01
    clock.call_at(when, break_down)
    clock.call_at(when, partial(called.append, "the next"))
    await until(lambda: bool(called))
    assert [str(error) for error in told] == ["broken"]


async def test_those_that_are_due_leave_the_loop_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(share.clock, "CALLS_AT_ONCE", 10)
    clock, called = LoopClock(), list[str]()
    when = clock.now()
    for _ in range(35):
        clock.call_at(when, partial(called.append, "due"))
    turns = 0
    while len(called) < 35:
        await asyncio.sleep(0)
        turns += 1
        assert len(called) <= 10 * turns


async def test_many_that_are_taken_back_take_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(share.clock, "SPARE_CALLS", 10)
    clock, called = LoopClock(), list[str]()
    kept: Callable[[], None] = partial(called.append, "kept")
    clock.call_at(clock.now() + 0.01, kept)
    for number in range(1000):
        clock.call_at(clock.now() + 3600 + number, kept).cancel()
    (schedule,) = clock._schedules.values()
    assert len(schedule._calls) < 20
    await until(lambda: bool(called))
    assert called == ["kept"]
    assert not schedule.live


def test_each_loop_has_its_own() -> None:
    clock = LoopClock()

    async def slept_seconds() -> float:
        before = clock.now()
        clock.call_at(before + 3600, lambda: None)  # and the loop ends before that
        await clock.sleep_until(before + 0.01)
        return clock.now() - before

    assert all(asyncio.run(slept_seconds()) >= 0.01 for _ in range(2))
