"""Who may watch a recording, as XAgent's table `shared_interactions` says it."""

from __future__ import annotations

from databases.core import Connection
from sqlalchemy import exists, insert, select, update

from .gateway import Gateway
from .models import Interaction, Visibility, now
from .schema import interactions, is_of, not_deleted, shared_interactions, users

IS_SHARED = exists().where(
    shared_interactions.c.interaction_id == interactions.c.interaction_id,
    not_deleted(shared_interactions.c.is_deleted),
)
_PUBLIC = (not_deleted(shared_interactions.c.is_deleted), shared_interactions.c.is_audit.is_(True))
IS_PUBLIC = exists().where(shared_interactions.c.interaction_id == interactions.c.interaction_id, *_PUBLIC)
PUBLIC_IDS = select(shared_interactions.c.interaction_id).where(*_PUBLIC)


class ShareCRUD:
    """Reads and changes the visibility of recordings. Every method is safe to cancel and raises `DatabaseError`."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def get_visibility(self, interaction_id: str) -> Visibility:
        """XAgent's shared and audited is public, shared alone is unlisted; `is_deleted` takes a share back."""
        return await self._gateway.run(lambda connection: _read_visibility(connection, interaction_id))

    async def set_visibility(
        self, interaction_id: str, visibility: Visibility, *, user_name: str | None = None
    ) -> bool:
        """Change who may watch a recording; whether that is new. False for one that is deleted or isn't there."""
        there = (is_of(interactions, interaction_id), not_deleted(interactions.c.is_deleted))

        async def change(connection: Connection) -> bool:
            # The write comes first: it locks the interaction's row, so that nobody else shares it in between.
            await connection.execute(update(interactions).where(*there).values(interaction_id=interaction_id))
            record = await connection.fetch_one(
                select(*(interactions.c[name] for name in Interaction.__slots__)).where(*there)
            )
            if record is None or await _read_visibility(connection, interaction_id) is visibility:
                return False
            await write_visibility(connection, Interaction(**record._mapping), visibility, user_name)
            return True

        return await self._gateway.transaction(change)


async def _read_visibility(connection: Connection, interaction_id: str) -> Visibility:
    query = select(shared_interactions.c.is_audit).where(
        is_of(shared_interactions, interaction_id), not_deleted(shared_interactions.c.is_deleted)
    )
    shares = await connection.fetch_all(query)
    if not shares:
        return Visibility.PRIVATE
    return Visibility.PUBLIC if any(share["is_audit"] for share in shares) else Visibility.UNLISTED


async def write_visibility(
    connection: Connection, interaction: Interaction, visibility: Visibility, user_name: str | None = None
) -> None:
    """Change who may watch a recording, inside of a transaction; `user_name` is who it is said to be from: its user."""
    time, of_it = now(), is_of(shared_interactions, interaction.interaction_id)
    shared = visibility is not Visibility.PRIVATE
    values = {"is_deleted": not shared, "update_time": time}
    if shared:
        values["is_audit"] = visibility is Visibility.PUBLIC
    await connection.execute(update(shared_interactions).where(of_it).values(values))
    if not shared or await connection.fetch_one(select(shared_interactions.c.id).where(of_it)):
        return
    if user_name is None:
        user = await connection.fetch_one(select(users.c.name).where(users.c.user_id == interaction.user_id))
        user_name = (None if user is None else user["name"]) or interaction.user_id
    values |= {
        "interaction_id": interaction.interaction_id,
        "user_name": user_name,
        "create_time": time,
        "description": interaction.description or "",
        "agent": interaction.agent or "",
        "mode": interaction.mode or "",
        "star": 0,
    }
    await connection.execute(insert(shared_interactions).values(values))
