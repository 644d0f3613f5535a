"""A recording that somebody watches in classic: its frames, one set for all who do, and each replay's place in it."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path

from storage.interactions import InteractionCRUD, Position, RowCount
from storage.models import Interaction, ShownRow
from storage.workspace import Workspace, record_directory

from .frames import FrameCache
from .recording import RowEncoder
from .rows import Page, Run
from .watched import Watched, new_key

FIRST_PAGE_ROWS = 16
MAX_PAGE_ROWS = 256
PAGE_BYTES = 256 * 1024  # what a page comes to, as far as the page before it tells
MAX_RUN_BYTES = 256 * 1024
"""Of rows that are sent at once: a viewer who reads slowly holds no more than that beside the cache, or one row."""
CHECK_SECONDS = 1.0
"""How often, at most, who begins a replay makes sure that the frames are of the rows as they are."""


class ClassicPage(Page):
    """Frames of rows that follow one another, and where these are stored."""

    def __init__(self, rows: Sequence[ShownRow], frames: Sequence[bytes]) -> None:
        super().__init__(frames)
        self.positions = [Position(row.step, row.id) for row in rows]
        self.size_bytes += 150 * len(rows)
        size = sum(len(row.data or b"") for row in rows) // max(1, len(rows)) + 1
        self.next_rows = max(1, min(MAX_PAGE_ROWS, PAGE_BYTES // size))
        """How many rows the page after this one has."""

    def index_after(self, position: Position | None) -> int:
        """Which of its rows is the first behind that place."""
        if position is None:
            return 0
        return bisect_right(self.positions, _order(position), key=_order)


def _order(position: Position) -> tuple[bool, int, int]:
    return position.step is not None, position.step or 0, position.id


class ClassicFeed:
    """The frames of a recording that is watched. Every method is safe to cancel."""

    def __init__(
        self,
        interaction: Interaction,
        interactions: InteractionCRUD,
        cache: FrameCache[ClassicPage],
        encoder: RowEncoder,
    ) -> None:
        self.interaction = interaction
        self.viewers = 0
        self.key = new_key()
        self._interactions = interactions
        self._cache = cache
        self._encoder = encoder
        self._version = 0
        self._count: RowCount | None = None
        self._checked = float("-inf")
        self._lock = asyncio.Lock()

    async def begin(self) -> RecordingReader:
        """The place before the first row, for a replay of the rows as they are now, give or take a second."""
        async with self._lock:
            now = asyncio.get_running_loop().time()
            if self.viewers == 1:  # what is kept is his alone: to read it anew takes less than to make sure
                self._version += 1
                self._count, self._checked = None, float("-inf")
            elif now - self._checked >= CHECK_SECONDS:
                count = await self._interactions.count_rows(self.interaction.interaction_id)
                if count != self._count:
                    self._version += 1
                self._count, self._checked = count, now
        return RecordingReader(self, self._version)

    async def page(self, version: int, after: Position | None, limit: int) -> ClassicPage:
        """The frames of at most `limit` rows behind a place, those of deleted ones left out; none at the end."""

        async def load() -> ClassicPage:
            rows = await self._interactions.read_page(self.interaction.interaction_id, after=after, limit=limit)
            return ClassicPage(rows, await self._encoder.encode_all(rows))

        return await self._cache.get((self.key, (version, after, limit)), 0, load, alone=self.viewers == 1)


class RecordingReader:
    """A replay's place in a recording. It holds no rows: these are the cache's. Safe to cancel."""

    def __init__(self, feed: ClassicFeed, version: int) -> None:
        self._feed = feed
        self._version = version
        self._page: tuple[Position | None, int] = (None, FIRST_PAGE_ROWS)
        self._last: Position | None = None

    async def ready(self) -> bool:
        """Whether there is one more row; then it is there without waiting."""
        return len(await self._find(1)) > 0

    async def read(self, limit: int) -> Run[ClassicPage]:
        """The frames of the next rows, at most so many, but at least one while there is one."""
        run = await self._find(limit)
        if len(run):
            self._last = run.page.positions[run.last - 1]
        return run

    async def _find(self, limit: int) -> Run[ClassicPage]:
        while True:
            page = await self._feed.page(self._version, *self._page)
            # The page may be another one than before, with fewer rows: it wasn't kept, and one has been deleted.
            first = page.index_after(self._last)
            if first < len(page) or not len(page):
                last = min(len(page), first + limit)
                while last > first + 1 and page.size_of(first, last) > MAX_RUN_BYTES:
                    last -= 1
                return Run(page, first, last)
            self._page = (page.positions[-1], page.next_rows)


class ClassicFeeds(Watched[ClassicFeed]):
    """The recordings that are watched in classic, on one mounted server."""

    def __init__(self, interactions: InteractionCRUD, cache: FrameCache[ClassicPage], base_dir: Path) -> None:
        def make(interaction: Interaction) -> ClassicFeed:
            workspace = Workspace(record_directory(base_dir, interaction))
            return ClassicFeed(interaction, interactions, cache, RowEncoder(interaction.interaction_id, workspace))

        super().__init__(cache, make)
