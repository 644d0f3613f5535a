"""Replay Share inside of an app that has a login of its own, really served."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import databases
import httpx
import pytest
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection
from starlette.routing import Mount
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

import share
from share.access import NOT_FOUND
from storage import open_database
from storage.models import Interaction
from tests.any_database import database_url
from tests.server import PATIENCE_SECONDS, make_recording, serve_here
from tests.test_api import CARD, assert_problem, fresh, recording, zip_of

XAGENT = ["/user/login", "/user/check", "/conv/getSharedInteractions", "/conv/community", "/workspace/file"]
READS = ["", "/rows", "/rows/1/data", "/outline", "/files", "/files/a.txt", "/export"]
Rule = Callable[[HTTPConnection, Interaction | None], bool]


class Policy(share.AccessPolicy):
    """A login by a header that the app believes, and rules that a test sets; it remembers what it was asked."""

    def __init__(self) -> None:
        self.read: Rule = lambda connection, interaction: False
        self.write: Rule = lambda connection, interaction: False
        self.list: Rule = lambda connection, interaction: False
        self.asked: list[tuple[str, str | None]] = []

    async def user_id(self, connection: HTTPConnection) -> str | None:
        return connection.headers.get("x-user")

    async def can_read(self, connection: HTTPConnection, interaction: Interaction) -> bool:
        self.asked.append(("read", interaction.interaction_id))
        return self.read(connection, interaction)

    async def can_write(self, connection: HTTPConnection, interaction: Interaction | None) -> bool:
        self.asked.append(("write", interaction and interaction.interaction_id))
        return self.write(connection, interaction)

    async def can_list(self, connection: HTTPConnection) -> bool:
        self.asked.append(("list", None))
        return self.list(connection, None)


def always(connection: HTTPConnection, interaction: Interaction | None) -> bool:
    return True


def never(connection: HTTPConnection, interaction: Interaction | None) -> bool:
    return False


def own(connection: HTTPConnection, interaction: Interaction | None) -> bool:
    user = connection.headers.get("x-user")
    return user is not None and (interaction is None or interaction.user_id == user)


def broken(connection: HTTPConnection, interaction: Interaction | None) -> bool:
    raise LookupError("the app's own database is down")


class App:
    """The app, served; what it is asked goes below the place where Replay Share is mounted."""

    def __init__(self, port: int, prefix: str, client: httpx.AsyncClient, policy: Policy) -> None:
        self.port = port
        self.prefix = prefix
        self.client = client
        self.policy = policy

    async def ask(self, method: str, path: str, user: str | None = None, **options: Any) -> httpx.Response:
        headers = {**options.pop("headers", {})} | ({} if user is None else {"x-user": user})
        return await self.client.request(method, f"{self.prefix}{path}", headers=headers, **options)

    async def api(self, method: str, path: str, user: str | None = None, **options: Any) -> httpx.Response:
        return await self.ask(method, f"/api/v1{path}", user, **options)

    async def upload(self, document: dict[str, Any], user: str = "ann", **query: str) -> dict[str, Any]:
        """Put a recording in, whatever the rules are."""
        rule, self.policy.write = self.policy.write, own
        response = await self.api("POST", "/recordings", user, json=document, params=query)
        self.policy.write = rule
        self.policy.asked.clear()
        assert response.status_code == 201, response.text
        answer: dict[str, Any] = response.json()
        return answer

    async def knock(self, kind: str, name: str, user: str | None = None, *, classic: bool = False) -> int | None:
        """Come to a socket: None for who is let in and sees a row, or the code with which it closes."""
        options: dict[str, Any] = {} if classic else {"subprotocols": [Subprotocol("replay.v1")]}
        if user is not None:
            options["additional_headers"] = {"x-user": user}
        url = f"ws://127.0.0.1:{self.port}{self.prefix}/ws/{kind}/{name}"
        async with asyncio.timeout(PATIENCE_SECONDS), connect(url, max_size=None, **options) as connection:
            try:
                await connection.send(json.dumps({"type": "shared" if kind == "share" else "replay"}))
                while "node_id" not in str(await connection.recv()):
                    pass
            except ConnectionClosed as end:
                assert end.rcvd is not None
                return end.rcvd.code
            return None

    async def sockets(self, name: str, user: str | None = None) -> dict[str, list[int | None]]:
        """How both sockets answer, each in both dialects."""
        return {
            kind: [await self.knock(kind, name, user, classic=classic) for classic in (True, False)]
            for kind in ("share", "replay")
        }


@asynccontextmanager
async def serving(
    folder: Path, policy: share.AccessPolicy, prefix: str = "", middleware: list[Middleware] | None = None
) -> AsyncIterator[App]:
    database: databases.Database = open_database(database_url(folder))
    settings = share.XAgentServerEnv(base_dir=folder, pause_seconds=(0, 0))
    routes = share.routes(database, settings, access=policy)
    app = Starlette(routes=[Mount(prefix, routes=routes)] if prefix else routes, middleware=middleware or [])
    async with database:
        await share.create_tables(database)
        async with (
            serve_here(app) as port,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=PATIENCE_SECONDS) as client,
        ):
            yield App(port, prefix, client, policy)  # type: ignore[arg-type]


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    async with serving(tmp_path, Policy()) as app:
        yield app


IN, OUT = [None, None], [1000, 4504]


def document() -> dict[str, Any]:
    return recording(2, {"a.txt": b"x"}, user_id="somebody else")


async def read_statuses(app: App, name: str, user: str | None = None) -> set[int]:
    return {(await app.api("GET", f"/recordings/{name}{path}", user)).status_code for path in READS}


# Nothing unless it is said


async def test_a_policy_that_says_nothing_lets_nobody_do_anything(tmp_path: Path) -> None:
    async with serving(tmp_path, Policy()) as app:
        made = (await app.upload(document(), visibility="public"))["id"]
    async with serving(tmp_path, share.AccessPolicy()) as app:
        for user in (None, "ann"):
            assert await read_statuses(app, made, user) == {404}
            assert await app.sockets(made, user) == {"share": OUT, "replay": OUT}
            assert (await app.ask("GET", f"/r/{made}", user)).status_code == 404
            assert_problem(await app.api("GET", "/recordings", user), 403)
            assert_problem(await app.api("POST", "/recordings", user, json=document()), 401)
            assert_problem(await app.api("DELETE", f"/recordings/{made}", user), 401)


# Reading


async def test_who_may_read_reads_over_http_and_watches(app: App) -> None:
    made = (await app.upload(document(), visibility="private"))["id"]
    app.policy.read = lambda connection, interaction: connection.headers.get("x-user") == "bob"
    for user in (None, "ann"):
        assert await read_statuses(app, made, user) == {404}
        assert await app.sockets(made, user) == {"share": OUT, "replay": OUT}
        assert NOT_FOUND in (await app.ask("GET", f"/r/{made}", user)).text
    assert await read_statuses(app, made, "bob") == {200}
    assert await app.sockets(made, "bob") == {"share": IN, "replay": OUT}
    assert (await app.ask("GET", f"/r/{made}", "bob")).status_code == 200


async def test_a_rule_can_be_about_the_recording(app: App) -> None:
    names = [(await app.upload(document(), user, visibility="private"))["id"] for user in ("ann", "bob")]
    app.policy.read = own
    for user, mine, others in (("ann", *names), ("bob", *names[::-1])):
        assert await read_statuses(app, mine, user) == {200}
        assert await read_statuses(app, others, user) == {404}
        assert (await app.sockets(mine, user))["share"] == IN
        assert (await app.sockets(others, user))["share"] == OUT


async def test_what_isnt_there_or_is_deleted_is_no_question_for_the_policy(app: App) -> None:
    app.policy.read = app.policy.write = always
    made = (await app.upload(document()))["id"]
    assert (await app.api("DELETE", f"/recordings/{made}", "ann")).status_code == 204
    app.policy.asked.clear()
    for name in (made, "unknown", ".hidden", "数"):
        assert await read_statuses(app, name, "ann") == {404}
    assert (await app.sockets(made, "ann"))["share"] == OUT
    assert app.policy.asked == []


async def test_a_viewer_stays_while_a_recording_that_he_may_read_is_made_private(app: App) -> None:
    app.policy.read = app.policy.write = always
    made = (await app.upload(document()))["id"]
    url = f"ws://127.0.0.1:{app.port}/ws/share/{made}"
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        connect(url, subprotocols=[Subprotocol("replay.v1")]) as stays,
        connect(url.replace("share", "replay"), subprotocols=[Subprotocol("replay.v1")]) as too,
    ):
        for connection in (stays, too):
            assert json.loads(await connection.recv())["success"] is True
        changed = await app.api("PATCH", f"/recordings/{made}", "ann", json={"visibility": "private"})
        assert changed.status_code == 200
        assert (await app.knock("share", made)) is None
        assert (await app.api("DELETE", f"/recordings/{made}", "ann")).status_code == 204
        for connection in (stays, too):
            with pytest.raises(ConnectionClosed) as end:
                while True:
                    await connection.recv()
            assert end.value.rcvd is not None and end.value.rcvd.code == 4503


async def test_the_apps_own_bearer_token_is_nothing_to_replay_share(app: App) -> None:
    app.policy.read = app.policy.list = always
    made = (await app.upload(document(), visibility="public"))["id"]
    for path in ("", *READS):
        name = f"/recordings/{made}{path}" if path else "/recordings"
        response = await app.api("GET", name, headers={"authorization": "Bearer a.token.of-the-app"})
        assert response.status_code == 200


# Writing


async def test_who_may_write_changes_makes_links_and_sees_the_owners_view(app: App) -> None:
    made = (await app.upload(document()))["id"]
    app.policy.write = lambda connection, interaction: connection.headers.get("x-user") == "bob"
    app.policy.read = lambda connection, interaction: connection.headers.get("x-user") == "cid"
    path = f"/recordings/{made}"
    for user, status in ((None, 401), ("ann", 404), ("cid", 403)):
        assert_problem(await app.api("PATCH", path, user, json={"description": "x"}), status)
        assert_problem(await app.api("POST", f"{path}/links", user, json={}), status)
        assert_problem(await app.api("DELETE", path, user), status)
        assert (await app.sockets(made, user))["replay"] == OUT
    assert await app.sockets(made, "bob") == {"share": OUT, "replay": IN}
    assert (await app.api("PATCH", path, "bob", json={"description": "x"})).json()["description"] == "x"
    link = (await app.api("POST", f"{path}/links", "bob", json={})).json()
    assert [one["id"] for one in (await app.api("GET", "/links", "bob")).json()["links"]] == [link["id"]]
    assert (await app.api("DELETE", path, "bob")).status_code == 204


async def test_who_may_put_something_in_does_so_in_his_own_name(app: App) -> None:
    app.policy.write = lambda connection, interaction: interaction is None and connection.headers.get("x-user") == "ann"
    for user, status in ((None, 401), ("bob", 403)):
        assert_problem(await app.api("POST", "/recordings", user, json=document()), status)
    form = {"recording": ("r.json", json.dumps(make_recording(fresh(), 2) | {"workspace": {}}))}
    response = await app.api("POST", "/recordings", "ann", files=form)
    assert response.status_code == 201
    made = response.json()["id"]
    assert ("write", None) in app.policy.asked
    mine = (await app.api("GET", "/recordings", "ann", params={"mine": "true"})).json()["recordings"]
    assert [card["id"] for card in mine] == [made]
    assert_problem(await app.api("DELETE", f"/recordings/{made}", "ann"), 404)


async def test_who_may_not_put_anything_in_is_refused_before_his_upload_is_read(app: App) -> None:
    asked = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.wait_for(asked.wait(), PATIENCE_SECONDS)
        yield b"}"

    def write(connection: HTTPConnection, interaction: Interaction | None) -> bool:
        asked.set()
        return False

    app.policy.write = write
    headers = {"content-type": "application/json"}
    assert_problem(await app.api("POST", "/recordings", "ann", content=body(), headers=headers), 403)


async def test_his_name_is_what_the_apps_own_middleware_has_found_out(tmp_path: Path) -> None:
    class Backend(AuthenticationBackend):
        async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, SimpleUser] | None:
            name = conn.headers.get("x-login")
            return None if name is None else (AuthCredentials(["authenticated"]), SimpleUser(name))

    class Named(share.AccessPolicy):
        async def can_write(self, connection: HTTPConnection, interaction: Interaction | None) -> bool:
            user_id = await self.user_id(connection)
            return user_id is not None and (interaction is None or interaction.user_id == user_id)

    middleware = [Middleware(AuthenticationMiddleware, backend=Backend())]
    async with serving(tmp_path, Named(), middleware=middleware) as app:
        assert_problem(await app.api("POST", "/recordings", json=document()), 401)
        login = {"x-login": "ann"}
        response = await app.api("POST", "/recordings", json=document(), headers=login)
        assert response.status_code == 201
        made = response.json()["id"]
        assert_problem(await app.api("DELETE", f"/recordings/{made}", headers={"x-login": "bob"}), 404)
        assert (await app.api("DELETE", f"/recordings/{made}", headers=login)).status_code == 204


# Listing


async def test_who_may_list_sees_what_is_public_and_everybody_his_own(app: App) -> None:
    public = (await app.upload(document(), visibility="public"))["id"]
    private = (await app.upload(document(), visibility="private"))["id"]
    app.policy.list = lambda connection, interaction: connection.headers.get("x-user") == "bob"
    listed = (await app.api("GET", "/recordings", "bob")).json()["recordings"]
    assert [card["id"] for card in listed] == [public]
    for user in (None, "ann"):
        assert_problem(await app.api("GET", "/recordings", user), 403)
    mine = {"mine": "true"}
    own = (await app.api("GET", "/recordings", "ann", params=mine)).json()["recordings"]
    assert [card["id"] for card in own] == [private, public]
    assert_problem(await app.api("GET", "/recordings", params=mine), 401)


# Links


async def test_a_link_lets_its_viewers_in_without_a_question(app: App) -> None:
    link = (await app.upload(document()))["link"]
    token = link["token"]
    assert await read_statuses(app, token) == {200}
    assert (await app.sockets(token))["share"] == IN
    assert (await app.ask("GET", f"/s/{token}")).status_code == 200
    assert not [asked for asked in app.policy.asked if asked[0] == "read"]
    assert (await app.sockets(token))["replay"] == OUT
    assert (await app.api("DELETE", f"/links/{link['id']}", "ann")).status_code == 204
    assert await read_statuses(app, token) == {404}
    assert (await app.sockets(token))["share"] == [1000, 4503]


# XAgent's way in


async def test_xagents_routes_and_users_arent_there(app: App, tmp_path: Path) -> None:
    for prefix in ("", "/api"):
        for path in XAGENT:
            assert (await app.ask("POST", f"{prefix}{path}", data={"token": "x"})).status_code == 404
    made = (await app.upload(document()))["id"]
    async with open_database(database_url(tmp_path)) as database:
        await database.execute(
            "INSERT INTO users (user_id, email, token, available) VALUES ('ann', 'ann', 'her token', TRUE)"
        )
    query = {"user_id": "ann", "token": "her token"}
    bearer = {"authorization": "Bearer her token"}
    for options in ({"params": query}, {"headers": bearer}):
        assert (await app.api("GET", f"/recordings/{made}", **options)).status_code == 404
        assert (await app.api("DELETE", f"/recordings/{made}", **options)).status_code == 401
    assert await app.knock("replay", f"{made}?user_id=ann&token=her+token", classic=True) == 1000


# Errors


@pytest.mark.parametrize("method", ["read", "write", "list", "user_id"])
async def test_an_error_in_a_policy_lets_nobody_in(app: App, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = (await app.upload(document(), visibility="public"))["id"]
    app.policy.read = app.policy.write = app.policy.list = always
    if method == "user_id":

        async def nobody_knows(connection: HTTPConnection) -> str | None:
            raise LookupError("the app's own database is down")

        monkeypatch.setattr(app.policy, "user_id", nobody_knows)
    else:
        setattr(app.policy, method, broken)
    refused = [("GET", "/recordings")] if method == "list" else []
    if method == "read":
        refused += [("GET", f"/recordings/{made}{path}") for path in READS]
        assert (await app.sockets(made, "ann"))["share"] == [1011, 1011]
    if method in ("write", "user_id"):
        refused += [("POST", "/recordings"), ("PATCH", f"/recordings/{made}"), ("POST", f"/recordings/{made}/links")]
        refused += [("DELETE", f"/recordings/{made}")]
    if method == "write":
        assert (await app.sockets(made, "ann"))["replay"] == [1011, 1011]
    if method == "user_id":
        refused += [("GET", "/links"), ("DELETE", "/links"), ("DELETE", "/links/1"), ("GET", "/recordings?mine=true")]
    for verb, path in refused:
        # Each on a connection of its own: after an error the server hangs up.
        headers = {"x-user": "ann", "connection": "close", "content-type": "application/json"}
        response = await app.api(verb, path, content="{}" if verb != "GET" else None, headers=headers)
        assert response.status_code == 500, (verb, path)
        assert made not in response.text and "LookupError" not in response.text
    app.policy.read = app.policy.write = always
    monkeypatch.undo()
    card = (await app.api("GET", f"/recordings/{made}", "ann", headers={"connection": "close"})).json()
    assert (card["visibility"], card["rows"]) == ("public", 2)


# Under a prefix


@pytest.mark.parametrize("prefix", ["/replays", "/a/b", "/a b/数"])
async def test_all_addresses_are_right_where_it_is_mounted(tmp_path: Path, prefix: str) -> None:
    policy = Policy()
    policy.read = policy.list = always
    policy.write = own
    quoted = str(httpx.URL(f"http://x{prefix}").raw_path, "ascii")
    async with serving(tmp_path, policy, prefix) as app:
        root = f"http://127.0.0.1:{app.port}{quoted}"
        app.prefix = quoted
        files = {"plot 数.png": b"\x89PNG", "a/b.txt": b"x"}
        document = recording(3)
        del document["workspace"]
        document["raws"][0]["data"] = {"text": "x" * 2_000_000}
        tools = {"tool_name": "PythonNotebook_execute_cell", "tool_output": [{"file_name": "plot 数.png"}]}
        document["raws"][1] |= {"include_pictures": True, "data": {"using_tools": tools}}
        form = {"recording": ("r.json", json.dumps(document).encode()), "files": ("w.zip", zip_of(files))}
        response = await app.api("POST", "/recordings", "ann", files=form, params={"visibility": "public"})
        assert response.status_code == 201
        made, token = response.json()["id"], response.json()["link"]["token"]
        assert response.headers["location"] == f"{root}/api/v1/recordings/{made}"
        assert response.json()["url"] == f"{root}/r/{made}"
        assert response.json()["link"]["url"] == f"{root}/s/{token}"
        addresses = [response.headers["location"], response.json()["url"], response.json()["link"]["url"]]
        card = (await app.api("GET", "/recordings")).json()["recordings"][0]
        assert (list(card), card["url"]) == (CARD, f"{root}/r/{made}")
        for name in (made, token):
            listed = (await app.api("GET", f"/recordings/{name}/files")).json()["files"]
            assert all(file["url"].startswith(f"{root}/api/v1/recordings/{name}/files/") for file in listed)
            rows = (await app.api("GET", f"/recordings/{name}/rows")).json()["rows"]
            below = [rows[0]["data_url"], rows[1]["data"]["using_tools"]["tool_output"][0]["file_url"]]
            addresses += [file["url"] for file in listed] + [f"{root}/{path}" for path in below]
            assert (await app.api("GET", f"/recordings/{name}")).json()["url"].startswith(f"{root}/")
            assert await app.knock("share", name) is None
        for address in addresses:
            assert (await app.client.get(address)).status_code == 200, address
        described = (await app.api("GET", "/openapi.json")).json()
        assert described["servers"] == [{"url": f"{root}/api/v1"}]
        async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_SECONDS) as browser:
            page = await browser.get(f"{root}/s/{token}?x=y")
        assert f"replay-share watch {root}/s/{token}</p>" in page.text
        assert f"Path={quoted}" in page.headers["set-cookie"].split("; ")
        for path in ("/healthz", "/readyz"):
            assert (await app.ask("GET", path)).json() == {"status": "ok"}
        assert all(urlsplit(address).path.startswith(quoted) for address in addresses)


async def test_the_client_watches_by_a_link_below_a_prefix(tmp_path: Path) -> None:
    async with serving(tmp_path, Policy(), "/replays") as app:
        root, _, token = (await app.upload(document()))["link"]["url"].partition("/s/")
        async with asyncio.timeout(PATIENCE_SECONDS), share.ReplayClient(root, token, pace="instant") as replay:
            assert [row["offset"] async for row in replay] == [1, 2]
