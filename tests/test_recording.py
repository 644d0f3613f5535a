from __future__ import annotations

import base64
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from share.classic_feed import FIRST_PAGE_ROWS, MAX_PAGE_ROWS, ClassicFeed
from share.frames import FrameCache
from share.recording import MAX_PICTURE_BYTES, RowEncoder
from storage.gateway import Gateway
from storage.interactions import InteractionCRUD
from storage.models import Interaction, Row
from storage.workspace import Workspace
from tests.asgi import Server, row, rows, shown

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256))


@pytest.fixture
def server(gateway: Gateway, tmp_path: Path) -> Server:
    return Server(gateway, tmp_path)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """The workspace `record/workspace` with a picture in it, and a secret beside it."""
    workspace = Workspace(tmp_path / "record")
    (workspace.root / "plots").mkdir(parents=True)
    (workspace.root / "plots" / "one.png").write_bytes(PICTURE)
    (workspace.root / "one.png").write_bytes(PICTURE)
    (workspace.root.parent / "secret").write_bytes(b"secret")
    return workspace


@pytest.fixture
def encoder(workspace: Workspace) -> RowEncoder:
    return RowEncoder("run", workspace)


@pytest.fixture
async def feed(interactions: InteractionCRUD, encoder: RowEncoder) -> ClassicFeed:
    return ClassicFeed(Interaction("run", "author"), interactions, FrameCache(2**26), encoder)


async def pages(feed: ClassicFeed) -> list[list[str]]:
    """The node_ids of each page, as a viewer goes through the recording."""
    reader = await feed.begin()
    pages: list[list[str]] = []
    page = None
    while len(run := await reader.read(10_000)):
        if run.page is not page:
            page = run.page
            pages.append([])
        pages[-1] += [json.loads(text)["node_id"] for text in run.texts()]
    return pages


async def texts_of(feed: ClassicFeed) -> list[str]:
    """The frames of a recording that is one page."""
    return [text.decode() for text in (await (await feed.begin()).read(100)).texts()]


async def node_ids(feed: ClassicFeed) -> list[str]:
    return [node_id for page in await pages(feed) for node_id in page]


# Pages


@pytest.mark.parametrize("count", [0, 1, FIRST_PAGE_ROWS - 1, FIRST_PAGE_ROWS, FIRST_PAGE_ROWS + 1, 600])
async def test_every_row_is_read_once_and_in_order(server: Server, feed: ClassicFeed, count: int) -> None:
    await server.record(*rows(count))
    assert await node_ids(feed) == [f"node-{step}" for step in range(count)]


async def test_the_first_page_is_small_and_the_next_ones_are_as_large_as_may_be(
    server: Server, feed: ClassicFeed
) -> None:
    await server.record(*rows(600))
    sizes = [len(page) for page in await pages(feed)]
    assert sizes == [FIRST_PAGE_ROWS, MAX_PAGE_ROWS, MAX_PAGE_ROWS, 600 - FIRST_PAGE_ROWS - 2 * MAX_PAGE_ROWS]


async def test_large_rows_come_in_small_pages(server: Server, feed: ClassicFeed) -> None:
    await server.record(*(row(step, "x" * 100_000) for step in range(24)))
    assert [len(page) for page in await pages(feed)] == [FIRST_PAGE_ROWS, 2, 2, 2, 2]


async def test_a_row_larger_than_a_page_is_read_all_the_same(server: Server, feed: ClassicFeed) -> None:
    await server.record(*(row(step, "x" * 500_000) for step in range(18)))
    assert [len(page) for page in await pages(feed)] == [FIRST_PAGE_ROWS, 1, 1]


@pytest.mark.parametrize("step", [None, 0, 7, -1, 2**31 - 1])
async def test_rows_of_one_step_come_in_the_order_in_which_they_were_stored(
    server: Server, feed: ClassicFeed, step: int | None
) -> None:
    await server.record(*(row(number, step=step) for number in range(300)))
    assert await node_ids(feed) == [f"node-{number}" for number in range(300)]


async def test_rows_without_a_step_come_before_all_others(server: Server, feed: ClassicFeed) -> None:
    await server.record(
        *(row(number, step=None) for number in range(40)), *(row(number, step=number - 60) for number in range(40, 80))
    )
    assert await node_ids(feed) == [f"node-{number}" for number in range(80)]


async def test_rows_are_read_in_the_order_of_their_steps(server: Server, feed: ClassicFeed) -> None:
    await server.record(*(row(step) for step in reversed(range(100))))
    assert await node_ids(feed) == [f"node-{step}" for step in range(100)]


@pytest.mark.parametrize("page", [0, 1])
async def test_deleted_rows_are_left_out_and_rows_never_marked_are_not(
    server: Server, feed: ClassicFeed, page: int
) -> None:
    first = page * FIRST_PAGE_ROWS
    await server.record(
        *rows(first),
        *(row(first + number, is_deleted=flag) for number, flag in enumerate([True, False, None, True, None])),
    )
    assert await node_ids(feed) == [f"node-{number}" for number in [*range(first), *(first + i for i in (1, 2, 4))]]


async def test_only_this_recordings_rows_are_read(server: Server, feed: ClassicFeed) -> None:
    await server.record(row(0))
    await server.record(row(1), interaction_id="running")
    await server.record(row(2), interaction_id="ru")
    assert await node_ids(feed) == ["node-0"]


async def test_rows_that_are_sent_at_once_are_not_too_large_together(server: Server, feed: ClassicFeed) -> None:
    await server.record(*(row(step, "x" * 100_000) for step in range(6)))
    reader = await feed.begin()
    assert [len(await reader.read(16)) for _ in range(4)] == [2, 2, 2, 0]


# Rows as frames


async def text_of(encoder: RowEncoder, stored: Row) -> str:
    return (await encoder.encode(shown(stored))).decode()


async def frame(encoder: RowEncoder, stored: Row) -> Any:
    return json.loads(await text_of(encoder, stored))


async def test_a_row_is_sent_in_the_originals_layout(encoder: RowEncoder) -> None:
    data = {"thoughts": "先读后写。", "empty": {}, "list": [], "nested": [1, [2.5, None, True]]}
    stored = row(0, data=json.dumps(data), file_list='["a.txt", "noext"]', status="subtask", current="1.2")
    expected = {
        "data": data,
        "status": "subtask",
        "message": "success",
        "success": True,
        "current": "1.2",
        "node_id": "node-0",
        "workspace_file_list": [{"name": "a.txt", "suffix": "txt"}, {"name": "noext", "suffix": "noext"}],
    }
    assert await text_of(encoder, stored) == json.dumps(expected, ensure_ascii=False, indent=2)


async def test_a_row_of_nothing_but_nulls_is_sent(encoder: RowEncoder) -> None:
    stored = row(0, data=None, file_list=None, status=None, current=None)
    assert await frame(encoder, stored) == {
        "data": None,
        "status": None,
        "message": "success",
        "success": True,
        "current": None,
        "node_id": "node-0",
        "workspace_file_list": [],
    }


@pytest.mark.parametrize("column", ["data", "file_list"])
@pytest.mark.parametrize(
    "broken",
    [
        "",
        "{broken",
        "NaN",
        '{"a": NaN}',
        "[Infinity]",
        "-Infinity",
        "1e999",
        "'single'",
        "[1,]",
        "\ufeff1",
        "[" * 100_000,
    ],
)
async def test_a_row_that_is_no_json_becomes_an_error_frame(
    encoder: RowEncoder, column: str, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    result = await frame(encoder, row(0, **{column: broken}))
    assert list(result) == ["data", "status", "message", "success", "current", "node_id", "workspace_file_list"]
    assert (result["data"], result["status"], result["success"]) == (None, "error", False)
    assert (result["current"], result["node_id"], result["workspace_file_list"]) == ("1.1", "node-0", [])
    assert result["message"].startswith("row node-0 can't be read: expected ")
    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (logging.WARNING, f"run: {result['message']}")


async def test_a_row_that_is_nested_deeper_than_python_can_write_becomes_an_error_frame(
    encoder: RowEncoder,
) -> None:
    deep = sys.getrecursionlimit()
    result = await frame(encoder, row(0, data="[" * deep + "]" * deep))
    assert (result["status"], result["message"]) == (
        "error",
        "row node-0 can't be read: expected JSON that is not nested as deeply",
    )


@pytest.mark.parametrize("depth", [255, 400])
async def test_a_row_that_is_nested_deeper_than_orjson_can_write_is_sent(encoder: RowEncoder, depth: int) -> None:
    text = await text_of(encoder, row(0, data="[" * depth + "]" * depth))
    assert json.loads(text)["status"] == "inner"
    assert text.count("[") == depth + 1


@pytest.mark.sqlite
async def test_bytes_that_are_no_utf8_spoil_one_row_and_not_its_page(server: Server, feed: ClassicFeed) -> None:
    await server.record(*rows(3))
    await server.gateway.execute("UPDATE raw SET data = CAST(X'22FFFE22' AS TEXT) WHERE node_id = 'node-1'")
    frames = [json.loads(text) for text in await texts_of(feed)]
    assert [frame["status"] for frame in frames] == ["inner", "error", "inner"]
    assert [frame["node_id"] for frame in frames] == ["node-0", "node-1", "node-2"]


@pytest.mark.sqlite
@pytest.mark.parametrize("column", ["status", "current", "node_id"])
async def test_bytes_that_are_no_utf8_in_another_column_spoil_at_most_this_row(
    server: Server, feed: ClassicFeed, column: str
) -> None:
    await server.record(*rows(3))
    await server.gateway.execute(f"UPDATE raw SET {column} = CAST(X'FFFE' AS TEXT) WHERE node_id = 'node-1'")
    texts = await texts_of(feed)
    assert len([text.encode() for text in texts]) == 3
    assert [json.loads(text)["data"] for text in (texts[0], texts[2])] == [
        {"thoughts": "thought 0"},
        {"thoughts": "thought 2"},
    ]


@pytest.mark.parametrize("column", ["data", "file_list"])
async def test_json_that_was_stored_as_bytes_spoils_at_most_this_row(
    server: Server, feed: ClassicFeed, column: str
) -> None:
    # As orjson.dumps makes them: SQLite keeps a BLOB in a TEXT column as it is.
    await server.record(*rows(3))
    await server.gateway.execute(f"UPDATE raw SET {column} = X'5B5D' WHERE node_id = 'node-1'")
    assert await node_ids(feed) == ["node-0", "node-1", "node-2"]


@pytest.mark.parametrize(
    "number",
    ["0", "-1", "9223372036854775808", "-9223372036854775809", "18446744073709551616", "1" * 400, "0.1", "1e-7", "1.0"],
)
async def test_no_number_changes_its_value(encoder: RowEncoder, number: str) -> None:
    sent = json.loads(await text_of(encoder, row(0, data=f'{{"n": {number}}}')))["data"]["n"]
    assert (sent, type(sent)) == (json.loads(number), type(json.loads(number)))


async def test_an_integer_too_long_for_python_becomes_an_error_frame(encoder: RowEncoder) -> None:
    assert (await frame(encoder, row(0, data="1" * 5000)))["status"] == "error"


async def test_a_lone_surrogate_stays_the_escape_that_it_was(encoder: RowEncoder) -> None:
    text = await text_of(encoder, row(0, data='["\\ud800", "\\ud83d\\ude00"]'))
    assert '"\\ud800"' in text and '"😀"' in text
    assert text.encode()


# Pictures


def notebook(*output: Any, include_pictures: bool = True, tool: str = "PythonNotebook_execute_cell") -> Row:
    tools = {"tool_name": tool, "tool_input": {"code": "plot()"}, "tool_output": list(output)}
    return row(0, {"using_tools": tools}, include_pictures=include_pictures)


def picture(name: Any) -> dict[str, Any]:
    return {"media_type": "image/png", "file_name": name}


async def picture_data(encoder: RowEncoder, *names: Any) -> list[Any]:
    result = await frame(encoder, notebook(*(picture(name) for name in names)))
    assert result["success"]
    return [part["file_data"] for part in result["data"]["using_tools"]["tool_output"]]


@pytest.mark.parametrize("name", ["one.png", "plots/one.png", "./plots/../one.png"])
async def test_a_picture_in_the_workspace_is_sent_as_base64(encoder: RowEncoder, name: str) -> None:
    (sent,) = await picture_data(encoder, name)
    assert base64.b64decode(sent) == PICTURE


async def test_where_a_row_has_pictures_the_frame_says_so(encoder: RowEncoder) -> None:
    output = ["cell_index: 0", picture("one.png"), {"media_type": "text/plain"}]
    tools = (await frame(encoder, notebook(*output)))["data"]["using_tools"]
    assert list(tools) == ["tool_name", "tool_input", "tool_output", "is_include_pictures"]
    assert tools["is_include_pictures"] is True
    assert [*tools["tool_output"][0::2]] == ["cell_index: 0", {"media_type": "text/plain"}]
    assert list(tools["tool_output"][1]) == ["media_type", "file_name", "file_data"]


@pytest.mark.parametrize(
    "stored", [notebook(picture("one.png"), include_pictures=False), notebook(picture("one.png"), tool="shell")]
)
async def test_a_row_that_is_no_notebook_cell_with_pictures_is_left_alone(encoder: RowEncoder, stored: Row) -> None:
    assert (await frame(encoder, stored))["data"] == json.loads(stored.data or "")


@pytest.mark.parametrize(
    "name",
    [
        "missing.png",
        "",
        ".",
        "plots",
        "../secret",
        "plots/../../secret",
        "/etc/passwd",
        "one.png/x",
        "a\0b",
        "\ud800",
        "x" * 300,
        "x/" * 5000,
        None,
        7,
        ["one.png"],
        {"name": "one.png"},
    ],
)
async def test_what_is_no_file_of_the_workspace_is_null(encoder: RowEncoder, name: Any) -> None:
    assert await picture_data(encoder, name) == [None]


async def test_the_secret_beside_the_workspace_is_not_sent_by_its_absolute_path(
    encoder: RowEncoder, workspace: Workspace
) -> None:
    assert await picture_data(encoder, str(workspace.root.parent / "secret")) == [None]


async def test_a_symbolic_link_that_leads_out_of_the_workspace_is_null(
    encoder: RowEncoder, workspace: Workspace
) -> None:
    (workspace.root / "link").symlink_to(workspace.root.parent / "secret")
    (workspace.root / "folder").symlink_to(workspace.root.parent)
    assert await picture_data(encoder, "link", "folder/secret") == [None, None]


async def test_a_symbolic_link_inside_the_workspace_is_followed(encoder: RowEncoder, workspace: Workspace) -> None:
    (workspace.root / "link.png").symlink_to("plots/one.png")
    (sent,) = await picture_data(encoder, "link.png")
    assert base64.b64decode(sent) == PICTURE


async def test_symbolic_links_in_a_circle_are_null(encoder: RowEncoder, workspace: Workspace) -> None:
    (workspace.root / "a").symlink_to("b")
    (workspace.root / "b").symlink_to("a")
    assert await picture_data(encoder, "a", "a/x.png") == [None, None]


async def test_a_pipe_is_null_and_blocks_nobody(encoder: RowEncoder, workspace: Workspace) -> None:
    os.mkfifo(workspace.root / "pipe")
    assert await picture_data(encoder, "pipe") == [None]


async def test_a_picture_that_is_too_large_is_null(encoder: RowEncoder, workspace: Workspace) -> None:
    with (workspace.root / "large.png").open("wb") as file:
        file.truncate(MAX_PICTURE_BYTES + 1)
    large, small = await picture_data(encoder, "large.png", "one.png")
    assert large is None and base64.b64decode(small) == PICTURE


async def test_the_pictures_of_one_row_are_bounded_together(encoder: RowEncoder, workspace: Workspace) -> None:
    with (workspace.root / "half.png").open("wb") as file:
        file.truncate(MAX_PICTURE_BYTES // 2)
    sent = await picture_data(encoder, "half.png", "one.png", "half.png", "one.png")
    assert [data is None for data in sent] == [False, False, True, False]


async def test_the_next_row_has_room_for_pictures_of_its_own(encoder: RowEncoder, workspace: Workspace) -> None:
    with (workspace.root / "most.png").open("wb") as file:
        file.truncate(MAX_PICTURE_BYTES * 3 // 4)
    for _ in range(2):
        (sent,) = await picture_data(encoder, "most.png")
        assert sent is not None


async def test_a_row_whose_indentation_would_be_many_times_its_size_is_an_error_frame(
    interactions: InteractionCRUD, tmp_path: Path
) -> None:
    deep = "[" * 250 + "]" * 250
    encoder = RowEncoder("run", Workspace(tmp_path))
    frame = json.loads(await text_of(encoder, Row("node", "run", data=f"[{','.join([deep] * 2000)}]")))
    assert (frame["status"], frame["data"]) == ("error", None)
    assert (
        len(json.loads(await text_of(encoder, Row("node", "run", data=f"[{','.join(['[]'] * 2000)}]")))["data"]) == 2000
    )
