"""Who may open the owner's view of a run."""

from __future__ import annotations

import hmac

from sqlalchemy import select

from .database import Gateway
from .models import User
from .schema import users

_COLUMNS = [users.c[name] for name in User.__slots__]


class UserCRUD:
    """The queries about users. Every method is safe to cancel and raises `DatabaseError` where none can be asked."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def get_user(self, user_id: str) -> User | None:
        """The user of that id, or None where there is none or it has been deleted."""
        record = await self._gateway.fetch_one(select(*_COLUMNS).where(users.c.user_id == user_id))
        return None if record is None or record["deleted"] else User(**record._mapping)


def user_is_valid(user: User, token: str) -> bool:
    """Whether `token` is the user's, compared in constant time, and the user is available. No token is never valid."""
    expected = (user.token or "").encode("utf-8", "surrogatepass")
    matches = hmac.compare_digest(expected, token.encode("utf-8", "surrogatepass"))
    return matches and bool(expected) and bool(user.available)
