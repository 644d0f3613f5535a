"""What the tables hold, as values: a field is named as its column is, and JSON stays the text that was stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple


def now() -> str:
    """The time as XAgent writes it, in UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")


@dataclass(frozen=True, slots=True)
class Interaction:
    """One run of an agent (table `interactions`). `file_list` is JSON text, times are `YYYY-MM-DD HH:MM:SS`."""

    interaction_id: str
    user_id: str
    create_time: str | None = None
    update_time: str | None = None
    description: str | None = None
    agent: str | None = None
    mode: str | None = None
    recorder_root_dir: str | None = None
    file_list: str | None = None
    status: str | None = None
    message: str | None = None
    current_step: str | None = None
    is_deleted: bool | None = False
    call_method: str = "web"
    id: int | None = None


LARGER = bytes(bytearray(b"larger"))
"""Stands for data that was not read because it is larger than was asked for: this very object, none equal to it."""


@dataclass(frozen=True, slots=True)
class Row:
    """One recorded step (table `raw`). `data`, `file_list`, `human_data` and `human_file_list` are JSON text."""

    node_id: str
    interaction_id: str
    current: str | None = None
    step: int | None = 0
    data: str | None = None
    file_list: str | None = None
    status: str | None = "running"
    do_interrupt: bool | None = False
    wait_seconds: int | None = 0
    ask_for_human_help: bool | None = False
    create_time: str | None = None
    update_time: str | None = None
    is_deleted: bool | None = False
    is_human: bool | None = False
    human_data: str | None = None
    human_file_list: str | None = None
    is_send: bool = False
    is_receive: bool = False
    include_pictures: bool = False
    id: int | None = None


class ShownRow(NamedTuple):
    """What of a row a viewer is shown, and its place; a field is named as its column is. `data` is UTF-8."""

    id: int
    step: int | None
    data: bytes | None
    status: str | None
    current: str | None
    node_id: str
    file_list: str | None
    include_pictures: bool
    create_time: str | None


@dataclass(frozen=True, slots=True)
class User:
    """An author: may put recordings in, and open what is his (table `users`)."""

    user_id: str
    email: str
    name: str | None = None
    token: str | None = field(default=None, repr=False)
    available: bool | None = True
    corporation: str | None = None
    industry: str | None = None
    position: str | None = None
    create_time: str | None = None
    update_time: str | None = None
    deleted: bool | None = None
    is_beta: bool | None = False


class Visibility(StrEnum):
    """Who may watch a recording: its owner, who has its id or a link to it, or everybody, who finds it in the list."""

    PRIVATE = "private"
    UNLISTED = "unlisted"
    PUBLIC = "public"


@dataclass(frozen=True, slots=True)
class ShareLink:
    """A secret token that lets who has it watch one recording (table `share_links`); the token itself isn't stored.

    Times are in seconds since 1970. `views` counts a viewer once in half an hour.
    """

    id: int
    interaction_id: str
    user_id: str
    label: str
    created_at: float
    expires_at: float | None
    max_views: int | None
    views: int
    revoked_at: float | None


@dataclass(frozen=True, slots=True)
class Recording:
    """An interaction with its rows in the order they were recorded, deleted ones included, and its workspace's files.

    `workspace` maps a file's path inside the workspace, with `/` between its parts, to its bytes.
    """

    interaction: Interaction
    rows: Sequence[Row]
    workspace: Mapping[str, bytes] = field(default_factory=dict)
