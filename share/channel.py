"""The one writer of a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from .within import within

TOO_SLOW = 4008

TEXTS = "websocket.send.texts"
"""The extension in the scope by which a server says that `websocket.send` takes `texts`, some at once, as UTF-8.

Its `try_send(*texts)`, where there is one, does that in a plain call, or does nothing and answers False.
"""


class ConnectionEnd(Exception):
    """The connection is to be closed with `code`."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class Channel:
    """Sends text frames one after the other, whoever sends them, and closes once.

    A send that isn't through after `send_timeout_seconds` raises `ConnectionEnd` with 4008: the viewer doesn't read.
    One to a viewer who has left raises `WebSocketDisconnect`. Safe to cancel: a frame is sent whole or not at all.
    `on_sent` is told the size in bytes of every frame that was.
    """

    def __init__(
        self,
        websocket: WebSocket,
        send_timeout_seconds: float,
        on_sent: Callable[[int], None] = lambda size_bytes: None,
    ) -> None:
        self._websocket = websocket
        self._send = websocket._send  # Starlette's own looks at states that are looked at here
        direct = websocket.scope.get("extensions", {}).get(TEXTS)
        self._takes_texts = direct is not None
        self._try_send: Callable[..., bool] | None = direct and direct.get("try_send")
        self._timeout = send_timeout_seconds
        self._on_sent = on_sent
        self._lock = asyncio.Lock()

    async def accept(self, subprotocol: str | None = None) -> None:
        """Accept the connection. Raises `WebSocketDisconnect` where the viewer has left already."""
        try:
            await self._websocket.accept(subprotocol)
        except (OSError, RuntimeError) as error:  # Starlette says it otherwise before the connection is accepted
            raise WebSocketDisconnect(1006) from error

    async def send(self, *texts: bytes) -> None:
        """Send a frame of each of the texts, which are UTF-8."""
        if self.try_send(*texts):
            return
        async with self._lock:
            if WebSocketState.DISCONNECTED in (self._websocket.client_state, self._websocket.application_state):
                raise WebSocketDisconnect(1006)
            if self._takes_texts:
                await self._write({"type": "websocket.send", "texts": texts})
            else:
                for text in texts:
                    await self._write({"type": "websocket.send", "text": text.decode()})
            self._on_sent(sum(map(len, texts)))

    def try_send(self, *texts: bytes) -> bool:
        """Send them where that takes no waiting; False, and nothing is sent, where it would, or isn't offered."""
        if self._try_send is None or self._lock.locked():
            return False
        try:
            sent = self._try_send(*texts)
        except (OSError, RuntimeError):  # he has left: who waits for `send` is told
            return False
        if sent:
            self._on_sent(sum(map(len, texts)))
        return sent

    async def _write(self, message: Message) -> None:
        try:
            await within(self._timeout, self._send(message))
        except TimeoutError:  # an OSError, too
            raise ConnectionEnd(TOO_SLOW, "the viewer reads too slowly") from None
        except (OSError, RuntimeError) as error:  # he has left; or the server has closed, without answers to its pings
            self._websocket.application_state = WebSocketState.DISCONNECTED
            raise WebSocketDisconnect(1006) from error

    async def close(
        self, code: int, text: bytes | None = None, reason: str = "", subprotocol: str | None = None
    ) -> None:
        """Send `text`, where given, and the close frame, if the viewer is still there; a viewer yet to be accepted is.

        So a browser sees the code: one who is refused without being accepted sees only HTTP 403.
        """
        try:
            if self._websocket.application_state is WebSocketState.CONNECTING:
                await self.accept(subprotocol)
            if WebSocketState.DISCONNECTED in (self._websocket.client_state, self._websocket.application_state):
                return
            async with asyncio.timeout(1 if code == TOO_SLOW else self._timeout):
                if text is not None:
                    await self._websocket.send_text(text.decode())
                    self._on_sent(len(text))
                await self._websocket.close(code, reason)
        except (TimeoutError, RuntimeError, WebSocketDisconnect):
            pass  # he doesn't read, or has gone: the server drops the connection when we return
