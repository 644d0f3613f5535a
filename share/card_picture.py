"""A picture of a run, for previews of links to it: its title, its facts, and when it did what. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from html import escape

from .summary import Summary, clock_time

WIDTH, HEIGHT = 1200, 630
MAX_MARKS = 600

_LEFT, _RIGHT = 64, WIDTH - 64
_TITLE_SIZE, _TITLE_LINES = 56, 3
_BOLD = 1.15  # how much broader bold letters are
_BAR_TOP, _BAR_HEIGHT = 468, 56
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'Noto Sans CJK SC', sans-serif"

# The player's colours in the dark, by the kinds that it has.
_COLOURS = {
    "start": "#c6abff",
    "subtask": "#c6abff",
    "inner": "#8db5ff",
    "subtask_submit": "#6fd79b",
    "refinement": "#f0bd63",
    "ask_for_human_help": "#ff9fc8",
    "finished": "#6fd79b",
    "failed": "#ff8f86",
    "error": "#ff8f86",
}
_OTHER = "#a7b0be"
_LAYER = {"inner": 2, "failed": 0, "error": 0}
"""What is drawn first, so that the rest is over it: other steps are 1, and what matters most is 0."""

_NARROW, _BROAD = frozenset("fijlrtI.,:;'|!()[]{}` "), frozenset("mwMW@%—…")

Mark = tuple[int, float, str]
"""A row's offset, its time in seconds from the first, and its status."""


def draw(summary: Summary, marks: Sequence[Mark], total: int, duration: float) -> str:
    """The picture as SVG, of a run with so many rows."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
        f' role="img" font-family="{_FONT}">',
        f"<title>{escape(summary.title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#101317"/>',
        '<rect x="64" y="60" width="44" height="44" rx="9" fill="#1b57c2"/><path d="M80 71v22l18-11z" fill="#fff"/>',
        _text("Replay Share", 126, 93, 32, "#a7b0be"),
    ]
    for number, line in enumerate(wrap(summary.title, (_RIGHT - _LEFT) / (_TITLE_SIZE * _BOLD), _TITLE_LINES)):
        parts.append(_text(line, _LEFT, 186 + number * 68, _TITLE_SIZE, "#e6e9ef", weight=700))
    facts = wrap(" · ".join(text for text in (summary.author, summary.agent) if text), (_RIGHT - _LEFT) / 32, 1)
    parts += [_text(line, _LEFT, 416, 32, "#a7b0be") for line in facts]
    parts += _bar(marks, total, duration)
    steps = f"{total} {'step' if total == 1 else 'steps'}"
    parts.append(_text(steps, _LEFT, 574, 32, "#e6e9ef"))
    if summary.status:
        parts.append(_text(summary.status, WIDTH / 2, 574, 32, _COLOURS.get(summary.status, _OTHER), anchor="middle"))
    parts.append(_text(clock_time(duration), _RIGHT, 574, 32, "#e6e9ef", anchor="end"))
    return "\n".join([*parts, "</svg>\n"])


def _bar(marks: Sequence[Mark], total: int, duration: float) -> Iterator[str]:
    span = _RIGHT - _LEFT
    yield f'<rect x="{_LEFT}" y="{_BAR_TOP}" width="{span}" height="{_BAR_HEIGHT}" rx="8" fill="#222831"/>'
    thick = max(2.0, min(8.0, span / max(len(marks), 1) / 2))
    for offset, at, status in sorted(marks, key=lambda mark: _LAYER.get(mark[2], 1), reverse=True):
        # What was all recorded at once stands at equal distances.
        share = at / duration if duration > 0 else (offset - 1) / max(total - 1, 1)
        x = _LEFT + min(max(share, 0.0), 1.0) * (span - thick)
        colour = _COLOURS.get(status, _OTHER)
        yield (f'<rect x="{x:.1f}" y="{_BAR_TOP}" width="{thick:.1f}" height="{_BAR_HEIGHT}" rx="1" fill="{colour}"/>')


def _text(text: str, x: float, y: float, size: int, colour: str, *, weight: int = 400, anchor: str = "start") -> str:
    place = f'x="{x:g}" y="{y:g}" font-size="{size}" font-weight="{weight}" text-anchor="{anchor}" fill="{colour}"'
    return f"<text {place}>{escape(text)}</text>"


def wrap(text: str, width: float, lines: int) -> list[str]:
    """At most so many lines, none wider than about `width` em; what is left out is told by an ellipsis."""
    found: list[str] = []
    line, used = "", 0.0
    for piece in _pieces(text):
        size = _width(piece.rstrip())
        if line and used + size > width:
            found.append(line.rstrip())
            line, used = "", 0.0
            if len(found) == lines:
                return [*found[:-1], _cut(found[-1], width)]
            piece = piece.lstrip()
        line, used = line + piece, used + _width(piece)
    return [*found, line.rstrip()] if line.strip() else found


def _pieces(text: str) -> Iterator[str]:
    """Parts between which a line may end: words with the space behind them, wide characters, pieces of long words."""
    piece = ""
    for character in text:
        wide = _is_wide(character)
        if piece and (wide or piece[-1] == " " or _is_wide(piece[-1]) or len(piece) >= 16) and not _joins(character):
            yield piece
            piece = ""
        piece += character
    if piece:
        yield piece


def _cut(line: str, width: float) -> str:
    while line and _width(line) + 1 > width:
        line = line[:-1]
    return f"{line.rstrip()}…"


def _joins(character: str) -> bool:
    return character == " " or character == "\u200d" or unicodedata.category(character) in ("Mn", "Me", "Po", "Pe")


def _is_wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in "WF"


def _width(text: str) -> float:
    return sum(map(_character_width, text))


def _character_width(character: str) -> float:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0.0
    if _is_wide(character):
        return 1.0
    if character in _NARROW:
        return 0.33
    return 1.0 if character in _BROAD else 0.78 if character.isupper() else 0.62
