"""The terminal viewer: prints the steps of a replay as they come, and takes keys on a terminal."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any

import click

from .client import ReplayClient, ReplayError
from .logs import printable
from .render import plain, render

MAX_LINES = 12
"""Of each text, on a terminal; in a pipe all of it."""

SPEEDS = (0.1, 0.25, 0.5, 1, 1.5, 2, 4, 8, 16, 32, 64, 100)

QUIT = "q"
_ARROWS = {"\x1b[C": "→", "\x1b[D": "←", "\x1bOC": "→", "\x1bOD": "←"}


class WatchError(Exception):
    """A recording can't be watched; the message says why."""


async def watch_recording(url: str, interaction_id: str, **options: Any) -> None:
    """Print the replay of a recording until it is over. `options` are those of `ReplayClient`.

    On a terminal: space pauses and goes on, the arrows go a step back and forth, + and - change the speed, q leaves.
    Raises `WatchError`; safe to cancel, and the terminal is then as it was.
    """
    async with AsyncExitStack() as stack:
        try:
            client = ReplayClient(url, interaction_id, on_connection=_say, **options)
            await stack.enter_async_context(client)
        except (OSError, TimeoutError) as error:
            raise WatchError(printable(f"can't connect to {url}: {error}; is the server running?", 500)) from None
        except ReplayError as error:
            raise WatchError(printable(str(error), 500)) from None
        keys: asyncio.Queue[str] = asyncio.Queue()
        with _reading_keys(keys.put_nowait):
            await _play(client, keys)


async def _play(client: ReplayClient, keys: asyncio.Queue[str]) -> None:
    tasks = {asyncio.create_task(_print(client)), asyncio.create_task(_control(client, keys))}
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    except ReplayError as error:
        raise WatchError(printable(str(error), 500)) from None
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _print(client: ReplayClient) -> None:
    max_lines = MAX_LINES if sys.stdout.isatty() else None
    while client.end is None:
        try:
            async for row in client:
                for line in render(row, max_lines):
                    click.echo(line)
        except ReplayError as error:
            if not str(error).startswith("seek: offset"):
                raise
    if client.end == "truncated":
        _say("the recording breaks off here")


async def _control(client: ReplayClient, keys: asyncio.Queue[str]) -> None:
    place = 0  # where the arrows have led, which may be ahead of what has come
    while (key := await keys.get()) != QUIT:
        match key:
            case " ":
                await (client.pause() if client.playing else client.play())
                _say("playing" if client.playing else f"paused at step {client.offset}; space goes on")
            case "→" | "←":
                place = (place if client.is_seeking else client.offset) + (1 if key == "→" else -1)
                # How many rows a run has that is going on, the server knows better; it says no where there is none.
                place = max(1, place if client.recording["live"] else min(place, client.recording["total"]))
                await _show_step(client, place, back=key == "←")
            case "+" | "=":
                await _set_speed(client, next((speed for speed in SPEEDS if speed > client.speed), SPEEDS[-1]))
            case "-":
                await _set_speed(client, next((speed for speed in reversed(SPEEDS) if speed < client.speed), SPEEDS[0]))


async def _show_step(client: ReplayClient, step: int, *, back: bool) -> None:
    if step == client.offset and not client.is_seeking:
        return
    if back and step < client.offset:
        # To before the step, and then over it: it is shown at once, also while the replay is paused.
        _say(f"back to step {step}")
        await client.seek(offset=step - 1)
    if back or step > client.offset:
        await client.seek(offset=step)


async def _set_speed(client: ReplayClient, speed: float) -> None:
    await client.set_speed(speed)
    _say(f"speed {speed:g}")


@contextmanager
def _reading_keys(put: Callable[[str], None]) -> Iterator[None]:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        yield
        return
    import termios  # here, because Windows has none: there it is watched without keys
    import tty

    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    loop = asyncio.get_running_loop()

    def read() -> None:
        text = os.read(terminal, 64).decode(errors="replace")
        for sequence, arrow in _ARROWS.items():
            text = text.replace(sequence, arrow)
        for key in text or QUIT:
            put(key)

    try:
        tty.setcbreak(terminal)
        loop.add_reader(terminal, read)
        yield
    finally:
        loop.remove_reader(terminal)
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def _say(message: str) -> None:
    click.echo(click.style(f"— {plain(message)} —", dim=True), err=True)
