"""Who may watch and change what."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from starlette.requests import HTTPConnection

from storage.gateway import Gateway
from storage.interactions import InteractionCRUD
from storage.links import LinkCRUD, is_token
from storage.models import Interaction, ShareLink, User
from storage.users import UserCRUD, user_is_valid
from storage.workspace import is_safe_id

from .settings import XAgentServerEnv

NOT_FOUND = "There is no such recording, or it is not shared."
LINK_ENDED = "There is no such link, or it is not valid any more."
RUNNING = "You have a running interaction, please wait for it to finish!"

TRY_AGAIN = 1013
NOT_ALLOWED = 4503
NO_SUCH_RECORDING = 4504
BAD_REQUEST = 4505

VIEWER_COOKIE = "replay_viewer"

_NAMES = {
    TRY_AGAIN: "try_again",
    NOT_ALLOWED: "not_allowed",
    NO_SUCH_RECORDING: "no_such_recording",
    BAD_REQUEST: "bad_request",
}


class XAgentWebSocketConnectError(Exception):
    """A viewer isn't let in. The message is for him; `code` is replay.v1's close code, `name` says it in a word."""

    def __init__(self, message: str, code: int, classic_code: int = 1000) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.classic_code = classic_code
        self.name = _NAMES[code]
        self.temporary = code == TRY_AGAIN


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks to be let in, as he says himself: nothing of it is trusted.

    `bearer` is the token of an `Authorization` header, None without one. `viewer` is by what a share link knows him
    again: the query's `viewer`, or the cookie that the player's page sets.
    """

    user_id: str
    token: str = field(repr=False)
    origin: str | None
    bearer: str | None = field(default=None, repr=False)
    viewer: str = ""

    @classmethod
    def of(cls, connection: HTTPConnection) -> Visitor:
        """Whoever sent this request, or opened this socket."""
        query = connection.query_params
        scheme, _, bearer = connection.headers.get("authorization", "").partition(" ")
        return cls(
            # No user's id has a NUL in it, and Postgres takes none.
            query.get("user_id", "").replace("\0", ""),
            query.get("token", ""),
            connection.headers.get("origin"),
            bearer.strip() if scheme.lower() == "bearer" else None,
            (query.get("viewer") or connection.cookies.get(VIEWER_COOKIE, ""))[:128],
        )


class AccessPolicy:
    """Who may do what, for an app that has a login of its own: `routes(…, access=Policy())`.

    Each method is given the request, or the socket, with whatever the app's own middleware has put into its `scope`.
    An error in one of them lets nobody in. What is asked here isn't asked again while a viewer watches. A share link
    lets its viewers watch without being asked here: who may write has made it.
    """

    async def user_id(self, connection: HTTPConnection) -> str | None:
        """Who asks: what he puts in belongs to this name, and he lists his own; None for a stranger, who only reads.

        Unless replaced, the name that Starlette's `AuthenticationMiddleware` has found out.
        """
        user: Any = connection.scope.get("user")
        return str(user.display_name) if user is not None and user.is_authenticated else None

    async def can_read(self, connection: HTTPConnection, interaction: Interaction) -> bool:
        """Whether he may watch a recording that isn't deleted. Nobody may, unless this is replaced."""
        return False

    async def can_write(self, connection: HTTPConnection, interaction: Interaction | None) -> bool:
        """Whether he may change a recording, remove it and make links to it; with None, put a new one in."""
        return False

    async def can_list(self, connection: HTTPConnection) -> bool:
        """Whether he may see the list of the public recordings."""
        return False


class TokenPolicy(AccessPolicy):
    """The users and the shares of XAgent's tables: what is shared is for all, the rest for the user whose it is."""

    def __init__(self, interactions: InteractionCRUD, users: UserCRUD, settings: XAgentServerEnv) -> None:
        self._interactions = interactions
        self._users = users
        self._require_shared = settings.require_shared

    async def user_id(self, connection: HTTPConnection) -> str | None:
        user = await self.get_user(Visitor.of(connection))
        return None if user is None else user.user_id

    async def get_user(self, visitor: Visitor) -> User | None:
        """The user whose token the visitor has, and who is available."""
        if visitor.bearer is not None:
            return await self._users.get_user_by_token(visitor.bearer)
        user = await self._users.get_user(visitor.user_id) if visitor.token else None
        return user if user is not None and user_is_valid(user, visitor.token) else None

    async def authenticate(self, visitor: Visitor) -> None:
        """Refuse who isn't the user that he says he is, in XAgent's words."""
        user = await self._users.get_user(visitor.user_id)
        if user is None:
            raise XAgentWebSocketConnectError("user is not exist!", NOT_ALLOWED)
        if not user_is_valid(user, visitor.token):
            raise XAgentWebSocketConnectError("user is not available!", NOT_ALLOWED)

    async def can_read(self, connection: HTTPConnection, interaction: Interaction) -> bool:
        if not self._require_shared:
            return True
        if await self._interactions.get_shared_interaction(interaction.interaction_id) is not None:
            return True
        # On a socket, XAgent's way to what is one's own is another path.
        return connection.scope["type"] == "http" and await self.can_write(connection, interaction)

    async def can_write(self, connection: HTTPConnection, interaction: Interaction | None) -> bool:
        user_id = await self.user_id(connection)
        return user_id is not None and (interaction is None or interaction.user_id == user_id)

    async def can_list(self, connection: HTTPConnection) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class Admission:
    """What a visitor is let in to. `name` is by what he knows it: its id, or the token of the `link`.

    With `shared`, he may stay while it is shared.
    """

    interaction: Interaction
    name: str
    link: ShareLink | None = None
    shared: bool = False


class Access:
    """Decides who is let in, by the settings, by what is stored, and by the policy. Every method is safe to cancel."""

    def __init__(self, gateway: Gateway, settings: XAgentServerEnv, policy: AccessPolicy | None = None) -> None:
        self._interactions = InteractionCRUD(gateway)
        self._links = LinkCRUD(gateway)
        self._settings = settings
        self._tokens = TokenPolicy(self._interactions, UserCRUD(gateway), settings)
        self.policy = policy or self._tokens

    @property
    def has_own_users(self) -> bool:
        """Whether users are those of XAgent's table, and not an embedding app's."""
        return self.policy is self._tokens

    async def admit(
        self, name: str, connection: HTTPConnection, visitor: Visitor | None = None, *, as_owner: bool = False
    ) -> Admission:
        """What of this name, an id or a link's token, may be watched. Raises `XAgentWebSocketConnectError`.

        An interaction that isn't shared, is deleted or doesn't exist is refused with the same words: who only has an id
        doesn't learn which of these it was. Nor does who has a link that is unknown, revoked, expired or used up.
        """
        if not is_safe_id(name):
            raise XAgentWebSocketConnectError(NOT_FOUND, BAD_REQUEST)
        visitor = visitor or Visitor.of(connection)
        if not self._may_come_from(visitor.origin, connection):
            raise XAgentWebSocketConnectError("Pages of this origin may not open a socket here.", NOT_ALLOWED)
        if as_owner and self.has_own_users:
            await self._tokens.authenticate(visitor)
        if self._settings.check_running and await self._interactions.is_running(visitor.user_id):
            raise XAgentWebSocketConnectError(RUNNING, TRY_AGAIN)
        if is_token(name) and not as_owner:
            return await self._admit_by_link(name, visitor)
        only_shared = self.has_own_users and self._settings.require_shared and not as_owner
        # What most come for, with one question to the database.
        if only_shared and (shared := await self._interactions.get_shared_interaction(name)) is not None:
            return Admission(shared, name, shared=True)
        interaction = await self.find(name)
        if interaction is None or not await self._may(connection, interaction, as_owner=as_owner):
            raise XAgentWebSocketConnectError(NOT_FOUND, NO_SUCH_RECORDING)
        return Admission(interaction, name, shared=only_shared)

    async def find(self, interaction_id: str) -> Interaction | None:
        """The interaction of that id, unless it is deleted."""
        interaction = await self._interactions.get_interaction(interaction_id)
        return None if interaction is None or interaction.is_deleted else interaction

    async def get_link(self, token: str) -> tuple[ShareLink, Interaction] | None:
        """An open link and what it is to; nothing is counted."""
        link = await self._links.get_link(token) if is_token(token) else None
        if link is None:
            return None
        interaction = await self._interactions.get_shared_interaction(link.interaction_id)
        return None if interaction is None else (link, interaction)

    def _may_come_from(self, origin: str | None, connection: HTTPConnection) -> bool:
        origins = self._settings.allowed_origins
        if origin is None or "*" in origins or origin.lower() in origins:
            return True
        # The player's own page. Behind a proxy the scheme may be another one.
        return origin.partition("://")[2].lower() == connection.headers.get("host", "").lower() != ""

    async def _may(self, connection: HTTPConnection, interaction: Interaction, *, as_owner: bool) -> bool:
        if as_owner:
            return await self.policy.can_write(connection, interaction)
        return await self.policy.can_read(connection, interaction)

    async def _admit_by_link(self, token: str, visitor: Visitor) -> Admission:
        found = await self.get_link(token)
        if found is None or not await self._links.count_view(found[0], visitor.viewer):
            raise XAgentWebSocketConnectError(LINK_ENDED, NOT_ALLOWED)
        link, interaction = found
        return Admission(interaction, token, link)
