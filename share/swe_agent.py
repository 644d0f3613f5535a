"""SWE-agent's trajectories in the shape of an XAgent recording, framed as XAgent frames a run from the web."""

from __future__ import annotations

import json
import math
import re
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

Object = dict[str, Any]

TITLE_CHARS = 120
MAX_STEP_SECONDS = 366 * 86400  # a longer step is a mistake, and a few of them would leave datetime's range

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EARLIEST, _LATEST = -62135596800, 253402300799  # the first and the last second that datetime knows
_COMMAND_NAME = re.compile(r"[A-Za-z_./][\w./-]*")


class Step(NamedTuple):
    thought: str
    tool_name: str
    tool_input: Object
    tool_output: Any
    seconds: float


def to_xagent(document: Object, interaction_id: str, began: int) -> Object:
    """Turn a parsed trajectory into an XAgent recording: `{"interaction": …, "raws": […]}`.

    `began` is when the run started, in seconds since 1970; dates beyond the years 1 to 9999 become the nearest within.

    Raises ValueError where there is no step, or what should hold one is something else.
    """
    steps = [_trajectory_step(*item) for item in enumerate(_objects(document, "trajectory"))]
    steps = steps or list(_history_steps(_told(_objects(document, "history"))))
    if not steps:
        raise ValueError("$: expected at least one step in trajectory or history, got none")
    goal = _problem_statement(document)
    ending = _exit_status(document.get("info"))
    status = "finished" if not ending or ending.startswith("submitted") else "failed"
    seconds = list(accumulate((step.seconds for step in steps), initial=0.0))
    raws: list[Object] = [
        {"status": "running", "current": "", "is_human": True, "human_data": {"goal": goal}},
        {"status": "start", "current": "1", "data": _start(goal)},
        *({"status": "inner", "current": "1.1", "data": _inner(step)} for step in steps),
        {"status": status, "current": "", "data": ending if status == "failed" else []},
    ]
    times = [_time(began + after) for after in (0.0, *seconds, seconds[-1])]
    for number, (raw, time) in enumerate(zip(raws, times, strict=True)):
        _complete(raw, interaction_id, number, time)
    return {"interaction": _interaction(interaction_id, goal, status, times), "raws": raws}


def _objects(document: Object, key: str) -> list[Object]:
    items = document.get(key)
    if items is None:
        return []
    if not isinstance(items, list):
        raise _wrong(f"$.{key}", "a list", items)
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            raise _wrong(f"$.{key}[{index}]", "an object", item)
    return items


def _wrong(where: str, expected: str, value: Any) -> ValueError:
    return ValueError(f"{where}: expected {expected}, got {json.dumps(value, ensure_ascii=False)[:60]}")


def _exit_status(info: Any) -> str:
    if not isinstance(info, dict | None):
        raise _wrong("$.info", "an object", info)
    return _as_text(info.get("exit_status")) if info else ""


def _interaction(interaction_id: str, goal: str, status: str, times: list[str]) -> Object:
    return {
        "interaction_id": interaction_id,
        "user_id": "import",  # not XAgent's guest, whose token everybody knows
        "create_time": times[0][:19],
        "update_time": times[-1][:19],
        "description": _title(goal),
        "agent": "swe-agent",
        "mode": "auto",
        "recorder_root_dir": "",
        "file_list": [],
        "status": status,
        "message": status,
        "current_step": "0",
        "call_method": "import",
    }


def _complete(raw: Object, interaction_id: str, number: int, time: str) -> None:
    node_id = uuid.uuid5(uuid.NAMESPACE_OID, f"{interaction_id}/{number}").hex
    if raw["status"] == "inner":
        raw["data"]["node_id"] = node_id
    raw.update(node_id=node_id, interaction_id=interaction_id, step=number, create_time=time, update_time=time)
    raw.update(file_list=[], human_file_list=[])


def _start(goal: str) -> Object:
    title = _title(goal)
    subtask = {
        "name": title,
        "goal": goal,
        "prior_plan_criticsim": "",
        "milestones": [],
        "exceute_status": "TODO",
        "task_id": "1.1",
        "inner": [],
    }
    return {"task_id": "1", "name": title, "goal": goal, "handler": "", "tool_budget": "", "subtasks": [subtask]}


def _inner(step: Step) -> Object:
    properties = {"plan": [], "thought": step.thought, "reasoning": "", "criticism": ""}
    return {
        "thoughts": step.thought,
        "reasoning": "",
        "plan": "",
        "criticism": "",
        "node_id": "",  # stands here for the order of the keys; _complete knows it
        "using_tools": {
            "tool_name": step.tool_name,
            "tool_input": step.tool_input,
            "tool_output": step.tool_output,
            "tool_status_code": "TOOL_CALL_SUCCESS",
            "thought_data": {"thought": {"properties": properties}, "content": None},
        },
    }


def _time(seconds: float) -> str:
    moment = _EPOCH + timedelta(seconds=min(max(seconds, _EARLIEST), _LATEST))
    return moment.replace(tzinfo=None).isoformat(" ", "microseconds")


def _trajectory_step(index: int, step: Object) -> Step:
    if step.keys().isdisjoint(("thought", "action", "observation")):
        raise _wrong(f"$.trajectory[{index}]", "thought, action and observation", step)
    name, arguments = _shell(_as_text(step.get("action")))
    output = _output(step.get("observation"))
    return Step(_as_text(step.get("thought")), name, arguments, output, _seconds(step.get("execution_time")))


def _history_steps(messages: list[Object]) -> Iterator[Step]:
    for message, after in pairwise([*messages, {}]):
        if message.get("role") != "assistant":
            continue
        thought = message.get("thought")
        answered = after.get("role") in ("tool", "user")
        yield Step(
            _content_text(message.get("content")) if thought is None else _as_text(thought),
            *(
                _call(message.get("tool_calls"))
                or _shell(_as_text(message.get("action") or message.get("tool_calls") or None))
            ),
            _output(after.get("content") if answered else None),
            _seconds(message.get("execution_time")),
        )


def _call(calls: Any) -> tuple[str, Object] | None:
    """The tool's name and arguments where there is exactly one call, and it has both."""
    function = calls[0].get("function") if _is_objects(calls) and len(calls) == 1 else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
        return None
    arguments = _parsed(function.get("arguments"))
    return (function["name"], arguments) if isinstance(arguments, dict) else None


def _shell(action: str) -> tuple[str, Object]:
    word = next(iter(action.split(None, 1)), "")
    return word if _COMMAND_NAME.fullmatch(word) else "bash", {"command": action}


def _seconds(value: Any) -> float:
    usable = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MAX_STEP_SECONDS
    return float(value) if usable else 1.0


def _output(value: Any) -> Any:
    return value if isinstance(value, list | dict) else _as_text(value)


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _problem_statement(document: Object) -> str:
    config = _parsed(document.get("replay_config"))
    statement = config.get("problem_statement") if isinstance(config, dict) else None
    text = statement.get("text") if isinstance(statement, dict) else None
    return text if isinstance(text, str) and text.strip() else _stated_in_messages(document)


def _stated_in_messages(document: Object) -> str:
    first: Object = next(iter(_objects(document, "trajectory")), {})
    for messages in (document.get("history"), first.get("messages"), first.get("query")):
        for message in _told(messages):
            text = _content_text(message.get("content"))
            if message.get("role") == "user" and text.strip():
                issue = _between(text, "ISSUE:\n", "\n\nINSTRUCTIONS:")
                return issue or _between(text, "<pr_description>", "</pr_description>").strip("\n") or text
    return ""


def _between(text: str, opening: str, closing: str) -> str:
    inside, closed, _ = text.partition(opening)[2].partition(closing)
    return inside if closed else ""


def _told(messages: Any) -> list[Object]:
    """The messages of the run itself, without the demonstration that the model was given."""
    return [message for message in messages if not message.get("is_demo")] if _is_objects(messages) else []


def _is_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _content_text(content: Any) -> str:
    if _is_objects(content):
        return "\n".join(part["text"] for part in content if isinstance(part.get("text"), str))
    return content if isinstance(content, str) else ""


def _title(goal: str) -> str:
    line = next((line for line in goal.splitlines() if line.strip()), "SWE-agent run")
    title = re.sub("[\0\ud800-\udfff]", "\ufffd", " ".join(line.split()))  # a column can't hold these
    return title if len(title) <= TITLE_CHARS else title[: TITLE_CHARS - 1] + "…"


def _parsed(value: Any) -> Any:
    """The value of a string of JSON, None if it isn't one; anything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value, parse_float=_finite, parse_constant=_finite)
    except ValueError:
        return None


def _finite(spelling: str) -> float:
    number = float(spelling)
    if not math.isfinite(number):
        raise ValueError(f"expected a finite number, got {spelling}")
    return number
