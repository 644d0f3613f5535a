"""uvicorn's WebSocket protocol, with a short way out for what is sent."""

from __future__ import annotations

import struct
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Opcode
from websockets.http11 import Request
from websockets.protocol import State

from .channel import TEXTS

JOINED_BYTES = 96 * 1024
"""Of what is written at once, up to which it is put together first: to hand over the parts costs more than that."""

_TEXT, _BINARY = (0x80 | int(opcode) for opcode in (Opcode.TEXT, Opcode.BINARY))  # whole: no fragment follows
_short, _medium, _long = (struct.Struct(form).pack for form in (">BB", ">BBH", ">BBQ"))


class DirectProtocol(WebSocketsSansIOProtocol):
    """Frames data by itself where no extension changes it, and leaves everything else to uvicorn.

    It takes one message more: `{"type": "websocket.send", "texts": [...]}` sends several texts, given as UTF-8 bytes,
    which are believed to be that, in one write: each write is a call of the system. Who sends slow readers many has to
    bound it. For uvloop: asyncio in CPython 3.12.0 to .8 and 3.13.0 to .1 doesn't notice them (CVE-2024-12254).
    """

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if not self.close_sent:  # else the handshake was none, and there is no scope
            self.scope["extensions"][TEXTS] = {"try_send": self.try_send}

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        scope = getattr(self, "scope", None)  # there is none where the handshake was none
        if scope is not None:
            scope["extensions"].pop(TEXTS, None)  # else a circle is left for the garbage collection

    def try_send(self, *texts: bytes) -> bool:
        """Send the texts where that can be done at once; False where it can't, and then nothing was sent."""
        if not (self.writable.is_set() and self._is_plain()):
            return False
        self._write({"texts": texts})
        return True

    async def send(self, message: Any) -> None:
        """Send an ASGI message. Raises what uvicorn's own does. Safe to cancel, but for `texts` with an extension."""
        if message["type"] != "websocket.send":
            await super().send(message)
            if message["type"] == "websocket.accept" and self.handshake_complete:
                self.request.headers.clear()  # it stays, and with these 3 KB for each who watches
                self.response.headers.clear()
            return
        if not self.writable.is_set():
            await self.writable.wait()
        if self._is_plain():
            self._write(message)
        elif "texts" in message:
            for text in message["texts"]:
                await super().send({"type": "websocket.send", "text": text.decode()})
        else:
            await super().send(message)

    def _write(self, message: dict[str, Any]) -> None:
        parts = _frames(message)
        if sum(map(len, parts)) <= JOINED_BYTES:
            self.transport.write(b"".join(parts))
        else:
            self.transport.writelines(parts)

    def _is_plain(self) -> bool:
        connection = self.conn
        return (
            connection.state is State.OPEN
            and not (self.close_sent or self.disconnected)
            and not (connection.extensions or connection.expect_continuation_frame)
            and not connection.debug  # the log of frames is websockets' own
        )


def _frames(message: dict[str, Any]) -> list[bytes]:
    data, text = message.get("bytes"), message.get("text")
    if data is not None:
        return [_header(_BINARY, len(data)), data]
    if text is not None:
        payload = text.encode()
        return [_header(_TEXT, len(payload)), payload]
    parts: list[bytes] = []
    for payload in message.get("texts", ()):
        parts += _header(_TEXT, len(payload)), payload
    return parts


def _header(first: int, size: int) -> bytes:
    if size < 126:
        return _short(first, size)
    return _medium(first, 126, size) if size < 65_536 else _long(first, 127, size)
