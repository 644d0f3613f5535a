"""`/metrics`: what Prometheus asks for, of all processes of a server."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from multiprocessing import parent_process
from pathlib import Path

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from .metrics import metrics
from .settings import prometheus_folder

NOT_INSTALLED = "Nothing is counted here: that needs the extra replay-share[metrics].\n"
ONE_OF_SEVERAL = (
    "This is one of several processes: set PROMETHEUS_MULTIPROC_DIR to an empty folder for their figures.\n"
)


def metrics_routes() -> list[BaseRoute]:
    """The route."""
    one_at_a_time = asyncio.Lock()

    async def scrape(request: Request) -> Response:
        counted = metrics()
        if counted is None:
            return PlainTextResponse(NOT_INSTALLED, 404)
        counted.flush()
        folder = prometheus_folder()
        if folder is None and parent_process() is not None:
            return PlainTextResponse(ONE_OF_SEVERAL, 503)
        async with one_at_a_time:
            content, media_type = await asyncio.to_thread(_collect, folder)
        return Response(content, media_type=media_type)

    return [Route("/metrics", scrape)]


def _collect(folder: Path | None) -> tuple[bytes, str]:
    from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
    from prometheus_client.multiprocess import MultiProcessCollector

    registry = REGISTRY
    if folder is not None:
        _forget_the_dead(folder)
        registry = CollectorRegistry()
        MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]
    return generate_latest(registry), CONTENT_TYPE_LATEST


def _forget_the_dead(folder: Path) -> None:
    # Who was killed couldn't take back the viewers that he had. Another process may be doing the same.
    for path in folder.glob("gauge_live*_*.db"):
        with suppress(ValueError):  # a file that isn't Prometheus'
            if not _is_alive(int(path.stem.rpartition("_")[2])):
                path.unlink(missing_ok=True)


def _is_alive(process_id: int) -> bool:
    if sys.platform == "win32":  # there, asking would end it
        return True
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is somebody else's
        return True
    try:
        state = Path(f"/proc/{process_id}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError):  # there is no /proc
        return True
    return state not in "ZX"  # killed, and nobody has looked after it yet
