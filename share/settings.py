"""The settings: one frozen value, read from the environment where a process starts."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from starlette.config import Config


class SettingsError(ValueError):
    """A variable has a value that can't be; the message names the variable, what it may be and what came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class XAgentServerEnv:
    """What can be set. The field `base_dir` is the variable `SHARE_BASE_DIR`, and so on for each; README.md says more.

    `pause_seconds` is the shortest and the longest pause between two rows of classic: whole seconds at random in
    between, or the one number that both are. `database_url` None is the file `replay.db` in `base_dir`. With
    `create_tables` None, missing tables are made on SQLite alone. With no `embed_origins`, nobody may show a recording
    in a frame.
    """

    base_dir: Path = Path("data")
    database_url: str | None = None
    create_tables: bool | None = None
    database_wait_seconds: float = 60
    host: str = "127.0.0.1"
    port: int = 8090
    check_running: bool = False
    pause_seconds: tuple[float, float] = (1, 3)
    heartbeat_seconds: float = 20
    require_shared: bool = True
    max_viewers: int = 10_000
    allowed_origins: tuple[str, ...] = ("*",)
    embed_origins: tuple[str, ...] = ("*",)
    send_timeout_seconds: float = 20
    cache_bytes: int = 64 * 1024 * 1024
    max_upload_bytes: int = 100_000_000
    max_upload_rows: int = 20_000
    max_row_bytes: int = 10_000_000
    max_upload_files: int = 2_000
    max_unpacked_bytes: int = 500_000_000
    max_unpack_ratio: int = 200
    log_level: str = "INFO"
    log_format: str = "text"

    @property
    def url(self) -> str:
        """The database's URL, with the default filled in."""
        return self.database_url or f"sqlite:///{quote(str(self.base_dir / 'replay.db'))}"

    @classmethod
    def load(cls, environ: Mapping[str, str] = os.environ, env_file: Path = Path(".env")) -> Self:
        """The settings as `SHARE_…` in `environ` and, below that, in `env_file` have them. Raises `SettingsError`.

        A variable that is empty counts as not set.
        """
        try:
            filled = {name: value for name, value in environ.items() if value.strip()}
            config = Config(env_file if env_file.is_file() else None, filled, encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{env_file}: {error}") from None
        values = {}
        for field in fields(cls):
            variable = f"SHARE_{field.name.upper()}"
            if text := config(variable, default="").strip():
                try:
                    values[field.name] = _PARSE[field.name](text)
                except ValueError as error:
                    raise SettingsError(f"{variable}: expected {error}, got {text!r}") from None
        return cls(**values)


def prometheus_folder() -> Path | None:
    """Where Prometheus' client keeps the figures of several processes; it reads the same variable, which is its own."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    return Path(folder) if folder else None


def _folder(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ValueError("a folder; there is no such user") from None


def _flag(text: str) -> bool:
    match text.lower():
        case "true" | "1" | "yes" | "on":
            return True
        case "false" | "0" | "no" | "off":
            return False
    raise ValueError("true or false")


def _flag_or_auto(text: str) -> bool | None:
    try:
        return None if text.lower() == "auto" else _flag(text)
    except ValueError as error:
        raise ValueError(f"auto, {error}") from None


def _whole(lowest: int, highest: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if re.fullmatch(r"[0-9]{1,13}", text) and lowest <= int(text) <= highest:
            return int(text)
        raise ValueError(f"a whole number from {lowest} to {highest}")

    return parse


def _seconds(text: str) -> float:
    try:
        if math.isfinite(seconds := float(text)) and 0 < seconds <= 86_400:
            return seconds
    except ValueError:
        pass
    raise ValueError("a number of seconds above 0, at most 86400")


def _pause(text: str) -> tuple[float, float]:
    span = re.fullmatch(r"([0-9]{1,5})\s*-\s*([0-9]{1,5})", text)
    if span and int(span[1]) <= int(span[2]) <= 86_400:
        return int(span[1]), int(span[2])
    try:
        return (0, 0) if float(text) == 0 else (_seconds(text),) * 2
    except ValueError:
        raise ValueError("a range of whole seconds such as 1-3, or one number of seconds, 0 for no pause") from None


def _origins(text: str) -> tuple[str, ...]:
    origins = tuple(origin.strip().rstrip("/").lower() for origin in text.split(",") if origin.strip())
    for origin in origins or ("",):
        if origin != "*" and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s*]+", origin):
            raise ValueError("* or a list of origins such as https://example.com,http://localhost:3000")
    return origins


def _embed_origins(text: str) -> tuple[str, ...]:
    if text.lower() == "none":
        return ()
    try:
        origins = _origins(text)
    except ValueError:
        origins = ("",)
    # They become part of a header, where a semicolon would begin something else.
    if all(re.fullmatch(r"\*|[a-z][a-z0-9+.-]*://[a-z0-9._-]+(:[0-9]{1,5})?", origin) for origin in origins):
        return origins
    raise ValueError("*, none, or a list of origins such as https://example.com,http://localhost:3000")


def _log_level(text: str) -> str:
    if text.upper() in ("DEBUG", "INFO", "WARNING", "ERROR"):
        return text.upper()
    raise ValueError("DEBUG, INFO, WARNING or ERROR")


def _log_format(text: str) -> str:
    if text.lower() in ("text", "json"):
        return text.lower()
    raise ValueError("text or json")


_PARSE: Mapping[str, Callable[[str], Any]] = {
    "base_dir": _folder,
    "database_url": str,
    "create_tables": _flag_or_auto,
    "database_wait_seconds": _seconds,
    "host": str,
    "port": _whole(0, 65_535),
    "check_running": _flag,
    "pause_seconds": _pause,
    "heartbeat_seconds": _seconds,
    "require_shared": _flag,
    "max_viewers": _whole(1, 1_000_000),
    "allowed_origins": _origins,
    "embed_origins": _embed_origins,
    "send_timeout_seconds": _seconds,
    "cache_bytes": _whole(0, 2**40),
    "max_upload_bytes": _whole(1, 2**40),
    "max_upload_rows": _whole(1, 2**31),
    "max_row_bytes": _whole(1, 2**31),
    "max_upload_files": _whole(0, 2**31),
    "max_unpacked_bytes": _whole(0, 2**40),
    "max_unpack_ratio": _whole(1, 2**31),
    "log_level": _log_level,
    "log_format": _log_format,
}
