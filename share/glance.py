"""A look at a recording that counts no view: for its page, which watches by a socket, and for who shows a preview."""

from __future__ import annotations

from starlette.requests import Request

from storage.links import is_token

from .access import (
    LINK_ENDED,
    NO_SUCH_RECORDING,
    NOT_ALLOWED,
    NOT_FOUND,
    Admission,
    Visitor,
    XAgentWebSocketConnectError,
)
from .services import Services
from .summary import Summary


async def glance(
    services: Services, request: Request, name: str, *, only_links: bool = False
) -> tuple[Admission, Summary]:
    """What of this name, an id or a link's token, may be watched. Raises `XAgentWebSocketConnectError`.

    Nothing is counted: who only looks at an address, as programs do that show previews, is no viewer. With
    `only_links`, an id is no name.
    """
    by_link = only_links or is_token(name)
    admission = await (_by_link if by_link else _by_id)(services, request, name)
    card = await services.gallery.get_card(admission.interaction)
    if card is None:
        raise XAgentWebSocketConnectError(NOT_FOUND, NO_SUCH_RECORDING)
    return admission, Summary.of(card)


async def _by_id(services: Services, request: Request, name: str) -> Admission:
    return await services.access.admit(name, request)


async def _by_link(services: Services, request: Request, name: str) -> Admission:
    found = await services.access.get_link(name)
    if found is None or not await services.links.takes(found[0], Visitor.of(request).viewer):
        raise XAgentWebSocketConnectError(LINK_ENDED, NOT_ALLOWED)
    link, interaction = found
    return Admission(interaction, name, link)


def page_path(admission: Admission) -> str:
    """Where its page is, below the place where the routes are mounted; no id stands in that of a link."""
    return f"/{'r' if admission.link is None else 's'}/{admission.name}"
