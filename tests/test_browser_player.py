"""The player in a browser: every control, every key, and what the address says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.browser import DEMO, IN_BROWSER, Pages, put_in, serve_mounted, shot
from tests.server import EDGE, GOLDEN, SHORT, Server, make_timed_recording, write_recording

pytestmark = IN_BROWSER

GONE = r"404 .*/(missing|gone)\.png"
"""Pictures that EDGE names, and has not."""


async def opened(pages: Pages, server: Server, place: str = f"r/{SHORT}#step=3", **options: object) -> Page:
    """The player of a place; by default, it stands at the third of six steps, a second apart."""
    page = await pages.open(f"{server.http_url}/{place}", **options)
    await expect(page.locator("html")).to_have_attribute("data-state", re.compile("playing|paused|ended"))
    return page


async def stands_at(page: Page, offset: int, state: str = "paused") -> None:
    """Wait until it shows the steps 1 to `offset`, each once, and no other."""
    await expect(page.locator("html")).to_have_attribute("data-offset", str(offset))
    await expect(page.locator("html")).to_have_attribute("data-state", state)
    await expect(page.locator(f'article[data-offset="{offset}"]')).to_have_count(1)
    shown = await page.locator("article").evaluate_all("all => all.map((one) => Number(one.dataset.offset))")
    assert shown == sorted(set(shown)) and shown[-1] == offset, shown


async def test_a_link_plays_by_itself_to_the_end(pages: Pages, shared_server: Server) -> None:
    page = await opened(pages, shared_server, f"r/{DEMO}?speed=8")

    await stands_at(page, 16, "ended")
    await expect(page.get_by_role("heading", level=1)).to_have_text("TimeDelta serialization precision")
    await expect(page.get_by_text("Finished", exact=True).first).to_be_visible()
    await expect(page.get_by_role("complementary", name="Plan").get_by_text("Done:")).to_have_count(1)
    await shot(page, "player")
    pages.assert_clean()


async def test_play_and_pause(pages: Pages, shared_server: Server) -> None:
    page = await opened(pages, shared_server)
    await stands_at(page, 3)

    await page.get_by_role("button", name="Play", exact=True).click()
    await expect(page.locator("html")).to_have_attribute("data-state", "playing")
    await page.get_by_role("button", name="Pause", exact=True).click()
    await expect(page.locator("html")).to_have_attribute("data-state", "paused")
    pages.assert_clean()


async def test_play_at_the_end_begins_again(pages: Pages, shared_server: Server) -> None:
    page = await opened(pages, shared_server, f"r/{SHORT}?t=4.9&speed=8")
    await stands_at(page, 6, "ended")

    await page.get_by_role("button", name="Play", exact=True).click()
    await expect(page.locator("html")).to_have_attribute("data-state", "playing")
    await stands_at(page, 6, "ended")
    pages.assert_clean()


async def test_the_buttons_for_a_step(pages: Pages, shared_server: Server) -> None:
    page = await opened(pages, shared_server)
    await stands_at(page, 3)

    await page.get_by_role("button", name="Next step").click()
    await stands_at(page, 4)
    await page.get_by_role("button", name="Previous step").click()
    await stands_at(page, 3)
    for _ in range(2):
        await page.get_by_role("button", name="Previous step").click()
    await stands_at(page, 1)
    await expect(page.get_by_role("button", name="Previous step")).to_be_disabled()
    pages.assert_clean()


@pytest.mark.parametrize(
    ("key", "offset"),
    [
        ("ArrowLeft", 2),
        ("ArrowRight", 4),
        (",", 2),
        (".", 4),
        ("Shift+ArrowRight", 3),  # 2.5 s: still the third
        ("Shift+ArrowLeft", 2),  # 1.5 s
        ("0", 1),
        ("1", 1),
        ("2", 2),
        ("4", 3),
        ("5", 3),
        ("8", 5),
        ("9", 5),
    ],
)
async def test_a_key_goes_to(pages: Pages, shared_server: Server, key: str, offset: int) -> None:
    page = await opened(pages, shared_server)
    await stands_at(page, 3)

    await page.keyboard.press(key)
    await expect(page.get_by_role("slider", name="Timeline")).not_to_have_attribute(
        "aria-valuetext", "Step 3 of 6, 0:02 of 0:05" if offset != 3 else "-"
    )
    await stands_at(page, offset)
    pages.assert_clean()


async def test_keys_for_subtasks(pages: Pages, shared_server: Server, tmp_path: Path) -> None:
    page = await opened(pages, shared_server, f"r/{SHORT}#step=6")
    await stands_at(page, 6)

    await page.keyboard.press("[")
    await stands_at(page, 3)
    await page.keyboard.press("[")  # there is none before it
    await page.keyboard.press("ArrowLeft")
    await stands_at(page, 2)
    await page.keyboard.press("]")
    await stands_at(page, 3)
    pages.assert_clean()


async def test_space_plays_and_pauses_and_leaves_buttons_alone(pages: Pages, shared_server: Server) -> None:
    page = await opened(pages, shared_server)
    await stands_at(page, 3)

    await page.keyboard.press("Space")
    await expect(page.locator("html")).to_have_attribute("data-state", "playing")
    await page.keyboard.press("Space")
    await expect(page.locator("html")).to_have_attribute("data-state", "paused")
    await page.get_by_role("button", name="Skip idle").focus()
    await page.keyboard.press("Space")
    await expect(page.get_by_role("button", name="Skip idle")).to_have_attribute("aria-pressed", "true")
    await expect(page.locator("html")).to_have_attribute("data-state", "paused")
    pages.assert_clean()


async def test_frame_keys_pause(pages: Pages, shared_server: Server) -> None:
    page = await opened(pages, shared_server, f"r/{EDGE}?speed=0.5")
    await expect(page.locator("html")).to_have_attribute("data-state", "playing")

    await page.keyboard.press(".")
    await expect(page.locator("html")).to_have_attribute("data-state", "paused")
    await page.keyboard.press("8")
    await page.keyboard.press("Space")
    await page.keyboard.press(",")
    await expect(page.locator("html")).to_have_attribute("data-state", "paused")
    pages.assert_clean(GONE)


async def test_f_is_for_fullscreen(pages: Pages, shared_server: Server) -> None:
    page = await opened(pages, shared_server)

    await page.keyboard.press("f")
    await expect(page.locator("html:fullscreen")).to_have_count(1)
    await page.get_by_role("button", name="Fullscreen").click()
    await expect(page.locator("html:fullscreen")).to_have_count(0)
    pages.assert_clean()


async def test_the_list_of_keys(pages: Pages, shared_server: Server) -> None:
    page = await opened(pages, shared_server)
    await stands_at(page, 3)

    await page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keyboard shortcuts")
    await expect(dialog).to_be_visible()
    await expect(dialog.get_by_text("Previous, next subtask")).to_be_visible()
    await page.keyboard.press("ArrowRight")  # not while it is open
    await page.keyboard.press("Escape")
    await expect(dialog).to_be_hidden()
    await stands_at(page, 3)
    await page.get_by_role("button", name="Keyboard shortcuts").click()
    await dialog.get_by_role("button", name="Close").click()
    await expect(dialog).to_be_hidden()
    pages.assert_clean()


async def test_the_timeline_by_the_mouse(pages: Pages, shared_server: Server) -> None:
    page = await opened(pages, shared_server)
    slider = page.get_by_role("slider", name="Timeline")
    box = await slider.bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2

    await page.mouse.click(box["x"] + box["width"] * 0.7, middle)  # 3.5 s
    await stands_at(page, 4)
    await page.mouse.move(box["x"] + box["width"] * 0.7, middle)
    await page.mouse.down()
    await page.mouse.move(box["x"] + box["width"] * 0.3, middle, steps=5)
    await page.mouse.up()
    await stands_at(page, 2)
    await expect(slider).to_have_attribute("aria-valuetext", re.compile("Step 2 of 6, 0:01 of 0:05"))
    await page.get_by_role("button", name="Go to One").click()
    await stands_at(page, 3)
    pages.assert_clean()


async def test_the_timeline_by_the_keyboard(pages: Pages, shared_server: Server) -> None:
    page = await opened(pages, shared_server)
    await stands_at(page, 3)
    slider = page.get_by_role("slider", name="Timeline")

    await slider.focus()
    for key, offset in (("End", 6), ("ArrowLeft", 5), ("Home", 1), ("ArrowRight", 2), ("PageUp", 2), ("PageUp", 3)):
        await page.keyboard.press(key)
        await stands_at(page, offset)
    pages.assert_clean()


async def test_a_mark_for_every_step_is_there_before_it_has_come(pages: Pages, shared_server: Server) -> None:
    page = await opened(pages, shared_server, f"r/{SHORT}?autoplay=0")

    coloured = """(canvas) => {
        const { data } = canvas.getContext("2d").getImageData(0, canvas.height - 1, canvas.width, 1);
        const marks = [];
        for (let x = 0; x < canvas.width; x += 1) {
            const colour = data.slice(4 * x, 4 * x + 4).join();
            if (data[4 * x + 3] && (!x || !data[4 * x - 1])) marks.push(colour);
        }
        return marks;
    }"""
    canvas = page.locator("canvas")
    for _ in range(100):
        marks = await canvas.evaluate(coloured)
        if len(marks) == 6:
            break
        await page.wait_for_timeout(50)
    assert len(marks) == 6
    assert len(set(marks)) == 5  # running, plan, tool, result and finished, reflection
    await expect(page.locator("article")).to_have_count(0)
    pages.assert_clean()


async def test_speed(pages: Pages, shared_server: Server) -> None:
    page = await opened(pages, shared_server, f"r/{EDGE}?speed=0.5")
    speed = page.get_by_label("Speed")

    await expect(speed).to_have_value("0.5")
    assert await speed.locator("option").all_text_contents() == ["0.5×", "1×", "1.5×", "2×", "4×", "8×"]
    await speed.select_option("8")
    await stands_at(page, 19, "ended")
    pages.assert_clean(GONE)


async def test_skip_idle(pages: Pages, shared_server: Server, tmp_path: Path) -> None:
    page = await opened(pages, shared_server, f"r/{EDGE}?idleTimeLimit=0.05")
    skip = page.get_by_role("button", name="Skip idle")

    await expect(skip).to_have_attribute("aria-pressed", "true")
    await stands_at(page, 19, "ended")  # 18 s, else
    await skip.click()
    await expect(skip).to_have_attribute("aria-pressed", "false")
    pages.assert_clean(GONE)


@pytest.mark.parametrize(
    ("query", "offset", "state"),
    [
        ("#step=4", 4, "paused"),
        ("#step=99", 6, "paused"),
        ("#step=x", 6, "ended"),
        ("?t=3.5&autoplay=0", 4, "paused"),
        ("?t=0:03&autoplay=false", 4, "paused"),
        ("?t=99999999", 6, "ended"),
        ("?t=-1&speed=nonsense&idleTimeLimit=0", 6, "ended"),
        ("?autoplay=1&speed=8#step=2", 6, "ended"),
        ("?speed=100000&idleTimeLimit=x&t=4.9", 6, "ended"),
    ],
)
async def test_the_address_says_where_to_begin(
    pages: Pages, shared_server: Server, query: str, offset: int, state: str
) -> None:
    page = await opened(pages, shared_server, f"r/{SHORT}{query}")

    await stands_at(page, offset, state)
    pages.assert_clean()


async def test_loop_begins_again(pages: Pages, shared_server: Server) -> None:
    page = await opened(pages, shared_server, f"r/{SHORT}?speed=8&loop=1")

    for offset in ("6", "1", "6"):
        await expect(page.locator("html")).to_have_attribute("data-offset", offset)
    pages.assert_clean()


async def test_another_step_in_the_address_of_an_open_page(pages: Pages, shared_server: Server) -> None:
    page = await opened(pages, shared_server)
    await stands_at(page, 3)

    await page.goto(f"{shared_server.http_url}/r/{SHORT}#step=5")
    await stands_at(page, 5)
    await page.locator('article[data-offset="2"] a').first.click()  # its number
    await stands_at(page, 2)
    await page.go_back()
    await stands_at(page, 5)
    pages.assert_clean()


async def test_a_page_that_does_not_play_says_how_to(pages: Pages, shared_server: Server) -> None:
    page = await opened(pages, shared_server, f"r/{SHORT}?autoplay=0&speed=8")

    await expect(page.locator("html")).to_have_attribute("data-state", "paused")
    await expect(page.locator("article")).to_have_count(0)
    await page.get_by_role("button", name="Start the replay").click()
    await stands_at(page, 6, "ended")
    await expect(page.get_by_role("button", name="Start the replay")).to_be_hidden()
    pages.assert_clean()


async def test_copy_a_link_to_the_step_that_is_looked_at(pages: Pages, shared_server: Server) -> None:
    permissions = ["clipboard-read", "clipboard-write"]
    page = await opened(pages, shared_server, f"r/{SHORT}?speed=2#step=5", permissions=permissions)
    await stands_at(page, 5)

    await page.get_by_role("button", name="Copy link to this step").click()
    await expect(page.get_by_text("Link to step 5 copied")).to_be_visible()
    assert await page.evaluate("navigator.clipboard.readText()") == f"{shared_server.http_url}/r/{SHORT}#step=5"
    await page.locator('article[data-offset="4"] h3').click()
    await page.get_by_role("button", name="Copy link to this step").click()
    await expect(page.get_by_text("Link to step 4 copied")).to_be_visible()
    assert await page.evaluate("navigator.clipboard.readText()") == f"{shared_server.http_url}/r/{SHORT}#step=4"
    pages.assert_clean()


async def test_without_a_clipboard_the_link_is_shown(pages: Pages, shared_server: Server) -> None:
    page = await opened(pages, shared_server, permissions=[])
    await stands_at(page, 3)
    await page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")

    await page.get_by_role("button", name="Copy link to this step").click()
    await expect(page.get_by_role("textbox", name="Link")).to_have_value(f"{shared_server.http_url}/r/{SHORT}#step=3")
    pages.assert_clean()


async def test_it_works_below_a_prefix(pages: Pages, tmp_path: Path) -> None:
    put_in(tmp_path, GOLDEN / "short.recording.json")
    async with serve_mounted(tmp_path, "/deep/er") as url:
        page = await pages.open(f"{url}r/{SHORT}?speed=8")
        await stands_at(page, 6, "ended")
        await expect(page.get_by_role("heading", level=1)).to_have_text("short run")
        pages.assert_clean()


async def test_who_scrolls_up_is_left_where_he_reads(pages: Pages, shared_server: Server) -> None:
    page = await opened(pages, shared_server, f"r/{EDGE}?t=8.5&speed=2", height=500)
    await expect(page.locator('article[data-offset="9"]')).to_be_visible()

    feed = page.get_by_role("feed", name="Steps")
    await feed.hover()
    await page.mouse.wheel(0, -400)
    newest = page.get_by_role("button", name="Newest step")
    await expect(newest).to_be_visible()
    before = await feed.evaluate("(feed) => feed.scrollTop")
    await expect(page.locator("html")).to_have_attribute("data-state", "ended")
    assert await feed.evaluate("(feed) => feed.scrollTop") == before
    await newest.click()
    await expect(page.locator('article[data-offset="19"]')).to_be_in_viewport()
    await expect(newest).to_be_hidden()
    pages.assert_clean(GONE)


async def test_the_plan_is_that_of_the_step_that_is_looked_at(pages: Pages, shared_server: Server) -> None:
    page = await opened(pages, shared_server, f"r/{SHORT}#step=6")
    plan = page.get_by_role("complementary", name="Plan")
    await stands_at(page, 6)

    await expect(plan.get_by_role("listitem")).to_contain_text("Done:")
    await page.locator('article[data-offset="3"] h3').click()
    await expect(plan.get_by_role("listitem")).to_contain_text("In progress:")
    await page.locator('article[data-offset="2"] h3').click()
    await expect(plan.get_by_role("listitem")).to_contain_text("To do:")
    await page.locator('article[data-offset="3"] h3').click()
    await plan.get_by_role("button", name="One").click()  # to where it began
    await stands_at(page, 3)
    pages.assert_clean()


async def test_the_keyboard_alone_is_enough(pages: Pages, shared_server: Server) -> None:
    page = await opened(pages, shared_server)
    await stands_at(page, 3)

    reached = set()
    for _ in range(60):
        await page.keyboard.press("Tab")
        reached.add(
            await page.evaluate(
                "document.activeElement.getAttribute('aria-label') || document.activeElement.textContent.slice(0, 40)"
            )
        )
    wanted = {"Steps", "Timeline", "Play", "Next step", "Previous step", "Speed", "Skip idle", "Fullscreen"}
    assert wanted <= reached, reached
    assert {"Copy link to this step", "Keyboard shortcuts", "One", "Go to step 2"} <= reached, reached
    pages.assert_clean()


async def test_steps_can_be_walked_through_as_a_feed(pages: Pages, shared_server: Server) -> None:
    page = await opened(pages, shared_server, f"r/{SHORT}#step=6")
    await stands_at(page, 6)

    await page.locator('article[data-offset="6"]').focus()
    await page.keyboard.press("PageUp")
    await expect(page.locator('article[data-offset="5"]')).to_be_focused()
    await page.keyboard.press("PageUp")
    await page.keyboard.press("PageDown")
    await expect(page.locator('article[data-offset="5"]')).to_be_focused()
    await expect(page.locator('article[data-offset="5"]')).to_have_attribute("aria-posinset", "5")
    await expect(page.locator('article[data-offset="5"]')).to_have_attribute("aria-setsize", "6")
    pages.assert_clean()


async def test_while_it_plays_nothing_is_read_aloud(pages: Pages, shared_server: Server) -> None:
    page = await opened(pages, shared_server, f"r/{EDGE}?speed=8&autoplay=0")
    await page.evaluate(
        """() => {
            globalThis.said = [];
            for (const live of document.querySelectorAll("[role=status], [aria-live]")) {
                new MutationObserver(() => said.push(live.textContent)).observe(live, { childList: true });
            }
        }"""
    )

    await page.get_by_role("button", name="Start the replay").click()
    await stands_at(page, 19, "ended")
    await expect(page.get_by_text("The run has finished.").first).to_be_visible()
    said = [text for text in await page.evaluate("said") if text]
    assert said == ["Playing", "The run has finished."]
    pages.assert_clean(GONE)


async def test_a_run_of_one_moment(pages: Pages, tmp_path: Path) -> None:
    recording = make_timed_recording("moment", 30, 0)
    put_in(tmp_path, write_recording(tmp_path / "moment.json", recording))
    async with serve_mounted(tmp_path, "/x") as url:
        page = await pages.open(f"{url}r/moment")
        await stands_at(page, 30, "ended")
        await page.get_by_role("slider", name="Timeline").focus()
        await page.keyboard.press("Home")
        await page.keyboard.press("End")
        await stands_at(page, 30, "ended")
        await page.keyboard.press(",")
        await stands_at(page, 29)
        await page.keyboard.press("5")
        await stands_at(page, 15)
        pages.assert_clean()


async def test_the_keyboard_stays_in_a_step_that_is_scrolled_away(pages: Pages, tmp_path: Path) -> None:
    put_in(tmp_path, write_recording(tmp_path / "many.json", make_timed_recording("many", 300, 0)))
    async with serve_mounted(tmp_path, "/x") as url:
        page = await pages.open(f"{url}r/many#step=300")
        await stands_at(page, 300, "paused")
        await page.locator('article[data-offset="299"]').focus()
        feed = page.get_by_role("feed")
        await feed.evaluate("(feed) => feed.scrollTo(0, 0)")
        await expect(page.locator('article[data-offset="1"]')).to_be_in_viewport()
        await expect(page.locator('article[data-offset="299"]')).to_be_focused()
        await page.keyboard.press("PageDown")
        await expect(page.locator('article[data-offset="300"]')).to_be_focused()
        await expect(page.locator('article[data-offset="300"]')).to_be_in_viewport()
        pages.assert_clean()


async def test_the_arrow_keys_work_after_a_click_on_a_button(pages: Pages, shared_server: Server) -> None:
    page = await opened(pages, shared_server)
    await stands_at(page, 3)

    await page.get_by_role("button", name="Next step").click()
    await stands_at(page, 4)
    await page.keyboard.press("ArrowRight")
    await stands_at(page, 5)
    await page.get_by_label("Speed").select_option("2")
    await page.keyboard.press("ArrowLeft")
    await stands_at(page, 4)
    pages.assert_clean()


async def test_a_tenth_forward_and_a_tenth_back_is_where_it_was(pages: Pages, shared_server: Server) -> None:
    page = await opened(pages, shared_server, f"r/{EDGE}#step=4")
    await stands_at(page, 4)

    await page.keyboard.press("Shift+ArrowRight")
    await stands_at(page, 5)
    await page.keyboard.press("Shift+ArrowLeft")
    await stands_at(page, 4)
    pages.assert_clean(GONE)


async def test_the_number_of_a_step_leads_there_also_when_the_address_names_it(
    pages: Pages, shared_server: Server
) -> None:
    page = await opened(pages, shared_server)
    await stands_at(page, 3)

    await page.keyboard.press("9")
    await stands_at(page, 5)
    await page.get_by_role("link", name="Go to step 3").click()
    await stands_at(page, 3)
    pages.assert_clean()


async def test_the_last_step_is_the_end_however_one_comes_there(pages: Pages, shared_server: Server) -> None:
    page = await opened(pages, shared_server, f"r/{SHORT}?speed=8#step=6")
    await stands_at(page, 6)

    await expect(page.locator(".outcome")).to_have_text("Finished")
    await page.get_by_role("button", name="Play", exact=True).click()  # from the beginning
    await expect(page.locator("html")).to_have_attribute("data-offset", re.compile("[1-5]"))
    await stands_at(page, 6, "ended")
    pages.assert_clean()


@pytest.mark.parametrize("rows", [1, 5])
async def test_a_loop_of_one_moment_goes_on_and_on(pages: Pages, tmp_path: Path, rows: int) -> None:
    put_in(tmp_path, write_recording(tmp_path / "moment.json", make_timed_recording("moment", rows, 0)))
    async with serve_mounted(tmp_path, "/x") as url:
        page = await pages.open()
        sent: list[str] = []
        page.on("websocket", lambda socket: socket.on("framesent", lambda text: sent.append(str(text))))
        pages.origins.add(url.split("/")[2])
        await page.goto(f"{url}r/moment?loop=1")
        for _ in range(200):
            if sum('"play"' in text for text in sent) >= 3:
                break
            await page.wait_for_timeout(50)
        assert 3 <= sum('"play"' in text for text in sent) < 20
        pages.assert_clean()


async def test_the_keyboard_stays_on_the_button_of_the_last_step(pages: Pages, shared_server: Server) -> None:
    page = await opened(pages, shared_server, f"r/{SHORT}#step=5")
    await stands_at(page, 5)

    following = page.get_by_role("button", name="Next step")
    await following.focus()
    for _ in range(3):
        await page.keyboard.press("Enter")
    await stands_at(page, 6)
    await expect(following).to_be_focused()
    await expect(following).to_be_disabled()
    task = page.get_by_role("complementary", name="Plan").get_by_role("button", name="One")
    await task.focus()
    await page.keyboard.press("Enter")
    await stands_at(page, 3)
    await expect(task).to_be_focused()
    pages.assert_clean()
