"""A page as it is sent: a template filled in, everything escaped, and headers under which nothing strange can run."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from .media import root_of
from .static_files import modules, template, version

_NAMED_HOST = re.compile(r"[A-Za-z0-9._-]+(:[0-9]{1,5})?")


def page(
    request: Request,
    name: str,
    values: Mapping[str, str],
    *,
    metas: Iterable[tuple[str, Mapping[str, str]]] = (),
    framed_by: tuple[str, ...] = (),
) -> Response:
    """A page with a script of the same name as its template. `metas` are elements for its head, with attributes."""
    static = _static(request)
    preloads = [("link", {"rel": "modulepreload", "href": static + path}) for path in modules(f"{name}.js")]
    markup = {"head": _elements(metas), "preloads": _elements(preloads)}
    common = {"root": f"{root_of(request)}/", "static": static, "version": version()}
    return _response(f"{name}.html", {**values, **common}, markup, 200, _player_policy(request), framed_by)


def message(request: Request, title: str, text: str, status: int, framed_by: tuple[str, ...] = ()) -> Response:
    """A page that says what has happened, and does nothing."""
    # Within another site's page there is no way on: it is that site's.
    home = "" if framed_by else f'<p><a href="{_escape(root_of(request))}/">All recordings</a></p>'
    values = {"title": title, "text": text, "static": _static(request)}
    policy = "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'"
    return _response("message.html", values, {"home": home}, status, policy, framed_by)


def _static(request: Request) -> str:
    return f"{root_of(request)}/static/{version()}/"


def _response(
    name: str, texts: Mapping[str, str], markup: Mapping[str, str], status: int, policy: str, framed_by: tuple[str, ...]
) -> Response:
    escaped = {key: _escape(text) for key, text in texts.items()}
    ancestors = " ".join(framed_by) or "'none'"
    headers = {
        "content-security-policy": f"{policy}; frame-ancestors {ancestors}",
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",  # the address may be the secret
        "x-dns-prefetch-control": "off",
        "cache-control": "no-store",
        **({} if framed_by else {"x-frame-options": "DENY"}),
    }
    content = template(name).substitute({**escaped, **markup})
    return HTMLResponse(content, status, headers)


def _player_policy(request: Request) -> str:
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        f"connect-src 'self'{_socket_source(request)}; base-uri 'none'; form-action 'none'; "
        "require-trusted-types-for 'script'; trusted-types dompurify"
    )


def _socket_source(request: Request) -> str:
    # Safari before 15.4 doesn't count a socket to one's own host as 'self'. A host that may not stand here is left out.
    host = request.headers.get("host", "")
    scheme = "wss" if request.url.scheme in ("https", "wss") else "ws"
    return f" {scheme}://{host}" if _NAMED_HOST.fullmatch(host) else ""


def _elements(elements: Iterable[tuple[str, Mapping[str, str]]]) -> str:
    written = []
    for tag, attributes in elements:
        pairs = (f'{name}="{_escape(value)}"' for name, value in attributes.items())
        written.append(f"<{tag} {' '.join(pairs)}>")
    return "\n".join(written)


def _escape(text: str) -> str:
    # What UTF-8 has no bytes for can't be sent; NUL would be taken for an error.
    return html.escape(text.replace("\0", "\ufffd").encode("utf-8", "replace").decode())
