"""Rows as replay.v1 sends them: each is encoded once, and kept while somebody watches, as far as there is room."""

from __future__ import annotations

import asyncio
import sys
from collections import OrderedDict
from collections.abc import Awaitable, Callable

PAGE_ROWS = 64

Load = Callable[[], Awaitable[list[str]]]


class FrameCache:
    """Pages of frames, at most `limit_bytes` of them; those that were not asked for the longest go first.

    A page that several viewers want at once is loaded once. `on_request` is told of each that is asked for, whether it
    was there. Safe to cancel: a load that has begun is finished.
    """

    def __init__(self, limit_bytes: int, on_request: Callable[[bool], None] | None = None) -> None:
        self._limit = limit_bytes
        self._on_request = on_request
        self._pages: OrderedDict[tuple[int, int], list[str]] = OrderedDict()
        self._sizes: dict[tuple[int, int], int] = {}
        self._loading: dict[tuple[int, int], asyncio.Task[list[str]]] = {}
        self.size_bytes = 0

    async def get(self, key: tuple[int, int], rows: int, load: Load) -> list[str]:
        """The page of `key` with at least `rows` frames, loaded where it isn't there or has fewer."""
        page = self._pages.get(key)
        hit = page is not None and len(page) >= rows
        if self._on_request is not None:
            self._on_request(hit)
        while True:
            page = self._pages.get(key)
            if page is not None and len(page) >= rows:
                self._pages.move_to_end(key)
                return page
            task = self._loading.get(key)
            if task is None:
                task = self._loading[key] = asyncio.create_task(self._load(key, load), name="frames")
                task.add_done_callback(_seen)
            page = await asyncio.shield(task)
            if len(page) >= rows:
                return page

    def drop(self, owner: int) -> None:
        """Forget the pages whose key begins with `owner`, also those that are on their way."""
        for key in [key for key in self._loading if key[0] == owner]:
            del self._loading[key]
        for key in [key for key in self._pages if key[0] == owner]:
            self._forget(key)

    async def _load(self, key: tuple[int, int], load: Load) -> list[str]:
        try:
            page = await load()
        finally:
            wanted = self._loading.get(key) is asyncio.current_task()
            if wanted:
                del self._loading[key]
        if not wanted:  # it was dropped meanwhile
            return page
        if key in self._pages:
            self._forget(key)
        self._pages[key] = page
        self._sizes[key] = sum(map(sys.getsizeof, page))
        self.size_bytes += self._sizes[key]
        while self.size_bytes > self._limit:
            self._forget(next(iter(self._pages)))
        return page

    def _forget(self, key: tuple[int, int]) -> None:
        del self._pages[key]
        self.size_bytes -= self._sizes.pop(key)


def _seen(task: asyncio.Task[list[str]]) -> None:
    if not task.cancelled():
        task.exception()  # those who wait for it are told; where nobody does any more, it concerns nobody
