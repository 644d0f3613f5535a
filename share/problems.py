"""What goes wrong in the API, as RFC 9457 has it."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse


class Problem(Exception):
    """Ends a request with a problem document; `detail` says what was expected and what came."""

    def __init__(self, status: int, detail: str, **members: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.members = members

    def response(self, headers: Mapping[str, str] = {}) -> JSONResponse:
        """The problem document."""
        title = HTTPStatus(self.status).phrase
        content = {"type": "about:blank", "title": title, "status": self.status, "detail": self.detail, **self.members}
        challenge = {"www-authenticate": "Bearer"} if self.status == 401 else {}
        return JSONResponse(content, self.status, {**headers, **challenge}, media_type="application/problem+json")
