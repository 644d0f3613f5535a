"""The commands that serve, watch and record."""

from __future__ import annotations

import asyncio
import getpass
import signal
import sys
from contextlib import suppress
from typing import Any

import click

from storage.recordings import RunEnded
from storage.workspace import is_safe_id

from .access import NOT_FOUND
from .cli_store import complain, program, run_command
from .json_lines import LineError, record_lines
from .recorder import Recorder
from .serving import run_server
from .settings import SettingsError, XAgentServerEnv
from .store import open_store
from .watch import WatchError, watch_recording


@click.command()
@click.pass_obj
def serve(settings: XAgentServerEnv) -> None:
    """Serve the recordings, on SHARE_HOST and SHARE_PORT."""
    try:
        sys.exit(run_server(settings))
    except SettingsError as error:
        raise click.ClickException(str(error)) from None
    except KeyboardInterrupt:  # uvicorn raises the signal once more when everything is shut down
        sys.exit(130)


class Number(click.FloatRange):
    """A number in a range; click takes NaN for one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        return number if number == number else self.fail(f"{value!r} is no number.", param, ctx)


class Pace(click.ParamType[str | float]):
    """What `--pace` may be."""

    name = "pace"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | float:
        if value in ("recorded", "classic", "instant"):
            return str(value)
        try:
            return Number(0, 86_400).convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"expected recorded, classic, instant or a number of seconds, got {value!r}", param, ctx)


@click.command()
@click.argument("interaction_id", metavar="ID_OR_LINK")
@click.option("--url", help="Where the server is, such as https://replays.example.org; else SHARE_HOST and SHARE_PORT.")
@click.option("--pace", type=Pace(), default="recorded", help="recorded (default), classic, instant, or seconds.")
@click.option("--speed", type=Number(0.1, 100), default=1.0, help="How many times as fast.")
@click.option("--idle-time-limit", type=Number(0, 86_400), help="No pause longer than this, in seconds.")
@click.pass_obj
def watch(settings: XAgentServerEnv, /, interaction_id: str, url: str | None, **options: Any) -> None:
    """Watch a recording here in the terminal, from a running server; a link names the server, too.

    Keys: space pauses and goes on, the arrows go a step back or forth, + and - change the speed, q leaves.
    """
    if "://" in interaction_id:
        url, interaction_id = _split_link(interaction_id)
    if not is_safe_id(interaction_id):
        raise click.ClickException(NOT_FOUND)
    try:
        asyncio.run(_watch(url or _url(settings), interaction_id, options))
    except WatchError as error:
        raise click.ClickException(str(error)) from None
    except asyncio.CancelledError:
        sys.exit(128 + signal.SIGTERM)
    except KeyboardInterrupt:
        sys.exit(130)


def _split_link(link: str) -> tuple[str, str]:
    for path in ("/s/", "/r/"):
        server, found, name = link.partition("?")[0].partition("#")[0].rpartition(path)
        if found:
            return server, name
    raise click.ClickException("expected an id or a link such as https://replays.example.org/s/rs_…")


async def _watch(url: str, interaction_id: str, options: dict[str, Any]) -> None:
    _cancel_on(signal.SIGTERM)  # the terminal is set back then
    await watch_recording(url, interaction_id, **options)


def _cancel_on(*signals: signal.Signals) -> None:
    """Cancel the task that asks for it at the first of these signals, and only then: what it does last is not cut."""
    task = asyncio.current_task()
    assert task is not None
    # Not everywhere: only the main thread can be told of signals, and not on Windows.
    with suppress(RuntimeError, ValueError, NotImplementedError):
        for number in signals:
            asyncio.get_running_loop().add_signal_handler(number, lambda: task.cancelling() or task.cancel())


def _url(settings: XAgentServerEnv) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{settings.port}"


@click.command()
@click.option("--description", default="a run", help="What the run is about.")
@click.option("--user", "user_id", default=lambda: _user(), help="Whose run it is.")
@click.option("--private", is_flag=True, help="Don't share it: nobody but its owner can watch it.")
@click.option("--follow-link", is_flag=True, help="Print how to follow the run before it begins.")
@click.pass_obj
def record(settings: XAgentServerEnv, description: str, user_id: str, private: bool, follow_link: bool) -> None:
    """Record JSON lines from standard input as they come: my-agent | replay-share record.

    An object with some of status, data, current, files and include_pictures is a row; any other value is a row's data.
    """
    if sys.stdin is None:
        raise click.ClickException("expected JSON lines on standard input, but it is closed")
    run_command(_record(settings, description, user_id, shared=not private, follow_link=follow_link))


async def _record(settings: XAgentServerEnv, description: str, user_id: str, *, shared: bool, follow_link: bool) -> int:
    _cancel_on(signal.SIGTERM, signal.SIGINT)
    name = ""
    try:
        async with open_store(settings) as gateway:
            recorder = Recorder(gateway.database, settings.base_dir)
            async with recorder.record(description=description, user_id=user_id, shared=shared) as run:
                name = f"{run.interaction_id}: "
                _say_where(settings, run.interaction_id, follow_link=follow_link)
                return 0 if await record_lines(run, sys.stdin.fileno(), complain) else 1
    except (LineError, RunEnded, OSError) as error:
        return complain(f"{name}{error}")
    except asyncio.CancelledError:
        return complain(f"{name}interrupted{', and marked as failed' if name else ''}")


def _say_where(settings: XAgentServerEnv, interaction_id: str, *, follow_link: bool) -> None:
    click.echo(interaction_id)
    if follow_link:
        click.echo(f"{_url(settings)}/ws/share/{interaction_id}".replace("http", "ws", 1))
        click.echo(f"  follow it while the server runs:  {program()} watch {interaction_id}")


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # the system may not know who it is
        return "unknown"
