"""Reads a recorded run from a file: an XAgent recording (its community upload), or a trajectory of SWE-agent."""

from __future__ import annotations

import hashlib
import json
import os
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import IO, Any

from storage.models import Recording

from .json_exact import decode
from .recording_json import RecordingError, one_line, recording_of
from .recording_parts import Limits, RecordingReader
from .recording_rows import read_decoded_row
from .swe_agent import to_xagent


def read_recording(path: Path) -> Recording:
    """Read an XAgent recording or a SWE-agent trajectory, whichever the file's content is.

    Rows come sorted by `step`, where equal in the order of the file, those without a step first. JSON columns are
    compact JSON text in which every key, number and string is as in the file. A trajectory knows no time of day: its
    rows are timed from the file's modification time (UTC, whole seconds) by the durations of its steps.

    Raises RecordingError for everything that is wrong with the file or its content.
    """
    try:
        with path.open("rb") as file:
            if (recording := _read_rows(file)) is not None:
                return recording
            content, modified = file.read(), int(os.fstat(file.fileno()).st_mtime)
        return recording_of(_as_xagent(decode(content.decode("utf-8-sig")), content, modified))
    except json.JSONDecodeError as error:
        problem = f"line {error.lineno}, column {error.colno}: expected JSON, got: {error.msg}"
    except OSError as error:
        problem = f"expected a readable file, got: {error.strerror or error}"
    except RecursionError:
        problem = "expected JSON that Python can read, got it nested too deep"
    except ValueError as error:
        problem = str(error)
    raise RecordingError(one_line(f"{path}: {problem}"))


def _read_rows(file: IO[bytes]) -> Recording | None:
    # A row at a time, which most files can be read in. Where that fails, the whole file is read and says why.
    try:
        with mmap(file.fileno(), 0, access=ACCESS_READ) as text:
            return RecordingReader(Limits(), read_decoded_row).read_document(text)
    except (OSError, ValueError):
        return None


def _as_xagent(document: Any, content: bytes, modified: int) -> Any:
    if not isinstance(document, dict) or "interaction" in document or "raws" in document:
        return document
    if "trajectory" not in document and "history" not in document:
        raise ValueError("$: expected the keys of XAgent (interaction, raws) or SWE-agent (trajectory), got neither")
    return to_xagent(document, hashlib.sha256(content).hexdigest()[:32], modified)
