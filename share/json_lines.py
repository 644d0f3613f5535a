"""JSON lines from a file descriptor become the rows of a run, as they come."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Mapping
from typing import Any

from .recorder import Run
from .wire import decode_stored

FIELDS: Mapping[str, tuple[type, str]] = {
    "status": (str, "a string"),
    "current": (str, "a string"),
    "data": (object, "anything"),
    "files": (list, "a list of names"),
    "include_pictures": (bool, "true or false"),
}
MAX_LINE_BYTES = 16 * 1024 * 1024

_CHUNK_BYTES = 64 * 1024


class LineError(ValueError):
    """A line can't be a row as it is; the message says what was expected and what came."""


def row_of(line: bytes) -> dict[str, Any]:
    """What `Run.append` is given for a line. Raises `LineError`.

    An object with only `status`, `data`, `current`, `files` and `include_pictures` in it, some of them, is a row; any
    other JSON value is the `data` of one.
    """
    try:
        value = decode_stored(line.decode())
    except ValueError as error:
        raise LineError(f"{error}, got {line[:60].decode(errors='replace')!r}") from None
    if not isinstance(value, dict) or not value or value.keys() - FIELDS.keys():
        return {"data": value}
    for field, (kind, words) in FIELDS.items():
        if field in value and not isinstance(value[field], kind):
            raise LineError(f"{field}: expected {words}, got {str(value[field])[:60]!r}")
    if not all(isinstance(name, str) for name in value.get("files", ())):
        raise LineError(f"files: expected a list of names, got {str(value['files'])[:60]!r}")
    return value


async def record_lines(run: Run, descriptor: int, complain: Callable[[str], object]) -> bool:
    """Append a row for every line that can be read from `descriptor`, until its end; whether all of them were good.

    A line that isn't good is recorded too, as the text that it is, and `complain` is told its number and why. Safe to
    cancel. Raises what `Run.append` raises for reasons of its own, and `LineError` for a line above 16 MiB.
    """
    lines = _Lines(descriptor)
    number, good = 0, True
    while (line := await lines.read()) is not None:
        number += 1
        if not line.strip():
            continue
        try:
            await run.append(**row_of(line))
        except ValueError as error:
            good = False
            complain(f"line {number}: {error}; recorded as text")
            await run.append(data=line.decode(errors="replace"))
    return good


class _Lines:
    # A thread reads, because a file or a terminal can't be waited for as a pipe can. It is a daemon: it may be blocked
    # in its read when the process wants to end. It waits while 16 chunks are not yet taken, so the writer waits too.
    def __init__(self, descriptor: int) -> None:
        self._chunks: asyncio.Queue[bytes] = asyncio.Queue(16)
        self._rest = b""
        self._ended = False
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._read, args=(descriptor, loop), name="json-lines", daemon=True).start()

    def _read(self, descriptor: int, loop: asyncio.AbstractEventLoop) -> None:
        chunk = b"-"
        while chunk:
            try:
                chunk = os.read(descriptor, _CHUNK_BYTES)
            except OSError:
                chunk = b""  # a terminal that has gone away
            put = self._chunks.put(chunk)
            try:
                asyncio.run_coroutine_threadsafe(put, loop).result()
            except Exception:  # the loop has ended, and with it all who would read
                put.close()
                return

    async def read(self) -> bytes | None:
        while b"\n" not in self._rest and not self._ended:
            chunk = await self._chunks.get()
            self._ended = not chunk
            self._rest += chunk
            if len(self._rest) > MAX_LINE_BYTES:
                raise LineError(f"expected lines of at most {MAX_LINE_BYTES} bytes")
        line, newline, self._rest = self._rest.partition(b"\n")
        return line if line or newline else None
