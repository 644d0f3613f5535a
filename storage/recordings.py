"""Recordings as wholes: stored and removed all at once, or written row by row while the run is going on."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, replace
from typing import Any

from databases.core import Connection
from sqlalchemy import delete, func, insert, select, update

from .database import expect_many, fitting, insert_many
from .errors import DatabaseConflict
from .gateway import Gateway
from .interactions import RUNNING, InteractionCRUD, row_from
from .models import Interaction, Recording, Row, Visibility, now
from .notifications import notify
from .rows import COLUMNS, batches_of
from .schema import (
    IN_ORDER,
    interaction_parameters,
    interactions,
    is_of,
    not_deleted,
    raw,
    share_links,
    shared_interactions,
)
from .shares import write_visibility

_ROW = [raw.c[name] for name in Row.__slots__]
_NODE_ID = COLUMNS.index("node_id")


class RecordingExists(Exception):
    """A recording of that id is stored already, or a row with one of its node_ids is; `interaction_id` is where."""

    def __init__(self, interaction_id: str) -> None:
        super().__init__(interaction_id)
        self.interaction_id = interaction_id


class RunEnded(Exception):
    """A run can't be written any more: it has ended, or there is none."""


class RecordingCRUD:
    """What changes recordings.

    Every method is safe to cancel (see `Gateway`): it changes everything or nothing. Each raises `DatabaseError` when
    no connection becomes free.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def add_recording(
        self,
        recording: Recording,
        *,
        visibility: Visibility,
        user_name: str | None = None,
        progress: Callable[[int], None] = lambda rows: None,
        before_commit: Callable[[], None] = lambda: None,
    ) -> None:
        """Store a recording's interaction and rows; its files are the caller's.

        `user_name` is who it is said to be from. `progress` is told how many rows each statement wrote. `before_commit`
        runs when everything is written and nothing is yet visible to others; an error in it takes everything back.
        Raises `RecordingExists`.
        """
        interaction = recording.interaction
        interaction_id = interaction.interaction_id

        async def store(connection: Connection) -> None:
            if await _is_there(connection, interaction_id):
                raise RecordingExists(interaction_id)
            # Of a recording that was removed by other means a share may be left; this one isn't shared by it.
            await connection.execute(delete(shared_interactions).where(is_of(shared_interactions, interaction_id)))
            await connection.execute(insert(interactions).values(_values(interaction)))
            await write_visibility(connection, interaction, visibility, user_name)
            await expect_many(connection)
            for rows in batches_of(recording.rows):
                await insert_many(connection, raw, COLUMNS, rows)
                progress(len(rows))
            before_commit()

        try:
            await self._gateway.transaction(store, lock=f"recording {interaction_id}")
        except DatabaseConflict:
            # A row with one of its node_ids is there. To look for them all beforehand takes as long as to store them.
            if (stored := await self._gateway.run(lambda connection: _find(connection, recording))) is None:
                raise
            raise RecordingExists(stored) from None

    async def holds(self, recording: Recording) -> bool:
        """Whether this recording is stored: the same interaction with the same rows, their times left aside.

        A trajectory has no times of its own, only those of its file, and these change when the file is copied.
        """
        interaction = recording.interaction
        stored = await InteractionCRUD(self._gateway).get_interaction(interaction.interaction_id)
        if stored is None or _untimed(stored) != _untimed(interaction):
            return False
        query = select(*_ROW).where(is_of(raw, stored.interaction_id)).order_by(*IN_ORDER)
        rows = [row_from(record) for record in await self._gateway.fetch_all(query)]
        return [_untimed(row) for row in rows] == [_untimed(row) for row in recording.rows]

    async def delete_recording(self, interaction_id: str) -> bool:
        """Remove an interaction, its rows and its shares for good; whether there was one. Files are the caller's."""

        async def remove(connection: Connection) -> bool:
            # The links stay in their maker's list, but a recording of the same id would be another one.
            of_it = update(share_links).where(is_of(share_links, interaction_id), share_links.c.revoked_at.is_(None))
            await connection.execute(of_it.values(revoked_at=time.time()))
            for table in (raw, shared_interactions, interaction_parameters):
                await connection.execute(delete(table).where(is_of(table, interaction_id)))
            there = select(interactions.c.id).where(is_of(interactions, interaction_id))
            found = await connection.fetch_one(there) is not None
            await connection.execute(delete(interactions).where(is_of(interactions, interaction_id)))
            return found

        return await self._gateway.transaction(remove)

    async def get_ready(self, user_id: str, new_id: str) -> str:
        """The id of the user's interaction that is `ready` for a run; where there is none, one is made as `new_id`."""

        async def find(connection: Connection) -> str:
            ready = select(interactions.c.interaction_id).where(
                interactions.c.user_id == user_id,
                interactions.c.status == "ready",
                not_deleted(interactions.c.is_deleted),
            )
            if record := await connection.fetch_one(ready.order_by(interactions.c.id).limit(1)):
                return str(record["interaction_id"])
            made = Interaction(new_id, user_id, now(), now(), "XAgent", "", "", "", "[]", "ready", "ready...", "-1")
            await connection.execute(insert(interactions).values(_values(made)))
            return new_id

        return await self._gateway.transaction(find, lock=f"ready {user_id}")

    async def has_finished(self, interaction_id: str) -> bool:
        """Whether one of its rows says that the run has finished."""
        query = select(raw.c.id).where(
            is_of(raw, interaction_id), raw.c.status == "finished", not_deleted(raw.c.is_deleted)
        )
        return await self._gateway.fetch_one(query.limit(1)) is not None

    async def set_description(self, interaction_id: str, description: str) -> None:
        """Change what a recording is said to be about, also where it is shared."""

        async def change(connection: Connection) -> None:
            for table in (interactions, shared_interactions):
                values = {"description": description, "update_time": now()}
                await connection.execute(update(table).where(is_of(table, interaction_id)).values(values))

        await self._gateway.transaction(change)

    async def append_row(self, row: Row, *, before_commit: Callable[[], Awaitable[None]] | None = None) -> int:
        """Add a row behind all others of its run, and return the `step` that it got. Raises `RunEnded`.

        An error in `before_commit` takes the row back.
        """

        async def append(connection: Connection) -> int:
            await _lock(connection, row)
            step = await _insert_behind(connection, row)
            if before_commit is not None:
                await before_commit()
            await notify(connection, row.interaction_id)
            return step

        return await self._gateway.transaction(append)

    async def end_run(self, row: Row, message: str) -> None:
        """Give a run the state of `row`, its last row, which is added unless the run's last row has that state already.

        Raises `RunEnded`.
        """

        async def end(connection: Connection) -> None:
            await _lock(connection, row)
            order = (func.coalesce(raw.c.step, -1).desc(), raw.c.id.desc())
            last = select(raw.c.status).where(is_of(raw, row.interaction_id)).order_by(*order)
            record = await connection.fetch_one(last.limit(1))
            if record is None or record["status"] != row.status:
                await _insert_behind(connection, row)
            await connection.execute(
                update(interactions)
                .where(is_of(interactions, row.interaction_id))
                .values(status=row.status, message=fitting(connection._database, message))
            )
            await notify(connection, row.interaction_id)

        await self._gateway.transaction(end)


async def _lock(connection: Connection, row: Row) -> None:
    # Who has changed the run's own row keeps other writers of the run out until the commit. So steps are given, and
    # become visible, in their order: a follower who has seen one never finds a lower one later.
    open_run = (is_of(interactions, row.interaction_id), interactions.c.status.in_(RUNNING))
    await connection.execute(update(interactions).where(*open_run).values(update_time=row.create_time))
    if await connection.fetch_one(select(interactions.c.id).where(*open_run)) is None:
        raise RunEnded(f"the run {row.interaction_id} has ended, or there is none: nothing can be added to it")


async def _insert_behind(connection: Connection, row: Row) -> int:
    query = select(func.max(raw.c.step).label("step")).where(is_of(raw, row.interaction_id))
    record = await connection.fetch_one(query)
    step = 0 if record is None or record["step"] is None else int(record["step"]) + 1
    await connection.execute(insert(raw).values(_values(replace(row, step=step))))
    return step


async def _is_there(connection: Connection, interaction_id: str) -> bool:
    for table in (interactions, raw):
        if await connection.fetch_one(select(table.c.id).where(is_of(table, interaction_id)).limit(1)):
            return True
    return False


async def _find(connection: Connection, recording: Recording) -> str | None:
    interaction_id = recording.interaction.interaction_id
    if await _is_there(connection, interaction_id):
        return interaction_id
    for rows in batches_of(recording.rows):
        query = select(raw.c.interaction_id).where(raw.c.node_id.in_([values[_NODE_ID] for values in rows]))
        if record := await connection.fetch_one(query.limit(1)):
            return str(record["interaction_id"])
    return None


def _values(stored: Interaction | Row) -> dict[str, Any]:
    values = asdict(stored)
    del values["id"]
    return values


def _untimed(stored: Interaction | Row) -> Interaction | Row:
    return replace(stored, id=None, create_time=None, update_time=None)
