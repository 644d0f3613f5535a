"""The commands that put recordings in, list, share and remove them."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NoReturn

import click

from storage.errors import DatabaseError
from storage.gateway import Gateway
from storage.interactions import InteractionCRUD
from storage.models import Interaction, Recording, Visibility
from storage.recordings import RecordingCRUD
from storage.shares import ShareCRUD
from storage.workspace import is_safe_id, record_directory, remove_records

from .formats import read_recording
from .importing import ImportRefused, store_recording
from .logs import printable
from .recording_json import RecordingError
from .settings import SettingsError, XAgentServerEnv
from .store import open_store

PROGRESS_FROM_ROWS = 2_000


def run_command(work: Coroutine[Any, Any, int]) -> NoReturn:
    """Run a command to its end, and end the process with its exit code; what went wrong is one line."""
    try:
        sys.exit(asyncio.run(work))
    except (DatabaseError, SettingsError) as error:
        raise click.ClickException(str(error)) from None
    except KeyboardInterrupt:
        sys.exit(130)


@click.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, readable=False))
@click.option("--private", "who", flag_value="private", help="Don't share it yet: nobody but its owner can watch it.")
@click.option("--public", "who", flag_value="public", help="Show it in the gallery, too.")
@click.pass_obj
def import_(settings: XAgentServerEnv, files: tuple[Path, ...], who: str | None) -> None:
    """Put recorded runs in: recordings of XAgent, or trajectories of SWE-agent (.traj)."""
    run_command(_import(settings, files, Visibility(who or "unlisted")))


async def _import(settings: XAgentServerEnv, files: tuple[Path, ...], visibility: Visibility) -> int:
    failed = 0
    async with open_store(settings) as gateway:
        recordings = RecordingCRUD(gateway)
        for file in files:
            try:
                recording = read_recording(file)
                with _progress(len(recording.rows)) as bar:
                    added = await store_recording(
                        recordings, settings.base_dir, recording, visibility=visibility, progress=bar.update
                    )
            except RecordingError as error:
                failed = complain(str(error))
            except (ImportRefused, OSError) as error:
                failed = complain(f"{file}: {error}")
            else:
                interaction_id = recording.interaction.interaction_id
                is_shared = await InteractionCRUD(gateway).get_shared_interaction(interaction_id) is not None
                page = f"http://{settings.host}:{settings.port}/r/{interaction_id}" if is_shared else None
                _say_imported(recording, page, added=added)
    return failed


def _progress(rows: int) -> Any:
    hidden = rows < PROGRESS_FROM_ROWS or not sys.stderr.isatty()
    return click.progressbar(length=rows, label=f"{rows} rows", file=sys.stderr, hidden=hidden)


def complain(message: str) -> int:
    """Say what went wrong, and return the exit code that says so."""
    click.echo(f"Error: {printable(message, 2000)}", err=True)
    return 1


def _say_imported(recording: Recording, page: str | None, *, added: bool) -> None:
    interaction_id = recording.interaction.interaction_id
    click.echo(f"{interaction_id}  {_title(recording.interaction)}")
    there = "" if added else "was there already, nothing was changed: "
    click.echo(f"  {there}{len(recording.rows)} rows, {'shared' if page else 'private'}")
    if page:
        click.echo(f"  watch it while the server runs:  {page}")
        click.echo(f"  or in a terminal:  {program()} watch {interaction_id}")
    else:
        click.echo(f"  share it:  {program()} share {interaction_id}")


def program() -> str:
    """What to type for `replay-share`: the command's own path, where it isn't found without."""
    called = sys.argv[0]
    if Path(called).name != "replay-share" or shutil.which("replay-share") == called:
        return "replay-share"
    return called


def _title(interaction: Interaction) -> str:
    return printable(interaction.description or "", 60)


@click.command("list")
@click.pass_obj
def list_(settings: XAgentServerEnv) -> None:
    """List the recordings, newest first."""
    run_command(_list(settings))


async def _list(settings: XAgentServerEnv) -> int:
    async with open_store(settings) as gateway:
        listed = await InteractionCRUD(gateway).list_interactions()
    for interaction, is_shared, row_count in listed:
        shared = "shared " if is_shared else "private"
        status = printable(interaction.status or "", 10)
        click.echo(
            f"{printable(interaction.interaction_id):32}  {shared}  {status:10} {row_count:6} rows  "
            f"{_title(interaction)}"
        )
    if not listed:
        click.echo("no recordings yet: put one in with  replay-share import FILE", err=True)
    return 0


@click.command()
@click.argument("interaction_id", metavar="ID")
@click.pass_obj
def delete(settings: XAgentServerEnv, interaction_id: str) -> None:
    """Remove a recording with its files, for good."""

    async def change(gateway: Gateway, interaction: Interaction) -> bool:
        # The files first: where they can't be removed, the recording is still there, and the command can be repeated.
        remove_records(record_directory(settings.base_dir, interaction))
        return await RecordingCRUD(gateway).delete_recording(interaction.interaction_id)

    run_command(_change(settings, interaction_id, change, "deleted"))


@click.command()
@click.argument("interaction_id", metavar="ID")
@click.option("--public", is_flag=True, help="Show it in the list of public recordings, too.")
@click.pass_obj
def share(settings: XAgentServerEnv, interaction_id: str, public: bool) -> None:
    """Let everybody who knows its id watch a recording."""
    visibility = Visibility.PUBLIC if public else Visibility.UNLISTED
    _set_visibility(settings, interaction_id, visibility, "shared with all" if public else "shared")


@click.command()
@click.argument("interaction_id", metavar="ID")
@click.pass_obj
def unshare(settings: XAgentServerEnv, interaction_id: str) -> None:
    """Take that back, also for those who are watching."""
    _set_visibility(settings, interaction_id, Visibility.PRIVATE, "private")


def _set_visibility(settings: XAgentServerEnv, interaction_id: str, visibility: Visibility, done: str) -> None:
    async def change(gateway: Gateway, _: Interaction) -> bool:
        return await ShareCRUD(gateway).set_visibility(interaction_id, visibility)

    run_command(_change(settings, interaction_id, change, done))


async def _change(
    settings: XAgentServerEnv,
    interaction_id: str,
    change: Callable[[Gateway, Interaction], Coroutine[Any, Any, bool]],
    done: str,
) -> int:
    async with open_store(settings) as gateway:
        interaction = await InteractionCRUD(gateway).get_interaction(interaction_id)
        gone = interaction is not None and interaction.is_deleted and done != "deleted"
        if interaction is None or gone or not is_safe_id(interaction_id):
            return complain(f"there is no recording {printable(interaction_id)}; see  replay-share list")
        try:
            changed = await change(gateway, interaction)
        except OSError as error:
            return complain(f"{interaction_id}: its files can't be removed: {error}")
    click.echo(f"{interaction_id}  {done}" if changed else f"{interaction_id}  was {done} already")
    return 0
