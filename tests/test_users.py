from __future__ import annotations

import inspect
from dataclasses import replace

import pytest
from sqlalchemy import insert

from storage import users as users_module
from storage.gateway import Gateway
from storage.models import User
from storage.schema import users
from storage.users import UserCRUD, user_is_valid

GUEST = User("guest", "Guest", name="guest", token="xagent", is_beta=True)


@pytest.fixture
async def crud(gateway: Gateway) -> UserCRUD:
    await gateway.execute(insert(users).values(user_id="guest", email="Guest", name="guest", token="xagent", is_beta=1))
    return UserCRUD(gateway)


async def test_a_user_is_found_by_his_id(crud: UserCRUD) -> None:
    assert await crud.get_user("guest") == GUEST


@pytest.mark.parametrize("user_id", ["", "nobody", "GUEST", "guest ", "%", "guest' OR '1'='1", "guest\0"])
async def test_a_user_is_found_by_nothing_else(user_id: str, crud: UserCRUD) -> None:
    assert await crud.get_user(user_id) is None


@pytest.mark.parametrize(("deleted", "found"), [(True, False), (False, True), (None, True)])
async def test_a_deleted_user_is_not_found(deleted: bool | None, found: bool, gateway: Gateway) -> None:
    await gateway.execute(insert(users).values(user_id="u", email="e", deleted=deleted))
    assert (await UserCRUD(gateway).get_user("u") is not None) == found


async def test_a_fresh_database_has_no_user_whose_token_everybody_knows(gateway: Gateway) -> None:
    assert await UserCRUD(gateway).get_user("guest") is None


@pytest.mark.parametrize(
    ("stored", "given", "valid"),
    [
        ("xagent", "xagent", True),
        ("数据 é", "数据 é", True),
        ("xagent", "XAGENT", False),
        ("xagent", "xagent ", False),
        ("xagent", "xagen", False),
        ("xagent", "", False),
        ("", "", False),
        (None, "", False),
        (None, "None", False),
        ("xagent", "\ud800", False),
        ("xagent", "xagent\0", False),
        ("é", "e\u0301", False),
        ("\udcff", "guess", False),  # what the database makes of a token that is no UTF-8
    ],
)
def test_a_token_is_the_users_or_it_isnt(stored: str | None, given: str, valid: bool) -> None:
    assert user_is_valid(replace(GUEST, token=stored), given) is valid


@pytest.mark.parametrize(("available", "valid"), [(True, True), (False, False), (None, False)])
def test_a_user_who_isnt_available_is_not_valid(available: bool | None, valid: bool) -> None:
    assert user_is_valid(replace(GUEST, available=available), "xagent") is valid


def test_tokens_are_compared_in_constant_time() -> None:
    assert "compare_digest" in inspect.getsource(user_is_valid)
    # The database has to look for a token alone; whom it finds is let in only after one more comparison here.
    assert "token ==" not in inspect.getsource(users_module).replace("users.c.token == token", "")
    assert "user_is_valid(" in inspect.getsource(UserCRUD.get_user_by_token)


def test_a_token_is_never_shown() -> None:
    assert "xagent" not in repr(GUEST)
