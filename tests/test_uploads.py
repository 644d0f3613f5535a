"""Uploads out of the hands of strangers: refused whole and clearly, or kept whole; nothing in between, and no crash."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from share import body
from share.settings import XAgentServerEnv
from share.uploads import MAX_AT_ONCE, MAX_INTERACTION_BYTES, Upload, UploadError, Uploads
from storage import schema
from storage.gateway import Gateway
from storage.rows import IN_MEMORY_BYTES
from tests.asgi import Server
from tests.fake_clock import PATIENCE_SECONDS, until
from tests.server import serve_here
from tests.test_archive import Entry, deflated, make_zip
from tests.test_endpoint import AUTHOR, TOKEN, add_user, errors

LIMITS: dict[str, Any] = {
    "max_upload_bytes": 3_000_000,
    "max_upload_rows": 60,
    "max_row_bytes": 20_000,
    "max_upload_files": 4,
    "max_unpacked_bytes": 100_000,
}
FORMS = ["document", "lines", "multipart", "community"]
READ_APART = ["document", "lines", "community"]
"""Each of these is read by code of its own."""

BEARER = {"authorization": f"Bearer {TOKEN}"}
INTERACTION = {"interaction_id": "run", "user_id": "somebody", "create_time": "2023-11-17 10:00:00"}
NODE = {"interaction_id": "run", "status": "inner", "current": "1.1", "create_time": "2023-11-17 10:00:00"}
DEPTH = 400
"""Of lists in a row's data, in which the row and what is around it have room too."""

TABLES = [table for table in schema.metadata.sorted_tables if table.name not in ("users", "share_migrations")]

_numbers = count()


@pytest.fixture
def temp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files are made, so that those that are left can be seen."""
    temp = tmp_path / "temp"
    temp.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temp))
    return temp


@pytest.fixture
async def server(gateway: Gateway, tmp_path: Path, temp: Path) -> Server:
    """A server without recordings, with the user `author` and low limits."""
    await add_user(gateway, "author", token=TOKEN)
    return Server(gateway, tmp_path / "base", **LIMITS)


def dumps(value: Any) -> bytes:
    return json.dumps(value).encode()


def node(**fields: Any) -> bytes:
    """A row that no other is like, as JSON."""
    return dumps({"node_id": f"node-{next(_numbers)}", **NODE} | fields)


def node_with(data: str | bytes, **fields: Any) -> bytes:
    """A row whose data is this text, whatever it is."""
    text = data.encode() if isinstance(data, str) else data
    return node(data="HERE", **fields).replace(b'"HERE"', text)


def last() -> bytes:
    return node(status="finished")


def document(interaction: bytes, rows: Sequence[bytes], files: bytes | None = None) -> bytes:
    workspace = b"" if files is None else b',"workspace":' + files
    return b'{"interaction":' + interaction + b',"raws":[' + b",".join(rows) + b"]" + workspace + b"}"


async def request(server: Server, method: str, path: str, **options: Any) -> httpx.Response:
    """An answer of the app; an error that it doesn't deal with comes out of here."""
    transport = httpx.ASGITransport(server.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.request(method, path, **options)


async def post(
    server: Server, content: Any, kind: str = "application/json", path: str = "/api/v1/recordings"
) -> httpx.Response:
    return await request(server, "POST", path, content=content, headers=BEARER | {"content-type": kind})


async def post_form(server: Server, path: str, data: Mapping[str, Any], files: Mapping[str, bytes]) -> httpx.Response:
    parts = {name: (name, content) for name, content in files.items()}
    return await request(server, "POST", path, data=data, files=parts, headers=BEARER)


async def send(
    server: Server, form: str, interaction: bytes, rows: Sequence[bytes], archive: bytes | None = None
) -> httpx.Response:
    """Upload a recording in one of the forms that there are."""
    match form:
        case "document":
            return await post(server, document(interaction, rows))
        case "lines":
            return await post(server, b"\n".join([interaction, *rows]), "application/jsonl")
        case "multipart":
            files = {"recording": document(interaction, rows)} | ({} if archive is None else {"files": archive})
            return await post_form(server, "/api/v1/recordings", {}, files)
        case _:
            data = AUTHOR | {"user_name": "author", "interaction": interaction, "raws": b"[" + b",".join(rows) + b"]"}
            return await post_form(
                server, "/conv/community", data, {"files": make_zip() if archive is None else archive}
            )


def why(response: httpx.Response) -> str:
    """Why an upload was refused: as a problem document, or as XAgent says it."""
    value = response.json()
    if response.headers["content-type"] == "application/problem+json":
        assert value["status"] == response.status_code
        return str(value["detail"])
    assert (response.status_code, value["status"]) in ((400, "failed"), (413, "failed"))
    return value["message"] if isinstance(value["message"], str) else str(value["message"][0]["msg"])


async def stored(server: Server) -> dict[str, int]:
    """How many rows there are of each table, where there are any; users left out."""
    counts = (select(func.count()).select_from(table).scalar_subquery().label(table.name) for table in TABLES)
    found = await server.gateway.fetch_one(select(*counts))
    assert found is not None
    return {table.name: found[table.name] for table in TABLES if found[table.name]}


def files_below(folder: Path) -> list[str]:
    """What lies below a folder, without the folders for everything and for each day."""
    paths = [path.relative_to(folder).as_posix() for path in folder.rglob("*")]
    return sorted(path for path in paths if path not in ("localstorage", "localstorage/interact_records"))


def open_temp_files(temp: Path) -> list[str]:
    """The temporary files that this process has open; on Linux they have no name."""
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except OSError:
            continue
        if target.startswith(f"{temp}/"):
            found.append(target)
    return found


async def assert_nothing(server: Server, temp: Path) -> None:
    assert await stored(server) == {}
    assert files_below(server.settings.base_dir) == []
    assert files_below(temp) == [] and open_temp_files(temp) == []


def assert_refused(response: httpx.Response, *said: str, status: int | tuple[int, ...] = 400) -> None:
    """A clear answer; what it leaves is looked at when all have come."""
    assert response.status_code in ((status,) if isinstance(status, int) else status), response.text
    message = why(response)
    assert message.isprintable() and len(message) < 3000
    for part in said:
        assert part in message


def assert_accepted(response: httpx.Response) -> None:
    assert response.status_code in (200, 201), response.text
    assert response.status_code == 201 or response.json() == {"data": None, "success": True, "message": "success"}


def strictly(text: str | bytes) -> Any:
    """A JSON value in which nothing is lost: numbers as they are spelt, all members of an object with a key twice."""

    def members(pairs: list[tuple[str, Any]]) -> Any:
        return dict(pairs) if len(dict(pairs)) == len(pairs) else pairs

    return json.loads(text, parse_int="number {}".format, parse_float="number {}".format, object_pairs_hook=members)


async def replay(server: Server, interaction_id: str = "run") -> tuple[list[Any], list[Any]]:
    """What viewers of classic and of replay.v1 see of a recording, from its first row to its last."""
    async with server.connect(f"/ws/share/{interaction_id}") as viewer:
        await viewer.send({"type": "shared"})
        await server.play_out()
        assert viewer.code is None
        classic = [strictly(frame) for frame in viewer.frames[1:] if '"pong"' not in frame]
    async with server.connect(f"/ws/share/{interaction_id}", subprotocols=["replay.v1"]) as viewer:
        await viewer.send({"type": "shared", "pace": "instant", "follow": False})
        await until(lambda: any(frame.startswith('{"type":"end"') for frame in viewer.frames) or viewer.task.done())
        assert viewer.code is None
        v1 = [frame for frame in map(strictly, viewer.frames[1:]) if frame.get("type", "rows") == "rows"]
    return classic, [row for frame in v1 for row in frame.get("rows", [frame])]


async def assert_watchable(server: Server, rows: int, interaction_id: str = "run") -> tuple[list[Any], list[Any]]:
    """What was accepted can be watched, listed and read in every way that there is; both replays."""
    classic, v1 = await replay(server, interaction_id)
    assert len(classic) == len(v1) == rows
    path = f"/api/v1/recordings/{interaction_id}"
    for address in ("/api/v1/recordings?mine=true", path, f"{path}/rows", f"{path}/files", f"{path}/export"):
        assert (await request(server, "GET", address, headers=BEARER)).status_code == 200
    assert (await request(server, "GET", f"{path}/rows/{rows}/data")).status_code in (200, 404)
    for route in ("getUserInteractions", "getSharedInteractions"):
        fields = AUTHOR | {"page_size": "5", "page_num": "1"}
        assert (await request(server, "POST", f"/conv/{route}", data=fields)).status_code == 200
    return classic, v1


async def data_of(server: Server, offset: int, interaction_id: str = "run") -> bytes:
    return (await request(server, "GET", f"/api/v1/recordings/{interaction_id}/rows/{offset}/data")).content


# Every form


@pytest.mark.parametrize("form", FORMS)
async def test_what_is_uploaded_is_there_and_can_be_watched(server: Server, temp: Path, form: str) -> None:
    rows = [
        node(data={"thoughts": "数据"}, step=0),
        node_with(' {"a" : [1, 2.50]} ', step=1),
        node(step=2, status="finished"),
    ]
    assert_accepted(await send(server, form, dumps(INTERACTION | {"description": "é"}), rows))
    classic, v1 = await assert_watchable(server, 3)
    data = [{"thoughts": "数据"}, {"a": [1, 2.5]}, None]
    assert [row["data"] for row in v1] == strictly(json.dumps(data).replace("2.5", "2.50"))
    assert [frame["data"] for frame in classic] == strictly(json.dumps(data))
    assert await data_of(server, 2) == b'{"a":[1,2.50]}'
    assert files_below(temp) == [] and open_temp_files(temp) == []


@pytest.mark.parametrize("form", ["multipart", "community"])
async def test_files_come_in_a_zip(server: Server, form: str) -> None:
    archive = make_zip(deflated("数据".encode() * 100, name="a/数据.csv".encode()), Entry(name=b"b.txt"))
    assert_accepted(await send(server, form, dumps(INTERACTION), [last()], archive))
    listed = (await request(server, "GET", "/api/v1/recordings/run/files")).json()["files"]
    assert [(file["name"], file["size"]) for file in listed] == [("a/数据.csv", 600), ("b.txt", 1000)]
    assert (await request(server, "GET", "/api/v1/recordings/run/files/a/数据.csv")).text == "数据" * 100


async def test_files_come_as_base64(server: Server) -> None:
    files = {"a/数据.csv": base64.b64encode(b"\0\xff" * 100).decode(), "empty": ""}
    assert_accepted(await post(server, document(dumps(INTERACTION), [last()], dumps(files))))
    listed = (await request(server, "GET", "/api/v1/recordings/run/files")).json()["files"]
    assert [(file["name"], file["size"]) for file in listed] == [("a/数据.csv", 200), ("empty", 0)]


async def test_many_uploads_at_once_all_succeed(server: Server) -> None:
    def of(number: int) -> bytes:
        interaction_id = f"run-{number}"
        return document(dumps(INTERACTION | {"interaction_id": interaction_id}), [node(interaction_id=interaction_id)])

    answers = await asyncio.gather(*(post(server, of(number)) for number in range(4 * MAX_AT_ONCE)))
    assert [answer.status_code for answer in answers] == [201] * len(answers)
    assert (await stored(server))["interactions"] == len(answers)


# What is no JSON

NO_JSON: list[str | bytes] = [
    "NaN",
    "Infinity",
    "-Infinity",
    "nan",
    "01",
    "+1",
    ".5",
    "1.",
    "1e",
    "0x1F",
    "-",
    "tru",
    "nulL",
    "undefined",
    "'a'",
    "{a:1}",
    "{1:1}",
    "[1,]",
    "[,]",
    '{"a":1,}',
    '{"a" 1}',
    '{"a":}',
    '["a":1]',
    '"\\x41"',
    '"\\u12"',
    '"\\uD8"',
    '"a\nb"',
    '"a\tb"',
    '"a\0b"',
    '"',
    '"\\"',
    "[",
    "]",
    "[}",
    '{"a":[}]',
    "",
    "1 2",
    "[] []",
    "// no\n1",
    "/* no */ 1",
    "\ufeff1",
    "\u00a01",
    b'"\xff"',
    b'"\xc3"',
    b'"\xed\xa0\x80"',
    b'"\xc0\xaf"',
    b'"\xf4\x90\x80\x80"',
    b'{"\xff": 1}',
    b"\xff\xfe[\x00]\x00",
    "[" * 1000 + "]" * 1000,
    '{"a":' * 1000 + "1" + "}" * 1000,
    '[{"a":' * 500 + "1" + "}]" * 500,
    "[" * 9000,
    "{" * 9000,
    '{"a":' * 2000,
]


@pytest.mark.parametrize("form", READ_APART)
async def test_data_that_is_no_json_is_refused(server: Server, temp: Path, form: str) -> None:
    for text in NO_JSON:
        rows = [node(), node_with(text), last()]
        assert_refused(await send(server, form, dumps(INTERACTION), rows))
    await assert_nothing(server, temp)


@pytest.mark.parametrize("form", ["document", "lines"])
async def test_what_is_wrong_with_a_row_is_told_with_its_place(server: Server, temp: Path, form: str) -> None:
    for text in ("NaN", '"\\x41"', "[1,]", b'"\xff"'):
        response = await send(server, form, dumps(INTERACTION), [node(), node_with(text), last()])
        assert_refused(response, "$.raws[1]")
    await assert_nothing(server, temp)


async def test_the_other_json_of_a_row_is_looked_at_as_its_data_is(server: Server, temp: Path) -> None:
    for column in ("file_list", "human_data", "human_file_list"):
        for text in (b"NaN", b'"\xff"', b"[1,]", b"[" * 1000 + b"]" * 1000):
            row = node(**{column: "HERE"}).replace(b'"HERE"', text)
            assert_refused(await post(server, document(dumps(INTERACTION), [row])))
    await assert_nothing(server, temp)


@pytest.mark.parametrize("form", READ_APART)
async def test_an_interaction_that_is_no_json_is_refused(server: Server, temp: Path, form: str) -> None:
    whole = dumps(INTERACTION)
    wrong = [b"", b"null", b"[]", b"1", b'"a"', b"{}", b"{", whole[:-1], whole + b"x", whole + whole, b"\xff" + whole]
    wrong += [whole.replace(b'"somebody"', text) for text in (b"NaN", b'"\xff"', b"1", b"[" * 2000, b'"\\ud800"')]
    wrong += [
        whole[:-1] + b', "file_list": %s}' % text for text in (b"NaN", b"[" * 1000 + b"]" * 1000, b'"\xed\xa0\x80"')
    ]
    for interaction in wrong:
        assert_refused(await send(server, form, interaction, [node(), last()]))
    await assert_nothing(server, temp)


WHOLE = document(dumps(INTERACTION), [node(step=0), node(step=1)], b'{"a.txt": "YQ=="}')


def read(content: bytes, settings: XAgentServerEnv | None = None, archive: bytes | None = None) -> Upload:
    """A document, read."""
    uploads = Uploads(settings or XAgentServerEnv(**LIMITS))
    with tempfile.SpooledTemporaryFile(1024) as file, tempfile.TemporaryFile() as zipped:
        file.write(content)
        zipped.write(archive or b"")
        return asyncio.run(uploads.read_document(file, None if archive is None else zipped))


def refusal(content: bytes, archive: bytes | None = None) -> UploadError:
    with pytest.raises(UploadError) as caught:
        read(content, archive=archive)
    assert caught.value.status in (400, 413)
    return caught.value


async def test_a_document_that_breaks_off_is_refused_wherever_it_does() -> None:
    uploads = Uploads(XAgentServerEnv(**LIMITS))
    with tempfile.TemporaryFile() as file:
        file.write(WHOLE)
        assert len((await uploads.read_document(file)).recording.rows) == 2
        for length in reversed(range(len(WHOLE))):
            file.truncate(length)
            with pytest.raises(UploadError) as caught:
                await uploads.read_document(file)
            assert caught.value.status == 400


def test_white_space_and_a_byte_order_mark_change_nothing() -> None:
    recording = read(WHOLE).recording
    spaced = json.dumps(json.loads(WHOLE), indent="\t").encode().replace(b"\n", b"\r\n")
    for content in (
        spaced,
        b"\xef\xbb\xbf" + WHOLE,
        b" \t\r\n" + WHOLE + b"\n" * 10,
        b"\xef\xbb\xbf \n" + spaced + b" ",
    ):
        assert read(content).recording == recording


@pytest.mark.parametrize("size", [1023, 1024, 1025, 8191, 8192, 8193, 65_535, 65_536, 65_537])
def test_a_document_of_any_size_is_read_to_its_end(size: int) -> None:
    padded = WHOLE + b" " * (size - len(WHOLE))
    assert len(read(padded).recording.rows) == 2
    assert refusal(padded[:-1] + b"x").status == 400


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b" ",
        b"\0",
        b"null",
        b"[]",
        b"1",
        b'"interaction"',
        b"{}",
        b'{"interaction":{}}',
        b'{"raws":[]}',
        b'{"interaction":null,"raws":null}',
        b"PK\x05\x06" + bytes(18),
        b"\x1f\x8b\x08",
        b"\xff\xfe" + WHOLE.decode().encode("utf-16-le"),
        b"\xef\xbb\xbf",
        b"\xef\xbb\xbf\xef\xbb\xbf" + WHOLE,
        WHOLE + WHOLE,
        WHOLE + b",",
        WHOLE + b"}",
        WHOLE + b"\0",
        WHOLE + b"// the end",
        b"x" + WHOLE,
        b"[" + WHOLE + b"]",
        WHOLE[:-1] + b",}",
        WHOLE[:-1] + b',"more":1}',
        WHOLE[:-1] + b',"raws":[]}',
        WHOLE[:-1] + b',"interaction":{}}',
        WHOLE[:-1] + b',"workspace":{}}',
        WHOLE[:-1] + b',"\\u0072aws":[]}',
        WHOLE[:-1] + b',"\xff":1}',
        WHOLE[:-1] + b",1:1}",
        WHOLE.replace(b'"raws":[', b'"raws":{'),
        WHOLE.replace(b'"raws":[', b'"raws":[,'),
        WHOLE.replace(b'"raws":[', b'"raws":[1,'),
        WHOLE.replace(b'"raws":[', b'"raws":[[],'),
        WHOLE.replace(b'"raws":[', b'"raws":[null,'),
        WHOLE.replace(b'"raws":[', b'"raws":[{},'),
        WHOLE.replace(b'"raws"', b'"Raws"'),
        b"[" * 1_000_000,
        b'{"interaction":' * 100_000,
        b'{"a' * 100_000,
        b'{"interaction":{},"raws":[' + b"{},".rjust(10_000),
        b'"' + b"\\" * 100_001,
    ],
)
def test_what_is_no_document_is_refused(content: bytes) -> None:
    error = refusal(content)
    assert error.status == 400
    assert str(error).isprintable() and len(str(error)) < 500


@settings(max_examples=100)
@given(
    place=st.integers(0, len(WHOLE)),
    cut=st.integers(0, 20),
    put=st.binary(max_size=6) | st.text('[]{},:"\\ 1n', max_size=4),
)
def test_a_document_that_was_damaged_is_read_or_refused(place: int, cut: int, put: bytes | str) -> None:
    damage = put.encode() if isinstance(put, str) else put
    try:
        read(WHOLE[:place] + damage + WHOLE[place + cut :])
    except UploadError as error:
        assert error.status in (400, 413)
        assert str(error).isprintable()


@settings(max_examples=50)
@given(content=st.binary(max_size=100), rows=st.text(max_size=100), archive=st.none() | st.binary(max_size=60))
def test_whatever_comes_in_whatever_form_is_refused(content: bytes, rows: str, archive: bytes | None) -> None:
    refusal(content, archive)

    async def others() -> None:
        uploads = Uploads(XAgentServerEnv(**LIMITS))
        with tempfile.TemporaryFile() as file, tempfile.TemporaryFile() as zipped:
            file.write(content)
            file.seek(0)
            zipped.write(archive or b"")
            with pytest.raises(UploadError):
                await uploads.read_lines(file)
            for interaction in (rows, content.decode("utf-8", "surrogateescape"), json.dumps(INTERACTION)):
                with pytest.raises(UploadError):
                    await uploads.read_parts(interaction, rows, None if archive is None else zipped)

    asyncio.run(others())


@pytest.mark.parametrize("text", ["\ud800", "[\ud800]", '[{"a": "\udcff"}]'])
async def test_parts_that_are_no_text_are_refused(text: str) -> None:
    uploads = Uploads(XAgentServerEnv(**LIMITS))
    for interaction, rows in ((text, "[]"), (json.dumps(INTERACTION), text)):
        with pytest.raises(UploadError) as caught:
            await uploads.read_parts(interaction, rows, None)
        assert caught.value.status == 400


async def test_rows_with_more_behind_them_are_refused() -> None:
    uploads = Uploads(XAgentServerEnv(**LIMITS))
    rows = f"[{last().decode()}]"
    assert len((await uploads.read_parts(json.dumps(INTERACTION), f"\n{rows} \n", None)).recording.rows) == 1
    for rest in ("x", "]", ",", rows, "\0", "//"):
        with pytest.raises(UploadError):
            await uploads.read_parts(json.dumps(INTERACTION), rows + rest, None)


async def test_blank_lines_are_no_rows(server: Server) -> None:
    content = b"\n".join([dumps(INTERACTION), b"", node(), b" \t", b"\r", last(), b"", b""])
    assert_accepted(await post(server, content, "application/x-ndjson"))
    await assert_watchable(server, 2)


# What is JSON, but strange

STRANGE = [
    '"\\ud800"',
    '"\\udc00\\ud800"',
    '"\\ud83d\\ude00"',
    '{"\\ud800":"\\udfff"}',
    '"\\u0000"',
    '{"\\u0000":1}',
    '"\\u2028\\u2029\\ufffe\\uffff"',
    '"\\/\\b\\f\\n\\r\\t\\"\\\\"',
    '"😀é\u2028"',
    "123456789012345678901234567890",
    "-9223372036854775809",
    "9223372036854775808",
    "18446744073709551616",
    "9" * 4300,
    "9" * 5000,
    "-" + "9" * 5000,
    "1e400",
    "-1e400",
    "1e-400",
    "1E+2",
    "-0",
    "-0.0",
    "0.1000000000000000055511151231257827021181583404541015625",
    "3.14159265358979323846264338327950288",
    "1e999999999999999999999",
    '{"a":1,"a":2}',
    '{"":{"":[]}}',
    '{"__proto__":{"polluted":true},"constructor":1}',
    '{"data":null,"status":"finished","type":"shared"}',
    '{"using_tools":{"tool_name":"PythonNotebook_execute_cell","tool_output":[{"file_name":"../../x"},1,null]}}',
    '{"using_tools":{"tool_input":"\\\\ud800\\\\u0000","tool_output":"\\\\u00"}}',
    '{"using_tools":[]}',
    '{"subtasks":[{"name":"\\ud800","task_id":"1.1"},{"name":1},null]}',
    "[]",
    "{}",
    '""',
    "0",
    "false",
    "[" * DEPTH + "]" * DEPTH,
    '{"a":' * DEPTH + "null" + "}" * DEPTH,
    '[{"a":' * (DEPTH // 2) + '"\\ud800"' + "}]" * (DEPTH // 2),
    "[" + "[]," * 1500 + "[]]",
]


async def is_taken(row: bytes) -> bool:
    """Whether a row is one that an upload may have; the others are refused clearly."""
    with tempfile.TemporaryFile() as file:
        file.write(document(dumps(INTERACTION), [row]))
        try:
            await Uploads(XAgentServerEnv(**LIMITS)).read_document(file)
        except UploadError as error:
            assert error.status == 400 and str(error).isprintable()
            return False
    return True


@pytest.mark.parametrize("form", READ_APART[1:])
async def test_strange_data_is_kept_as_it_is_or_refused_and_never_breaks_a_replay(server: Server, form: str) -> None:
    kept = [text for text in STRANGE if await is_taken(node_with(text))]
    rows = [node_with(text, status="start", include_pictures=True, step=step) for step, text in enumerate(kept)]
    assert_accepted(await send(server, form, dumps(INTERACTION), [*rows, node(status="finished", step=len(kept))]))
    classic, v1 = await assert_watchable(server, len(kept) + 1)
    assert classic[-1]["status"] == v1[-1]["status"] == "finished"
    export = strictly((await request(server, "GET", "/api/v1/recordings/run/export")).content)
    for offset, text in enumerate(kept, 1):
        assert strictly(await data_of(server, offset)) == export["raws"][offset - 1]["data"] == strictly(text)


KEPT = ['"\\ud800"', "123456789012345678901234567890", "18446744073709551616", "1e400", "[" * DEPTH + "]" * DEPTH]


async def test_what_other_json_readers_lose_is_kept(server: Server) -> None:
    rows = [node_with(text, step=step) for step, text in enumerate(KEPT)]
    assert_accepted(await send(server, "document", dumps(INTERACTION), rows))
    _, v1 = await replay(server)
    for offset, text in enumerate(KEPT, 1):
        assert await data_of(server, offset) == text.encode()
        assert v1[offset - 1]["data"] == strictly(text)


async def test_the_other_json_of_a_row_may_be_strange_too(server: Server) -> None:
    def row_of(text: str, **fields: Any) -> bytes:
        columns = dict.fromkeys(("file_list", "human_data", "human_file_list"), "HERE")
        return node(is_human=True, **columns, **fields).replace(b'"HERE"', text.encode())

    kept = [text for text in STRANGE if await is_taken(row_of(text))]
    rows = [row_of(text, step=step) for step, text in enumerate(kept)]
    finished = dumps(INTERACTION | {"status": "finished"})
    assert_accepted(await send(server, "document", finished, [*rows, last()]))
    await assert_watchable(server, len(kept) + 1)


async def test_the_list_of_files_may_be_anything(server: Server) -> None:
    lists: list[Any] = [
        None,
        [],
        {},
        "a.txt",
        1,
        [1, None, "a.txt", ["b"], {"c": "d"}],
        ["\ud800", "\0", "../x", "a" * 5000],
    ]
    rows = [node(file_list=value, step=step) for step, value in enumerate(lists)]
    assert_accepted(await send(server, "document", dumps(INTERACTION), rows))
    await assert_watchable(server, len(rows))


async def test_a_state_may_be_anything(server: Server) -> None:
    for number, status in enumerate(["running", "waiting", "ready", "", "\n", "x" * 255, None]):
        run = f"run-{number}"
        fields = {"interaction_id": run, "status": status, "message": "\r\n" * 10, "call_method": "", "mode": None}
        rows = [node(interaction_id=run, status=(status or "")[:20], step=0)]
        rows.append(node(interaction_id=run, status="finished", step=1))
        assert_accepted(await send(server, "document", dumps(INTERACTION | fields), rows))
        classic, v1 = await replay(server, run)
        assert [row["status"] for row in classic] == [row["status"] for row in v1] == [(status or "")[:20], "finished"]


TIMES = [
    "",
    " ",
    "x",
    "\n",
    "9999-12-31 23:59:59.999999",
    "0001-01-01T00:00:00+14:00",
    "2023-11-17T10:00:00-23:59",
    "2023-W46",
]
TIMES += [
    "99999999999999",
    "-1",
    "1e400",
    "2023-11-17 10:00:00\0"[:-1] + " ",
    "20231117T100000",
    "２０２３-11-17",
    "x" * 255,
]


async def test_a_time_may_be_anything(server: Server) -> None:
    times = [time for one in TIMES for time in (one, "2023-11-17 10:00:00", None)]
    rows = [node(create_time=time, update_time=time, step=step) for step, time in enumerate(times)]
    assert_accepted(await send(server, "document", dumps(INTERACTION), rows))
    await assert_watchable(server, len(rows))
    for number, time in enumerate(TIMES):
        interaction = {"interaction_id": f"run-{number}", "create_time": time, "update_time": time}
        rows = [node(interaction_id=f"run-{number}", create_time=time, status="finished")]
        assert_accepted(await send(server, "document", dumps(INTERACTION | interaction), rows))
    for query in ("mine=true", "mine=true&limit=1", "mine=true&q=a"):
        assert (await request(server, "GET", f"/api/v1/recordings?{query}", headers=BEARER)).status_code == 200


async def test_steps_may_be_anything(server: Server) -> None:
    many: list[list[int | None]] = [[None, None], [-(2**31), 2**31 - 1], [5, 5], [3, None, 1, 2], [0, -1, None]]
    for run, steps in enumerate(many):
        rows = [
            node(interaction_id=f"run-{run}", step=step, wait_seconds=-(2**31), data=[number])
            for number, step in enumerate(steps)
        ]
        assert_accepted(await send(server, "document", dumps(INTERACTION | {"interaction_id": f"run-{run}"}), rows))
        _, v1 = await replay(server, f"run-{run}")
        in_order = sorted(range(len(steps)), key=lambda number: (steps[number] is not None, steps[number] or 0))
        assert [row["data"] for row in v1] == [[f"number {number}"] for number in in_order]


NAMES = ["a b", "\r\n", "\x1b[31m", "<script>", "😀" * 60, "../..", "%00", '"', "\\", "\u2028"]


async def test_names_may_be_anything_that_a_text_may_be(server: Server) -> None:
    rows = [node(node_id=f"{name}{step}", current=name, step=step) for step, name in enumerate(NAMES)]
    fields = dict.fromkeys(("user_id", "description", "agent", "mode", "recorder_root_dir", "message"), "".join(NAMES))
    assert_accepted(await send(server, "document", dumps(INTERACTION | fields), rows))
    classic, v1 = await assert_watchable(server, len(NAMES))
    assert [row["current"] for row in classic] == [row["current"] for row in v1] == NAMES
    assert (await request(server, "GET", "/api/v1/recordings/run")).json()["description"] == "".join(NAMES)


async def test_what_was_uploaded_as_deleted_can_be_watched_or_was_refused(server: Server) -> None:
    response = await send(server, "document", dumps(INTERACTION | {"is_deleted": True}), [last()])
    if response.status_code == 400:
        return
    # Else its id is taken for ever: who owns it neither sees it nor can remove it.
    assert (await request(server, "GET", "/api/v1/recordings/run", headers=BEARER)).status_code == 200
    assert (await request(server, "DELETE", "/api/v1/recordings/run", headers=BEARER)).status_code == 204


# Columns

NOT_AN_ID = [
    "",
    ".",
    "..",
    "../run",
    "a/b",
    "/etc/passwd",
    "a\\b",
    "C:run",
    ".hidden",
    "a\0",
    "a\n",
    "\n",
    "a b",
    "é",
    "😀",
]
NOT_AN_ID += ["%2e%2e", "x" * 129, "run?", "run#", "*", "~", "rs_" + "a" * 32]


@pytest.mark.parametrize("form", READ_APART)
async def test_an_id_that_could_lead_elsewhere_is_refused(server: Server, temp: Path, form: str) -> None:
    archive = make_zip(Entry())
    ids: list[Any] = [*NOT_AN_ID, None, 1, True, [], {}, ["run"]]
    for interaction_id in ids:
        rows = [node(interaction_id=interaction_id, status="finished")]
        interaction = dumps(INTERACTION | {"interaction_id": interaction_id})
        assert_refused(await send(server, form, interaction, rows, archive))
    await assert_nothing(server, temp)


DATES = [
    "../../../evil",
    "2023-11-1/",
    "2023-11-17/../../../evil",
    "/etc/passwd",
    "..",
    "....-..-..",
    "２０２３-１１-１７",
]
DATES += ["2023-11-17\n", "\n2023-11-17", "C:\\2023-11", "", "2023-11-17x", "😀" * 10, "~root/2023", "0000-00-00", None]


async def test_a_date_makes_no_path_but_that_of_a_day(server: Server, temp: Path) -> None:
    base = server.settings.base_dir
    around = set(base.parent.iterdir()) | {base}
    for number, date in enumerate(DATES):
        run = f"run-{number}"
        interaction = dumps(INTERACTION | {"interaction_id": run, "create_time": date})
        rows = [node(interaction_id=run, create_time=date, status="finished")]
        assert_accepted(await send(server, "multipart", interaction, rows, make_zip(Entry())))
        (file,) = base.rglob(f"{run}/workspace/a.txt")
        day = file.parent.parent.parent
        assert day.parent == base / "localstorage" / "interact_records"
        assert day.name in ("undated", "2023-11-17", "0000-00-00")
    assert set(base.parent.iterdir()) == around
    await assert_watchable(server, 1, run)


INTERACTION_FIELDS: list[tuple[str, Any]] = [
    ("user_id", None),
    ("user_id", 1),
    ("user_id", "x" * 256),
    ("user_id", "a\0"),
    ("create_time", 1700000000),
    ("create_time", "x" * 256),
    ("update_time", []),
    ("description", "a\0b"),
    ("description", "\ud800"),
    ("description", {"a": 1}),
    ("agent", "x" * 256),
    ("mode", False),
    ("status", 0),
    ("message", ["a"]),
    ("current_step", 0),
    ("is_deleted", "false"),
    ("is_deleted", 2),
    ("is_deleted", 0.0),
    ("call_method", None),
    ("recorder_root_dir", 1),
    ("unknown", 1),
    ("parameters", []),
    ("", ""),
]


async def test_a_field_of_the_interaction_that_cant_be_is_refused_by_its_name(server: Server, temp: Path) -> None:
    for field, value in INTERACTION_FIELDS:
        response = await send(server, "document", dumps(INTERACTION | {field: value}), [last()])
        assert_refused(response, "$.interaction", field)
    for field in ("interaction_id", "user_id"):
        less = {name: value for name, value in INTERACTION.items() if name != field}
        assert_refused(await send(server, "document", dumps(less), [last()]), field)
    twice = dumps(INTERACTION)[:-1] + b', "user_id": "another"}'
    assert_refused(await send(server, "document", twice, [last()]), "user_id")
    await assert_nothing(server, temp)


ROW_FIELDS: list[tuple[str, Any]] = [
    ("node_id", ""),
    ("node_id", None),
    ("node_id", 1),
    ("node_id", "x" * 256),
    ("node_id", "a\0"),
    ("node_id", "\ud800"),
    ("interaction_id", "another"),
    ("interaction_id", None),
    ("interaction_id", "../run"),
    ("current", "x" * 129),
    ("current", 1),
    ("step", "1"),
    ("step", 1.0),
    ("step", True),
    ("step", 2**31),
    ("step", -(2**31) - 1),
    ("step", 10**30),
    ("wait_seconds", 2**31),
    ("status", "x" * 21),
    ("status", ["inner"]),
    ("create_time", 0),
    ("update_time", "x" * 256),
    ("is_deleted", "no"),
    ("is_human", 2),
    ("is_send", None),
    ("include_pictures", "true"),
    ("do_interrupt", -1),
    ("unknown", 1),
    ("Data", 1),
    ("", None),
]


async def test_a_field_of_a_row_that_cant_be_is_refused_by_its_name(server: Server, temp: Path) -> None:
    for field, value in ROW_FIELDS:
        response = await send(server, "document", dumps(INTERACTION), [node(), node(**{field: value})])
        assert_refused(response, "$.raws[1]", field)
    for again in (b', "data": 1}', b', "d\\u0061ta": 1}', b', "node_id": "b"}'):
        row = node(data=2)[:-1] + again
        assert_refused(await send(server, "document", dumps(INTERACTION), [row]), "$.raws[0]")
    same = node(node_id="same")
    assert_refused(await send(server, "lines", dumps(INTERACTION), [same, same]), "node_id", "same")
    assert_refused(await send(server, "lines", dumps(INTERACTION), []), "$.raws")
    await assert_nothing(server, temp)


NOT_A_PATH = ["", ".", "..", "../evil", "a/../../evil", "a/..", "./a", "a//b", "a/", "/etc/evil", "C:/evil", "c:evil"]
NOT_A_PATH += [
    "a\\b",
    "\\evil",
    "a\0b",
    "\ud800",
    "x" * 256,
    "é" * 128,
    "/".join(["😀" * 63] * 16),
    "/".join(["x" * 99] * 11),
]


async def test_a_file_that_would_lie_elsewhere_is_refused_by_its_name(server: Server, temp: Path) -> None:
    for name in NOT_A_PATH:
        content = document(dumps(INTERACTION), [last()], dumps({"good.txt": "YQ==", name: "YQ=="}))
        shown = name[:20] if name.isprintable() and "\\" not in name else ""
        assert_refused(await post(server, content), "$.workspace", shown)
    await assert_nothing(server, temp)


async def test_files_that_cant_be_are_refused(server: Server, temp: Path) -> None:
    names = ["null", "[]", "1", '"a"', '{"a":1}', '{"a":null}', '{"a":{}}', '{"a":"YQ="}', '{"a":"Y Q=="}', '{"a":"é"}']
    names += [
        '{"a":"YQ==","a":"YQ=="}',
        '{"a":"YQ==","\\u0061":"YQ=="}',
        '{"a":"YQ==","a/b":"YQ=="}',
        '{"a/b":"","a":""}',
    ]
    names += [
        '{"a":"YQ=="',
        '{"a":"YQ==",}',
        '{"a":NaN}',
        '{"a":"\\ud800"}',
        "{" * 2000,
        '{"a":' + "[" * 1000 + "]" * 1000 + "}",
    ]
    for files in names:
        content = document(dumps(INTERACTION), [last()], files.encode())
        assert_refused(await post(server, content))
    await assert_nothing(server, temp)


async def test_files_here_and_in_a_zip_are_too_many(server: Server, temp: Path) -> None:
    files = {"recording": document(dumps(INTERACTION), [last()], b'{"a":"YQ=="}'), "files": make_zip(Entry())}
    assert_refused(await post_form(server, "/api/v1/recordings", {}, files), "$.workspace")
    await assert_nothing(server, temp)


HOSTILE_ZIPS = {
    "out": ("'../evil.txt'", make_zip(Entry(name=b"good.txt"), Entry(name=b"../evil.txt"))),
    "absolute": ("'/etc/evil.txt'", make_zip(Entry(name=b"/etc/evil.txt"))),
    "drive": ("'C:/evil.txt'", make_zip(Entry(name=b"C:/evil.txt"))),
    "link": ("'link'", make_zip(Entry(name=b"link", content=b"/etc", mode=0o120777))),
    "twice": ("'a.txt'", make_zip(Entry(), Entry())),
    "lie": ("'b.txt'", make_zip(Entry(name=b"good.txt"), Entry(name=b"b.txt", size=10, crc=0))),
    "checksum": ("'b.txt'", make_zip(Entry(name=b"good.txt"), Entry(name=b"b.txt", crc=1))),
    "bomb": (
        "'b.txt'",
        make_zip(deflated(b"a", name=b"good.txt"), deflated(bytes(200_000), name=b"b.txt", size=90_000)),
    ),
    "large": ("bytes", make_zip(deflated(bytes(200_000)))),
    "many": ("4 files", make_zip(*(Entry(name=b"%d" % number) for number in range(5)))),
    "no zip": ("zip", b"PK\3\4 no zip"),
    "nothing": ("zip", b""),
    "half": ("zip", make_zip(Entry())[:-10]),
    "bzip2": ("'a.txt'", make_zip(Entry(method=12, packed=b"BZh9" + bytes(50)))),
}


@pytest.mark.parametrize("form", ["multipart", "community"])
async def test_a_zip_that_is_refused_leaves_nothing(server: Server, temp: Path, form: str) -> None:
    for said, archive in HOSTILE_ZIPS.values():
        response = await send(server, form, dumps(INTERACTION), [last()], archive)
        assert_refused(response, said, status=(400, 413))
        assert not list(temp.parent.rglob("*evil*"))
    await assert_nothing(server, temp)


# Limits


@pytest.mark.parametrize("form", READ_APART)
async def test_a_row_too_many_is_refused(server: Server, temp: Path, form: str) -> None:
    rows = [node() for _ in range(LIMITS["max_upload_rows"] - 1)]
    response = await send(server, form, dumps(INTERACTION), [*rows, node(), last()])
    assert_refused(response, "at most 60 rows", status=413)
    await assert_nothing(server, temp)
    assert_accepted(await send(server, form, dumps(INTERACTION), [*rows, last()]))


@pytest.mark.parametrize("form", READ_APART)
async def test_a_row_too_large_is_refused(server: Server, temp: Path, form: str) -> None:
    def row_of(size: int) -> bytes:
        return node_with('"' + "x" * (size - len(node_with('""'))) + '"')

    largest = row_of(LIMITS["max_row_bytes"])
    for row in (largest + b" ", row_of(LIMITS["max_row_bytes"] + 1), row_of(100_000), b"[" * 100_000, b'"' * 100_001):
        response = await send(server, form, dumps(INTERACTION), [node(), row[:-1] + b"}", last()])
        assert_refused(response, status=(400, 413))
    response = await send(server, form, dumps(INTERACTION), [node(), row_of(30_000), last()])
    assert_refused(response, "$.raws[1]", "20000 bytes", status=413)
    await assert_nothing(server, temp)
    assert_accepted(await send(server, form, dumps(INTERACTION), [node(), row_of(19_000), last()]))


@pytest.mark.parametrize("form", READ_APART)
async def test_a_row_may_be_exactly_as_large_as_it_may(server: Server, form: str) -> None:
    row = node_with('"HERE"', step=0)
    row = row.replace(b"HERE", b"x" * (4 + LIMITS["max_row_bytes"] - len(row)))
    assert len(row) == LIMITS["max_row_bytes"]
    assert_accepted(await send(server, form, dumps(INTERACTION), [row, last()]))


@pytest.mark.parametrize("form", FORMS)
async def test_more_than_is_held_in_memory_is_given_back(server: Server, temp: Path, form: str) -> None:
    full = '"' + "x" * 19_700 + '"'
    rows = [node_with(full, step=step) for step in reversed(range(LIMITS["max_upload_rows"] - 1))]
    assert sum(map(len, rows)) > IN_MEMORY_BYTES
    assert_refused(await send(server, form, dumps(INTERACTION), [*rows, node(status="x" * 21)]), "status")
    await assert_nothing(server, temp)
    for accepted in (True, False):
        response = await send(server, form, dumps(INTERACTION), [*rows, last()])
        assert response.status_code == 409 or response.json().get("success", accepted) is accepted
        assert files_below(temp) == [] and open_temp_files(temp) == []
    assert (await stored(server))["raw"] == LIMITS["max_upload_rows"]


@pytest.mark.parametrize("form", READ_APART)
async def test_an_interaction_too_large_is_refused(server: Server, temp: Path, form: str) -> None:
    interaction = dumps(INTERACTION | {"description": "x" * MAX_INTERACTION_BYTES})
    assert_refused(await send(server, form, interaction, [last()]), "$.interaction", status=413)
    await assert_nothing(server, temp)


async def test_files_too_many_or_too_large_are_refused(server: Server, temp: Path) -> None:
    four = {f"{number}.txt": "YQ==" for number in range(4)}
    response = await post(server, document(dumps(INTERACTION), [last()], dumps(four | {"a": ""})))
    assert_refused(response, "$.workspace", "4 files", status=413)
    large = base64.b64encode(bytes(LIMITS["max_unpacked_bytes"] + 1)).decode()
    response = await post(server, document(dumps(INTERACTION), [last()], dumps({"a": large})))
    assert_refused(response, status=413)
    await assert_nothing(server, temp)
    assert_accepted(await post(server, document(dumps(INTERACTION), [last()], dumps(four))))


async def test_folders_count_as_well_as_files(server: Server, temp: Path) -> None:
    deep = {"/".join([f"{number}", *"abcdefghijklmnopqrstuvwxyz" * 5, "a.txt"]): "YQ==" for number in range(4)}
    response = await post(server, document(dumps(INTERACTION), [last()], dumps(deep)))
    assert_refused(response, status=(400, 413))
    await assert_nothing(server, temp)


@pytest.mark.parametrize("kind", ["application/json", "application/jsonl", "multipart/form-data; boundary=x"])
async def test_a_body_too_large_is_refused(server: Server, temp: Path, kind: str) -> None:
    paths = ["/api/v1/recordings"] + (["/conv/community"] if "multipart" in kind else [])

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b" " * 100_000

    for path in paths:
        assert_refused(await post(server, b" " * 3_000_001, kind, path), "3000000 bytes", status=413)
        assert_refused(await post(server, pieces(), kind, path), "3000000 bytes", status=413)
    await assert_nothing(server, temp)


async def test_a_body_may_be_exactly_as_large_as_it_may(server: Server) -> None:
    content = document(dumps(INTERACTION), [last()])
    assert_accepted(await post(server, content + b" " * (LIMITS["max_upload_bytes"] - len(content))))


@pytest.mark.parametrize("path", ["/user/login", "/conv/getUserInteractions", "/workspace/file"])
async def test_a_form_that_holds_no_recording_is_small(server: Server, temp: Path, path: str) -> None:
    response = await request(server, "POST", path, data=AUTHOR | {"email": "x" * 1_200_000})
    assert response.status_code == 413
    await assert_nothing(server, temp)


async def test_a_stranger_uploads_nothing(server: Server, temp: Path) -> None:
    for token in ("", "Bearer wrong", "Bearer ", "Basic YTpi", f"Bearer {TOKEN}x", TOKEN):
        for kind in ("application/json", "application/jsonl", "text/plain"):
            headers = {"authorization": token, "content-type": kind}
            response = await request(server, "POST", "/api/v1/recordings", content=WHOLE, headers=headers)
            assert_refused(response, status=401)
    await assert_nothing(server, temp)


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/xml", "application/x-www-form-urlencoded", "multipart/mixed"]
)
async def test_a_body_of_another_kind_is_refused(server: Server, temp: Path, kind: str) -> None:
    assert_refused(await post(server, WHOLE, kind), status=415)
    await assert_nothing(server, temp)


FORM = "multipart/form-data; boundary=x"
PART = b'--x\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n'


NO_RECORDING = [
    (FORM, b""),
    (FORM, b"--x--\r\n"),
    ("multipart/form-data", b"--x--\r\n"),
    (FORM, WHOLE),
    (FORM, PART % (b"recording", b"") + WHOLE + b"\r\n--x--\r\n"),
    (FORM, PART % (b"other", b'; filename="a"') + WHOLE + b"\r\n--x--\r\n"),
    (FORM, PART % (b"recording", b'; filename="a"') + WHOLE[:-5] + b"\r\n--x--\r\n"),
    (FORM, PART % (b"recording", b'; filename="a"') + b"\r\n--x--\r\n"),
    (FORM, PART % (b"recording", b'; filename="a"') + WHOLE + b"\r\n" + PART % (b"files", b"") + b"a\r\n--x--\r\n"),
    (FORM, PART % (b"recording", b'; filename="a"') + b" " * 1_500_000 + b"\r\n--x\r\n\r\n\xff\r\n--x--"),
    (FORM, PART % (b"recording", b'; filename="a"') + b" " * 1_500_000),
    (FORM, b"".join(PART % (b"f", b'; filename="a"') + b"a\r\n" for _ in range(200)) + b"--x--\r\n"),
]


async def test_a_form_that_holds_no_recording_is_refused(server: Server, temp: Path) -> None:
    for kind, content in NO_RECORDING:
        assert_refused(await post(server, content, kind))
    await assert_nothing(server, temp)


async def test_an_id_that_is_there_is_refused_and_changes_nothing(server: Server, temp: Path) -> None:
    kept = [node(step=0), node(step=1, status="finished")]
    assert_accepted(await send(server, "multipart", dumps(INTERACTION), kept, make_zip(Entry())))
    before = await stored(server), files_below(server.settings.base_dir)
    for form in FORMS:
        for rows in (kept, [last()]):
            response = await send(server, form, dumps(INTERACTION), rows, make_zip(Entry(name=b"b.txt")))
            refused = response.json()
            assert response.status_code == 409 or (refused["success"], refused["message"]) == (
                False,
                "interaction is exist!",
            )
            assert (await stored(server), files_below(server.settings.base_dir)) == before
    assert files_below(temp) == [] and open_temp_files(temp) == []


# What goes wrong on the way


async def test_who_is_overtaken_while_he_unpacks_is_refused(server: Server, temp: Path) -> None:
    base = server.settings.base_dir
    patient = Server(server.gateway, base, max_unpack_ratio=10_000)
    large = make_zip(Entry(name=b"first.txt"), deflated(bytes(60_000_000), name=b"large.txt"))
    slow = asyncio.create_task(send(patient, "multipart", dumps(INTERACTION), [last()], large))
    await until(lambda: slow.done() or any(base.rglob(".workspace-*/large.txt")))
    quick = await send(patient, "multipart", dumps(INTERACTION), [last()], make_zip(Entry()))
    answers = [quick, await slow]
    assert sorted(answer.status_code for answer in answers) == [201, 409]
    assert (await stored(server))["raw"] == 1
    (workspace,) = base.rglob("run/*")
    assert workspace.name == "workspace"
    files = ["a.txt"] if quick.status_code == 201 else ["first.txt", "large.txt"]
    assert sorted(path.name for path in workspace.iterdir()) == files
    assert files_below(temp) == [] and open_temp_files(temp) == []


@pytest.fixture
async def port(server: Server) -> AsyncIterator[int]:
    async with serve_here(server.app) as port:
        yield port


def head(path: str, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: test", f"Authorization: Bearer {TOKEN}", *headers, "", ""]
    return "\r\n".join(lines).encode()


HALF = [
    ("/api/v1/recordings", "application/json", b'{"interaction":'),
    ("/api/v1/recordings", "application/jsonl", dumps(INTERACTION) + b"\n"),
    ("/api/v1/recordings", FORM, PART % (b"recording", b'; filename="a"')),
    ("/conv/community", FORM, PART % (b"files", b'; filename="a"')),
]


@pytest.mark.parametrize("leave", ["closes", "resets"])
@pytest.mark.parametrize(("path", "kind", "start"), HALF, ids=FORMS)
async def test_who_leaves_in_the_middle_leaves_nothing_behind(
    server: Server,
    temp: Path,
    port: int,
    caplog: pytest.LogCaptureFixture,
    path: str,
    kind: str,
    start: bytes,
    leave: str,
) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head(path, f"Content-Type: {kind}", "Content-Length: 2900000") + start + b" " * 1_500_000)
    await until(lambda: bool(open_temp_files(temp)))
    if leave == "resets":
        writer.transport.abort()
    else:
        writer.close()
    await until(lambda: not open_temp_files(temp))
    await assert_nothing(server, temp)
    assert not errors(caplog)


async def test_who_says_too_much_is_refused_before_he_sends_it(server: Server, temp: Path, port: int) -> None:
    for path in ("/api/v1/recordings", "/conv/community"):
        for size in ("3000001", "9" * 18, "9" * 19, "9" * 300):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head(path, "Content-Type: application/json", f"Content-Length: {size}"))
            async with asyncio.timeout(PATIENCE_SECONDS):
                assert (await reader.readline()).split()[1] in (b"413", b"400")
            writer.close()
    await assert_nothing(server, temp)


@pytest.mark.parametrize("path", ["/api/v1/recordings", "/conv/community"])
async def test_who_says_nothing_of_the_size_is_refused_when_it_is_too_much(
    server: Server, temp: Path, port: int, path: str
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head(path, "Content-Type: application/jsonl", "Transfer-Encoding: chunked"))
    for _ in range(30):
        writer.write(b"%x\r\n" % 100_000 + b" " * 100_000 + b"\r\n")
        await writer.drain()
    writer.write(b"1\r\n \r\n")  # and neither more nor an end
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert (await reader.readline()).split()[1] == b"413"
    writer.close()
    await until(lambda: not open_temp_files(temp))
    await assert_nothing(server, temp)


async def test_who_doesnt_go_on_is_told_so(
    server: Server, temp: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body, "RECEIVE_SECONDS", 0.01)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head("/api/v1/recordings", "Content-Type: application/json", "Content-Length: 100") + b"{")
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert (await reader.readline()).split()[1] == b"408"
    writer.close()
    await assert_nothing(server, temp)


async def test_an_upload_in_pieces_is_read_whole(port: int, server: Server) -> None:
    content = document(dumps(INTERACTION), [last()])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head("/api/v1/recordings", "Content-Type: application/json", "Transfer-Encoding: chunked"))
    for place in range(len(content)):
        writer.write(b"1\r\n" + content[place : place + 1] + b"\r\n")
    writer.write(b"0\r\n\r\n")
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert (await reader.readline()).split()[1] == b"201"
    writer.close()
    await assert_watchable(server, 1)


@pytest.fixture
def pipe() -> Iterator[tuple[Any, int]]:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as file:
        yield file, writing


async def test_a_reading_that_is_cancelled_ends_with_its_thread(pipe: tuple[Any, int]) -> None:
    file, writing = pipe
    before = threading.active_count()
    reading = asyncio.create_task(Uploads(XAgentServerEnv()).read_lines(file))
    await until(lambda: threading.active_count() > before)
    for _ in range(3):
        reading.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert not reading.done()  # the thread still reads the file, which must not be closed
    os.close(writing)
    with pytest.raises((asyncio.CancelledError, UploadError)):
        await reading


async def test_a_disk_that_is_full_leaves_neither_rows_nor_files(
    server: Server, temp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The folder for the records is a file: nothing can be written below it.
    base = server.settings.base_dir
    base.mkdir(exist_ok=True)
    (base / "localstorage").write_bytes(b"")
    with pytest.raises(OSError):
        await send(server, "multipart", dumps(INTERACTION), [last()], make_zip(Entry()))
    assert await stored(server) == {}
    assert files_below(temp) == [] and open_temp_files(temp) == []
