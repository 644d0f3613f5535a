"""What a row shows: its data with pictures and escapes put in, and the list of its files. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

PICTURE_TOOL = "PythonNotebook_execute_cell"

# A backslash that is itself escaped begins no sequence, hence the pairs before it.
_ESCAPE = re.compile(r"(?<!\\)((?:\\\\)*)((?:\\u[0-9a-fA-F]{4})+)")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def handle_data(data: Any, read_picture: Callable[[str], str | None] | None = None) -> Any:
    """The data of a row as it is sent, changed in place.

    `read_picture`, given for a row with pictures, answers with the base64 of a file of that name, or None where there
    is none: each object in a notebook cell's output that names a file gets it as `file_data`. The `\\uXXXX` sequences
    in a tool's input and output become the characters that they stand for, where these are text themselves; in what is
    an object or a list already, an escape was meant.
    """
    tools = data.get("using_tools") if isinstance(data, dict) else None
    if not isinstance(tools, dict):
        return data
    if read_picture is not None and tools.get("tool_name") == PICTURE_TOOL:
        output = tools.get("tool_output")
        for part in output if isinstance(output, list) else ():
            if isinstance(part, dict) and "file_name" in part:
                name = part["file_name"]
                part["file_data"] = read_picture(name) if isinstance(name, str) else None
        tools["is_include_pictures"] = True
    for key in ("tool_input", "tool_output"):
        if isinstance(text := tools.get(key), str):
            tools[key] = unescape(text)
    return data


def unescape(text: str) -> str:
    """`text` with its `\\uXXXX` sequences as characters: surrogate pairs joined, a lone surrogate left as written."""
    return _ESCAPE.sub(lambda match: match[1] + _characters(match[2]), text) if "\\u" in text else text


def _characters(escapes: str) -> str:
    units = bytes.fromhex(escapes.replace("\\u", ""))
    joined = units.decode("utf-16-be", "surrogatepass")
    if not _LONE_SURROGATE.search(joined):
        return joined
    # As it was written, upper and lower case: the escape stands where its code unit does.
    written = iter(re.findall(r"\\u....", escapes))
    result = []
    for character in joined:
        escape = next(written)
        if ord(character) > 0xFFFF:
            next(written)
        result.append(escape if _LONE_SURROGATE.match(character) else character)
    return "".join(result)


def handle_workspace_filelist(file_list: Any) -> list[dict[str, str]]:
    """The files of a row as `[{"name", "suffix"}]`: the suffix is what follows the last dot, or the whole name.

    Empty for what is no list; an entry that is no string is left out.
    """
    if not isinstance(file_list, list):
        return []
    return [{"name": name, "suffix": name.split(".")[-1]} for name in file_list if isinstance(name, str)]
