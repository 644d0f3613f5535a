"""`replay-share user …`, and the user that the first start makes, as processes on a database in a file."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.any_database import database_url, execute
from tests.server import PATIENCE_SECONDS, UVICORN, Server, run, run_here, start_server
from tests.test_api import ROOT, recording

FIRST = re.compile(r"^The first user is (\S+), with the token (\S+)$", re.MULTILINE)
ADDED = re.compile(r"([0-9a-f]{32})  (.*)\ntoken  ([A-Za-z0-9_-]{43})\n")


def add(folder: Path, email: str, *options: str) -> tuple[str, str]:
    """Make a user; his id and token."""
    done = run_here("user", "add", email, *options, folder=folder)
    said = ADDED.fullmatch(done.stdout)
    assert done.returncode == 0 and said and said[2] == email, done
    return said[1], said[3]


def users(folder: Path) -> list[Any]:
    return execute(
        database_url(folder / "data"), "SELECT user_id, email, name, token, available FROM users ORDER BY id"
    )


def ask(server: Server, token: str, method: str = "GET", path: str = "/links", **options: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer {token}"}
    url = f"{server.http_url}{ROOT}{path}"
    return httpx.request(method, url, headers=headers, trust_env=False, timeout=PATIENCE_SECONDS, **options)


def files_with(folder: Path, secret: str) -> set[str]:
    """The names of the files in which a secret stands; those of the database are one."""
    found = (path for path in folder.rglob("*") if path.is_file() and secret.encode() in path.read_bytes())
    return {path.name.partition("-")[0] for path in found}


# Commands


def test_a_user_is_made_and_his_token_works(tmp_path: Path) -> None:
    done = run("user", "add", "me@example.org", "--name", "数 Me", folder=tmp_path)
    said = ADDED.fullmatch(done.stdout)
    assert (done.returncode, done.stderr) == (0, "") and said, done
    assert users(tmp_path) == [(said[1], "me@example.org", "数 Me", said[3], 1)]
    with start_server(tmp_path) as server:
        assert ask(server, said[3]).status_code == 200
        assert not FIRST.search(server.log)


def test_who_has_no_name_is_called_as_his_email_begins(tmp_path: Path) -> None:
    add(tmp_path, "me@example.org")
    add(tmp_path, "nobody")
    assert [user[2] for user in users(tmp_path)] == ["me", "nobody"]


def test_an_email_is_taken_once_and_what_was_there_stays(tmp_path: Path) -> None:
    add(tmp_path, "me@example.org")
    before = users(tmp_path)
    done = run("user", "add", "me@example.org", folder=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: there is a user with the email me@example.org already\n"
    assert users(tmp_path) == before


@pytest.mark.parametrize(
    "arguments", [("",), ("a\nb",), ("a\x1b[31m",), ("x" * 256,), ("me", "--name", "x" * 256), (os.fsdecode(b"\xff"),)]
)
def test_what_cant_be_an_email_or_a_name_is_refused(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = run_here("user", "add", *arguments, folder=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: expected an email and a name of at most 255 printable characters\n"
    assert not (tmp_path / "data" / "replay.db").exists() or users(tmp_path) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("user", "add", "me", "--name", os.fsdecode(b"\xff")),
        ("user", "disable", os.fsdecode(b"\xff")),
        ("user", "rotate", os.fsdecode(b"\xff")),
    ],
)
def test_what_is_no_text_is_an_error_of_one_line(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = run_here(*arguments, folder=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1, done.stderr


def test_users_are_listed_without_their_tokens(tmp_path: Path) -> None:
    assert "no users yet" in run_here("user", "list", folder=tmp_path).stdout
    made = dict(add(tmp_path, email) for email in ("one@example.org", "数@example.org"))
    disabled = next(iter(made))
    run_here("user", "disable", disabled, folder=tmp_path)
    done = run("user", "list", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert {line.split()[0]: line.split()[1] for line in done.stdout.splitlines()} == {
        user_id: "disabled" if user_id == disabled else "available" for user_id in made
    }
    assert "one@example.org" in done.stdout and "数@example.org" in done.stdout
    assert not any(token in done.stdout for token in made.values())


@pytest.mark.parametrize("command", ["disable", "rotate"])
def test_there_must_be_such_a_user(tmp_path: Path, command: str) -> None:
    done = run_here("user", command, "no\x1bbody", folder=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: there is no user no\\x1bbody; see  replay-share user list\n"


def test_a_disabled_user_is_refused_at_once_and_what_is_shared_stays_so(tmp_path: Path) -> None:
    user_id, token = add(tmp_path, "me@example.org")
    with start_server(tmp_path) as server:
        made = ask(server, token, "POST", "/recordings", json=recording()).json()
        private = ask(server, token, "POST", "/recordings", json=recording(), params={"visibility": "private"}).json()
        done = run("user", "disable", user_id, folder=tmp_path)
        assert (done.returncode, done.stdout) == (0, f"{user_id}  disabled\n")
        for method, path in (
            ("GET", "/links"),
            ("POST", "/recordings"),
            ("DELETE", f"/recordings/{made['id']}"),
            ("GET", f"/recordings/{private['id']}"),
            ("GET", f"/recordings/{made['id']}"),
        ):
            assert ask(server, token, method, path).status_code == 401
        query = {"user_id": user_id, "token": token}
        url = f"{server.http_url}{ROOT}/recordings/{private['id']}"
        assert httpx.get(url, params=query, trust_env=False).status_code == 404
        form = {**query, "interaction_id": made["id"]}
        answer = httpx.post(f"{server.http_url}/conv/deleteInteraction", data=form, trust_env=False)
        assert (answer.status_code, answer.json()["message"]) == (401, "user is not available!")
        assert httpx.get(f"{server.http_url}{ROOT}/recordings/{made['id']}", trust_env=False).status_code == 200
        assert httpx.get(made["link"]["url"], trust_env=False).status_code == 200
        assert run_here("user", "disable", user_id, folder=tmp_path).returncode == 0


def test_a_new_token_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    user_id, old = add(tmp_path, "me@example.org")
    with start_server(tmp_path) as server:
        made = ask(server, old, "POST", "/recordings", json=recording()).json()["id"]
        done = run("user", "rotate", user_id, folder=tmp_path)
        said = re.fullmatch(r"token  ([A-Za-z0-9_-]{43})\n", done.stdout)
        assert (done.returncode, done.stderr) == (0, "") and said and said[1] != old
        assert ask(server, old).status_code == 401
        assert ask(server, said[1], "DELETE", f"/recordings/{made}").status_code == 204
        run_here("user", "disable", user_id, folder=tmp_path)
        assert ask(server, said[1]).status_code == 401
        newest = run_here("user", "rotate", user_id, folder=tmp_path).stdout.split()[-1]
        assert ask(server, newest).status_code == 200
    assert files_with(tmp_path, newest) <= {"replay.db"}


def test_a_command_that_there_isnt_says_which_there_are(tmp_path: Path) -> None:
    done = run_here("user", "--help", folder=tmp_path)
    assert all(command in done.stdout for command in ("add", "list", "disable", "rotate"))
    assert run_here("user", "delete", folder=tmp_path).returncode == 2


# The first start


def test_the_first_start_makes_one_user_whose_token_is_shown_once(tmp_path: Path) -> None:
    assert run_here("list", folder=tmp_path).returncode == 0
    assert users(tmp_path) == []  # a command makes none
    with start_server(tmp_path, SHARE_LOG_LEVEL="DEBUG") as server:
        ((email, token),) = FIRST.findall(server.log)
        assert (email, len(token)) == ("owner", 43)
        assert ask(server, token, "POST", "/recordings", json=recording()).status_code == 201
        with_token = [line for line in server.log.splitlines() if token in line]
        assert with_token == [f"The first user is owner, with the token {token}"]
        for guess in ("owner", "password", "token", "secret", "admin", "replay", "123456", "None", token[:-1]):
            answer = httpx.post(f"{server.http_url}/user/login", data={"email": email, "token": guess}, trust_env=False)
            assert (answer.status_code, answer.json()["success"]) == (200, False)
            assert ask(server, guess).status_code == 401
        server.log_file.rename(tmp_path / "first.log")
    assert users(tmp_path) == [("owner", "owner", "owner", token, 1)]
    assert files_with(tmp_path, token) <= {"first.log", "replay.db"}
    with start_server(tmp_path) as server:
        assert "first user" not in server.log and token not in server.log
        assert ask(server, token).status_code == 200
    assert len(users(tmp_path)) == 1


def test_where_there_is_a_user_even_a_disabled_one_none_is_made(tmp_path: Path) -> None:
    user_id, _ = add(tmp_path, "me@example.org")
    run_here("user", "disable", user_id, folder=tmp_path)
    with start_server(tmp_path) as server:
        assert "first user" not in server.log
    assert [user[0] for user in users(tmp_path)] == [user_id]


def test_of_two_processes_that_start_at_once_on_an_empty_database_one_makes_the_user(tmp_path: Path) -> None:
    program = (*UVICORN, "--workers", "2")
    with start_server(tmp_path, program=program) as server:
        log = server.wait_for_log("Application startup complete", 2)
        assert len(FIRST.findall(log)) == 1
        assert ask(server, FIRST.findall(log)[0][1]).status_code == 200
    assert len(users(tmp_path)) == 1
