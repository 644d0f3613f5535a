"""`ReplayServer`: the life of one viewer's connection."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from starlette.endpoints import WebSocketEndpoint
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from storage.errors import DatabaseBusy, DatabaseError, DatabaseUnavailable
from storage.interactions import InteractionCRUD
from storage.links import is_token
from storage.models import Interaction
from storage.workspace import is_safe_id, record_directory

from .access import NOT_ALLOWED, TRY_AGAIN, Access, Visitor, XAgentWebSocketConnectError
from .channel import Channel, ConnectionEnd
from .classic_feed import ClassicFeed, ClassicFeeds, ClassicPage
from .clock import Clock
from .feeds import Feeds
from .logs import LogFiles, ShareLog, hide_tokens, printable
from .metrics import Metrics
from .playback import Playback, classic_pause
from .revocation import Revocation
from .rows import Run
from .settings import XAgentServerEnv
from .visit import Visit
from .wire import CONNECTED, PONG, WireError, decode_command, decode_stored, encode_error, encode_refusal

logger = logging.getLogger(__name__)

MAX_ERRORS = 10
PREPARE_SECONDS = 1.0
"""How long a viewer waits, at most, to be told that he is in, for the first rows to be there when he asks for them."""

DATABASE_AWAY = "The database doesn't answer, please try again later."
INTERNAL = "Something went wrong on the server, please try again later."


@dataclass(slots=True)
class ReplayContext:
    """What all connections of one mounted server have in common. `viewers` counts those that are open."""

    settings: XAgentServerEnv
    interactions: InteractionCRUD
    access: Access
    clock: Clock
    classic_feeds: ClassicFeeds
    feeds: Feeds
    revocation: Revocation
    metrics: Metrics | None = None
    log_files: LogFiles = field(default_factory=LogFiles)
    viewers: int = 0


class ReplayServer(WebSocketEndpoint):
    """Replays a recording to one viewer, in classic, the protocol of XAgent.

    With `as_owner` it is the owner's view: it asks for the user's token, starts with `replay`, and makes no pauses.
    """

    pong_frame = PONG
    subprotocol: str | None = None

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, *, context: ReplayContext, as_owner: bool = False
    ) -> None:
        super().__init__(scope, receive, send)
        self.context = context
        self.client_id: str = scope["path_params"]["client_id"]
        self.as_owner = as_owner
        self.start_command = "replay" if as_owner else "shared"
        # What is no id may have a token in it: a mail program may have written the link's ? as %3F.
        self.name = self.client_id if is_safe_id(self.client_id) else "(no id)"
        if is_token(self.client_id):
            self.name = "(a link)"
        self.visit = Visit(self.name, self.subprotocol or "classic", context.clock, context.metrics)
        settings, one_line = context.settings, context.settings.log_format == "json"
        self.log = ShareLog(context.log_files, self.name, settings.log_level, self.visit.id, one_line=one_line)
        self._errors = 0
        self._heartbeat: asyncio.Task[None] | None = None
        self._replay: asyncio.Task[None] | None = None
        self._feed: ClassicFeed | None = None

    async def dispatch(self) -> None:
        """The life of the connection: whatever ends it, its tasks end with it and `on_disconnect` runs."""
        websocket = WebSocket(self.scope, receive=self.receive, send=self.send)
        self.channel = Channel(websocket, self.context.settings.send_timeout_seconds, self.visit.frame_sent)
        close_code = 1001
        self.context.viewers += 1
        self.visit.begin()
        try:
            close_code = await self._serve(websocket)
        finally:
            self.context.viewers -= 1
            if self._feed is not None:
                self.context.classic_feeds.leave(self._feed)
            self.visit.end(close_code)
            await self.on_disconnect(websocket, close_code)
            self._let_go()

    def _let_go(self) -> None:
        # What knows this connection, as tasks know where they were cancelled, would keep it until the next collection.
        self._heartbeat = self._replay = None
        del self._tasks

    async def _serve(self, websocket: WebSocket) -> int:
        code, reason, farewell = 1000, "", None
        try:
            async with asyncio.TaskGroup() as self._tasks:
                await self.on_connect(websocket)
                await self._attend(websocket)
                self._stop()
        except* WebSocketDisconnect:
            pass  # noticed by a send before the read
        except* XAgentWebSocketConnectError as refusals:
            refusal = refusals.exceptions[0]
            assert isinstance(refusal, XAgentWebSocketConnectError)
            self.log.info(f"refused: {refusal.message}")
            self.visit.refused = refusal.message
            code, farewell = self.refusal(refusal)
        except* (DatabaseUnavailable, DatabaseBusy) as errors:
            self.visit.error = printable(str(errors.exceptions[0]), 500)
            self.log.info(f"closed: {self.visit.error}")
            if hasattr(self, "admission"):
                code, farewell = TRY_AGAIN, self.error_frame("try_again", DATABASE_AWAY, temporary=True)
            else:
                code, farewell = self.refusal(XAgentWebSocketConnectError(DATABASE_AWAY, TRY_AGAIN, TRY_AGAIN))
        except* ConnectionEnd as ends:
            end = ends.exceptions[0]
            assert isinstance(end, ConnectionEnd)
            code, reason = end.code, end.reason
            self.visit.error = reason or None
        except* Exception as errors:
            self.log.error("closed after an error", errors, logger)
            self.visit.error = printable(repr(errors.exceptions[0]), 500)
            code, farewell = 1011, self.error_frame("internal", INTERNAL, temporary=True)
        await self.channel.close(code, farewell, reason, self.subprotocol)
        return code

    async def _attend(self, websocket: WebSocket) -> None:
        with self.context.revocation.watching(self.admission, self._revoke):
            # Always reading: uvicorn reads no further behind an unread message, and misses the answers to its pings.
            while (message := await websocket.receive())["type"] != "websocket.disconnect":
                await self.on_receive(websocket, await self.decode(websocket, message))
                await asyncio.sleep(0)  # who sends faster than we read must not keep everybody else waiting

    async def on_connect(self, websocket: WebSocket) -> None:
        """Let the viewer in, or raise `XAgentWebSocketConnectError`."""
        await self._admit(websocket)
        self._feed = self.context.classic_feeds.join(self.admission.interaction)
        self._share(self._feed.interaction)
        shortest, longest = (0, 0) if self.as_owner else self.context.settings.pause_seconds
        pause = classic_pause(shortest, longest)
        self._playback = Playback(self._feed, pause, self.context.clock, self.visit)
        await self._prepare(self._playback.prepare())
        await self.channel.accept()
        await self.channel.send(CONNECTED)

    async def _admit(self, websocket: WebSocket) -> None:
        visitor = Visitor.of(websocket)
        self.visit.user = printable(hide_tokens(visitor.user_id))
        self.visit.address = printable(websocket.client.host) if websocket.client else None
        if self.context.viewers > self.context.settings.max_viewers:
            raise XAgentWebSocketConnectError("Too many viewers, please try again later.", TRY_AGAIN, TRY_AGAIN)
        self.admission = await self.context.access.admit(self.client_id, websocket, visitor, as_owner=self.as_owner)
        self.visit.link = None if self.admission.link is None else self.admission.link.id
        directory = record_directory(self.context.settings.base_dir, self.admission.interaction)
        self.log.open(directory / "share.log")
        way = "" if self.visit.link is None else f" by link {self.visit.link}"
        address = self.visit.address or "an unknown address"
        self.log.info(f"connected{way}: user '{printable(visitor.user_id)}' from {address}")

    def _share(self, interaction: Interaction) -> None:
        # It takes a kilobyte: who watches the same has the same.
        self.admission = replace(self.admission, interaction=interaction)

    def refusal(self, error: XAgentWebSocketConnectError) -> tuple[int, bytes]:
        """The close code and the last frame for a viewer who isn't let in."""
        self.visit.error_frame(error.name)
        return error.classic_code, encode_refusal(error.message)

    def error_frame(self, code: str, message: str, *, temporary: bool = False) -> bytes:
        """An error frame with the connection's id in it; it counts as one of this code."""
        self.visit.error_frame(code)
        return self.encode_error(code, message, temporary)

    def encode_error(self, code: str, message: str, temporary: bool) -> bytes:
        """The same in the connection's dialect, not counted."""
        return encode_error(message, self.visit.id)

    async def on_receive(self, websocket: WebSocket, data: Any) -> None:
        """Do what a message asks for: start the replay, or leave. What is no JSON object gets an error frame."""
        self.log_received(data)
        try:
            command = decode_command(data)
        except WireError as error:
            await self.complain(str(error))
            return
        if command.get("type") == self.start_command:
            self._asked = self.context.clock.now()
            self.start()
        elif command.get("type") == "disconnect":
            raise ConnectionEnd(1000)

    def log_received(self, data: str | bytes) -> None:
        """Log what the viewer has sent, where that is wanted."""
        if self.log.is_debug():
            self.log.debug(f"received {printable(data if isinstance(data, str) else repr(data))}")

    async def complain(self, message: str) -> None:
        """Send the error frame for what can't be understood; the last one of several ends the connection."""
        self._errors += 1
        await self.channel.send(self.error_frame("bad_message", message))
        if self._errors == MAX_ERRORS:
            raise ConnectionEnd(1008, f"{MAX_ERRORS} messages could not be understood")

    async def on_disconnect(self, websocket: WebSocket, close_code: int) -> None:
        """Say in the log that the viewer is gone, and that nothing of his is left."""
        heartbeat, replay = (
            "never started" if task is None else "stopped" if task.done() else "STILL RUNNING"
            for task in (self._heartbeat, self._replay)
        )
        members = self.visit.members(close_code)
        self.log.end(f"disconnected with {close_code}; heartbeat {heartbeat}, replay {replay}", members)

    async def pong(self) -> None:
        """Send the heartbeat's frame."""
        await self.channel.send(self.pong_frame)

    async def send_data(self) -> None:
        """Replay the recording, from its first row to the end of the pause after its last."""
        self.visit.replay_started(self._asked)
        await self._playback.play(self._send_rows)

    async def _prepare(self, first_rows: Coroutine[Any, Any, None]) -> None:
        # Where that takes long, or fails, the replay does it again, and says so.
        with suppress(TimeoutError, DatabaseError):
            async with asyncio.timeout(PREPARE_SECONDS):
                await first_rows

    async def _send_rows(self, run: Run[ClassicPage]) -> None:
        await self.channel.send(*run.texts())
        if self.log.is_debug():
            for text in run.texts():
                node_id = printable(decode_stored(text.decode())["node_id"])
                self.log.debug(f"sent row {node_id}, a frame of {len(text)} bytes")

    def start(self) -> None:
        """Start the heartbeat and the replay, where none is running."""
        if self._replay is None or self._replay.done():
            self._replay = self._tasks.create_task(self.send_data(), name=f"replay {self.name}")
            self._heartbeat = self._tasks.create_task(self._beat(), name=f"heartbeat {self.name}")
            self._replay.add_done_callback(partial(_cancel, self._heartbeat))

    def _stop(self) -> None:
        for task in (self._heartbeat, self._replay):
            if task is not None:
                task.cancel()

    def _revoke(self) -> None:
        end = self._end(ConnectionEnd(NOT_ALLOWED, "no longer shared"))
        try:
            self._tasks.create_task(end, name="revoked")
        except RuntimeError:  # it is ending already
            end.close()

    async def _end(self, end: ConnectionEnd) -> None:
        raise end

    async def _beat(self) -> None:
        due = self.context.clock.now()
        while True:
            due += self.context.settings.heartbeat_seconds
            await self.context.clock.sleep_until(due)
            await self.pong()


def _cancel(heartbeat: asyncio.Task[None], replay: asyncio.Task[None]) -> None:
    heartbeat.cancel()
