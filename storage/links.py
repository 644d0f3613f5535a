"""Share links: secret tokens that carry the permission to watch one recording, and can be taken back."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Sequence
from typing import Any

from databases.core import Connection
from sqlalchemy import ColumnElement, delete, func, insert, or_, select, update

from .errors import TableMissing
from .gateway import Gateway
from .models import ShareLink
from .schema import interactions, not_deleted, share_link_views, share_links, wide
from .shares import IS_SHARED

TOKEN = re.compile(r"rs_[A-Za-z0-9_-]{32}")
"""192 random bits behind a sign by which a token is told from a recording's id, and found in logs."""

SAME_VIEWER_SECONDS = 1800.0
"""Whoever comes back within half an hour is the same viewer, and not counted again."""

_LINK = [share_links.c[name] for name in ShareLink.__slots__]


class LinkUsedUp(Exception):
    """The link has been used by as many viewers as it was made for."""


class LinkCRUD:
    """The queries about share links. Every method is safe to cancel and raises `DatabaseError`; see `Gateway`."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def add_link(
        self,
        interaction_id: str,
        user_id: str,
        *,
        label: str = "",
        expires_in: float | None = None,
        max_views: int | None = None,
    ) -> tuple[ShareLink, str]:
        """Make a link to a recording, which ends after `expires_in` seconds or `max_views` viewers; and its token.

        Nobody can read the token again: only its hash is stored.
        """
        token, now = f"rs_{secrets.token_urlsafe(24)}", time.time()
        values = {
            "interaction_id": interaction_id,
            "user_id": user_id,
            "label": label,
            "created_at": now,
            "expires_at": None if expires_in is None else now + expires_in,
            "max_views": max_views,
            "views": 0,
            "revoked_at": None,
        }
        await self._gateway.execute(insert(share_links).values(values | {"token_hash": _hash(token)}))
        record = await self._gateway.fetch_one(select(*_LINK).where(share_links.c.token_hash == _hash(token)))
        assert record is not None
        return ShareLink(**record._mapping), token

    async def get_link(self, token: str) -> ShareLink | None:
        """The link of that token; None where there is none, or it has expired or been revoked."""
        query = select(*_LINK).where(share_links.c.token_hash == _hash(token), *_is_open())
        try:
            record = await self._gateway.fetch_one(query)
        except TableMissing:  # nobody has made a link in a database that has only XAgent's tables
            return None
        return None if record is None else ShareLink(**record._mapping)

    async def takes(self, link: ShareLink, viewer: str) -> bool:
        """Whether `count_view` would let this viewer in; nothing is counted."""
        if link.max_views is None or link.views < link.max_views:
            return True
        return bool(viewer) and await self._gateway.run(lambda connection: _is_known(connection, link, viewer))

    async def count_view(self, link: ShareLink, viewer: str) -> bool:
        """Count a viewer, unless he was counted in the last half hour; False where the link takes no more.

        `viewer` is what the viewer calls himself; an empty name is somebody new each time. However many processes
        count at once, a link is never used by more than its `max_views`.
        """

        async def count(connection: Connection) -> None:
            this = share_links.c.id == link.id
            # The write comes first: it locks the link's row, so that nobody else counts in between.
            await connection.execute(update(share_links).where(this).values(views=share_links.c.views))
            if viewer and await _is_known(connection, link, viewer):
                return
            record = await connection.fetch_one(select(*_LINK).where(this, *_is_open()))
            if record is None or (record["max_views"] is not None and record["views"] >= record["max_views"]):
                raise LinkUsedUp
            await connection.execute(update(share_links).where(this).values(views=share_links.c.views + 1))
            if viewer:
                views = share_link_views.c
                old = (views.link_id == link.id, views.viewed_at <= time.time() - SAME_VIEWER_SECONDS)
                await connection.execute(delete(share_link_views).where(*old))
                values = {"link_id": link.id, "viewer": _hash(viewer), "viewed_at": time.time()}
                await connection.execute(insert(share_link_views).values(values))

        try:
            await self._gateway.transaction(count)
        except LinkUsedUp:
            return False
        except TableMissing:  # who may only read can't count
            return link.max_views is None
        return True

    async def list_links(self, user_id: str, *, after: int | None = None, limit: int = 100) -> list[ShareLink]:
        """The links that a user has ever made, also those that have ended, newest first; `after` is an id."""
        query = select(*_LINK).where(share_links.c.user_id == user_id)
        if after is not None:
            query = query.where(share_links.c.id < wide(after))
        records = await self._gateway.fetch_all(query.order_by(share_links.c.id.desc()).limit(limit))
        return [ShareLink(**record._mapping) for record in records]

    async def revoke(self, user_id: str, link_id: int | None = None) -> int:
        """Revoke a user's link, or all that he has ever made; how many of his there are of that id.

        One that is revoked already stays as it is.
        """
        which: list[ColumnElement[bool]] = [share_links.c.user_id == user_id]
        if link_id is not None:
            which.append(share_links.c.id == wide(link_id))

        async def change(connection: Connection) -> int:
            open_links = update(share_links).where(*which, share_links.c.revoked_at.is_(None))
            await connection.execute(open_links.values(revoked_at=time.time()))
            record = await connection.fetch_one(select(func.count().label("count")).where(*which))
            assert record is not None
            return int(record["count"])

        return await self._gateway.transaction(change)

    async def search_open(self, ids: Sequence[int]) -> set[int]:
        """Those of the links that still let their viewers watch: open, to a recording that is shared."""
        found: set[int] = set()
        for start in range(0, len(ids), 500):
            query = select(share_links.c.id).where(
                share_links.c.id.in_(ids[start : start + 500]),
                *_is_open(),
                share_links.c.interaction_id == interactions.c.interaction_id,
                not_deleted(interactions.c.is_deleted),
                IS_SHARED,
            )
            found.update(record["id"] for record in await self._gateway.fetch_all(query))
        return found


def is_token(name: str) -> bool:
    """Whether a name is a link's token, not a recording's id."""
    return TOKEN.fullmatch(name) is not None


def _is_open() -> tuple[Any, ...]:
    return (
        share_links.c.revoked_at.is_(None),
        or_(share_links.c.expires_at.is_(None), share_links.c.expires_at > time.time()),
    )


async def _is_known(connection: Connection, link: ShareLink, viewer: str) -> bool:
    views = share_link_views.c
    recent = views.viewed_at > time.time() - SAME_VIEWER_SECONDS
    query = select(views.id).where(views.link_id == link.id, views.viewer == _hash(viewer), recent)
    return await connection.fetch_one(query) is not None


def _hash(secret: str) -> str:
    # Without salt and at once: what is hashed is random, nothing that could be guessed.
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
