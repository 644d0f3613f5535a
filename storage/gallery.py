"""Lists of recordings: the public ones, and a user's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from databases.core import Connection
from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.sql import Select

from .cards import INTERACTION, Card, read_cards, read_goals, read_interactions
from .gateway import Gateway
from .models import Interaction
from .schema import interactions, not_deleted, shared_interactions
from .search import Page, Stretch, is_about
from .shares import IS_PUBLIC, PUBLIC_IDS

_FINISHED = ("finished",)
_BATCH = 100
_MAX_BATCHES = 10
_SHORT = 1_000
_FEW = 5_000
"""So many public recordings are looked up, searched and sorted sooner than found among many that aren't public. SQLite
has to be told where to begin, by how the condition is written."""


class GalleryCRUD:
    """The queries about lists. Every method is safe to cancel and raises `DatabaseError`; see `Gateway`."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def search(
        self, *, user_id: str | None = None, text: str = "", after: Page | None = None, limit: int = 20
    ) -> tuple[list[Card], Page | None]:
        """The public recordings, or those of a user, newest first, with `text` in their description or goal.

        And after which the list goes on, where it may. A page may have less than `limit` also then: nothing is looked
        at for longer than a moment.
        """
        return await self._gateway.run(lambda connection: _search(connection, user_id, text, after, limit))

    async def get_card(self, interaction: Interaction) -> Card | None:
        """One recording, as a list would show it."""
        cards = await self._cards(select(*INTERACTION).where(interactions.c.id == interaction.id))
        return cards[0] if cards else None

    async def shared_page(self, *, limit: int, offset: int) -> tuple[int, list[Card]]:
        """How many are public, and a page of them: most stars first, then newest."""
        of_it = shared_interactions.c.interaction_id == interactions.c.interaction_id
        star = select(func.max(shared_interactions.c.star)).where(of_it).scalar_subquery()
        condition = and_(not_deleted(interactions.c.is_deleted), IS_PUBLIC)
        order = (star.desc(), interactions.c.create_time.desc(), interactions.c.id.desc())
        return await self._count(condition), await self._cards(_page(condition, order, limit, offset))

    async def finished_page(self, user_id: str, *, limit: int, offset: int) -> tuple[int, list[Card]]:
        """How many finished ones a user has, and a page of them, newest first."""
        condition = and_(
            not_deleted(interactions.c.is_deleted),
            interactions.c.user_id == user_id,
            interactions.c.status.in_(_FINISHED),
        )
        order = (interactions.c.create_time.desc(), interactions.c.id.desc())
        return await self._count(condition), await self._cards(_page(condition, order, limit, offset))

    async def _count(self, condition: ColumnElement[bool]) -> int:
        record = await self._gateway.fetch_one(select(func.count().label("total")).where(condition))
        return 0 if record is None else int(record["total"])

    async def _cards(self, query: Select[Any]) -> list[Card]:
        async def read(connection: Connection) -> list[Card]:
            return await read_cards(connection, await read_interactions(connection, query))

        return await self._gateway.run(read)


def _page(condition: ColumnElement[bool], order: Sequence[Any], limit: int, offset: int) -> Select[Any]:
    return select(*INTERACTION).where(condition).order_by(*order).limit(limit).offset(offset)


async def _search(
    connection: Connection, user_id: str | None, text: str, after: Page | None, limit: int
) -> tuple[list[Card], Page | None]:
    owned = [] if user_id is None else [interactions.c.user_id == user_id]
    is_few = not owned and await _are_few(connection)
    listed = owned or [interactions.c.interaction_id.in_(PUBLIC_IDS) if is_few else IS_PUBLIC]
    stretches = await _stretches(connection, owned, after, is_short=is_few or not text)
    found: list[Interaction] = []
    goals: dict[str, Sequence[str]] = {}
    batch = limit + 1
    for _ in range(_MAX_BATCHES):
        query = stretches[0].query(*listed, text=text).limit(batch)
        candidates = await read_interactions(connection, query)
        goals |= await read_goals(connection, candidates)
        found += [candidate for candidate in candidates if is_about(candidate, goals, text)]
        if len(found) > limit:
            return await read_cards(connection, found[:limit], goals), Page.of(found[limit - 1])
        if len(candidates) == batch:
            stretches[0] = stretches[0]._replace(after=Page.of(candidates[-1]))
        elif not (stretches := stretches[1:]):
            return await read_cards(connection, found, goals), None
        after = stretches[0].after or after
        batch = max(batch, _BATCH)
    return await read_cards(connection, found, goals), after


async def _are_few(connection: Connection) -> bool:
    counted = select(func.count().label("number")).select_from(PUBLIC_IDS.limit(_FEW + 1).subquery())
    record = await connection.fetch_one(counted)
    return record is not None and record["number"] <= _FEW


async def _stretches(
    connection: Connection, owned: Sequence[ColumnElement[bool]], after: Page | None, *, is_short: bool
) -> list[Stretch]:
    untimed = Stretch(after, is_timed=False)
    if after is not None and after.create_time is None:
        return [untimed]
    near = Stretch(after)
    if is_short:
        return [near, untimed]
    ends = await read_interactions(connection, near.query(*owned).limit(1).offset(_SHORT))
    if not ends:
        return [near, untimed]
    end = Page.of(ends[0])
    return [near._replace(until=end), Stretch(end, is_short=False), untimed]
