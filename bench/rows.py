"""Rows as XAgent records them, of whatever size, the same every time."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from share.wire import encode_row, encode_stored
from storage.models import Interaction, Recording, Row

ROW_BYTES = 2048
VARIETY = 500
"""Rows that are different; then they come again."""

_TEXT = (
    "the file data step result and then we need to check whether it holds for each of these values before writing "
    "report table column number of rows found error line function returns list path command output next search"
)
_WORDS = _TEXT.split()
_CHINESE = "接下来我们需要检查数据文件中的每一列，确认没有缺失的数值，然后再把结果写进报告里面。"


def frame_text(size_bytes: int = ROW_BYTES) -> str:
    """A row as classic sends it, about `size_bytes` long: what the other servers send."""
    return _frame(_data(1, size_bytes)).decode()


@cache
def stored_texts(size_bytes: int = ROW_BYTES) -> tuple[str, ...]:
    """The JSON texts of rows whose frames in classic are about `size_bytes` long; Chinese in one of ten."""
    variety = VARIETY if size_bytes <= ROW_BYTES else 20
    return tuple(encode_stored(_data(number, size_bytes)) for number in range(variety))


def make_rows(interaction_id: str, rows: int, size_bytes: int = ROW_BYTES) -> Iterator[Row]:
    """The rows of a recording, a second apart."""
    texts, began = stored_texts(size_bytes), datetime(2023, 11, 17, 10)
    for step in range(rows):
        time = str(began + timedelta(seconds=step))
        yield Row(
            node_id=f"{interaction_id}-{step}",
            interaction_id=interaction_id,
            current="1.1",
            step=step,
            data=texts[step % len(texts)],
            status="inner" if step < rows - 1 else "finished",
            create_time=time,
            update_time=time,
        )


def make_interaction(interaction_id: str, description: str = "a run of the benchmark") -> Interaction:
    time = "2023-11-17 10:00:00"
    return Interaction(interaction_id, "guest", time, time, description, "XAgent", "auto", status="finished")


def make_recording(interaction_id: str, rows: int, size_bytes: int = ROW_BYTES) -> Recording:
    return Recording(make_interaction(interaction_id), tuple(make_rows(interaction_id, rows, size_bytes)))


def _data(number: int, size_bytes: int) -> dict[str, Any]:
    chance = random.Random(number)
    data = {
        "thoughts": _prose(chance, 24) if number % 10 else _CHINESE * 2,
        "reasoning": _prose(chance, 20),
        "plan": [_prose(chance, 5) for _ in range(3)] if size_bytes >= ROW_BYTES else [],
        "criticism": _prose(chance, 8),
        "using_tools": {
            "tool_name": "shell_command_executor",
            "tool_input": {"command": f"python analyse_{number}.py --rows {chance.randrange(10_000)}"},
            "tool_output": "",
        },
    }
    if size_bytes < ROW_BYTES:
        data["thoughts"], data["reasoning"] = _prose(chance, 4), ""
    left = size_bytes - len(_frame(data))
    data["using_tools"]["tool_output"] = "".join(_lines(chance, left))
    return data


def _lines(chance: random.Random, size_bytes: int) -> Iterator[str]:
    # A line break is two bytes in JSON.
    while size_bytes > 2:
        line = f"{chance.randrange(1000)} {_prose(chance, 12)}"[: size_bytes - 2]
        size_bytes -= len(line) + 2
        yield line + "\n"


def _prose(chance: random.Random, words: int) -> str:
    return " ".join(chance.choices(_WORDS, k=words))


def _frame(data: Any) -> bytes:
    files: Sequence[dict[str, str]] = ()
    return encode_row(
        data=data, status="inner", current="1.1", node_id="recording-0000", workspace_file_list=list(files)
    )
