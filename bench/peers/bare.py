"""As little as a server can do: an ASGI callable that sends one ready text, again and again, to who says `shared`.

    python bare.py PORT FOLDER

`?rows=1000&text=2048&pause=1` asks for so many rows of the text in FOLDER/2048.txt, a second apart; without a pause, as
fast as the socket takes them. uvicorn is set as `replay-share serve` sets it.
"""

from __future__ import annotations

import asyncio
import json
import sys
from functools import cache
from pathlib import Path
from urllib.parse import parse_qsl

import uvicorn

YIELD_EVERY = 16  # as any server must: uvicorn's `send` gives nobody else a turn as long as the socket takes more
HELLO = {"type": "websocket.send", "text": '{"status": "connect", "success": true}'}


@cache
def ready(name: str) -> dict[str, str]:
    """The message with a row in it."""
    return {"type": "websocket.send", "text": (Path(sys.argv[2]) / f"{int(name)}.txt").read_text("utf-8")}


async def app(scope, receive, send) -> None:
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})
        return
    options = dict(parse_qsl(scope["query_string"].decode()))
    message, rows, pause = ready(options["text"]), int(options["rows"]), float(options.get("pause", 0))
    await receive()
    await send({"type": "websocket.accept"})
    await send(HELLO)
    while (received := await receive())["type"] == "websocket.receive":
        if json.loads(received["text"])["type"] == "shared":
            await (send_paced(send, message, rows, pause) if pause else send_all(send, message, rows))


async def send_all(send, message: dict[str, str], rows: int) -> None:
    for number in range(rows):
        if number % YIELD_EVERY == 0:
            await asyncio.sleep(0)
        await send(message)


async def send_paced(send, message: dict[str, str], rows: int, pause: float) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number in range(rows):
        if (wait := began + number * pause - loop.time()) > 0:
            await asyncio.sleep(wait)
        await send(message)


if __name__ == "__main__":
    uvicorn.run(
        app,
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        ws="websockets-sansio",
        ws_max_size=64 * 1024,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=5,
        lifespan="off",
        log_config=None,
        backlog=4096,
    )
