"""A recording in a few words, for whoever hasn't opened it yet: a preview in a chat, a page's title. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from storage.cards import Card
from storage.interactions import RUNNING
from storage.models import Visibility

from .timeline import parse_time

MAX_TITLE = 200
UNTITLED = "A recorded run"

_JOINER = "\u200d"  # holds an emoji together


@dataclass(frozen=True, slots=True)
class Summary:
    """What is told. `title` and the other texts are each one line of printable characters; `duration` is in seconds."""

    title: str
    author: str
    agent: str
    status: str
    steps: int
    duration: float
    public: bool = False

    @classmethod
    def of(cls, card: Card) -> Self:
        """That of a recording in a list."""
        interaction = card.interaction
        first, last = parse_time(card.first_time), parse_time(card.last_time)
        return cls(
            title=one_line(interaction.description, MAX_TITLE) or one_line(card.goal, MAX_TITLE) or UNTITLED,
            author=one_line(card.user_name, 80),
            agent=one_line(interaction.agent, 80),
            status="live" if interaction.status in RUNNING else one_line(interaction.status, 20),
            steps=card.rows,
            duration=max((last - first).total_seconds(), 0.0) if first and last else 0.0,
            public=card.visibility is Visibility.PUBLIC,
        )

    @property
    def facts(self) -> list[str]:
        """How long it is, who has run it, and how it went, as far as that is known."""
        told = [f"{self.steps} {'step' if self.steps == 1 else 'steps'}"]
        if self.duration >= 1:
            told.append(clock_time(self.duration))
        return [*told, *(text for text in (self.status, self.author, self.agent) if text)]

    @property
    def description(self) -> str:
        """The same as one line."""
        return " · ".join(self.facts)


def one_line(text: str | None, most: int) -> str:
    """What can be shown of a text, in at most so many characters."""
    spaced = " ".join((text or "")[: most * 8].split())
    clean = "".join(character for character in spaced if character.isprintable() or character == _JOINER)
    clean = " ".join(clean.split())
    return clean if len(clean) <= most else f"{clean[: most - 1].rstrip()}…"


def clock_time(seconds: float) -> str:
    """A time as people read it: 0:05, 12:34, 1:02:03."""
    hours, rest = divmod(int(seconds + 1e-6), 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
