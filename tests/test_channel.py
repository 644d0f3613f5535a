from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketDisconnect

from share.channel import TOO_SLOW, Channel, ConnectionEnd

NEVER = 3600.0
AT_ONCE = 0.01


class Socket:
    """The server's side of a socket: what was sent on it, and what became of each message."""

    def __init__(self, *received: Message) -> None:
        self.sent: list[Message] = []
        self.received = [{"type": "websocket.connect"}, *received]
        self.on_send: Callable[[Message], Awaitable[None]] | None = None
        self.websocket = WebSocket({"type": "websocket", "headers": []}, self._receive, self._send)

    async def _receive(self) -> Message:
        return self.received.pop(0)

    async def _send(self, message: Message) -> None:
        if self.on_send is not None:
            await self.on_send(message)
        self.sent.append(message)

    def kinds(self) -> list[str]:
        return [message["type"].removeprefix("websocket.") for message in self.sent]


async def gone(message: Message) -> None:
    raise OSError("connection lost")


async def closed_by_server(message: Message) -> None:
    # What uvicorn says when it has closed the socket itself, after a frame that was too large or no answer to its ping.
    raise RuntimeError("Unexpected ASGI message 'websocket.send', after sending 'websocket.close'.")


async def blocked(message: Message) -> None:
    await asyncio.get_running_loop().create_future()


async def open_channel(socket: Socket, timeout: float = NEVER) -> Channel:
    channel = Channel(socket.websocket, timeout)
    await channel.accept()
    return channel


async def test_a_frame_is_sent_as_text() -> None:
    socket = Socket()
    await (await open_channel(socket)).send("数据".encode())
    assert socket.sent[1] == {"type": "websocket.send", "text": "数据"}


async def test_frames_of_many_senders_go_out_one_after_the_other_in_their_order() -> None:
    socket = Socket()
    channel = await open_channel(socket)
    under_way = 0

    async def slow(message: Message) -> None:
        nonlocal under_way
        under_way += 1
        assert under_way == 1
        await asyncio.sleep(0)
        under_way -= 1

    socket.on_send = slow
    await asyncio.gather(*(channel.send(b"%d" % number) for number in range(5)))
    assert [message["text"] for message in socket.sent[1:]] == ["0", "1", "2", "3", "4"]


async def test_a_send_that_does_not_get_through_in_time_ends_the_connection_with_4008() -> None:
    socket = Socket()
    channel = await open_channel(socket, AT_ONCE)
    socket.on_send = blocked
    with pytest.raises(ConnectionEnd) as end:
        await channel.send(b"frame")
    assert end.value.code == TOO_SLOW == 4008


@pytest.mark.parametrize("lost", [gone, closed_by_server])
async def test_a_send_to_a_viewer_who_has_left_says_so(lost: Callable[[Message], Awaitable[None]]) -> None:
    socket = Socket()
    channel = await open_channel(socket)
    socket.on_send = lost
    with pytest.raises(WebSocketDisconnect):
        await channel.send(b"frame")


async def test_a_second_send_to_a_viewer_who_has_left_says_so_too() -> None:
    socket = Socket()
    channel = await open_channel(socket)
    socket.on_send = gone
    results = await asyncio.gather(channel.send(b"row"), channel.send(b"pong"), return_exceptions=True)
    assert [type(result) for result in results] == [WebSocketDisconnect, WebSocketDisconnect]


async def test_nothing_is_sent_when_the_disconnect_has_been_read() -> None:
    socket = Socket({"type": "websocket.disconnect", "code": 1001})
    channel = await open_channel(socket)
    await socket.websocket.receive()
    with pytest.raises(WebSocketDisconnect):
        await channel.send(b"frame")
    assert socket.kinds() == ["accept"]


async def test_accepting_a_viewer_who_has_left_says_so() -> None:
    socket = Socket()
    socket.on_send = gone
    with pytest.raises(WebSocketDisconnect):
        await Channel(socket.websocket, NEVER).accept()


async def test_a_cancelled_send_lets_the_next_one_through() -> None:
    socket = Socket()
    channel = await open_channel(socket)
    socket.on_send = blocked
    task = asyncio.create_task(channel.send(b"never sent"))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    socket.on_send = None
    await channel.send(b"sent")
    assert [message.get("text") for message in socket.sent] == [None, "sent"]


async def test_close_sends_the_code() -> None:
    socket = Socket()
    await (await open_channel(socket)).close(1011)
    assert socket.kinds() == ["accept", "close"]
    assert socket.sent[-1]["code"] == 1011


async def test_close_sends_the_text_first() -> None:
    socket = Socket()
    await (await open_channel(socket)).close(1000, b"farewell")
    assert socket.kinds() == ["accept", "send", "close"]
    assert socket.sent[1]["text"] == "farewell"


async def test_close_accepts_first_so_that_a_browser_sees_the_code() -> None:
    socket = Socket()
    await Channel(socket.websocket, NEVER).close(1000, b"refusal")
    assert socket.kinds() == ["accept", "send", "close"]


async def test_closing_twice_closes_once() -> None:
    socket = Socket()
    channel = await open_channel(socket)
    await channel.close(1000)
    await channel.close(1011)
    assert socket.kinds() == ["accept", "close"]


async def test_a_viewer_who_has_left_is_not_closed() -> None:
    socket = Socket({"type": "websocket.disconnect", "code": 1001})
    channel = await open_channel(socket)
    await socket.websocket.receive()
    await channel.close(1000, b"farewell")
    assert socket.kinds() == ["accept"]


@pytest.mark.parametrize("lost", [gone, closed_by_server])
@pytest.mark.parametrize("accepted", [True, False])
async def test_closing_towards_a_viewer_who_is_just_leaving_is_no_error(
    accepted: bool, lost: Callable[[Message], Awaitable[None]]
) -> None:
    socket = Socket()
    channel = await open_channel(socket) if accepted else Channel(socket.websocket, NEVER)
    socket.on_send = lost
    await channel.close(1000, b"farewell")


@pytest.mark.parametrize("code", [1000, TOO_SLOW])
async def test_closing_does_not_wait_for_a_viewer_who_does_not_read(code: int) -> None:
    socket = Socket()
    channel = await open_channel(socket, AT_ONCE if code == 1000 else NEVER)
    socket.on_send = blocked
    await channel.close(code)
    assert socket.kinds() == ["accept"]
