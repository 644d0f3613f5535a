"""A real browser: Chromium, driven by Playwright, which writes down everything that a page must not do.

pytestmark = IN_BROWSER


async def test_…(pages: Pages, shared_server: Server) -> None:
    page = await pages.open(f"{shared_server.http_url}/", dark=True)
    …
    pages.assert_clean()
"""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Dialog,
    Page,
    WebError,
    async_playwright,
    expect,
)
from starlette.applications import Starlette
from starlette.routing import Mount

import share
from share import XAgentServerEnv
from storage.database import open_database
from storage.gateway import Gateway
from storage.links import LinkCRUD
from tests.any_database import database_url
from tests.server import CHECKOUT, GOLDEN, PATIENCE_SECONDS, SHORT, Server, run_here, serve_here, start_server
from tests.tools import do_without

DEMO = "0e82ab10875f23ba6eacaec528eaf54b"
"""The demo recording, as imported."""

CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
AXE = CHECKOUT / "tests" / "node" / "node_modules" / "axe-core" / "axe.min.js"
AXE_TAGS = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
SCREENSHOTS = CHECKOUT / "screenshots"
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Nothing gets out, also what no page has asked for. What a page asks for is written down all the same.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)
_TELL_VIOLATIONS = """addEventListener("securitypolicyviolation", (event) => tellViolation(
    `${event.effectiveDirective} forbids ${event.blockedURI} ${event.sample} at ${event.sourceFile}:${event.lineNumber}`
));"""
_RUN_AXE = """axe.run(document, { runOnly: %r, resultTypes: ["violations"] }).then(({ violations }) =>
    violations.flatMap(({ id, help, nodes }) => nodes.map(({ target, failureSummary }) =>
        `${id}: ${help}: ${target.join(" ")}: ${failureSummary.replace(/\\s+/g, " ")}`)))"""

IN_BROWSER = pytest.mark.asyncio(loop_scope="session")
"""The mark of each test module that uses `pages`: there is one browser, and it lives in the loop of the session."""


class Pages:
    """Opens pages for one test, each in a fresh profile, and remembers what they do, frames and pop-ups included."""

    def __init__(self, browser: Browser) -> None:
        self.errors: list[str] = []
        """The console's, uncaught ones, and what a Content-Security-Policy has stopped."""
        self.warnings: list[str] = []
        self.dialogs: list[str] = []
        self.requests: list[str] = []
        """The address of everything that was asked for, sockets too."""
        self.origins: set[str] = set()
        """Hosts with ports that may be asked: those of `open`, and what a test adds."""
        self._browser = browser
        self._contexts: list[BrowserContext] = []

    async def open(
        self,
        url: str = "about:blank",
        *,
        width: int = 1280,
        height: int = 800,
        dark: bool = False,
        reduced_motion: bool = False,
        beside: Page | None = None,
        **options: Any,
    ) -> Page:
        """Open a page and return when it is loaded; `beside` another, it has the same cookies and looks the same.

        `options` are those of Playwright's `Browser.new_context`.
        """
        if beside is None:
            context = await self._browser.new_context(
                **{"locale": "en-GB", "timezone_id": "UTC"} | options,
                viewport={"width": width, "height": height},
                color_scheme="dark" if dark else "light",
                reduced_motion="reduce" if reduced_motion else "no-preference",
            )
            await self._watch(context)
        else:
            context = beside.context
        page = await context.new_page()
        if url != "about:blank":
            self.origins.add(urlsplit(url).netloc)
            await page.goto(url)
        return page

    def assert_clean(self, *allowed: str) -> None:
        """No error but those in which one of these regular expressions is found, no dialog, and nobody else asked."""
        errors = [error for error in self.errors if not any(re.search(pattern, error) for pattern in allowed)]
        strangers = [url for url in self.requests if not self._is_own(url)]
        assert not errors, "\n".join(errors)
        assert not self.dialogs, self.dialogs
        assert not strangers, strangers

    async def close(self) -> None:
        for context in self._contexts:
            await context.close()

    def _is_own(self, url: str) -> bool:
        scheme, host, *_ = urlsplit(url)
        return scheme in ("data", "blob", "about") or host in self.origins

    async def _watch(self, context: BrowserContext) -> None:
        self._contexts.append(context)
        context.set_default_timeout(PATIENCE_SECONDS * 1000)
        await context.expose_binding("tellViolation", lambda _, text: self.errors.append(f"policy: {text}"))
        await context.add_init_script(_TELL_VIOLATIONS)
        context.on("console", self._on_console)
        context.on("weberror", self._on_error)
        context.on("dialog", self._on_dialog)
        context.on("request", lambda request: self.requests.append(request.url))
        context.on("page", lambda page: page.on("websocket", lambda socket: self.requests.append(socket.url)))

    def _on_console(self, message: ConsoleMessage) -> None:
        kept = {"error": self.errors, "warning": self.warnings}.get(message.type)
        if kept is not None:
            kept.append(f"{message.text} at {message.location.get('url')}")

    def _on_error(self, error: WebError) -> None:
        self.errors.append(f"uncaught: {error.error}")

    async def _on_dialog(self, dialog: Dialog) -> None:
        self.dialogs.append(dialog.message)
        await dialog.dismiss()


async def shot(page: Page, name: str, *, full_page: bool = False) -> Path:
    """Write a picture of what is seen to screenshots/NAME.png."""
    path = SCREENSHOTS / f"{name}.png"
    await page.screenshot(path=path, full_page=full_page)
    return path


async def axe_violations(page: Page) -> list[str]:
    """What axe finds wrong with a page for people who can't see it, or use no mouse; a line each."""
    if not AXE.is_file():
        do_without("axe-core is not there: install npm, then npm ci --prefix tests/node")
    session = await page.context.new_cdp_session(page)
    try:
        # A world of its own: the page's policy lets no strange script into the page's, and doesn't hold here.
        tree = await session.send("Page.getFrameTree")
        world = await session.send("Page.createIsolatedWorld", {"frameId": tree["frameTree"]["frame"]["id"]})
        for script in (AXE.read_text("utf-8"), _RUN_AXE % (list(AXE_TAGS),)):
            asked = {"expression": script, "contextId": world["executionContextId"]}
            answer = await session.send("Runtime.evaluate", {**asked, "awaitPromise": True, "returnByValue": True})
            assert "exceptionDetails" not in answer, answer["exceptionDetails"]
    finally:
        await session.detach()
    found: list[str] = answer["result"]["value"]
    return found


def find_chromium() -> str | None:
    return next(filter(None, map(shutil.which, CHROMIUMS)), None)


def require_chromium() -> None:
    """Skip the test where there is none: from outside of the fixtures, so that pytest says it once for all of them."""
    if find_chromium() is None:
        do_without(f"no Chromium on PATH ({', '.join(CHROMIUMS)}): the tests in a browser are left out")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """One browser for all tests of a process."""
    expect.set_options(timeout=PATIENCE_SECONDS * 1000)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=find_chromium(), args=ARGUMENTS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def pages(request: pytest.FixtureRequest, chromium: Browser) -> AsyncIterator[Pages]:
    """Opens pages, and remembers what they do."""
    mark = request.node.get_closest_marker("asyncio")
    assert mark.kwargs == IN_BROWSER.kwargs, "say `pytestmark = IN_BROWSER`, or every await of a page waits for ever"
    pages = Pages(chromium)
    yield pages
    await pages.close()


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of all tests of a process with SHORT, EDGE and DEMO, all public. Tests leave them as they are."""
    folder = tmp_path_factory.mktemp("shared")
    recordings = [GOLDEN / "short.recording.json", GOLDEN / "edge.recording.json"]
    put_in(folder, *recordings, CHECKOUT / "share" / "demo" / "marshmallow-1867.traj", public=True)
    with start_server(folder) as server:
        yield server


def put_in(folder: Path, *files: Path, public: bool = False) -> None:
    """Import recordings into the `./data` of a folder, where a server may be running; unlisted ones, or public."""
    imported = run_here("import", *(["--public"] if public else []), *files, folder=folder)
    assert imported.returncode == 0, imported.stderr


@asynccontextmanager
async def open_store(folder: Path) -> AsyncIterator[Gateway]:
    """The database in the `./data` of a folder, where a server may be running or not."""
    async with open_database(database_url(folder / "data")) as database:
        gateway = Gateway(database)
        yield gateway
        await gateway.drain()


async def make_link(server: Server, interaction_id: str = SHORT, **limits: Any) -> str:
    """The address of a new share link; limits are `label`, `expires_in` in seconds and `max_views`."""
    async with open_store(server.log_file.parent) as gateway:
        _, token = await LinkCRUD(gateway).add_link(interaction_id, "guest", **limits)
    return f"{server.http_url}/s/{token}"


@asynccontextmanager
async def serve_mounted(folder: Path, prefix: str) -> AsyncIterator[str]:
    """Serve the `./data` of a folder below a prefix of somebody's app; the address of `/` there."""
    settings = XAgentServerEnv(base_dir=folder / "data")
    async with open_database(database_url(folder / "data")) as database:
        await share.create_tables(database)
        app = Starlette(routes=[Mount(prefix, routes=share.routes(database, settings))])
        async with serve_here(app) as port:
            yield f"http://127.0.0.1:{port}{prefix}/"
