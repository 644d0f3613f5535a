"""The commands about users: who may put recordings in over HTTP."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import click

from storage.users import UserCRUD

from .cli_store import complain, run_command
from .logs import printable
from .settings import XAgentServerEnv
from .store import open_store

Change = Callable[[UserCRUD], Awaitable[str | None]]


@click.group()
def user() -> None:
    """Users: who may put recordings in over HTTP, and hand out links."""


@user.command()
@click.argument("email")
@click.option("--name", default="", help="What viewers see as the author.")
@click.pass_obj
def add(settings: XAgentServerEnv, email: str, name: str) -> None:
    """Make a user, and print the token: it isn't shown again."""

    async def change(users: UserCRUD) -> str | None:
        made = await users.add_user(email, name or email.partition("@")[0])
        return None if made is None else f"{made.user_id}  {printable(email)}\ntoken  {made.token}"

    if not (email + name).isprintable() or not 0 < len(email) <= 255 or len(name) > 255:
        raise click.ClickException("expected an email and a name of at most 255 printable characters")
    _run(settings, change, f"there is a user with the email {printable(email)} already")


@user.command("list")
@click.pass_obj
def list_(settings: XAgentServerEnv) -> None:
    """List the users; no tokens."""

    async def change(users: UserCRUD) -> str | None:
        lines = [
            f"{printable(each.user_id):32}  {'available' if each.available else 'disabled '}  {printable(each.email)}"
            for each in await users.list_users()
        ]
        return "\n".join(lines) or "no users yet: make one with  replay-share user add EMAIL"

    _run(settings, change, "")


@user.command()
@click.argument("user_id")
@click.pass_obj
def disable(settings: XAgentServerEnv, user_id: str) -> None:
    """Let a user in no more; what is shared stays so."""

    async def change(users: UserCRUD) -> str | None:
        return f"{user_id}  disabled" if user_id.isprintable() and await users.disable(user_id) else None

    _run(settings, change, f"there is no user {printable(user_id)}; see  replay-share user list")


@user.command()
@click.argument("user_id")
@click.pass_obj
def rotate(settings: XAgentServerEnv, user_id: str) -> None:
    """Give a user a new token, and print it; the old one is worth nothing any more."""

    async def change(users: UserCRUD) -> str | None:
        token = await users.rotate(user_id) if user_id.isprintable() else None
        return None if token is None else f"token  {token}"

    _run(settings, change, f"there is no user {printable(user_id)}; see  replay-share user list")


def _run(settings: XAgentServerEnv, change: Change, missing: str) -> None:
    async def run() -> int:
        async with open_store(settings) as gateway:
            answer = await change(UserCRUD(gateway))
        if answer is None:
            return complain(missing)
        click.echo(answer)
        return 0

    run_command(run())
