"""The player's modules as one script, for a page that has no server to fetch them from. Pure.

It knows the few forms of `import` and `export` that these modules have, which a test holds them to; anything else is
an error, so that nothing is left out in silence.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable

_IMPORT = re.compile(r"""^import\s+(?:(\w+)|\{([^}]*)\})\s+from\s+["'](\./[^"']+|\.\./[^"']+)["'];$""", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function\*?|class|const|let) (\w+))", re.MULTILINE)
_EXPORT_LIST = re.compile(r"export\s*\{([^}]*)\};?\s*$")
_LEFT = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)


class BundleError(ValueError):
    """A module has a form that isn't known here."""


def bundle(entry: str, read: Callable[[str], str]) -> str:
    """The module `entry` and all that it imports, as one script to be put into a page.

    `read` gives a module's text by its path. Raises `BundleError` for a form of import or export that isn't known, and
    for modules that import each other in a circle.
    """
    written: dict[str, str] = {}
    _add(entry, read, written, ())
    script = '"use strict";\n' + "\n".join(written.values())
    # Within a page, these would end the script, or hide its end; in a string or a pattern it is the same character.
    return re.sub(r"<(?=!--|/?script)", r"\\x3c", script, flags=re.IGNORECASE)


def _add(path: str, read: Callable[[str], str], written: dict[str, str], importers: tuple[str, ...]) -> None:
    if path in importers:
        raise BundleError(f"{path}: imports itself by way of {', '.join(importers[importers.index(path) + 1 :])}")
    if path in written:
        return
    text = read(path)

    def imported(match: re.Match[str]) -> str:
        source = posixpath.normpath(posixpath.join(posixpath.dirname(path), match[3]))
        _add(source, read, written, (*importers, path))
        names = f"default: {match[1]}" if match[1] else re.sub(r"(\w+)\s+as\s+(\w+)", r"\1: \2", match[2])
        return f"const {{ {' '.join(names.split())} }} = {_name(source)};"

    text = _IMPORT.sub(imported, text)
    text, exported = _without_exports(text)
    if left := _LEFT.search(text):
        raise BundleError(f"{path}: expected a known form of import or export, got {left[0][:80]!r}")
    returned = ", ".join(f"{name}: {local}" for name, local in exported.items())
    written[path] = f"const {_name(path)} = (() => {{\n{text}\nreturn {{ {returned} }};\n}})();"


def _without_exports(text: str) -> tuple[str, dict[str, str]]:
    exported = {name: name for name in _EXPORT.findall(text)}
    text = _EXPORT.sub("", text)
    if listed := _EXPORT_LIST.search(text):
        text = text[: listed.start()]
        for item in filter(None, map(str.strip, listed[1].split(","))):
            local, _, name = item.partition(" as ")
            exported[name.strip() or local] = local
    return text, exported


def _name(path: str) -> str:
    return "module_" + re.sub(r"\W", "_", path)
