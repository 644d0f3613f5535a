"""The API's description, held against the routes and against what a real server answers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import pytest
import schemathesis
from hypothesis import settings
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR
from starlette.routing import Route

from share.clock import LoopClock
from share.openapi import openapi
from share.routing import build_routes
from share.settings import XAgentServerEnv
from storage.gateway import Gateway
from tests.server import GOLDEN, PATIENCE_SECONDS, start_server
from tests.test_api import AUTHOR, ROOT, Api, recording

DOCUMENT: dict[str, Any] = json.loads(json.dumps(openapi("http://127.0.0.1/api/v1")))
NAME = "described"
OPERATIONS = [(method, path) for path, methods in DOCUMENT["paths"].items() for method in methods]


@contextmanager
def serving(folder: Path) -> Iterator[Api]:
    """A server with a recording that is there under a name that is known."""
    with (
        start_server(folder) as server,
        httpx.Client(base_url=server.http_url, timeout=PATIENCE_SECONDS, trust_env=False) as client,
    ):
        api = Api(folder, server, client)
        api.add_user(AUTHOR)
        document = recording(3, {"a.txt": b"0123456789"})
        text = json.dumps(document).replace(document["interaction"]["interaction_id"], NAME)
        api.upload(json.loads(text), visibility="public")
        yield api


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("openapi")) as api:
        yield api


def schema_of(*places: str | int) -> Any:
    """A part of the description, with what it refers to."""
    found: Any = DOCUMENT
    for place in places:
        found = found[place]
    return {"components": DOCUMENT["components"], **found}


# The document


def test_the_document_is_openapi_3_1() -> None:
    assert DOCUMENT["openapi"].startswith("3.1.")
    OPENAPI_31_VALIDATOR.validate(DOCUMENT)


def test_every_schema_in_it_is_json_schema() -> None:
    schemas = list(DOCUMENT["components"]["schemas"].values())
    for method, path in OPERATIONS:
        operation = DOCUMENT["paths"][path][method]
        schemas += [parameter["schema"] for parameter in operation["parameters"]]
        bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
        schemas += [one["schema"] for body in bodies for one in body.get("content", {}).values()]
    for schema in schemas:
        jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})
        jsonschema_rs.Draft202012Validator({"components": DOCUMENT["components"], **schema})


def test_every_operation_has_a_name_of_its_own_and_says_what_it_does() -> None:
    operations = [DOCUMENT["paths"][path][method] for method, path in OPERATIONS]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    assert all(operation["summary"] for operation in operations)
    for operation in operations:
        names = [(parameter["in"], parameter["name"]) for parameter in operation["parameters"]]
        assert len(set(names)) == len(names)


def test_what_is_in_a_path_is_described_and_nothing_else() -> None:
    for method, path in OPERATIONS:
        parameters = DOCUMENT["paths"][path][method]["parameters"]
        described = {parameter["name"] for parameter in parameters if parameter["in"] == "path"}
        assert described == set(re.findall(r"\{(\w+)\}", path)), path


def test_every_route_is_described_and_every_description_has_a_route(api: Api, gateway: Gateway, tmp_path: Path) -> None:
    routes = build_routes(gateway, XAgentServerEnv(base_dir=tmp_path), LoopClock())
    paths = [route.path for route in routes if isinstance(route, Route) and route.path.startswith(ROOT)]
    paths = [re.sub(r"\{(\w+):\w+\}", r"{\1}", path.removeprefix(ROOT)) for path in paths]
    routed = set()
    for path in {*paths} - {"/openapi.json", "/{path}"}:
        response = api.ask("OPTIONS", path.format(id=NAME, offset=1, name="a.txt", link_id=1))
        assert response.status_code == 405
        allowed = {method.strip().lower() for method in response.headers["allow"].split(",")}
        assert ("get" in allowed) == ("head" in allowed)
        routed |= {(method, path) for method in allowed - {"head"}}
    assert routed == set(OPERATIONS)


def test_the_server_gives_the_document_with_its_own_address(api: Api) -> None:
    response = api.client.get(f"{ROOT}/openapi.json")
    assert response.headers["content-type"] == "application/json"
    assert response.json() == DOCUMENT | {"servers": [{"url": f"{api.server.http_url}{ROOT}"}]}


def test_a_user_is_needed_where_the_document_says_so(api: Api) -> None:
    for method, path in OPERATIONS:
        operation = DOCUMENT["paths"][path][method]
        filled = path.format(id=NAME, offset=1, name="a.txt", link_id=1)
        status = api.ask(method.upper(), filled).status_code
        assert (status == 401) == (operation["security"] == [{"user": []}]), (method, path, status)


def test_every_answer_is_as_it_is_described(api: Api) -> None:
    link = api.ask("POST", f"/recordings/{NAME}/links", AUTHOR, json={"label": "x", "expires_in": 60}).json()
    assert list(link)
    for method, path in OPERATIONS:
        operation = DOCUMENT["paths"][path][method]
        if method != "get":
            continue
        for name in (NAME, link["token"]):
            for user in (None, AUTHOR):
                response = api.ask("GET", path.format(id=name, offset=1, name="a.txt"), user)
                described = operation["responses"][str(response.status_code)]["content"]
                kind = response.headers["content-type"].partition(";")[0]
                (content,) = [described.get(kind) or described["*/*"]]
                if kind.endswith("json"):
                    validator = jsonschema_rs.Draft202012Validator(
                        {"components": DOCUMENT["components"], **content["schema"]}, validate_formats=True
                    )
                    validator.validate(response.json())


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/recordings/{id}/files/{name}", {"range": "bytes=0-3"}, 206),
        ("/recordings/{id}/files/{name}", {"range": "bytes=99-"}, 416),
        ("/recordings/{id}/rows", {"if-none-match": "*"}, 304),
        ("/recordings/{id}/outline", {"if-none-match": "*"}, 304),
    ],
)
def test_an_answer_to_a_header_is_described_too(api: Api, path: str, headers: dict[str, str], status: int) -> None:
    response = api.ask("GET", path.format(id=NAME, name="a.txt"), headers=headers)
    assert response.status_code == status
    operation = DOCUMENT["paths"][path]["get"]
    assert str(status) in operation["responses"]
    described = {parameter["name"].lower() for parameter in operation["parameters"] if parameter["in"] == "header"}
    assert headers.keys() <= described


def test_what_viewers_are_known_by_is_described() -> None:
    for method, path in OPERATIONS:
        if method == "get" and "{id}" in path:
            parameters = DOCUMENT["paths"][path][method]["parameters"]
            assert ("query", "viewer") in {(parameter["in"], parameter["name"]) for parameter in parameters}, path


@pytest.mark.parametrize("name", ["short", "edge", "running", "made", "exported"])
def test_a_recording_is_a_document_as_it_is_described(api: Api, name: str) -> None:
    match name:
        case "made":
            document = recording(3, {"a.txt": b"x"})
        case "exported":
            document = api.get(f"/recordings/{NAME}/export").json()
        case _:
            document = json.loads((GOLDEN / f"{name}.recording.json").read_text("utf-8"))
    validator = jsonschema_rs.Draft202012Validator(schema_of("components", "schemas", "Document"))
    validator.validate(document)


@pytest.mark.parametrize(
    "change",
    [
        {"interaction": {}},
        {"interaction": {"interaction_id": "a b", "user_id": "x"}},
        {"interaction": {"interaction_id": "a", "user_id": "x", "other": 1}},
        {"raws": []},
        {"raws": [{}]},
        {"raws": [{"node_id": "1", "interaction_id": "a", "step": "x"}]},
        {"workspace": {"a": 1}},
        {"other": 1},
    ],
)
def test_a_document_that_is_refused_isnt_valid_by_its_description(api: Api, change: dict[str, Any]) -> None:
    document = recording(2) | change
    assert api.ask("POST", "/recordings", AUTHOR, json=document).status_code == 400
    validator = jsonschema_rs.Draft202012Validator(schema_of("components", "schemas", "Document"))
    assert not validator.is_valid(document)


# What a program that knows nothing but the document makes of it


# No schema says that all rows belong to the document's own interaction, and that a node_id is there once. All the ways
# in which one column of it can be wrong would take longer than everything else.
UPLOAD = {
    "include-operation-id": "createRecording",
    "checks": {"positive_data_acceptance": {"expected-statuses": ["2xx", "400", "401", "403", "409"]}},
    "phases": {"coverage": {"enabled": False}},
}
# Nor that a range has to begin inside of the file.
ACCEPTED = {"positive_data_acceptance": {"expected-statuses": ["2xx", "3xx", "401", "403", "404", "409", "416"]}}
# It puts links into what it is given.
anything = schemathesis.openapi.from_dict(
    deepcopy(DOCUMENT), config=SchemathesisConfig.from_dict({"operations": [UPLOAD]})
)
existing = schemathesis.openapi.from_dict(
    deepcopy(DOCUMENT),
    config=SchemathesisConfig.from_dict(
        {"parameters": {"path.id": NAME, "path.name": "a.txt"}, "checks": ACCEPTED},
    ),
)
# All but its removal: it has to be there for all of them.
existing = existing.include(path_regex=r"\{id\}").exclude(operation_id="deleteRecording")


@schemathesis.hook
def filter_case(context: schemathesis.HookContext, case: schemathesis.Case) -> bool:
    """Leave out a query with other names in it: they are passed over, and `limit={"a": 1}` would be written so."""
    return (case.query or {}).keys() <= {parameter.name for parameter in case.operation.query}


@schemathesis.serializer("application/jsonl")
def serialize_lines(context: schemathesis.SerializationContext, value: Any) -> bytes:
    return str(value).encode("utf-8", "replace")


def call(api: Api, case: schemathesis.Case) -> None:
    headers = {"Authorization": f"Bearer {api.tokens[AUTHOR]}"}
    case.call_and_validate(base_url=f"{api.server.http_url}{ROOT}", headers=headers)


@anything.parametrize()
@settings(max_examples=10, derandomize=True)
def test_whatever_is_asked_the_answer_is_as_described(api: Api, case: schemathesis.Case) -> None:
    call(api, case)


@existing.parametrize()
@settings(max_examples=10, derandomize=True)
def test_whatever_is_asked_of_what_is_there_the_answer_is_as_described(api: Api, case: schemathesis.Case) -> None:
    call(api, case)


def test_what_one_answer_says_can_be_used_in_the_next_request(tmp_path: Path) -> None:
    with serving(tmp_path) as api:

        class Requests(anything.as_state_machine()):  # type: ignore[misc]
            def get_call_kwargs(self, case: schemathesis.Case) -> dict[str, Any]:
                headers = {"Authorization": f"Bearer {api.tokens[AUTHOR]}"}
                return {"base_url": f"{api.server.http_url}{ROOT}", "headers": headers}

        Requests.run(settings=settings(max_examples=5, stateful_step_count=6, derandomize=True))


def test_the_server_has_had_no_error_of_its_own(api: Api) -> None:
    assert api.get(f"/recordings/{NAME}", AUTHOR).status_code == 200
    assert "Traceback" not in api.server.log
