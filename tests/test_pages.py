"""The pages and the player's files, really served: what is in them, under which headers, and what never is."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from share import AccessPolicy, static_files
from share.access import LINK_ENDED, NOT_FOUND, RUNNING, VIEWER_COOKIE
from share.clock import LoopClock
from share.pages import NOT_LISTED
from share.routing import build_routes
from share.static_files import FOLDER, modules, version
from storage.errors import DatabaseUnavailable
from storage.gateway import Gateway
from storage.links import LinkCRUD
from tests.asgi import Server, row
from tests.browsing import (
    NASTY,
    SHOWN,
    Page,
    browsing,
    describe,
    make_link,
    make_public,
    policy_of,
    server_with_a_run,
)
from tests.test_endpoint import with_settings

PAGE_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data: blob:",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
    "require-trusted-types-for": "'script'",
    "trusted-types": "dompurify",
}


@pytest.fixture
async def server(gateway: Gateway, tmp_path: Path) -> Server:
    return await server_with_a_run(gateway, tmp_path)


@pytest.fixture
async def browser(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    async with browsing(server.app) as browser:
        yield browser


# Pages


async def test_a_recordings_page_says_what_the_player_has_to_know(browser: httpx.AsyncClient) -> None:
    response = await browser.get("/r/run")
    assert (response.status_code, response.headers["content-type"]) == (200, "text/html; charset=utf-8")
    body = {"data-root": "/", "data-name": "run", "data-viewer": "", "data-kind": "page", "data-version": version()}
    assert Page(response.text).body == body
    assert "set-cookie" not in response.headers
    assert f"replay-share watch {browser.base_url}/r/run</p></noscript>" in response.text


async def test_a_links_page_has_the_viewers_name_and_sets_it_as_the_cookie(
    server: Server, browser: httpx.AsyncClient
) -> None:
    token = await make_link(server)
    first = await browser.get(f"/s/{token}")
    viewer = browser.cookies[VIEWER_COOKIE]
    assert len(viewer) >= 22
    again = await browser.get(f"/s/{token}")
    assert "set-cookie" not in again.headers
    embedded = await browser.get(f"/embed/{token}")
    for response, kind in ((first, "page"), (again, "page"), (embedded, "embed")):
        body = Page(response.text).body
        assert (body["data-name"], body["data-viewer"], body["data-kind"]) == (token, viewer, kind)


async def test_an_embedded_page_is_the_player_too(browser: httpx.AsyncClient) -> None:
    body = Page((await browser.get("/embed/run")).text).body
    assert (body["data-name"], body["data-kind"], body["data-viewer"]) == ("run", "embed", "")


async def test_the_gallery_is_at_the_root(browser: httpx.AsyncClient) -> None:
    response = await browser.get("/")
    assert response.status_code == 200
    page = Page(response.text)
    assert page.body == {"data-root": "/", "data-version": version()}
    assert "robots" not in page.metas


@pytest.mark.parametrize("path", ["/", "/r/run", "/embed/run", "/r/none"])
async def test_all_that_a_page_names_is_there_and_may_be_kept(browser: httpx.AsyncClient, path: str) -> None:
    page = Page((await browser.get(path)).text)
    assert page.named
    for address in page.named:
        response = await browser.get(address)
        assert response.status_code == 200, address
        assert response.headers["cache-control"] == "public, max-age=31536000, immutable"


@pytest.mark.parametrize("path", ["/", "/r/run", "/embed/run", "/r/none"])
async def test_nothing_in_a_page_runs_or_looks_by_itself(browser: httpx.AsyncClient, path: str) -> None:
    text = (await browser.get(path)).text
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", text)
    assert all(script["src"] and script["type"] == "module" for script in Page(text).all("script"))
    assert len(re.findall(r"<script[^>]*></script>", text)) == len(Page(text).all("script"))


@pytest.mark.parametrize("path", ["/", "/r/run"])
async def test_a_page_may_use_only_what_is_ours_and_be_in_no_frame(browser: httpx.AsyncClient, path: str) -> None:
    response = await browser.get(path)
    policy = policy_of(response)
    host = response.request.headers["host"]
    assert policy.pop("connect-src") == f"'self' ws://{host}"
    assert policy == PAGE_POLICY
    headers = {
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "x-dns-prefetch-control": "off",
        "cache-control": "no-store",
        "x-frame-options": "DENY",
    }
    assert headers.items() <= response.headers.items()


@pytest.mark.parametrize(
    ("host", "source"),
    [
        ("replays.example.org", " ws://replays.example.org"),
        ("a.org:8090", " ws://a.org:8090"),
        ("[::1]:80", ""),
        ("a.org; script-src *", ""),
        ("a.org 'unsafe-inline'", ""),
        ("a.org,b.org", ""),
        ("*", ""),
        ("a.org:x", ""),
    ],
)
async def test_nothing_gets_into_the_policy_by_the_hosts_name(
    browser: httpx.AsyncClient, host: str, source: str
) -> None:
    response = await browser.get("/r/run", headers={"host": host})
    if response.status_code == 200:
        policy = policy_of(response)
        assert policy.pop("connect-src") == f"'self'{source}"
        assert policy == PAGE_POLICY
    else:
        assert response.status_code == 400 and not source


async def test_behind_a_proxy_with_tls_sockets_are_secret_too(server: Server) -> None:
    async with browsing(server.app, proxy_headers=True, forwarded_allow_ips="*") as browser:
        headers = {"host": "replays.example.org", "x-forwarded-proto": "https"}
        response = await browser.get("/r/run", headers=headers)
    assert policy_of(response)["connect-src"] == "'self' wss://replays.example.org"
    assert Page(response.text).metas["og:url"] == "https://replays.example.org/r/run"


@pytest.mark.parametrize("prefix", ["/replays", "/a b/数"])
async def test_below_a_mount_every_address_is_right(server: Server, prefix: str) -> None:
    token = await make_link(server)
    async with browsing(Starlette(routes=[Mount(prefix, routes=server.app.routes)])) as browser:
        for path in ("/", "/r/run", f"/s/{token}", "/embed/run"):
            response = await browser.get(f"{prefix}{path}")
            root = str(httpx.URL(f"http://x{prefix}/").raw_path, "ascii")
            page = Page(response.text)
            assert page.body["data-root"] == root
            assert all(address.startswith(f"{root}static/") for address in page.named)
            (icon,) = [address for address in page.named if address.endswith("/icon.svg")]
            assert (await browser.get(icon)).status_code == 200
        picture = Page((await browser.get(f"{prefix}/r/run")).text).metas["og:image"]
        assert picture == urljoin(str(browser.base_url), f"{root}r/run/card.svg")
        assert (await browser.get(picture)).status_code == 200


async def test_below_a_prefix_that_a_proxy_takes_away_every_address_is_right(server: Server) -> None:
    async with browsing(server.app, root_path="/proxied") as browser:
        page = Page((await browser.get("/r/run")).text)
        assert page.body["data-root"] == "/proxied/"
        assert page.metas["og:image"].endswith("/proxied/r/run/card.svg")
        (address,) = [address for address in page.named if address.endswith("/icon.svg")]
        assert address.startswith(f"/proxied/static/{version()}/")
        response = await browser.get(address.removeprefix("/proxied"))
        assert (response.status_code, "immutable" in response.headers["cache-control"]) == (200, True)


# What strangers have written


async def test_a_description_is_text_whatever_it_is(server: Server, browser: httpx.AsyncClient) -> None:
    await describe(server, NASTY)
    token = await make_link(server)
    plain = Page((await browser.get("/r/none")).text)
    assert not plain.all("script")
    for path in ("/r/run", f"/s/{token}", "/embed/run"):
        page = Page((await browser.get(path)).text)
        assert page.texts["title"] == page.metas["og:title"] == page.metas["twitter:title"] == SHOWN
        assert [script["src"] for script in page.all("script")] == [f"/static/{version()}/player.js"]
        assert page.body["data-name"] in ("run", token)


@pytest.mark.parametrize(
    ("stored", "title"),
    [
        (None, "A recorded run"),
        ("", "A recorded run"),
        ("\n\x01\u202e", "A recorded run"),
        ("a\r\n  b\tc", "a b c"),
        ("x" * 5000, "x" * 199 + "…"),
        ("👩\u200d🚀 lifts off", "👩\u200d🚀 lifts off"),
    ],
)
async def test_a_title_is_one_line_of_what_can_be_shown(
    server: Server, browser: httpx.AsyncClient, stored: str | None, title: str
) -> None:
    await describe(server, stored)
    assert Page((await browser.get("/r/run")).text).texts["title"] == title


@pytest.mark.sqlite
async def test_text_that_is_no_utf8_spoils_no_page(server: Server, browser: httpx.AsyncClient) -> None:
    await server.gateway.execute(
        "UPDATE interactions SET description = CAST(x'ff41ff00' AS TEXT), agent = CAST(x'780079' AS TEXT)"
    )
    for path in ("/r/run", "/embed/run", "/r/run/card.svg"):
        assert (await browser.get(path)).status_code == 200


async def test_a_viewers_cookie_may_hold_anything(server: Server, browser: httpx.AsyncClient) -> None:
    token = await make_link(server)
    cookie = '"><script>alert(1)</script>' + "x" * 500
    response = await browser.get(f"/s/{token}", headers={"cookie": f"{VIEWER_COOKIE}={cookie}"})
    page = Page(response.text)
    assert len(page.all("script")) == 1
    assert page.body["data-viewer"] == cookie[:128]


# What programs read


async def test_a_page_says_what_it_is_to_who_shows_a_preview(server: Server, browser: httpx.AsyncClient) -> None:
    page = Page((await browser.get("/r/run")).text)
    address = f"http://127.0.0.1:{browser.base_url.port}/r/run"
    told = {
        "og:type": "website",
        "og:site_name": "Replay Share",
        "og:url": address,
        "og:title": "Fix the build",
        "og:description": "3 steps · 1:05 · finished · author · XAgent",
        "og:image": f"{address}/card.svg",
        "og:image:width": "1200",
        "og:image:height": "630",
        "twitter:card": "summary_large_image",
    }
    assert told.items() <= page.metas.items()
    (oembed,) = [link["href"] for link in page.all("link") if link.get("type") == "application/json+oembed"]
    assert oembed is not None
    for link in (oembed, page.metas["og:image"]):
        assert (await browser.get(link)).status_code == 200


async def test_only_what_is_public_is_for_search_engines(server: Server, browser: httpx.AsyncClient) -> None:
    token = await make_link(server)
    assert Page((await browser.get("/r/run")).text).metas["robots"] == "noindex"
    await make_public(server)
    assert "robots" not in Page((await browser.get("/r/run")).text).metas
    for path in (f"/s/{token}", "/embed/run", "/r/none"):
        assert Page((await browser.get(path)).text).metas["robots"] == "noindex"


async def test_the_id_is_in_nothing_that_a_link_leads_to(server: Server, browser: httpx.AsyncClient) -> None:
    await server.record(row(0, node_id="x"), interaction_id="c0ffee42", description="secret")
    token = (await LinkCRUD(server.gateway).add_link("c0ffee42", "author"))[1]
    for path in (f"/s/{token}", f"/r/{token}", f"/embed/{token}", f"/s/{token}/card.svg"):
        response = await browser.get(path)
        assert response.status_code == 200
        assert "c0ffee42" not in response.text + str(response.headers)
    page = Page((await browser.get(f"/r/{token}")).text)
    assert page.metas["og:url"].endswith(f"/s/{token}")


async def test_looking_at_a_page_counts_nobody(server: Server, browser: httpx.AsyncClient) -> None:
    token = await make_link(server, max_views=1)
    for path in (f"/s/{token}", f"/r/{token}", f"/embed/{token}", f"/s/{token}/card.svg"):
        for _ in range(2):
            assert (await browser.get(path)).status_code == 200
    link = await LinkCRUD(server.gateway).get_link(token)
    assert link is not None and link.views == 0


# Refusals


def assert_refused(response: httpx.Response, status: int, text: str) -> None:
    page = Page(response.text)
    assert (response.status_code, page.texts["h1"], page.texts["p"].strip()) == (status, "Not available", text)
    assert page.metas["robots"] == "noindex"
    policy = policy_of(response)
    assert (policy["default-src"], policy["style-src"]) == ("'none'", "'self'")
    assert "script-src" not in policy and not page.all("script")
    assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/r/none", "/r/..run", "/embed/none", "/r/private", "/embed/private", "/r/a%00b"])
async def test_what_isnt_there_or_not_for_you_is_refused_alike(
    server: Server, browser: httpx.AsyncClient, path: str
) -> None:
    await server.record(row(0, node_id="x"), interaction_id="private", shared=False)
    assert_refused(await browser.get(path), 404, NOT_FOUND)


async def test_a_link_that_has_ended_is_refused(server: Server, browser: httpx.AsyncClient) -> None:
    links = LinkCRUD(server.gateway)
    expired, revoked, used = [
        await make_link(server, **limits) for limits in ({"expires_in": -1}, {}, {"max_views": 1})
    ]
    link = await links.get_link(revoked)
    assert link is not None
    await links.revoke("author", link.id)
    link = await links.get_link(used)
    assert link is not None and await links.count_view(link, "somebody")
    for token in (expired, revoked, used, f"rs_{'x' * 32}"):
        for way in ("/s/", "/r/", "/embed/"):
            assert_refused(await browser.get(way + token), 404, LINK_ENDED)
        assert (await browser.get(f"/s/{token}/card.svg")).status_code == 404
    assert (await browser.get(f"/s/{used}", headers={"cookie": f"{VIEWER_COOKIE}=somebody"})).status_code == 200


async def test_an_id_is_no_link(browser: httpx.AsyncClient) -> None:
    assert_refused(await browser.get("/s/run"), 404, LINK_ENDED)
    assert (await browser.get("/s/run/card.svg")).status_code == 404


async def test_who_has_to_wait_is_told_so(server: Server) -> None:
    await server.record(row(0, node_id="x"), interaction_id="other", user_id="busy", status="running")
    async with browsing(with_settings(server, check_running=True).app) as browser:
        assert_refused(await browser.get("/r/run?user_id=busy"), 503, RUNNING)


async def test_without_a_database_there_is_a_page_that_says_so(
    server: Server, browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = await make_link(server)

    async def fail(self: Gateway, work: object) -> None:
        raise DatabaseUnavailable("it is down")

    monkeypatch.setattr(Gateway, "run", fail)
    for path in ("/r/run", f"/s/{token}", "/embed/run"):
        assert_refused(await browser.get(path), 503, "The database doesn't answer, please try again later.")
    assert (await browser.get("/r/run/card.svg")).status_code == 503
    assert (await browser.get("/")).status_code == 200


async def test_an_apps_own_policy_is_asked_for_every_page(server: Server) -> None:
    class Policy(AccessPolicy):
        async def can_read(self, connection: Any, interaction: Any) -> bool:
            return connection.headers.get("x-user") == "ann"

    app = Starlette(routes=build_routes(server.gateway, server.settings, LoopClock(), Policy()))
    async with browsing(app) as browser:
        assert_refused(await browser.get("/"), 403, NOT_LISTED)
        for path in ("/r/run", "/embed/run"):
            assert_refused(await browser.get(path), 404, NOT_FOUND)
            assert (await browser.get(path, headers={"x-user": "ann"})).status_code == 200
        await make_public(server)
        picture = await browser.get("/r/run/card.svg", headers={"x-user": "ann"})
        assert picture.headers["cache-control"] == "private, no-cache"
        assert (await browser.get("/r/run/card.svg")).status_code == 404


# The player's files


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("dom.js", "text/javascript; charset=utf-8"),
        ("base.css", "text/css; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
    ],
)
async def test_a_file_is_served_as_what_it_is(browser: httpx.AsyncClient, path: str, kind: str) -> None:
    for method in ("GET", "HEAD"):
        response = await browser.request(method, f"/static/{version()}/{path}")
        assert response.status_code == 200
        assert response.headers["content-type"] == kind
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert response.content == ((FOLDER / path).read_bytes() if method == "GET" else b"")


async def test_under_an_older_version_there_is_what_is_there_now_and_it_isnt_kept(browser: httpx.AsyncClient) -> None:
    response = await browser.get("/static/older/dom.js")
    assert (response.status_code, response.headers["cache-control"]) == (200, "no-cache")
    again = await browser.get("/static/older/dom.js", headers={"if-none-match": response.headers["etag"]})
    assert (again.status_code, again.content, again.headers["cache-control"]) == (304, b"", "no-cache")


@pytest.mark.parametrize(
    "path",
    [
        *(
            "",
            "none.js",
            "player.html",
            "message.html",
            "vendor",
            "dom.js/x.js",
            f"{'x' * 5000}.js",
            "a%00.js",
            "%ff.js",
        ),
        *("%2e%2e/settings.py", "..%2fpages.py", "/etc/passwd", "%2fetc%2fpasswd.txt", "..%5cpages.js"),
    ],
)
async def test_nothing_else_is_served(browser: httpx.AsyncClient, path: str) -> None:
    response = await browser.get(f"/static/{version()}/{path}")
    assert response.status_code == 404
    assert "cache-control" not in response.headers


async def test_files_cant_be_written(browser: httpx.AsyncClient) -> None:
    for method in ("POST", "PUT", "DELETE"):
        assert (await browser.request(method, f"/static/{version()}/dom.js")).status_code == 405


def test_the_version_changes_with_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(static_files, "FOLDER", tmp_path)
    (tmp_path / "vendor").mkdir()
    seen = set()
    for name, content in (("a.js", "1"), ("a.js", "2"), ("vendor/b.js", "3"), ("vendor/c.js", "")):
        (tmp_path / name).write_text(content)
        seen.add(version.__wrapped__())
        assert version.__wrapped__() in seen
    assert len(seen) == 4


def test_modules_are_found_by_what_imports_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(static_files, "FOLDER", tmp_path)
    (tmp_path / "vendor").mkdir()
    texts = {
        "main.js": 'import { a, b as c } from "./a.js";\nimport {\n  d,\n} from "./d.js";\nimport "./vendor/v.mjs";\n'
        '/** @param {import("./types.js").Row} row */\nconst x = "import y from \'./unused.js\'";',
        "a.js": 'import { e } from "./d.js";\nimport { f } from "./gone.js";\nimport { g } from "../outside.js";',
        "d.js": 'import { a } from "./a.js";',
        "vendor/v.mjs": 'var q=1;import{r}from"./w.mjs";export{r};',
        "vendor/w.mjs": "export const r = 1;",
        "types.js": "",
        "unused.js": "",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    (tmp_path.parent / "outside.js").write_text("")
    assert modules.__wrapped__("main.js") == ("a.js", "d.js", "vendor/v.mjs", "vendor/w.mjs")
    assert modules.__wrapped__("none.js") == ()
