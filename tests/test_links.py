"""Share links, made over HTTP and used over real sockets, with two server processes on one database."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from share.access import LINK_ENDED, VIEWER_COOKIE
from share.client import ReplayClient, ReplayError
from tests.server import PATIENCE_SECONDS, Server, start_server
from tests.test_api import AUTHOR, OTHER, ROOT, Api, assert_problem, fresh, recording, zip_of

HALF_AN_HOUR = 1800
SHOWN = ["id", "recording", "label", "created_at", "expires_at", "revoked_at", "max_views", "views"]
TOKEN = re.compile(r"rs_[A-Za-z0-9_-]{22,}")
SHARED = '{"type": "shared"}'


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Api, Server]]:
    """Two processes on one database: the first with its users, and the second."""
    folder = tmp_path_factory.mktemp("links")
    variables = {"SHARE_LOG_LEVEL": "DEBUG", "SHARE_PAUSE_SECONDS": "0"}
    with (
        start_server(folder, **variables) as one,
        start_server(folder, **variables) as two,
        httpx.Client(base_url=one.http_url, timeout=PATIENCE_SECONDS, trust_env=False) as client,
    ):
        api = Api(folder, one, client)
        api.add_user(AUTHOR)
        api.add_user(OTHER)
        yield api, two


@pytest.fixture
def api(servers: tuple[Api, Server]) -> Api:
    return servers[0]


def make_link(api: Api, made: str, user: str = AUTHOR, **fields: Any) -> dict[str, Any]:
    response = api.ask("POST", f"/recordings/{made}/links", user, json=fields)
    assert response.status_code == 201, response.text
    link: dict[str, Any] = response.json()
    return link


def links_of(api: Api, user: str) -> dict[int, dict[str, Any]]:
    """All links that a user has ever made, in their order, by their ids."""
    found: list[dict[str, Any]] = []
    following: dict[str, str] | None = {}
    while following is not None:
        page = api.get("/links", user, limit=100, **following).json()
        found += page["links"]
        following = {"cursor": page["next_cursor"]} if page["next_cursor"] else None
    return {link["id"]: link for link in found}


def views_of(api: Api, link: dict[str, Any]) -> int:
    (found,) = api.read("SELECT views FROM share_links WHERE id = ?", link["id"])
    views: int = found[0]
    return views


def let_pass(api: Api, link: dict[str, Any], seconds: float) -> None:
    """Let time pass for a link: what was so many seconds in the future is now."""
    api.change("UPDATE share_links SET expires_at = expires_at - ? WHERE id = ?", seconds, link["id"])
    api.change("UPDATE share_link_views SET viewed_at = viewed_at - ? WHERE link_id = ?", seconds, link["id"])


@asynccontextmanager
async def socket(
    server: Server, name: str, *, viewer: str = "", cookie: str = "", classic: bool = False
) -> AsyncIterator[ClientConnection]:
    """A viewer's socket."""
    query = f"?viewer={quote(viewer)}" if viewer else ""
    options: dict[str, Any] = {} if classic else {"subprotocols": [Subprotocol("replay.v1")]}
    if cookie:
        options["additional_headers"] = {"cookie": f"{VIEWER_COOKIE}={cookie}"}
    url = f"ws://127.0.0.1:{server.port}/ws/share/{quote(name, safe='')}{query}"
    async with asyncio.timeout(PATIENCE_SECONDS), connect(url, max_size=None, **options) as connection:
        yield connection


async def closed(connection: ClientConnection) -> tuple[list[str], int]:
    """What still comes, and the code with which the server closes."""
    frames = []
    try:
        while True:
            frames.append(str(await connection.recv()))
    except ConnectionClosed as end:
        assert end.rcvd is not None, "the server has hung up without a close frame"
        return frames, end.rcvd.code


async def is_let_in(server: Server, name: str, **options: Any) -> bool:
    """Whether a viewer is; he leaves at once."""
    async with socket(server, name, **options) as connection:
        hello = json.loads(await connection.recv())
        if hello.get("success"):
            return True
        _, code = await closed(connection)
        assert code == (1000 if options.get("classic") else 4503)
        return False


# Making and listing


def test_a_link_is_made_as_it_was_asked_for(api: Api) -> None:
    made = api.upload(recording())["id"]
    link = make_link(api, made, expires_in=3600, max_views=5, label="for 数 <b>")
    assert list(link) == [*SHOWN, "token", "url"]
    assert (link["recording"], link["label"], link["max_views"], link["views"]) == (made, "for 数 <b>", 5, 0)
    assert link["revoked_at"] is None
    created, expires = (datetime.fromisoformat(link[name]) for name in ("created_at", "expires_at"))
    assert (expires - created).total_seconds() == pytest.approx(3600, abs=0.002)
    assert created.utcoffset() is not None and abs(created.timestamp() - time.time()) < PATIENCE_SECONDS
    assert TOKEN.fullmatch(link["token"])
    assert link["url"] == f"{api.server.http_url}/s/{link['token']}"


@pytest.mark.parametrize("body", [b"", b"{}", b'{"expires_in": null, "max_views": null}', b'{"label": ""}'])
def test_a_link_that_nothing_is_said_of_has_no_end(api: Api, body: bytes) -> None:
    made = api.upload(recording())["id"]
    response = api.ask("POST", f"/recordings/{made}/links", AUTHOR, content=body)
    assert response.status_code == 201
    assert {response.json()[name] for name in ("expires_at", "revoked_at", "max_views")} == {None}


@pytest.mark.parametrize(
    "fields",
    [
        {"expires_in": 0},
        {"expires_in": -5},
        {"expires_in": 10**10},
        {"expires_in": "3600"},
        {"expires_in": True},
        {"expires_in": 1.5},
        {"max_views": 0},
        {"max_views": 2**31},
        {"max_views": [1]},
        {"label": None},
        {"label": "x" * 256},
        {"label": "a\0b"},
        {"token": "rs_mine"},
    ],
)
def test_a_link_that_cant_be_is_a_problem_that_names_the_field(api: Api, fields: dict[str, Any]) -> None:
    made = api.upload(recording())["id"]
    before = len(links_of(api, AUTHOR))
    response = api.ask("POST", f"/recordings/{made}/links", AUTHOR, json=fields)
    assert_problem(response, 400, next(iter(fields)))
    assert len(links_of(api, AUTHOR)) == before


def test_there_is_no_link_to_what_is_private(api: Api) -> None:
    made = api.upload(recording(), visibility="private")["id"]
    assert_problem(api.ask("POST", f"/recordings/{made}/links", AUTHOR, json={}), 409, "This recording is private")


def test_all_links_that_one_has_ever_made_are_listed_newest_first(api: Api) -> None:
    made = api.upload(recording())
    expired = make_link(api, made["id"], expires_in=60, label="expired")
    let_pass(api, expired, 61)
    revoked = make_link(api, made["id"], label="revoked")
    assert api.ask("DELETE", f"/links/{revoked['id']}", AUTHOR).status_code == 204
    used = make_link(api, made["id"], max_views=1, label="used up")
    assert api.get(f"/recordings/{used['token']}").status_code == 200
    removed = api.upload(recording())
    assert api.ask("DELETE", f"/recordings/{removed['id']}", AUTHOR).status_code == 204
    mine = [made["link"]["id"], expired["id"], revoked["id"], used["id"], removed["link"]["id"]]
    listed = links_of(api, AUTHOR)
    assert [link for link in listed if link in mine] == mine[::-1]
    assert list(listed) == sorted(listed, reverse=True)
    assert all(list(link) == SHOWN for link in listed.values())
    assert [listed[link]["views"] for link in mine] == [0, 0, 0, 1, 0]
    assert [listed[link]["revoked_at"] is None for link in mine] == [True, True, False, True, False]
    assert not set(mine) & set(links_of(api, OTHER))


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_pages_of_links_visit_each_once_while_others_are_made(api: Api, limit: int) -> None:
    made = api.upload(recording(), OTHER)["id"]
    there = [make_link(api, made, OTHER)["id"] for _ in range(5)]
    seen: list[int] = []
    query: dict[str, str] | None = {}
    while query is not None:
        page = api.get("/links", OTHER, limit=limit, **query).json()
        seen += [link["id"] for link in page["links"]]
        make_link(api, made, OTHER)
        query = {"cursor": page["next_cursor"]} if page["next_cursor"] else None
    assert [link for link in seen if link in there] == there[::-1]
    assert len(seen) == len(set(seen))


# Taking back


def test_a_link_is_revoked_by_who_has_made_it(api: Api) -> None:
    link = api.upload(recording())["link"]
    for user, status in ((OTHER, 404), (AUTHOR, 204)):
        assert api.get(f"/recordings/{link['token']}").status_code == 200
        assert api.ask("DELETE", f"/links/{link['id']}", user).status_code == status
    assert_problem(api.get(f"/recordings/{link['token']}"), 404, LINK_ENDED)
    revoked = links_of(api, AUTHOR)[link["id"]]
    assert api.ask("DELETE", f"/links/{link['id']}", AUTHOR).status_code == 204
    assert links_of(api, AUTHOR)[link["id"]] == revoked


@pytest.mark.parametrize("link_id", ["0", "999999", "-1", "x", "٣", "9" * 18, "9" * 40, "1.0"])
def test_a_link_that_there_isnt_cant_be_revoked(api: Api, link_id: str) -> None:
    assert_problem(api.ask("DELETE", f"/links/{link_id}", AUTHOR), 404, "There is no such link of yours.")


def test_all_links_are_revoked_at_once_and_nobody_elses(api: Api) -> None:
    mine = [api.upload(recording(), OTHER)["link"] for _ in range(3)]
    others = api.upload(recording())["link"]
    assert api.ask("DELETE", f"/links/{mine[0]['id']}", OTHER).status_code == 204
    earlier = links_of(api, OTHER)[mine[0]["id"]]["revoked_at"]
    assert api.ask("DELETE", "/links", OTHER).status_code == 204
    assert [api.get(f"/recordings/{link['token']}").status_code for link in mine] == [404] * 3
    assert api.get(f"/recordings/{others['token']}").status_code == 200
    listed = links_of(api, OTHER)
    assert all(link["revoked_at"] is not None for link in listed.values())
    assert listed[mine[0]["id"]]["revoked_at"] == earlier


def test_a_link_leads_to_no_other_recording_that_gets_the_same_id(api: Api) -> None:
    document = recording()
    link = api.upload(document)["link"]
    assert api.ask("DELETE", f"/recordings/{link['recording']}", AUTHOR).status_code == 204
    new = api.upload(document, OTHER)["link"]
    assert api.get(f"/recordings/{link['token']}").status_code == 404
    assert api.get(f"/recordings/{new['token']}").status_code == 200


def ended_links(api: Api) -> dict[str, str]:
    """Tokens that open nothing, by why they don't."""
    links = {name: api.upload(recording(1, {"a.txt": b"x"}))["link"] for name in ("revoked", "private", "removed")}
    links |= {
        "expired": make_link(api, links["revoked"]["recording"], expires_in=60),
        "used up": make_link(api, links["revoked"]["recording"], max_views=1),
    }
    assert api.ask("DELETE", f"/links/{links['revoked']['id']}", AUTHOR).status_code == 204
    private = f"/recordings/{links['private']['recording']}"
    assert api.ask("PATCH", private, AUTHOR, json={"visibility": "private"}).status_code == 200
    assert api.ask("DELETE", f"/recordings/{links['removed']['recording']}", AUTHOR).status_code == 204
    let_pass(api, links["expired"], 61)
    assert api.get(f"/recordings/{links['used up']['token']}", viewer="the only one").status_code == 200
    return {"unknown": "rs_" + "x" * 32} | {name: link["token"] for name, link in links.items()}


async def test_a_link_that_ended_gives_the_same_answer_as_one_that_never_was(servers: tuple[Api, Server]) -> None:
    api, other = servers
    answers: dict[str, list[Any]] = {}
    for name, token in ended_links(api).items():
        found = answers[name] = []
        for path in (f"/s/{token}", *(f"{ROOT}/recordings/{token}{path}" for path in READS)):
            response = api.client.get(path)
            headers = {key: value for key, value in response.headers.items() if key != "date"}
            found.append((response.status_code, headers, response.text))
            assert response.status_code == 404 and token not in response.text
        for server in (api.server, other):
            for classic in (True, False):
                async with socket(server, token, classic=classic) as connection:
                    frames, code = await closed(connection)
                    # Only the connection's own id is another one each time.
                    found.append(([re.sub('"connection":"[0-9a-f]+"', "", frame) for frame in frames], code))
        assert [code for _, code in found[-4:]] == [1000, 4503, 1000, 4503]
        assert all(LINK_ENDED in frames[0] and len(frames) == 1 for frames, _ in found[-4:])
    for found in answers.values():
        assert found == answers["unknown"]


READS = ["", "/rows", "/rows/1/data", "/outline", "/files", "/files/a.txt", "/export"]


@pytest.mark.parametrize("classic", [True, False])
async def test_who_is_watching_is_gone_when_the_link_ends_whichever_process_he_is_at(
    servers: tuple[Api, Server], classic: bool
) -> None:
    api, other = servers
    names = ("revoked", "expired", "private", "removed")
    links = {name: api.upload(recording())["link"] for name in names}
    links["expired"] = make_link(api, links["revoked"]["recording"], expires_in=3600)
    links["kept"] = make_link(api, links["revoked"]["recording"], max_views=2)
    async with AsyncExitStack() as stack:
        connections: dict[str, list[ClientConnection]] = {}
        for name, link in links.items():
            opened = [
                await stack.enter_async_context(socket(server, link["token"], classic=classic))
                for server in (api.server, other)
            ]
            connections[name] = opened
            for connection in opened:
                assert json.loads(await connection.recv())["success"] is True
                await connection.send(SHARED)
        assert api.ask("DELETE", f"/links/{links['revoked']['id']}", AUTHOR).status_code == 204
        private = f"/recordings/{links['private']['recording']}"
        assert api.ask("PATCH", private, AUTHOR, json={"visibility": "private"}).status_code == 200
        assert api.ask("DELETE", f"/recordings/{links['removed']['recording']}", AUTHOR).status_code == 204
        let_pass(api, links["expired"], 3601)
        for name in names:
            for connection in connections[name]:
                assert (await closed(connection))[1] == 4503, name
        # A link that is used up ends nobody: those who use it were counted.
        for connection in connections["kept"]:
            await connection.send('{"type": "disconnect"}')
            assert (await closed(connection))[1] == 1000


async def test_all_who_watch_by_a_users_links_are_gone_when_he_revokes_all(servers: tuple[Api, Server]) -> None:
    api, other = servers
    links = [api.upload(recording(), OTHER)["link"] for _ in range(3)]
    by_id = api.upload(recording(), OTHER)["id"]
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(socket(other, link["token"])) for link in links]
        stays = await stack.enter_async_context(socket(other, by_id))
        for connection in (*opened, stays):
            assert json.loads(await connection.recv())["success"] is True
        assert api.ask("DELETE", "/links", OTHER).status_code == 204
        assert [(await closed(connection))[1] for connection in opened] == [4503] * 3
        await stays.send('{"type": "disconnect"}')
        assert (await closed(stays))[1] == 1000


async def test_the_client_is_told_that_a_link_has_ended_and_doesnt_come_back(servers: tuple[Api, Server]) -> None:
    api, other = servers
    document = recording(3)
    for number, raw in enumerate(document["raws"]):
        raw["create_time"] = f"2023-11-17 1{number}:00:00"
    link = api.upload(document)["link"]
    async with asyncio.timeout(PATIENCE_SECONDS), ReplayClient(other.http_url, link["token"]) as replay:
        assert (await anext(replay))["offset"] == 1
        assert api.ask("DELETE", f"/links/{link['id']}", AUTHOR).status_code == 204
        with pytest.raises(ReplayError) as refused:
            await anext(replay)
    assert refused.value.code == 4503


# Counting


async def test_a_viewer_is_counted_once_in_half_an_hour(servers: tuple[Api, Server]) -> None:
    api, other = servers
    link = make_link(api, api.upload(recording())["id"], max_views=3)
    for server in (api.server, other, api.server):
        assert await is_let_in(server, link["token"], viewer="he")
    assert views_of(api, link) == 1
    let_pass(api, link, HALF_AN_HOUR - PATIENCE_SECONDS)
    assert await is_let_in(other, link["token"], viewer="he", classic=True)
    assert views_of(api, link) == 1
    let_pass(api, link, PATIENCE_SECONDS)
    assert await is_let_in(other, link["token"], viewer="he")
    assert views_of(api, link) == 2
    assert await is_let_in(api.server, link["token"], viewer="she")
    assert views_of(api, link) == links_of(api, AUTHOR)[link["id"]]["views"] == 3


async def test_half_an_hour_begins_when_he_was_counted_and_not_when_he_was_seen_last(api: Api) -> None:
    link = make_link(api, api.upload(recording())["id"])
    assert await is_let_in(api.server, link["token"], viewer="he")
    for views in (1, 2):
        let_pass(api, link, HALF_AN_HOUR / 2 + 1)
        assert await is_let_in(api.server, link["token"], viewer="he")
        assert views_of(api, link) == views


async def test_a_link_that_is_used_up_is_open_only_to_those_who_were_counted(servers: tuple[Api, Server]) -> None:
    api, other = servers
    link = make_link(api, api.upload(recording())["id"], max_views=2)
    for viewer in ("first", "second"):
        assert await is_let_in(api.server, link["token"], viewer=viewer)
    for server in (api.server, other):
        assert not await is_let_in(server, link["token"], viewer="third")
        assert not await is_let_in(server, link["token"])
        assert not await is_let_in(server, link["token"], viewer="third", classic=True)
        assert await is_let_in(server, link["token"], viewer="first")
    let_pass(api, link, HALF_AN_HOUR)
    assert not await is_let_in(other, link["token"], viewer="first")
    assert views_of(api, link) == 2


async def test_a_viewer_who_has_no_name_is_another_one_each_time(api: Api) -> None:
    link = make_link(api, api.upload(recording())["id"], max_views=3)
    for classic in (True, False, True):
        assert await is_let_in(api.server, link["token"], classic=classic)
    assert not await is_let_in(api.server, link["token"])
    assert views_of(api, link) == 3


async def test_the_page_of_a_link_makes_a_viewer_known_and_counts_nobody(servers: tuple[Api, Server]) -> None:
    api, other = servers
    link = make_link(api, api.upload(recording())["id"], max_views=1)
    path = f"/s/{link['token']}"
    with httpx.Client(base_url=api.server.http_url, trust_env=False, timeout=PATIENCE_SECONDS) as browser:
        for _ in range(3):
            assert browser.get(path).status_code == 200
        assert views_of(api, link) == 0
        cookie = browser.cookies[VIEWER_COOKIE]
        for server in (api.server, other):
            assert await is_let_in(server, link["token"], cookie=cookie)
        for read in ("", "/rows", "/files", "/export"):
            assert browser.get(f"{ROOT}/recordings/{link['token']}{read}").status_code == 200
        assert browser.get(path).status_code == 200
        assert (views_of(api, link), browser.cookies[VIEWER_COOKIE]) == (1, cookie)
    assert api.client.get(path).status_code == 404
    assert not await is_let_in(other, link["token"], cookie="another")


def test_the_cookie_can_be_read_by_no_script_and_says_nothing(api: Api) -> None:
    link = api.upload(recording())["link"]
    response = httpx.get(link["url"], trust_env=False)
    name, *attributes = response.headers["set-cookie"].split("; ")
    assert {attribute.lower() for attribute in attributes} >= {"httponly", "samesite=lax", "path=/"}
    assert len(name.partition("=")[2]) >= 22 and link["token"] not in name
    assert response.headers["referrer-policy"] == "no-referrer"
    assert response.headers["cache-control"] == "no-store"


def test_who_reads_over_http_is_a_viewer_too(api: Api) -> None:
    link = make_link(api, api.upload(recording(2, {"a.txt": b"x"}))["id"], max_views=2)
    for path in READS:
        assert api.get(f"/recordings/{link['token']}{path}", viewer="he").status_code == 200
    assert views_of(api, link) == 1
    assert api.get(f"/recordings/{link['token']}").status_code == 200
    for path in READS:
        assert_problem(api.get(f"/recordings/{link['token']}{path}"), 404, LINK_ENDED)
        assert api.get(f"/recordings/{link['token']}{path}", viewer="he").status_code == 200
    assert views_of(api, link) == 2


def test_a_viewers_name_may_be_anything_and_isnt_stored(api: Api) -> None:
    link = make_link(api, api.upload(recording())["id"])
    for viewer in ("数" * 100, "a\0b", "' OR 1", "x" * 10_000, " "):
        for _ in range(2):
            assert api.get(f"/recordings/{link['token']}", viewer=viewer).status_code == 200
    assert views_of(api, link) == 5
    stored = api.read("SELECT viewer FROM share_link_views WHERE link_id = ?", link["id"])
    assert all(re.fullmatch("[0-9a-f]{64}", viewer) for (viewer,) in stored)


# What a link's viewer doesn't learn


def hidden_recording() -> dict[str, Any]:
    """A recording in which only the server could say its id: with large data, a picture, and what can't be read."""
    document = recording(4, {"plot 数.png": b"\x89PNG", "a.txt": b"x"}, description="described", message="done")
    for number, raw in enumerate(document["raws"]):
        raw["node_id"] = f"{fresh()}-{number}"
    document["raws"][1]["data"] = {"text": "x" * 2_000_000}
    tools = {"tool_name": "PythonNotebook_execute_cell", "tool_output": [{"file_name": "plot 数.png"}]}
    document["raws"][2] |= {"include_pictures": True, "data": {"using_tools": tools}}
    return document


async def test_the_id_of_the_recording_never_reaches_who_has_a_link(servers: tuple[Api, Server]) -> None:
    api, other = servers
    made = api.upload(hidden_recording())
    token, seen = made["link"]["token"], []
    async with socket(other, token) as connection:
        seen.append(str(await connection.recv()))
        await connection.send('{"type": "shared", "pace": "instant"}')
        while '"end"' not in seen[-1]:
            seen.append(str(await connection.recv()))
        await connection.send('{"type": "seek", "offset": "x"}')
        seen.append(str(await connection.recv()))
    async with socket(api.server, token, classic=True) as connection:
        seen.append(str(await connection.recv()))
        await connection.send(SHARED)
        while '"finished"' not in seen[-1]:
            seen.append(str(await connection.recv()))
    assert json.loads(seen[0])["data"]["interaction_id"] == token
    rows = api.get(f"/recordings/{token}/rows").json()["rows"]
    addresses = [rows[1]["data_url"], rows[2]["data"]["using_tools"]["tool_output"][0]["file_url"]]
    assert all(address in "".join(seen) for address in addresses)
    paths = [f"/s/{token}", f"/r/{token}", *(f"/{address}" for address in addresses)]
    paths += [f"{ROOT}/recordings/{token}{path}" for path in (*READS, "/rows/9/data", "/files/none")]
    listed = api.get(f"/recordings/{token}/files").json()["files"]
    for address in (*paths, *(file["url"] for file in listed)):
        response = api.client.get(address)
        assert response.status_code == (404 if address.endswith(("/9/data", "/none")) else 200), address
        seen += [response.text, str(response.headers)]
    assert not [text for text in seen if made["id"] in text]
    for method, path in (("PATCH", ""), ("DELETE", ""), ("POST", "/links")):
        assert_problem(api.ask(method, f"/recordings/{token}{path}", AUTHOR, json={}), 404)


def test_a_links_export_can_be_imported_and_is_the_same_each_time(api: Api) -> None:
    made = api.upload(hidden_recording())
    first, second = (api.get(f"/recordings/{made['link']['token']}/export") for _ in range(2))
    assert first.content == second.content
    assert "recording.json" in first.headers["content-disposition"]
    document = first.json()
    shown = document["interaction"]["interaction_id"]
    assert {raw["interaction_id"] for raw in document["raws"]} == {shown}
    assert made["link"]["token"] not in first.text
    assert document["interaction"]["user_id"] != api.user_ids[AUTHOR]
    assert api.ask("DELETE", f"/recordings/{made['id']}", AUTHOR).status_code == 204
    assert api.upload(document, OTHER)["id"] == shown
    again = api.get(f"/recordings/{shown}/export", OTHER).json()
    assert again["raws"] == document["raws"] and again["workspace"] == document["workspace"]


# What stays secret


async def test_a_token_is_neither_in_the_log_nor_in_the_tables_nor_in_a_file(servers: tuple[Api, Server]) -> None:
    api, other = servers
    made = api.upload(hidden_recording())
    link = make_link(api, made["id"])
    token = link["token"]
    ways = [f"/s/{token}", f"/s/%72{token[1:]}", f"/r/{token}", f"/s/{token}%3Fviewer=x", f"/nowhere?at=/s/{token}"]
    ways += [f"{ROOT}/recordings/{token}{path}" for path in READS]
    for server in (api.server, other):
        with httpx.Client(base_url=server.http_url, trust_env=False, timeout=PATIENCE_SECONDS) as client:
            for way in ways:
                assert client.get(way, headers={"referer": f"http://x/s/{token}"}).status_code in (200, 404)
        for classic in (True, False):
            assert await is_let_in(server, token, viewer="he", classic=classic)
            async with socket(server, token, classic=classic) as connection:
                await connection.recv()
                await connection.send(SHARED)
                await connection.recv()
    assert api.ask("DELETE", f"/links/{link['id']}", AUTHOR).status_code == 204
    for server in (api.server, other):
        assert not await is_let_in(server, token)
        assert "GET /s/rs_… HTTP" in server.wait_for_log("(a link): refused")
        assert token not in server.log and token[3:] not in server.log
    for path in (api.folder / "data").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert token.encode() not in content and token[3:].encode() not in content, path
    ((stored,),) = api.read("SELECT token_hash FROM share_links WHERE id = ?", link["id"])
    assert re.fullmatch("[0-9a-f]{64}", stored)


def test_a_token_is_random_and_long_enough(api: Api) -> None:
    made = api.upload(recording())["id"]
    tokens = {make_link(api, made)["token"] for _ in range(20)}
    assert len(tokens) == 20
    assert all(len(token.removeprefix("rs_")) * 6 >= 128 for token in tokens)


# Two processes


async def at_once(*calls: Callable[[], Awaitable[Any]]) -> list[Any]:
    """The results of calls that all begin at one moment."""
    start = asyncio.Event()

    async def wait(call: Callable[[], Awaitable[Any]]) -> Any:
        await start.wait()
        return await call()

    tasks = [asyncio.create_task(wait(call)) for call in calls]
    start.set()
    return await asyncio.gather(*tasks)


@pytest.mark.parametrize("views", [1, 3])
async def test_a_links_last_view_is_given_once_however_many_ask_for_it(servers: tuple[Api, Server], views: int) -> None:
    api, other = servers
    made = api.upload(recording())["id"]
    link = make_link(api, made, max_views=views)

    def viewer(number: int) -> Callable[[], Awaitable[bool]]:
        server = (api.server, other)[number % 2]
        name = f"viewer {number}" if number % 3 else ""
        return lambda: is_let_in(server, link["token"], viewer=name, classic=number % 5 == 0)

    assert sum(await at_once(*(viewer(number) for number in range(16)))) == views
    assert views_of(api, link) == views


async def test_one_viewer_who_comes_everywhere_at_once_is_counted_once(servers: tuple[Api, Server]) -> None:
    api, other = servers
    link = make_link(api, api.upload(recording())["id"], max_views=1)
    calls = [lambda server=server: is_let_in(server, link["token"], viewer="he") for server in (api.server, other) * 8]
    assert await at_once(*calls) == [True] * 16
    assert views_of(api, link) == 1


@pytest.mark.parametrize("kind", ["json", "zip", "no files"])
async def test_of_uploads_of_one_id_that_race_exactly_one_is_stored_and_it_is_whole(
    servers: tuple[Api, Server], kind: str
) -> None:
    api, other = servers
    document = recording(30)
    made = document["interaction"]["interaction_id"]
    del document["workspace"]
    headers = {"authorization": f"Bearer {api.tokens[AUTHOR]}"}

    def files_of(number: int) -> dict[str, bytes]:
        return {f"folder{name % 7}/{name}.txt": b"%d" % number for name in range(0 if kind == "no files" else 300)}

    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(
                httpx.AsyncClient(base_url=server.http_url, trust_env=False, timeout=PATIENCE_SECONDS)
            )
            for server in (api.server, other)
        ]

        def upload(number: int) -> Callable[[], Awaitable[httpx.Response]]:
            one = json.loads(json.dumps(document))
            for raw in one["raws"]:
                raw["data"] = {"upload": number}
            form: dict[str, Any] = {}
            if kind == "zip":
                form["files"] = ("w.zip", zip_of(files_of(number)))
            else:
                with_files = recording(1, files_of(number))
                one["workspace"] = with_files["workspace"]
            form["recording"] = ("r.json", json.dumps(one).encode())
            return lambda: clients[number % 2].post(f"{ROOT}/recordings", files=form, headers=headers)

        responses = await at_once(*(upload(number) for number in range(8)))
    statuses = [response.status_code for response in responses]
    assert sorted(statuses) == [201] + [409] * 7, [response.text for response in responses]
    winner = statuses.index(201)
    rows = api.get(f"/recordings/{made}/rows").json()["rows"]
    assert [row["data"] for row in rows] == [{"upload": winner}] * 30
    stored = api.get(f"/recordings/{made}/export", AUTHOR).json()["workspace"]
    assert stored == recording(1, files_of(winner))["workspace"]
    folders = list((api.folder / "data" / "localstorage").rglob(".workspace-*"))
    assert folders == []


@pytest.mark.parametrize("files", [{}, {"a.txt": b"quick"}])
async def test_an_upload_that_is_overtaken_while_its_files_are_unpacked_is_a_conflict(
    servers: tuple[Api, Server], files: dict[str, bytes]
) -> None:
    api, other = servers
    document = recording(1)
    made = document["interaction"]["interaction_id"]
    del document["workspace"]
    many = zip_of({f"folder{number % 40}/{number}.txt": b"slow" for number in range(2000)})
    form = {"recording": ("r.json", json.dumps(document).encode()), "files": ("w.zip", many)}
    slow = asyncio.create_task(asyncio.to_thread(api.ask, "POST", "/recordings", AUTHOR, files=form))
    records = api.folder / "data" / "localstorage" / "interact_records"
    while not slow.done() and not list(records.glob(f"*/{made}/.workspace-*/folder9")):
        await asyncio.sleep(0.001)
    quick = {"recording": form["recording"]}
    if files:
        quick["files"] = ("w.zip", zip_of(files))
    headers = {"authorization": f"Bearer {api.tokens[AUTHOR]}"}
    async with httpx.AsyncClient(base_url=other.http_url, trust_env=False, timeout=PATIENCE_SECONDS) as client:
        response = await client.post(f"{ROOT}/recordings", files=quick, headers=headers)
    overtaken = await slow
    assert sorted([response.status_code, overtaken.status_code]) == [201, 409], (response.text, overtaken.text)
    if response.status_code == 201:
        listed = api.get(f"/recordings/{made}/files").json()["files"]
        assert [file["name"] for file in listed] == list(files)
    assert list(records.glob(f"*/{made}/.workspace-*")) == []


@pytest.mark.parametrize("count", [1, 4])
async def test_who_uploads_the_same_id_doesnt_keep_its_author_from_removing_it(
    servers: tuple[Api, Server], count: int
) -> None:
    api, other = servers
    made = api.upload(document := recording(1, {"old.txt": b"old"}))["id"]
    del document["workspace"]
    many = {f"folder{number % 40}/{number}.txt": b"new" for number in range(2000)}
    form = {"recording": ("r.json", json.dumps(document).encode()), "files": ("w.zip", zip_of(many))}
    headers = {"authorization": f"Bearer {api.tokens[OTHER]}"}
    records = api.folder / "data" / "localstorage" / "interact_records"
    async with httpx.AsyncClient(base_url=other.http_url, trust_env=False, timeout=PATIENCE_SECONDS) as client:
        uploads = [
            asyncio.create_task(client.post(f"{ROOT}/recordings", files=form, headers=headers)) for _ in range(count)
        ]
        while not all(upload.done() for upload in uploads) and not list(records.glob(f"*/{made}/.workspace-*/folder9")):
            await asyncio.sleep(0.001)
        removed = await asyncio.to_thread(api.ask, "DELETE", f"/recordings/{made}", AUTHOR)
        statuses = sorted([(await upload).status_code for upload in uploads])
    assert removed.status_code == 204
    assert statuses in ([409] * count, [201] + [409] * (count - 1))
    if 201 in statuses:
        listed = api.get(f"/recordings/{made}/files").json()["files"]
        assert sorted(file["name"] for file in listed) == sorted(many)
    else:
        assert_problem(api.get(f"/recordings/{made}", AUTHOR), 404)
    assert list(records.glob(f"*/{made}/.workspace-*")) == []


async def test_who_comes_while_a_link_is_being_revoked_is_gone_or_never_let_in(servers: tuple[Api, Server]) -> None:
    api, other = servers
    link = api.upload(recording())["link"]

    async def come() -> int:
        async with socket(other, link["token"]) as connection:
            return (await closed(connection))[1]

    async def revoke() -> None:
        response = await asyncio.to_thread(api.ask, "DELETE", f"/links/{link['id']}", AUTHOR)
        assert response.status_code == 204

    codes = await at_once(*[come] * 4, revoke, *[come] * 4)
    assert [code for code in codes if code is not None] == [4503] * 8
