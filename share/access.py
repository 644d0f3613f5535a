"""Who may watch what."""

from __future__ import annotations

from dataclasses import dataclass, field

from starlette.requests import HTTPConnection

from storage.interactions import InteractionCRUD
from storage.models import Interaction
from storage.users import UserCRUD, user_is_valid
from storage.workspace import is_safe_id

from .settings import XAgentServerEnv

NOT_FOUND = "There is no such recording, or it is not shared."
RUNNING = "You have a running interaction, please wait for it to finish!"


TRY_AGAIN = 1013
NOT_ALLOWED = 4503
NO_SUCH_RECORDING = 4504
BAD_REQUEST = 4505

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
    """Who asks to be let in, as he says himself: nothing of it is trusted."""

    user_id: str
    token: str = field(repr=False)
    origin: str | None

    @classmethod
    def of(cls, connection: HTTPConnection) -> Visitor:
        """Whoever sent this request, or opened this socket."""
        query = connection.query_params
        # No user's id has a NUL in it, and Postgres takes none.
        user_id = query.get("user_id", "").replace("\0", "")
        return cls(user_id, query.get("token", ""), connection.headers.get("origin"))


class Access:
    """Decides who is let in, by the settings and by what is stored."""

    def __init__(self, interactions: InteractionCRUD, users: UserCRUD, settings: XAgentServerEnv) -> None:
        self._interactions = interactions
        self._users = users
        self._settings = settings

    async def admit(self, interaction_id: str, visitor: Visitor, *, as_owner: bool) -> Interaction:
        """The interaction that the visitor may watch. Raises `XAgentWebSocketConnectError`; safe to cancel.

        An interaction that isn't shared, is deleted or doesn't exist is refused with the same words: who only has an id
        doesn't learn which of these it was.
        """
        if not is_safe_id(interaction_id):
            raise XAgentWebSocketConnectError(NOT_FOUND, BAD_REQUEST)
        origins = self._settings.allowed_origins
        if visitor.origin is not None and "*" not in origins and visitor.origin.lower() not in origins:
            raise XAgentWebSocketConnectError("Pages of this origin may not open a socket here.", NOT_ALLOWED)
        if as_owner:
            await self._authenticate(visitor)
        if self._settings.check_running and await self._interactions.is_running(visitor.user_id):
            raise XAgentWebSocketConnectError(RUNNING, TRY_AGAIN)
        interaction = await self._find(interaction_id, any_share=as_owner or not self._settings.require_shared)
        if interaction is None or (as_owner and interaction.user_id != visitor.user_id):
            raise XAgentWebSocketConnectError(NOT_FOUND, NO_SUCH_RECORDING)
        return interaction

    async def _authenticate(self, visitor: Visitor) -> None:
        user = await self._users.get_user(visitor.user_id)
        if user is None:
            raise XAgentWebSocketConnectError("user is not exist!", NOT_ALLOWED)
        if not user_is_valid(user, visitor.token):
            raise XAgentWebSocketConnectError("user is not available!", NOT_ALLOWED)

    async def _find(self, interaction_id: str, *, any_share: bool) -> Interaction | None:
        if not any_share:
            return await self._interactions.get_shared_interaction(interaction_id)
        interaction = await self._interactions.get_interaction(interaction_id)
        return None if interaction is None or interaction.is_deleted else interaction
