"""The API's frame: requests checked, problems answered, and who asks."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from storage.archive import ArchiveError, ArchiveTooLarge
from storage.errors import BadValue, DatabaseError
from storage.models import Interaction
from storage.workspace import is_safe_id

from .access import NOT_FOUND, TRY_AGAIN, Admission, Visitor, XAgentWebSocketConnectError
from .body import BodyError, receive_body
from .media import address_of
from .problems import Problem
from .services import Services
from .uploads import UploadError

logger = logging.getLogger(__name__)

ROOT = "/api/v1"
MAX_JSON_BYTES = 64 * 1024
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "QUERY")


class Call:
    """One request to the API, with what it may and may not."""

    def __init__(self, services: Services, request: Request) -> None:
        self.services = services
        self.request = request
        self.name: str = request.path_params.get("id", "")

    async def admit(self) -> Admission:
        """The recording of the path, for whoever may watch it: by its id, or by a link's token."""
        if self.services.access.has_own_users and Visitor.of(self.request).bearer is not None:
            await self.user_id()  # who gives a token means something by it: a wrong one isn't passed over
        try:
            return await self.services.access.admit(self.name, self.request)
        except XAgentWebSocketConnectError as refusal:
            raise Problem(503 if refusal.code == TRY_AGAIN else 404, refusal.message) from None

    async def own(self) -> Interaction:
        """The recording of the path, for whoever may change it."""
        policy, request = self.services.access.policy, self.request
        user_id = await self.user_id()
        interaction = await self.services.access.find(self.name) if is_safe_id(self.name) else None
        if interaction is None:
            raise Problem(404, NOT_FOUND)
        if not await policy.can_write(request, interaction):
            if await policy.can_read(request, interaction):
                raise Problem(403, f"This recording is not {user_id}'s to change.")
            raise Problem(404, NOT_FOUND)
        return interaction

    async def user_id(self) -> str:
        """Who asks; a stranger is refused."""
        user_id = await self.services.access.policy.user_id(self.request)
        if user_id is None:
            raise Problem(401, "expected the token of a user, as Authorization: Bearer TOKEN")
        return user_id

    def number(self, name: str, default: int, lowest: int, highest: int) -> int:
        """A whole number from the query."""
        text = self.query(name)
        if text is None:
            return default
        if not re.fullmatch("-?[0-9]{1,19}", text) or not lowest <= int(text) <= highest:
            raise Problem(400, f"{name}: expected a whole number from {lowest} to {highest}, got {text[:40]!r}")
        return int(text)

    def flag(self, name: str) -> bool:
        """`true` or `false` from the query; false where there is none."""
        text = self.query(name)
        if text not in (None, "true", "false"):
            raise Problem(400, f"{name}: expected true or false, got {text[:40]!r}")
        return text == "true"

    def query(self, name: str) -> str | None:
        """What the query has under a name, given once."""
        found = self.request.query_params.getlist(name)
        if len(found) > 1:
            raise Problem(400, f"{name}: expected once, got {len(found)} times")
        if found and "\0" in found[0]:
            raise Problem(400, f"{name}: expected text without NUL")
        return found[0] if found else None

    async def fields(self, checks: dict[str, Callable[[str, Any], Any]], *, required: bool = True) -> dict[str, Any]:
        """The members of the JSON object in the body, each checked, as far as they are there."""
        kind = self.request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in ("application/json", ""):
            raise Problem(415, f"expected application/json, got {kind[:60]!r}")
        async with receive_body(self.request, MAX_JSON_BYTES) as body:
            text = body.read()
        try:
            value = orjson.loads(text if text or required else b"{}")
        except orjson.JSONDecodeError as error:
            raise Problem(400, f"expected a JSON object, got: {error}") from None
        if not isinstance(value, dict):
            raise Problem(400, "expected a JSON object, got another value")
        if unknown := sorted(value.keys() - checks.keys()):
            raise Problem(400, f"{unknown[0][:60]!r}: expected only {', '.join(checks)}")
        return {name: check(name, value[name]) for name, check in checks.items() if name in value}

    def tagged(self, content: bytes) -> Response:
        """JSON under a tag, which isn't sent again to whoever has it by that tag already."""
        etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        headers = {"etag": etag, "cache-control": "private, no-cache"}
        known = self.request.headers.get("if-none-match", "")
        if known == "*" or etag in re.findall(r'"[^"]*"', known):
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type="application/json")

    def url(self, path: str) -> str:
        """The address of what lies at `path`, quoted, below the place where the routes are mounted."""
        return address_of(self.request, path)


Handler = Callable[[Call], Awaitable[Response]]


def api_route(services: Services, path: str, **handlers: Handler) -> Route:
    """A route of the API, with a handler for each method; whatever goes wrong is answered by a problem document."""
    allowed = ", ".join(sorted({*handlers, *(["HEAD"] if "GET" in handlers else [])}))

    async def endpoint(request: Request) -> Response:
        try:
            handler = handlers.get("GET" if request.method == "HEAD" else request.method)
            if handler is None:
                return Problem(405, f"expected {allowed}, got {request.method[:20]}").response({"allow": allowed})
            return await handler(Call(services, request))
        except Problem as problem:
            return problem.response()
        except (BodyError, UploadError) as error:
            return Problem(error.status, str(error)).response()
        except ArchiveError as error:
            return Problem(413 if isinstance(error, ArchiveTooLarge) else 400, str(error)).response()
        except DatabaseError as error:
            logger.warning("%s %s: %s", request.method, path, error)
            return Problem(400 if isinstance(error, BadValue) else 503, error.advice).response()

    route = Route(ROOT + path, endpoint, methods=METHODS)
    route.path_regex = re.compile(route.path_regex.pattern, re.DOTALL)  # a file's name may have a line break in it
    return route


def unknown_route(services: Services) -> Route:
    """The route of all that the API has not; after all others."""

    async def unknown(call: Call) -> Response:
        raise Problem(404, "There is no such thing in this API; see openapi.json.")

    return api_route(services, "/{path:path}", **dict.fromkeys(METHODS, unknown))


def text(most: int) -> Callable[[str, Any], str]:
    """Checks a string of at most so many characters."""

    def check(name: str, value: Any) -> str:
        if not isinstance(value, str) or len(value) > most or "\0" in value:
            raise Problem(400, f"{name}: expected a string of at most {most} characters without NUL")
        return value

    return check


def whole(lowest: int, highest: int) -> Callable[[str, Any], int | None]:
    """Checks a whole number in a range, or null."""

    def check(name: str, value: Any) -> int | None:
        if value is None:
            return None
        if isinstance(value, float) and value.is_integer():  # JSON knows no difference between 1 and 1.0
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value <= highest:
            raise Problem(400, f"{name}: expected a whole number from {lowest} to {highest}, or null")
        return value

    return check
