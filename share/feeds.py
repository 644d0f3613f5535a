"""The recordings that are watched on one server, each opened once for all who do."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from storage.interactions import InteractionCRUD
from storage.models import Interaction
from storage.notifications import Notifications

from .feed import Feed
from .frames import FrameCache
from .rows import Page
from .watched import Watched


class Feeds:
    """The feeds of one mounted server."""

    def __init__(
        self, interactions: InteractionCRUD, cache: FrameCache[Page], notifications: Notifications | None = None
    ) -> None:
        notifications = notifications or Notifications()
        self._watched = Watched(cache, lambda interaction: Feed(interaction, interactions, cache, notifications))

    def open(self, interaction: Interaction) -> AbstractAsyncContextManager[Feed]:
        """The feed of a recording, up to date, kept so while the block runs."""
        return _OpenFeed(self._watched, interaction)


class _OpenFeed:
    # Each viewer has one as long as he watches: of a generator he would have another half of a kilobyte.
    __slots__ = ("_feed", "_interaction", "_watched")

    def __init__(self, watched: Watched[Feed], interaction: Interaction) -> None:
        self._watched = watched
        self._interaction = interaction

    async def __aenter__(self) -> Feed:
        self._feed = self._watched.join(self._interaction)
        try:
            if not await self._feed.check():
                self._watched.forget(self._feed)
                self._watched.leave(self._feed)
                self._feed = self._watched.join(self._interaction)
                await self._feed.check()
        except BaseException:
            self._watched.leave(self._feed)
            raise
        return self._feed

    async def __aexit__(self, *error: object) -> None:
        self._watched.leave(self._feed)
