"""How fast the player is with ten thousand steps, in real Chromium against a real server, with nothing else running.

    .venv/bin/python -m bench.player

Prints seconds to the first step, frames a second while scrolling, and the heap of the page.
Needs what `make test` needs.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from pathlib import Path

from playwright.async_api import Browser, async_playwright

from tests.browser import ARGUMENTS, find_chromium, put_in
from tests.server import Server, make_timed_recording, start_server, write_recording

ROWS = 10_000
ROUNDS = 5
SCROLL_SECONDS = 3
_SCROLL = """async ([pixels, seconds]) => {
    const feed = document.querySelector("[role=feed]");
    feed.scrollTop -= 2000;
    await new Promise(requestAnimationFrame);
    const [start, frames] = [performance.now(), []];
    for (let last = start; last - start < 1000 * seconds; ) {
        feed.scrollTop -= pixels;
        const now = await new Promise(requestAnimationFrame);
        frames.push(now - last);
        last = now;
    }
    return frames;
}"""


def make_folder(folder: Path) -> None:
    """Ten thousand steps with Markdown, code and coloured output in them."""
    recording = make_timed_recording("many", ROWS, 0.7)
    for number, raw in enumerate(recording["raws"]):
        raw["data"] = {
            "thoughts": f"Thought **{number}**: look at `file_{number}.py`\n\n- one\n- two",
            "using_tools": {
                "tool_name": "shell_command_executor",
                "tool_input": {"command": f"cat file_{number}.py | grep -n def"},
                "tool_output": "\x1b[32mok\x1b[0m a line of output\n" * (number % 40 + 1),
            },
        }
    put_in(folder, write_recording(folder / "many.json", recording))


async def first_step(browser: Browser, server: Server) -> float:
    """Seconds from the click on a link to its first step, in a browser that has never been there."""
    context = await browser.new_context(viewport={"width": 1280, "height": 800})
    page = await context.new_page()
    began = time.perf_counter()
    await page.goto(f"{server.http_url}/r/many", wait_until="commit")
    await page.locator("article h3").first.wait_for()
    seconds = time.perf_counter() - began
    await context.close()
    return seconds


async def measure(browser: Browser, server: Server) -> None:
    """Print the figures."""
    seconds = [await first_step(browser, server) for _ in range(ROUNDS)]
    print(f"first step: {statistics.median(seconds):.2f} s (from {min(seconds):.2f} to {max(seconds):.2f})")
    page = await browser.new_page(viewport={"width": 1280, "height": 800})
    await page.goto(f"{server.http_url}/r/many?autoplay=0&t=0")
    await page.locator('html[data-state="paused"]').wait_for()
    began = time.perf_counter()
    await page.get_by_role("slider", name="Timeline").focus()
    await page.keyboard.press("End")
    await page.locator(f'html[data-offset="{ROWS}"]').wait_for()
    print(f"from the first to the last of {ROWS} steps: {time.perf_counter() - began:.2f} s")
    for pixels in (60, 300, 1000):
        frames = await page.evaluate(_SCROLL, [pixels, SCROLL_SECONDS])
        worst = sorted(frames)[int(len(frames) * 0.95)]
        print(f"scrolling by {pixels} px a frame: {len(frames) / SCROLL_SECONDS:.0f} frames/s, p95 {worst:.0f} ms")
    session = await page.context.new_cdp_session(page)
    await session.send("HeapProfiler.collectGarbage")
    heap = (await session.send("Runtime.getHeapUsage"))["usedSize"]
    elements = await page.evaluate("document.querySelectorAll('*').length")
    print(f"heap: {heap / 1e6:.0f} MB, {elements} elements in the page")


async def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        make_folder(Path(name))
        with start_server(Path(name)) as server:
            async with async_playwright() as playwright:
                browser = await playwright.chromium.launch(executable_path=find_chromium(), args=ARGUMENTS)
                await measure(browser, server)
                await browser.close()


if __name__ == "__main__":
    asyncio.run(main())
