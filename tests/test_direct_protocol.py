"""What uvicorn's own protocol and ours do with the same bytes and the same messages: nothing may differ."""

from __future__ import annotations

import asyncio
import logging
import random
import re
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import uvicorn
from hypothesis import example, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.asyncio.client import connect

from share.direct_protocol import JOINED_BYTES, TEXTS, DirectProtocol
from tests.server import PATIENCE_SECONDS, RawViewer, serve_here

Step = tuple[str, Any]
Message = dict[str, Any]

SIZES = (0, 1, 125, 126, 127, 65_535, 65_536, 70_000)


class Wire(asyncio.Transport):
    """A transport that keeps what is written, and is lost one round of the loop after it was closed."""

    def __init__(self, protocol: WebSocketsSansIOProtocol) -> None:
        super().__init__({"peername": ("192.0.2.1", 1), "sockname": ("192.0.2.2", 2)})
        self.protocol = protocol
        self.written = b""
        self.closing = False
        self.reading = True

    def write(self, data: Any) -> None:
        if not self.closing:
            self.written += data

    def close(self) -> None:
        self.lose(None)

    def lose(self, error: Exception | None) -> None:
        if not self.closing:
            self.closing = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, error)

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class Trace(logging.Handler):
    """All that can be seen of a connection, in its order."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append(("logged", record.levelname, record.getMessage()))

    async def app(self, steps: asyncio.Queue[Step], scope: Any, receive: Any, send: Any) -> None:
        """Do what the steps say, and tell how it ended."""
        self.seen.append({key: value for key, value in scope.items() if key != "extensions"})
        texts = TEXTS in scope["extensions"]
        while True:
            name, value = await steps.get()
            try:
                if name == "end":
                    return
                if name == "fail":
                    raise value
                self.seen.append(await receive() if name == "take" else await send_as(texts, send, value))
            except Exception as error:
                self.seen.append(repr(error) if isinstance(error, RuntimeError) else type(error))
                if name == "fail" or isinstance(error, ClientDisconnected):
                    raise


async def send_as(texts: bool, send: Callable[[Message], Awaitable[None]], message: Message) -> None:
    """Send a message; where a server takes no texts, one text after the other."""
    if texts or "texts" not in message:
        await send(message)
    else:
        for text in message["texts"]:
            await send({"type": "websocket.send", "text": text.decode()})


async def follow(protocol_class: type[WebSocketsSansIOProtocol], steps: list[Step], options: dict[str, Any]) -> Trace:
    """What a server with this protocol does, step by step."""
    trace, messages, server = Trace(), asyncio.Queue[Step](), ServerState()
    app = partial(trace.app, messages)
    config = uvicorn.Config(app, ws=protocol_class, log_config=None, ws_max_size=100_000, lifespan="off", **options)
    config.load()
    config.loaded_app = app  # as it is, without what makes an older kind of app fit
    logging.getLogger("uvicorn.error").addHandler(trace)
    try:
        protocol = protocol_class(config, server, {})
        wire = Wire(protocol)
        protocol.connection_made(wire)
        for step in steps:
            try:
                take_step(step, protocol, wire, messages)
            except Exception as error:  # where uvicorn stumbles, so may we
                trace.seen.append(repr(error))
            for _ in range(8):
                await asyncio.sleep(0)
            written = re.sub(rb"\r\nDate: [^\r]*", b"", wire.written)
            trace.seen.append((step[0], written, wire.closing, wire.reading, protocol.conn.state, len(server.tasks)))
            wire.written = b""
    finally:
        logging.getLogger("uvicorn.error").removeHandler(trace)
    for task in server.tasks:
        task.cancel()
    await asyncio.gather(*server.tasks, return_exceptions=True)
    return trace


def take_step(step: Step, protocol: WebSocketsSansIOProtocol, wire: Wire, messages: asyncio.Queue[Step]) -> None:
    match step:
        case "bytes", data:
            if not wire.closing:
                protocol.data_received(data)
        case "pause", _:
            protocol.pause_writing()
        case "resume", _:
            protocol.resume_writing()
        case "ping", seed:
            random.seed(seed)
            protocol.send_keepalive_ping()
        case "timeout", _:
            protocol.keepalive_timeout()
        case "stop", _:
            protocol.shutdown()
        case "lose", error:
            wire.lose(error)
        case _:
            messages.put_nowait(step)


def assert_alike(steps: list[Step], level: int = logging.INFO, **options: Any) -> list[Any]:
    """Both do the same; what they do."""
    logger = logging.getLogger("uvicorn.error")
    before = logger.level
    logger.setLevel(level)
    try:
        theirs, ours = (asyncio.run(follow(one, steps, options)) for one in (WebSocketsSansIOProtocol, DirectProtocol))
    finally:
        logger.setLevel(before)
    assert ours.seen == theirs.seen
    return ours.seen


# What may happen

HANDSHAKE = (
    b"GET /ws/share/x?token=1 HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)
DEFLATE = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
OPEN: list[Step] = [("bytes", HANDSHAKE + b"\r\n"), ("take", None), ("send", {"type": "websocket.accept"})]


def frame(opcode: int, payload: bytes, first: int = 0x80) -> bytes:
    """A client's frame, whose mask is zero, so that it is the same each time."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2) if size < 65_536 else None
    return bytes([first | opcode]) + (length or b"\xff" + size.to_bytes(8)) + bytes(4) + payload


ALL_TEXT = st.one_of(
    st.text(max_size=40), st.sampled_from(["é" * 63, "数据" * 11_000, *("x" * size for size in SIZES)])
)
PAYLOADS = st.one_of(st.binary(max_size=40), ALL_TEXT.map(str.encode))
FRAMES = st.one_of(
    st.builds(
        frame, st.sampled_from([0, 1, 1, 1, 2, 8, 9, 10, 3, 15]), PAYLOADS, st.sampled_from([0x80, 0x80, 0, 0xC0])
    ),
    st.integers(999, 5000).map(lambda code: frame(8, code.to_bytes(2) + b"bye")),
    st.sampled_from([frame(9, b"ping"), frame(1, b"\xff"), frame(8, b"")]),
    st.binary(max_size=20),
)
TEXT_LISTS = st.lists(ALL_TEXT.map(str.encode), min_size=1, max_size=5)
SENDS: st.SearchStrategy[Message] = st.one_of(
    ALL_TEXT.map(lambda text: {"text": text}),
    TEXT_LISTS.map(lambda texts: {"texts": texts}),
    PAYLOADS.map(lambda data: {"bytes": data}),
    st.builds(lambda text, data: {"text": text, "bytes": data}, st.none() | ALL_TEXT, st.none() | PAYLOADS),
    st.sampled_from(
        [{}, {"text": "\ud800"}, {"text": b"x"}, {"text": 1}, {"bytes": "x"}, {"bytes": 1}, {"bytes": bytearray(200)}]
    ),
    PAYLOADS.map(lambda data: {"bytes": memoryview(data)}),
).map(lambda message: {"type": "websocket.send"} | message)
OTHERS: list[Message] = [
    {"type": "websocket.accept"},
    {"type": "websocket.accept", "subprotocol": "replay.v1", "headers": [(b"X-Name", b"x")]},
    {"type": "websocket.close"},
    {"type": "websocket.close", "code": 4008, "reason": "too slow"},
    {"type": "websocket.close", "code": 1},
    {"type": "websocket.http.response.start", "status": 404, "headers": []},
    {"type": "websocket.http.response.body", "body": b"no"},
    {"type": "nonsense"},
]
STEPS: st.SearchStrategy[list[Step]] = st.lists(
    st.one_of(
        FRAMES.map(lambda data: ("bytes", data)),
        SENDS.map(lambda message: ("send", message)),
        SENDS.map(lambda message: ("send", message)),
        st.sampled_from(OTHERS).map(lambda message: ("send", message)),
        st.integers(0, 9).map(lambda seed: ("ping", seed)),
        st.sampled_from([("take", None), ("take", None), ("pause", None), ("resume", None), ("stop", None)]),
        st.sampled_from([("timeout", None), ("end", None), ("fail", ValueError("the app's")), ("lose", OSError())]),
    ),
    max_size=12,
)


def cut(steps: list[Step], places: list[int]) -> list[Step]:
    """The same with what the client sends in a row in other pieces."""
    whole: list[Step] = []
    for name, value in steps:
        if name == "bytes" and whole and whole[-1][0] == "bytes":
            whole[-1] = (name, whole[-1][1] + value)
        else:
            whole.append((name, value))
    pieces: list[Step] = []
    for name, value in whole:
        here = sorted({place % len(value) for place in places} | {0, len(value)}) if name == "bytes" and value else []
        pieces += [(name, value[start:end]) for start, end in pairwise(here)] or [(name, value)]
    return pieces


# Alike


@settings(max_examples=400)
@given(steps=STEPS, places=st.lists(st.integers(0, 100_000), max_size=4))
def test_an_open_connection_goes_on_alike(steps: list[Step], places: list[int]) -> None:
    assert_alike(OPEN + cut(steps, places))


@settings(max_examples=100)
@given(steps=STEPS)
def test_with_compression_it_goes_on_alike(steps: list[Step]) -> None:
    seen = assert_alike([("bytes", HANDSHAKE + DEFLATE + b"\r\n"), *OPEN[1:], *steps], ws_per_message_deflate=True)
    assert any(b"permessage-deflate" in entry[1] for entry in seen if isinstance(entry, tuple) and entry[0] == "send")


@settings(max_examples=100)
@given(steps=STEPS)
def test_with_frames_in_the_log_it_goes_on_alike(steps: list[Step]) -> None:
    assert_alike(OPEN + steps, level=logging.DEBUG)


@settings(max_examples=150)
@given(
    handshake=st.sampled_from([HANDSHAKE, HANDSHAKE + DEFLATE, HANDSHAKE + b"Sec-WebSocket-Protocol: replay.v1\r\n"])
    | st.integers(0, len(HANDSHAKE) - 2).map(lambda place: HANDSHAKE[:place] + b"?" + HANDSHAKE[place + 1 :]),
    steps=STEPS,
    places=st.lists(st.integers(0, 300), max_size=4),
)
@example(b"GET / HTTP/1.1\r\nHost: here\r\n", [("send", {"type": "websocket.accept"})], [])
@example(b"nonsense\r\n", [("send", {"type": "websocket.accept"})], [])
def test_a_handshake_goes_on_alike(handshake: bytes, steps: list[Step], places: list[int]) -> None:
    assert_alike(cut([("bytes", handshake + b"\r\n")], places) + steps)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("key", ["text", "bytes"])
def test_a_frame_of_every_length_is_alike(key: str, size: int) -> None:
    value = "x" * size if key == "text" else b"x" * size
    seen = assert_alike([*OPEN, ("send", {"type": "websocket.send", key: value})])
    assert seen[-1][1].endswith(b"x" * size)
    assert seen[-1][1][:1] == (b"\x81" if key == "text" else b"\x82")


# Of ours alone


def serve_one(endpoint: Callable[[WebSocket], Awaitable[None]]) -> AbstractAsyncContextManager[int]:
    return serve_here(Starlette(routes=[WebSocketRoute("/", endpoint)]), ws=DirectProtocol)


@pytest.mark.parametrize("count", [3, 300])
async def test_many_texts_are_one_write_and_come_in_their_order(count: int) -> None:
    texts = [f"row {number} {'数据' * number * 20}" for number in range(count)]
    assert (sum(len(text.encode()) for text in texts) > JOINED_BYTES) is (count == 300)

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        assert TEXTS in websocket.scope["extensions"]
        await websocket.send_text("before")
        await websocket.send({"type": "websocket.send", "texts": [text.encode() for text in texts]})
        await websocket.close(4000)

    async with serve_one(endpoint) as port:
        for compression in (None, "deflate"):
            async with connect(f"ws://127.0.0.1:{port}", compression=compression) as connection:
                assert [await connection.recv() for _ in range(count + 1)] == ["before", *texts]
                await connection.wait_closed()
            assert connection.close_code == 4000


async def test_who_sends_texts_to_a_slow_reader_waits_until_he_reads() -> None:
    page, sent = [b"x" * 2000] * 32, 0

    async def endpoint(websocket: WebSocket) -> None:
        nonlocal sent
        await websocket.accept()
        for _ in range(1000):
            await websocket.send({"type": "websocket.send", "texts": page})
            sent += 1
            await asyncio.sleep(0)

    async with serve_one(endpoint) as port:
        viewer = await RawViewer.connect(f"ws://127.0.0.1:{port}", receive_buffer_bytes=4096)
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.3)
        assert 0 < sent < 1000
        await viewer.receive(32_000)
        assert sent == 1000
        assert {bytes(frame.data) for frame in viewer.frames[:32_000]} == {page[0]}
        viewer.close()


async def test_who_sends_texts_to_a_viewer_who_has_left_is_told() -> None:
    told = asyncio.Event()

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            while True:
                await websocket.send({"type": "websocket.send", "texts": [b"x" * 2000] * 16})
                await asyncio.sleep(0)
        except WebSocketDisconnect:
            told.set()

    async with serve_one(endpoint) as port, asyncio.timeout(PATIENCE_SECONDS):
        viewer = await RawViewer.connect(f"ws://127.0.0.1:{port}")
        viewer.reset()
        await told.wait()


async def test_what_can_be_sent_at_once_is_and_nothing_where_it_cannot() -> None:
    sent: list[bool] = []

    async def endpoint(websocket: WebSocket) -> None:
        try_send = websocket.scope["extensions"][TEXTS]["try_send"]
        sent.append(try_send(b"before the handshake is over"))
        await websocket.accept()
        sent.append(try_send("é".encode() * 100, b"two"))
        while try_send(b"x" * 100_000):  # until he, who doesn't read, has no room left for more
            sent.append(True)
        sent.append(False)
        await websocket.close()
        sent.append(try_send(b"after the close frame"))

    async with serve_one(endpoint) as port:
        async with connect(f"ws://127.0.0.1:{port}", compression=None, max_size=None) as connection:
            frames = [frame async for frame in connection]
        assert frames == ["é" * 100, "two", *["x" * 100_000] * (len(frames) - 2)]
        assert len(frames) > 2
        assert sent == [False, *[True] * (len(frames) - 1), False, False]  # both texts in one go


async def test_with_compression_nothing_is_sent_at_once() -> None:
    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        assert not websocket.scope["extensions"][TEXTS]["try_send"](b"plain")
        await websocket.send({"type": "websocket.send", "texts": [b"compressed"]})
        await websocket.close()

    async with (
        serve_one(endpoint) as port,
        connect(f"ws://127.0.0.1:{port}", compression="deflate") as connection,
    ):
        assert [frame async for frame in connection] == ["compressed"]


@pytest.mark.parametrize(
    "request_line", [b"GET / HTTP/1.1\r\n", HANDSHAKE.replace(b"Version: 13", b"Version: 7"), b"x\r\n"]
)
def test_a_client_whose_handshake_is_none_can_be_lost(request_line: bytes) -> None:
    seen = assert_alike([("bytes", request_line + b"\r\n"), ("lose", None)])
    assert not [entry for entry in seen if isinstance(entry, str) and "Error" in entry]
