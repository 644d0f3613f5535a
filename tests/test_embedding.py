"""Replay Share inside of somebody else's app, really served."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import databases
import httpx
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

import share
from tests.any_database import database_url
from tests.server import CHECKOUT, EDGE, GOLDEN, PATIENCE_SECONDS, SHORT, golden_frames, run_here, serve_here

FRAMES = golden_frames("normal_short")
EDGE_ROWS = 18


async def play(port: int, path: str, count: int = len(FRAMES)) -> list[str]:
    """The frames of a recording, or of the refusal."""
    frames: list[str] = []
    async with asyncio.timeout(PATIENCE_SECONDS), connect(f"ws://127.0.0.1:{port}{path}") as connection:
        try:
            frames.append(str(await connection.recv()))
            await connection.send('{"type": "shared"}')
            while len(frames) < count:
                frames.append(str(await connection.recv()))
        except ConnectionClosed:
            pass
    return frames


def is_refusal(frames: list[str]) -> bool:
    return [json.loads(frame)["success"] for frame in frames] == [False]


def settings(folder: Path) -> share.XAgentServerEnv:
    return share.XAgentServerEnv(base_dir=folder, pause_seconds=(0, 0))


def somebody_elses_database(folder: Path, recording: str = "short") -> databases.Database:
    """A database as somebody else opens it, with a recording in it."""
    folder.mkdir(exist_ok=True)
    url = database_url(folder / "theirs")
    (folder / "theirs").mkdir()
    file = GOLDEN / f"{recording}.recording.json"
    done = run_here("import", file, folder=folder, SHARE_DATABASE_URL=url, SHARE_CREATE_TABLES="1")
    assert done.returncode == 0, done.stderr
    return databases.Database(url)


def their_lifespan(*connected: databases.Database) -> Any:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        for database in connected:
            await database.connect()
        yield
        for database in connected:
            await database.disconnect()

    return lifespan


async def hello(request: Request) -> PlainTextResponse:
    return PlainTextResponse("hello")


async def get(port: int, path: str) -> str:
    async with httpx.AsyncClient(timeout=PATIENCE_SECONDS, trust_env=False) as client:
        return (await client.get(f"http://127.0.0.1:{port}{path}")).text


async def test_it_plays_in_a_mount_of_a_starlette_app(tmp_path: Path) -> None:
    database = somebody_elses_database(tmp_path)
    routes = [Route("/hello", hello), Mount("/replays", routes=share.routes(database, settings(tmp_path)))]
    app = Starlette(routes=routes, lifespan=their_lifespan(database))

    async with serve_here(app) as port:
        assert await play(port, f"/replays/ws/share/{SHORT}") == FRAMES
        assert is_refusal(await play(port, f"/replays/ws/share/{EDGE}"))
        assert await get(port, "/hello") == "hello"


async def test_it_plays_beside_the_routes_of_a_starlette_app(tmp_path: Path) -> None:
    database = somebody_elses_database(tmp_path)
    routes = [*share.routes(database, settings(tmp_path)), Route("/hello", hello)]

    async with serve_here(Starlette(routes=routes, lifespan=their_lifespan(database))) as port:
        assert await play(port, f"/ws/share/{SHORT}") == FRAMES
        assert await get(port, "/hello") == "hello"


def mount_a_mount(app: FastAPI, database: databases.Database, folder: Path) -> None:
    app.router.routes.append(Mount("/replays", routes=share.routes(database, settings(folder))))


def mount_an_app(app: FastAPI, database: databases.Database, folder: Path) -> None:
    app.mount("/replays", Starlette(routes=share.routes(database, settings(folder))))


@pytest.mark.parametrize("mount", [mount_a_mount, mount_an_app])
async def test_it_plays_in_fastapi(tmp_path: Path, mount: Any) -> None:
    database = somebody_elses_database(tmp_path)
    app = FastAPI(lifespan=their_lifespan(database))
    mount(app, database, tmp_path)

    @app.get("/hello/{name}")
    async def hello_name(name: str) -> dict[str, str]:
        return {"hello": name}

    async with serve_here(app) as port:
        assert await play(port, f"/replays/ws/share/{SHORT}") == FRAMES
        assert json.loads(await get(port, "/hello/you")) == {"hello": "you"}
        assert "/hello/{name}" in json.loads(await get(port, "/openapi.json"))["paths"]


async def test_two_mounts_with_two_databases_know_nothing_of_each_other(tmp_path: Path) -> None:
    folders = tmp_path / "first", tmp_path / "second"
    first = somebody_elses_database(folders[0], "short")
    second = somebody_elses_database(folders[1], "edge")
    routes = [
        Mount("/first", routes=share.routes(first, settings(folders[0]))),
        Mount("/second", routes=share.routes(second, settings(folders[1]))),
    ]

    async with serve_here(Starlette(routes=routes, lifespan=their_lifespan(first, second))) as port:
        frames = await asyncio.gather(
            play(port, f"/first/ws/share/{SHORT}"),
            play(port, f"/second/ws/share/{EDGE}", 1 + EDGE_ROWS),
            play(port, f"/first/ws/share/{EDGE}"),
            play(port, f"/second/ws/share/{SHORT}"),
        )
    assert frames[0] == FRAMES
    assert len(frames[1]) == 1 + EDGE_ROWS
    assert is_refusal(frames[2])
    assert is_refusal(frames[3])
    logs = sorted(path.parent.name for path in tmp_path.rglob("share.log"))
    assert logs == sorted([SHORT, EDGE]), "each writes into its own folder"


async def test_viewers_who_are_there_when_the_host_stops_are_let_go_and_the_host_can_disconnect(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database = somebody_elses_database(tmp_path)
    slow = share.XAgentServerEnv(base_dir=tmp_path, pause_seconds=(60, 60))
    app = Starlette(routes=[Mount("/replays", routes=share.routes(database, slow))], lifespan=their_lifespan(database))
    connections = []
    async with serve_here(app) as port:
        for _ in range(10):
            connection = await connect(f"ws://127.0.0.1:{port}/replays/ws/share/{SHORT}")
            await connection.send('{"type": "shared"}')
            connections.append(connection)
    for connection in connections:
        await asyncio.wait_for(connection.wait_closed(), PATIENCE_SECONDS)
        assert connection.close_code == 1012
    assert not database.is_connected
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def readme_examples() -> list[str]:
    blocks = re.findall(r"^```python\n(.*?)^```", (CHECKOUT / "README.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return [block for block in blocks if "Mount(" in block]


async def test_the_example_in_the_readme_works_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    examples = readme_examples()
    assert examples, "README.md has no ```python block with a Mount( in it"
    for number, example in enumerate(examples):
        folder = tmp_path / str(number)
        folder.mkdir()
        monkeypatch.chdir(folder)
        names: dict[str, Any] = {"__name__": "example"}
        exec(compile(example, "README.md", "exec"), names)
        (app,) = [value for value in names.values() if isinstance(value, Starlette)]
        (database,) = [value for value in names.values() if isinstance(value, databases.Database)]
        mounts = [route.path for route in app.routes if isinstance(route, Mount)]

        # An empty database first, then one with a recording in it; the example has the default pauses.
        await assert_plays(app, mounts, database, folder)


async def assert_plays(app: ASGIApp, mounts: list[str], database: databases.Database, folder: Path) -> None:
    async with serve_here(app) as port:
        for mount in mounts:
            assert is_refusal(await play(port, f"{mount}/ws/share/{SHORT}"))
        file = GOLDEN / "short.recording.json"
        done = run_here("import", file, folder=folder, SHARE_DATABASE_URL=database.url._url, SHARE_CREATE_TABLES="1")
        assert done.returncode == 0, done.stderr
        for mount in mounts:
            assert await play(port, f"{mount}/ws/share/{SHORT}", 2) == FRAMES[:2]
