"""Log lines: clean of what a stranger puts into them, and in the `share.log` of the recording they are about."""

from __future__ import annotations

import json
import logging
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

MAX_SHARE_LOG_BYTES = 10 * 1024 * 1024
MAX_FAILING = 1000
"""Files that can't be written are reported once each, up to so many."""

# Also where a mail program has written the link's ? as %3F, or somebody a semicolon for it.
_QUERY = re.compile(r"(?:[?;&]|%3F|%3B|%26)\S*", re.IGNORECASE)
_LINK = re.compile(r"(?<![A-Za-z0-9])rs_[A-Za-z0-9_-]{4,}")


def printable(text: str, limit: int = 200) -> str:
    """`text` fit for one log line: at most `limit` characters, control characters and lone surrogates as escapes."""
    cut = text[:limit] + ("…" if len(text) > limit else "")
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in cut
    )


class LogFiles:
    """Appends lines to log files, in a thread of its own, in order; a file is open only while a line goes into it.

    So ten thousand viewers cost one open file, a slow disk delays nobody, and a cancelled task leaves nothing behind.
    A file that has grown to `MAX_SHARE_LOG_BYTES` becomes `share.log.1`, in the place of the one before. What can't be
    written is reported once, and the viewer served all the same.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="share-log")
        self._failing: set[Path] = set()

    def append(self, path: Path, line: str, *, make_folder: bool = True) -> None:
        """Have `line` written to the end of `path`, soon. Without its folder, that is made or the line is lost."""
        self._thread.submit(self._append, path, line, make_folder)

    def _append(self, path: Path, line: str, make_folder: bool) -> None:
        try:
            if make_folder:
                path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(line + "\n")
                full = file.tell() >= MAX_SHARE_LOG_BYTES
            if full:
                path.replace(path.with_name(path.name + ".1"))
            self._failing.discard(path)
        except FileNotFoundError:
            pass  # the recording has been deleted while it was watched
        except OSError as error:
            if path not in self._failing and len(self._failing) < MAX_FAILING:
                self._failing.add(path)
                logger.warning("%s can't be written: %s", path, error)


class ShareLog:
    """The log of one viewer: each line goes to the program's log, and into the recording's file where there is one.

    The program's log has the connection's id with each. With `one_line` it gets nothing above DEBUG but the last line.
    """

    def __init__(
        self, files: LogFiles, client_id: str, level: str, connection: str = "", *, one_line: bool = False
    ) -> None:
        self._files = files
        self._client_id = client_id
        self._connection = connection
        self._one_line = one_line
        self._error: BaseException | None = None
        self._level = logging.getLevelNamesMapping()[level]
        self._path: Path | None = None
        self._make_folder = False

    def open(self, path: Path) -> None:
        """From now on into this file too, whose folder is made with the first line."""
        self._path, self._make_folder = path, True

    def info(self, message: str) -> None:
        self._write(logging.INFO, message, quiet=self._one_line)

    def debug(self, message: str) -> None:
        self._write(logging.DEBUG, message)

    def error(self, message: str, error: BaseException, where: logging.Logger) -> None:
        """Something of ours broke, in the module with that logger. It concerns the program's log alone."""
        self._error = error
        if not self._one_line:
            extra = {"connection": self._connection}
            where.error("%s: %s", self._client_id, message, exc_info=error, extra=extra)

    def end(self, message: str, members: dict[str, Any]) -> None:
        """The last line, and what there is to say of the whole connection."""
        if self._one_line:
            level = logging.INFO if self._error is None else logging.ERROR
            self._log(level, message, exc_info=self._error, members=members)
        self.info(message)
        self._error = None

    def is_debug(self) -> bool:
        """Whether it is worth putting a DEBUG line together."""
        return self._level <= logging.DEBUG or logger.isEnabledFor(logging.DEBUG)

    def _log(self, level: int, message: str, exc_info: BaseException | None = None, **extra: Any) -> None:
        extra["connection"] = self._connection
        logger.log(level, "%s: %s", self._client_id, message, exc_info=exc_info, extra=extra)

    def _write(self, level: int, message: str, *, quiet: bool = False) -> None:
        if not quiet:
            self._log(level, message)
        if self._path is not None and level >= self._level:
            time = datetime.now().astimezone().isoformat(" ", "milliseconds")
            entry = f"{time} {logging.getLevelName(level)} {self._client_id}: {message}"
            self._files.append(self._path, entry, make_folder=self._make_folder)
            self._make_folder = False


def hide_tokens(text: str) -> str:
    """A request, or a part of one, without its query and without a share link's token."""
    return _LINK.sub("rs_…", _QUERY.sub("?…", text))


class HideQuery(logging.Filter):
    """Takes the tokens out of what uvicorn logs of a request: they stand in its query, and in the path of a link."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(hide_tokens(arg) if isinstance(arg, str) else arg for arg in record.args)
        return True


class TextFormatter(logging.Formatter):
    """Lines for people; what is about a connection has its id at the end."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s  %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        connection = getattr(record, "connection", "")
        return super().formatMessage(record) + (f"  [{connection}]" if connection else "")


class JSONFormatter(logging.Formatter):
    """A record as one line of JSON, with the `members` that it carries, and no share link's token."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if connection := getattr(record, "connection", ""):
            entry["connection"] = connection
        entry |= getattr(record, "members", {})
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        hidden = {name: _LINK.sub("rs_…", value) if isinstance(value, str) else value for name, value in entry.items()}
        return json.dumps(hidden, default=str)


class OneLineAConnection(logging.Filter):
    """Leaves out what uvicorn says of a connection that we have a line about."""

    def filter(self, record: logging.LogRecord) -> bool:
        message = str(record.msg)
        return message != "connection open" and not message.endswith('"WebSocket %s" [accepted]')


def configure_logging(level: str, log_format: str = "text") -> None:
    """Set up the process's logging: lines at `level` and above, on standard error, and no token in them.

    As `json`, uvicorn's lines are JSON too, and of a connection that was accepted there is one line, at its end.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JSONFormatter() if log_format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel("WARNING")
    for name in ("share", "storage", "uvicorn"):
        logging.getLogger(name).setLevel(level)
    for name in ("uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).addFilter(HideQuery())
    if log_format == "json":
        for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):  # it may have set up handlers of its own
            logging.getLogger(name).handlers.clear()
            logging.getLogger(name).propagate = True
        logging.getLogger("uvicorn.error").addFilter(OneLineAConnection())
    logging.getLogger("uvicorn.asgi").disabled = True  # at TRACE it writes down every request whole
