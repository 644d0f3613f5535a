from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import update
from starlette.applications import Starlette
from starlette.routing import Mount

from share.access import NOT_FOUND
from storage import schema
from storage.gateway import Gateway
from storage.models import Visibility
from storage.shares import ShareCRUD
from tests.asgi import CountingGateway, Server, row, row_frame
from tests.test_endpoint import AUTHOR, TOKEN, add_user, with_settings

RUN = "/api/v1/recordings/run"
LARGE = json.dumps({"text": "数据" * 400_000}, ensure_ascii=False)
STRANGE = '{\n "big": 123456789012345678901234567890, "lone": "\\ud800", "huge": 1e400 }\n'


@pytest.fixture
async def server(gateway: Gateway, tmp_path: Path) -> Server:
    """A server with the shared recording `run` of five rows, the fourth deleted, and some files."""
    server = Server(gateway, tmp_path)
    stored = [row(0, {"a": 1}), row(1, data=LARGE), row(2, data=None), row(3, is_deleted=True), row(4, data=STRANGE)]
    await server.record(*stored)
    workspace = server.log_path().with_name("workspace")
    files = {"plot.png": b"\x89PNG", "a b/数 据?#%.csv": b"1,2\n", "notes.txt": b"0123456789", "page.html": b"<script>"}
    files |= {
        "image.svg": b"<svg onload=alert(1)>",
        "data.json": b"{}",
        "x.js": b"alert(1)",
        "none": b"",
        "x.pdf": b"%PDF",
    }
    for name, content in files.items():
        path = workspace / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (workspace.parent / "secret.txt").write_bytes(b"secret")
    (workspace / "link.txt").symlink_to(workspace.parent / "secret.txt")
    return server


async def get(
    server: Server, path: str, headers: Mapping[str, str] | None = None, method: str = "GET", **query: str
) -> httpx.Response:
    transport = httpx.ASGITransport(server.app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.request(method, path, headers=headers, params=query)


async def get_raw(server: Server, path: str) -> int:
    """The status for a path that no client would send as it is."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": []}
    scope |= {"client": None, "asgi": {"spec_version": "2.4"}}
    await server.app(scope, receive, send)
    status: int = sent[0]["status"]
    return status


def problem(detail: str) -> dict[str, Any]:
    """The problem document of what is not found."""
    return {"type": "about:blank", "title": "Not Found", "status": 404, "detail": detail}


NOTHING = problem(NOT_FOUND)


def assert_harmless(response: httpx.Response) -> None:
    assert response.headers["x-content-type-options"] == "nosniff"
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "sandbox" in policy and "script" not in policy


# Rows


@pytest.mark.parametrize(("offset", "data"), [(1, '{"a": 1}'), (2, LARGE), (4, STRANGE)])
async def test_the_data_of_a_row_comes_as_it_was_stored(server: Server, offset: int, data: str) -> None:
    response = await get(server, f"{RUN}/rows/{offset}/data")
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    assert response.content == data.encode()
    assert_harmless(response)


async def test_a_large_row_points_to_its_data(server: Server) -> None:
    url = json.loads(row_frame("run", row(1, data=LARGE), 2, 0.0))["data_url"]
    assert (await get(server, f"/{url}")).content == LARGE.encode()


@pytest.mark.parametrize("offset", ["0", "3", "5", "99", "9" * 30, "9" * 5000])
async def test_there_is_no_data_of_a_row_that_has_none(
    server: Server, offset: str, caplog: pytest.LogCaptureFixture
) -> None:
    response = await get(server, f"{RUN}/rows/{offset}/data")
    assert response.status_code == 404
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize("offset", ["-1", "1.0", "x", "", "１", "1/../2"])
async def test_what_is_no_offset_is_not_found(server: Server, offset: str) -> None:
    assert await get_raw(server, f"{RUN}/rows/{offset}/data") == 404


@pytest.mark.sqlite
async def test_data_that_is_no_text_comes_too(server: Server) -> None:
    await server.gateway.execute("UPDATE raw SET data = CAST(x'22ff22' AS TEXT) WHERE step = 0")
    assert (await get(server, f"{RUN}/rows/1/data")).status_code == 200


async def test_a_row_is_read_alone_however_many_there_are(server: Server) -> None:
    await server.record(*(row(n, node_id=f"l{n}") for n in range(3000)), interaction_id="long")
    counting = CountingGateway(server.gateway.database)
    counted = Server(counting, server.settings.base_dir)
    queries = []
    for name, offset in (("run", 1), ("long", 1), ("long", 3000)):
        before = counting.count
        response = await get(counted, f"/api/v1/recordings/{name}/rows/{offset}/data")
        assert response.status_code == 200
        queries.append(counting.count - before)
    assert len(set(queries)) == 1, queries
    await counting.drain()


# The outline


async def test_the_outline_has_each_row_as_the_rows_have_it(server: Server) -> None:
    times = [f"2023-11-17 10:00:{second:02}.{second:06}" for second in range(30)]
    statuses = [
        "running",
        "start",
        "inner",
        "subtask_submit",
        "数据",
        "ask_for_human_help",
        "failed",
        "error",
        "x" * 20,
        "",
    ]
    stored = [row(n, node_id=f"o{n}", create_time=time, status=statuses[n % 10]) for n, time in enumerate(times)]
    await server.record(*stored, interaction_id="outlined")
    outline = (await get(server, "/api/v1/recordings/outlined/outline")).json()
    listed = (await get(server, "/api/v1/recordings/outlined/rows")).json()
    assert list(outline) == ["total", "epoch", "steps"]
    assert (outline["total"], outline["epoch"]) == (listed["total"], listed["epoch"])
    assert outline["steps"] == [[row["offset"], round(row["at"], 3), row["status"]] for row in listed["rows"]]


async def test_the_outline_of_a_recording_without_rows_is_empty(server: Server) -> None:
    await server.record(interaction_id="bare")
    outline = (await get(server, "/api/v1/recordings/bare/outline")).json()
    assert (outline["total"], outline["steps"]) == (0, [])


async def test_the_outline_of_a_very_long_recording_is_thinned_out(server: Server) -> None:
    many = [row(n, node_id=f"m{n}", status="failed" if n == 7777 else "inner") for n in range(10_050)]
    await server.record(*many, interaction_id="long")
    outline = (await get(server, "/api/v1/recordings/long/outline")).json()
    assert outline["total"] == 10_050
    offsets = [offset for offset, _, _ in outline["steps"]]
    assert len(offsets) <= 10_000 and offsets == sorted(set(offsets))
    assert {1, 7778, 10_050} <= set(offsets)


# Files


@pytest.mark.parametrize(
    ("name", "content", "media_type", "disposition"),
    [
        ("plot.png", b"\x89PNG", "image/png", "inline"),
        ("a%20b/%E6%95%B0%20%E6%8D%AE%3F%23%25.csv", b"1,2\n", "text/csv; charset=utf-8", "inline"),
        ("notes.txt", b"0123456789", "text/plain; charset=utf-8", "inline"),
        ("data.json", b"{}", "application/json", "inline"),
        ("none", b"", "application/octet-stream", "attachment"),
        ("page.html", b"<script>", "text/html; charset=utf-8", "attachment"),
        ("image.svg", b"<svg onload=alert(1)>", "image/svg+xml", "attachment"),
        ("x.js", b"alert(1)", "text/javascript; charset=utf-8", "attachment"),
        ("x.pdf", b"%PDF", "application/pdf", "attachment"),
    ],
)
async def test_a_file_comes_so_that_nothing_in_it_runs(
    server: Server, name: str, content: bytes, media_type: str, disposition: str
) -> None:
    response = await get(server, f"{RUN}/files/{name}")
    assert (response.status_code, response.content) == (200, content)
    assert response.headers["content-type"].replace("application/javascript", "text/javascript") == media_type
    assert response.headers["content-disposition"].startswith(disposition)
    assert_harmless(response)


async def test_the_address_in_a_row_is_that_of_its_file(server: Server) -> None:
    tools = {"tool_name": "PythonNotebook_execute_cell", "tool_output": [{"file_name": "a b/数 据?#%.csv"}]}
    frame = json.loads(row_frame("run", row(0, {"using_tools": tools}, include_pictures=True), 1, 0.0))
    url = frame["data"]["using_tools"]["tool_output"][0]["file_url"]
    assert (await get(server, f"/{url}")).content == b"1,2\n"


async def test_addresses_hold_below_a_mount_too(server: Server) -> None:
    mounted = Starlette(routes=[Mount("/replays", app=server.app)])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(mounted), base_url="http://test/replays/") as client:
        assert (await client.get("api/v1/recordings/run/files/notes.txt")).content == b"0123456789"
        assert (await client.get("api/v1/recordings/run/rows/1/data")).json() == {"a": 1}


@pytest.mark.parametrize(
    ("asked", "status", "content"),
    [
        ("bytes=2-4", 206, b"234"),
        ("bytes=8-", 206, b"89"),
        ("bytes=-3", 206, b"789"),
        ("bytes=10-", 416, None),
        ("bytes=0-999", 206, b"0123456789"),
        ("nonsense", 200, b"0123456789"),
    ],
)
async def test_a_part_of_a_file_can_be_asked_for(
    server: Server, asked: str, status: int, content: bytes | None
) -> None:
    response = await get(server, f"{RUN}/files/notes.txt", {"Range": asked})
    assert response.status_code == status
    assert content is None or response.content == content


async def test_the_head_of_a_file_and_of_a_row_can_be_asked_for(server: Server) -> None:
    for path in ("files/notes.txt", "rows/1/data"):
        response = await get(server, f"{RUN}/{path}", method="HEAD")
        assert (response.status_code, response.content) == (200, b"")
        assert int(response.headers["content-length"]) > 0


async def test_nothing_can_be_changed(server: Server) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert (await get(server, f"{RUN}/files/notes.txt", method=method)).status_code == 405


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../secret.txt",
        "../share.log",
        "a b/../../secret.txt",
        "/etc/passwd",
        "//etc/passwd",
        "a b",
        "link.txt",
        "unknown.txt",
        "notes.txt/x",
        "notes.txt\0",
        "\0",
        "x" * 5000,
        "a/" * 3000,
        "..\\secret.txt",
        "\udcff",
        "\ud800.png",
    ],
)
async def test_what_is_no_file_of_the_workspace_is_not_found(server: Server, name: str) -> None:
    assert await get_raw(server, f"{RUN}/files/{name}") == 404


async def test_an_encoded_path_leads_out_no_more_than_another(server: Server) -> None:
    for name in (
        "%2e%2e/secret.txt",
        "..%2fsecret.txt",
        "%2e%2e%2f%2e%2e%2fsecret.txt",
        "%00",
        "%252e%252e/secret.txt",
    ):
        assert (await get(server, f"{RUN}/files/{name}")).status_code == 404


async def test_a_recording_without_a_workspace_has_no_files(server: Server) -> None:
    await server.record(interaction_id="bare")
    response = await get(server, "/api/v1/recordings/bare/files/notes.txt")
    assert (response.status_code, response.json()) == (404, problem("There is no such file."))


# Who may see them


@pytest.fixture
async def hidden(server: Server) -> list[str]:
    """What nobody may see who isn't its owner."""
    await server.record(row(0, node_id="p"), interaction_id="private", shared=False)
    await server.record(row(0, node_id="d"), interaction_id="deleted", is_deleted=True)
    await server.record(row(0, node_id="u"), interaction_id="unshared")
    await ShareCRUD(server.gateway).set_visibility("unshared", Visibility.PRIVATE)
    for name in ("private", "deleted", "unshared"):
        path = server.log_path(name).with_name("workspace")
        path.mkdir(parents=True)
        (path / "notes.txt").write_bytes(b"private")
    return ["private", "deleted", "unshared", "unknown", "x" * 129, ".", "..", "数据", "a b"]


async def test_what_may_not_be_seen_is_not_found_with_the_same_words(server: Server, hidden: list[str]) -> None:
    answers = set()
    for name in hidden:
        for path in ("rows/1/data", "files/notes.txt", "rows/99/data", "files/unknown", "outline"):
            response = await get(server, f"/api/v1/recordings/{name.replace('.', '%2e')}/{path}")
            headers = sorted((key, value) for key, value in response.headers.items())
            answers.add((response.status_code, response.text, tuple(headers)))
    ((status, text, _),) = answers
    assert (status, json.loads(text)) == (404, NOTHING)


async def test_the_owner_sees_what_is_not_shared_and_nobody_else_does(server: Server, hidden: list[str]) -> None:
    await add_user(server.gateway, "author", token=TOKEN)
    await add_user(server.gateway, "stranger", token="another")
    for path in ("rows/1/data", "files/notes.txt", "outline"):
        private = f"/api/v1/recordings/private/{path}"
        assert (await get(server, private, **AUTHOR)).status_code == 200
        assert (await get(server, f"/api/v1/recordings/unshared/{path}", **AUTHOR)).status_code == 200
        assert (await get(server, f"/api/v1/recordings/deleted/{path}", **AUTHOR)).status_code == 404
        for query in ({"user_id": "author"}, {"user_id": "author", "token": "wrong"}, {"token": TOKEN}):
            assert (await get(server, private, **query)).status_code == 404
        response = await get(server, private, user_id="stranger", token="another")
        assert (response.status_code, response.json()) == (404, NOTHING)


async def test_a_token_takes_nothing_away_from_who_sees_what_is_shared(server: Server) -> None:
    await add_user(server.gateway, "stranger", token="another")
    for query in (
        {"user_id": "stranger", "token": "another"},
        {"user_id": "stranger", "token": "wrong"},
        {"user_id": "nobody", "token": "wrong"},
    ):
        for path in ("rows/1/data", "files/notes.txt"):
            assert (await get(server, f"{RUN}/{path}", **query)).status_code == 200


async def test_an_open_server_shows_all_that_is_not_deleted(server: Server, hidden: list[str]) -> None:
    server = with_settings(server, require_shared=False)
    statuses = [(await get(server, f"/api/v1/recordings/{name}/rows/1/data")).status_code for name in hidden[:4]]
    assert statuses == [200, 404, 200, 404]


async def test_what_is_deleted_or_unshared_is_gone_at_once(server: Server) -> None:
    assert (await get(server, f"{RUN}/files/notes.txt")).status_code == 200
    await ShareCRUD(server.gateway).set_visibility("run", Visibility.PRIVATE)
    assert (await get(server, f"{RUN}/files/notes.txt")).json() == NOTHING
    await ShareCRUD(server.gateway).set_visibility("run", Visibility.UNLISTED)
    assert (await get(server, f"{RUN}/files/notes.txt")).status_code == 200
    await server.gateway.execute(update(schema.interactions).values(is_deleted=True))
    assert (await get(server, f"{RUN}/files/notes.txt")).json() == NOTHING
