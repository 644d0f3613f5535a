"""Where every row of a recording stands in time, and of what kind it is, over HTTP: what a timeline is drawn from."""

from __future__ import annotations

import asyncio

from starlette.responses import Response
from starlette.routing import BaseRoute

from .api import Call, api_route
from .feeds import Feeds
from .services import Services
from .wire_v1 import encode

MAX_STEPS = 10_000


def outline_routes(services: Services, feeds: Feeds) -> list[BaseRoute]:
    """The route below a recording."""

    async def outline(call: Call) -> Response:
        admission = await call.admit()
        async with feeds.open(admission.interaction) as feed:
            total, epoch = len(feed.outline), feed.epoch
            steps = await asyncio.to_thread(feed.outline.steps, total, MAX_STEPS)
        rounded = [(offset, round(at, 3), status) for offset, at, status in steps]
        return call.tagged(encode({"total": total, "epoch": epoch, "steps": rounded}))

    return [api_route(services, "/recordings/{id}/outline", GET=outline)]
