"""The API's recordings, asked over a real socket of a server in a process of its own."""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import time
import uuid
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from share.access import NOT_FOUND
from tests.any_database import database_url, execute
from tests.server import GOLDEN, PATIENCE_SECONDS, Server, make_recording, run_here, start_server

ROOT = "/api/v1"
AUTHOR, OTHER = "author", "other"
NEEDS_TOKEN = "expected the token of a user, as Authorization: Bearer TOKEN"
CARD = ["id", "description", "goal", "user_name", "agent", "mode", "status", "live", "visibility", "rows", "duration"]
CARD += ["star", "create_time", "update_time", "url"]
LINK = ["id", "recording", "label", "created_at", "expires_at", "revoked_at", "max_views", "views", "token", "url"]


class Api:
    """A server in a process of its own, and whoever has something to ask it."""

    def __init__(self, folder: Path, server: Server, client: httpx.Client) -> None:
        self.folder = folder
        self.server = server
        self.client = client
        self.tokens: dict[str, str] = {}
        self.user_ids: dict[str, str] = {}

    def add_user(self, name: str) -> None:
        """Make a user who has a token from now on."""
        said = run_here("user", "add", f"{name}@example.org", "--name", f"The {name}", folder=self.folder)
        self.user_ids[name], self.tokens[name] = said.stdout.split()[0], said.stdout.split()[-1]

    def ask(self, method: str, path: str, user: str | None = None, **options: Any) -> httpx.Response:
        """The answer to a request below the API's root, by a user or a stranger."""
        headers = {**options.pop("headers", {})}
        if user is not None:
            headers["authorization"] = f"Bearer {self.tokens[user]}"
        return self.client.request(method, ROOT + path, headers=headers, **options)

    def get(self, path: str, user: str | None = None, **query: Any) -> httpx.Response:
        return self.ask("GET", path, user, params=query)

    def upload(self, recording: dict[str, Any], user: str = AUTHOR, **query: str) -> dict[str, Any]:
        """Put a recording in; what the server says of it."""
        headers = {"content-type": "application/json"}
        response = self.ask("POST", "/recordings", user, content=json.dumps(recording), headers=headers, params=query)
        assert response.status_code == 201, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def change(self, statement: str, *values: Any) -> None:
        """Change what is stored, as others may, or as the passing of time would."""
        execute(database_url(self.folder / "data"), statement, *values)

    def read(self, query: str, *values: Any) -> list[Any]:
        """What is stored."""
        return execute(database_url(self.folder / "data"), query, *values)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("api")
    with (
        start_server(folder) as server,
        httpx.Client(base_url=server.http_url, timeout=PATIENCE_SECONDS, trust_env=False) as client,
    ):
        api = Api(folder, server, client)
        api.add_user(AUTHOR)
        api.add_user(OTHER)
        yield api


def fresh() -> str:
    """A word that nobody has used."""
    return uuid.uuid4().hex


def recording(rows: int = 3, workspace: dict[str, bytes] | None = None, **interaction: Any) -> dict[str, Any]:
    """A recording that isn't there yet."""
    files = {name: base64.b64encode(content).decode() for name, content in (workspace or {}).items()}
    made = make_recording(fresh(), rows, "some thoughts", files)
    made["interaction"] |= interaction
    return made


def with_goal(document: dict[str, Any], goal: Any) -> dict[str, Any]:
    """The recording, with what somebody has asked for in its first row."""
    document["raws"][0] |= {"is_human": True, "human_data": {"goal": goal}}
    return document


def zip_of(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


def lines_of(document: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(part).encode() + b"\n" for part in (document["interaction"], *document["raws"]))


def records_of(api: Api, interaction_id: str) -> list[Path]:
    """What lies in the recording's folders."""
    records = api.folder / "data" / "localstorage" / "interact_records"
    return [path for folder in records.glob(f"*/{interaction_id}") for path in folder.rglob("*")]


def assert_problem(response: httpx.Response, status: int, detail: str | None = None) -> None:
    """An error as RFC 9457 has it, which names what was expected."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert list(problem) == ["type", "title", "status", "detail"]
    assert (problem["type"], problem["status"]) == ("about:blank", status)
    assert detail is None or detail in problem["detail"], problem["detail"]


def ids(response: httpx.Response) -> list[str]:
    assert response.status_code == 200, response.text
    return [card["id"] for card in response.json()["recordings"]]


# The list


def test_the_list_shows_what_is_public_and_nothing_else(api: Api) -> None:
    word = fresh()
    listed = {
        visibility: api.upload(recording(description=word), visibility=visibility)["id"]
        for visibility in ("private", "unlisted", "public")
    }
    deleted = api.upload(recording(description=word), visibility="public")["id"]
    api.change("UPDATE interactions SET is_deleted = TRUE WHERE interaction_id = ?", deleted)
    for user in (None, AUTHOR, OTHER):
        assert ids(api.get("/recordings", user, q=word)) == [listed["public"]]


def test_a_user_lists_all_that_is_his_and_nobody_elses(api: Api) -> None:
    word = fresh()
    own = [
        api.upload(recording(description=word), visibility=visibility)["id"] for visibility in ("private", "unlisted")
    ]
    others = api.upload(recording(description=word), OTHER, visibility="public")["id"]
    assert ids(api.get("/recordings", AUTHOR, q=word, mine="true")) == own[::-1]
    assert ids(api.get("/recordings", OTHER, q=word, mine="true")) == [others]
    assert ids(api.get("/recordings", AUTHOR, q=word, mine="false")) == [others]
    assert_problem(api.get("/recordings", q=word, mine="true"), 401, NEEDS_TOKEN)


@pytest.fixture(scope="module")
def shelf(api: Api) -> tuple[str, dict[str, str]]:
    """Public recordings with one word in all of their descriptions: that, and their ids by a name for each."""
    word = fresh()
    described = {
        "house": f"{word} Build a House",
        "chinese": f"{word} 分析数据，画一张图",
        "percent": f"{word} 100% done",
        "hundred": f"{word} 1000 done",
        "snake": f"{word} snake_case",
        "snakes": f"{word} snakescase",
        "path": rf"{word} C:\new/folder",
        "quoted": f"{word} it's \"quoted\" ';--",
    }
    documents = {name: recording(description=description) for name, description in described.items()}
    goals = {
        "goal": "Order forty-two balloons",
        "chinese goal": "帮我订气球",
        "quoted goal": 'say "hello" to C:\\temp',
        "chinese quoted goal": '打开“C:\\数据”，说"你好"',
    }
    documents |= {name: with_goal(recording(description=word), goal) for name, goal in goals.items()}
    documents["escaped goal"] = recording(description=word)
    shelf = {name: api.upload(document, visibility="public")["id"] for name, document in documents.items()}
    # As others write it: XAgent's own tables have the characters beyond ASCII as escapes.
    stored = json.dumps({"goal": "查找资料"})
    assert "\\u" in stored
    change = "UPDATE raw SET is_human = TRUE, human_data = ? WHERE interaction_id = ? AND step = 0"
    api.change(change, stored, shelf["escaped goal"])
    return word, shelf


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Build", {"house"}),
        ("bUILD a hOUSE", {"house"}),
        ("数据", {"chinese", "chinese quoted goal"}),
        ("，画", {"chinese"}),
        ("0%", {"percent"}),
        ("%", {"percent"}),
        ("100", {"percent", "hundred"}),
        ("e_c", {"snake"}),
        ("_", {"snake"}),
        ("\\new", {"path"}),
        ("w/f", {"path"}),
        ("';--", {"quoted"}),
        ('"quoted"', {"quoted"}),
        ("balloons", {"goal"}),
        ("FORTY-TWO", {"goal"}),
        ("气球", {"chinese goal"}),
        ("查找", {"escaped goal"}),
        ('"hello"', {"quoted goal"}),
        ("C:\\temp", {"quoted goal"}),
        ('说"你好"', {"chinese quoted goal"}),
        ("C:\\数据", {"chinese quoted goal"}),
        ("Build  a", set()),
        ("nobody wrote this", set()),
    ],
)
def test_a_search_finds_what_stands_in_a_description_or_a_goal(
    api: Api, shelf: tuple[str, dict[str, str]], text: str, found: set[str]
) -> None:
    listed = ids(api.get("/recordings", q=text, limit=100))
    assert {name for name, one in shelf[1].items() if one in listed} == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("goal", set()),
        ("{", set()),
        ('":', set()),
        ("u67e5", set()),
        ("\\", {"path", "quoted goal", "chinese quoted goal"}),
    ],
)
def test_a_search_looks_at_the_goal_and_not_at_how_it_is_written_down(
    api: Api, shelf: tuple[str, dict[str, str]], text: str, found: set[str]
) -> None:
    listed = ids(api.get("/recordings", q=text, limit=100))
    assert {name for name, one in shelf[1].items() if one in listed} == found


def test_the_newest_come_first_and_of_one_moment_those_that_were_put_in_last(api: Api) -> None:
    word = fresh()
    times = ["2024-05-01 10:00:00", "2023-05-01 10:00:00", None, "2024-05-01 10:00:00", "2024-12-01 09:00:00"]
    put_in = [api.upload(recording(description=word, create_time=time), visibility="public")["id"] for time in times]
    assert ids(api.get("/recordings", q=word)) == [put_in[number] for number in (4, 3, 0, 1, 2)]


@pytest.mark.parametrize("limit", [1, 3, 7, 100])
def test_cursors_visit_everything_once_while_others_are_put_in_and_removed(api: Api, limit: int) -> None:
    word = fresh()
    times = ["2024-05-01 10:00:00", None, "2023-05-01 10:00:00"]
    there = [
        api.upload(recording(1, description=word, create_time=times[number % 3]), visibility="public")["id"]
        for number in range(8)
    ]
    visited: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        answer = api.get("/recordings", q=word, limit=limit, **({"cursor": cursor} if cursor else {}))
        visited += ids(answer)
        assert len(ids(answer)) <= limit
        cursor = answer.json()["next_cursor"]
        api.upload(recording(1, description=word, create_time="2025-01-01 00:00:00"), visibility="public")
        if len(visited) == 3:  # where the next page begins is gone
            assert api.ask("DELETE", f"/recordings/{visited[-1]}", AUTHOR).status_code == 204
    assert sorted(visited) == sorted(there)


@pytest.mark.parametrize("name", ["limit", "offset"])
@pytest.mark.parametrize("value", ["0", "-1", "1.5", "many", "", "٣", "1e3", "9" * 40, "101"])
def test_a_number_that_cant_be_is_a_problem_that_names_it(api: Api, name: str, value: str) -> None:
    paths = ["/recordings"] if name == "limit" else []
    if (name, value) not in (("limit", "101"), ("offset", "0"), ("offset", "101")):
        made = api.upload(recording())["id"]
        paths += [f"/recordings/{made}/rows"]
    for path in paths:
        assert_problem(api.get(path, **{name: value}), 400, f"{name}: expected a whole number from")


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("cursor=x", "cursor: expected the next_cursor of an answer before"),
        ("cursor=", "cursor: expected"),
        ("cursor=MTIz%FF", "cursor: expected"),
        ("cursor=%C3%A9", "cursor: expected"),
        ("q=" + "x" * 201, "q: expected at most 200 characters, got 201"),
        ("q=a%00b", "q: expected"),
        ("q=a&q=b", "q: expected once, got 2 times"),
        ("mine=yes", "mine: expected true or false, got 'yes'"),
        ("limit=5&limit=5", "limit: expected once"),
    ],
)
def test_a_query_that_cant_be_is_a_problem_that_names_it(api: Api, query: str, detail: str) -> None:
    assert_problem(api.client.get(f"{ROOT}/recordings?{query}"), 400, detail)


# One recording


def test_a_recording_is_described(api: Api) -> None:
    document = with_goal(recording(description="数 <b>", agent="agent", mode="auto"), "Order balloons")
    for number, raw in enumerate(document["raws"]):
        raw["create_time"] = f"2023-11-17 10:0{number}:30"
    made = api.upload(document)["id"]
    card = api.get(f"/recordings/{made}").json()
    assert list(card) == CARD
    assert card == {
        "id": made,
        "description": "数 <b>",
        "goal": "Order balloons",
        "user_name": "The author",
        "agent": "agent",
        "mode": "auto",
        "status": "finished",
        "live": False,
        "visibility": "unlisted",
        "rows": 3,
        "duration": 120.0,
        "star": 0,
        "create_time": "2023-11-17 10:00:00",
        "update_time": None,
        "url": f"{api.server.http_url}/r/{made}",
    }
    assert api.client.get(card["url"]).status_code == 200


def test_a_run_that_is_going_on_is_live(api: Api) -> None:
    made = api.upload(recording(status="running"))["id"]
    assert api.get(f"/recordings/{made}").json()["live"] is True


@pytest.mark.parametrize("name", ["unknown", "rs_" + "x" * 32, "a" * 129, "数", ".hidden", "a b", "%00", "%FF", "'"])
@pytest.mark.parametrize("path", ["", "/rows", "/rows/1/data", "/files", "/files/a.txt", "/export"])
def test_there_is_nothing_under_a_name_that_nobody_has(api: Api, name: str, path: str) -> None:
    assert_problem(api.get(f"/recordings/{name}{path}"), 404)


# Putting in


@pytest.mark.parametrize("visibility", [None, "private", "unlisted", "public"])
def test_an_upload_says_where_it_is_and_gives_a_link_to_it(api: Api, visibility: str | None) -> None:
    document = recording()
    query = {} if visibility is None else {"visibility": visibility}
    response = api.ask("POST", "/recordings", AUTHOR, json=document, params=query)
    assert response.status_code == 201
    answer = response.json()
    made = document["interaction"]["interaction_id"]
    assert response.headers["location"] == f"{api.server.http_url}{ROOT}/recordings/{made}"
    assert (answer["id"], answer["visibility"]) == (made, visibility or "unlisted")
    assert list(answer) == [*CARD, "link"]
    link = answer["link"]
    if visibility == "private":
        assert link is None
        assert_problem(api.get(f"/recordings/{made}"), 404, NOT_FOUND)
    else:
        assert list(link) == LINK
        assert link["url"] == f"{api.server.http_url}/s/{link['token']}"
        assert api.client.get(link["url"]).status_code == 200
        assert api.get(f"/recordings/{made}").status_code == 200
    at_location = api.client.get(
        response.headers["location"], headers={"authorization": f"Bearer {api.tokens[AUTHOR]}"}
    )
    assert at_location.json() == {name: answer[name] for name in CARD}


def test_an_upload_belongs_to_who_has_put_it_in_whatever_it_says_itself(api: Api) -> None:
    made = api.upload(recording(user_id=api.user_ids[OTHER]))["id"]
    assert api.ask("DELETE", f"/recordings/{made}", OTHER).status_code == 403
    assert api.ask("DELETE", f"/recordings/{made}", AUTHOR).status_code == 204


def test_viewers_see_the_name_of_the_user_and_not_his_id(api: Api) -> None:
    for visibility in ("unlisted", "private"):
        made = api.upload(recording(), visibility=visibility)["id"]
        api.ask("PATCH", f"/recordings/{made}", AUTHOR, json={"visibility": "public"})
        for path in ("", "/export"):
            assert api.user_ids[AUTHOR] not in api.get(f"/recordings/{made}{path}").text
        assert api.get(f"/recordings/{made}").json()["user_name"] == "The author"


@pytest.mark.parametrize(
    "kind", ["application/jsonl", "application/x-ndjson", "application/x-jsonlines; charset=utf-8"]
)
@pytest.mark.parametrize("chunk_bytes", [1, 100, 10**9])
def test_json_lines_come_as_a_stream(api: Api, kind: str, chunk_bytes: int) -> None:
    document = recording(5)
    text = lines_of(document) + b"\n"

    def chunks() -> Iterator[bytes]:
        for start in range(0, len(text), chunk_bytes):
            yield text[start : start + chunk_bytes]

    response = api.ask("POST", "/recordings", AUTHOR, content=chunks(), headers={"content-type": kind})
    assert response.request.headers["transfer-encoding"] == "chunked"
    assert (response.status_code, response.json()["rows"]) == (201, 5)


def test_the_last_line_may_have_no_line_break_and_a_line_that_is_wrong_is_named(api: Api) -> None:
    document, headers = recording(2), {"content-type": "application/jsonl"}
    text = lines_of(document).rstrip(b"\n")
    for wrong in (text[:-1], text + b"\n{}", text + b"\n[]"):
        assert_problem(api.ask("POST", "/recordings", AUTHOR, content=wrong, headers=headers), 400, "$.raws[")
    assert api.ask("POST", "/recordings", AUTHOR, content=text, headers=headers).status_code == 201


@pytest.mark.parametrize("kind", ["json", "jsonl", "multipart"])
def test_what_was_put_in_in_any_way_comes_out_the_same(api: Api, kind: str) -> None:
    files = {"a.txt": b"one\n", "folder/b.bin": bytes(range(256)), "图 表.csv": b"1,2\n", "empty": b""}
    document = recording(70, files if kind == "json" else None)
    document["raws"][1]["data"] = {"big": 2**70, "lone": "\ud800", "数": [1.50, {}, [], None], "deep": [[[[[]]]]]}
    if kind == "multipart":
        del document["workspace"]
    text = json.dumps(document).replace('"some thoughts"', '"数据 \\u6570 \\\\ \\n"', 5)
    match kind:
        case "json":
            headers = {"content-type": "application/json"}
            response = api.ask("POST", "/recordings", AUTHOR, content=text, headers=headers)
        case "jsonl":
            headers, files = {"content-type": "application/jsonl"}, {}
            response = api.ask("POST", "/recordings", AUTHOR, content=lines_of(json.loads(text)), headers=headers)
        case _:
            form = {"recording": ("r.json", text.encode()), "files": ("w.zip", zip_of(files))}
            response = api.ask("POST", "/recordings", AUTHOR, files=form)
    assert response.status_code == 201, response.text
    made = response.json()["id"]
    rows = api.get(f"/recordings/{made}/rows", limit=500).json()
    assert rows["total"] == 70
    assert [row["data"] for row in rows["rows"]] == [raw["data"] for raw in json.loads(text)["raws"]]
    assert [row["node_id"] for row in rows["rows"]] == [raw["node_id"] for raw in document["raws"]]
    listed = api.get(f"/recordings/{made}/files").json()["files"]
    assert {file["name"]: api.client.get(file["url"]).content for file in listed} == files


def test_a_form_may_come_without_files(api: Api) -> None:
    form = {"recording": ("r.json", json.dumps(recording()).encode())}
    assert api.ask("POST", "/recordings", AUTHOR, files=form).status_code == 201


@pytest.mark.parametrize("what", ["the same", "other content", "another id with the same node_ids"])
def test_what_is_there_already_is_refused_and_stays_as_it_is(api: Api, what: str) -> None:
    document = recording(2, {"a.txt": b"first"})
    made = api.upload(document)["id"]
    before = api.get(f"/recordings/{made}/export", AUTHOR).content
    again = json.loads(json.dumps(document))
    if what != "the same":
        again["workspace"] = {"b.txt": "eA=="}
        again["interaction"]["description"] = "another"
    if what.startswith("another"):
        again["interaction"]["interaction_id"] = fresh()
        for raw in again["raws"]:
            raw["interaction_id"] = again["interaction"]["interaction_id"]
    for user in (AUTHOR, OTHER):
        assert_problem(api.ask("POST", "/recordings", user, json=again), 409, "is there already")
    del again["workspace"]
    form = {"recording": ("r.json", json.dumps(again)), "files": ("w.zip", zip_of({"c.txt": b"x"}))}
    assert_problem(api.ask("POST", "/recordings", AUTHOR, files=form), 409)
    assert api.get(f"/recordings/{made}/export", AUTHOR).content == before
    if what.startswith("another"):
        assert records_of(api, again["interaction"]["interaction_id"]) == []


@pytest.mark.parametrize(
    ("kind", "content", "status", "detail"),
    [
        ("text/plain", b"{}", 415, "expected application/json, "),
        ("", b"{}", 415, "expected application/json, "),
        ("application/json", b"", 400, "expected a recording, got nothing"),
        ("application/json", b"[]", 400, "expected JSON"),
        ("application/json", b"{}", 400, "$: expected the keys interaction and raws"),
        ("application/json", b'{"interaction": {}, "raws": []}', 400, "$.interaction"),
        ("application/json", b'{"interaction": ', 400, "expected JSON"),
        ("application/json", b"\xff\xfe", 400, "expected JSON"),
        ("application/jsonl", b"", 400, "$.interaction"),
        ("application/jsonl", b"\n\n", 400, "$.interaction"),
        ("multipart/form-data", b"", 400, "expected a form"),
        ("multipart/form-data; boundary=b", b"no form", 400, "expected a form"),
    ],
)
def test_a_body_that_holds_no_recording_is_a_problem(
    api: Api, kind: str, content: bytes, status: int, detail: str
) -> None:
    headers = {"content-type": kind} if kind else {}
    assert_problem(api.ask("POST", "/recordings", AUTHOR, content=content, headers=headers), status, detail)


@pytest.mark.parametrize("field", ["recording", "files"])
def test_a_form_needs_files_and_no_fields_in_their_place(api: Api, field: str) -> None:
    document = json.dumps(recording())
    form: dict[str, Any] = {"recording": ("r.json", document), "files": ("w.zip", zip_of({}))}
    form[field] = (None, "text")
    assert_problem(api.ask("POST", "/recordings", AUTHOR, files=form), 400, "expected a form with the file `recording`")


def test_no_recording_is_put_in_under_what_looks_like_a_links_token(api: Api) -> None:
    document = json.dumps(recording())
    name = ("rs_" + fresh() + fresh())[:35]
    document = document.replace(json.loads(document)["interaction"]["interaction_id"], name)
    headers = {"content-type": "application/json"}
    response = api.ask("POST", "/recordings", AUTHOR, content=document, headers=headers)
    # Nobody could come to it by its id.
    if response.status_code != 400:
        assert api.get(f"/recordings/{name}", AUTHOR).status_code == 200


def test_a_visibility_that_there_isnt_is_refused_before_the_body_is_read(api: Api) -> None:
    response = api.ask("POST", "/recordings", AUTHOR, json=recording(), params={"visibility": "secret"})
    assert_problem(response, 400, "visibility: expected private, unlisted, public, got 'secret'")


def test_a_body_that_is_too_large_is_refused_however_it_comes(tmp_path: Path) -> None:
    with (
        start_server(tmp_path, SHARE_MAX_UPLOAD_BYTES="20000") as server,
        httpx.Client(base_url=server.http_url, timeout=PATIENCE_SECONDS, trust_env=False) as client,
    ):
        api = Api(tmp_path, server, client)
        api.add_user(AUTHOR)
        headers = {"content-type": "application/json"}
        for size, status in ((20_001, 413), (20_000, 201)):
            document = json.dumps(recording()).encode()
            document += b" " * (size - len(document))
            for content in (document, iter([document[:5], document[5:]])):
                response = api.ask("POST", "/recordings", AUTHOR, content=content, headers=headers)
                assert response.status_code in (status, 409)
                if status == 413:
                    assert_problem(response, 413, "expected a body of at most 20000 bytes")


# Changing and removing


def test_a_description_and_who_may_watch_can_be_changed(api: Api) -> None:
    made = api.upload(recording(description="before"))["id"]
    path = f"/recordings/{made}"
    answer = api.ask("PATCH", path, AUTHOR, json={"description": "数 after"})
    assert answer.status_code == 200
    assert (answer.json()["description"], answer.json()["visibility"]) == ("数 after", "unlisted")
    assert answer.json() == api.get(path).json()
    answer = api.ask("PATCH", path, AUTHOR, json={"visibility": "public", "description": ""})
    assert (answer.json()["description"], answer.json()["visibility"]) == ("", "public")
    answer = api.ask("PATCH", path, AUTHOR, json={"visibility": "private"})
    assert answer.json()["visibility"] == "private"
    assert_problem(api.get(path), 404, NOT_FOUND)
    assert_problem(api.get(path, OTHER), 404, NOT_FOUND)
    assert api.get(path, AUTHOR).json() == answer.json()
    assert api.ask("PATCH", path, AUTHOR, json={}).json() == answer.json()


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        (b'{"visibility": "secret"}', 400, "visibility: expected private, unlisted, public, got 'secret'"),
        (b'{"visibility": null}', 400, "visibility: expected"),
        (b'{"visibility": ["public"]}', 400, "visibility: expected"),
        (b'{"description": null}', 400, "description: expected a string"),
        (b'{"description": 5}', 400, "description: expected a string"),
        (b'{"description": "a\\u0000b"}', 400, "description: expected a string"),
        (b'{"description": "\\ud800"}', 400, "expected a JSON object, got: "),
        (b'{"description": "%s"}' % (b"x" * 10_001), 400, "description: expected a string of at most 10000"),
        (b'{"user_id": "other"}', 400, "'user_id': expected only description, visibility"),
        (b'{"description": "x", "star": 5}', 400, "'star': expected only"),
        (b"[]", 400, "expected a JSON object"),
        (b'"x"', 400, "expected a JSON object"),
        (b"{", 400, "expected a JSON object, got: "),
        (b"\xff", 400, "expected a JSON object, got: "),
        (b"[" * 60_000, 400, "expected a JSON object, got: "),
        (b'{"description": "%s"}' % (b"x" * 70_000), 413, "expected a body of at most 65536 bytes"),
    ],
)
def test_a_change_that_cant_be_is_a_problem_and_changes_nothing(
    api: Api, body: bytes, status: int, detail: str
) -> None:
    made = api.upload(recording())["id"]
    before = api.get(f"/recordings/{made}").json()
    headers = {"content-type": "application/json"}
    response = api.ask("PATCH", f"/recordings/{made}", AUTHOR, content=body, headers=headers)
    assert_problem(response, status, detail)
    assert api.get(f"/recordings/{made}").json() == before


def test_a_change_is_json(api: Api) -> None:
    made = api.upload(recording())["id"]
    response = api.ask("PATCH", f"/recordings/{made}", AUTHOR, data={"description": "x"})
    assert_problem(response, 415, "expected application/json, got 'application/x-www-form-urlencoded'")


def test_what_is_removed_is_gone_with_its_files_and_its_place_is_free(api: Api) -> None:
    document = recording(2, {"a.txt": b"x"})
    made = api.upload(document)["id"]
    assert records_of(api, made)
    response = api.ask("DELETE", f"/recordings/{made}", AUTHOR)
    assert (response.status_code, response.content) == (204, b"")
    for user in (None, AUTHOR):
        assert_problem(api.get(f"/recordings/{made}", user), 404, NOT_FOUND)
    assert records_of(api, made) == []
    assert api.read("SELECT * FROM raw WHERE interaction_id = ?", made) == []
    assert_problem(api.ask("DELETE", f"/recordings/{made}", AUTHOR), 404, NOT_FOUND)
    assert api.upload(document)["id"] == made


# Rows


def test_rows_come_in_pages_that_meet(api: Api) -> None:
    made = api.upload(recording(150))["id"]
    pages = []
    following: int | None = 0
    while following is not None:
        page = api.get(f"/recordings/{made}/rows", offset=following, limit=70).json()
        assert list(page) == ["rows", "total", "epoch", "next_offset"]
        assert page["total"] == 150
        pages.append([row["offset"] for row in page["rows"]])
        following = page["next_offset"]
    assert pages == [list(range(1, 71)), list(range(71, 141)), list(range(141, 151))]
    for offset in (150, 151, 2**53):
        page = api.get(f"/recordings/{made}/rows", offset=offset).json()
        assert (page["rows"], page["total"], page["next_offset"]) == ([], 150, None)
    assert len(api.get(f"/recordings/{made}/rows").json()["rows"]) == 100


def test_rows_that_are_known_arent_sent_again(api: Api) -> None:
    made = api.upload(recording(5))["id"]
    path = f"/recordings/{made}/rows"
    first = api.get(path)
    etag = first.headers["etag"]
    assert first.headers["cache-control"] == "private, no-cache"
    for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        again = api.ask("GET", path, headers={"if-none-match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    for known in ('"other"', etag.strip('"'), '"*"'):
        again = api.ask("GET", path, headers={"if-none-match": known})
        assert (again.status_code, again.content) == (200, first.content)
    assert api.get(path, limit=2).headers["etag"] != etag
    api.change("UPDATE raw SET is_deleted = TRUE WHERE interaction_id = ? AND step = 2", made)
    changed = api.ask("GET", path, headers={"if-none-match": etag})
    assert (changed.status_code, changed.json()["total"]) == (200, 4)


def test_an_outline_that_is_known_isnt_sent_again(api: Api) -> None:
    made = api.upload(recording(5))["id"]
    path = f"/recordings/{made}/outline"
    first = api.get(path)
    assert first.headers["cache-control"] == "private, no-cache"
    known = {"if-none-match": first.headers["etag"]}
    assert api.ask("GET", path, headers=known).status_code == 304
    api.change("UPDATE raw SET is_deleted = TRUE WHERE interaction_id = ? AND step = 2", made)
    changed = api.ask("GET", path, headers=known)
    assert (changed.status_code, changed.json()["total"], len(changed.json()["steps"])) == (200, 4, 4)


def test_what_is_too_large_for_a_row_comes_from_its_address(api: Api) -> None:
    document = recording(3)
    document["raws"][1]["data"] = {"text": "数据" * 400_000, "big": 2**70}
    made = api.upload(document)["id"]
    row = api.get(f"/recordings/{made}/rows").json()["rows"][1]
    assert row["data"] is None
    response = api.client.get(f"/{row['data_url']}")
    assert response.headers["content-type"] == "application/json"
    assert response.json() == document["raws"][1]["data"]
    for offset in ("0", "4", "x", "-1", "٣", "9" * 30):
        assert_problem(api.get(f"/recordings/{made}/rows/{offset}/data"), 404, "There is no data of such a row.")


# Files

CONTENTS = {
    "plot.png": b"\x89PNG",
    "photo.jpg": b"\xff\xd8",
    "anim.gif": b"GIF8",
    "pic.webp": b"RIFF",
    "notes.txt": b"0123456789",
    "table.csv": b"1,2\n",
    "data.json": b"{}",
    "page.html": b"<script>alert(1)</script>",
    "page.HTM": b"<script>alert(1)</script>",
    "page.xhtml": b"<script/>",
    "image.svg": b"<svg onload='alert(1)'/>",
    "x.xml": b"<x/>",
    "x.js": b"alert(1)",
    "x.css": b"*{}",
    "x.pdf": b"%PDF",
    "run.py": b"print()",
    "none": b"",
    "table.csv.gz": b"\x1f\x8b",
    "model.tar.gz": b"\x1f\x8b",
    "drawing.svgz": b"\x1f\x8b",
    "a b/数 据?#%&'\".csv": b"1,2\n",
    "data:image/png,x.html": b"<script>alert(1)</script>",
}
INLINE = ["plot.png", "photo.jpg", "anim.gif", "pic.webp", "notes.txt", "table.csv", "data.json"]
INLINE += ["a b/数 据?#%&'\".csv"]


@pytest.fixture(scope="module")
def files(api: Api) -> dict[str, dict[str, Any]]:
    """The files of a recording as they are listed, by their names."""
    made = api.upload(recording(1, CONTENTS))["id"]
    listed = api.get(f"/recordings/{made}/files").json()["files"]
    return {file["name"]: file for file in listed}


def test_files_are_listed_with_what_there_is_to_know_of_them(api: Api, files: dict[str, dict[str, Any]]) -> None:
    assert list(files) == sorted(CONTENTS)
    assert all(list(file) == ["name", "size", "media_type", "url"] for file in files.values())
    assert {name: file["size"] for name, file in files.items()} == {name: len(text) for name, text in CONTENTS.items()}
    assert all(file["url"].startswith(f"{api.server.http_url}{ROOT}/recordings/") for file in files.values())


@pytest.mark.parametrize("name", CONTENTS)
def test_a_file_comes_whole_and_can_do_no_harm(api: Api, files: dict[str, dict[str, Any]], name: str) -> None:
    response = api.client.get(files[name]["url"])
    assert (response.status_code, response.content) == (200, CONTENTS[name])
    assert response.headers["x-content-type-options"] == "nosniff"
    policy = [part.strip() for part in response.headers["content-security-policy"].split(";")]
    assert "sandbox" in policy and "default-src 'none'" in policy
    assert not any("script" in part or "allow" in part for part in policy)
    disposition = response.headers["content-disposition"].partition(";")[0]
    assert disposition == ("inline" if name in INLINE else "attachment")
    assert "content-encoding" not in response.headers


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("plot.png", "image/png"),
        ("photo.jpg", "image/jpeg"),
        ("pic.webp", "image/webp"),
        ("notes.txt", "text/plain"),
        ("table.csv", "text/csv"),
        ("data.json", "application/json"),
        ("page.html", "text/html"),
        ("image.svg", "image/svg+xml"),
        ("x.pdf", "application/pdf"),
        ("none", "application/octet-stream"),
        ("table.csv.gz", "application/gzip"),
        ("data:image/png,x.html", "text/html"),
    ],
)
def test_a_file_has_its_media_type_in_the_list_and_when_it_comes(
    api: Api, files: dict[str, dict[str, Any]], name: str, media_type: str
) -> None:
    assert files[name]["media_type"] == media_type
    assert api.client.get(files[name]["url"]).headers["content-type"].partition(";")[0] == media_type


@pytest.mark.parametrize(
    ("asked", "status", "content", "content_range"),
    [
        ("bytes=0-3", 206, b"0123", "bytes 0-3/10"),
        ("bytes=4-", 206, b"456789", "bytes 4-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=9-9", 206, b"9", "bytes 9-9/10"),
        ("bytes=8-100", 206, b"89", "bytes 8-9/10"),
        ("bytes=10-", 416, None, "*/10"),
        ("bytes=0-0,-1", 206, None, None),
    ],
)
def test_a_part_of_a_file_can_be_asked_for(
    api: Api,
    files: dict[str, dict[str, Any]],
    asked: str,
    status: int,
    content: bytes | None,
    content_range: str | None,
) -> None:
    response = api.client.get(files["notes.txt"]["url"], headers={"range": asked})
    assert response.status_code == status
    if content is not None:
        assert response.content == content
    if content_range is not None:
        assert content_range in response.headers["content-range"]
    if status == 206:
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in response.headers["content-security-policy"]


@pytest.mark.parametrize(
    "asked", ["bytes=", "bytes=x", "bytes=5-2", "bytes=--1", "items=0-1", "", "bytes=0-1,x", "0-1"]
)
def test_a_part_that_cant_be_is_passed_over_or_a_problem(
    api: Api, files: dict[str, dict[str, Any]], asked: str
) -> None:
    response = api.client.get(files["notes.txt"]["url"], headers={"range": asked})
    if response.status_code == 400:
        assert_problem(response, 400)
    else:
        assert (response.status_code, response.content) == (200, CONTENTS["notes.txt"])


def test_the_head_of_an_answer_says_what_the_answer_would(api: Api, files: dict[str, dict[str, Any]]) -> None:
    made = api.upload(recording())["id"]
    for path in (files["notes.txt"]["url"], *(f"{ROOT}/recordings/{made}{path}" for path in ("", "/rows", "/export"))):
        whole, head = api.client.get(path), api.client.head(path)
        assert (head.status_code, head.content) == (200, b"")
        for name in ("content-type", "content-length", "etag", "content-disposition"):
            assert head.headers.get(name) == whole.headers.get(name)
    assert api.client.head(f"{ROOT}/recordings/unknown").status_code == 404


@pytest.mark.parametrize("name", ["line\nbreak.txt", "tab\t.txt", "del\x7f.txt", "\u202egpj.txt", " ", "-", "~"])
def test_every_file_that_is_taken_can_be_fetched(api: Api, name: str) -> None:
    document = recording(1, {name: b"content"})
    response = api.ask("POST", "/recordings", AUTHOR, json=document)
    if response.status_code == 400:
        assert_problem(response, 400, "$.workspace")
        return
    (file,) = api.get(f"/recordings/{response.json()['id']}/files").json()["files"]
    fetched = api.client.get(file["url"])
    assert (file["name"], fetched.status_code, fetched.content) == (name, 200, b"content")


@pytest.mark.parametrize(
    "name",
    ["missing", "", "folder", "../share.log", "%2e%2e/share.log", "..%2f..%2fshare.log", "%2Fetc%2Fpasswd", "a%00b"],
)
def test_there_is_no_file_outside_of_the_workspace(api: Api, name: str) -> None:
    made = api.upload(recording(1, {"folder/a.txt": b"x"}))["id"]
    run = f"{ROOT}/recordings/{made}"
    log = next(path for path in records_of(api, made) if path.name == "workspace").with_name("share.log")
    log.write_text("secret")
    # Sent as it is: httpx would take the dots out.
    with closing(http.client.HTTPConnection("127.0.0.1", api.server.port, timeout=PATIENCE_SECONDS)) as connection:
        connection.request("GET", f"{run}/files/{name}")
        response = connection.getresponse()
        content = json.load(response)
    assert (response.status, content["detail"]) == (404, "There is no such file.")


def test_a_file_whose_name_is_no_text_spoils_neither_the_list_nor_the_export(api: Api) -> None:
    made = api.upload(recording(1, {"good.txt": b"x"}))["id"]
    workspace = next(path for path in records_of(api, made) if path.name == "workspace")
    (workspace / os.fsdecode(b"bad\xff.txt")).write_bytes(b"y")
    response = api.get(f"/recordings/{made}/files")
    assert response.status_code == 200
    assert "good.txt" in [file["name"] for file in response.json()["files"]]
    assert "good.txt" in api.get(f"/recordings/{made}/export").json()["workspace"]


# Export


def exported(api: Api, made: str, user: str | None = None) -> bytes:
    response = api.get(f"/recordings/{made}/export", user)
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    assert response.headers["content-disposition"] == f'attachment; filename="{made}.json"'
    assert response.headers["x-content-type-options"] == "nosniff"
    return response.content


def strange() -> dict[str, Any]:
    """A recording with all that is hard to keep."""
    document = with_goal(
        recording(70, {"a b/图.bin": bytes(range(256)), "empty": b"", "b": b"\n"}), '数 \\ " \n \ud800'
    )
    document["interaction"] |= {"file_list": ["a", {"b": 2**80}], "message": "数\n\t", "recorder_root_dir": "/home/me"}
    values = [None, 0, -0.0, 2**70, "", "\ud800", "\U0001f600", [], {}, [[]], True, {"": {" ": [1, None]}}]
    for number, value in enumerate(values):
        document["raws"][number + 1] |= {"data": value, "step": 5, "human_data": value, "wait_seconds": number}
    document["raws"][20] |= {"step": None, "status": None, "current": None, "create_time": "yesterday"}
    document["raws"][21] |= {"is_send": True, "include_pictures": True, "file_list": ["数.csv"], "do_interrupt": None}
    document["raws"][22] |= {"is_deleted": True, "data": "taken back"}
    return document


def spelled(document: dict[str, Any]) -> bytes:
    """The same as JSON text, with numbers in it that no other program would write in this way."""
    text = json.dumps(document)
    return text.replace('"some thoughts"', "[1.10, 1E5, 1e400, 0.1000000000000000055511151231257827]", 3).encode()


@pytest.mark.parametrize("kind", ["strange", "short", "edge", "running"])
def test_an_export_that_is_put_in_again_exports_the_same_bytes(api: Api, kind: str) -> None:
    content = spelled(strange()) if kind == "strange" else (GOLDEN / f"{kind}.recording.json").read_bytes()
    made = json.loads(content)["interaction"]["interaction_id"]
    headers = {"content-type": "application/json"}
    for visibility in ("private", "unlisted"):
        response = api.ask(
            "POST", "/recordings", AUTHOR, content=content, headers=headers, params={"visibility": visibility}
        )
        assert response.status_code == 201, response.text
        before = exported(api, made, AUTHOR)
        assert api.ask("DELETE", f"/recordings/{made}", AUTHOR).status_code == 204
        content = before
    assert api.ask("POST", "/recordings", AUTHOR, content=before, headers=headers).status_code == 201
    assert exported(api, made, AUTHOR) == before
    assert api.ask("DELETE", f"/recordings/{made}", AUTHOR).status_code == 204
    assert b"taken back" not in before


def test_an_export_that_is_imported_by_the_command_exports_the_same_bytes(api: Api) -> None:
    content = spelled(strange())
    made = json.loads(content)["interaction"]["interaction_id"]
    headers = {"content-type": "application/json"}
    assert api.ask("POST", "/recordings", AUTHOR, content=content, headers=headers).status_code == 201
    for user in (AUTHOR, OTHER, None):
        before = exported(api, made, user)
        file = api.folder / f"{fresh()}.json"
        file.write_bytes(before)
        assert api.ask("DELETE", f"/recordings/{made}", AUTHOR).status_code == 204
        done = run_here("import", file, folder=api.folder)
        assert done.returncode == 0, done.stderr
        assert exported(api, made, user) == before
        # What a stranger imports isn't the author's any more, and who would remove it for the next round?
        run_here("delete", made, folder=api.folder)
        assert api.ask("POST", "/recordings", AUTHOR, content=content, headers=headers).status_code == 201
    assert api.ask("DELETE", f"/recordings/{made}", AUTHOR).status_code == 204


def test_rows_and_files_are_the_same_after_an_export_and_an_import(api: Api) -> None:
    document = strange()
    made = api.upload(document)["id"]
    shown = ["/rows?limit=500", "/files", "/files/b", "/rows/15/data"]
    before = [api.client.get(f"{ROOT}/recordings/{made}{path}").text for path in shown]
    columns = "node_id, current, step, data, file_list, status, create_time, is_human, human_data, include_pictures"
    query = f"SELECT {columns} FROM raw WHERE interaction_id = ? AND NOT is_deleted ORDER BY step, id"
    stored = api.read(query, made)
    file = api.folder / f"{fresh()}.json"
    file.write_bytes(exported(api, made, AUTHOR))
    assert api.ask("DELETE", f"/recordings/{made}", AUTHOR).status_code == 204
    assert run_here("import", file, folder=api.folder).returncode == 0
    assert api.read(query, made) == stored
    after = [api.client.get(f"{ROOT}/recordings/{made}{path}").text for path in shown]
    assert [json.loads(text)["rows"] for text in (before[0], after[0])] == [json.loads(before[0])["rows"]] * 2
    assert before[1:] == after[1:]


def test_a_strangers_export_says_neither_whose_it_is_nor_where_it_was_recorded(api: Api) -> None:
    made = api.upload(recording(recorder_root_dir="/home/me/runs"))["id"]
    own = json.loads(exported(api, made, AUTHOR))["interaction"]
    assert (own["user_id"], own["recorder_root_dir"]) == (api.user_ids[AUTHOR], "/home/me/runs")
    for user in (None, OTHER):
        content = exported(api, made, user)
        assert b"/home/me" not in content and api.user_ids[AUTHOR].encode() not in content
        shown = json.loads(content)["interaction"]
        assert (shown["user_id"], shown["recorder_root_dir"]) == ("The author", "")
        assert shown["interaction_id"] == made
        hidden = {"user_id", "recorder_root_dir"}
        assert all(shown[name] == own[name] for name in own.keys() - hidden)


# Who may do what

READS = ["", "/rows", "/rows/1/data", "/outline", "/files", "/files/a.txt", "/export"]


def reads(api: Api, made: str, **options: Any) -> list[int]:
    """The statuses of all that can be read of a recording."""
    return [api.ask("GET", f"/recordings/{made}{path}", **options).status_code for path in READS]


def writes(api: Api, made: str, **options: Any) -> list[httpx.Response]:
    """The answers to all that can be changed of a recording."""
    path = f"/recordings/{made}"
    return [
        api.ask("PATCH", path, json={"description": "changed", "visibility": "public"}, **options),
        api.ask("POST", f"{path}/links", json={}, **options),
        api.ask("DELETE", path, **options),
    ]


def others(api: Api, **options: Any) -> list[httpx.Response]:
    """The answers to what needs a user and is about no recording that there is."""
    return [
        api.ask("POST", "/recordings", json=recording(), **options),
        api.ask("GET", "/recordings", params={"mine": "true"}, **options),
        api.ask("GET", "/links", **options),
        api.ask("DELETE", "/links", **options),
        api.ask("DELETE", "/links/1", **options),
    ]


@pytest.fixture
def two(api: Api) -> dict[str, str]:
    """A private and an unlisted recording of the author's."""
    return {
        visibility: api.upload(recording(2, {"a.txt": b"x"}), visibility=visibility)["id"]
        for visibility in ("private", "unlisted")
    }


WRONG = ["Bearer", "Bearer wrong", "Bearer null", "Bearer %00", "bearer \xe9", "Bearer a b", "Bearer ' OR 1"]


@pytest.mark.parametrize("header", WRONG)
def test_a_wrong_token_opens_nothing_and_is_never_passed_over(api: Api, two: dict[str, str], header: str) -> None:
    options = {"headers": {"authorization": header.encode("latin-1")}}
    for made in two.values():
        assert reads(api, made, **options) == [401] * len(READS)
        for response in (*writes(api, made, **options), *others(api, **options)):
            assert_problem(response, 401, NEEDS_TOKEN)
            assert response.headers["www-authenticate"] == "Bearer"
        assert api.get(f"/recordings/{made}", AUTHOR).json()["description"] != "changed"


@pytest.mark.parametrize("header", [None, "Basic dXNlcjpwYXNz", "Token x", ""])
def test_a_stranger_reads_what_is_shared_and_changes_nothing(api: Api, two: dict[str, str], header: str | None) -> None:
    options: dict[str, Any] = {} if header is None else {"headers": {"authorization": header}}
    assert reads(api, two["unlisted"], **options) == [200] * len(READS)
    assert reads(api, two["private"], **options) == [404] * len(READS)
    for made in two.values():
        for response in (*writes(api, made, **options), *others(api, **options)):
            assert_problem(response, 401, NEEDS_TOKEN)
            assert response.headers["www-authenticate"] == "Bearer"
        assert api.get(f"/recordings/{made}", AUTHOR).json()["description"] != "changed"


def test_another_user_reads_what_is_shared_and_changes_nothing(api: Api, two: dict[str, str]) -> None:
    assert reads(api, two["unlisted"], user=OTHER) == [200] * len(READS)
    assert reads(api, two["private"], user=OTHER) == [404] * len(READS)
    for response in writes(api, two["unlisted"], user=OTHER):
        assert_problem(response, 403, "This recording is not")
    for response in writes(api, two["private"], user=OTHER):
        assert_problem(response, 404, NOT_FOUND)
    unknown = writes(api, "unknown", user=OTHER)
    assert [response.content for response in unknown] == [r.content for r in writes(api, two["private"], user=OTHER)]
    for made in two.values():
        assert api.get(f"/recordings/{made}", AUTHOR).json()["description"] != "changed"


def test_the_author_may_do_all_of_it(api: Api, two: dict[str, str]) -> None:
    for made in two.values():
        assert reads(api, made, user=AUTHOR) == [200] * len(READS)
        assert [response.status_code for response in writes(api, made, user=AUTHOR)] == [200, 201, 204]


def test_the_scheme_may_be_written_in_any_case(api: Api, two: dict[str, str]) -> None:
    for scheme in ("bearer", "BEARER"):
        options = {"headers": {"authorization": f"{scheme} {api.tokens[AUTHOR]}"}}
        assert reads(api, two["private"], **options) == [200] * len(READS)


def test_a_users_token_is_never_in_an_answer_or_the_log(api: Api, two: dict[str, str]) -> None:
    token = api.tokens[AUTHOR]
    answers = [api.get(path, AUTHOR).text for path in ("/recordings?mine=true", "/links")]
    answers += [api.get(f"/recordings/{two['private']}{path}", AUTHOR).text for path in READS]
    assert not any(token in answer for answer in answers)
    query = {"user_id": api.user_ids[AUTHOR], "token": token}
    assert api.get(f"/recordings/{two['private']}/rows", **query).status_code == 200
    assert token not in api.server.log


# What goes wrong


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/unknown"), ("GET", "/recordings/a/b/c"), ("POST", "/links/1/x"), ("GET", "/")]
)
def test_a_path_that_there_isnt_is_a_problem(api: Api, method: str, path: str) -> None:
    assert_problem(api.ask(method, path, AUTHOR), 404)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/recordings", {"GET", "HEAD", "POST"}),
        ("POST", "/recordings/run", {"GET", "HEAD", "PATCH", "DELETE"}),
        ("POST", "/links", {"GET", "HEAD", "DELETE"}),
        ("GET", "/links/1", {"DELETE"}),
        ("DELETE", "/recordings/run/rows", {"GET", "HEAD"}),
    ],
)
def test_a_method_that_there_isnt_is_a_problem_that_says_which_there_are(
    api: Api, method: str, path: str, allowed: set[str]
) -> None:
    response = api.ask(method, path, AUTHOR)
    assert {name.strip() for name in response.headers["allow"].split(",")} == allowed
    assert_problem(response, 405)


def test_a_body_that_ends_too_early_leaves_nothing_behind(api: Api) -> None:
    document = recording(3, {"a.txt": b"x"})
    made = document["interaction"]["interaction_id"]
    text = json.dumps(document).encode()

    def half() -> Iterator[bytes]:
        yield text[: len(text) // 2]
        raise ConnectionAbortedError

    with pytest.raises(ConnectionAbortedError):
        api.ask("POST", "/recordings", AUTHOR, content=half(), headers={"content-type": "application/json"})
    assert_problem(api.get(f"/recordings/{made}", AUTHOR), 404)
    assert api.upload(document)["rows"] == 3


@pytest.fixture
def spoilt(api: Api) -> tuple[str, list[str]]:
    """Public recordings with what others may have stored in them: the word in their descriptions, and their ids."""
    word = fresh()
    made = [api.upload(with_goal(recording(2, description=word), "x"), visibility="public")["id"] for _ in range(3)]
    for column in ("description", "agent", "create_time", "status", "mode"):
        change = f"UPDATE interactions SET {column} = CAST(? AS TEXT) WHERE interaction_id = ?"
        api.change(change, b"\xff" + word.encode(), made[1])
    empty = "UPDATE interactions SET agent = NULL, status = NULL, create_time = NULL WHERE interaction_id = ?"
    api.change(empty, made[0])
    api.change("UPDATE raw SET human_data = '{', create_time = 'x' WHERE interaction_id = ?", made[2])
    api.change("UPDATE raw SET data = CAST(? AS TEXT) WHERE interaction_id = ?", b'{"a": "\xff"}', made[1])
    return word, made


@pytest.mark.sqlite
def test_what_others_have_stored_never_breaks_the_list(api: Api, spoilt: tuple[str, list[str]]) -> None:
    word, made = spoilt
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        answer = api.get("/recordings", q=word, limit=1, **({"cursor": cursor} if cursor else {}))
        seen += ids(answer)
        cursor = answer.json()["next_cursor"]
    assert sorted(seen) == sorted(made)


@pytest.mark.sqlite
def test_what_others_have_stored_never_breaks_a_recording(api: Api, spoilt: tuple[str, list[str]]) -> None:
    for made in spoilt[1]:
        statuses = [api.get(f"/recordings/{made}{path}").status_code for path in ("", "/rows", "/files", "/export")]
        assert statuses == [200] * 4


@pytest.mark.sqlite
def test_what_others_have_stored_never_breaks_a_page(api: Api, spoilt: tuple[str, list[str]]) -> None:
    for made in spoilt[1]:
        assert api.client.get(f"/r/{made}").status_code == 200


@pytest.mark.sqlite
def test_the_server_says_that_it_is_alive_and_whether_its_database_answers(tmp_path: Path) -> None:
    with start_server(tmp_path) as server:
        database = tmp_path / "data" / "replay.db"
        for path in ("/healthz", "/readyz"):
            response = httpx.get(server.http_url + path, trust_env=False, timeout=PATIENCE_SECONDS)
            assert (response.status_code, response.json()) == (200, {"status": "ok"})
        for file in database.parent.glob("replay.db*"):
            file.unlink()
        database.write_bytes(b"This is no database. " * 1000)
        assert httpx.get(f"{server.http_url}/healthz", trust_env=False).status_code == 200
        assert httpx.get(f"{server.http_url}/readyz", trust_env=False).status_code == 503
        for path in ("/recordings", "/recordings/run", "/recordings/run/rows", "/recordings/run/export"):
            response = httpx.get(f"{server.http_url}{ROOT}{path}", trust_env=False)
            assert_problem(response, 503, "the database doesn't answer, please try again later")


def test_a_page_of_another_origin_may_use_the_api_where_it_may_open_a_socket(api: Api, tmp_path: Path) -> None:
    page = "https://example.com"
    asked = {"access-control-request-method": "PATCH", "access-control-request-headers": "authorization, content-type"}
    allowed = api.ask("OPTIONS", "/recordings/run", headers={"origin": page, **asked})
    assert allowed.status_code == 200
    assert {"GET", "POST", "PATCH", "DELETE"} <= set(allowed.headers["access-control-allow-methods"].split(", "))
    answer = api.ask("GET", "/recordings", headers={"origin": page})
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in answer.headers
    with start_server(tmp_path, SHARE_ALLOWED_ORIGINS="https://example.com") as server:
        url = f"{server.http_url}{ROOT}/recordings"
        for origin, allow in ((page, page), ("https://evil.org", None)):
            answer = httpx.get(url, headers={"origin": origin}, trust_env=False)
            assert answer.headers.get("access-control-allow-origin") == allow
            preflight = httpx.options(url, headers={"origin": origin, **asked}, trust_env=False)
            assert preflight.status_code == (200 if allow else 400)


def test_a_slow_upload_keeps_nobody_waiting(api: Api) -> None:
    document = recording(2)
    text = lines_of(document)
    asked: Sequence[int] = []

    def slow() -> Iterator[bytes]:
        nonlocal asked
        yield text[:10]
        time.sleep(0.05)
        asked = [httpx.get(f"{api.server.http_url}{ROOT}/recordings", trust_env=False).status_code for _ in range(3)]
        yield text[10:]

    headers = {"content-type": "application/jsonl"}
    assert api.ask("POST", "/recordings", AUTHOR, content=slow(), headers=headers).status_code == 201
    assert asked == [200, 200, 200]
