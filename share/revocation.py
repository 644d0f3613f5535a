"""Ends the viewers of a recording that is deleted or no longer shared, by whichever process that was done."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from storage.interactions import InteractionCRUD
from storage.models import Interaction

logger = logging.getLogger(__name__)

CHECK_SECONDS = 0.4
"""Viewers are promised to be gone within a second."""

Watched = tuple[int, bool]


class Revocation:
    """Asks, while somebody watches, whether what is watched may still be: one query for all of it."""

    def __init__(self, interactions: InteractionCRUD) -> None:
        self._interactions = interactions
        self._watched: dict[Watched, set[Callable[[], None]]] = {}
        self._checker: asyncio.Task[None] | None = None

    @contextmanager
    def watching(self, interaction: Interaction, *, shared: bool, end: Callable[[], None]) -> Iterator[None]:
        """Call `end` when the interaction is deleted or, with `shared`, is no longer shared, while the block runs.

        One that is stored again under the same interaction_id is another one.
        """
        assert interaction.id is not None
        watched = (interaction.id, shared)
        self._watched.setdefault(watched, set()).add(end)
        if self._checker is None:
            self._checker = asyncio.create_task(self._check(), name="revocation")
        try:
            yield
        finally:
            self._watched[watched].discard(end)
            if not self._watched[watched]:
                del self._watched[watched]
            if not self._watched and self._checker is not None:
                self._checker.cancel()
                self._checker = None

    async def _check(self) -> None:
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            try:
                for shared in (True, False):
                    await self._check_one_kind(shared)
            except Exception as error:  # every driver has errors of its own; whoever watches goes on watching
                logger.warning("can't check what is still shared: %s", error)

    async def _check_one_kind(self, shared: bool) -> None:
        asked = [watched for watched in self._watched if watched[1] is shared]
        if not asked:
            return
        ids = [interaction_id for interaction_id, _ in asked]
        watchable = await self._interactions.search_watchable(ids, shared=shared)
        for watched in asked:
            if watched[0] not in watchable:
                for end in tuple(self._watched.get(watched, ())):
                    end()
