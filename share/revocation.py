"""Ends the viewers of what is deleted or no longer shared, and of ended links, by whichever process that was done."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager

from storage.interactions import InteractionCRUD
from storage.links import LinkCRUD

from .access import Admission

logger = logging.getLogger(__name__)

CHECK_SECONDS = 0.4
"""Viewers are promised to be gone within a second."""

Watched = tuple[int, str]
"""What has to be so for a viewer to stay: an interaction's own id and `shared` or `there`, or a link's and `link`."""


class Revocation:
    """Asks, while somebody watches, whether what is watched may still be: one query for all of it."""

    def __init__(self, interactions: InteractionCRUD, links: LinkCRUD) -> None:
        self._interactions = interactions
        self._links = links
        self._watched: dict[Watched, set[Callable[[], None]]] = {}
        self._checker: asyncio.Task[None] | None = None

    def watching(self, admission: Admission, end: Callable[[], None]) -> AbstractContextManager[None]:
        """Call `end` when what let a viewer in isn't so any more, while the block runs.

        A recording that is stored again under the same interaction_id is another one.
        """
        assert admission.interaction.id is not None
        watched = (admission.interaction.id, "shared" if admission.shared else "there")
        if admission.link is not None:
            watched = (admission.link.id, "link")
        return _Watching(self, watched, end)

    def _add(self, watched: Watched, end: Callable[[], None]) -> None:
        self._watched.setdefault(watched, set()).add(end)
        if self._checker is None:
            self._checker = asyncio.create_task(self._check(), name="revocation")

    def _remove(self, watched: Watched, end: Callable[[], None]) -> None:
        self._watched[watched].discard(end)
        if not self._watched[watched]:
            del self._watched[watched]
        if not self._watched and self._checker is not None:
            self._checker.cancel()
            self._checker = None

    async def _check(self) -> None:
        failing = False
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            try:
                for kind in ("shared", "there", "link"):
                    await self._check_one_kind(kind)
                failing = False
            except Exception as error:  # whatever it is, whoever watches goes on watching
                if not failing:
                    logger.warning("can't check what is still shared: %s", error)
                failing = True

    async def _check_one_kind(self, kind: str) -> None:
        asked = [watched for watched in self._watched if watched[1] == kind]
        if not asked:
            return
        ids = [watched_id for watched_id, _ in asked]
        if kind == "link":
            found = await self._links.search_open(ids)
        else:
            found = await self._interactions.search_watchable(ids, shared=kind == "shared")
        for watched in asked:
            if watched[0] not in found:
                for end in tuple(self._watched.get(watched, ())):
                    end()


class _Watching:
    # Each viewer has one as long as he watches: of a generator he would have another half of a kilobyte.
    __slots__ = ("_end", "_revocation", "_watched")

    def __init__(self, revocation: Revocation, watched: Watched, end: Callable[[], None]) -> None:
        self._revocation, self._watched, self._end = revocation, watched, end

    def __enter__(self) -> None:
        self._revocation._add(self._watched, self._end)

    def __exit__(self, *error: object) -> None:
        self._revocation._remove(self._watched, self._end)
