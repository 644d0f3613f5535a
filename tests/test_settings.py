from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from share.settings import SettingsError, XAgentServerEnv
from storage.database import DatabaseURL

ROOT = Path(__file__).parent.parent
NO_FILE = Path("no .env here")
VARIABLES = [f"SHARE_{field.name.upper()}" for field in dataclasses.fields(XAgentServerEnv)]


def load(**environ: str) -> XAgentServerEnv:
    return XAgentServerEnv.load(environ, NO_FILE)


def value(variable: str, text: str) -> Any:
    return getattr(load(**{variable: text}), variable.removeprefix("SHARE_").lower())


UPLOAD_LIMITS = [variable for variable in VARIABLES if re.fullmatch("SHARE_MAX_(UPLOAD|ROW|UNPACK).*", variable)]

GOOD: list[tuple[str, str, Any]] = [
    ("SHARE_BASE_DIR", "/srv/replay share", Path("/srv/replay share")),
    ("SHARE_BASE_DIR", "~/replays", Path.home() / "replays"),
    ("SHARE_BASE_DIR", "../data", Path("../data")),
    ("SHARE_DATABASE_URL", "postgresql://u:p@host/name?ssl=true", "postgresql://u:p@host/name?ssl=true"),
    ("SHARE_CREATE_TABLES", "auto", None),
    ("SHARE_CREATE_TABLES", "1", True),
    ("SHARE_CREATE_TABLES", "false", False),
    ("SHARE_DATABASE_WAIT_SECONDS", "90", 90),
    ("SHARE_HOST", "0.0.0.0", "0.0.0.0"),
    ("SHARE_HOST", "::", "::"),
    ("SHARE_PORT", "0", 0),
    ("SHARE_PORT", "65535", 65535),
    ("SHARE_PORT", "0080", 80),
    *[("SHARE_CHECK_RUNNING", text, True) for text in ("true", "TRUE", "1", "yes", "on", "On")],
    *[("SHARE_CHECK_RUNNING", text, False) for text in ("false", "False", "0", "no", "off")],
    ("SHARE_PAUSE_SECONDS", "1-3", (1, 3)),
    ("SHARE_PAUSE_SECONDS", "2 - 2", (2, 2)),
    ("SHARE_PAUSE_SECONDS", "0-0", (0, 0)),
    ("SHARE_PAUSE_SECONDS", "0", (0, 0)),
    ("SHARE_PAUSE_SECONDS", "0.0", (0, 0)),
    ("SHARE_PAUSE_SECONDS", "0.5", (0.5, 0.5)),
    ("SHARE_PAUSE_SECONDS", "2", (2, 2)),
    ("SHARE_PAUSE_SECONDS", "86400", (86400, 86400)),
    ("SHARE_HEARTBEAT_SECONDS", "0.1", 0.1),
    ("SHARE_HEARTBEAT_SECONDS", "86400", 86400),
    ("SHARE_REQUIRE_SHARED", "off", False),
    ("SHARE_REQUIRE_SHARED", "yes", True),
    ("SHARE_MAX_VIEWERS", "1", 1),
    ("SHARE_MAX_VIEWERS", "1000000", 1_000_000),
    ("SHARE_ALLOWED_ORIGINS", "*", ("*",)),
    ("SHARE_ALLOWED_ORIGINS", "https://Example.COM/", ("https://example.com",)),
    ("SHARE_ALLOWED_ORIGINS", "https://a.org, http://localhost:3000,", ("https://a.org", "http://localhost:3000")),
    ("SHARE_ALLOWED_ORIGINS", "http://[::1]:8090", ("http://[::1]:8090",)),
    ("SHARE_EMBED_ORIGINS", "*", ("*",)),
    ("SHARE_EMBED_ORIGINS", "none", ()),
    ("SHARE_EMBED_ORIGINS", "https://A.org/, http://localhost:3000", ("https://a.org", "http://localhost:3000")),
    ("SHARE_SEND_TIMEOUT_SECONDS", "1e2", 100),
    ("SHARE_CACHE_BYTES", "0", 0),
    ("SHARE_CACHE_BYTES", "1099511627776", 2**40),
    *[(variable, "1", 1) for variable in UPLOAD_LIMITS],
    ("SHARE_MAX_UPLOAD_BYTES", "1099511627776", 2**40),
    ("SHARE_MAX_UPLOAD_ROWS", "2147483648", 2**31),
    ("SHARE_MAX_UPLOAD_FILES", "0", 0),
    ("SHARE_MAX_UNPACKED_BYTES", "0", 0),
    ("SHARE_LOG_LEVEL", "debug", "DEBUG"),
    ("SHARE_LOG_LEVEL", "Error", "ERROR"),
    ("SHARE_LOG_FORMAT", "text", "text"),
    ("SHARE_LOG_FORMAT", "JSON", "json"),
]

BAD = [
    ("SHARE_BASE_DIR", "~nobody-of-that-name/data", ""),
    *[("SHARE_PORT", text, "a whole number from 0 to 65535") for text in ("65536", "-1", "8090.0", "eighty", "0x50")],
    *[("SHARE_PORT", text, "a whole number") for text in ("٨٠", "8_0", "+80", "9" * 5000)],
    *[("SHARE_CHECK_RUNNING", text, "true or false") for text in ("maybe", "2", "t", "none", "null")],
    *[("SHARE_PAUSE_SECONDS", text, "a range of whole seconds") for text in ("3-1", "-1", "1-", "-", "1.5-3", "1-2-3")],
    *[("SHARE_PAUSE_SECONDS", text, "a range of whole seconds") for text in ("nan", "inf", "1e9", "1s", "86401")],
    ("SHARE_PAUSE_SECONDS", "1-99999", "a range of whole seconds"),
    *[("SHARE_HEARTBEAT_SECONDS", text, "above 0, at most 86400") for text in ("0", "-1", "nan", "inf", "86401", "x")],
    ("SHARE_REQUIRE_SHARED", "shared", "true or false"),
    *[("SHARE_CREATE_TABLES", text, "auto, true or false") for text in ("maybe", "2", "none")],
    *[("SHARE_DATABASE_WAIT_SECONDS", text, "above 0, at most 86400") for text in ("0", "-1", "for ever")],
    *[("SHARE_MAX_VIEWERS", text, "a whole number from 1 to 1000000") for text in ("0", "-1", "1000001", "1e3", "all")],
    *[("SHARE_ALLOWED_ORIGINS", text, "* or a list of origins") for text in ("example.com", "https://", "https://a/b")],
    *[("SHARE_ALLOWED_ORIGINS", text, "* or a list of origins") for text in ("https://a b", "null", "//a.org", ",")],
    ("SHARE_ALLOWED_ORIGINS", "https://*.example.com", "* or a list of origins"),
    *[("SHARE_EMBED_ORIGINS", text, "*, none, or a list") for text in ("a.org", "https://a.org/b", "none,*", ",")],
    *[
        ("SHARE_EMBED_ORIGINS", f"https://a.org{text}", "*, none, or a list")
        for text in ("; script-src *", "'", ":x", "é")
    ],
    *[("SHARE_SEND_TIMEOUT_SECONDS", text, "above 0, at most 86400") for text in ("0", "none", "-0.0")],
    *[("SHARE_CACHE_BYTES", text, "a whole number from 0 to") for text in ("-1", "64MiB", "1099511627777")],
    *[(variable, text, "a whole number from") for variable in UPLOAD_LIMITS for text in ("-1", "1e6", "9999999999999")],
    *[("SHARE_MAX_UPLOAD_BYTES", text, "a whole number from 1 to 1099511627776") for text in ("0", "1099511627777")],
    ("SHARE_MAX_UPLOAD_ROWS", "0", "a whole number from 1 to 2147483648"),
    *[("SHARE_LOG_LEVEL", text, "DEBUG, INFO, WARNING or ERROR") for text in ("verbose", "10", "TRACE", "NOTSET")],
    *[("SHARE_LOG_FORMAT", text, "text or json") for text in ("yaml", "true", "{}")],
]


def test_there_is_a_good_and_a_bad_value_here_for_every_variable() -> None:
    anything_goes = {"SHARE_DATABASE_URL", "SHARE_HOST"}
    assert {variable for variable, *_ in GOOD} == set(VARIABLES)
    assert {variable for variable, *_ in BAD} == set(VARIABLES) - anything_goes


@pytest.mark.parametrize(("variable", "text", "expected"), GOOD)
def test_a_variable_has_its_value(variable: str, text: str, expected: Any) -> None:
    assert value(variable, text) == expected
    assert value(variable, f"  {text}\t") == expected


@pytest.mark.parametrize(("variable", "text", "expected"), BAD)
def test_a_value_that_cant_be_is_refused_with_its_name_what_it_may_be_and_what_came(
    variable: str, text: str, expected: str
) -> None:
    with pytest.raises(SettingsError) as refusal:
        value(variable, text)
    message = str(refusal.value)
    assert message.startswith(f"{variable}: expected ")
    assert expected in message
    assert message.endswith(f", got {text!r}")


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize("text", ["", "   "])
def test_a_variable_that_is_empty_counts_as_not_set(variable: str, text: str) -> None:
    assert load(**{variable: text}) == XAgentServerEnv()


def test_nothing_set_is_all_defaults() -> None:
    assert load() == XAgentServerEnv()
    assert load(PORT="1", share_port="2", XSHARE_PORT="3", SHARE_NOTHING="4") == XAgentServerEnv()


def test_settings_dont_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        XAgentServerEnv().port = 1  # type: ignore[misc]


@pytest.mark.parametrize(("variable", "text", "expected"), GOOD)
def test_a_variable_may_stand_in_the_env_file(variable: str, text: str, expected: Any, tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text(f"# a comment\n\nOTHER=1\n{variable}={text}\n", encoding="utf-8")
    name = variable.removeprefix("SHARE_").lower()
    assert getattr(XAgentServerEnv.load({}, env_file), name) == expected
    env_file.write_text(f'{variable} = "{text}"', encoding="utf-8")
    assert getattr(XAgentServerEnv.load({}, env_file), name) == expected


def test_the_environment_is_above_the_env_file(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("SHARE_PORT=1\nSHARE_HOST=file\n", encoding="utf-8")
    settings = XAgentServerEnv.load({"SHARE_PORT": "2"}, env_file)
    assert (settings.port, settings.host) == (2, "file")


def test_a_variable_that_is_empty_doesnt_hide_the_env_file(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("SHARE_PORT=1\n", encoding="utf-8")
    assert XAgentServerEnv.load({"SHARE_PORT": ""}, env_file).port == 1


def test_a_bad_value_in_the_env_file_is_refused(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("SHARE_PORT=many\n", encoding="utf-8")
    with pytest.raises(SettingsError, match="SHARE_PORT: expected a whole number from 0 to 65535, got 'many'"):
        XAgentServerEnv.load({}, env_file)


def test_an_env_file_that_is_no_utf8_is_refused_by_its_name(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_bytes(b"SHARE_HOST=\xff")
    with pytest.raises(SettingsError, match=re.escape(str(env_file))):
        XAgentServerEnv.load({}, env_file)


def test_an_env_file_that_is_a_folder_is_none(tmp_path: Path) -> None:
    assert XAgentServerEnv.load({}, tmp_path) == XAgentServerEnv()


def test_a_process_reads_its_environment_and_its_env_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SHARE_PORT=1234\nSHARE_HOST=file\n", encoding="utf-8")
    code = "from share.settings import XAgentServerEnv as E; s = E.load(); print(s.host, s.port)"
    environ = {**os.environ, "SHARE_HOST": "process", "PYTHONPATH": str(ROOT)}
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environ, capture_output=True, text=True, check=True, timeout=60
    )
    assert told.stdout == "process 1234\n"


@pytest.mark.parametrize("base_dir", ["data", "/srv/data", "a b", "100%", "a#b", "a?b", "数据", "a%20b", "../a", "."])
def test_the_database_lies_in_the_base_dir(base_dir: str) -> None:
    url = DatabaseURL(XAgentServerEnv(base_dir=Path(base_dir)).url)
    assert Path(url.database) == Path(base_dir) / "replay.db"
    assert url.dialect == "sqlite"
    assert url.options == {}


def test_a_database_that_is_set_is_that() -> None:
    assert XAgentServerEnv(database_url="mysql://host/name").url == "mysql://host/name"


# README.md


def documented() -> dict[str, str]:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| *`(SHARE_\w+)` *\| *(.*?) *\|.*\|$", readme, re.MULTILINE)
    assert len(rows) == len(dict(rows)), "a variable stands there twice"
    return {variable: default.strip("`") for variable, default in rows}


def test_the_readme_lists_exactly_the_variables() -> None:
    assert sorted(documented()) == sorted(VARIABLES)


@pytest.mark.parametrize("variable", VARIABLES)
def test_the_readme_has_the_default(variable: str) -> None:
    default = documented()[variable]
    if variable == "SHARE_DATABASE_URL":
        assert default == "sqlite:///<base dir>/replay.db"
        assert XAgentServerEnv(base_dir=Path("here")).url == "sqlite:///here/replay.db"
    else:
        assert load(**{variable: default}) == XAgentServerEnv()
        assert default
