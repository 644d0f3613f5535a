"""What other sites make of a link, really served: oEmbed, the picture of a run, embed.js, and who may frame a page."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Mount

from share.access import LINK_ENDED, NOT_FOUND
from share.card_picture import HEIGHT, MAX_MARKS, WIDTH, draw, wrap
from share.settings import XAgentServerEnv
from share.static_files import FOLDER
from share.summary import Summary, one_line
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
from tests.test_api import assert_problem
from tests.test_endpoint import with_settings

SVG = "{http://www.w3.org/2000/svg}"
MEMBERS = ["type", "version", "title", "author_name", "provider_name", "provider_url", "html", "width", "height"]
MEMBERS += ["thumbnail_url", "thumbnail_width", "thumbnail_height"]


@pytest.fixture
async def server(gateway: Gateway, tmp_path: Path) -> Server:
    return await server_with_a_run(gateway, tmp_path)


@pytest.fixture
async def browser(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    async with browsing(server.app) as browser:
        yield browser


async def ask(browser: httpx.AsyncClient, path: str, **query: Any) -> httpx.Response:
    """What oEmbed answers about a page of this server."""
    return await browser.get("/oembed", params={"url": f"{browser.base_url}{path}", **query})


def frame_of(answer: httpx.Response) -> dict[str, str | None]:
    (frame,) = Page(answer.json()["html"]).elements
    assert frame[0] == "iframe"
    return frame[1]


# oEmbed


async def test_oembed_gives_a_player_in_a_frame(browser: httpx.AsyncClient) -> None:
    answer = await ask(browser, "/r/run", format="json")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    told = answer.json()
    assert list(told) == MEMBERS
    root = str(browser.base_url)
    assert told | {"html": ""} == {
        "type": "rich",
        "version": "1.0",
        "title": "Fix the build",
        "author_name": "author",
        "provider_name": "Replay Share",
        "provider_url": f"{root}/",
        "html": "",
        "width": 800,
        "height": 500,
        "thumbnail_url": f"{root}/r/run/card.svg",
        "thumbnail_width": WIDTH,
        "thumbnail_height": HEIGHT,
    }
    frame = frame_of(answer)
    assert (frame["src"], frame["width"], frame["height"]) == (f"{root}/embed/run", "800", "500")
    for address in (told["thumbnail_url"], f"{root}/embed/run"):
        assert (await browser.get(address)).status_code == 200


@pytest.mark.parametrize(
    ("asked", "size"),
    [
        ({"maxwidth": "400"}, (400, 500)),
        ({"maxheight": "300"}, (800, 300)),
        ({"maxwidth": "9999", "maxheight": "9999"}, (800, 500)),
        ({"maxwidth": "1", "maxheight": "1"}, (1, 1)),
    ],
)
async def test_a_frame_is_no_larger_than_was_asked_for(
    browser: httpx.AsyncClient,
    asked: dict[str, str],
    size: tuple[int, int],
) -> None:
    answer = await ask(browser, "/r/run", **asked)
    assert (answer.json()["width"], answer.json()["height"]) == size
    assert (frame_of(answer)["width"], frame_of(answer)["height"]) == (str(size[0]), str(size[1]))


@pytest.mark.parametrize("name", ["maxwidth", "maxheight"])
@pytest.mark.parametrize("number", ["0", "-1", "x", "", "1.5", "9" * 30, "١"])
async def test_a_size_that_is_none_is_refused(browser: httpx.AsyncClient, name: str, number: str) -> None:
    assert_problem(await ask(browser, "/r/run", **{name: number}), 400)


async def test_only_json_is_spoken(browser: httpx.AsyncClient) -> None:
    for kind in ("xml", "JSON", ""):
        assert_problem(await ask(browser, "/r/run", format=kind), 501)


async def test_without_an_address_nothing_is_answered(browser: httpx.AsyncClient) -> None:
    assert_problem(await browser.get("/oembed"), 400)
    assert_problem(await browser.get("/oembed?url="), 400)


@pytest.mark.parametrize(
    "path", ["/r/run", "/r/run/", "/embed/run", "/r/run?x=y", "/r/%72un", "/r/run?user_id=me&token=secret", "/r/run#x"]
)
async def test_every_address_of_a_page_will_do(browser: httpx.AsyncClient, path: str) -> None:
    answer = await ask(browser, path)
    assert answer.status_code == 200
    assert frame_of(answer)["src"] == f"{browser.base_url}/embed/run"


async def test_how_and_where_to_play_is_kept(browser: httpx.AsyncClient) -> None:
    answer = await ask(browser, "/r/run?speed=2&token=x&t=1:30&loop=%22%3E%3Cscript%3E#step=12")
    source = frame_of(answer)["src"]
    assert source == f"{browser.base_url}/embed/run?speed=2&t=1%3A30&loop=%22%3E%3Cscript%3E#step=12"
    assert "<script" not in answer.json()["html"]


@pytest.mark.parametrize(
    "address",
    [
        "https://example.com/r/run",
        "http://127.0.0.1/r/run",
        "https://{host}/r/run",
        "//{host}/r/run",
        "/r/run",
        "http://{host}.evil.org/r/run",
        "http://{host}@evil.org/r/run",
        "http://{host}:99999/r/run",
        "http://[::1/r/run",
        "http://{host}/",
        "http://{host}/r/",
        "http://{host}/r/run/card.svg",
        "http://{host}/x/r/run",
        "http://{host}/r/run%2F..",
        "http://{host}/api/v1/recordings/run",
        "http://{host}/s/run",
        "http://{host}/r/none",
        "http://{host}/r/private",
        "http://{host}/r/%00",
        "http://{host}/r/\ud800",
        "javascript:alert(1)",
    ],
)
async def test_what_isnt_ours_or_isnt_there_isnt_found(
    server: Server,
    browser: httpx.AsyncClient,
    address: str,
) -> None:
    await server.record(row(0, node_id="x"), interaction_id="private", shared=False)
    host = f"127.0.0.1:{browser.base_url.port}"
    url = quote(address.replace("{host}", host), safe="", errors="surrogatepass")
    assert_problem(await browser.get(f"/oembed?url={url}"), 404)


async def test_below_a_mount_only_what_is_there_is_ours(server: Server) -> None:
    async with browsing(Starlette(routes=[Mount("/a b", routes=server.app.routes)])) as browser:
        root = f"{browser.base_url}/a%20b"
        answer = await browser.get("/a b/oembed", params={"url": f"{root}/r/run"})
        assert frame_of(answer)["src"] == f"{root}/embed/run"
        assert answer.json()["provider_url"] == f"{root}/"
        assert (await browser.get(answer.json()["thumbnail_url"])).status_code == 200
        assert_problem(await browser.get("/a b/oembed", params={"url": f"{browser.base_url}/r/run"}), 404)


async def test_a_link_is_answered_by_its_token_and_counts_nobody(
    server: Server,
    browser: httpx.AsyncClient,
) -> None:
    await server.record(row(0, node_id="x"), interaction_id="c0ffee42")
    links = LinkCRUD(server.gateway)
    _, token = await links.add_link("c0ffee42", "author", max_views=1)
    for _ in range(3):
        answer = await ask(browser, f"/s/{token}")
        assert answer.status_code == 200 and "c0ffee42" not in answer.text
        assert frame_of(answer)["src"] == f"{browser.base_url}/embed/{token}"
        assert answer.json()["thumbnail_url"] == f"{browser.base_url}/s/{token}/card.svg"
    link = await links.get_link(token)
    assert link is not None and link.views == 0
    assert await links.count_view(link, "somebody")
    assert_problem(await ask(browser, f"/s/{token}"), 404, LINK_ENDED)


async def test_a_refusal_says_no_more_than_the_page_does(browser: httpx.AsyncClient) -> None:
    assert_problem(await ask(browser, "/r/none"), 404, NOT_FOUND)


async def test_what_strangers_have_written_is_text_in_an_answer_too(
    server: Server,
    browser: httpx.AsyncClient,
) -> None:
    await describe(server, NASTY)
    answer = await ask(browser, "/r/run")
    assert answer.json()["title"] == SHOWN
    assert frame_of(answer)["title"] == SHOWN


async def test_any_page_may_ask(server: Server) -> None:
    origin = {"origin": "https://blog.example.org"}
    cors = Middleware(CORSMiddleware, allow_origins=["*"])
    for middleware in ([], [cors]):
        async with browsing(Starlette(routes=server.app.routes, middleware=middleware)) as browser:
            for path, status in (("/r/run", 200), ("/r/none", 404)):
                answer = await browser.get("/oembed", params={"url": f"{browser.base_url}{path}"}, headers=origin)
                assert answer.status_code == status
                assert answer.headers.get_list("access-control-allow-origin") == ["*"]


# The picture


def texts_of(picture: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(picture).iter(f"{SVG}text")]


async def test_the_picture_says_what_was_run_and_shows_when(browser: httpx.AsyncClient) -> None:
    response = await browser.get("/r/run/card.svg")
    assert (response.status_code, response.headers["content-type"]) == (200, "image/svg+xml")
    assert response.headers["content-security-policy"] == "default-src 'none'"
    assert response.headers["x-content-type-options"] == "nosniff"
    drawn = ElementTree.fromstring(response.content)
    assert (drawn.get("width"), drawn.get("height")) == (str(WIDTH), str(HEIGHT))
    shown = texts_of(response.text)
    assert shown == ["Replay Share", "Fix the build", "author · XAgent", "3 steps", "finished", "1:05"]
    assert not {"script", "style", "image", "foreignObject", "a"} & {
        element.tag.rpartition("}")[2] for element in drawn.iter()
    }


async def test_only_the_picture_of_what_is_public_is_kept_by_others(
    server: Server,
    browser: httpx.AsyncClient,
) -> None:
    token = await make_link(server)
    assert (await browser.get("/r/run/card.svg")).headers["cache-control"] == "private, no-cache"
    await make_public(server)
    assert (await browser.get("/r/run/card.svg")).headers["cache-control"] == "public, max-age=300"
    assert (await browser.get(f"/s/{token}/card.svg")).headers["cache-control"] == "private, no-cache"


async def test_a_long_run_has_a_picture_with_some_of_its_steps(
    server: Server,
    browser: httpx.AsyncClient,
) -> None:
    many = [row(n, node_id=f"l{n}", status="failed" if n == 1234 else "inner") for n in range(3000)]
    await server.record(*many, interaction_id="long")
    text = (await browser.get("/r/long/card.svg")).text
    assert "3000 steps" in texts_of(text)
    marks = [
        element.get("fill") for element in ElementTree.fromstring(text).iter(f"{SVG}rect") if element.get("rx") == "1"
    ]
    assert 100 < len(marks) <= MAX_MARKS
    assert marks.count("#ff8f86") == 1
    assert len(text) < 100_000


async def test_a_run_without_rows_has_a_picture(server: Server, browser: httpx.AsyncClient) -> None:
    await server.record(interaction_id="empty", description=None)
    text = (await browser.get("/r/empty/card.svg")).text
    assert {"A recorded run", "0 steps", "0:00"} <= set(texts_of(text))


@given(st.text(max_size=400) | st.text("<>&\"'\0\x08\ufffe\ud800 a数", max_size=50), st.text(max_size=30))
def test_a_picture_is_xml_whatever_the_texts_are(title: str, other: str) -> None:
    author, status = one_line(other, 80), one_line(other, 20)
    summary = Summary(one_line(title, 200), author, author, status, 3, 1.0)
    text = draw(summary, [(1, 0.0, other), (2, 0.5, "inner"), (3, 1.0, "failed")], 3, 1.0)
    drawn = ElementTree.fromstring(text.encode())
    assert len(list(drawn.iter(f"{SVG}rect"))) == 6


@given(st.text("aW 数据…,\u0301😀", max_size=300), st.integers(1, 4))
def test_a_text_is_wrapped_into_lines_that_are_no_wider(text: str, lines: int) -> None:
    found = wrap(text, 19, lines)
    assert len(found) <= lines
    for line in found:
        assert line.strip()
        wide = sum(character in "数据😀W…" for character in line)
        assert wide <= 19 + 5  # what may not begin a line hangs over
    if found and not found[-1].endswith("…"):
        assert re.sub(r"\s", "", "".join(found)) == re.sub(r"\s", "", text)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", []),
        ("one two", ["one two"]),
        ("一二三四五六七八九十", ["一二三四五六", "七八九十"]),
        ("一二三四五，六", ["一二三四五，", "六"]),
        ("a wonderful morning for everybody", ["a wonderful", "morning fo…"]),
        ("一二三四五六七八九十一二三四", ["一二三四五六", "七八九十一…"]),
    ],
)
def test_lines_end_where_they_may(text: str, lines: list[str]) -> None:
    assert wrap(text, 6.6, 2) == lines


# Frames


@pytest.mark.parametrize(
    ("setting", "ancestors"),
    [
        ("*", "*"),
        ("https://a.org, http://localhost:3000", "https://a.org http://localhost:3000"),
        ("none", "'none'"),
    ],
)
async def test_an_embedded_page_may_be_framed_where_the_setting_says(
    server: Server,
    setting: str,
    ancestors: str,
) -> None:
    origins = XAgentServerEnv.load({"SHARE_EMBED_ORIGINS": setting}, Path("no .env here")).embed_origins
    async with browsing(with_settings(server, embed_origins=origins).app) as browser:
        for path in ("/embed/run", "/embed/none"):
            response = await browser.get(path)
            assert policy_of(response)["frame-ancestors"] == ancestors
            assert response.headers.get("x-frame-options") == ("DENY" if setting == "none" else None)
        for path in ("/", "/r/run", "/r/none", f"/s/{await make_link(server)}"):
            response = await browser.get(path)
            assert policy_of(response)["frame-ancestors"] == "'none'"
            assert response.headers["x-frame-options"] == "DENY"


# embed.js


async def test_the_script_for_other_pages_has_an_address_that_stays(browser: httpx.AsyncClient) -> None:
    response = await browser.get("/embed.js")
    assert (response.status_code, response.headers["content-type"]) == (200, "text/javascript; charset=utf-8")
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["cross-origin-resource-policy"] == "cross-origin"
    assert response.content == (FOLDER / "embed.js").read_bytes()
    again = await browser.get("/embed.js", headers={"if-none-match": response.headers["etag"]})
    assert (again.status_code, again.headers["cache-control"]) == (304, "no-cache")
    assert (await browser.head("/embed.js")).status_code == 200


def test_the_script_for_other_pages_is_no_module() -> None:
    text = (FOLDER / "embed.js").read_text("utf-8")
    assert not re.search(r"^\s*(import|export)\b|innerHTML|document\.write|eval\(", text, re.MULTILINE)
