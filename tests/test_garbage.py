"""A viewer who has left leaves nothing that waits for the garbage collection, which holds up who watches."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from share.channel import Channel
from share.endpoint import ReplayServer
from share.replay import Replay
from share.timeline import Timeline
from share.visit import Visit
from storage.gateway import Gateway
from tests.asgi import Server, rows
from tests.fake_clock import until

OURS = (Channel, Replay, ReplayServer, Timeline, Visit)


@pytest.fixture
def without_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def watch(server: Server, subprotocols: list[str]) -> None:
    async with server.connect(subprotocols=subprotocols) as viewer:
        await until(lambda: bool(viewer.frames))
        viewer.post({"type": "shared"})
        await until(lambda: "node_id" in viewer.frames[-1])
        assert ours()


def ours() -> list[object]:
    return [each for each in gc.get_objects() if isinstance(each, OURS)]


@pytest.mark.parametrize("subprotocols", [["replay.v1"], []])
async def test_who_has_left_is_forgotten(
    gateway: Gateway, tmp_path: Path, subprotocols: list[str], without_collection: None
) -> None:
    server = Server(gateway, tmp_path)
    await server.record(*rows(3))
    await watch(server, subprotocols)
    await until(lambda: not ours())
    assert not ours()
