"""Which recordings a list has, and which of them are about a text, as conditions: pure."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple, Self

from sqlalchemy import ColumnElement, LargeBinary, String, Text, and_, cast, exists, literal, or_, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import Select
from sqlalchemy.sql.functions import FunctionElement

from .cards import INTERACTION, Goals, first_goal
from .models import Interaction
from .schema import interactions, not_deleted, raw, wide

_SURROGATE = re.compile("[\ud800-\udfff]")


class Page(NamedTuple):
    """Where a page of a list begins: behind the recording that was made then and has this id.

    Those that were made at no time, None, are the last.
    """

    create_time: str | None
    id: int

    @classmethod
    def of(cls, interaction: Interaction) -> Self:
        """The page behind this recording."""
        assert interaction.id is not None
        return cls(interaction.create_time, interaction.id)


class Stretch(NamedTuple):
    """A part of a list, newest first: what was made at some time, or at none; behind `after`, and until `until`.

    Where `is_short`, what people have said is looked up for one recording after the other, else in all of them at once:
    that is the only way through a hundred thousand, and too long a way where the next few will do.
    """

    after: Page | None
    until: Page | None = None
    is_timed: bool = True
    is_short: bool = True

    def query(self, *conditions: ColumnElement[bool], text: str = "") -> Select[Any]:
        """Those of it, not deleted, for which these hold, with `text` in the description or what people have said."""
        time, there = interactions.c.create_time, not_deleted(interactions.c.is_deleted)
        query = select(*INTERACTION).where(time.is_not(None) if self.is_timed else time.is_(None))
        if text:  # the first of the conditions, as SQLite looks at them in this order and most recordings fail it
            query = query.where(_may_have(text, in_each=self.is_short))
        query = query.where(there, *conditions)
        if self.after is not None and self.is_timed == (self.after.create_time is not None):
            query = query.where(_is_behind(self.after))
        if self.until is not None:
            query = query.where(_is_until(self.until))
        return query.order_by(time.desc(), interactions.c.id.desc())


def is_about(interaction: Interaction, goals: Goals, text: str) -> bool:
    """Whether the text stands in the description or in the goal, and not only in how that is written down."""
    goal = first_goal(goals.get(interaction.interaction_id, []))
    return any(text.lower() in (part or "").lower() for part in (interaction.description, goal))


def _is_behind(page: Page) -> ColumnElement[bool]:
    if page.create_time is None:
        return interactions.c.id < wide(page.id)
    # This form of (time, id) < (…) is the one for which every database enters its index at the right place.
    time, made = interactions.c.create_time, _stored(page.create_time)
    return and_(time <= made, or_(time < made, interactions.c.id < wide(page.id)))


def _is_until(page: Page) -> ColumnElement[bool]:
    time, made = interactions.c.create_time, _stored(page.create_time or "")
    return and_(time >= made, or_(time > made, interactions.c.id >= wide(page.id)))


def _stored(time: str) -> ColumnElement[str]:
    # What is no text, as only others can have stored it in SQLite, is bound as the bytes that it is.
    if not _SURROGATE.search(time):
        return literal(time, String)
    return cast(literal(time.encode("utf-8", "surrogateescape"), LargeBinary), Text)


def _may_have(text: str, *, in_each: bool) -> ColumnElement[bool]:
    # A goal stands in JSON, which may be written in several ways, and has other words in it: `is_about` looks again.
    written = {text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
    said = and_(
        raw.c.is_human.is_(True),
        or_(*(_contains(cast(raw.c.human_data, Text), part) for part in sorted(written))),
        not_deleted(raw.c.is_deleted),
    )
    if in_each:
        goal: ColumnElement[bool] = exists().where(raw.c.interaction_id == interactions.c.interaction_id, said)
    else:
        goal = interactions.c.interaction_id.in_(select(raw.c.interaction_id).where(said))
    return or_(_contains(interactions.c.description, text), goal)


def _contains(column: ColumnElement[Any], text: str) -> ColumnElement[bool]:
    # The pattern is a value: `databases` doesn't take a percent sign in the statement itself.
    pattern = re.sub("[%_/]", r"/\g<0>", text)
    return _lower(column).like(_lower(literal(f"%{pattern}%", String)), escape="/")


class _lower(FunctionElement[str]):
    type = String()
    inherit_cache = True


@compiles(_lower)
def _lower_case(element: _lower, compiler: Any, **options: Any) -> str:
    return f"lower({compiler.process(element.clauses, **options)})"


@compiles(_lower, "sqlite")
def _any_case(element: _lower, compiler: Any, **options: Any) -> str:
    # LIKE takes upper and lower case for the same there, and is done in half the time.
    return str(compiler.process(element.clauses, **options))
