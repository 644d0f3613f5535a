"""What was measured, and what was asked for."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

QUICK_SHARE = 0.7
"""Of what is asked for, what the quick form insists on."""


@dataclass(frozen=True)
class Target:
    """What a figure has to reach."""

    limit: float
    is_lowest: bool
    floor: float | None = None
    """What the quick form insists on where the limit isn't reached: a part of what is. docs/performance.md says why."""

    def met(self, value: float, share: float = 1.0) -> bool:
        return value >= self.limit * share if self.is_lowest else value <= self.limit / share

    def is_near(self, value: float) -> bool:
        return self.met(value, QUICK_SHARE) if self.floor is None else value >= self.floor

    def __str__(self) -> str:
        return f"{'≥' if self.is_lowest else '≤'} {self.limit:g}"


def at_least(limit: float, *, floor: float | None = None) -> Target:
    return Target(limit, is_lowest=True, floor=floor)


def at_most(limit: float) -> Target:
    return Target(limit, is_lowest=False)


@dataclass(frozen=True)
class Figure:
    """One quantity, measured in several rounds. Without a target it only tells more about the others."""

    name: str
    unit: str
    rounds: tuple[float, ...]
    target: Target | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)

    @property
    def is_met(self) -> bool:
        return self.target is None or self.target.met(self.median)

    @property
    def is_near(self) -> bool:
        """Whether it is as good as the quick form insists on."""
        return self.target is None or self.target.is_near(self.median)

    def as_json(self) -> dict[str, Any]:
        target = None if self.target is None else str(self.target)
        measured = {"median": self.median, "min": min(self.rounds), "max": max(self.rounds), "met": self.is_met}
        return asdict(self) | {"target": target} | measured


@dataclass
class Line:
    """A line of the table: its figures, or why there are none."""

    what: str
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    error: str | None = None

    def add(self, name: str, unit: str, rounds: Sequence[float], target: Target | None = None) -> None:
        self.figures.append(Figure(name, unit, tuple(rounds), target))

    def as_json(self) -> dict[str, Any]:
        figures = [figure.as_json() for figure in self.figures]
        return {"what": self.what, "figures": figures, "notes": self.notes, "error": self.error}


def turns(most: int, *, least: int = 3, seconds: float = 45) -> Iterator[int]:
    """The numbers of `most` rounds; after so many seconds it is enough, when there have been `least`."""
    deadline = time.monotonic() + seconds
    for number in range(most):
        if number < least or time.monotonic() < deadline:
            yield number


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of all are."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def ratios(values: Sequence[float], baselines: Sequence[float]) -> list[float]:
    """Each round's value to the baseline of the same round."""
    return [value / baseline for value, baseline in zip(values, baselines, strict=True)]
