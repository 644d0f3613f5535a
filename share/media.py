"""Responses with what strangers have made: files of a workspace, and JSON that holds their text."""

from __future__ import annotations

import mimetypes
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.requests import HTTPConnection
from starlette.responses import FileResponse, JSONResponse

from .wire import encode_stored

# A recording's author is a stranger to its viewers: nothing of it may run as if it were ours.
HEADERS = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox",
}
_INLINE = ("image/png", "image/jpeg", "image/gif", "image/webp", "text/plain", "text/csv", "application/json")


class JSON(JSONResponse):
    """JSON in which also text that is no UTF-8 has its place, as the escape that JSON has for it."""

    def render(self, content: Any) -> bytes:
        return encode_stored(content).encode()


def root_of(connection: HTTPConnection) -> str:
    """Where the routes are mounted, as it stands in an address; empty at the root."""
    return quote(connection.scope.get("root_path", "").rstrip("/"))


def address_of(connection: HTTPConnection, path: str) -> str:
    """The address of what lies at `path`, which is quoted already, below the place where the routes are mounted."""
    return str(connection.url.replace(path=f"{root_of(connection)}{path}", query="", fragment=""))


def media_type_of(name: str) -> str:
    """What a file is, by its name; of one that is packed, how it is packed."""
    kind, encoding = mimetypes.guess_type(name.rpartition("/")[2].replace(":", "_"))  # else `data:…` would be a URL
    if encoding is not None:
        return {"gzip": "application/gzip", "bzip2": "application/x-bzip2"}.get(encoding, "application/octet-stream")
    return kind or "application/octet-stream"


def is_range(header: str) -> bool:
    """Whether a `Range` header is one of bytes, and valid."""
    if not re.fullmatch(r"bytes *= *[0-9]*-[0-9]*( *, *[0-9]*-[0-9]*)*", header, re.ASCII | re.IGNORECASE):
        return False
    spans = [span.strip().partition("-") for span in header.partition("=")[2].split(",")]
    return all(
        (first or last) and (not first or not last or int(first[:18]) <= int(last[:18])) for first, _, last in spans
    )


def file_response(path: Path) -> FileResponse:
    """A file, whole or the range that is asked for; as an attachment, where a browser might run something of it."""
    media_type = media_type_of(path.name)
    disposition = "inline" if media_type in _INLINE else "attachment"
    return FileResponse(
        path, media_type=media_type, headers=HEADERS, filename=path.name, content_disposition_type=disposition
    )
