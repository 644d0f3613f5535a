"""The gallery in a real browser, over a real server with real recordings."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, Route, expect

from tests.browser import IN_BROWSER, Pages, axe_violations, put_in, serve_mounted, shot
from tests.server import Server, make_timed_recording, start_server, write_recording

CROWD = 130
FLAKY = "Fix the flaky test"
HOSTILE = '<img src=x onerror="alert(1)"><script>alert(2)</script> ${7*7} &lt;b&gt;'
LOGS = "Look at the logs of the last thirty nights, find what takes the time and say what could run at the same time."

pytestmark = IN_BROWSER


def recording(
    interaction_id: str, *, made: datetime, rows: int = 3, seconds: float = 30, goal: str = "", **columns: Any
) -> dict[str, Any]:
    """An XAgent recording with a row every so many seconds, made then."""
    made_recording = make_timed_recording(interaction_id, rows, seconds)
    made_recording["interaction"] |= {"create_time": f"{made:%Y-%m-%d %H:%M:%S}", **columns}
    made_recording["raws"][0] |= {"is_human": True, "human_data": {"goal": goal}}
    return made_recording


def store(folder: Path, *recordings: dict[str, Any]) -> None:
    files = (folder / f"{number}.json" for number in range(len(recordings)))
    put_in(folder, *map(write_recording, files, recordings), public=True)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a few recordings of all kinds, the newest first here too."""
    folder = tmp_path_factory.mktemp("gallery")
    now = datetime.now(UTC) - timedelta(minutes=1)
    days = [now - timedelta(days=days) for days in (0, 3, 9, 40, 400, 401, 402, 403)]
    store(
        folder,
        recording("live", made=days[0], description="Plan a trip to Kyoto", agent="XAgent", status="running"),
        recording("flaky", made=days[1], rows=4, seconds=25, description=FLAKY, goal=LOGS, agent="XAgent"),
        recording("broken", made=days[2], description="写一份简短的销售报告，给管理层看", status="closed", agent=""),
        recording("failed", made=days[3], rows=1, description="", goal="Compare three databases", status="failed"),
        recording("hostile", made=days[4], description=HOSTILE, agent="<b>agent</b>", goal=HOSTILE),
        recording("untitled", made=days[5], rows=3, seconds=5000, description=""),
        recording("long", made=days[6], description="long" * 2000, goal="word " * 2000, agent="A" * 200),
        recording("arabic", made=days[7], description="استخراج البيانات من الملف \u202e abc", agent="SWE-agent"),
    )
    with start_server(folder) as server:
        yield server


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with many: `Run 0` is the newest."""
    folder = tmp_path_factory.mktemp("crowd")
    now = datetime.now(UTC)
    made = (
        recording(f"run{number}", made=now - timedelta(hours=number), description=f"Run {number}")
        for number in range(CROWD)
    )
    store(folder, *made)
    with start_server(folder) as server:
        yield server


def card(page: Page, title: str) -> Any:
    return page.get_by_role("listitem").filter(has=page.get_by_role("heading", name=title))


def lists_asked_for(pages: Pages) -> list[str]:
    """The queries of all requests for the list, in order."""
    return [url.partition("/recordings?")[2] for url in pages.requests if "/recordings?" in url]


def answers(*pages: tuple[list[str], str | None]) -> Callable[[Route], Any]:
    """Answers requests for the list with these pages, one after the other, and with the last again and again."""
    left = list(pages)
    fields = {"goal": None, "user_name": "guest", "agent": "", "status": "finished", "live": False, "rows": 1}

    async def answer(route: Route) -> None:
        ids, cursor = left.pop(0) if len(left) > 1 else left[0]
        found = [{**fields, "id": i, "description": i, "duration": 0, "create_time": None} for i in ids]
        await route.fulfill(json={"recordings": found, "next_cursor": cursor})

    return answer


async def test_a_card_says_what_who_when_and_how_it_went_and_leads_to_the_recording(
    pages: Pages, server: Server
) -> None:
    page = await pages.open(server.http_url)

    flaky = card(page, FLAKY)
    for text in ("Finished", "3 days ago", LOGS, "guest", "XAgent", "4 steps", "1 min 15 s"):
        await expect(flaky.get_by_text(text, exact=True)).to_be_visible()
    assert re.match(r"\d\d? \w+ 20\d\d at \d\d:\d\d:\d\d", await flaky.locator("time").get_attribute("title") or "")
    await expect(card(page, "Plan a trip to Kyoto").get_by_text("Live")).to_be_visible()
    await expect(card(page, "写一份简短的销售报告").get_by_text("Broken off")).to_be_visible()
    await expect(card(page, "Compare three databases").get_by_text("Failed")).to_be_visible()
    await expect(card(page, "Compare three databases").get_by_text("1 step", exact=True)).to_be_visible()
    await expect(card(page, "استخراج البيانات من الملف abc").get_by_role("link")).to_have_attribute("dir", "auto")
    await expect(card(page, "A recorded run").get_by_text("2 h 46 min", exact=True)).to_be_visible()
    await expect(page.get_by_role("status")).to_have_text("8 recordings")
    pages.assert_clean()

    for part in ("4 steps", "3 days ago"):
        box = await flaky.get_by_text(part).bounding_box()
        assert box is not None
        await page.mouse.click(box["x"] + 5, box["y"] + 5)
        await page.wait_for_url(f"{server.http_url}/r/flaky")
        await page.go_back()


@pytest.mark.parametrize("looks", [{}, {"dark": True}, {"width": 360, "height": 740, "reduced_motion": True}])
async def test_everybody_can_use_it(pages: Pages, server: Server, looks: dict[str, Any]) -> None:
    page = await pages.open(server.http_url, **looks)
    await expect(page.locator(".card")).to_have_count(8)

    assert await axe_violations(page) == []
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out"
    await shot(page, "gallery" + "".join(f"-{look}" for look in looks if look != "height"), full_page=True)
    pages.assert_clean()


async def test_what_strangers_have_written_is_text(pages: Pages, server: Server) -> None:
    page = await pages.open(f"{server.http_url}/?q=onerror")

    await expect(card(page, "<img src=x").get_by_role("heading")).to_have_text(HOSTILE)
    await expect(card(page, "<img src=x").get_by_text("<b>agent</b>", exact=True)).to_be_visible()
    assert await page.locator("main :is(img, script, b)").count() == 0
    pages.assert_clean()


async def test_a_search_that_is_text_for_html_finds_nothing_and_does_nothing(pages: Pages, server: Server) -> None:
    page = await pages.open(f"{server.http_url}/?q=%3Cimg+src%3Dy+onerror%3Dalert(3)%3E")

    await expect(page.get_by_role("heading", name="Nothing found")).to_be_visible()
    await expect(page.get_by_text("<img src=y onerror=alert(3)>")).to_be_visible()
    pages.assert_clean()


async def test_it_searches_as_one_types_and_the_address_says_for_what(pages: Pages, server: Server) -> None:
    page = await pages.open(server.http_url)
    await expect(page.locator(".card")).to_have_count(8)

    await page.get_by_role("searchbox", name="Search recordings").press_sequentially("KYOTO", delay=10)

    await expect(page.locator(".card")).to_have_count(1)
    await expect(page).to_have_url(f"{server.http_url}/?q=KYOTO")
    await expect(page.get_by_role("status")).to_have_text("1 recording found")

    await page.get_by_role("searchbox").fill("no such thing")
    await expect(page.get_by_role("heading", name="Nothing found")).to_be_visible()
    await expect(page.get_by_role("status")).to_have_text("No recordings found")
    assert await axe_violations(page) == []

    await page.get_by_role("button", name="Show all recordings").click()
    await expect(page.locator(".card")).to_have_count(8)
    await expect(page).to_have_url(f"{server.http_url}/")
    await expect(page.get_by_role("searchbox")).to_be_focused()
    pages.assert_clean()


async def test_it_doesnt_search_for_every_letter(pages: Pages, server: Server) -> None:
    page = await pages.open(server.http_url)
    await expect(page.locator(".card")).to_have_count(8)

    await page.get_by_role("searchbox").evaluate(
        """(input) => ["f", "fl", "fla", "flak", "flaky"].forEach((value) => {
            input.value = value;
            input.dispatchEvent(new InputEvent("input"));
        })"""
    )

    await expect(page.locator(".card")).to_have_count(1)
    assert lists_asked_for(pages) == ["limit=24", "q=flaky&limit=24"]


async def test_an_answer_that_comes_late_doesnt_replace_a_newer_one(pages: Pages, server: Server) -> None:
    page = await pages.open(server.http_url)
    held: list[Route] = []
    await page.route("**/api/v1/recordings?q=trip*", lambda route: held.append(route))

    async with page.expect_request(re.compile("q=trip")):
        await page.get_by_role("searchbox").fill("trip")
    await page.get_by_role("searchbox").fill("flaky")
    await expect(page.locator(".card")).to_have_count(1)
    for route in held:
        await route.fulfill(json={"recordings": [], "next_cursor": None})
    await page.wait_for_timeout(300)
    await expect(card(page, FLAKY)).to_be_visible()
    pages.assert_clean()


async def test_all_come_as_one_scrolls_each_once(pages: Pages, crowd: Server) -> None:
    page = await pages.open(crowd.http_url)
    await expect(page.locator(".card").first).to_be_visible()
    assert await page.locator(".card").count() < CROWD, "not before they are wanted"
    await expect(page.get_by_role("status")).to_have_text(re.compile("More than [0-9]+ recordings"))

    for _ in range(200):
        await page.mouse.wheel(0, 2000)
        await page.wait_for_timeout(20)
        if await page.locator(".card").count() == CROWD:
            break

    titles = await page.locator(".card h2").all_text_contents()
    assert titles == [f"Run {number}" for number in range(CROWD)]
    await expect(page.get_by_text(f"{CROWD} recordings", exact=True)).to_be_visible()
    await expect(page.get_by_role("button", name="Load more")).to_be_hidden()
    pages.assert_clean()


async def test_whoever_comes_back_finds_the_search_and_the_place(pages: Pages, crowd: Server) -> None:
    page = await pages.open(crowd.http_url)
    await page.get_by_role("searchbox").fill("run 1")
    await expect(page).to_have_url(re.compile("q=run"))
    await expect(page.locator(".card").nth(23)).to_be_visible()
    while await page.get_by_role("heading", name="Run 129").count() == 0:
        await page.mouse.wheel(0, 2000)
        await page.wait_for_timeout(50)
    last = card(page, "Run 129")
    await last.scroll_into_view_if_needed()
    before = await page.evaluate("scrollY")
    await page.wait_for_timeout(500)

    await last.get_by_role("link").click()
    await page.wait_for_url("**/r/run129")
    await page.go_back()

    await expect(page.get_by_role("searchbox")).to_have_value("run 1")
    await expect(last).to_be_in_viewport()
    assert abs(await page.evaluate("scrollY") - before) < 400
    await page.go_forward()
    await page.wait_for_url("**/r/run129")


async def test_it_says_how_to_put_the_first_run_in(pages: Pages, tmp_path: Path) -> None:
    with start_server(tmp_path) as server:
        page = await pages.open(server.http_url)

        await expect(page.get_by_role("heading", name="No recordings yet")).to_be_visible()
        await expect(page.get_by_text("replay-share import FILE --public")).to_be_visible()
        await expect(page.get_by_text(f'"{server.http_url}/api/v1/recordings?visibility=public"')).to_be_visible()
        await expect(page.get_by_role("status")).to_have_text("No recordings")
        assert await axe_violations(page) == []
        await shot(page, "gallery-empty")
    pages.assert_clean()


@pytest.mark.parametrize("prefix", ["/replays", "/a b/c"])
async def test_it_works_wherever_it_is_mounted(pages: Pages, server: Server, prefix: str) -> None:
    async with serve_mounted(server.log_file.parent, prefix) as address:
        page = await pages.open(address)
        await page.get_by_role("searchbox").fill("flaky")
        await expect(page.locator(".card")).to_have_count(1)

        await page.get_by_role("link", name=FLAKY).click()
        await page.wait_for_url("**/r/flaky")
        assert page.url == f"{address.replace(' ', '%20')}r/flaky"
    pages.assert_clean("ERR_CONNECTION_REFUSED", "WebSocket")


async def test_a_server_that_is_away_is_waited_for_and_nothing_is_lost(pages: Pages, tmp_path: Path) -> None:
    store(tmp_path, recording("one", made=datetime.now(UTC), description="The one"))
    with start_server(tmp_path) as server:
        page = await pages.open(server.http_url)
        await expect(card(page, "The one")).to_be_visible()

    await page.get_by_role("searchbox").fill("the")
    await expect(page.get_by_role("alert")).to_contain_text("The server doesn’t answer.")
    await expect(card(page, "The one")).to_be_visible()
    await expect(page).to_have_url(f"{server.http_url}/?q=the")
    assert await axe_violations(page) == []
    await shot(page, "gallery-away")

    with start_server(tmp_path, SHARE_PORT=str(server.port)):
        await page.get_by_role("button", name="Try again").click()
        await expect(page.get_by_role("status")).to_have_text("1 recording found")
        await expect(page.get_by_role("alert")).to_be_empty()
    pages.assert_clean("ERR_CONNECTION_REFUSED")


async def test_what_the_server_says_is_told_and_the_list_goes_on_from_there(pages: Pages, server: Server) -> None:
    page = await pages.open()
    pages.origins.add(f"127.0.0.1:{server.port}")
    down = True

    async def answer(route: Route) -> None:
        if "cursor=" not in route.request.url:
            await answers(([f"a{number}" for number in range(24)], "1"))(route)
        elif down:
            await route.fulfill(status=503, json={"detail": "The database doesn't answer."})
        else:
            await answers((["a23", "b1", "b2"], None))(route)

    await page.route("**/api/v1/recordings?*", answer)
    await page.goto(server.http_url)
    await page.get_by_role("heading", name="a23").scroll_into_view_if_needed()
    await expect(page.get_by_role("alert")).to_contain_text("The database doesn't answer.")
    await expect(page.locator(".card")).to_have_count(24)

    down = False
    await page.get_by_role("button", name="Try again").focus()
    await page.keyboard.press("Enter")

    await expect(page.locator(".card")).to_have_count(26)
    await expect(page.get_by_role("link", name="b1")).to_be_focused()
    await expect(page.get_by_role("status")).to_have_text("26 recordings")
    pages.assert_clean("status of 503")


async def test_empty_pages_are_passed_over_but_not_for_ever(pages: Pages, server: Server) -> None:
    page = await pages.open()
    pages.origins.add(f"127.0.0.1:{server.port}")
    nothing: list[tuple[list[str], str | None]] = [([], str(number)) for number in range(15)]
    await page.route("**/api/v1/recordings?*", answers(([], "0"), (["a1"], "1"), *nothing, (["a2"], None)))
    await page.clock.install()
    await page.goto(server.http_url)
    await expect(card(page, "a1")).to_be_visible()

    async def wait_long() -> None:
        for _ in range(25):
            await page.wait_for_timeout(50)
            await page.clock.fast_forward(3000)

    await wait_long()
    assert len(lists_asked_for(pages)) == 2 + 12
    await page.get_by_role("button", name="Keep looking").focus()
    await page.keyboard.press("Enter")
    await wait_long()

    await expect(card(page, "a2")).to_be_visible()
    assert len(lists_asked_for(pages)) == 2 + 15 + 1
    await expect(page.get_by_role("button", name="Keep looking")).to_be_hidden()
    await expect(page.get_by_role("status")).to_have_text("2 recordings")
    pages.assert_clean()


async def test_the_keyboard_leads_from_the_search_through_the_cards(pages: Pages, server: Server) -> None:
    page = await pages.open(server.http_url)
    await expect(page.locator(".card")).to_have_count(8)
    focused = []
    for _ in range(4):
        await page.keyboard.press("Tab")
        focused.append(await page.evaluate("document.activeElement.id || document.activeElement.textContent"))

    assert focused == ["Replay Share", "query", "Plan a trip to Kyoto", FLAKY]
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/r/flaky")
