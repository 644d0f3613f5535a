"""A recording as one page that plays it from the disk: with the player, and with its files, and without a server."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import html
from collections.abc import AsyncIterator
from functools import cache

from storage.interactions import InteractionCRUD
from storage.models import Interaction
from storage.workspace import Workspace

from .bundle import bundle
from .feed import Feed
from .feeds import Feeds
from .frames import FrameCache
from .media import media_type_of
from .static_files import FOLDER, template
from .summary import MAX_TITLE, UNTITLED, one_line
from .wire_v1 import encode, encode_row

STYLES = ("base.css", "content.css", "player.css")
PAGE_ROWS = 64
ALL = 2**62  # bytes: whatever its size


async def export_html(
    interactions: InteractionCRUD, interaction: Interaction, workspace: Workspace
) -> AsyncIterator[bytes]:
    """The page, piece by piece: its rows as they are now, deleted ones left out, and every file of the workspace.

    Raises `DatabaseError` and `OSError` where a part of it can't be read.
    """
    before, after = _frame(one_line(interaction.description, MAX_TITLE) or UNTITLED)
    yield before
    async with Feeds(interactions, FrameCache(0)).open(interaction) as feed:
        hello = await feed.describe(interaction.interaction_id) | {"live": False}
        yield _inside(f'{{"recording":{encode(hello).decode()},"rows":[')
        async for piece in _rows(interactions, feed):
            yield piece
    yield b'],"files":['
    separator = ""
    for name in await asyncio.to_thread(workspace.list_files):
        content = await asyncio.to_thread(workspace.read_file, name, ALL)
        if content is not None:
            head = encode({"name": name, "media_type": media_type_of(name)}).decode()[:-1]
            yield _inside(f'{separator}{head},"content":"') + base64.b64encode(content) + b'"}'
            separator = ","
    yield b"]}" + after


async def _rows(interactions: InteractionCRUD, feed: Feed) -> AsyncIterator[bytes]:
    interaction_id, times = feed.interaction.interaction_id, feed.outline.at
    separator = ""
    for first in range(0, len(times), PAGE_ROWS):
        last = min(first + PAGE_ROWS, len(times))
        after = feed.outline.position(first)
        rows = await interactions.read_page(interaction_id, after=after, limit=last - first)
        by_id = {row.id: row for row in rows}
        for offset, row_id in enumerate(feed.outline.ids(first + 1, last), start=first + 1):
            row = by_id.get(row_id)
            frame = await asyncio.to_thread(encode_row, interaction_id, row, offset, times[offset - 1], max_data=ALL)
            yield _inside(separator + frame.decode())
            separator = ","


def _inside(json: str) -> bytes:
    # Nothing of it can end the element in which it stands; in JSON, this character is found within strings alone.
    return json.replace("<", "\\u003c").encode("utf-8", "backslashreplace")


def _frame(title: str) -> tuple[bytes, bytes]:
    """The page before the recording and behind it."""
    style, script = _style(), _script()
    policy = (
        f"default-src 'none'; script-src 'sha256-{_hash(script)}'; style-src 'sha256-{_hash(style)}'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'; "
        "require-trusted-types-for 'script'; trusted-types dompurify"
    )
    title = html.escape(title.encode("utf-8", "replace").decode())
    page = template("export.html").substitute(
        policy=html.escape(policy), title=title, style=style, script=script, recording="\0"
    )
    before, _, after = page.partition("\0")
    return before.encode(), after.encode()


@cache
def _style() -> str:
    return "\n".join((FOLDER / name).read_text("utf-8") for name in STYLES)


@cache
def _script() -> str:
    return bundle("player.js", lambda name: (FOLDER / name).read_text("utf-8"))


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
