"""Rows as they are sent: each is encoded once, and kept while somebody watches, as far as there is room."""

from __future__ import annotations

import asyncio
from array import array
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

PAGE_ROWS = 64


class Page:
    """Texts that follow one another, as UTF-8 in one piece: what is sent is a part of it, and takes no making."""

    def __init__(self, texts: Sequence[bytes], before: bytes = b"", between: bytes = b"", after: bytes = b"") -> None:
        self._starts, self._ends = array("Q"), array("Q")
        end = len(before) - len(between)
        for text in texts:
            self._starts.append(start := end + len(between))
            self._ends.append(end := start + len(text))
        self.body = before + between.join(texts) + after
        self.size_bytes = len(self.body) + 2 * 8 * len(texts)

    def __len__(self) -> int:
        return len(self._ends)

    def size_of(self, first: int, last: int) -> int:
        """How many bytes the texts from `first` up to and without `last` take, with what is between them."""
        return self._ends[last - 1] - self._starts[first]

    def piece(self, first: int, last: int) -> bytes:
        """Those texts, with what is between them."""
        return self.body[self._starts[first] : self._ends[last - 1]]


class Cacheable(Protocol):
    """What the cache keeps: a number of rows, which take up so many bytes."""

    size_bytes: int

    def __len__(self) -> int: ...


P = TypeVar("P", bound=Cacheable)
P_co = TypeVar("P_co", bound=Page, covariant=True)
Key = tuple[int, object]
"""Whose page it is, and which."""


class FrameCache(Generic[P]):
    """Pages of frames, at most `limit_bytes` of them; those that were not asked for the longest go first.

    A page that several viewers want at once is loaded once. `on_request` is told of each that is asked for, whether it
    was there. Safe to cancel: a load that has begun is finished.
    """

    def __init__(self, limit_bytes: int, on_request: Callable[[bool], None] | None = None) -> None:
        self._limit = limit_bytes
        self._on_request = on_request
        self._pages: OrderedDict[Key, P] = OrderedDict()
        self._loading: dict[Key, asyncio.Task[P]] = {}
        self.size_bytes = 0

    async def get(self, key: Key, rows: int, load: Callable[[], Awaitable[P]], *, alone: bool = False) -> P:
        """The page of `key` with at least `rows` rows, loaded where it isn't there or has fewer.

        For who watches `alone`, no page is kept behind him but the one that he had last.
        """
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
                task = self._loading[key] = asyncio.create_task(self._load(key, load, alone), name="frames")
                task.add_done_callback(_seen)
            page = await asyncio.shield(task)
            if len(page) >= rows:
                return page

    def drop(self, owner: int) -> None:
        """Forget the pages whose key begins with `owner`, also those that are on their way."""
        for key in [key for key in self._loading if key[0] == owner]:
            del self._loading[key]
        for key in self._of(owner):
            self._forget(key)

    def _of(self, owner: int) -> list[Key]:
        return [key for key in self._pages if key[0] == owner]

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
        for old in self._of(key[0])[:-1] if alone else ():
            self._forget(old)
        self._pages[key] = page
        self.size_bytes += page.size_bytes
        while self.size_bytes > self._limit:
            self._forget(next(iter(self._pages)))
        return page

    def _forget(self, key: Key) -> None:
        self.size_bytes -= self._pages.pop(key).size_bytes


@dataclass(frozen=True, slots=True)
class Run(Generic[P_co]):
    """The rows of a page from `first` up to and without `last`."""

    page: P_co
    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first

    def texts(self) -> list[bytes]:
        """Each of them."""
        return [self.page.piece(row, row + 1) for row in range(self.first, self.last)]


def _seen(task: asyncio.Task[P]) -> None:
    if not task.cancelled():
        task.exception()  # those who wait for it are told; where nobody does any more, it concerns nobody
