"""The command that makes a page of a recording."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import BinaryIO, cast

import click

from storage.interactions import InteractionCRUD
from storage.workspace import Workspace, is_safe_id, record_directory

from .cli_store import complain, run_command
from .html_export import export_html
from .logs import printable
from .settings import XAgentServerEnv
from .store import open_store


@click.command()
@click.argument("interaction_id", metavar="ID")
@click.option(
    "--html",
    "file",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The page to write: it plays the run with no server and no network.",
)
@click.pass_obj
def export(settings: XAgentServerEnv, interaction_id: str, file: Path) -> None:
    """Make one page of a recording, with the player and its files inside."""
    run_command(_export(settings, interaction_id, file))


async def _export(settings: XAgentServerEnv, interaction_id: str, file: Path) -> int:
    async with open_store(settings) as gateway:
        interactions = InteractionCRUD(gateway)
        interaction = await interactions.get_interaction(interaction_id) if is_safe_id(interaction_id) else None
        if interaction is None or interaction.is_deleted:
            return complain(f"there is no recording {printable(interaction_id)}; see  replay-share list")
        try:
            with _whole(file) as output:
                async for piece in export_html(
                    interactions, interaction, Workspace(record_directory(settings.base_dir, interaction))
                ):
                    output.write(piece)
                size = output.tell()
        except OSError as error:
            return complain(f"{file}: {error.strerror or error}")
    click.echo(f"{interaction_id}  {file}  {size / 1e6:.1f} MB")
    return 0


@contextmanager
def _whole(file: Path) -> Iterator[BinaryIO]:
    """A file that is there when it is whole, in place of the one that was: it is written beside it."""
    with NamedTemporaryFile(dir=file.parent, prefix=f".{file.name}.", delete=False) as output:
        written = Path(output.name)
        try:
            yield cast(BinaryIO, output)
            output.flush()
            written.chmod(0o666 & ~_umask())
            written.replace(file)
        except BaseException:
            written.unlink(missing_ok=True)
            raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
