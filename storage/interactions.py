"""The queries about runs and their rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

from databases.core import Connection
from databases.interfaces import Record
from sqlalchemy import ColumnElement, Integer, Text, and_, bindparam, case, cast, func, literal_column, or_, select

from .gateway import Reader
from .models import LARGER, Interaction, Row, ShownRow
from .schema import IN_ORDER, interactions, is_of, not_deleted, raw, shared_interactions, size_bytes, utf_8
from .shares import IS_SHARED
from .statement import Statement

_INTERACTION = [interactions.c[name] for name in Interaction.__slots__]
_ROW = [raw.c[name] for name in Row.__slots__]
_JSON = ("data", "file_list", "human_data", "human_file_list")

RUNNING = ("running", "waiting")
"""The states in which XAgent counts a user's interaction as going on."""


class Position(NamedTuple):
    """A row's place in its recording: what rows are ordered by, and pages continue after. No step comes first."""

    step: int | None
    id: int

    @classmethod
    def of(cls, row: Row) -> Position:
        """The place of a row that has been read from the database."""
        assert row.id is not None
        return cls(row.step, row.id)


class Listed(NamedTuple):
    """An interaction as a list shows it. `row_count` leaves deleted rows out."""

    interaction: Interaction
    is_shared: bool
    row_count: int


class OutlineRows(NamedTuple):
    """What of rows that follow one another says when and where in the run they were recorded: each column's values."""

    id: Sequence[int] = ()
    step: Sequence[int | None] = ()
    status: Sequence[str | None] = ()
    current: Sequence[str | None] = ()
    create_time: Sequence[str | None] = ()


class RowCount(NamedTuple):
    """How many rows a recording has; `deleted` and `last_deleted` (an id) change when one more is marked as deleted."""

    total: int
    deleted: int
    last_deleted: int | None


# In the statement itself: a parameter that only a CASE gives is taken for a text by Postgres.
_YES, _NO = literal_column("1", Integer), literal_column("0", Integer)
_DATA = ShownRow._fields.index("data")
_FILES = ShownRow._fields.index("file_list")
_COLUMNS = len(ShownRow._fields)
_INTERACTION_OF = Statement(select(*_INTERACTION).where(interactions.c.interaction_id == bindparam("of")))
_SHARED_INTERACTION_OF = Statement(
    select(*_INTERACTION).where(
        interactions.c.interaction_id == bindparam("of"), not_deleted(interactions.c.is_deleted), IS_SHARED
    )
)
_USER_NAME_OF = Statement(
    select(shared_interactions.c.user_name)
    .where(shared_interactions.c.interaction_id == bindparam("of"))
    .order_by(shared_interactions.c.id.desc())
    .limit(1)
)
_THERE = not_deleted(raw.c.is_deleted)
_COUNT_OF = Statement(
    select(func.count(), func.count(case((_THERE, raw.c.id))), func.max(case((_THERE, None), else_=raw.c.id))).where(
        raw.c.interaction_id == bindparam("of")
    )
)


class InteractionCRUD:
    """The queries about interactions.

    Every method is safe to cancel (see `Gateway`), and raises `DatabaseError` when no connection becomes free.
    """

    def __init__(self, gateway: Reader) -> None:
        self._gateway = gateway

    async def get_interaction(self, interaction_id: str) -> Interaction | None:
        """The interaction of that id, deleted or not, shared or not."""
        return await self._find(_INTERACTION_OF, interaction_id)

    async def get_shared_interaction(self, interaction_id: str) -> Interaction | None:
        """The interaction of that id, where it is shared and neither it nor the share is deleted."""
        return await self._find(_SHARED_INTERACTION_OF, interaction_id)

    async def _find(self, statement: Statement, interaction_id: str) -> Interaction | None:
        records = await self._gateway.run(lambda connection: statement.fetch_all(connection, of=interaction_id))
        return _interaction_of(interaction_id, records)

    async def get_user_name(self, interaction: Interaction) -> str:
        """The name under which an interaction was shared; the id of its user where it never was."""
        of = interaction.interaction_id
        records = await self._gateway.run(lambda connection: _USER_NAME_OF.fetch_all(connection, of=of))
        return str(records[0][0]) if records else interaction.user_id

    async def is_running(self, user_id: str) -> bool:
        """Whether the user has an interaction that is `running` or `waiting`, deleted ones left out."""
        query = select(interactions.c.id).where(
            interactions.c.user_id == user_id,
            interactions.c.status.in_(RUNNING),
            not_deleted(interactions.c.is_deleted),
        )
        return await self._gateway.fetch_one(query.limit(1)) is not None

    async def search_many_raws(
        self, interaction_id: str, *, after: Position | None = None, limit: int = 256
    ) -> list[Row]:
        """At most `limit` rows in order of (step, id), beginning after `after`; deleted ones left out."""
        query = select(*_ROW).where(is_of(raw, interaction_id), not_deleted(raw.c.is_deleted))
        if after is not None:
            query = query.where(_comes_after(after))
        records = await self._gateway.fetch_all(query.order_by(*IN_ORDER).limit(limit))
        return [row_from(record) for record in records]

    async def read_page(
        self, interaction_id: str, *, after: Position | None, limit: int, max_data: int | None = None
    ) -> list[ShownRow]:
        """The same rows as they are shown. With `max_data`, data of more bytes isn't read: it comes as `LARGER`."""
        statement = _page(after is None, after is not None and after.step is None, max_data is not None)
        values = {"of": interaction_id, "most": limit} | _values(after)
        if max_data is not None:
            values["max_data"] = max_data
        records = await self._gateway.run(lambda connection: statement.fetch_all(connection, **values))
        return [_shown(record) for record in records]

    async def get_row(self, interaction_id: str, offset: int) -> Row | None:
        """The row at `offset`, a place in the recording as counted from 1; None where there is none."""
        query = select(*_ROW).where(is_of(raw, interaction_id), not_deleted(raw.c.is_deleted))
        record = await self._gateway.fetch_one(query.order_by(*IN_ORDER).limit(1).offset(offset - 1))
        return None if record is None else row_from(record)

    async def read_on(
        self, interaction_id: str, after: Position | None, limit: int = 500
    ) -> tuple[Interaction | None, OutlineRows]:
        """The interaction, and then the same rows without their content: with one connection for both."""
        statement = _outline(after is None, after is not None and after.step is None)
        values = {"of": interaction_id, "most": limit} | _values(after)

        async def read(connection: Connection) -> tuple[Sequence[Any], Sequence[Any]]:
            found = await _INTERACTION_OF.fetch_all(connection, of=interaction_id)
            return found, await statement.fetch_all(connection, **values)

        found, records = await self._gateway.run(read)
        return _interaction_of(interaction_id, found), OutlineRows(*zip(*records, strict=True))

    async def search_plans(self, interaction_id: str) -> list[str]:
        """The data, as JSON text, of the rows that hold plans, in order: those of status `start` and `subtask`."""
        query = select(raw.c.data).where(
            is_of(raw, interaction_id),
            raw.c.status.in_(("start", "subtask")),
            raw.c.data.is_not(None),
            not_deleted(raw.c.is_deleted),
        )
        return [_json_text(record["data"]) or "" for record in await self._gateway.fetch_all(query.order_by(*IN_ORDER))]

    async def count_rows(self, interaction_id: str) -> RowCount:
        """How many rows there are, and what tells whether one of them has been deleted since."""
        records = await self._gateway.run(lambda connection: _COUNT_OF.fetch_all(connection, of=interaction_id))
        stored, total, last_deleted = records[0]
        return RowCount(total, stored - total, last_deleted)

    async def search_watchable(self, ids: Sequence[int], *, shared: bool) -> set[int]:
        """Those of the interactions' own ids (`id`) that are not deleted and, with `shared`, are shared."""
        found: set[int] = set()
        for start in range(0, len(ids), 500):
            query = select(interactions.c.id).where(
                interactions.c.id.in_(ids[start : start + 500]),
                not_deleted(interactions.c.is_deleted),
                *([IS_SHARED] if shared else []),
            )
            found.update(record["id"] for record in await self._gateway.fetch_all(query))
        return found

    async def list_interactions(self, *, limit: int | None = None) -> list[Listed]:
        """The interactions that are not deleted, newest first."""
        rows = (
            select(func.count())
            .where(raw.c.interaction_id == interactions.c.interaction_id, not_deleted(raw.c.is_deleted))
            .scalar_subquery()
        )
        query = (
            select(*_INTERACTION, IS_SHARED.label("is_shared"), rows.label("row_count"))
            .where(not_deleted(interactions.c.is_deleted))
            .order_by(interactions.c.create_time.desc(), interactions.c.id.desc())
            .limit(limit)
        )
        return [
            Listed(_interaction(record), bool(record["is_shared"]), record["row_count"])
            for record in await self._gateway.fetch_all(query)
        ]


def _comes_after(position: Position) -> ColumnElement[bool]:
    if position.step is None:
        return or_(raw.c.step.is_not(None), raw.c.id > position.id)
    # This form of (step, id) > (…) is the one for which every database enters its index at the right place.
    return and_(raw.c.step >= position.step, or_(raw.c.step > position.step, raw.c.id > position.id))


def _statement(columns: Sequence[Any], from_first: bool, without_step: bool) -> Statement:
    query = select(*columns).where(raw.c.interaction_id == bindparam("of"), not_deleted(raw.c.is_deleted))
    if not from_first:
        place = Position(None if without_step else bindparam("step"), bindparam("id"))  # type: ignore[arg-type]
        query = query.where(_comes_after(place))
    return Statement(query.order_by(*IN_ORDER).limit(bindparam("most")))


@cache
def _outline(from_first: bool, without_step: bool) -> Statement:
    return _statement([raw.c[name] for name in OutlineRows._fields], from_first, without_step)


@cache
def _page(from_first: bool, without_step: bool, bounded: bool) -> Statement:
    columns: list[Any] = [raw.c[name] for name in ShownRow._fields]
    columns[_DATA] = utf_8(raw.c.data)
    columns[_FILES] = cast(raw.c.file_list, Text)
    if bounded:
        small = size_bytes(raw.c.data) <= bindparam("max_data")
        columns[_DATA] = case((small, columns[_DATA]))
        columns.append(case((small, _NO), (raw.c.data.is_not(None), _YES), else_=_NO))
    return _statement(columns, from_first, without_step)


def _values(after: Position | None) -> dict[str, Any]:
    if after is None:
        return {}
    return {"id": after.id} if after.step is None else {"id": after.id, "step": after.step}


def _shown(record: Sequence[Any]) -> ShownRow:
    row = ShownRow._make(record[:_COLUMNS])
    if len(record) > _COLUMNS and record[_COLUMNS]:
        return row._replace(data=LARGER)
    return row._replace(data=row.data.encode("utf-8", "surrogateescape")) if isinstance(row.data, str) else row


def row_from(record: Record) -> Row:
    """A row of the table `raw`, of which all columns were read."""
    values = dict(record._mapping)
    for name in _JSON:
        values[name] = _json_text(values[name])
    return Row(**values)


def _json_text(value: Any) -> str | None:
    # A database that others made may have declared the column so that SQLite made a number of the text, or a blob.
    if value is None or isinstance(value, str):
        return value
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)


def _interaction_of(interaction_id: str, records: Sequence[Sequence[Any]]) -> Interaction | None:
    # XAgent's MySQL takes upper and lower case for the same.
    for found in (Interaction(*record) for record in records):
        if found.interaction_id == interaction_id:
            deleted = found.is_deleted
            return replace(found, is_deleted=None if deleted is None else bool(deleted))
    return None


def _interaction(record: Record) -> Interaction:
    return Interaction(**{name: record[name] for name in Interaction.__slots__})
