"""Authors: who may put recordings in, and open what is theirs."""

from __future__ import annotations

import hmac
import secrets
import uuid
from typing import Any

from databases.core import Connection
from sqlalchemy import insert, or_, select, update

from .errors import DatabaseConflict
from .gateway import Gateway
from .models import User, now
from .schema import not_deleted, users

_COLUMNS = [users.c[name] for name in User.__slots__]


class UserCRUD:
    """The queries about users. Every method is safe to cancel and raises `DatabaseError` where none can be asked."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def get_user(self, user_id: str) -> User | None:
        """The user of that id, or None where there is none or it has been deleted."""
        return await self._get("user_id", user_id)

    async def get_user_by_email(self, email: str) -> User | None:
        """The user with that email, likewise."""
        return await self._get("email", email)

    async def get_user_by_token(self, token: str) -> User | None:
        """The available user whose token it is; None where several have the same, as XAgent's own may."""
        query = select(*_COLUMNS).where(users.c.token == token, not_deleted(users.c.deleted)).limit(2)
        records = [] if "\0" in token else await self._gateway.fetch_all(query)
        found = [User(**record._mapping) for record in records]
        return found[0] if len(found) == 1 and user_is_valid(found[0], token) else None

    async def token_is_used(self, token: str) -> bool:
        """Whether the token is an available user's, or that of several."""
        query = select(users.c.id).where(users.c.token == token, users.c.available.is_(True), users.c.token != "")
        return await self._gateway.fetch_one(query.where(not_deleted(users.c.deleted)).limit(1)) is not None

    async def list_users(self) -> list[User]:
        """All users that are not deleted, in order of their user_id."""
        query = select(*_COLUMNS).where(not_deleted(users.c.deleted)).order_by(users.c.user_id)
        return [User(**record._mapping) for record in await self._gateway.fetch_all(query)]

    async def add_user(self, email: str, name: str, user_id: str | None = None) -> User | None:
        """Make a user with a random token; None where one with that email or user_id is there, deleted or not."""
        user = User(
            user_id=user_id or uuid.uuid4().hex,
            email=email,
            name=name,
            token=secrets.token_urlsafe(32),
            create_time=now(),
            update_time=now(),
            deleted=False,
        )

        async def add(connection: Connection) -> bool:
            taken = or_(users.c.email == email, users.c.user_id == user.user_id)
            if await connection.fetch_one(select(users.c.id).where(taken)):
                return False
            await connection.execute(insert(users).values({name: getattr(user, name) for name in User.__slots__}))
            return True

        try:
            return user if await self._gateway.transaction(add) else None
        except DatabaseConflict:  # another was faster
            return None

    async def add_first_user(self) -> User | None:
        """Make the user `owner` where there is no user at all, of however many processes that try at once in one."""
        if await self._gateway.fetch_one(select(users.c.id).limit(1)) is not None:
            return None
        return await self.add_user("owner", "owner", "owner")

    async def disable(self, user_id: str) -> bool:
        """Let a user in no more; whether there is one."""
        return await self._change(user_id, available=False)

    async def rotate(self, user_id: str) -> str | None:
        """Give a user a new token, and let him in with it; None where there is no such user."""
        token = secrets.token_urlsafe(32)
        return token if await self._change(user_id, token=token, available=True) else None

    async def _get(self, column: str, value: str) -> User | None:
        query = select(*_COLUMNS).where(users.c[column] == value, not_deleted(users.c.deleted))
        # XAgent's MySQL takes upper and lower case for the same; no text of Postgres has a NUL in it.
        records = [] if "\0" in value else await self._gateway.fetch_all(query)
        return next((User(**record._mapping) for record in records if record[column] == value), None)

    async def _change(self, user_id: str, **values: Any) -> bool:
        if await self.get_user(user_id) is None:
            return False
        this = users.c.user_id == user_id
        await self._gateway.execute(update(users).where(this).values(**values, update_time=now()))
        return True


def user_is_valid(user: User, token: str) -> bool:
    """Whether `token` is the user's, compared in constant time, and the user is available. No token is never valid."""
    expected = (user.token or "").encode("utf-8", "surrogatepass")
    matches = hmac.compare_digest(expected, token.encode("utf-8", "surrogatepass"))
    return matches and bool(expected) and bool(user.available)
