"""`replay-share`: put recordings in, hand them out, watch them, serve them."""

from __future__ import annotations

import click

from . import cli_db, cli_export, cli_live, cli_store, cli_users
from .settings import SettingsError, XAgentServerEnv


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.pass_context
def main(context: click.Context) -> None:
    """Share recorded runs of AI agents and replay them. Settings are SHARE_… variables; see the README."""
    try:
        context.obj = XAgentServerEnv.load()
    except SettingsError as error:
        raise click.ClickException(str(error)) from None


for command in (
    cli_live.serve,
    cli_store.import_,
    cli_store.list_,
    cli_store.share,
    cli_store.unshare,
    cli_store.delete,
    cli_export.export,
    cli_live.watch,
    cli_live.record,
    cli_users.user,
    cli_db.db,
):
    main.add_command(command)
