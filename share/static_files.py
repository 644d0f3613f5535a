"""The player's own files: served under an address that changes with them, so that they may be kept for good."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from pathlib import Path
from string import Template

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.staticfiles import StaticFiles

FOLDER = Path(__file__).parent / "static"

# Not by the system's list of types, which differs; and what is not of these kinds is not served.
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".woff2": "font/woff2",
}
_KEPT = "public, max-age=31536000, immutable"
_IMPORT = re.compile(r"""(?:^|;)\s*(?:import|export)\b[^"';()]*["'](\.{1,2}/[^"']+)["']""", re.MULTILINE)


def static_routes() -> list[BaseRoute]:
    """`/static/VERSION/…`, and `/embed.js`, whose address stands in other people's pages and so never changes."""
    files = StaticFiles(directory=FOLDER)

    async def static(request: Request) -> Response:
        path = request.path_params["path"]
        # Who has an older page open gets what there is now, and must not keep it under the old address.
        kept = _KEPT if request.path_params["version"] == version() else "no-cache"
        return await _serve(files, path, request, {"cache-control": kept})

    async def embed(request: Request) -> Response:
        headers = {"cache-control": "no-cache", "cross-origin-resource-policy": "cross-origin"}
        return await _serve(files, "embed.js", request, headers)

    return [Route("/static/{version}/{path:path}", static), Route("/embed.js", embed)]


async def _serve(files: StaticFiles, path: str, request: Request, headers: dict[str, str]) -> Response:
    kind = _TYPES.get(Path(path).suffix)
    try:
        if kind is None or "\\" in path:
            raise HTTPException(404)
        response = await files.get_response(path, request.scope)
    except HTTPException:
        return PlainTextResponse("There is no such file.", 404, {"x-content-type-options": "nosniff"})
    response.headers.update({"x-content-type-options": "nosniff", **headers})
    if response.status_code != 304:
        response.headers["content-type"] = kind
    return response


@cache
def version() -> str:
    """A short name for all that is in the folder, which changes when anything in it does."""
    told = hashlib.sha256()
    for path in sorted(FOLDER.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            told.update(f"{path.relative_to(FOLDER).as_posix()}\0{len(content)}\0".encode() + content)
    return told.hexdigest()[:12]


@cache
def modules(entry: str) -> tuple[str, ...]:
    """The modules that `entry` imports, and that these import, each once: paths in the folder."""
    found: dict[str, None] = {}
    waiting = [entry]
    while waiting:
        name = waiting.pop(0)
        path = FOLDER / name
        if name in found or not path.is_file():
            continue
        found[name] = None
        for target in _IMPORT.findall(path.read_text("utf-8")):
            resolved = (path.parent / target).resolve()
            if resolved.is_relative_to(FOLDER.resolve()):
                waiting.append(resolved.relative_to(FOLDER.resolve()).as_posix())
    return tuple(name for name in found if name != entry)


@cache
def template(name: str) -> Template:
    """A page, with `$names` for what is to be filled in."""
    return Template((FOLDER / name).read_text("utf-8"))
