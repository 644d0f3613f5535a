from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from sqlalchemy import insert
from starlette.requests import HTTPConnection

from share.access import NOT_FOUND, RUNNING, Access, Visitor, XAgentWebSocketConnectError
from share.settings import XAgentServerEnv
from storage.gateway import Gateway
from storage.models import Interaction, Recording, Row, Visibility
from storage.recordings import RecordingCRUD
from storage.schema import users
from storage.shares import ShareCRUD

NOBODY = Visitor("", "", None)
OWNER = Visitor("owner", "secret", None)
ORIGIN_REFUSED = "Pages of this origin may not open a socket here."
NO_USER, NOT_AVAILABLE = "user is not exist!", "user is not available!"


@pytest.fixture
async def stored(gateway: Gateway) -> Gateway:
    """The owner's interactions: shared, private, deleted; and one of somebody else, who is busy."""
    recordings = RecordingCRUD(gateway)
    for name, user_id, values, shared in (
        ("shared", "owner", {}, True),
        ("private", "owner", {}, False),
        ("deleted", "owner", {"is_deleted": True}, True),
        ("unshared", "owner", {}, True),
        ("others", "busy", {"status": "running"}, True),
    ):
        interaction = Interaction(name, user_id, **values)
        await recordings.add_recording(
            Recording(interaction, [Row(f"{name}1", name)]),
            visibility=Visibility.UNLISTED if shared else Visibility.PRIVATE,
        )
    await ShareCRUD(gateway).set_visibility("unshared", Visibility.PRIVATE)
    for user_id, values in (
        ("owner", {"token": "secret"}),
        ("busy", {"token": "secret"}),
        ("tokenless", {}),
        ("emptied", {"token": ""}),
        ("gone", {"token": "secret", "deleted": True}),
        ("barred", {"token": "secret", "available": False}),
        ("数", {"token": "密é"}),
    ):
        await gateway.execute(insert(users).values(user_id=user_id, email=user_id, **values))
    return gateway


def connection(query: bytes, *headers: tuple[bytes, bytes]) -> HTTPConnection:
    return HTTPConnection({"type": "websocket", "path": "/", "query_string": query, "headers": list(headers)})


async def admit(
    gateway: Gateway, interaction_id: str, visitor: Visitor = NOBODY, *, as_owner: bool = False, **settings: Any
) -> Interaction:
    query = urlencode({"user_id": visitor.user_id, "token": visitor.token}, errors="surrogatepass").encode()
    headers = [] if visitor.origin is None else [(b"origin", visitor.origin.encode())]
    access = Access(gateway, XAgentServerEnv(**settings))
    return (await access.admit(interaction_id, connection(query, *headers), as_owner=as_owner)).interaction


async def refusal(*args: Any, **kwargs: Any) -> XAgentWebSocketConnectError:
    with pytest.raises(XAgentWebSocketConnectError) as refused:
        await admit(*args, **kwargs)
    assert str(refused.value) == refused.value.message
    return refused.value


# Viewers


async def test_who_has_the_id_of_what_is_shared_may_watch_it(stored: Gateway) -> None:
    interaction = await admit(stored, "shared")
    assert (interaction.interaction_id, interaction.user_id) == ("shared", "owner")


@pytest.mark.parametrize("visitor", [Visitor("owner", "wrong", None), Visitor("nobody", "", None), OWNER])
async def test_a_viewer_needs_no_user_and_a_wrong_one_does_no_harm(visitor: Visitor, stored: Gateway) -> None:
    assert await admit(stored, "shared", visitor)


@pytest.mark.parametrize("interaction_id", ["private", "deleted", "unshared", "unknown"])
async def test_what_is_not_shared_is_refused_as_if_it_werent_there(interaction_id: str, stored: Gateway) -> None:
    private, unknown = await refusal(stored, interaction_id), await refusal(stored, "nobody-has-this")
    assert private.message == NOT_FOUND
    assert vars(private) == vars(unknown)


@pytest.mark.parametrize("interaction_id", ["", "..", "a/b", "a" * 129, "数", "shared\n", "shared\0", "' OR '1'='1"])
@pytest.mark.parametrize("as_owner", [True, False])
async def test_an_id_that_cant_be_one_is_refused_with_the_same_words(
    interaction_id: str, as_owner: bool, stored: Gateway
) -> None:
    assert (await refusal(stored, interaction_id, OWNER, as_owner=as_owner)).message == NOT_FOUND


async def test_the_owner_himself_doesnt_see_what_is_private_in_the_public_view(stored: Gateway) -> None:
    assert (await refusal(stored, "private", OWNER)).message == NOT_FOUND


async def test_where_nothing_has_to_be_shared_all_but_the_deleted_may_be_watched(stored: Gateway) -> None:
    for interaction_id in ("shared", "private", "unshared"):
        assert await admit(stored, interaction_id, require_shared=False)
    for interaction_id in ("deleted", "unknown"):
        assert (await refusal(stored, interaction_id, require_shared=False)).message == NOT_FOUND


# The owner


@pytest.mark.parametrize("interaction_id", ["shared", "private", "unshared"])
async def test_the_owner_may_watch_what_is_his(interaction_id: str, stored: Gateway) -> None:
    assert (await admit(stored, interaction_id, OWNER, as_owner=True)).interaction_id == interaction_id


@pytest.mark.parametrize("interaction_id", ["others", "deleted", "unknown"])
async def test_what_is_not_his_is_refused_as_if_it_werent_there(interaction_id: str, stored: Gateway) -> None:
    theirs = await refusal(stored, interaction_id, OWNER, as_owner=True)
    assert theirs.message == NOT_FOUND
    assert vars(theirs) == vars(await refusal(stored, "nobody-has-this", OWNER, as_owner=True))


@pytest.mark.parametrize(
    ("user_id", "token", "message"),
    [
        ("", "", NO_USER),
        ("nobody", "secret", NO_USER),
        ("OWNER", "secret", NO_USER),
        ("gone", "secret", NO_USER),
        ("owner", "", NOT_AVAILABLE),
        ("owner", "wrong", NOT_AVAILABLE),
        ("owner", "SECRET", NOT_AVAILABLE),
        ("owner", "secret ", NOT_AVAILABLE),
        ("owner", "密", NOT_AVAILABLE),
        ("owner", "\ud800", NOT_AVAILABLE),
        ("tokenless", "", NOT_AVAILABLE),
        ("tokenless", "None", NOT_AVAILABLE),
        ("emptied", "", NOT_AVAILABLE),
        ("barred", "secret", NOT_AVAILABLE),
        ("数", "密", NOT_AVAILABLE),
    ],
)
@pytest.mark.parametrize("interaction_id", ["shared", "private", "unknown"])
async def test_who_cant_show_who_he_is_learns_nothing_of_what_there_is(
    interaction_id: str, user_id: str, token: str, message: str, stored: Gateway
) -> None:
    refused = await refusal(stored, interaction_id, Visitor(user_id, token, None), as_owner=True)
    assert refused.message == message
    assert not refused.temporary


async def test_a_token_may_have_any_characters(stored: Gateway) -> None:
    assert (await refusal(stored, "shared", Visitor("数", "密é", None), as_owner=True)).message == NOT_FOUND


async def test_that_nothing_has_to_be_shared_doesnt_open_the_owners_view(stored: Gateway) -> None:
    visitor = Visitor("nobody", "", None)
    assert (await refusal(stored, "shared", visitor, as_owner=True, require_shared=False)).message == NO_USER
    assert (await refusal(stored, "others", OWNER, as_owner=True, require_shared=False)).message == NOT_FOUND


# Origins


LISTED = ("https://example.com", "http://localhost:3000")


@pytest.mark.parametrize("origin", ["https://anywhere.org", "null", "", None])
async def test_any_page_may_where_nothing_else_is_said(origin: str | None, stored: Gateway) -> None:
    assert await admit(stored, "shared", replace(NOBODY, origin=origin))


@pytest.mark.parametrize("origin", [*LISTED, "HTTPS://Example.com", None])
async def test_a_page_of_the_list_may_and_whoever_is_no_page(origin: str | None, stored: Gateway) -> None:
    assert await admit(stored, "shared", replace(NOBODY, origin=origin), allowed_origins=LISTED)


@pytest.mark.parametrize(
    "origin",
    [
        "https://example.com.evil.org",
        "https://evil.org/https://example.com",
        "https://sub.example.com",
        "http://example.com",
        "https://example.com:444",
        "http://localhost",
        "https://example.com/",
        "null",
        "*",
        "",
    ],
)
@pytest.mark.parametrize("as_owner", [True, False])
async def test_another_page_may_not(origin: str, as_owner: bool, stored: Gateway) -> None:
    visitor = replace(OWNER, origin=origin)
    refused = await refusal(stored, "shared", visitor, as_owner=as_owner, allowed_origins=LISTED)
    assert refused.message == ORIGIN_REFUSED
    assert not refused.temporary


async def test_a_list_with_a_star_in_it_is_a_star(stored: Gateway) -> None:
    visitor = replace(NOBODY, origin="https://anywhere.org")
    assert await admit(stored, "shared", visitor, allowed_origins=("https://example.com", "*"))


# Running


@pytest.mark.parametrize("as_owner", [True, False])
async def test_who_has_a_run_going_on_waits_where_that_is_wanted(as_owner: bool, stored: Gateway) -> None:
    busy = Visitor("busy", "secret", None)
    refused = await refusal(stored, "others", busy, as_owner=as_owner, check_running=True)
    assert refused.message == RUNNING == "You have a running interaction, please wait for it to finish!"
    assert refused.temporary
    assert await admit(stored, "others", busy, as_owner=as_owner)


async def test_who_has_none_going_on_doesnt_wait(stored: Gateway) -> None:
    for visitor in (NOBODY, OWNER, Visitor("nobody", "", None)):
        assert await admit(stored, "others", visitor, check_running=True)
    assert await admit(stored, "shared", OWNER, as_owner=True, check_running=True)


async def test_who_doesnt_know_the_token_isnt_told_whether_a_user_has_a_run_going_on(stored: Gateway) -> None:
    stranger = Visitor("busy", "wrong", None)
    assert (await refusal(stored, "others", stranger, as_owner=True, check_running=True)).message == NOT_AVAILABLE


# Visitors


@pytest.mark.parametrize(
    ("query", "user_id", "token"),
    [
        (b"", "", ""),
        (b"user_id=guest&token=secret", "guest", "secret"),
        (b"user_id=%E6%95%B0&token=a%20b%26c", "数", "a b&c"),
        (b"user_id=a&user_id=b", "b", ""),
        (b"user_id=%ff%ed%a0%80", "\ufffd" * 4, ""),
        (b"user_id&token", "", ""),
    ],
)
def test_a_visitor_says_in_the_query_who_he_is(query: bytes, user_id: str, token: str) -> None:
    assert Visitor.of(connection(query)) == Visitor(user_id, token, None)


def test_a_visitors_page_says_where_it_is_from() -> None:
    assert Visitor.of(connection(b"", (b"origin", b"https://example.com"))).origin == "https://example.com"


def test_a_visitors_token_is_never_shown() -> None:
    assert "secret" not in repr(OWNER)


def test_a_refusal_has_a_word_for_what_is_wrong() -> None:
    codes = {1013: "try_again", 4503: "not_allowed", 4504: "no_such_recording", 4505: "bad_request"}
    for code, name in codes.items():
        refused = XAgentWebSocketConnectError("why", code)
        assert (refused.code, refused.name, refused.temporary) == (code, name, code == 1013)


def test_the_module_is_where_the_seed_has_the_name() -> None:
    import share

    assert share.XAgentWebSocketConnectError is XAgentWebSocketConnectError
    assert Path(share.__file__).name == "__init__.py"
