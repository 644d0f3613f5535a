"""Rows as they are sent: each is encoded once, and kept while somebody watches, as far as there is room."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

PAGE_ROWS = 64

ALONE_BYTES = 4 * 1024 * 1024
"""Of a recording with one viewer: he needs what is before him, and a few steps back."""


class Cacheable(Protocol):
    """What the cache keeps: a number of rows, which take up so many bytes."""

    size_bytes: int

    def __len__(self) -> int: ...


P = TypeVar("P", bound=Cacheable)
Key = tuple[int, object]
"""Whose page it is, and which."""


class FrameCache(Generic[P]):
    """Pages of frames, at most `limit_bytes` of them; those that were not asked for the longest go first, and of a
    recording that one viewer watches alone, those that were loaded first.

    A page that several viewers want at once is loaded once. `on_request` is told of each that is asked for, whether it
    was there. Safe to cancel: a load that has begun is finished.
    """

    def __init__(self, limit_bytes: int, on_request: Callable[[bool], None] | None = None) -> None:
        self._limit = limit_bytes
        self._on_request = on_request
        self._pages: OrderedDict[Key, P] = OrderedDict()
        self._owned: dict[int, dict[Key, None]] = {}
        """The keys of each owner, in the order in which they were loaded."""
        self._loading: dict[Key, asyncio.Task[P]] = {}
        self.size_bytes = 0

    async def get(self, key: Key, rows: int, load: Callable[[], Awaitable[P]], *, alone: bool = False) -> P:
        """The page of `key` with at least `rows` rows, loaded where it isn't there or has fewer.

        Of what somebody watches `alone`, at most `ALONE_BYTES` are kept.
        """
        page = self.ready(key, rows)
        if page is None and self._on_request is not None:
            self._on_request(False)
        while page is None:
            task = self._loading.get(key)
            if task is None:
                task = self._loading[key] = asyncio.create_task(self._load(key, load, alone), name="frames")
                task.add_done_callback(_seen)
            loaded = await asyncio.shield(task)
            page = loaded if len(loaded) >= rows else self._kept(key, rows)
        return page

    def ready(self, key: Key, rows: int) -> P | None:
        """The page, where it is there with so many rows."""
        page = self._kept(key, rows)
        if page is not None and self._on_request is not None:
            self._on_request(True)
        return page

    def _kept(self, key: Key, rows: int) -> P | None:
        page = self._pages.get(key)
        if page is None or len(page) < rows:
            return None
        self._pages.move_to_end(key)
        return page

    def drop(self, owner: int) -> None:
        """Forget the pages whose key begins with `owner`, also those that are on their way."""
        for key in [key for key in self._loading if key[0] == owner]:
            del self._loading[key]
        for key in self._of(owner):
            self._forget(key)

    def _of(self, owner: int) -> list[Key]:
        return list(self._owned.get(owner, ()))

    async def _load(self, key: Key, load: Callable[[], Awaitable[P]], alone: bool) -> P:
        try:
            page = await load()
        finally:
            wanted = self._loading.get(key) is asyncio.current_task()
            if wanted:
                del self._loading[key]
        if not wanted or not len(page):  # it was dropped meanwhile; or what it will hold isn't recorded yet
            return page
        if key in self._pages:
            self._forget(key)
        self._pages[key] = page
        self._owned.setdefault(key[0], {})[key] = None
        self.size_bytes += page.size_bytes
        if alone:
            self._thin(key[0])
        while self.size_bytes > self._limit:
            self._forget(next(iter(self._pages)))
        return page

    def _thin(self, owner: int) -> None:
        newest, *older = reversed(self._of(owner))
        room = ALONE_BYTES - self._pages[newest].size_bytes
        for key in older:
            room -= self._pages[key].size_bytes
            if room < 0:
                self._forget(key)

    def _forget(self, key: Key) -> None:
        self.size_bytes -= self._pages.pop(key).size_bytes
        owned = self._owned[key[0]]
        del owned[key]
        if not owned:
            del self._owned[key[0]]


def _seen(task: asyncio.Task[P]) -> None:
    if not task.cancelled():
        task.exception()  # those who wait for it are told; where nobody does any more, it concerns nobody
