"""Who asks over HTTP: a user with a token, who puts recordings in and makes links."""

from __future__ import annotations

import json
import re
import secrets
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.server import PATIENCE_SECONDS, run_here


def make_user(folder: Path) -> str:
    """The token of a new user of the server whose `./data` is in `folder`."""
    made = run_here("user", "add", f"{secrets.token_hex(8)}@example.org", folder=folder)
    return re.findall(r"token  (\S+)", made.stdout)[0]


def ask(
    method: str, url: str, token: str, value: Any = None, *, context: ssl.SSLContext | None = None, **headers: str
) -> tuple[int, Any]:
    """Status and JSON of the answer to a request with `value` as its body."""
    body = None if value is None else json.dumps(value).encode()
    known = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(url, body, known | headers, method=method)
    handlers = [urllib.request.HTTPSHandler(context=context)] if context else []
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), *handlers)
    try:
        with opener.open(request, timeout=PATIENCE_SECONDS) as response:
            return response.status, json.loads(response.read() or b"null")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def upload(url: str, recording: dict[str, Any], token: str, **options: Any) -> tuple[int, dict[str, Any]]:
    """Status and answer of putting a recording in at the server at `url`."""
    return ask("POST", f"{url}/api/v1/recordings", token, recording, **options)
