"""The commands about the database's tables."""

from __future__ import annotations

import click

from storage.migrations import create_tables, upgrade_tables

from .cli_store import run_command
from .settings import XAgentServerEnv
from .store import open_store


@click.group()
def db() -> None:
    """The tables in SHARE_DATABASE_URL."""


@db.command()
@click.pass_obj
def init(settings: XAgentServerEnv) -> None:
    """Make the tables that are missing; what XAgent has made is never touched."""
    run_command(_init(settings))


async def _init(settings: XAgentServerEnv) -> int:
    async with open_store(settings, tables=False) as gateway:
        made = await create_tables(gateway)
    click.echo(f"made {', '.join(made)}" if made else "all tables are there")
    return 0


@db.command()
@click.pass_obj
def upgrade(settings: XAgentServerEnv) -> None:
    """Bring our own tables up to the version that this program needs."""
    run_command(_upgrade(settings))


async def _upgrade(settings: XAgentServerEnv) -> int:
    async with open_store(settings, tables=False) as gateway:
        versions = await upgrade_tables(gateway)
    click.echo(f"upgraded to version {versions[-1]}" if versions else "nothing to upgrade")
    return 0
