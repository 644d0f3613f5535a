"""The player in a browser: lost connections, what is taken back, and runs that are going on."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import pytest
from playwright.async_api import Page, WebSocket, expect

from share import Recorder
from storage.database import open_database
from storage.models import Visibility
from storage.shares import ShareCRUD
from tests.any_database import database_url
from tests.browser import IN_BROWSER, Pages, axe_violations, make_link, open_store, put_in, shot
from tests.server import GOLDEN, SHORT, Server, make_timed_recording, start_server, write_recording

pytestmark = IN_BROWSER

AWAY = r"(ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET|ERR_CONTENT_LENGTH_MISMATCH|WebSocket connection to)"
"""What Chromium writes down when there is no server; the third, when it was killed in the middle of an answer."""

LONG = "long"


async def stands_at(page: Page, offset: int, state: str) -> None:
    await expect(page.locator("html")).to_have_attribute("data-offset", str(offset))
    await expect(page.locator("html")).to_have_attribute("data-state", state)


def offsets_sent(page: Page) -> list[int]:
    """The offsets of all rows that will have come over the page's sockets, in order."""
    offsets: list[int] = []

    def take(text: str | bytes) -> None:
        frame = json.loads(text)
        rows = frame.get("rows", [frame])
        offsets.extend(row["offset"] for row in rows if "type" not in row and "offset" in row)

    def watch(socket: WebSocket) -> None:
        socket.on("framereceived", take)

    page.on("websocket", watch)
    return offsets


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One with SHORT, and a recording `long` of 200 rows, a tenth of a second apart."""
    put_in(
        tmp_path,
        GOLDEN / "short.recording.json",
        write_recording(tmp_path / "long.json", make_timed_recording(LONG, 200, 0.1)),
    )
    return tmp_path


async def test_it_comes_back_where_it_was_when_the_server_is_killed_and_started_again(
    pages: Pages, folder: Path
) -> None:
    page = await pages.open()
    offsets = offsets_sent(page)
    with start_server(folder) as server:
        pages.origins.add(f"127.0.0.1:{server.port}")
        await page.goto(f"{server.http_url}/r/{LONG}?speed=2")
        await expect(page.locator("html")).not_to_have_attribute("data-offset", re.compile("^1?[0-9]$"))
        server.stop(signal.SIGKILL)
        await expect(page.get_by_text("Connection lost. Trying again …")).to_be_visible()
        await expect(page.locator("html")).to_have_attribute("data-state", "reconnecting")
        await shot(page, "connection-lost")
        port = str(server.port)
    with start_server(folder, SHARE_PORT=port):
        await stands_at(page, 200, "ended")
        await expect(page.get_by_text("Connection lost")).to_have_count(0)
    assert offsets == list(range(1, 201))
    pages.assert_clean(AWAY)


async def test_it_stays_paused_where_it_was(pages: Pages, folder: Path) -> None:
    page = await pages.open()
    offsets = offsets_sent(page)
    with start_server(folder) as server:
        pages.origins.add(f"127.0.0.1:{server.port}")
        await page.goto(f"{server.http_url}/r/{LONG}#step=50")
        await stands_at(page, 50, "paused")
        server.stop(signal.SIGKILL)
        await expect(page.locator("html")).to_have_attribute("data-state", "reconnecting")
        await page.keyboard.press("ArrowRight")  # what is asked for meanwhile is done then
        port = str(server.port)
    with start_server(folder, SHARE_PORT=port):
        await stands_at(page, 51, "paused")
        await page.keyboard.press("ArrowRight")
        await stands_at(page, 52, "paused")
    assert offsets == list(range(1, 53))
    pages.assert_clean(AWAY)


async def test_a_page_that_was_offline_comes_back(pages: Pages, shared_server: Server) -> None:
    page = await pages.open(f"{shared_server.http_url}/r/{SHORT}?speed=8")
    await stands_at(page, 6, "ended")

    await page.context.set_offline(True)
    await page.evaluate("location.hash = 'step=2'")
    await page.context.set_offline(False)
    await stands_at(page, 2, "paused")
    pages.assert_clean(AWAY, "ERR_INTERNET_DISCONNECTED")


@pytest.mark.parametrize("how", ["revoked", "private"])
async def test_who_is_watching_by_a_link_is_told_when_it_is_taken_back(pages: Pages, folder: Path, how: str) -> None:
    with start_server(folder) as server:
        url = await make_link(server, LONG)
        page = await pages.open(f"{url}?speed=0.5")
        await expect(page.locator("article").first).to_be_visible()

        async with open_store(folder) as gateway:
            if how == "revoked":
                await gateway.execute("UPDATE share_links SET revoked_at = 1")
            else:
                await ShareCRUD(gateway).set_visibility(LONG, Visibility.PRIVATE)
        await expect(page.get_by_role("heading", name="Not available")).to_be_visible()
        await expect(page.locator("html")).to_have_attribute("data-state", "refused")
        await expect(page.locator("article")).to_have_count(0)  # what was shown isn't there any more
        asked = len(pages.requests)
        await page.wait_for_timeout(1500)
        assert len(pages.requests) == asked  # it doesn't try again
        assert await axe_violations(page) == []
        await shot(page, f"taken-back-{how}")
        assert (await page.goto(url)).status == 404
        await expect(page.get_by_role("heading", level=1)).to_have_text("Not available")
        assert await axe_violations(page) == []
        pages.assert_clean("404")


async def test_a_link_for_one_viewer_is_one_view_with_all_that_the_page_fetches(pages: Pages, tmp_path: Path) -> None:
    recording = make_timed_recording("secret0id", 3, 0.1)
    recording["interaction"]["description"] = "A run with a picture"
    recording["raws"][1]["include_pictures"] = True
    recording["raws"][1]["data"]["using_tools"] = {
        "tool_name": "PythonNotebook_execute_cell",
        "tool_input": {"code": "plot()"},
        "tool_output": [{"media_type": "image/png", "file_name": "dot.png"}],
    }
    dot = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    recording["workspace"] = {"dot.png": dot, "notes.txt": "aGVsbG8="}
    put_in(tmp_path, write_recording(tmp_path / "pictures.json", recording))
    with start_server(tmp_path) as server:
        url = await make_link(server, "secret0id", max_views=1)
        page = await pages.open(url)
        await stands_at(page, 3, "ended")
        picture = page.get_by_role("img", name="dot.png")
        await expect(picture).to_be_visible()
        assert await picture.evaluate("(picture) => picture.decode().then(() => picture.naturalWidth)") == 1
        await page.get_by_role("button", name="notes.txt").click()
        await expect(page.get_by_text("hello", exact=True)).to_be_visible()
        await page.reload()
        await stands_at(page, 3, "ended")
        assert "secret0id" not in await page.content()  # who has a link doesn't learn the id
        second = await pages.open(url)
        await expect(second.get_by_role("heading", level=1)).to_have_text("Not available")
        pages.assert_clean("404")


async def test_a_server_with_no_room_is_tried_again(pages: Pages, folder: Path) -> None:
    with start_server(folder, SHARE_MAX_VIEWERS="1") as server:
        first = await pages.open(f"{server.http_url}/r/{SHORT}#step=2")
        await stands_at(first, 2, "paused")
        second = await pages.open(f"{server.http_url}/r/{SHORT}#step=2")
        await expect(second.get_by_text(re.compile("Trying again"))).to_be_visible()
        await first.close()
        await stands_at(second, 2, "paused")
        pages.assert_clean()


async def test_a_recording_that_is_not_there(pages: Pages, shared_server: Server) -> None:
    page = await pages.open(f"{shared_server.http_url}/r/nowhere")

    await expect(page.get_by_role("heading", level=1)).to_have_text("Not available")
    await expect(page.get_by_text("There is no such recording, or it is not shared.")).to_be_visible()
    assert await axe_violations(page) == []
    pages.assert_clean("404")


async def test_a_run_that_is_going_on_is_followed_to_its_end(pages: Pages, folder: Path) -> None:
    with start_server(folder) as server:
        async with open_database(database_url(folder / "data")) as database:
            recorder = Recorder(database, folder / "data")
            async with recorder.record(description="A run that goes on", user_id="me") as run:
                for number in range(1, 6):
                    await run.append(data={"thoughts": f"Thought {number}"})
                page = await pages.open(f"{server.http_url}/r/{run.interaction_id}")
                await stands_at(page, 5, "playing")
                await expect(page.get_by_text("Live", exact=True)).to_be_visible()
                await expect(page.get_by_role("button", name="Jump to live")).to_be_hidden()
                await run.append(data={"thoughts": "Thought 6"})
                await stands_at(page, 6, "playing")

                await page.keyboard.press("ArrowLeft")
                await page.keyboard.press("Space")
                await stands_at(page, 5, "paused")
                await run.append(data={"thoughts": "Thought 7"})
                await run.append(data={"thoughts": "Thought 8"})
                await page.get_by_role("button", name="Jump to live").click()
                await stands_at(page, 8, "playing")
                await shot(page, "live")
                await run.append(data={"thoughts": "Thought 9"})
                await stands_at(page, 9, "playing")
        await stands_at(page, 10, "ended")
        await expect(page.get_by_text("Finished", exact=True).first).to_be_visible()
        await expect(page.get_by_text("Live", exact=True)).to_be_hidden()
        pages.assert_clean()


async def test_a_run_that_has_not_begun_is_waited_for(pages: Pages, folder: Path) -> None:
    with start_server(folder) as server:
        async with open_database(database_url(folder / "data")) as database:
            recorder = Recorder(database, folder / "data")
            async with recorder.record(description="Not yet", user_id="me") as run:
                page = await pages.open(f"{server.http_url}/r/{run.interaction_id}")
                await expect(page.get_by_text("Waiting for the first step …")).to_be_visible()
                await run.append(data={"thoughts": "Here it is"})
                await expect(page.get_by_text("Here it is")).to_be_visible()
                await expect(page.get_by_text("Waiting for the first step …")).to_have_count(0)
        pages.assert_clean()


@pytest.mark.parametrize(("status", "said"), [("failed", "Failed"), ("inner", "Broken off")])
async def test_how_a_run_has_ended_is_said(pages: Pages, tmp_path: Path, status: str, said: str) -> None:
    recording = make_timed_recording("ended", 3, 0.01)
    recording["raws"][-1]["status"] = status
    recording["interaction"]["status"] = "" if status == "inner" else status
    if status == "failed":
        recording["raws"][-1]["data"] = "Out of tokens"
    put_in(tmp_path, write_recording(tmp_path / "ended.json", recording))
    with start_server(tmp_path) as server:
        page = await pages.open(f"{server.http_url}/r/ended")
        await stands_at(page, 3, "ended")
        await expect(page.get_by_text(said, exact=True).first).to_be_visible()
        if status == "failed":
            await expect(page.get_by_text("Out of tokens")).to_be_visible()
        pages.assert_clean()


async def test_who_is_paused_is_told_of_more_steps_and_of_the_end(pages: Pages, folder: Path) -> None:
    with start_server(folder) as server:
        async with open_database(database_url(folder / "data")) as database:
            recorder = Recorder(database, folder / "data")
            async with recorder.record(description="A run that goes on", user_id="me") as run:
                await run.append(data={"thoughts": "One"})
                page = await pages.open(f"{server.http_url}/r/{run.interaction_id}")
                await stands_at(page, 1, "playing")
                await page.keyboard.press("Space")
                await stands_at(page, 1, "paused")
                await run.append(data={"thoughts": "Two"}, files={"out.txt": b"hello"})
                await expect(page.get_by_text("Step 1 / 2")).to_be_visible()
                await page.keyboard.press("ArrowRight")
                await stands_at(page, 2, "paused")
                file = page.get_by_role("button", name="out.txt")
                await expect(file).to_be_visible()  # not there yet when the page was opened
        await expect(page.get_by_text("Step 2 / 3")).to_be_visible()
        await expect(page.get_by_text("Live", exact=True)).to_be_hidden()
        pages.assert_clean()


async def test_after_a_refusal_nothing_brings_it_back(pages: Pages, folder: Path) -> None:
    page = await pages.open()
    with start_server(folder) as server:
        url = await make_link(server, LONG)
        pages.origins.add(f"127.0.0.1:{server.port}")
        await page.goto(f"{url}#step=5")
        await stands_at(page, 5, "paused")
        server.stop(signal.SIGKILL)
        await expect(page.locator("html")).to_have_attribute("data-state", "reconnecting")
        port = str(server.port)
    with start_server(folder, SHARE_PORT=port):
        await stands_at(page, 5, "paused")
        async with open_store(folder) as gateway:
            await gateway.execute("UPDATE share_links SET revoked_at = 1")
        await expect(page.get_by_role("heading", name="Not available")).to_be_visible()
        asked = len(pages.requests)
        await page.evaluate("dispatchEvent(new Event('online'))")
        await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        await page.wait_for_timeout(500)
        assert len(pages.requests) == asked
        pages.assert_clean(AWAY)


@pytest.mark.parametrize("hidden", [False, True], ids=["seen", "hidden"])
async def test_when_the_recording_is_not_the_same_any_more_it_starts_over(
    pages: Pages, folder: Path, hidden: bool
) -> None:
    page = await pages.open()
    with start_server(folder) as server:
        pages.origins.add(f"127.0.0.1:{server.port}")
        await page.goto(f"{server.http_url}/r/{LONG}#step=20")
        await stands_at(page, 20, "paused")
        server.stop(signal.SIGKILL)
        await expect(page.locator("html")).to_have_attribute("data-state", "reconnecting")
        port = str(server.port)
    async with open_store(folder) as gateway:
        await gateway.execute(f"UPDATE raw SET is_deleted = TRUE WHERE interaction_id = '{LONG}' AND step = 4")
    if hidden:  # such a page draws nothing until it is looked at again
        await page.evaluate(
            "globalThis.waiting = []; globalThis.requestAnimationFrame = (call) => waiting.push(call);"
            "globalThis.wake = () => { for (const call of waiting.splice(0)) call(0); }"
        )
    with start_server(folder, SHARE_PORT=port):
        for _ in range(50 if hidden else 0):  # until it is connected again, which such a page doesn't show
            await page.wait_for_timeout(100)
            await page.keyboard.press("5")
        if hidden:
            await page.evaluate("for (let turn = 0; turn < 50; turn += 1) wake()")
        else:
            await stands_at(page, 0, "paused")
            await page.keyboard.press("5")
        await expect(page.locator("html")).to_have_attribute("data-offset", "99")
        if hidden:
            await page.evaluate("for (let turn = 0; turn < 50; turn += 1) wake()")
        await page.get_by_role("feed").hover()
        await page.mouse.wheel(0, -100_000)
        if hidden:
            await page.wait_for_timeout(200)
            await page.evaluate("for (let turn = 0; turn < 50; turn += 1) wake()")
        await expect(page.locator('article[data-offset="5"]')).to_contain_text("thought 6.")
        pages.assert_clean(AWAY)
