"""XAgent's forms: their fields, checked, who sends them, and what he is answered."""

from __future__ import annotations

from typing import Any

from starlette.datastructures import FormData, UploadFile
from starlette.responses import Response

from storage.models import Interaction, User
from storage.users import user_is_valid
from storage.workspace import is_safe_id

from .media import JSON
from .services import Services


def answer(data: Any = None, message: str = "success", *, success: bool = True) -> Response:
    """XAgent's envelope."""
    return JSON({"data": data, "success": success, "message": message})


def failed(status: int, message: Any) -> Response:
    """XAgent's answer to what it doesn't take."""
    return JSON({"status": "failed", "message": message}, status)


class Refused(Exception):
    """Ends a request with `failed(status, message)`."""

    def __init__(self, status: int, message: Any) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Form:
    """The fields of a request, checked as they are read; what is wrong with them is told all at once."""

    def __init__(self, services: Services, fields: FormData) -> None:
        self.services = services
        self._fields = fields
        self._errors: list[dict[str, Any]] = []

    def text(self, name: str) -> str:
        """A field that has to be there."""
        value = self._fields.get(name)
        if isinstance(value, str):
            if "\0" in value:  # a lone surrogate can't be in it: it was UTF-8
                self._error("string_unicode", name, "Input should be text without NUL", None)
                return ""
            return value
        self._error("missing", name, "Field required", None)
        return ""

    def number(self, name: str, lowest: int) -> int:
        """A whole number that has to be there."""
        text = self.text(name)
        try:
            number = int(text) if len(text) < 12 else None
        except ValueError:
            number = None
        if number is not None and lowest <= number < 2**31:
            return number
        if isinstance(self._fields.get(name), str):
            if number is None:
                self._error("int_parsing", name, "Input should be a valid integer", text[:60])
            else:
                self._error("greater_than_equal", name, f"Input should be from {lowest} to {2**31 - 1}", text)
        return lowest

    def file(self, name: str) -> UploadFile | None:
        """A file that has to be there."""
        value = self._fields.get(name)
        if isinstance(value, UploadFile):
            return value
        self._error("missing", name, "Field required", None)
        return None

    def check(self) -> None:
        """Refuse the request where a field that was read is missing or unreadable."""
        if self._errors:
            raise Refused(400, self._errors)

    async def user(self) -> User:
        """The user whose `user_id` and `token` these are, or refuse the request."""
        user_id, token = self.text("user_id"), self.text("token")
        self.check()
        user = await self.services.users.get_user(user_id)
        if user is None:
            raise Refused(401, "user is not exist!")
        if not user_is_valid(user, token):
            raise Refused(401, "user is not available!")
        return user

    async def own(self, user: User) -> Interaction | None:
        """The user's interaction of which the form has the id, unless it is deleted or another one's."""
        interaction_id = self.text("interaction_id")
        self.check()
        found = await self.services.access.find(interaction_id) if is_safe_id(interaction_id) else None
        return found if found is not None and found.user_id == user.user_id else None

    def _error(self, kind: str, name: str, message: str, value: Any) -> None:
        place = ["body", name]
        if all(error["loc"] != place for error in self._errors):
            self._errors.append({"type": kind, "loc": place, "msg": message, "input": value})
