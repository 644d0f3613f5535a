"""Through the real nginx, set as docs/deploy/nginx.conf sets it, everything is as it is without."""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from share.client import ReplayClient
from tests.balancer import Balancer, free_port, start_balancer, use_tls
from tests.server import (
    GOLDEN,
    PATIENCE_SECONDS,
    SHORT,
    RawViewer,
    Server,
    get,
    golden_frames,
    make_recording,
    make_timed_recording,
    run_here,
    start_server,
    write_recording,
)
from tests.visitor import make_user, upload

CONNECTED, *ROWS = golden_frames("normal_short")
PUBLIC = "replays.example.org:8443"
ELSEWHERE = "https://elsewhere.example"
SLOW = "behind-nginx-slow"
LARGE = "behind-nginx-large"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("balanced")
    recordings = [make_timed_recording(SLOW, 3, 3600), make_recording(LARGE, 200, "x" * 200_000)]
    files = [write_recording(folder / f"{number}.json", each) for number, each in enumerate(recordings)]
    imported = run_here("import", *files, GOLDEN / "short.recording.json", folder=folder)
    assert imported.returncode == 0, imported.stderr
    return folder


@pytest.fixture(scope="module")
def servers(folder: Path) -> Iterator[tuple[Server, Server]]:
    quickly = {"SHARE_PAUSE_SECONDS": "0", "SHARE_HEARTBEAT_SECONDS": "0.5", "SHARE_ALLOWED_ORIGINS": ELSEWHERE}
    with start_server(folder, **quickly) as one, start_server(folder, **quickly) as other:
        yield one, other


@pytest.fixture(scope="module")
def balancer(folder: Path, servers: tuple[Server, Server]) -> Iterator[Balancer]:
    with start_balancer(folder, ports_of(servers)) as balancer:
        yield balancer


@pytest.fixture(scope="module")
def token(folder: Path) -> str:
    """A user's, who may put recordings in."""
    return make_user(folder)


def ports_of(servers: tuple[Server, Server]) -> tuple[int, int]:
    return servers[0].port, servers[1].port


# Sockets


async def test_classic_goes_through_frame_by_frame(balancer: Balancer) -> None:
    async with connect(balancer.url(SHORT)) as connection:
        assert await connection.recv() == CONNECTED
        await connection.send('{"type": "shared"}')
        assert [await connection.recv() for _ in ROWS] == ROWS


async def test_replay_v1_goes_through_to_its_end(balancer: Balancer) -> None:
    async with ReplayClient(balancer.http_url, SHORT, pace="instant") as replay:
        assert [row["offset"] async for row in replay] == list(range(1, len(ROWS) + 1))
    assert replay.end == "finished"


async def test_heartbeats_keep_a_paused_viewer_connected(folder: Path, servers: tuple[Server, Server]) -> None:
    with start_balancer(folder, ports_of(servers), {"proxy_read_timeout 75s": "proxy_read_timeout 3s"}) as impatient:
        told: list[str] = []
        async with ReplayClient(impatient.http_url, SLOW, on_connection=told.append) as replay:
            await anext(replay)
            await replay.pause()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(8):
                    await anext(replay)
            await replay.seek(offset=0)
            await replay.play()
            async with asyncio.timeout(PATIENCE_SECONDS):
                assert (await anext(replay))["offset"] == 1
    assert told == []


async def test_without_heartbeats_he_would_be_cut_off(folder: Path, tmp_path: Path) -> None:
    run_here("import", GOLDEN / "short.recording.json", folder=tmp_path)
    with (
        start_server(tmp_path) as rare,
        start_balancer(tmp_path, (rare.port, rare.port), {"proxy_read_timeout 75s": "proxy_read_timeout 2s"}) as nginx,
    ):
        viewer = await RawViewer.connect(nginx.url(SHORT))
        assert await viewer.receive_to_end() is None
        viewer.close()


async def test_a_viewer_who_does_not_read_is_let_go_by_both(folder: Path, tmp_path: Path) -> None:
    with (
        start_server(folder, SHARE_SEND_TIMEOUT_SECONDS="1", SHARE_PAUSE_SECONDS="0") as server,
        start_balancer(tmp_path, (server.port, server.port), {"send_timeout 30s": "send_timeout 2s"}) as nginx,
    ):
        viewer = await RawViewer.connect(nginx.url(LARGE), receive_buffer_bytes=4096)
        await viewer.send('{"type": "shared"}')
        await asyncio.to_thread(server.wait_for_log, "disconnected with 4008")
        await asyncio.to_thread(nginx.wait_for_log, LARGE)  # written when it is over
        viewer.close()


# What the server knows of the visitor


def test_a_link_has_the_host_and_the_port_that_the_visitor_has_asked(balancer: Balancer, token: str) -> None:
    status, made = upload(balancer.http_url, make_recording(secrets.token_hex(8), 1), token, Host=PUBLIC)
    assert status == 201
    assert made["link"]["url"].startswith(f"http://{PUBLIC}/s/rs_")


@pytest.mark.parametrize(("believed", "scheme"), [("127.0.0.1", "https"), ("192.0.2.1", "http")])
def test_a_link_has_the_scheme_of_the_balancer_if_it_is_believed(
    folder: Path, tmp_path: Path, token: str, believed: str, scheme: str
) -> None:
    port = free_port()
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        start_server(folder, FORWARDED_ALLOW_IPS=believed) as server,
        start_balancer(tmp_path, (server.port, server.port), use_tls(tmp_path, port)),
    ):
        recording = make_recording(secrets.token_hex(8), 1)
        _, made = upload(f"https://127.0.0.1:{port}", recording, token, context=context, Host=PUBLIC)
    assert made["link"]["url"].startswith(f"{scheme}://{PUBLIC}/s/rs_")


async def test_the_player_s_own_page_may_open_a_socket_and_others_may_not(balancer: Balancer) -> None:
    for origin, name in ((balancer.http_url, "success"), (ELSEWHERE, "success"), ("http://127.0.0.1:1", "not_allowed")):
        async with connect(balancer.url(SHORT), origin=origin, subprotocols=["replay.v1"]) as connection:
            assert name in str(await connection.recv())


async def test_a_visitor_s_address_is_his_own_whatever_he_says(
    balancer: Balancer, servers: tuple[Server, Server]
) -> None:
    viewer = f"viewer-{secrets.token_hex(4)}"
    headers = {"X-Forwarded-For": "192.0.2.66", "X-Forwarded-Proto": "https"}
    async with connect(balancer.url(SHORT, f"?user_id={viewer}"), additional_headers=headers) as connection:
        await connection.recv()
    said = "".join(server.log for server in servers)
    assert f"user '{viewer}' from 127.0.0.1" in said
    assert "192.0.2.66" not in said


# Large bodies


async def test_an_upload_of_some_megabytes_goes_through_and_is_watched_by_its_link(
    balancer: Balancer, token: str
) -> None:
    recording = make_recording(secrets.token_hex(8), 50, "x" * 200_000)
    status, made = await asyncio.to_thread(upload, balancer.http_url, recording, token)
    assert status == 201
    async with ReplayClient(balancer.http_url, made["link"]["url"].rpartition("/")[2], pace="instant") as replay:
        assert [len(row["data"]["thoughts"]) async for row in replay] == [200_000] * 50
    exported = await asyncio.to_thread(get, f"{balancer.http_url}/api/v1/recordings/{made['id']}/export")
    assert len(json.loads(exported[1])["raws"]) == 50


def test_who_may_not_upload_is_told_so_by_the_server_however_much_he_sends(balancer: Balancer) -> None:
    status, problem = upload(balancer.http_url, make_recording("refused", 50, "x" * 200_000), "nobody's")
    assert (status, problem["status"]) == (401, 401)


# A process that is gone


async def test_a_dead_process_is_passed_over(folder: Path, tmp_path: Path, token: str) -> None:
    with (
        start_server(folder) as one,
        start_server(folder) as other,
        start_balancer(tmp_path, ports_of((one, other))) as nginx,
    ):
        one.stop(signal.SIGKILL)
        for _ in range(6):
            assert get(f"{nginx.http_url}/healthz")[0] == 200
            assert upload(nginx.http_url, make_recording(secrets.token_hex(8), 1), token)[0] == 201
            async with connect(nginx.url(SHORT)) as connection:
                assert await connection.recv() == CONNECTED
        assert f"127.0.0.1:{one.port}, 127.0.0.1:{other.port} 502, 200" in nginx.wait_for_log("502")


# What is written down


def test_no_token_is_written_down_by_nginx(balancer: Balancer, tmp_path: Path) -> None:
    secret = f"rs_{'SECRET' * 5}xy"
    paths = [
        f"/s/{secret}",
        f"/ws/share/{secret}?viewer=SECRET",
        f"/api/v1/recordings/{secret}/files/SECRET-{secret}/{secret}",
        f"/api/v1/recordings/{secret.replace('rs_', 'r%73%5F')}/rows",
        f"/nosuch/{secret.replace('SECRET', '%53ECRET')}",
        "/ws/replay/x?token=SECRET",
        "/ws/replay/x%3Ftoken=SECRET&more=SECRET",
        "/ws/replay/x;token=SECRET",
        f"/oembed?url=http://127.0.0.1/s/{secret}",
        "/%0AFORGED",
    ]
    with start_balancer(tmp_path, (free_port(), free_port())) as nobody_there:
        for nginx in (balancer, nobody_there):
            for path in paths:
                get(f"{nginx.http_url}{path}")
            get(f"{nginx.http_url}/the-last")
            written = nginx.wait_for_log("/the-last") + nginx.error_log
            assert "SECRET" not in written
            assert "/s/rs_*** " in written
            assert "/rs_***/rows " in written
            assert "\nFORGED" not in written


def test_the_measurements_are_not_for_everybody(balancer: Balancer) -> None:
    assert get(f"{balancer.http_url}/metrics")[0] == 404
