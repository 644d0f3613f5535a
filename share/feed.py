"""A recording that somebody watches: one for all who do, and one poller where the run is still going on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Any

from storage.interactions import RUNNING, InteractionCRUD, RowCount
from storage.models import Interaction
from storage.notifications import Notifications

from .frames import PAGE_ROWS, FrameCache
from .outline import LAST_STATES, Outline, epoch_of
from .rows import Page
from .watched import new_key
from .wire import WireError, decode_stored
from .wire_v1 import MAX_DATA_BYTES, encode_row, rows_frame, rows_page

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.1
"""How often a run that is going on is asked for new rows, where nobody tells; followers are promised them in 250 ms."""

CHECK_SECONDS = 1.0
"""How often, at most, a newcomer makes sure that what is known of a recording still holds."""

RETRY_SECONDS = 1.0

LAST_ROW_SECONDS = 2.0
"""How long a row `finished` or `failed` must have been the last, where the run isn't marked as ended."""

OUTLINE_ROWS = 2000
"""Rows of the outline that are read in one go."""

LARGE_ROW = 16 * 1024
"""Characters of a row, above which it is encoded in a thread: its author decides how long that takes."""


class Feed:
    """What is known of a watched recording, and its frames. Every method is safe to cancel."""

    def __init__(
        self,
        interaction: Interaction,
        interactions: InteractionCRUD,
        cache: FrameCache[Page],
        notifications: Notifications,
    ) -> None:
        self.interaction = interaction
        self.outline = Outline()
        self.epoch = ""
        self.viewers = 0
        self.key = new_key()
        self._listeners: set[Callable[[], None]] = set()
        self._poller: asyncio.Task[None] | None = None
        self._interactions = interactions
        self._cache = cache
        self._notifications = notifications
        self._plans: list[Any] = []
        self._plans_read = 0
        self._user_name: str | None = None
        self._count: RowCount | None = None
        self._checked = float("-inf")
        self._grown = float("-inf")
        self._told = (0, False)
        self._lock = asyncio.Lock()

    @property
    def live(self) -> bool:
        """Whether more rows may come: the run is going on, as far as its state says so.

        A last row, of a run that nobody has marked as ended, is believed when nothing has come behind it for a while:
        an agent may well record a step as failed, and go on.
        """
        if self.interaction.status not in RUNNING:
            return False
        waited = asyncio.get_running_loop().time() - self._grown
        return self.outline.last_status not in LAST_STATES or waited < LAST_ROW_SECONDS

    @property
    def reason(self) -> str:
        """How the run ended: `finished`, `failed`, or `truncated` where nothing says so."""
        for status in (self.outline.last_status, self.interaction.status):
            if status in LAST_STATES:
                return str(status)
        return "truncated"

    async def check(self) -> bool:
        """Bring what is known up to date; whether all of it still holds: rows may have been deleted."""
        async with self._lock:
            now = asyncio.get_running_loop().time()
            if now - self._checked < CHECK_SECONDS:
                return True
            counted = await self._interactions.count_rows(self.interaction.interaction_id)
            known = self._count
            if known is not None and (known[1:] != counted[1:] or counted.total < len(self.outline)):
                return False
            await self._refresh()
            if known is None:
                self.epoch = epoch_of(self.interaction, counted, self.outline.disorder)
            self._count, self._checked = counted, now
            return known is None or counted.total <= len(self.outline)

    async def refresh(self) -> None:
        """Look for new rows, and whether the run has ended; tell the followers."""
        async with self._lock:
            await self._refresh()

    async def _refresh(self) -> None:
        known = self._count is not None
        interaction_id = self.interaction.interaction_id
        while True:
            # The state is read before the rows: when the run has ended, none comes after those that are read then.
            found, rows = await self._interactions.read_on(
                interaction_id, self.outline.position(len(self.outline)), OUTLINE_ROWS
            )
            self.outline.append(rows)
            if rows.id and known:
                self._grown = asyncio.get_running_loop().time()
            if len(rows.id) < OUTLINE_ROWS:
                break
        if found is not None and found.id == self.interaction.id:
            self.interaction = found
        self._poll_if_needed()
        # Whoever has read it, a newcomer or the poller: who sees a change tells everybody, for nobody sees it again.
        told, self._told = self._told, (len(self.outline), self.live)
        if told != self._told:
            for listener in tuple(self._listeners):
                listener()

    def follow(self, listener: Callable[[], None]) -> None:
        """Have `listener` called whenever rows have come or the run has ended, until `unfollow`."""
        self._listeners.add(listener)
        self._poll_if_needed()

    def unfollow(self, listener: Callable[[], None]) -> None:
        """Take that back; without followers nothing is polled."""
        self._listeners.discard(listener)
        if not self._listeners and self._poller is not None:
            self._poller.cancel()
            self._poller = None

    def _poll_if_needed(self) -> None:
        if self.live and self._listeners and (self._poller is None or self._poller.done()):
            self._poller = asyncio.create_task(self._poll(), name=f"poller {self.interaction.interaction_id}")

    async def _poll(self) -> None:
        with self._notifications.of(self.interaction.interaction_id) as written:
            while self._told[1]:
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL_SECONDS):
                        await written.wait()
                written.clear()
                try:
                    await self.refresh()
                except Exception as error:  # whatever it is, the next try may well succeed
                    logger.warning("%s: can't be followed for now: %s", self.interaction.interaction_id, error)
                    await asyncio.sleep(RETRY_SECONDS)

    async def markers(self) -> list[dict[str, Any]]:
        """Where each subtask begins, as known now."""
        if self._plans_read != (known := len(self.outline)):
            plans = []
            for text in await self._interactions.search_plans(self.interaction.interaction_id):
                with suppress(WireError):
                    plans.append(decode_stored(text))
            self._plans, self._plans_read = plans, known
        return self.outline.markers(self._plans)

    async def user_name(self) -> str:
        """The name under which the recording was shared; the id of its user where it wasn't."""
        if self._user_name is None:
            self._user_name = await self._interactions.get_user_name(self.interaction)
        return self._user_name

    async def describe(self, name: str) -> dict[str, Any]:
        """What hello says of the recording, to who knows it by this name."""
        return {
            "interaction_id": name,
            "description": self.interaction.description,
            "user_name": await self.user_name(),
            "agent": self.interaction.agent,
            "mode": self.interaction.mode,
            "status": self.interaction.status,
            "epoch": self.epoch,
            "total": len(self.outline),
            "duration": self.outline.duration,
            "markers": await self.markers(),
            "live": self.live,
        }

    async def frames(self, offset: int, limit: int) -> list[bytes]:
        """The frames of the rows after `offset`: at least one, at most `limit`, none beyond those that are known."""
        page, first, last = await self._find(offset, limit)
        return list(map(page.text, range(first, last)))

    async def batch(self, offset: int, limit: int) -> tuple[bytes, int]:
        """The same rows in one frame, as many as fit into one; and how many that are."""
        page, first, last = await self._find(offset, limit)
        return rows_frame(page, first, last)

    def ready_batch(self, offset: int, limit: int) -> tuple[bytes, int] | None:
        """The same, where it is there without waiting."""
        key, first, last = self._place(offset, limit)
        page = self._cache.ready(key, last)
        return None if page is None else rows_frame(page, first, last)

    async def prepare(self) -> None:
        """Have the first rows there by the time they are asked for."""
        if len(self.outline):
            await self._find(0, 1)

    def _place(self, offset: int, limit: int) -> tuple[tuple[int, int], int, int]:
        number, first = divmod(offset, PAGE_ROWS)
        return (self.key, number), first, min(PAGE_ROWS, len(self.outline) - number * PAGE_ROWS, first + limit)

    async def _find(self, offset: int, limit: int) -> tuple[Page, int, int]:
        key, first, last = self._place(offset, limit)
        page = await self._cache.get(key, last, lambda: self._load(key[1]), alone=self.viewers == 1)
        return page, first, last

    async def _load(self, number: int) -> Page:
        first = number * PAGE_ROWS
        last = min(len(self.outline), first + PAGE_ROWS)
        interaction_id = self.interaction.interaction_id
        rows = await self._interactions.read_page(
            interaction_id, after=self.outline.position(first), limit=last - first, max_data=MAX_DATA_BYTES
        )
        by_id = {row.id: row for row in rows}
        places = zip(count(first + 1), self.outline.ids(first + 1, last), self.outline.at[first:last], strict=False)
        frames: list[bytes] = []
        for offset, row_id, at in places:
            row = by_id.get(row_id)
            size = 0 if row is None else len(row.data or b"") + len(row.file_list or "")
            if size > LARGE_ROW:
                frames.append(await asyncio.to_thread(encode_row, interaction_id, row, offset, at))
                continue
            frames.append(encode_row(interaction_id, row, offset, at))
            if len(frames) % 16 == 0:
                await asyncio.sleep(0)
        return rows_page(frames)
