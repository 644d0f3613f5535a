from __future__ import annotations

import asyncio

import pytest

from share.within import within


async def test_what_does_not_wait_is_done_at_once() -> None:
    done = []

    async def work() -> None:
        done.append(1)

    await within(0, work())
    assert done == [1]


async def test_what_waits_goes_on_when_its_time_has_come_however_often() -> None:
    gates = [asyncio.Event() for _ in range(3)]
    passed = []

    async def work() -> None:
        for gate in gates:
            await gate.wait()
            passed.append(gate)

    task = asyncio.create_task(within(3600, work()))
    for gate in gates:
        await asyncio.sleep(0)
        assert not task.done()
        gate.set()
    await task
    assert passed == gates


async def test_what_waits_for_too_long_is_cancelled_and_said_to_be_late() -> None:
    cleaned = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append(1)

    with pytest.raises(TimeoutError):
        await within(0.01, work())
    assert cleaned == [1]


@pytest.mark.parametrize("waits", [False, True])
async def test_an_error_comes_out(waits: bool) -> None:
    async def work() -> None:
        if waits:
            await asyncio.sleep(0)
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        await within(3600, work())


async def test_a_cancel_reaches_the_work() -> None:
    ended = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append(1)
            raise

    task = asyncio.create_task(within(3600, work()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [1]
