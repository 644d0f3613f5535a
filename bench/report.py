"""The results, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from .figures import Figure, Line

_HEAD = "| figure | median | from … to | asked for | |\n|---|---|---|---|---|\n"


def write_results(folder: Path, machine: Mapping[str, str], lines: Sequence[Line]) -> Path:
    """Write `<date>.md` and `<date>.json`; the path of the first."""
    folder.mkdir(parents=True, exist_ok=True)
    date = datetime.now(UTC).strftime("%Y-%m-%d")
    results = {"date": date, "machine": dict(machine), "lines": [line.as_json() for line in lines]}
    (folder / f"{date}.json").write_text(json.dumps(results, ensure_ascii=False, indent=1) + "\n", "utf-8")
    path = folder / f"{date}.md"
    path.write_text(as_markdown(date, machine, lines), "utf-8")
    return path


def as_markdown(date: str, machine: Mapping[str, str], lines: Sequence[Line]) -> str:
    """The results as a page: what was asked for first, then each line with all that was measured."""
    asked = [(line, figure) for line in lines for figure in line.figures if figure.target is not None]
    parts = [f"# Benchmark, {date}\n\n" + ", ".join(f"{name} {value}" for name, value in machine.items()) + ".\n"]
    parts.append("Medians of several rounds; ratios are to a baseline of the same round.\n")
    parts.append("| line | figure | median | asked for | |\n|---|---|---|---|---|\n" + "".join(map(_short, asked)))
    for line in lines:
        text = f"## {line.what}\n\n"
        if line.error is not None:
            text += f"Not measured: {line.error}\n"
        if line.figures:
            text += _HEAD + "".join(map(_row, line.figures))
        parts.append(text + "".join(f"\n{note}.\n" for note in line.notes))
    return "\n".join(parts)


def say(line: Line) -> str:
    """A line for the terminal."""
    figures = [
        f"    {figure.name}: {number(figure.median)} {figure.unit} ({_spread(figure)})"
        + ("" if figure.target is None else f"  asked for {figure.target}: {_word(figure)}")
        for figure in line.figures
    ]
    error = [] if line.error is None else [f"    NOT MEASURED: {line.error}"]
    return "\n".join([line.what, *figures, *error])


def number(value: float) -> str:
    """A figure with as many digits as mean something."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _short(asked: tuple[Line, Figure]) -> str:
    line, figure = asked
    return f"| {line.what} | {figure.name} | {_value(figure)} | {figure.target} | {_word(figure)} |\n"


def _row(figure: Figure) -> str:
    target = "" if figure.target is None else str(figure.target)
    word = "" if figure.target is None else _word(figure)
    return f"| {figure.name} | {_value(figure)} | {_spread(figure)} | {target} | {word} |\n"


def _value(figure: Figure) -> str:
    return f"{number(figure.median)} {figure.unit}".strip()


def _spread(figure: Figure) -> str:
    return f"{number(min(figure.rounds))} … {number(max(figure.rounds))}"


def _word(figure: Figure) -> str:
    return "reached" if figure.is_met else "**missed**"
