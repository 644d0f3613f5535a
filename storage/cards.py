"""Recordings as lists show them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from databases.core import Connection
from sqlalchemy import Integer, and_, case, func, literal_column, select
from sqlalchemy.sql import Select

from .models import Interaction, Visibility
from .schema import IN_ORDER, interactions, not_deleted, raw, shared_interactions

INTERACTION = [interactions.c[name] for name in Interaction.__slots__]

Goals = Mapping[str, Sequence[str]]
"""The JSON texts of what people have said, in order, by the ids of the interactions in which they did."""

# In the statement itself: a parameter that only a CASE gives is taken for a text by Postgres.
_YES, _NO = literal_column("1", Integer), literal_column("0", Integer)


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
    goals: Sequence[str]

    @property
    def goal(self) -> str | None:
        return first_goal(self.goals)


def first_goal(texts: Sequence[str]) -> str | None:
    """What the first of these JSON texts that has a goal calls so."""
    for text in texts:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):  # others may have stored what is no JSON
            continue
        if isinstance(value, dict) and isinstance(value.get("goal"), str):
            return str(value["goal"])
    return None


async def read_interactions(connection: Connection, query: Select[Any]) -> list[Interaction]:
    """What a query for `INTERACTION` finds."""
    records = await connection.fetch_all(query)
    return [Interaction(**{name: record[name] for name in Interaction.__slots__}) for record in records]


async def read_goals(connection: Connection, found: Sequence[Interaction]) -> Goals:
    """What people have said in these recordings."""
    goals: dict[str, list[str]] = {}
    if ids := [interaction.interaction_id for interaction in found]:
        query = select(raw.c.interaction_id, raw.c.human_data).where(
            raw.c.interaction_id.in_(ids),
            raw.c.is_human.is_(True),
            raw.c.human_data.is_not(None),
            not_deleted(raw.c.is_deleted),
        )
        for record in await connection.fetch_all(query.order_by(raw.c.interaction_id, *IN_ORDER)):
            goals.setdefault(record["interaction_id"], []).append(str(record["human_data"]))
    return goals


async def read_cards(connection: Connection, found: Sequence[Interaction], goals: Goals | None = None) -> list[Card]:
    """The cards of these recordings, whose goals may have been read already."""
    if goals is None:
        goals = await read_goals(connection, found)
    ids = [interaction.interaction_id for interaction in found]
    shares, counts = await _by_id(connection, _shares(ids), ids), await _by_id(connection, _row_counts(ids), ids)
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


def _shares(ids: Sequence[str]) -> Select[Any]:
    share = shared_interactions.c
    there = not_deleted(share.is_deleted)
    return select(
        share.interaction_id,
        func.max(share.user_name).label("user_name"),
        func.max(share.star).label("star"),
        func.max(case((there, _YES), else_=_NO)).label("shared"),
        func.max(case((and_(there, share.is_audit.is_(True)), _YES), else_=_NO)).label("audited"),
    ).where(share.interaction_id.in_(ids))


def _row_counts(ids: Sequence[str]) -> Select[Any]:
    return select(
        raw.c.interaction_id,
        func.count().label("rows"),
        func.min(raw.c.create_time).label("first"),
        func.max(raw.c.create_time).label("last"),
    ).where(raw.c.interaction_id.in_(ids), not_deleted(raw.c.is_deleted))


async def _by_id(connection: Connection, query: Select[Any], ids: Sequence[str]) -> dict[str, Any]:
    (of_it,) = (column for column in query.selected_columns if column.name == "interaction_id")
    records = await connection.fetch_all(query.group_by(of_it)) if ids else []
    return {record["interaction_id"]: record for record in records}
