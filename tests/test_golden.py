"""The transcripts of the original server, replayed: the same frames, but for what PROTOCOL.md changes on purpose."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from share.access import NOT_FOUND
from share.formats import read_recording
from share.importing import store_recording
from storage.gateway import Gateway
from storage.models import Visibility
from storage.recordings import RecordingCRUD
from tests.asgi import Server, Viewer

GOLDEN = Path(__file__).parent / "data" / "golden"
WHOLE = [
    "binary_shared",
    "connect_msg",
    "double_shared_running",
    "normal_short",
    "ping",
    "second_shared_after_end",
    "short_original_timing",
]

_NUMBER = re.compile(r'"(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*')


def spelt_alike(frame: str) -> str:
    """A frame with every number as Python spells it: 1e-07 and 1e-7 are the same."""
    return _NUMBER.sub(lambda token: token[0] if token[0].startswith('"') else repr(json.loads(token[0])), frame)


def transcript(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (GOLDEN / f"{name}.frames.jsonl").read_text("utf-8").split("\n") if line]


def received(name: str) -> Iterator[str]:
    return (event["text"] for event in transcript(name) if event["event"] == "recv")


@pytest.fixture
async def server(gateway: Gateway, tmp_path: Path) -> Server:
    server = Server(gateway, tmp_path, pause_seconds=(0.1, 0.1))
    for name, shared in {"short": True, "edge": True, "running": False}.items():
        recording = read_recording(GOLDEN / f"{name}.recording.json")
        assert await store_recording(
            RecordingCRUD(gateway),
            tmp_path,
            recording,
            visibility=Visibility.UNLISTED if shared else Visibility.PRIVATE,
        )
    return server


async def play(server: Server, name: str) -> tuple[list[str], int | None]:
    """Do what the transcript's client did, as far apart as he did it: the frames, and the code if it was closed."""
    events = transcript(name)
    path, _, query = events[0]["url"].partition("?")
    async with server.connect(path, dict(parse_qsl(query))) as viewer:
        before: Mapping[str, Any] = {"t": 0}
        frames = 0
        for event in events:
            if event["event"] == "send":
                if event["t"] - before["t"] > 1:
                    await server.play_out()
                await viewer.send(event.get("text", b'{"type":"shared"}'))
            elif event["event"] == "recv":
                frames += 1
                await frame_or_close(server, viewer, frames)
            before = event
        await server.play_out()
        viewer.close()
        return viewer.frames, await viewer.ended()


async def frame_or_close(server: Server, viewer: Viewer, frames: int) -> None:
    await server.clock.run_until(lambda: len(viewer.frames) >= frames or viewer.task.done())


@pytest.mark.parametrize("name", WHOLE)
async def test_the_frames_are_those_of_the_original(server: Server, name: str) -> None:
    frames, code = await play(server, name)
    assert frames == list(received(name))
    assert code is None


def original_but_for_escapes() -> list[str]:
    """The rows of every kind, as the original sends them where it is right."""
    # The original's frame -> ours. It runs the tool's text through `unicode_escape`, which we don't.
    on_purpose = {
        '"tool_input": "ok\\tab",': '"tool_input": "ok\\\\tab",',
        """"tool_output": "regex \\\\d+ \\\\w \\\\ ' \\" A •\"""": (
            '"tool_output": "regex \\\\d+ \\\\w \\\\\\\\ \\\\\' \\\\\\" \\\\101 \\\\N{BULLET}"'
        ),
        '"tool_name": "x",\n      "tool_output": "a\\nb"': '"tool_name": "x",\n      "tool_output": "a\\\\nb"',
        '"tool_input": "plt.show()\\n",': '"tool_input": "plt.show()\\\\n",',
    }
    original = "\0".join(received("edge_rows"))
    for theirs, ours in on_purpose.items():
        assert original.count(theirs) == 1
        original = original.replace(theirs, ours)
    return [spelt_alike(frame) for frame in original.split("\0")]


async def test_rows_of_every_kind_are_sent_as_by_the_original_but_for_escapes(server: Server) -> None:
    frames, code = await play(server, "edge_rows")
    assert [spelt_alike(frame) for frame in frames] == original_but_for_escapes()
    assert code is None


async def test_a_user_with_a_run_going_on_is_refused_as_by_the_original(
    gateway: Gateway, server: Server, tmp_path: Path
) -> None:
    strict = Server(gateway, tmp_path, check_running=True)
    frames, code = await play(strict, "check_running_refused")
    assert frames == list(received("check_running_refused"))
    assert code == transcript("check_running_refused")[-1]["code"] == 1000


async def test_an_unknown_id_is_refused_where_the_original_is_silent_for_ever(server: Server) -> None:
    frames, code = await play(server, "unknown_id")
    assert frames == [json.dumps({"data": None, "status": "connect", "message": NOT_FOUND, "success": False}, indent=2)]
    assert code == 1000


async def test_malformed_json_gets_an_error_frame_where_the_original_drops_the_connection(server: Server) -> None:
    connected, *rest = received("malformed_json")
    assert rest == []
    frames, code = await play(server, "malformed_json")
    message, connection = json.loads(frames[1])["message"], json.loads(frames[1])["connection"]
    assert message.startswith('expected a JSON object such as {"type": "shared"}, got no valid JSON: ')
    error = {"data": None, "status": "error", "message": message, "success": False, "connection": connection}
    assert frames == [connected, json.dumps(error, indent=2)]
    assert code is None


async def test_after_malformed_json_the_connection_still_replays(server: Server) -> None:
    events = transcript("malformed_json")
    async with server.connect(events[0]["url"].partition("?")[0]) as viewer:
        await viewer.send("{not json")
        await viewer.send({"type": "shared"})
        await server.play_out()
        frames = viewer.frames
        assert [frames[0], *frames[2:]] == list(received("normal_short"))
