"""What is kept of the recordings that somebody watches: one thing for all who watch the same."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any, Generic, Protocol, TypeVar

from storage.models import Interaction

from .frames import FrameCache

_keys = count()


def new_key() -> int:
    """What the pages of a recording that is watched are kept under; nobody else ever has it."""
    return next(_keys)


class Shared(Protocol):
    """What is kept of one recording, for so many viewers; its pages in the cache have its key."""

    interaction: Interaction
    viewers: int
    key: int


S = TypeVar("S", bound=Shared)


class Watched(Generic[S]):
    """Makes it for the first viewer of a recording, and forgets it, and its pages, with the last."""

    def __init__(self, cache: FrameCache[Any], make: Callable[[Interaction], S]) -> None:
        self._cache = cache
        self._make = make
        self._watched: dict[str, S] = {}

    def join(self, interaction: Interaction) -> S:
        """What all viewers of the recording have, for one more of them."""
        shared = self._watched.get(interaction.interaction_id)
        if shared is None or shared.interaction.id != interaction.id:
            shared = self._watched[interaction.interaction_id] = self._make(interaction)
        shared.viewers += 1
        return shared

    def leave(self, shared: S) -> None:
        """One of its viewers has left."""
        shared.viewers -= 1
        if shared.viewers == 0:
            self._cache.drop(shared.key)
            self.forget(shared)

    def forget(self, shared: S) -> None:
        """Newcomers get another one; who has it keeps it."""
        if self._watched.get(shared.interaction.interaction_id) is shared:
            del self._watched[shared.interaction.interaction_id]
