"""What an app mounts."""

from __future__ import annotations

from typing import Any

import databases
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.types import Receive, Scope, Send

from storage import migrations
from storage.gateway import Gateway
from storage.interactions import InteractionCRUD
from storage.notifications import Notifications
from storage.patience import PatientReader

from .access import Access, AccessPolicy
from .api import unknown_route
from .api_content import content_routes
from .api_links import link_routes
from .api_outline import outline_routes
from .api_recordings import recording_routes
from .classic_feed import ClassicFeeds
from .clock import Clock, LoopClock
from .embedding import embedding_routes
from .endpoint import ReplayContext, ReplayServer
from .endpoint_v1 import ReplayV1Server
from .feeds import Feeds
from .frames import FrameCache
from .metrics import MeasuredGateway, metrics
from .pages import page_routes
from .revocation import Revocation
from .scrape import metrics_routes
from .services import Services
from .settings import XAgentServerEnv
from .static_files import static_routes
from .wire_v1 import SUBPROTOCOL
from .xagent import xagent_routes


def routes(
    database: databases.Database,
    settings: XAgentServerEnv | None = None,
    *,
    access: AccessPolicy | None = None,
    clock: Clock | None = None,
) -> list[BaseRoute]:
    """The routes of a replay server over `database`, for a Starlette app or for a `Mount` inside of one.

    Whoever composes the app connects the database before the first viewer comes, and disconnects it after the last:
    Starlette never runs the lifespan of what is mounted. With `access`, the app's own login says who may do what, and
    XAgent's HTTP routes aren't there: they know no other login than the table of users. `clock` is for tests.
    """
    return build_routes(MeasuredGateway(database), settings or XAgentServerEnv(), clock or LoopClock(), access)


async def create_tables(database: databases.Database) -> list[str]:
    """Make the tables that are missing in a connected database, and return their names; touch none of XAgent's."""
    return await migrations.create_tables(Gateway(database))


def build_routes(
    gateway: Gateway, settings: XAgentServerEnv, clock: Clock, policy: AccessPolicy | None = None
) -> list[BaseRoute]:
    """The same, over a gateway that its owner drains before the database is disconnected."""
    services = Services(gateway, settings, Access(gateway, settings, policy))
    # Who is let in already waits for a database that is away.
    patient = InteractionCRUD(PatientReader(gateway, settings.database_wait_seconds))
    counted = metrics()
    cache = FrameCache[Any](settings.cache_bytes, counted.cache_request if counted else None)
    feeds = Feeds(patient, cache, Notifications(gateway))
    classic_feeds = ClassicFeeds(patient, cache, settings.base_dir)
    revocation = Revocation(services.interactions, services.links)
    context = ReplayContext(settings, patient, services.access, clock, classic_feeds, feeds, revocation, counted)
    return [
        WebSocketRoute("/ws/share/{client_id}", Negotiation(context, as_owner=False), name="share"),
        WebSocketRoute("/ws/replay/{client_id}", Negotiation(context, as_owner=True), name="replay"),
        *page_routes(services),
        *embedding_routes(services, feeds),
        *static_routes(),
        *metrics_routes(),
        *recording_routes(services),
        *content_routes(services, feeds),
        *outline_routes(services, feeds),
        *link_routes(services),
        unknown_route(services),
        *(xagent_routes(services) if policy is None else ()),
    ]


class Negotiation:
    """Serves a viewer who offers the subprotocol replay.v1 in it, and everybody else in classic."""

    def __init__(self, context: ReplayContext, *, as_owner: bool) -> None:
        self._context = context
        self._as_owner = as_owner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        server = ReplayV1Server if SUBPROTOCOL in scope.get("subprotocols", ()) else ReplayServer
        await server(scope, receive, send, context=self._context, as_owner=self._as_owner)
