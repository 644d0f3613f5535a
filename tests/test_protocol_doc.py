"""The examples of docs/protocol.md, run against the server."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from tests.server import CHECKOUT, GOLDEN, PATIENCE_SECONDS, SHORT, Server, run_here, start_server

DOC = (CHECKOUT / "docs" / "protocol.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```(classic|replay\.v1)(?: (\S+))?\n(.*?)^```", DOC, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("protocol")
    assert run_here("import", GOLDEN / "short.recording.json", folder=folder).returncode == 0
    with start_server(folder, SHARE_PAUSE_SECONDS="0") as server:
        yield server


def test_there_are_examples_of_both_dialects() -> None:
    assert {dialect for dialect, _, _ in EXAMPLES} == {"classic", "replay.v1"}
    assert len(EXAMPLES) == DOC.count("\n```") / 2


@pytest.mark.parametrize(("dialect", "path", "lines"), EXAMPLES, ids=range(len(EXAMPLES)))
async def test_an_example_is_what_happens(server: Server, dialect: str, path: str, lines: str) -> None:
    url = f"ws://127.0.0.1:{server.port}{path or f'/ws/share/{SHORT}'}"
    subprotocols = [Subprotocol(dialect)] if dialect != "classic" else None
    async with asyncio.timeout(PATIENCE_SECONDS), connect(url, subprotocols=subprotocols) as connection:
        await follow_the_script(connection, lines.splitlines())


async def follow_the_script(connection: ClientConnection, lines: list[str]) -> None:
    skipping, epoch = False, ""
    for line in lines:
        kind, _, text = line.partition(" ")
        if text == "…":
            skipping = True
        elif kind == ">":
            await connection.send(text.replace("$epoch", epoch))
        elif kind == "<":
            frame = json.loads(await connection.recv())
            while skipping and not agrees(frame, json.loads(text)):
                frame = json.loads(await connection.recv())
            skipping = False
            assert agrees(frame, json.loads(text)), frame
            if isinstance(frame.get("data"), dict):
                epoch = frame["data"].get("epoch", epoch)
        else:
            with pytest.raises(ConnectionClosed) as closed:
                await connection.recv()
            assert closed.value.rcvd is not None and closed.value.rcvd.code == int(text)


def agrees(frame: Any, expected: Any) -> bool:
    if expected == "…":
        return True
    if isinstance(expected, dict) and isinstance(frame, dict):
        return list(frame) == list(expected) and all(agrees(frame[key], expected[key]) for key in expected)
    if isinstance(expected, list) and isinstance(frame, list):
        return len(frame) == len(expected) and all(map(agrees, frame, expected))
    return bool(frame == expected)
