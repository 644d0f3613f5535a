"""The browser that tests use, tested: what a page must not do is noticed, and a good page is not blamed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from tests.browser import IN_BROWSER, Pages, axe_violations, shot
from tests.server import serve_here

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "require-trusted-types-for 'script'; trusted-types dompurify"
)
PAGE = (
    '<!doctype html><html lang="en"><meta name="viewport" content="width=device-width"><title>A page</title>'
    '<link rel="icon" href="data:,"><script src="script.js" defer></script><body><main><h1>A page</h1>{}</main>'
)

Serve = Callable[[str, str], AbstractAsyncContextManager[str]]

pytestmark = IN_BROWSER


@pytest.fixture
def serve() -> Serve:
    @asynccontextmanager
    async def serve(body: str, script: str = "") -> AsyncIterator[str]:
        """A page with this in it, and this script; its address."""
        headers = {"content-security-policy": POLICY}
        routes = [
            Route("/", lambda request: HTMLResponse(PAGE.format(body), headers=headers)),
            Route("/script.js", lambda request: Response(script, media_type="text/javascript")),
        ]
        async with serve_here(Starlette(routes=routes)) as port:
            yield f"http://127.0.0.1:{port}/"

    return serve


async def test_a_good_page_is_not_blamed_also_when_it_is_looked_at_closely(pages: Pages, serve: Serve) -> None:
    async with serve('<input aria-label="Name">', "") as url:
        page = await pages.open(url, dark=True, reduced_motion=True, width=360, height=740)
        await page.get_by_label("Name").fill("X")
        await page.wait_for_function("document.querySelector('input').value === 'X'")
        looks = await page.evaluate(
            "['(prefers-color-scheme: dark)', '(width: 360px)'].map((q) => matchMedia(q).matches)"
        )

        assert await axe_violations(page) == []
        assert looks == [True, True]
        picture = await shot(page, "harness")
        picture.unlink()
        assert pages.requests == [url, f"{url}script.js"]
        pages.assert_clean()


@pytest.mark.parametrize(
    ("body", "script", "seen"),
    [
        ("", "alert(1)", "1"),
        ("", "console.error('bad')", "bad"),
        ("", "throw new Error('bad')", "uncaught: bad"),
        ("", "Promise.reject(new Error('bad'))", "uncaught: bad"),
        ("", "fetch('http://example.com/x')", "http://example.com/x"),
        ("<script>0</script>", "", "policy: script-src-elem forbids inline"),
        ("", "document.body.innerHTML = 'x'", "policy: require-trusted-types-for forbids trusted-types-sink"),
        ('<p style="color: red">x</p>', "", "policy: style-src-attr forbids inline"),
        ("<img src=http://example.com/x.png alt=x>", "", "policy: img-src forbids http://example.com/x.png"),
        ("", "new WebSocket('ws://example.com/x')", "policy: connect-src forbids ws://example.com/x"),
    ],
)
async def test_what_a_page_must_not_do_is_noticed(
    pages: Pages, serve: Serve, body: str, script: str, seen: str
) -> None:
    async with serve(body, script) as url:
        page = await pages.open(url)
        await page.wait_for_timeout(100)

        with pytest.raises(AssertionError):
            pages.assert_clean()
        assert seen in "\n".join([*pages.errors, *pages.dialogs, *pages.requests])


async def test_axe_finds_what_is_wrong(pages: Pages, serve: Serve) -> None:
    async with serve("<input>", "") as url:
        page = await pages.open(url)

        assert "Form elements must have labels" in "\n".join(await axe_violations(page))
        pages.assert_clean()
