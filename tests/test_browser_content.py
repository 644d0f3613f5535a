"""What the player shows of a run: hostile ones, very long ones, files; and the same inside of other pages."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route

from tests.browser import DEMO, IN_BROWSER, Pages, axe_violations, put_in, shot
from tests.server import (
    EDGE,
    SHORT,
    Server,
    make_recording,
    make_timed_recording,
    run_here,
    serve_here,
    start_server,
    write_recording,
)

pytestmark = IN_BROWSER

DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
EVIL = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(2)>",
    "<svg onload=alert(3)><script>alert(4)</script></svg>",
    "<iframe src='javascript:alert(5)'></iframe><iframe srcdoc='<script>parent.alert(6)</script>'></iframe>",
    "[click](javascript:alert(7)) [data](data:text/html,<script>alert(8)</script>)",
    "![x](http://evil.example/x.png) <img src='http://evil.example/y.png'> ![z](//evil.example/z.png)",
    "<style>@import 'http://evil.example/s.css'; body { background: url(http://evil.example/b) }</style>",
    "<p style='background: url(http://evil.example/p); position: fixed; inset: 0'>cover</p>",
    "<link rel=stylesheet href=http://evil.example/l.css><meta http-equiv=refresh content='0;url=http://evil.example'>",
    "<form action=http://evil.example><input name=body><button>send</button></form><base href=http://evil.example/>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=alert(9)&gt;'>",
    "<a id=location name=document href=http://evil.example ping=http://evil.example/ping>clobber</a>",
    "<video autoplay src=http://evil.example/v.mp4></video><audio src=http://evil.example/a onerror=alert(10)></audio>",
    "<object data=http://evil.example/o></object><embed src=http://evil.example/e>",
    "</script><script>alert(11)</script><!--<script>",
    "```html\n<script>alert(12)</script>\n```\n`<img src=x onerror=alert(13)>`",
    "\x1b]8;;javascript:alert(14)\x07link\x1b]8;;\x07 \x1b[31mred\x1b[0m \x1b]0;title\x07 \x1b[2J\x1b[1;1H",
    "{{constructor.constructor('alert(15)')()}} ${alert(16)} __proto__",
    "\u202egnp.exe\u202c \u0000 \ufeff 数据 " + "a" * 5000,
    "![](api/v1/recordings/../../../x) ![](..%2f..%2fx) ![](/etc/passwd)",
]


async def stands_at(page: Page, offset: int, state: str) -> None:
    await expect(page.locator("html")).to_have_attribute("data-offset", str(offset))
    await expect(page.locator("html")).to_have_attribute("data-state", state)


def hostile_recording() -> dict[str, Any]:
    """Everything that a stranger may put into a run, in every place where text can stand."""
    recording = make_recording("hostile", len(EVIL) + 8)
    recording["interaction"]["description"] = EVIL[0] + EVIL[1]
    raws = recording["raws"]
    for raw, evil in zip(raws, EVIL, strict=False):
        raw["file_list"] = [evil[:60], "dot.png", "evil.svg", "evil.html"]
        raw["data"] = {
            "thoughts": evil,
            "reasoning": evil,
            "plan": evil,
            "criticism": evil,
            "using_tools": {
                "tool_name": evil[:100],
                "tool_input": {"code": evil, evil[:30]: [evil, {evil[:20]: evil}], "__proto__": {"x": 1}},
                "tool_output": [evil, {"media_type": "image/png", "file_name": evil[:80]}, {"a": evil}, {"a": 1}],
                "tool_status_code": evil[:50],
            },
        }
    raws[-8] |= {
        "status": "start",
        "current": "1",
        "data": {"goal": EVIL[1], "subtasks": [{"task_id": "1.1", "name": EVIL[1], "goal": EVIL[2]}] * 3},
    }
    raws[-7] |= {"status": "refinement", "data": {"task_id": "1.1", "posterior_plan_reflection": [EVIL[1], None, 3]}}
    raws[-6] |= {"status": "subtask", "data": [{"task_id": "1.2", "name": EVIL[3]}, None, 7, "x"]}
    raws[-5] |= {"status": "subtask_submit", "data": {"using_tools": {"tool_input": {"result": EVIL[2]}}}}
    raws[-4] |= {"status": "ask_for_human_help", "data": EVIL[1]}
    raws[-3] |= {"status": "constructor"[:20], "current": "__proto__", "data": {"__proto__": EVIL[1]}}
    raws[-2] |= {"status": "inner", "data": [[[[[EVIL[1]] * 3]]]]}
    raws[-1] |= {"status": "failed", "data": EVIL[1]}
    files = {
        "dot.png": base64.b64decode(DOT),
        "evil.svg": b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(20)'/>",
    }
    files |= {
        "evil.html": b"<script>alert(21)</script>",
        "evil.md": "\n\n".join(EVIL).encode(),
        "evil.csv": b"=1,<b>\n",
    }
    files["evil.ipynb"] = json.dumps(
        {
            "cells": [
                {"cell_type": "markdown", "source": EVIL},
                {
                    "cell_type": "code",
                    "source": EVIL[0],
                    "outputs": [
                        {"output_type": "display_data", "data": {"text/html": EVIL[0], "image/svg+xml": EVIL[2]}},
                        {"output_type": "display_data", "data": {"application/javascript": "alert(22)"}},
                        {"output_type": "error", "ename": EVIL[1], "evalue": EVIL[1], "traceback": [EVIL[16]]},
                    ],
                },
            ]
        }
    ).encode()
    recording["workspace"] = {name: base64.b64encode(content).decode() for name, content in files.items()}
    return recording


async def open_everything(page: Page) -> None:
    """Scroll through all steps, and open all that can be opened."""
    feed = page.get_by_role("feed")
    for _ in range(400):
        await page.locator("main details:not([open]) > summary").evaluate_all(
            "(all) => all.filter((summary) => summary.checkVisibility()).forEach((summary) => summary.click())"
        )
        done = await feed.evaluate(
            "(feed) => { feed.dispatchEvent(new WheelEvent('wheel', { deltaY: -1 })); const before = feed.scrollTop;"
            " feed.scrollTop -= 600; return feed.scrollTop === before; }"
        )
        await page.wait_for_timeout(20)
        if done:
            return


async def open_each_file(page: Page, names: list[str]) -> None:
    for name in names:
        await page.locator(f'button[data-name="{name}"]').first.evaluate("(button) => button.click()")
        await page.wait_for_timeout(150)


@pytest.fixture(scope="module")
def content_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    folder = tmp_path_factory.mktemp("content")
    put_in(folder, write_recording(folder / "hostile.json", hostile_recording()))
    with start_server(folder) as server:
        yield server


MISSING = r"404 .*/files/"
"""Pictures that a recording names and has not."""


async def test_nothing_that_a_run_contains_ever_runs(pages: Pages, content_server: Server) -> None:
    page = await pages.open(f"{content_server.http_url}/r/hostile#step=9999")
    await stands_at(page, len(EVIL) + 8, "paused")

    await open_everything(page)
    await open_each_file(page, ["evil.svg", "evil.html", "evil.md", "evil.csv", "evil.ipynb", "dot.png"])
    await shot(page, "hostile")
    assert await page.evaluate("Object.keys(Object.prototype).length") == 0
    for link in await page.locator("article a:not([href^='#'])").all():
        assert re.match("(https?|mailto):", await link.get_attribute("href") or ""), await link.get_attribute("href")
    pages.assert_clean(MISSING)


async def test_nor_in_the_page_that_is_played_from_the_disk(pages: Pages, content_server: Server) -> None:
    folder = content_server.log_file.parent
    written = run_here("export", "hostile", "--html", folder / "hostile.html", folder=folder)
    assert written.returncode == 0, written.stderr

    page = await pages.open()
    await page.context.set_offline(True)
    pages.origins.add("")  # the disk
    await page.goto(f"file://{folder}/hostile.html#step=9999")
    await stands_at(page, len(EVIL) + 8, "paused")
    await open_everything(page)
    await open_each_file(page, ["evil.svg", "evil.html", "evil.md", "evil.csv", "evil.ipynb", "dot.png"])
    pages.assert_clean()
    assert {url.split("#")[0] for url in pages.requests if not url.startswith(("blob:", "data:"))} == {
        f"file://{folder}/hostile.html"
    }


async def test_a_page_from_the_disk_is_the_same_player(pages: Pages, tmp_path: Path, shared_server: Server) -> None:
    shared = shared_server.log_file.parent
    for name in (DEMO, SHORT):
        written = run_here("export", name, "--html", tmp_path / f"{name}.html", folder=shared)
        assert written.returncode == 0, written.stderr
    pages.origins.add("")
    page = await pages.open()
    await page.context.set_offline(True)

    await page.goto(f"file://{tmp_path}/{DEMO}.html?speed=8")
    await stands_at(page, 16, "ended")
    await shot(page, "exported")
    assert await axe_violations(page) == []
    await page.goto(f"file://{tmp_path}/{SHORT}.html?speed=8#step=2")
    await stands_at(page, 2, "paused")
    for key, offset in (("]", 3), ("ArrowRight", 4), ("9", 5), ("ArrowLeft", 4), ("Shift+ArrowLeft", 3)):
        await page.keyboard.press(key)
        await stands_at(page, offset, "paused")
    await page.keyboard.press("Space")
    await stands_at(page, 6, "ended")
    await page.get_by_role("button", name="Play", exact=True).click()
    await stands_at(page, 6, "ended")
    pages.assert_clean()


async def test_files_of_every_kind_are_shown(pages: Pages, tmp_path: Path) -> None:
    recording = make_timed_recording("files", 4, 0.01)
    notebook = {
        "cells": [
            {"cell_type": "markdown", "source": ["# A *notebook*"]},
            {
                "cell_type": "code",
                "source": "print(1)",
                "outputs": [
                    {"output_type": "stream", "text": ["one\n"]},
                    {"output_type": "display_data", "data": {"image/png": DOT}},
                ],
            },
        ]
    }
    files = {
        "notes.md": b"# Notes\n\nSome **bold** text, and ![a dot](dot.png)",
        "table.csv": "name,数量\nпервый,1\n".encode(),
        "run.ipynb": json.dumps(notebook).encode(),
        "main.py": b"def main():\n    return 1\n",
        "dot.png": base64.b64decode(DOT),
        "data.bin": bytes(range(256)),
        "folder/deep.txt": b"deep inside",
    }
    recording["workspace"] = {name: base64.b64encode(content).decode() for name, content in files.items()}
    recording["raws"][1]["file_list"] = ["notes.md", "gone.txt"]
    recording["raws"][2]["file_list"] = sorted(files)
    put_in(tmp_path, write_recording(tmp_path / "files.json", recording))
    with start_server(tmp_path) as server:
        page = await pages.open(f"{server.http_url}/r/files#step=2")
        pane = page.get_by_role("complementary", name="Files")
        await expect(pane.get_by_role("heading", name="Files as of step 2")).to_be_visible()
        await expect(pane.get_by_text("not kept")).to_have_count(1)
        await expect(pane.get_by_text("6 more at the end of the run")).to_be_visible()
        await page.keyboard.press("ArrowRight")
        await expect(pane.get_by_role("heading", name="Files as of step 3")).to_be_visible()
        shown = {
            "notes.md": pane.get_by_role("heading", name="Notes"),
            "table.csv": pane.get_by_role("cell", name="первый"),
            "run.ipynb": pane.get_by_role("heading", name="A notebook"),
            "main.py": pane.get_by_text("def main"),
            "dot.png": pane.get_by_role("img", name="dot.png"),
            "data.bin": pane.get_by_text(re.compile("can't be shown|binary", re.IGNORECASE)),
            "folder/deep.txt": pane.get_by_text("deep inside"),
        }
        for name, locator in shown.items():
            await pane.get_by_role("button", name=name, exact=True).click()
            await expect(locator.first).to_be_visible()
            async with page.expect_download() as download:
                await pane.get_by_role("link", name=re.compile("Download")).first.click()
            saved = await (await download.value).path()
            assert saved.read_bytes() == files[name]
            assert await axe_violations(page) == []
        await shot(page, "files")
        pages.assert_clean()


async def test_ten_thousand_steps_stay_smooth(pages: Pages, tmp_path: Path) -> None:
    recording = make_timed_recording("many", 10_000, 1)
    for raw in recording["raws"]:
        raw["data"]["using_tools"]["tool_output"] = "a line of output\n" * 40
    put_in(tmp_path, write_recording(tmp_path / "many.json", recording))
    with start_server(tmp_path) as server:
        page = await pages.open(f"{server.http_url}/r/many?t=3")
        await expect(page.locator('article[data-offset="3"]')).to_be_visible()  # the others haven't come yet
        await page.get_by_role("slider", name="Timeline").focus()
        await page.keyboard.press("End")
        await stands_at(page, 10_000, "ended")
        most = await page.evaluate(
            """async () => {
                const feed = document.querySelector("[role=feed]");
                let most = 0;
                for (let top = feed.scrollHeight - 2000; top > 0; top -= feed.scrollHeight / 200) {
                    feed.scrollTop = top;
                    await new Promise(requestAnimationFrame);
                    most = Math.max(most, document.querySelectorAll("article").length);
                }
                feed.scrollTop = 0;
                return most;
            }"""
        )
        assert 0 < most < 40
        await expect(page.locator('article[data-offset="1"]')).to_be_in_viewport()
        session = await page.context.new_cdp_session(page)
        await session.send("HeapProfiler.collectGarbage")
        heap = (await session.send("Runtime.getHeapUsage"))["usedSize"]
        assert heap < 150_000_000, heap
        assert await axe_violations(page) == []
        pages.assert_clean()


async def test_a_step_on_the_screen_stays_where_it_is_while_those_above_are_measured(
    pages: Pages, shared_server: Server
) -> None:
    page = await pages.open(f"{shared_server.http_url}/r/{DEMO}#step=16")
    await stands_at(page, 16, "paused")
    feed = page.get_by_role("feed")

    await feed.hover()
    for _ in range(12):
        before = await page.evaluate(
            "[...document.querySelectorAll('article')].map((a) => [a.dataset.offset, a.getBoundingClientRect()])"
            ".filter(([offset, box]) => box.bottom > 300).map(([offset, box]) => [offset, box.top])[0]"
        )
        await page.mouse.wheel(0, -150)
        await page.wait_for_timeout(150)
        after = await page.evaluate(
            "(offset) => document.querySelector(`article[data-offset='${offset}']`).getBoundingClientRect().top",
            before[0],
        )
        top = await feed.evaluate("(feed) => feed.scrollTop")
        assert abs(after - before[1] - 150) < 3 or top == 0, (before, after)


@pytest.mark.parametrize(
    ("name", "width", "dark"),
    [(DEMO, 1280, False), (DEMO, 360, True), (EDGE, 1280, True), (EDGE, 360, False), (SHORT, 360, True)],
)
async def test_axe_finds_nothing(pages: Pages, shared_server: Server, name: str, width: int, dark: bool) -> None:
    page = await pages.open(f"{shared_server.http_url}/r/{name}#step=99", width=width, height=740, dark=dark)
    await expect(page.locator("html")).to_have_attribute("data-state", "paused")
    await expect(page.locator("article").last).to_be_visible()

    await open_everything(page)
    assert await axe_violations(page) == []
    assert await page.evaluate("document.documentElement.scrollWidth") == width
    if name == DEMO:
        await shot(page, f"player-{width}-{'dark' if dark else 'light'}")
    if width == 360:
        for pane in ("Plan", "Files"):
            await page.get_by_role("button", name=pane, exact=True).click()
            await expect(page.get_by_role("complementary", name=pane)).to_be_visible()
            assert await axe_violations(page) == []
            await page.get_by_role("button", name=pane, exact=True).click()
            await expect(page.get_by_role("complementary", name=pane)).to_be_hidden()
    await page.keyboard.press("?")
    await expect(page.get_by_role("dialog")).to_be_visible()
    assert await axe_violations(page) == []
    pages.assert_clean(MISSING)


async def test_the_plan_shows_what_a_refinement_has_changed(pages: Pages, tmp_path: Path) -> None:
    def task(number: str, name: str) -> dict[str, Any]:
        return {"task_id": number, "name": name, "goal": f"the goal of {name}", "exceute_status": "TODO"}

    recording = make_timed_recording("plan", 7, 0.01)
    raws = recording["raws"]
    tasks = [task("1.1", "Read"), task("1.2", "Guess"), task("1.3", "Write"), task("1.10", "Last")]
    raws[0] |= {"status": "start", "current": "1", "data": {"goal": "A plan", "subtasks": tasks}}
    submitted = {"using_tools": {"tool_input": {"result": {"success": False}}, "tool_status_code": "SUBMIT_AS_FAILED"}}
    raws[2] |= {"status": "subtask_submit", "data": submitted}
    raws[3] |= {
        "status": "refinement",
        "data": {"task_id": "1.1", "posterior_plan_reflection": ["Read the docs first."]},
    }
    raws[4] |= {
        "status": "subtask",
        "current": "1.2",
        "data": [task("1.2", "Ask"), task("1.2.1", "Ask whom"), task("1.10", "Last")],
    }
    raws[5] |= {"current": "1.2"}
    put_in(tmp_path, write_recording(tmp_path / "plan.json", recording))
    with start_server(tmp_path) as server:
        page = await pages.open(f"{server.http_url}/r/plan#step=6")
        await stands_at(page, 6, "paused")
        tree = page.get_by_role("complementary", name="Plan")
        items = [re.sub(r"\s+", " ", text) for text in await tree.get_by_role("listitem").all_inner_texts()]
        assert [re.sub(" the goal.*", "", text) for text in items] == [
            "✕ Failed: 1.1 Read",
            "◉ In progress: 1.2 Ask changed",
            "○ To do: 1.2.1 Ask whom added",
            "– Dropped: 1.3 Write",
            "○ To do: 1.10 Last",
        ]
        await expect(page.locator('article[data-offset="3"]')).to_have_attribute("data-kind", "failed")
        await tree.get_by_text("1 lesson").click()
        await expect(tree.get_by_text("Read the docs first.")).to_be_visible()
        await expect(tree.locator("[aria-current]")).to_contain_text("Ask")
        await page.locator('article[data-offset="1"] h3').click()
        await expect(tree.get_by_text("Guess", exact=True)).to_be_visible()  # as it was then
        await expect(tree.get_by_text("added")).to_have_count(0)
        await shot(page, "plan")
        pages.assert_clean()


async def test_a_player_in_somebody_elses_page(pages: Pages, shared_server: Server) -> None:
    script = f"{shared_server.http_url}/embed.js"
    host = Starlette(
        routes=[
            Route(
                "/",
                lambda request: HTMLResponse(
                    f'<!doctype html><title>A blog</title><link rel="icon" href="data:,"><h1>A blog</h1>'
                    f'<script src="{script}" data-recording="{SHORT}" data-speed="8" data-autoplay></script>'
                    f'<script src="{script}" data-recording="{EDGE}" data-step="2"></script>'
                    f'<iframe id="forbidden" src="{shared_server.http_url}/r/{SHORT}"></iframe>'
                ),
            )
        ]
    )
    async with serve_here(host) as port:
        pages.origins.add(f"127.0.0.1:{shared_server.port}")
        page = await pages.open(f"http://127.0.0.1:{port}/", width=900, height=1400)
        first, second = page.frame_locator("iframe >> nth=0"), page.frame_locator("iframe >> nth=1")
        await expect(first.locator("html")).to_have_attribute("data-state", "ended")
        await expect(second.locator("html")).to_have_attribute("data-offset", "2")
        await expect(second.locator("html")).to_have_attribute("data-state", "paused")
        heights = await page.locator("iframe").evaluate_all("(all) => all.map((one) => one.offsetHeight)")
        assert heights[0] == heights[1] == 553
        await page.set_viewport_size({"width": 360, "height": 1400})
        await expect(page.locator("iframe").first).to_have_css("height", "576px")
        await shot(page, "embedded")
        pages.assert_clean("frame-ancestors", "X-Frame-Options", "chrome-error", MISSING)
        assert len([error for error in pages.errors if "frame" in error.lower()]) >= 1  # the third one


def long_plan(tasks: int, depth: int) -> dict[str, Any]:
    """A run with so many subtasks beside each other, the first of which has so many below it."""
    recording = make_timed_recording("planned", 3, 0.01)
    subtasks = [{"task_id": f"1.{number}", "name": f"Part {number}", "goal": "g"} for number in range(tasks)]
    subtasks += [{"task_id": "1.0" + ".1" * level, "name": "deeper", "goal": "g"} for level in range(1, depth)]
    goal = "Please find all the bugs in this repository and write a report. " * 10
    recording["raws"][0] |= {"status": "start", "current": "1", "data": {"goal": goal, "subtasks": subtasks}}
    return recording


@pytest.mark.parametrize("width", [1280, 360])
async def test_a_long_plan_and_a_long_goal_make_no_page_scroll(pages: Pages, tmp_path: Path, width: int) -> None:
    put_in(tmp_path, write_recording(tmp_path / "plan.json", long_plan(60, 1)))
    with start_server(tmp_path) as server:
        page = await pages.open(f"{server.http_url}/r/planned#step=2", width=width, height=700)
        await stands_at(page, 2, "paused")
        size = await page.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
        assert size == [width, 700]
        pages.assert_clean()


async def test_a_plan_of_any_size_is_drawn_soon(pages: Pages, tmp_path: Path) -> None:
    recording = long_plan(1, 400)
    nested = [{"task_id": f"2.{number}", "name": "n"} for number in range(20_000)]
    recording["raws"][0]["data"]["subtasks"].append({"task_id": "2", "name": "many", "subtasks": nested})
    put_in(tmp_path, write_recording(tmp_path / "plan.json", recording))
    with start_server(tmp_path) as server:
        page = await pages.open(f"{server.http_url}/r/planned#step=3")
        await stands_at(page, 3, "paused")
        await expect(page.get_by_role("complementary", name="Plan").locator("li")).to_have_count(500)
        pages.assert_clean()


async def test_a_run_that_ends_with_no_list_of_files_still_has_them(pages: Pages, tmp_path: Path) -> None:
    recording = make_timed_recording("kept", 3, 0.01)
    recording["raws"][1]["file_list"] = ["a.txt"]
    recording["raws"][2]["file_list"] = []
    recording["workspace"] = {"a.txt": "aGVsbG8=", "b.txt": "aGVsbG8="}
    put_in(tmp_path, write_recording(tmp_path / "kept.json", recording))
    with start_server(tmp_path) as server:
        page = await pages.open(f"{server.http_url}/r/kept")
        await stands_at(page, 3, "ended")
        pane = page.get_by_role("complementary", name="Files")
        await expect(pane.get_by_role("button", name="a.txt")).to_be_visible()
        await pane.get_by_role("button", name="a.txt").focus()
        await page.keyboard.press(",")
        await stands_at(page, 2, "paused")
        await expect(pane.get_by_role("button", name="a.txt")).to_be_focused()
        await page.keyboard.press(",")
        await stands_at(page, 1, "paused")
        await expect(pane.get_by_role("heading", name="Files at the end of the run")).to_be_visible()
        pages.assert_clean()
