"""XAgent's routes, line by line, over a real server: what its front end sends, and what it never would."""

from __future__ import annotations

import asyncio
import base64
import io
import itertools
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from share.wire import MAX_INDENTATION_BYTES
from tests import any_database as databases
from tests.server import (
    GOLDEN,
    PATIENCE_SECONDS,
    Server,
    make_recording,
    run_here,
    start_server,
    write_recording,
)
from tests.test_golden import received, spelt_alike

USER = ["user_id", "token"]
PAGE = ["page_size", "page_num"]
FIELDS = {
    "/user/login": ["email", "token"],
    "/user/check": ["token"],
    "/conv/getSharedInteractions": [*USER, *PAGE],
    "/conv/getUserInteractions": [*USER, *PAGE],
    "/conv/init_conv_env": USER,
    "/conv/shareInteraction": [*USER, "interaction_id"],
    "/conv/community": [*USER, "user_name", "interaction", "raws", "files"],
    "/conv/deleteInteraction": [*USER, "interaction_id"],
    "/conv/updateInteractionDescription": [*USER, "interaction_id", "description"],
    "/workspace/file": [*USER, "interaction_id", "file_name"],
}
WITH_USER = [path for path in FIELDS if not path.startswith("/user")]
ALL_FIELDS = sorted({field for fields in FIELDS.values() for field in fields})

NOT_YOURS = {"data": None, "success": False, "message": "there is no such interaction of yours"}
DONE = {"data": None, "success": True, "message": "success"}

# The golden frames of each recording; None for the one that has no finished row.
TRANSCRIPTS = {"short": "normal_short", "edge": "edge_rows", "running": None}
# The original's frame -> ours, as in test_golden.
ON_PURPOSE = {
    '"tool_input": "ok\\tab",': '"tool_input": "ok\\\\tab",',
    """"tool_output": "regex \\\\d+ \\\\w \\\\ ' \\" A •\"""": (
        '"tool_output": "regex \\\\d+ \\\\w \\\\\\\\ \\\\\' \\\\\\" \\\\101 \\\\N{BULLET}"'
    ),
    '"tool_name": "x",\n      "tool_output": "a\\nb"': '"tool_name": "x",\n      "tool_output": "a\\\\nb"',
    '"tool_input": "plt.show()\\n",': '"tool_input": "plt.show()\\\\n",',
}

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Author:
    """A user: who he is, and how he shows it."""

    user_id: str
    email: str
    token: str

    @property
    def fields(self) -> dict[str, str]:
        return {"user_id": self.user_id, "token": self.token}


def add_user(folder: Path, name: str) -> Author:
    said = run_here("user", "add", f"{name}@example.org", "--name", name, folder=folder).stdout.split()
    return Author(said[0], said[1], said[3])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("xagent")


@pytest.fixture(scope="module")
def alice(folder: Path) -> Author:
    return add_user(folder, "alice")


@pytest.fixture(scope="module")
def bob(folder: Path) -> Author:
    return add_user(folder, "bob")


@pytest.fixture(scope="module")
def disabled(folder: Path) -> Author:
    user = add_user(folder, "disabled")
    assert run_here("user", "disable", user.user_id, folder=folder).returncode == 0
    return user


@pytest.fixture(scope="module")
def server(folder: Path, alice: Author, bob: Author, disabled: Author) -> Iterator[Server]:
    limits = {"SHARE_MAX_UPLOAD_BYTES": "400000", "SHARE_MAX_UPLOAD_FILES": "20"}
    with start_server(folder, SHARE_PAUSE_SECONDS="0", **limits) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.http_url, timeout=PATIENCE_SECONDS, trust_env=False) as client:
        yield client


@pytest.fixture(autouse=True)
def no_traceback(server: Server) -> Iterator[None]:
    """Nothing that is sent may end in an error of the server."""
    before = len(server.log)
    yield
    assert "Traceback" not in server.log[before:]


def zip_of(files: Mapping[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return made.getvalue()


def new_id() -> str:
    return f"run-{next(_numbers)}"


def new_recording(rows: int = 3, *, goal: str = "to find out", **interaction: Any) -> dict[str, Any]:
    """A finished recording of an id that no other has."""
    recording = make_recording(new_id(), rows)
    recording["raws"][0] |= {"is_human": True, "human_data": {"goal": goal}}
    recording["interaction"] |= {"agent": "agent", "mode": "auto", "update_time": "2023-11-17 10:09:00"}
    recording["interaction"] |= interaction
    return recording


def upload(
    client: httpx.Client,
    author: Author,
    recording: Mapping[str, Any],
    archive: bytes = zip_of({}),
    prefix: str = "",
    **fields: str,
) -> httpx.Response:
    """What XAgent's server posts to share a run with the community."""
    parts = {"interaction": json.dumps(recording["interaction"]), "raws": json.dumps(recording["raws"])}
    return client.post(
        f"{prefix}/conv/community",
        data=author.fields | {"user_name": "the author"} | parts | fields,
        files={"files": ("workspace.zip", archive, "application/zip")},
    )


def uploaded(client: httpx.Client, author: Author, files: Mapping[str, bytes] | None = None, **interaction: Any) -> str:
    """The id of a recording that has been uploaded."""
    recording = new_recording(**interaction)
    response = upload(client, author, recording, zip_of(files or {}))
    assert (response.status_code, response.json()) == (200, DONE)
    return str(recording["interaction"]["interaction_id"])


def kept_private(folder: Path, author: Author, **interaction: Any) -> str:
    """The id of a recording of his that is stored here, and isn't shared."""
    recording = new_recording(user_id=author.user_id, **interaction)
    file = write_recording(folder / "private.json", recording)
    assert run_here("import", "--private", file, folder=folder).returncode == 0
    return str(recording["interaction"]["interaction_id"])


def execute(folder: Path, statement: str, *values: Any) -> list[Any]:
    """Do in the database what somebody else does there."""
    return databases.execute(databases.database_url(folder / "data"), statement, *values)


def count(folder: Path, interaction_id: str) -> tuple[int, int, int]:
    """How many interactions, rows and shares there are of an id."""
    tables = ("interactions", "raw", "shared_interactions")
    found = [
        execute(folder, f"SELECT count(*) FROM {table} WHERE interaction_id = ?", interaction_id) for table in tables
    ]
    one, rows, shares = (number for ((number,),) in found)
    return one, rows, shares


def files_of(folder: Path, interaction_id: str) -> set[str]:
    """The files that lie anywhere in the folder of a run."""
    found: set[str] = set()
    for directory in (folder / "data").rglob(interaction_id):
        found |= {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}
    return found


def envelope(response: httpx.Response) -> Any:
    """XAgent's envelope, its keys in its order."""
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert list(body) == ["data", "success", "message"]
    return body


def data_of(response: httpx.Response) -> Any:
    body = envelope(response)
    assert body["success"] is True
    return body["data"]


async def watch(server: Server, interaction_id: str, frames: int, path: str = "share", query: str = "") -> list[str]:
    """The first frames that a viewer of classic gets."""
    url = f"ws://127.0.0.1:{server.port}/ws/{path}/{interaction_id}{query}"
    async with connect(url, proxy=None, max_size=None) as socket, asyncio.timeout(PATIENCE_SECONDS):
        seen = [str(await socket.recv())]
        if json.loads(seen[0])["success"]:
            await socket.send('{"type": "shared"}')
            while len(seen) < frames:
                seen.append(str(await socket.recv()))
        else:
            with pytest.raises(ConnectionClosed):
                await socket.recv()
    return seen


async def can_be_watched(server: Server, interaction_id: str) -> bool:
    (frame,) = await watch(server, interaction_id, 1)
    return bool(json.loads(frame)["success"])


# All routes


@pytest.mark.parametrize("prefix", ["", "/api"])
@pytest.mark.parametrize("path", FIELDS)
def test_a_form_without_fields_is_told_all_that_it_needs(client: httpx.Client, prefix: str, path: str) -> None:
    for response in (client.post(prefix + path), client.post(prefix + path, files={"other": b"other"})):
        body = response.json()
        assert (response.status_code, list(body), body["status"]) == (400, ["status", "message"], "failed")
        assert [list(error) for error in body["message"]] == [["type", "loc", "msg", "input"]] * len(body["message"])
        assert {(error["type"], *error["loc"]) for error in body["message"]} == {
            ("missing", "body", field) for field in FIELDS[path]
        }


@pytest.mark.parametrize("path", FIELDS)
def test_a_field_that_is_missing_is_named(client: httpx.Client, alice: Author, path: str) -> None:
    for field in FIELDS[path]:
        fields = dict.fromkeys(FIELDS[path], "1") | alice.fields
        fields.pop("files", None)
        fields.pop(field, None)
        response = client.post(path, data=fields, files={"other" if field == "files" else "files": b""})
        assert response.status_code == 400
        missing = {"type": "missing", "loc": ["body", field], "msg": "Field required", "input": None}
        assert response.json() == {"status": "failed", "message": [missing]}


@pytest.mark.parametrize("path", FIELDS)
def test_the_routes_are_for_posts(client: httpx.Client, path: str) -> None:
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        for prefix in ("", "/api"):
            assert client.request(method, prefix + path).status_code == 405


@pytest.mark.parametrize("prefix", ["", "/api"])
@pytest.mark.parametrize("path", WITH_USER)
def test_who_is_no_user_is_refused(
    client: httpx.Client, alice: Author, bob: Author, disabled: Author, prefix: str, path: str
) -> None:
    strangers = {
        "user is not exist!": [Author("nobody", "", alice.token), Author("", "", ""), Author("%", "", alice.token)],
        "user is not available!": [
            Author(alice.user_id, "", "wrong"),
            Author(alice.user_id, "", ""),
            Author(alice.user_id, "", bob.token),
            disabled,
        ],
    }
    fields = dict.fromkeys(FIELDS[path], "1")
    fields.pop("files", None)
    for message, users in strangers.items():
        for user in users:
            files = {"files": ("a.zip", zip_of({}))}
            response = client.post(prefix + path, data=fields | user.fields, files=files)
            assert response.status_code == 401
            body = {"detail": message} if path == "/workspace/file" else {"status": "failed", "message": message}
            assert response.json() == body
            assert list(response.json()) == list(body)


def test_a_token_that_was_changed_is_worth_nothing_at_once(client: httpx.Client, folder: Path) -> None:
    user = add_user(folder, "rotated")
    assert client.post("/conv/init_conv_env", data=user.fields).status_code == 200
    token = run_here("user", "rotate", user.user_id, folder=folder).stdout.split()[1]
    assert client.post("/conv/init_conv_env", data=user.fields).status_code == 401
    assert client.post("/conv/init_conv_env", data=user.fields | {"token": token}).status_code == 200


@pytest.mark.parametrize("path", FIELDS)
def test_forms_are_read_both_ways(client: httpx.Client, path: str) -> None:
    fields = dict.fromkeys(set(FIELDS[path]) - {"files"}, "1")
    archive = {"files": ("a.zip", zip_of({}))}
    multipart = client.post(path, data=fields, files=archive)
    if path == "/conv/community":
        assert multipart.status_code == 401
    else:
        encoded = client.post(path, data=fields)
        assert (encoded.status_code, encoded.json()) == (multipart.status_code, multipart.json())


# /user


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_a_user_logs_in_with_email_and_token(client: httpx.Client, alice: Author, prefix: str) -> None:
    body = envelope(client.post(f"{prefix}/user/login", data={"email": alice.email, "token": alice.token}))
    user = body.pop("data")
    assert body == {"success": True, "message": "login success"}
    made = user["create_time"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", made)
    expected = {
        "user_id": alice.user_id,
        "email": "alice@example.org",
        "name": "alice",
        "token": alice.token,
        "available": True,
        "corporation": None,
        "industry": None,
        "position": None,
        "create_time": made,
        "update_time": made,
        "deleted": False,
        "is_beta": False,
    }
    assert list(user.items()) == list(expected.items())


def test_who_cant_log_in_is_told_why(client: httpx.Client, alice: Author, bob: Author, disabled: Author) -> None:
    cases = [
        ("nobody@example.org", alice.token, "user is not exist"),
        (alice.user_id, alice.token, "user is not exist"),
        ("", "", "user is not exist"),
        ("%", alice.token, "user is not exist"),
        (alice.email, bob.token, "token is not correct"),
        (alice.email, "", "token is not correct"),
        (alice.email, alice.token + " ", "token is not correct"),
        (alice.email, alice.token.swapcase(), "token is not correct"),
        (disabled.email, "wrong", "token is not correct"),
        (disabled.email, disabled.token, "user is not available"),
    ]
    for email, token, message in cases:
        body = envelope(client.post("/user/login", data={"email": email, "token": token}))
        assert body == {"data": None, "success": False, "message": message}


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_a_token_is_checked(client: httpx.Client, alice: Author, disabled: Author, prefix: str) -> None:
    body = envelope(client.post(f"{prefix}/user/check", data={"token": alice.token}))
    assert body == {"data": True, "success": True, "message": "token is effective"}
    for token in ("", "wrong", disabled.token, alice.token[:-1], alice.user_id, "%"):
        body = envelope(client.post(f"{prefix}/user/check", data={"token": token}))
        assert body == {"data": False, "success": True, "message": "token is invalid"}


def test_a_token_that_xagent_gave_to_several_users_is_somebodys(client: httpx.Client, folder: Path) -> None:
    for user_id in ("guest", "guest2"):
        statement = "INSERT INTO users (user_id, email, name, token, available) VALUES (?, ?, ?, 'xagent', TRUE)"
        execute(folder, statement, user_id, user_id.title(), user_id)
    assert data_of(client.post("/user/check", data={"token": "xagent"})) is True
    assert data_of(client.post("/user/login", data={"email": "Guest", "token": "xagent"}))["user_id"] == "guest"


# /conv/getSharedInteractions


@pytest.fixture(scope="module")
def gallery(client: httpx.Client, folder: Path, alice: Author, bob: Author) -> dict[str, str]:
    """Recordings with and without stars, and some that are not to be seen; their ids by what they are."""
    ids = {
        "old": uploaded(client, alice, create_time="2023-11-01 10:00:00", goal="to be old"),
        "new": uploaded(client, bob, create_time="2023-11-03 10:00:00"),
        "starred": uploaded(client, alice, create_time="2022-01-01 10:00:00", description="数据"),
        "unlisted": uploaded(client, alice),
        "deleted": uploaded(client, alice),
        "taken back": uploaded(client, alice),
    }
    for what in ids.keys() - {"unlisted"}:
        execute(folder, "UPDATE shared_interactions SET is_audit = TRUE WHERE interaction_id = ?", ids[what])
    execute(folder, "UPDATE shared_interactions SET star = 7 WHERE interaction_id = ?", ids["starred"])
    execute(folder, "UPDATE interactions SET is_deleted = TRUE WHERE interaction_id = ?", ids["deleted"])
    execute(folder, "UPDATE shared_interactions SET is_deleted = TRUE WHERE interaction_id = ?", ids["taken back"])
    return ids


def get_shared(
    client: httpx.Client, user: Author, size: int | str = 10, number: int | str = 1, prefix: str = ""
) -> Any:
    fields = user.fields | {"page_size": str(size), "page_num": str(number)}
    return data_of(client.post(f"{prefix}/conv/getSharedInteractions", data=fields))


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_the_shared_are_listed_with_the_most_stars_first_and_then_the_newest(
    client: httpx.Client, bob: Author, gallery: Mapping[str, str], prefix: str
) -> None:
    data = get_shared(client, bob, prefix=prefix)
    assert list(data) == ["total", "rows"]
    assert data["total"] == 3
    assert [row["interaction_id"] for row in data["rows"]] == [gallery[what] for what in ("starred", "new", "old")]


def test_what_is_shared_is_shown_with_all_that_xagent_shows(
    client: httpx.Client, bob: Author, gallery: Mapping[str, str]
) -> None:
    starred, _, old = get_shared(client, bob)["rows"]
    expected = {
        "interaction_id": gallery["starred"],
        "user_name": "the author",
        "create_time": "2022-01-01 10:00:00",
        "update_time": "2023-11-17 10:09:00",
        "description": "数据",
        "agent": "agent",
        "mode": "auto",
        "star": 7,
        "is_audit": True,
        "parameters": [{"goal": "to find out"}],
    }
    assert list(starred.items()) == list(expected.items())
    assert old["parameters"] == [{"goal": "to be old"}]


@pytest.mark.parametrize(
    ("size", "number", "shown"),
    [
        (1, 1, ["starred"]),
        (1, 3, ["old"]),
        (2, 1, ["starred", "new"]),
        (2, 2, ["old"]),
        (2, 3, []),
        (3, 2, []),
        (2**31 - 1, 1, ["starred", "new", "old"]),
        (2**31 - 1, 2**31 - 1, []),
        (" 2 ", "+1", ["starred", "new"]),
    ],
)
def test_the_shared_come_in_pages(
    client: httpx.Client,
    bob: Author,
    gallery: Mapping[str, str],
    size: int | str,
    number: int | str,
    shown: list[str],
) -> None:
    data = get_shared(client, bob, size, number)
    assert data["total"] == 3
    assert [row["interaction_id"] for row in data["rows"]] == [gallery[what] for what in shown]


@pytest.mark.parametrize("path", ["/conv/getSharedInteractions", "/conv/getUserInteractions"])
@pytest.mark.parametrize("field", PAGE)
def test_a_page_that_is_no_number_is_refused(client: httpx.Client, alice: Author, path: str, field: str) -> None:
    for value in ("", "x", "1.5", "1e3", "0", "-1", "2147483648", "9" * 5000, "0x10", "½", "NaN", "None"):
        response = client.post(path, data=alice.fields | {"page_size": "5", "page_num": "1"} | {field: value})
        assert response.status_code == 400
        (error,) = response.json()["message"]
        assert list(error) == ["type", "loc", "msg", "input"]
        assert error["loc"] == ["body", field]
        assert error["type"] in ("int_parsing", "greater_than_equal")


def test_a_field_that_is_wrong_is_told_once(client: httpx.Client, alice: Author) -> None:
    fields = alice.fields | {"page_size": "1\0", "page_num": "1"}
    response = client.post("/conv/getUserInteractions", data=fields)
    assert [error["loc"] for error in response.json()["message"]] == [["body", "page_size"]]


# /conv/getUserInteractions


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_a_user_lists_his_own_finished_ones(client: httpx.Client, folder: Path, alice: Author, prefix: str) -> None:
    carol = add_user(folder, f"carol{prefix}")
    uploaded(client, alice)
    first = uploaded(client, carol, create_time="2023-11-01 10:00:00", file_list=["a.txt", "数据.csv"], message="done")
    second = kept_private(folder, carol, create_time="2023-11-02 10:00:00", status="finished")
    kept_private(folder, carol, status="running")
    gone = uploaded(client, carol)
    execute(folder, "UPDATE interactions SET is_deleted = TRUE WHERE interaction_id = ?", gone)
    client.post("/conv/init_conv_env", data=carol.fields)
    fields = carol.fields | {"page_size": "10", "page_num": "1"}
    data = data_of(client.post(f"{prefix}/conv/getUserInteractions", data=fields))
    assert list(data) == ["total", "rows"]
    assert data["total"] == 2
    assert [row["interaction_id"] for row in data["rows"]] == [second, first]
    expected = {
        "interaction_id": first,
        "user_id": carol.user_id,
        "create_time": "2023-11-01 10:00:00",
        "description": f"the run {first}",
        "agent": "agent",
        "mode": "auto",
        "file_list": ["a.txt", "数据.csv"],
        "status": "finished",
        "message": "done",
        "current_step": None,
        "update_time": "2023-11-17 10:09:00",
        "call_method": "web",
        "parameters": [{"goal": "to find out"}],
    }
    assert list(data["rows"][1].items()) == list(expected.items())
    page = data_of(client.post(f"{prefix}/conv/getUserInteractions", data=fields | {"page_size": "1", "page_num": "2"}))
    assert (page["total"], [row["interaction_id"] for row in page["rows"]]) == (2, [first])


@pytest.mark.parametrize(("table", "column"), [("interactions", "file_list"), ("raw", "human_data")])
def test_what_others_have_stored_spoils_no_list_however_deep_it_is(
    client: httpx.Client, folder: Path, table: str, column: str
) -> None:
    user = add_user(folder, column)
    interaction_id = uploaded(client, user)
    for depth in (400, *range(900, 1030, 10), 100_000):
        statement = f"UPDATE {table} SET {column} = ? WHERE interaction_id = ?"
        execute(folder, statement, "[" * depth + "]" * depth, interaction_id)
        response = client.post("/conv/getUserInteractions", data=user.fields | {"page_size": "9", "page_num": "1"})
        assert response.status_code == 200, depth
        assert interaction_id in response.text


# /conv/init_conv_env


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_an_interaction_is_made_ready_and_is_the_same_until_it_is_used(
    client: httpx.Client, folder: Path, prefix: str
) -> None:
    erin = add_user(folder, f"erin{prefix}")
    first, again = (data_of(client.post(f"{prefix}/conv/init_conv_env", data=erin.fields)) for _ in range(2))
    assert list(first) == ["id", "t"]
    assert re.fullmatch(r"[0-9a-f]{32}", first["id"]) and re.fullmatch(r"[0-9]{13}", first["t"])
    assert again["id"] == first["id"]
    query = "SELECT user_id, status FROM interactions WHERE interaction_id = ?"
    assert execute(folder, query, first["id"]) == [(erin.user_id, "ready")]
    execute(folder, "UPDATE interactions SET status = 'running' WHERE interaction_id = ?", first["id"])
    assert data_of(client.post(f"{prefix}/conv/init_conv_env", data=erin.fields))["id"] != first["id"]


def test_everybody_has_his_own_that_is_ready(client: httpx.Client, alice: Author, bob: Author) -> None:
    ids = {data_of(client.post("/conv/init_conv_env", data=user.fields))["id"] for user in (alice, bob)}
    assert len(ids) == 2


async def test_who_asks_many_times_at_once_gets_one_that_is_ready(server: Server, folder: Path) -> None:
    frank = add_user(folder, "frank")
    async with httpx.AsyncClient(base_url=server.http_url, timeout=PATIENCE_SECONDS, trust_env=False) as client:
        asked = [client.post("/conv/init_conv_env", data=frank.fields) for _ in range(8)]
        assert len({data_of(response)["id"] for response in await asyncio.gather(*asked)}) == 1


async def test_what_is_ready_isnt_shared(client: httpx.Client, server: Server, alice: Author) -> None:
    interaction_id = data_of(client.post("/conv/init_conv_env", data=alice.fields))["id"]
    assert not await can_be_watched(server, interaction_id)
    response = client.post("/conv/shareInteraction", data=alice.fields | {"interaction_id": interaction_id})
    assert envelope(response) == {"data": None, "success": False, "message": "interaction is not finish!"}


# /conv/shareInteraction


@pytest.mark.parametrize("prefix", ["", "/api"])
async def test_ones_own_finished_interaction_is_shared_here(
    client: httpx.Client, server: Server, folder: Path, alice: Author, prefix: str
) -> None:
    interaction_id = kept_private(folder, alice)
    assert not await can_be_watched(server, interaction_id)
    fields = alice.fields | {"interaction_id": interaction_id}
    for _ in range(2):
        assert envelope(client.post(f"{prefix}/conv/shareInteraction", data=fields)) == DONE
    assert await can_be_watched(server, interaction_id)
    query = "SELECT user_name, is_audit, is_deleted FROM shared_interactions WHERE interaction_id = ?"
    assert execute(folder, query, interaction_id) == [("alice", 0, 0)]


def test_what_is_shared_again_stays_in_the_gallery(client: httpx.Client, folder: Path, alice: Author) -> None:
    interaction_id = uploaded(client, alice)
    execute(folder, "UPDATE shared_interactions SET is_audit = TRUE, star = 3 WHERE interaction_id = ?", interaction_id)
    client.post("/conv/shareInteraction", data=alice.fields | {"interaction_id": interaction_id})
    query = "SELECT user_name, is_audit, star FROM shared_interactions WHERE interaction_id = ?"
    assert execute(folder, query, interaction_id) == [("the author", 1, 3)]
    execute(folder, "UPDATE shared_interactions SET is_audit = FALSE WHERE interaction_id = ?", interaction_id)


async def test_what_isnt_finished_is_not_shared(
    client: httpx.Client, server: Server, folder: Path, alice: Author
) -> None:
    interaction_id = kept_private(folder, alice, status="running")
    execute(folder, "UPDATE raw SET status = 'inner' WHERE interaction_id = ?", interaction_id)
    response = client.post("/conv/shareInteraction", data=alice.fields | {"interaction_id": interaction_id})
    assert envelope(response) == {"data": None, "success": False, "message": "interaction is not finish!"}
    assert not await can_be_watched(server, interaction_id)


ONES_OWN = ["/conv/shareInteraction", "/conv/deleteInteraction", "/conv/updateInteractionDescription"]


@pytest.mark.parametrize("prefix", ["", "/api"])
@pytest.mark.parametrize("path", ONES_OWN)
def test_who_isnt_the_owner_changes_nothing_and_learns_nothing(
    client: httpx.Client, folder: Path, alice: Author, bob: Author, prefix: str, path: str
) -> None:
    private, deleted = kept_private(folder, alice), kept_private(folder, bob)
    execute(folder, "UPDATE interactions SET is_deleted = TRUE WHERE interaction_id = ?", deleted)
    before = count(folder, private)
    for interaction_id in (private, deleted, "unknown", "", "../etc", "%", "x" * 500, "a\nb"):
        fields = bob.fields | {"interaction_id": interaction_id, "description": "mine"}
        assert envelope(client.post(prefix + path, data=fields)) == NOT_YOURS
    assert count(folder, private) == before == (1, 3, 0)
    query = "SELECT description FROM interactions WHERE interaction_id = ?"
    assert execute(folder, query, private) == [(f"the run {private}",)]


# /conv/community


@pytest.mark.parametrize("prefix", ["", "/api"])
@pytest.mark.parametrize("file", sorted(GOLDEN.glob("*.recording.json")), ids=lambda file: file.name.split(".")[0])
async def test_every_golden_recording_that_is_uploaded_replays_the_golden_frames(
    client: httpx.Client, server: Server, folder: Path, alice: Author, file: Path, prefix: str
) -> None:
    name = file.name.split(".")[0]
    recording = json.loads(file.read_text("utf-8"))
    interaction_id = recording["interaction"]["interaction_id"]
    files = {name: base64.b64decode(content) for name, content in recording["workspace"].items()}
    response = upload(client, alice, recording, zip_of(files), prefix)
    transcript = TRANSCRIPTS[name]
    if transcript is None:
        assert envelope(response) == {"data": None, "success": False, "message": "interaction is not finish!"}
        assert count(folder, interaction_id) == (0, 0, 0) and not files_of(folder, interaction_id)
        return
    assert envelope(response) == DONE
    frames = list(received(transcript))
    # The first row comes again, because it is asked for again: so nothing else has come behind the last.
    seen = await watch_twice(server, interaction_id, len(frames))
    golden = "\0".join([*frames, frames[1]])
    for theirs, ours in ON_PURPOSE.items() if name == "edge" else ():
        assert golden.count(theirs) == 1
        golden = golden.replace(theirs, ours)
    assert [spelt_alike(frame) for frame in seen] == [spelt_alike(frame) for frame in golden.split("\0")]
    deleted = client.post("/conv/deleteInteraction", data=alice.fields | {"interaction_id": interaction_id})
    assert envelope(deleted) == DONE


async def watch_twice(server: Server, interaction_id: str, frames: int) -> list[str]:
    async with connect(server.url(interaction_id), proxy=None) as socket, asyncio.timeout(PATIENCE_SECONDS):
        seen = [str(await socket.recv())]
        await socket.send('{"type": "shared"}')
        seen += [str(await socket.recv()) for _ in range(frames - 1)]
        again = frames + 1
        while len(seen) < again:
            await socket.send('{"type": "shared"}')  # is not heard as long as the first isn't over
            try:
                async with asyncio.timeout(0.05):
                    seen.append(str(await socket.recv()))
            except TimeoutError:
                continue
    return seen


async def test_who_has_uploaded_is_the_owner_whatever_the_upload_says(
    client: httpx.Client, server: Server, folder: Path, alice: Author, bob: Author
) -> None:
    interaction_id = uploaded(client, alice, user_id=bob.user_id)
    assert execute(folder, "SELECT user_id FROM interactions WHERE interaction_id = ?", interaction_id) == [
        (alice.user_id,)
    ]
    query = "SELECT user_name, is_audit FROM shared_interactions WHERE interaction_id = ?"
    assert execute(folder, query, interaction_id) == [("the author", 0)]
    owner = f"?user_id={alice.user_id}&token={alice.token}"
    (frame,) = await watch(server, interaction_id, 1, "replay", owner)
    assert json.loads(frame)["success"] is True


def test_an_id_that_is_there_is_refused_and_what_is_there_stays(
    client: httpx.Client, folder: Path, alice: Author, bob: Author
) -> None:
    recording = new_recording()
    interaction_id = recording["interaction"]["interaction_id"]
    assert envelope(upload(client, alice, recording, zip_of({"a.txt": b"first"}))) == DONE
    exists = {"data": None, "success": False, "message": "interaction is exist!"}
    other = new_recording()
    renamed = {"interaction": other["interaction"] | {"interaction_id": interaction_id}, "raws": other["raws"]}
    renamed["raws"] = [row | {"interaction_id": interaction_id} for row in renamed["raws"]]
    same_nodes = {"interaction": other["interaction"], "raws": other["raws"]}
    same_nodes["raws"] = [
        row | {"node_id": stored["node_id"]} for row, stored in zip(other["raws"], recording["raws"], strict=True)
    ]
    for user in (alice, bob):
        for attempt in (recording, renamed, same_nodes):
            assert envelope(upload(client, user, attempt, zip_of({"b.txt": b"second"}))) == exists
    assert count(folder, interaction_id) == (1, 3, 1)
    assert files_of(folder, interaction_id) == {"workspace/a.txt"}
    assert count(folder, other["interaction"]["interaction_id"]) == (0, 0, 0)
    assert files_of(folder, other["interaction"]["interaction_id"]) == set()


@pytest.mark.parametrize(
    "changes",
    [{"status": "failed"}, {"status": "Finished"}, {"status": None}, {"status": "finished", "is_deleted": True}],
)
def test_an_upload_without_a_finished_row_is_refused(
    client: httpx.Client, folder: Path, alice: Author, changes: dict[str, Any]
) -> None:
    recording = new_recording()
    recording["raws"][-1] |= changes
    body = envelope(upload(client, alice, recording, zip_of({"a.txt": b"a"})))
    assert body == {"data": None, "success": False, "message": "interaction is not finish!"}
    interaction_id = recording["interaction"]["interaction_id"]
    assert count(folder, interaction_id) == (0, 0, 0) and not files_of(folder, interaction_id)


@pytest.mark.parametrize(
    ("field", "value", "status"),
    [
        ("interaction", "", 400),
        ("interaction", "{}", 400),
        ("interaction", "null", 400),
        ("interaction", "[" * 100_000, 400),
        ("interaction", '{"interaction_id": "../../evil", "user_id": "u"}', 400),
        ("raws", "", 400),
        ("raws", "[]", 400),
        ("raws", "{}", 400),
        ("raws", "[1]", 400),
        ("raws", "[" * 100_000, 400),
        ("files", "", 400),
        ("files", "no zip", 400),
        ("files", "PK\5\6" + "\0" * 17, 400),
    ],
)
def test_a_part_of_an_upload_that_cant_be_read_is_named(
    client: httpx.Client, alice: Author, field: str, value: str, status: int
) -> None:
    archive = value.encode() if field == "files" else zip_of({})
    fields = {} if field == "files" else {field: value}
    response = upload(client, alice, new_recording(), archive, **fields)
    assert response.status_code == status
    body = response.json()
    assert (list(body), body["status"]) == (["status", "message"], "failed")
    (error,) = body["message"]
    assert list(error) == ["type", "loc", "msg", "input"]
    assert error["loc"] == ["body", field]


def test_what_stands_behind_the_rows_is_not_passed_over(client: httpx.Client, folder: Path, alice: Author) -> None:
    recording = new_recording()
    for rest in ("x", "]", '[{"node_id": 1}]', ', {"a": 1}', "\0"):
        response = upload(client, alice, recording, raws=json.dumps(recording["raws"]) + rest)
        assert response.status_code == 400
    assert count(folder, recording["interaction"]["interaction_id"]) == (0, 0, 0)


def test_a_zip_that_is_refused_leaves_nothing_behind(client: httpx.Client, folder: Path, alice: Author) -> None:
    for name in ("../evil.txt", "/etc/evil.txt", "C:/evil.txt", "a\\evil.txt"):
        recording = new_recording()
        response = upload(client, alice, recording, zip_of({"good.txt": b"good", name: b"evil"}))
        assert response.status_code == 400
        (error,) = response.json()["message"]
        assert error["loc"] == ["body", "files"] and ascii(name) in error["msg"]
        assert count(folder, recording["interaction"]["interaction_id"]) == (0, 0, 0)
    assert not [path for path in folder.rglob("*") if "evil" in path.name or path.name.startswith(".workspace-")]


def test_an_upload_that_is_too_large_is_refused(client: httpx.Client, folder: Path, alice: Author) -> None:
    recording = new_recording()
    response = upload(client, alice, recording, bytes(500_000))
    assert (response.status_code, response.json()["status"]) == (413, "failed")
    files = {f"{number}.txt": b"" for number in range(21)}
    assert upload(client, alice, recording, zip_of(files)).status_code == 413
    assert count(folder, recording["interaction"]["interaction_id"]) == (0, 0, 0)


def test_a_long_name_of_an_author_is_cut(client: httpx.Client, folder: Path, alice: Author) -> None:
    recording = new_recording()
    assert envelope(upload(client, alice, recording, user_name="ä" * 1000)) == DONE
    query = "SELECT user_name FROM shared_interactions WHERE interaction_id = ?"
    assert execute(folder, query, recording["interaction"]["interaction_id"]) == [("ä" * 255,)]


async def test_of_many_who_upload_the_same_id_to_two_servers_one_succeeds(
    server: Server, folder: Path, alice: Author, bob: Author
) -> None:
    interaction_id = new_id()
    attempts = []
    for number in range(8):
        recording = new_recording(20, description=f"attempt {number}")
        recording["interaction"]["interaction_id"] = interaction_id
        recording["raws"] = [row | {"interaction_id": interaction_id} for row in recording["raws"]]
        attempts.append(recording)
    with start_server(folder, SHARE_PAUSE_SECONDS="0") as second:

        async def attempt(number: int) -> Any:
            url = (server, second)[number % 2].http_url
            async with httpx.AsyncClient(base_url=url, timeout=PATIENCE_SECONDS, trust_env=False) as client:
                recording = attempts[number]
                texts = {key: json.dumps(recording[key]) for key in ("interaction", "raws")}
                return await client.post(
                    "/conv/community",
                    data=(alice, bob)[number % 2].fields | {"user_name": "one of many"} | texts,
                    files={"files": ("a.zip", zip_of({"who.txt": b"%d" % number}))},
                )

        answers = [envelope(response) for response in await asyncio.gather(*map(attempt, range(8)))]
    assert sorted(answer["message"] for answer in answers) == ["interaction is exist!"] * 7 + ["success"]
    winner = [answer["success"] for answer in answers].index(True)
    assert count(folder, interaction_id) == (1, 20, 1)
    query = "SELECT DISTINCT description FROM interactions WHERE interaction_id = ?"
    assert execute(folder, query, interaction_id) == [(f"attempt {winner}",)]
    nodes = execute(folder, "SELECT node_id FROM raw WHERE interaction_id = ? ORDER BY step", interaction_id)
    assert [node for (node,) in nodes] == [row["node_id"] for row in attempts[winner]["raws"]]
    (file,) = (folder / "data").rglob(f"{interaction_id}/workspace/who.txt")
    assert file.read_bytes() == b"%d" % winner


# /conv/deleteInteraction, /conv/updateInteractionDescription


@pytest.mark.parametrize("prefix", ["", "/api"])
async def test_ones_own_is_deleted_with_all_that_belongs_to_it(
    client: httpx.Client, server: Server, folder: Path, alice: Author, prefix: str
) -> None:
    recording = new_recording()
    interaction_id = recording["interaction"]["interaction_id"]
    fields = alice.fields | {"interaction_id": interaction_id}
    for _ in range(2):  # its id is free again
        assert envelope(upload(client, alice, recording, zip_of({"a.txt": b"a"}))) == DONE
        assert files_of(folder, interaction_id)
        assert envelope(client.post(f"{prefix}/conv/deleteInteraction", data=fields)) == DONE
        assert count(folder, interaction_id) == (0, 0, 0) and not files_of(folder, interaction_id)
        assert not await can_be_watched(server, interaction_id)
    assert envelope(client.post(f"{prefix}/conv/deleteInteraction", data=fields)) == NOT_YOURS


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_ones_own_gets_another_description(client: httpx.Client, folder: Path, alice: Author, prefix: str) -> None:
    interaction_id = uploaded(client, alice)
    for new, kept in (("数据 \N{PILE OF POO}", "数据 \N{PILE OF POO}"), ("", "XAgent"), ("a\nb", "a\nb")):
        fields = alice.fields | {"interaction_id": interaction_id, "description": new}
        body = envelope(client.post(f"{prefix}/conv/updateInteractionDescription", data=fields))
        expected = {"interaction_id": interaction_id, "description": kept}
        assert list(body["data"].items()) == list(expected.items())
        assert body["success"] is True
        for table in ("interactions", "shared_interactions"):
            query = f"SELECT description FROM {table} WHERE interaction_id = ?"
            assert execute(folder, query, interaction_id) == [(kept,)]


# /workspace/file

NOTEBOOK = {"cells": [{"cell_type": "code", "source": ["print('数据')"]}], "nbformat": 4}
FILES = {
    "notes.txt": "数据\r\n\n".encode(),
    "empty.txt": b"",
    "a b/ü.csv": b"1,2\n",
    "page.html": b"<script>alert(1)</script>",
    "image.svg": b"<svg onload=alert(1)>",
    "no suffix": b"text",
    "plot.PNG": b"\x89PNG\xff",
    "photo.jpg": b"\xff\xd8",
    "movie.mp4": b"\0\0movie",
    "sound.mp3": b"\xffsound",
    "paper.PDF": b"%PDF-1.4",
    "table.xlsx": b"PK\3\4",
    "data.bin": b"\xff\xfe\x00",
    "data.json": json.dumps({"b": "数据", "a": [1, {}]}).encode(),
    "broken.json": b"{broken",
    "strange.json": b'{"big": 123456789012345678901234567890, "lone": "\\ud800", "nan": NaN}',
    "run.ipynb": json.dumps(NOTEBOOK).encode(),
}


@pytest.fixture(scope="module")
def with_files(client: httpx.Client, alice: Author) -> str:
    return uploaded(client, alice, FILES)


def get_file(client: httpx.Client, user: Author, interaction_id: str, name: str, prefix: str = "") -> httpx.Response:
    fields = user.fields | {"interaction_id": interaction_id, "file_name": name}
    return client.post(f"{prefix}/workspace/file", data=fields)


@pytest.mark.parametrize("prefix", ["", "/api"])
@pytest.mark.parametrize("name", ["notes.txt", "empty.txt", "a b/ü.csv", "page.html", "image.svg", "no suffix"])
def test_a_text_comes_as_data(client: httpx.Client, alice: Author, with_files: str, prefix: str, name: str) -> None:
    body = envelope(get_file(client, alice, with_files, name, prefix))
    assert body == {"data": FILES[name].decode(), "success": True, "message": "get file success!"}


@pytest.mark.parametrize(("name", "kind"), [("plot.PNG", "png"), ("photo.jpg", "jpeg")])
def test_a_picture_comes_as_a_data_url(
    client: httpx.Client, alice: Author, with_files: str, name: str, kind: str
) -> None:
    data = data_of(get_file(client, alice, with_files, name))
    assert data == f"data:image/{kind};base64,{base64.b64encode(FILES[name]).decode()}"


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("movie.mp4", "video/mp4"),
        ("sound.mp3", "audio/mp3"),
        ("paper.PDF", "application/pdf"),
        ("table.xlsx", "application/xlsx"),
        ("data.bin", "application/octet-stream"),
        ("run.ipynb", "application/ipynb"),
    ],
)
def test_another_kind_comes_as_the_file_that_it_is(
    client: httpx.Client, alice: Author, with_files: str, name: str, media_type: str
) -> None:
    response = get_file(client, alice, with_files, name)
    assert (response.status_code, response.headers["content-type"]) == (200, media_type)
    assert response.content == FILES[name]
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in response.headers["content-security-policy"]


def test_a_notebook_comes_as_its_json(client: httpx.Client, alice: Author, with_files: str) -> None:
    assert get_file(client, alice, with_files, "run.ipynb").json() == NOTEBOOK


def test_json_is_laid_out(client: httpx.Client, alice: Author, with_files: str) -> None:
    data = data_of(get_file(client, alice, with_files, "data.json"))
    assert data == json.dumps({"b": "数据", "a": [1, {}]}, ensure_ascii=False, indent=4)
    assert data_of(get_file(client, alice, with_files, "broken.json")) == "{broken"
    assert "123456789012345678901234567890" in data_of(get_file(client, alice, with_files, "strange.json"))


def test_json_is_never_laid_out_so_that_it_becomes_a_thousand_times_as_large(
    client: httpx.Client, alice: Author
) -> None:
    content = b"[" * 400 + b"1," * 20_000 + b"1" + b"]" * 400
    interaction_id = uploaded(client, alice, {"deep.json": content})
    response = get_file(client, alice, interaction_id, "deep.json")
    assert response.status_code == 200
    assert len(response.content) < MAX_INDENTATION_BYTES + 10 * len(content)


NOT_THERE = [
    "missing.txt",
    "",
    ".",
    "..",
    "a b",
    "a b/",
    "/etc/passwd",
    "../../../../../../../../etc/passwd",
    "../workspace",
    "../../../../../replay.db",
    "a b/../../../../../../replay.db",
    "..\\notes.txt",
    "NOTES.TXT",
    "notes.txt/x",
    "x" * 5000,
    "%2e%2e/notes.txt",
    "file:///etc/passwd",
    "missing.pdf",
    "missing.ipynb",
    "\N{PILE OF POO}",
]


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_a_file_that_isnt_there_is_not_found(client: httpx.Client, alice: Author, with_files: str, prefix: str) -> None:
    for name in NOT_THERE:
        response = get_file(client, alice, with_files, name, prefix)
        assert (response.status_code, list(response.json())) == (404, ["detail"]), name


def test_files_of_what_is_shared_are_everybodys_who_is_a_user(
    client: httpx.Client, bob: Author, with_files: str
) -> None:
    assert data_of(get_file(client, bob, with_files, "notes.txt")) == FILES["notes.txt"].decode()


def test_files_of_what_isnt_shared_are_their_owners(
    client: httpx.Client, folder: Path, alice: Author, bob: Author
) -> None:
    interaction_id = uploaded(client, alice, {"a.txt": b"a"})
    execute(folder, "UPDATE shared_interactions SET is_deleted = TRUE WHERE interaction_id = ?", interaction_id)
    assert data_of(get_file(client, alice, interaction_id, "a.txt")) == "a"
    unknown = envelope(get_file(client, bob, "unknown", "a.txt"))
    assert envelope(get_file(client, bob, interaction_id, "a.txt")) == unknown
    assert (unknown["data"], unknown["success"]) == (None, False)


# Whatever else may come


def assert_answered(response: httpx.Response) -> None:
    """The answer is one of those that there are."""
    assert response.status_code in (200, 400, 401, 404, 413)
    body = response.json()
    expected = ["data", "success", "message"] if response.status_code == 200 else ["status", "message"]
    assert list(body) in (expected, ["detail"])


BOUNDARY = "multipart/form-data; boundary=x"
WEIRD_BODIES: dict[str, tuple[str | bytes, bytes]] = {
    "nothing": ("", b""),
    "no form": ("application/json", b'{"user_id": "a"}'),
    "text": ("text/plain", b"user_id=a"),
    "no type": ("", b"user_id=a&token=b"),
    "not the type that it is": (
        "application/x-www-form-urlencoded",
        b'--x\r\nContent-Disposition: form-data; name="a"',
    ),
    "no boundary": ("multipart/form-data", b"--x\r\n\r\n--x--"),
    "an empty boundary": ("multipart/form-data; boundary=", b"--\r\n\r\n----"),
    "a boundary that is long": ("multipart/form-data; boundary=" + "x" * 5000, b"--x"),
    "a boundary that is no ASCII": (b"multipart/form-data; boundary=\xff\xfe", b"--\xff\xfe\r\n"),
    "nothing in it": (BOUNDARY, b""),
    "no end": (BOUNDARY, b'--x\r\nContent-Disposition: form-data; name="token"\r\n\r\nabc'),
    "no headers": (BOUNDARY, b"--x\r\n\r\nabc\r\n--x--\r\n"),
    "no name": (BOUNDARY, b"--x\r\nContent-Disposition: form-data\r\n\r\nabc\r\n--x--\r\n"),
    "a broken header": (BOUNDARY, b"--x\r\n\xff\xff: \xff\r\n\r\nabc\r\n--x--\r\n"),
    "a long header": (BOUNDARY, b"--x\r\nA: " + b"a" * 100_000 + b"\r\n\r\nabc\r\n--x--\r\n"),
    "many headers": (BOUNDARY, b"--x\r\n" + b"A: a\r\n" * 10_000 + b"\r\nabc\r\n--x--\r\n"),
    "many fields": (
        BOUNDARY,
        b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n' * 3000 + b"--x--\r\n",
    ),
    "many files": (
        BOUNDARY,
        b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n1\r\n' * 3000 + b"--x--\r\n",
    ),
    "many pairs": ("application/x-www-form-urlencoded", b"a=1&" * 5000),
    "only separators": ("application/x-www-form-urlencoded", b"&;=" * 5000),
    "broken escapes": ("application/x-www-form-urlencoded", b"token=%&user_id=%zz&email=%ff%fe%00&a=%u0041"),
    "bytes that are no text": (
        "application/x-www-form-urlencoded",
        b"token=\xff\xfe\x80&user_id=\xed\xa0\x80&email=\xc0",
    ),
    "a long pair": ("application/x-www-form-urlencoded", b"token=" + b"a" * 300_000),
    "more than it may be": ("application/x-www-form-urlencoded", b"token=" + b"a" * 1_500_000),
    "an encoding of its own": (
        BOUNDARY,
        b'--x\r\nContent-Disposition: form-data; name="a"\r\nContent-Transfer-Encoding: base64\r\n\r\n!!\r\n--x--\r\n',
    ),
    "a message": ("message/rfc822", b"From: a"),
    "a strange type": ("multipart/form-data;;;=;boundary", b"--x"),
    "a type of bytes": (b"\xff\xfe/\x80", b"a"),
}


@pytest.mark.parametrize("what", WEIRD_BODIES)
def test_a_body_that_is_no_form_is_answered(client: httpx.Client, what: str) -> None:
    kind, body = WEIRD_BODIES[what]
    headers: dict[str, Any] = {"content-type": kind} if kind else {}
    for path in FIELDS:
        response = client.post(path, content=body, headers=headers)
        assert_answered(response)
        assert response.status_code in (400, 401, 413) or path.startswith("/user")


CHARSETS = ["utf-16", "utf-7", "unicode_escape", "raw_unicode_escape", "undefined", "rot13", "zlib", "idna", "punycode"]
CHARSETS += [
    "cp037",
    "latin-1",
    "nothing-that-is-known",
    "../../utf-8",
    "",
    "\0",
    "x" * 5000,
    '"',
    "utf-8; charset=utf-16",
]


@pytest.mark.parametrize("charset", CHARSETS)
def test_a_form_is_utf_8_whatever_it_says(client: httpx.Client, folder: Path, charset: str) -> None:
    # Some of Python's encodings take minutes for a megabyte, and some make lone surrogates. This token is another one
    # in each of them.
    token = r"\x41+AEE-é-"
    statement = "INSERT INTO users (user_id, email, token, available) VALUES ('spelt', 'spelt', ?, TRUE)"
    execute(folder, "DELETE FROM users WHERE user_id = 'spelt'")
    execute(folder, statement, token)
    part = b'--x\r\nContent-Disposition: form-data; name="token"\r\n\r\n%s\r\n--x--\r\n'
    headers = {"content-type": f"{BOUNDARY}; charset={charset}".encode("latin-1")}
    for value in (token.encode(), b"\\x41+AEE-", rb"\ud800", b"\xed\xa0\x80"):
        try:
            response = client.post("/user/check", content=part % value, headers=headers)
        except httpx.LocalProtocolError:
            return  # no client can send that
        assert_answered(response)
        assert response.status_code == 400 or response.json()["data"] is (value == token.encode())


WEIRD_VALUES = [
    "",
    "\0",
    "a\0b",
    "\x1b[31m\r\nSet-Cookie: a=b",
    "\N{PILE OF POO}\u202e" * 100,
    "../" * 20 + "etc/passwd",
    "' OR '1'='1'; DROP TABLE users; --",
    "%",
    "NaN",
    "-1",
    "9" * 5000,
    "[]",
    '{"a": ',
    "[" * 3000,
    '"\\ud800"',
    '{"interaction_id": "\\ud800", "user_id": "\\u0000"}',
    '{"interaction_id": "a", "user_id": 1e400}',
    '[{"node_id": "\\u0000", "interaction_id": "a"}]',
    "\\" * 1000,
]
WEIRD_FIELDS = [
    ("/user/login", "email"),
    ("/user/login", "token"),
    ("/user/check", "token"),
    ("/conv/getSharedInteractions", "page_size"),
    ("/conv/getUserInteractions", "page_num"),
    ("/conv/init_conv_env", "user_id"),
    ("/conv/init_conv_env", "token"),
    ("/conv/shareInteraction", "interaction_id"),
    ("/conv/community", "user_name"),
    ("/conv/community", "interaction"),
    ("/conv/community", "raws"),
    ("/conv/community", "files"),
    ("/conv/deleteInteraction", "interaction_id"),
    ("/conv/updateInteractionDescription", "description"),
    ("/workspace/file", "interaction_id"),
    ("/workspace/file", "file_name"),
]


@pytest.mark.parametrize(("path", "field"), WEIRD_FIELDS)
def test_a_value_that_nobody_expects_is_answered(
    client: httpx.Client, alice: Author, with_files: str, path: str, field: str
) -> None:
    usual = alice.fields | {"email": alice.email, "page_size": "1", "page_num": "1", "user_name": "a", "file_name": "a"}
    usual |= {"interaction_id": with_files, "description": "d"}
    for value in WEIRD_VALUES:
        recording = new_recording()
        fields = usual | {"interaction": json.dumps(recording["interaction"]), "raws": json.dumps(recording["raws"])}
        fields = {name: fields[name] for name in FIELDS[path] if name != "files"}
        archive = zip_of({})
        if field == "files":
            archive = value.encode()
        else:
            fields[field] = value
        files = {"files": (value[:200] or "a", archive)}
        response = client.post(path, data=fields, files=files if path == "/conv/community" else None)
        assert_answered(response)
        if "\0" in value and field != "files":
            assert response.status_code == 400
            assert {tuple(error["loc"]) for error in response.json()["message"]} == {("body", field)}


@pytest.mark.parametrize("path", FIELDS)
def test_a_field_that_comes_twice_or_as_a_file_is_answered(client: httpx.Client, alice: Author, path: str) -> None:
    twice = {field: ["1", alice.fields.get(field, "2")] for field in FIELDS[path] if field != "files"}
    assert_answered(client.post(path, data=twice))
    assert_answered(client.post(path, files=[(field, (field, b"1")) for field in FIELDS[path]]))
    assert_answered(client.post(path, data=dict.fromkeys(FIELDS[path], "1")))


@settings(max_examples=80)
@given(
    path=st.sampled_from(list(FIELDS)),
    fields=st.dictionaries(st.sampled_from(ALL_FIELDS) | st.text(max_size=5), st.text(max_size=30), max_size=8),
    file=st.none() | st.binary(max_size=60),
    known=st.booleans(),
)
def test_whatever_is_sent_is_answered(
    client: httpx.Client, alice: Author, path: str, fields: dict[str, str], file: bytes | None, known: bool
) -> None:
    data = fields | (alice.fields if known else {})
    assert_answered(client.post(path, data=data, files=None if file is None else {"files": ("a.zip", file)}))
