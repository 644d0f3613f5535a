"""Lists of recordings: the public ones, and a user's own."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Integer, Text, and_, case, cast, exists, func, literal_column, or_, select
from sqlalchemy.sql import Select

from .gateway import Gateway
from .models import Interaction, Visibility
from .schema import IN_ORDER, interactions, not_deleted, raw, shared_interactions, wide
from .shares import IS_PUBLIC

_INTERACTION = [interactions.c[name] for name in Interaction.__slots__]
_FINISHED = ("finished",)
_SURROGATE = re.compile("[\ud800-\udfff]")
_BATCH = 100
# In the statement itself: a parameter that only a CASE gives is taken for a text by Postgres.
_YES, _NO = literal_column("1", Integer), literal_column("0", Integer)
_MAX_BATCHES = 10


class Card(NamedTuple):
    """A recording as a list shows it. `rows` leaves deleted ones out; times are those of the first and last of them.

    `goals` are the JSON texts of what people have said in the run, `goal` what the first of them calls so.
    """

    interaction: Interaction
    visibility: Visibility
    user_name: str
    star: int
    rows: int
    first_time: str | None
    last_time: str | None
    goals: list[str]

    @property
    def goal(self) -> str | None:
        for text in self.goals:
            try:
                value = json.loads(text)
            except (ValueError, RecursionError):  # others may have stored what is no JSON
                continue
            if isinstance(value, dict) and isinstance(value.get("goal"), str):
                return str(value["goal"])
        return None


class Page(NamedTuple):
    """Where a page of a list begins: behind the recording that was made then and has this id.

    A `create_time` that is no text, as only others can have stored it, is None, and looked up.
    """

    create_time: str | None
    id: int

    @classmethod
    def of(cls, card: Card) -> Page:
        """The page behind this recording."""
        assert card.interaction.id is not None
        time = card.interaction.create_time or ""
        return cls(None if _SURROGATE.search(time) else time, card.interaction.id)


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
        found: list[Card] = []
        batch = limit + 1 if not text else max(limit + 1, _BATCH)
        for _ in range(_MAX_BATCHES):
            cards = await self._cards(_newest(user_id, text, after).limit(batch))
            for card in cards:
                if len(found) == limit:
                    return found, after
                if not text or _is_about(card, text):
                    found.append(card)
                after = Page.of(card)
            if len(cards) < batch:
                return found, None
        return found, after

    async def get_card(self, interaction: Interaction) -> Card | None:
        """One recording, as a list would show it."""
        cards = await self._cards(select(*_INTERACTION).where(interactions.c.id == interaction.id))
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
        records = await self._gateway.fetch_all(query)
        found = [Interaction(**{name: record[name] for name in Interaction.__slots__}) for record in records]
        ids = [interaction.interaction_id for interaction in found]
        shares, counts, goals = await self._shares(ids), await self._row_counts(ids), await self._goals(ids)
        cards = []
        for interaction in found:
            share = shares.get(interaction.interaction_id)
            count = counts.get(interaction.interaction_id)
            visibility = Visibility.PRIVATE
            if share is not None and share["shared"]:
                visibility = Visibility.PUBLIC if share["audited"] else Visibility.UNLISTED
            cards.append(
                Card(
                    interaction,
                    visibility,
                    interaction.user_id if share is None else share["user_name"],
                    0 if share is None else share["star"],
                    0 if count is None else count["rows"],
                    None if count is None else count["first"],
                    None if count is None else count["last"],
                    goals.get(interaction.interaction_id, []),
                )
            )
        return cards

    async def _shares(self, ids: Sequence[str]) -> dict[str, Any]:
        share = shared_interactions.c
        there = not_deleted(share.is_deleted)
        query = select(
            share.interaction_id,
            func.max(share.user_name).label("user_name"),
            func.max(share.star).label("star"),
            func.max(case((there, _YES), else_=_NO)).label("shared"),
            func.max(case((and_(there, share.is_audit.is_(True)), _YES), else_=_NO)).label("audited"),
        ).where(share.interaction_id.in_(ids))
        return await self._by_id(query.group_by(share.interaction_id), ids)

    async def _row_counts(self, ids: Sequence[str]) -> dict[str, Any]:
        query = select(
            raw.c.interaction_id,
            func.count().label("rows"),
            func.min(raw.c.create_time).label("first"),
            func.max(raw.c.create_time).label("last"),
        ).where(raw.c.interaction_id.in_(ids), not_deleted(raw.c.is_deleted))
        return await self._by_id(query.group_by(raw.c.interaction_id), ids)

    async def _by_id(self, query: Select[Any], ids: Sequence[str]) -> dict[str, Any]:
        records = await self._gateway.fetch_all(query) if ids else []
        return {record["interaction_id"]: record for record in records}

    async def _goals(self, ids: Sequence[str]) -> dict[str, list[str]]:
        if not ids:
            return {}
        query = select(raw.c.interaction_id, raw.c.human_data).where(
            raw.c.interaction_id.in_(ids),
            raw.c.is_human.is_(True),
            raw.c.human_data.is_not(None),
            not_deleted(raw.c.is_deleted),
        )
        found: dict[str, list[str]] = {}
        for record in await self._gateway.fetch_all(query.order_by(raw.c.interaction_id, *IN_ORDER)):
            found.setdefault(record["interaction_id"], []).append(str(record["human_data"]))
        return found


def _page(condition: ColumnElement[bool], order: Sequence[Any], limit: int, offset: int) -> Select[Any]:
    return select(*_INTERACTION).where(condition).order_by(*order).limit(limit).offset(offset)


def _newest(user_id: str | None, text: str, after: Page | None) -> Select[Any]:
    query = select(*_INTERACTION).where(not_deleted(interactions.c.is_deleted))
    query = query.where(IS_PUBLIC if user_id is None else interactions.c.user_id == user_id)
    if text:
        query = query.where(_may_have(text))
    time = func.coalesce(interactions.c.create_time, "")
    if after is not None:
        made: Any = after.create_time
        if made is None:
            last = interactions.alias()
            made = select(func.coalesce(last.c.create_time, "")).where(last.c.id == wide(after.id)).scalar_subquery()
        query = query.where(or_(time < made, and_(time == made, interactions.c.id < wide(after.id))))
    return query.order_by(time.desc(), interactions.c.id.desc())


def _may_have(text: str) -> ColumnElement[bool]:
    # A goal stands in JSON, which may be written in several ways, and has other words in it: `_is_about` looks again.
    written = {text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
    goal = exists().where(
        raw.c.interaction_id == interactions.c.interaction_id,
        raw.c.is_human.is_(True),
        not_deleted(raw.c.is_deleted),
        or_(*(_contains(cast(raw.c.human_data, Text), part) for part in written)),
    )
    return or_(_contains(interactions.c.description, text), goal)


def _is_about(card: Card, text: str) -> bool:
    return any(text.lower() in (part or "").lower() for part in (card.interaction.description, card.goal))


def _contains(column: ColumnElement[Any], text: str) -> ColumnElement[bool]:
    # The pattern is a value: `databases` doesn't take a percent sign in the statement itself.
    pattern = re.sub("[%_/]", r"/\g<0>", text)
    return func.lower(column).like(func.lower(f"%{pattern}%"), escape="/")
