"""A row as lines of text for a terminal. Pure; nothing that a recording contains controls the terminal."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import click

from .logs import printable

_CONTROL_SEQUENCE = re.compile(r"\x1b(?:\[[0-9;:?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_MARKS = {"finished": ("✔", "green"), "failed": ("✘", "red"), "error": ("!", "red")}


def plain(text: str) -> str:
    """`text` without terminal control sequences, other control characters as escapes; line breaks and tabs stay."""
    text = _CONTROL_SEQUENCE.sub("", text).replace("\r\n", "\n").expandtabs()
    return "\n".join(printable(line, len(line)) for line in text.split("\n"))


def render(frame: Mapping[str, Any], max_lines: int | None = None) -> Iterator[str]:
    """The lines that show a row's frame, styled by ANSI codes; at most `max_lines` of each text, None for all."""
    data, status = frame.get("data"), str(frame.get("status"))
    mark, colour = _MARKS.get(status, ("●", "cyan"))
    title = f"{mark} {status}" + (f" {frame['current']}" if frame.get("current") else "")
    yield click.style(printable(title), fg=colour, bold=True)
    if frame.get("success") is False:
        data = frame.get("message")
    for label, value in _parts(status, data):
        yield from _block(label, value, max_lines)
    if names := [str(file.get("name")) for file in frame.get("workspace_file_list") or ()]:
        yield from _block("files", ", ".join(names), max_lines)


def _parts(status: str, data: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(data, list) and status == "subtask":
        for subtask in data:
            yield "plan", subtask.get("name") if isinstance(subtask, dict) else subtask
    elif isinstance(data, dict):
        for key in ("goal", "thoughts", "reasoning", "plan", "criticism", "action_list_summary"):
            if data.get(key):
                yield key.removeprefix("action_list_"), data[key]
        if isinstance(tools := data.get("using_tools"), dict):
            yield "tool", tools.get("tool_name")
            yield "input", tools.get("tool_input")
            yield "output", tools.get("tool_output")
    else:
        yield "", data


def _block(label: str, value: Any, max_lines: int | None) -> Iterator[str]:
    if value is None or value in ("", [], {}):
        return
    if isinstance(value, dict) and len(value) == 1 and isinstance(only := next(iter(value.values())), str):
        value = only  # {"command": "ls"}: the one thing that counts
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)
    lines = plain(text).strip("\n").split("\n")
    shown = lines if max_lines is None else lines[:max_lines]
    for number, line in enumerate(shown):
        yield "  " + click.style(f"{label if number == 0 else '':11}", dim=True) + line
    if len(shown) < len(lines):
        yield "  " + click.style(f"{'':11}… {len(lines) - len(shown)} more lines", dim=True)
