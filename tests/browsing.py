"""Pages as a browser reads them, from a server that is really there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import update
from starlette.types import ASGIApp

from storage import schema
from storage.gateway import Gateway
from storage.links import LinkCRUD
from storage.models import Visibility
from storage.shares import ShareCRUD
from tests.asgi import Server, row
from tests.server import PATIENCE_SECONDS, serve_here

NASTY = "\"><script>alert(1)</script>\n$name ${title} </title>\u202e'&amp; <!-- \x07 数据 %s {0}"
SHOWN = "\"><script>alert(1)</script> $name ${title} </title>'&amp; <!-- 数据 %s {0}"
"""A description that would like to be more than text, and what is shown of it."""


class Page(HTMLParser):
    """A page as a browser reads it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self._open = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open = tag
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        self.texts[self._open] = self.texts.get(self._open, "") + data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def body(self) -> dict[str, str | None]:
        (body,) = self.all("body")
        return body

    @property
    def metas(self) -> dict[str, str]:
        """What is told to programs, by its name."""
        return {str(meta.get("property") or meta.get("name")): meta.get("content") or "" for meta in self.all("meta")}

    @property
    def named(self) -> list[str]:
        """The addresses of what belongs to the page."""
        found = [script["src"] or "" for script in self.all("script")]
        return found + [link["href"] or "" for link in self.all("link") if link["rel"] != "alternate"]


def policy_of(response: httpx.Response) -> dict[str, str]:
    """The Content-Security-Policy's directives."""
    return dict(part.strip().split(" ", 1) for part in response.headers["content-security-policy"].split(";"))


@asynccontextmanager
async def browsing(app: ASGIApp, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A browser at a server of `app`."""
    async with (
        serve_here(app, **options) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_SECONDS, trust_env=False) as browser,
    ):
        yield browser


async def server_with_a_run(gateway: Gateway, folder: Path) -> Server:
    """A server with the recording `run` of three rows, which is shared."""
    server = Server(gateway, folder)
    times = ("10:00:00", "10:00:30", "10:01:05")
    rows = [row(number, {"a": 1}, create_time=f"2023-11-17 {time}") for number, time in enumerate(times)]
    await server.record(*rows, description="Fix the build", agent="XAgent", status="finished")
    return server


async def describe(server: Server, text: str | None) -> None:
    await server.gateway.execute(update(schema.interactions).values(description=text))


async def make_public(server: Server) -> None:
    await ShareCRUD(server.gateway).set_visibility("run", Visibility.PUBLIC)


async def make_link(server: Server, **limits: Any) -> str:
    return (await LinkCRUD(server.gateway).add_link("run", "author", **limits))[1]
