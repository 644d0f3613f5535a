"""The API's description, as OpenAPI 3.1; a test holds it against the routes and against what they answer."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "integer"}
_SECONDS: Schema = {"type": ["string", "null"], "format": "date-time"}
_BINARY: Schema = {"type": "string", "format": "binary"}
_VISIBILITY: Schema = {"enum": ["private", "unlisted", "public"]}


def _object(properties: dict[str, Schema], *optional: str, **more: Any) -> Schema:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, **more}


def _maybe(kind: str, **more: Any) -> Schema:
    return {"type": [kind, "null"], **more}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


_LINK = {
    "id": _NUMBER,
    "recording": _TEXT,
    "label": _TEXT,
    "created_at": {"type": "string", "format": "date-time"},
    "expires_at": _SECONDS,
    "revoked_at": _SECONDS,
    "max_views": _maybe("integer"),
    "views": _NUMBER,
}
_RECORDING = {
    "id": _TEXT,
    "description": _TEXT,
    "goal": _maybe("string"),
    "user_name": _TEXT,
    "agent": _TEXT,
    "mode": _TEXT,
    "status": _TEXT,
    "live": {"type": "boolean"},
    "visibility": _VISIBILITY,
    "rows": _NUMBER,
    "duration": {"type": "number", "description": "seconds from the first row to the last"},
    "star": _NUMBER,
    "create_time": _maybe("string"),
    "update_time": _maybe("string"),
    "url": {"type": "string", "format": "uri"},
}
_NO_MORE: Schema = {"additionalProperties": False}
_SHORT = _maybe("string", maxLength=255)
_WHOLE = _maybe("integer", minimum=-(2**31), maximum=2**31 - 1)
_FLAG: Schema = {"enum": [True, False, 0, 1]}
_FLAG_OR_NULL: Schema = {"enum": [True, False, 0, 1, None]}
_INTERACTION: dict[str, Schema] = {
    "interaction_id": {"type": "string", "pattern": r"^(?!\.)[A-Za-z0-9._-]{1,128}$"},
    "user_id": {"type": "string", "maxLength": 255, "description": "whoever uploads it takes the place"},
    **dict.fromkeys(("description", "recorder_root_dir", "message"), _maybe("string")),
    **dict.fromkeys(("create_time", "update_time", "agent", "mode", "status", "current_step"), _SHORT),
    "call_method": {"type": "string", "maxLength": 255},
    "is_deleted": _FLAG_OR_NULL,
    "file_list": {},
    "id": {},
}
_ROW: dict[str, Schema] = {
    "node_id": {"type": "string", "minLength": 1, "maxLength": 255},
    "interaction_id": _INTERACTION["interaction_id"],
    "current": _maybe("string", maxLength=128),
    "status": _maybe("string", maxLength=20),
    **dict.fromkeys(("create_time", "update_time"), _SHORT),
    **dict.fromkeys(("step", "wait_seconds"), _WHOLE),
    **{name: {} for name in ("data", "file_list", "human_data", "human_file_list", "id")},
    **dict.fromkeys(("do_interrupt", "ask_for_human_help", "is_deleted", "is_human"), _FLAG_OR_NULL),
    **dict.fromkeys(("is_send", "is_receive", "include_pictures"), _FLAG),
}
_STEP: Schema = {
    "type": "array",
    "description": "the row's offset, its time in seconds from the first row, its status",
    "items": {"type": ["number", "string"]},  # in words, for not every tool that reads this knows prefixItems
    "minItems": 3,
    "maxItems": 3,
}
_SCHEMAS: dict[str, Schema] = {
    "Problem": _object(
        {"type": _TEXT, "title": _TEXT, "status": _NUMBER, "detail": _TEXT}, description="RFC 9457 problem details"
    ),
    "Recording": _object(_RECORDING),
    "Uploaded": _object(
        {**_RECORDING, "link": {"anyOf": [{"$ref": "#/components/schemas/NewLink"}, {"type": "null"}]}}
    ),
    "Link": _object(_LINK),
    "NewLink": _object({**_LINK, "token": _TEXT, "url": {"type": "string", "format": "uri"}}),
    "Row": {"type": "object", "description": "a row as replay.v1 sends it"},
    "Outline": _object(
        {"total": _NUMBER, "epoch": _TEXT, "steps": {"type": "array", "items": _STEP, "maxItems": 10_000}},
        description="all rows in order; of more than 10,000, those where subtasks begin, failures, the last, and the"
        " first of each of equal spans of time",
    ),
    "File": _object({"name": _TEXT, "size": _NUMBER, "media_type": _TEXT, "url": {"type": "string", "format": "uri"}}),
    "Document": _object(
        {
            "interaction": _object(_INTERACTION, *(_INTERACTION.keys() - {"interaction_id", "user_id"}), **_NO_MORE),
            "raws": {
                "type": "array",
                "items": _object(_ROW, *(_ROW.keys() - {"node_id", "interaction_id"}), **_NO_MORE),
                "minItems": 1,
            },
            "workspace": {"type": "object", "additionalProperties": {"type": "string", "contentEncoding": "base64"}},
        },
        "workspace",
        description="a recording as XAgent's community upload has it; workspace: the files in base64",
        **_NO_MORE,
    ),
}


def _parameter(where: str, name: str, schema: Schema, description: str = "") -> Schema:
    described = {"description": description} if description else {}
    return {"in": where, "name": name, "required": where == "path", "schema": schema, **described}


_ID = _parameter("path", "id", {"type": "string", "minLength": 1}, "a recording's id, or a share link's token")
_VIEWER = _parameter("query", "viewer", _TEXT, "by what a share link knows a viewer again")
_SEARCH = {"type": "string", "maxLength": 200, "pattern": r"^[^\x00]*$"}
_CURSOR = {"type": "string", "pattern": r"^[0-9]{1,18}(\.([0-9a-f]{2}){0,1024})?$"}
_LIMIT = {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}
_PROBLEMS = {
    400: "what was sent can't be understood",
    401: "a user's token is needed",
    403: "not yours to change",
    404: "there is none, or not for you",
    408: "the body took too long",
    409: "it can't be done as things are",
    413: "more than is taken",
    415: "a kind of body that isn't taken",
    503: "please try again later",
}


def _answers(status: int, description: str, schema: Schema | None, *problems: int, kind: str) -> Schema:
    answer: Schema = {"description": description}
    if schema is not None:
        answer["content"] = {kind: {"schema": schema}}
    found = {str(status): answer}
    for problem in (400, *problems, 503):
        content = {"application/problem+json": {"schema": _ref("Problem")}}
        found[str(problem)] = {"description": _PROBLEMS[problem], "content": content}
    return found


def _operation(
    name: str,
    summary: str,
    answer: tuple[int, Schema | None],
    *problems: int,
    parameters: tuple[Schema, ...] = (),
    body: dict[str, Schema] | None = None,
    body_required: bool = True,
    more: dict[int, str] | None = None,
    kind: str = "application/json",
    needs_user: bool = False,
) -> Schema:
    found: Schema = {"operationId": name, "summary": summary, "parameters": list(parameters)}
    found["security"] = [{"user": []}] if needs_user else [{}, {"user": []}]
    if body is not None:
        found["requestBody"] = {
            "required": body_required,
            "content": {kind: {"schema": schema} for kind, schema in body.items()},
        }
    responses = _answers(answer[0], summary, answer[1], 401, *problems, kind=kind)
    responses |= {str(status): {"description": text} for status, text in (more or {}).items()}
    return {**found, "responses": responses}


def _listed(name: str, schema: str, cursor: Schema) -> Schema:
    return _object({name: {"type": "array", "items": _ref(schema)}, "next_cursor": cursor})


def _paths() -> dict[str, Schema]:
    changes = {"description": {"type": "string", "maxLength": 10_000}, "visibility": _VISIBILITY}
    link = {
        "expires_in": _maybe("integer", minimum=1, maximum=316_224_000, description="seconds"),
        "max_views": _maybe("integer", minimum=1, maximum=2_147_483_647),
        "label": {"type": "string", "maxLength": 255},
    }
    lines: Schema = {"type": "string", "description": "a line for the interaction, then one for each row"}
    form = _object(
        {"recording": {"type": "string", "format": "binary"}, "files": {"type": "string", "format": "binary"}}, "files"
    )
    return {
        "/recordings": {
            "get": _operation(
                "listRecordings",
                "the public recordings, or one's own, newest first",
                (200, _listed("recordings", "Recording", _maybe("string"))),
                403,
                parameters=(
                    _parameter("query", "q", _SEARCH, "in the description or the goal"),
                    _parameter("query", "cursor", _CURSOR, "the next_cursor of the page before"),
                    _parameter("query", "limit", _LIMIT),
                    _parameter("query", "mine", {"type": "boolean"}),
                ),
            ),
            "post": _operation(
                "createRecording",
                "put a recording in, and get a link to it",
                (201, _ref("Uploaded")),
                *(403, 404, 408, 409, 413, 415),
                parameters=(_parameter("query", "visibility", {**_VISIBILITY, "default": "unlisted"}),),
                body={
                    "application/json": _ref("Document"),
                    "application/jsonl": lines,
                    "multipart/form-data": form,
                },
                needs_user=True,
            ),
        },
        "/recordings/{id}": {
            "get": _operation(
                "getRecording", "what a recording is", (200, _ref("Recording")), 404, parameters=(_ID, _VIEWER)
            ),
            "patch": _operation(
                "changeRecording",
                "change the description, or who may watch",
                (200, _ref("Recording")),
                *(403, 404, 408, 413, 415),
                parameters=(_ID,),
                body={"application/json": _object(changes, *changes, additionalProperties=False)},
                needs_user=True,
            ),
            "delete": _operation(
                "deleteRecording",
                "remove a recording with its files, for good",
                (204, None),
                *(403, 404),
                parameters=(_ID,),
                needs_user=True,
            ),
        },
        "/recordings/{id}/rows": {
            "get": _operation(
                "getRows",
                "the rows after an offset",
                (
                    200,
                    _object(
                        {
                            "rows": {"type": "array", "items": _ref("Row")},
                            "total": _NUMBER,
                            "epoch": _TEXT,
                            "next_offset": _maybe("integer"),
                        }
                    ),
                ),
                404,
                parameters=(
                    _ID,
                    _VIEWER,
                    _parameter("query", "offset", {"type": "integer", "minimum": 0, "maximum": 2**53, "default": 0}),
                    _parameter("query", "limit", {**_LIMIT, "maximum": 500, "default": 100}),
                    _parameter("header", "If-None-Match", _TEXT),
                ),
                more={304: "they are as they were when their ETag was this"},
            )
        },
        "/recordings/{id}/outline": {
            "get": _operation(
                "getOutline",
                "where every row stands in time, and of what kind it is",
                (200, _ref("Outline")),
                404,
                parameters=(_ID, _VIEWER, _parameter("header", "If-None-Match", _TEXT)),
                more={304: "it is as it was when its ETag was this"},
            )
        },
        "/recordings/{id}/rows/{offset}/data": {
            "get": _operation(
                "getRowData",
                "the data of a row, which may be too large for a frame",
                (200, {}),
                404,
                parameters=(_ID, _VIEWER, _parameter("path", "offset", {"type": "integer", "minimum": 1})),
            )
        },
        "/recordings/{id}/files": {
            "get": _operation(
                "listFiles",
                "the files of the workspace",
                (200, _object({"files": {"type": "array", "items": _ref("File")}})),
                404,
                parameters=(_ID, _VIEWER),
            )
        },
        "/recordings/{id}/files/{name}": {
            "get": _operation(
                "getFile",
                "a file of the workspace, or a range of it",
                (200, {"type": "string", "format": "binary"}),
                404,
                parameters=(
                    _ID,
                    _VIEWER,
                    _parameter("path", "name", {"type": "string", "minLength": 1}),
                    _parameter("header", "Range", _TEXT),
                ),
                more={206: "the range", 416: "there is no such range in it"},
                kind="*/*",
            )
        },
        "/recordings/{id}/export": {
            "get": _operation(
                "exportRecording",
                "all of a recording as one document",
                (200, _ref("Document")),
                404,
                parameters=(_ID, _VIEWER),
            )
        },
        "/recordings/{id}/links": {
            "post": _operation(
                "createLink",
                "make a share link",
                (201, _ref("NewLink")),
                *(403, 404, 408, 409, 413, 415),
                parameters=(_ID,),
                body={"application/json": _object(link, *link, additionalProperties=False)},
                body_required=False,
                needs_user=True,
            )
        },
        "/links": {
            "get": _operation(
                "listLinks",
                "all links that one has ever made, newest first",
                (200, _listed("links", "Link", _maybe("string"))),
                parameters=(
                    _parameter("query", "cursor", {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}),
                    _parameter("query", "limit", _LIMIT),
                ),
                needs_user=True,
            ),
            "delete": _operation("revokeLinks", "revoke all of them", (204, None), needs_user=True),
        },
        "/links/{link_id}": {
            "delete": _operation(
                "revokeLink",
                "revoke one of them",
                (204, None),
                404,
                parameters=(_parameter("path", "link_id", {"type": "integer", "minimum": 1}),),
                needs_user=True,
            )
        },
    }


def openapi(server: str) -> Schema:
    """The document; `server` is the address of the API's root."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Replay Share",
            "version": "1",
            "description": "Shares recorded runs of AI agents; watching them in time is a WebSocket protocol.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": server}],
        "paths": _paths(),
        "components": {
            "schemas": _SCHEMAS,
            "securitySchemes": {"user": {"type": "http", "scheme": "bearer", "description": "a user's token"}},
        },
    }
