"""`ReplayV1Server`: the same life of a connection, for a viewer who speaks replay.v1."""

from __future__ import annotations

from typing import Any

from starlette.websockets import WebSocket

from .access import XAgentWebSocketConnectError
from .channel import ConnectionEnd
from .endpoint import ReplayServer
from .feed import Feed
from .replay import Command, Replay
from .wire import WireError, decode_command
from .wire_v1 import PONG, SUBPROTOCOL, FieldError, check_command, encode, encode_error, rename_recording


class ReplayV1Server(ReplayServer):
    """Replays a recording to one viewer, in replay.v1: with controls, positions, resume, and an end."""

    pong_frame = PONG
    subprotocol = SUBPROTOCOL

    async def on_connect(self, websocket: WebSocket) -> None:
        """Let the viewer in, or raise `XAgentWebSocketConnectError`; hello comes when the recording is known."""
        await self._admit(websocket)
        await self.channel.accept(self.subprotocol)

    def refusal(self, error: XAgentWebSocketConnectError) -> tuple[int, bytes]:
        """The close code and the last frame for a viewer who isn't let in."""
        return error.code, self.error_frame(error.name, error.message, temporary=error.temporary)

    def encode_error(self, code: str, message: str, temporary: bool) -> bytes:
        return encode_error(code, message, self.visit.id, temporary=temporary)

    async def _attend(self, websocket: WebSocket) -> None:
        async with self.context.feeds.open(self.admission.interaction) as feed:
            self._share(feed.interaction)
            pace = "instant" if self.as_owner else "recorded"
            self.replay = Replay(feed, self.visit, self._send, self._try_send, self.error_frame, pace=pace)
            await self._prepare(feed.prepare())
            await self.channel.send(await self._hello(feed))
            self.start()
            await super()._attend(websocket)
            self._stop()

    def _let_go(self) -> None:
        super()._let_go()
        vars(self).pop("replay", None)  # a viewer who wasn't let in has none

    async def _send(self, *frames: bytes) -> None:
        await self.channel.send(*map(self._renamed, frames))

    def _try_send(self, frame: bytes) -> bool:
        return self.channel.try_send(self._renamed(frame))

    def _renamed(self, frame: bytes) -> bytes:
        # Frames are made once for all viewers; who came by a link has only that, and doesn't learn the id.
        if self.admission.link is None:
            return frame
        return rename_recording(frame, self.admission.interaction.interaction_id, self.client_id)

    async def _hello(self, feed: Feed) -> bytes:
        data = await feed.describe(self.admission.name)
        return encode({"status": "connect", "success": True, "message": "connect success", "data": data})

    async def on_receive(self, websocket: WebSocket, data: Any) -> None:
        """Hand a command to the replay; what is none, or has a field that can't be, gets an error frame."""
        self.log_received(data)
        try:
            command: Command = check_command(decode_command(data), self.start_command)
        except FieldError as error:
            command = self.error_frame("bad_field", str(error))
        except WireError as error:
            await self.complain(str(error))
            return
        match command:
            case {"type": "ping"}:
                await self.pong()
            case {"type": "disconnect"}:
                raise ConnectionEnd(1000)
            case _ if not self.replay.command(command):
                raise ConnectionEnd(1008, "too many commands are waiting")

    async def send_data(self) -> None:
        """Replay the recording, as the commands have it, until the viewer leaves."""
        await self.replay.run()
