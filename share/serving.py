"""A uvicorn that is set as a replay server needs it."""

from __future__ import annotations

import gc
import logging
import socket
from contextlib import suppress

import uvicorn

from .application import create_app
from .direct_protocol import DirectProtocol
from .logs import configure_logging
from .memory import keep_large_blocks
from .settings import SettingsError, XAgentServerEnv
from .wire import MAX_MESSAGE_BYTES

logger = logging.getLogger(__name__)

UNACKNOWLEDGED_MS = 30_000
SHUTDOWN_SECONDS = 5
BACKLOG = 16_384
"""Connections that may wait to be accepted; the system takes less where its own limit (net.core.somaxconn) is lower."""

GC_THRESHOLDS = (5_000, 10, 50)
"""A full collection looks at what all viewers have, and nobody gets a row meanwhile: 0.4 s with 2,000 of them. As
Python has it, there is one each time that a quarter more has come."""


def run_server(settings: XAgentServerEnv) -> int:
    """Serve until a signal ends it; the exit code of the process. Raises `SettingsError`."""
    configure_logging(settings.log_level, settings.log_format)
    config = uvicorn.Config(
        create_app(settings),
        log_config=None,
        ws=DirectProtocol,
        backlog=BACKLOG,
        ws_max_size=MAX_MESSAGE_BYTES,
        ws_per_message_deflate=False,  # costs seven eighths of the throughput, and 50 to 120 KB a viewer
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,  # without it, a viewer who doesn't read keeps the process alive
    )
    _allow_many_connections()
    keep_large_blocks()
    listener = _listen(settings.host, settings.port)
    server = _Server(config)
    server.run(sockets=[listener])
    return 0 if server.started else 3


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        gc.freeze()  # what is loaded by now stays; a full collection would look through it for 20 ms, and serve nobody
        gc.set_threshold(*GC_THRESHOLDS)


def _allow_many_connections() -> None:
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; the only thing that frees a viewer who has stopped reading
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS)
    try:
        listener.bind((host, port))
    except (OSError, UnicodeError) as error:
        listener.close()
        raise SettingsError(f"SHARE_HOST, SHARE_PORT: {host}:{port} can't be listened on: {error}") from None
    logger.info(
        "running on http://%s:%d  (Ctrl-C ends it)", f"[{host}]" if ":" in host else host, listener.getsockname()[1]
    )
    return listener
