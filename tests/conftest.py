from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import databases
import pytest
from hypothesis import HealthCheck, settings

from storage.database import open_database
from storage.gateway import Gateway
from storage.interactions import InteractionCRUD
from storage.migrations import create_tables
from storage.recordings import RecordingCRUD
from storage.shares import ShareCRUD
from tests.any_database import KINDS, answers, database_url
from tests.any_database import databases as test_databases
from tests.browser import chromium, pages, require_chromium, shared_server

__all__ = ["chromium", "pages", "shared_server"]  # fixtures

# What these test has nothing to do with a database.
WITHOUT_DATABASE = "archive bundle channel content deploy formats frames json_split json_text layers outline "
WITHOUT_DATABASE += "protocol_doc render timeline wire wire_v1 workspace"
# To these it makes no difference what the database is: `make test` runs them on SQLite alone.
ONCE = "balancer browser browser_connection browser_content browser_gallery browser_player client embed embedding "
ONCE += "export_command fuzz_v1 leaks logs metrics openapi pages policy record_command serving settings sockets "
ONCE += "stops watch"

# A busy machine is no error.
settings.register_profile("unhurried", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

# Started in the background of a shell, this process ignores Ctrl-C, and so would every command that it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if "chromium" in getattr(item, "fixturenames", ()):
        require_chromium()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--database", choices=KINDS, default="sqlite", help="what the tests run on")


def pytest_configure(config: pytest.Config) -> None:
    test_databases.kind = config.getoption("--database")
    if test_databases.kind != "sqlite" and not answers(test_databases.kind):
        pytest.exit(f"{test_databases.kind} can't be reached", 1)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.stem[5:] in ONCE.split():
            item.add_marker("once")
    left_out = {item for item in items if not _is_about(item, test_databases.kind)}
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def _is_about(item: pytest.Item, kind: str) -> bool:
    about = [name for name in ("sqlite", "postgresql", "mysql") if item.get_closest_marker(name)]
    if about:
        return test_databases.dialect in about
    return kind == "sqlite" or item.path.stem[5:] not in WITHOUT_DATABASE.split()


def pytest_sessionfinish() -> None:
    test_databases.close()


@pytest.fixture(autouse=True)
def databases_are_removed(request: pytest.FixtureRequest) -> Iterator[None]:
    test_databases.connect()  # its thread is no test's
    folder = request.getfixturevalue("tmp_path") if "tmp_path" in request.fixturenames else None
    yield
    if folder is not None:
        test_databases.remove(folder)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[databases.Database]:
    """A connected database of its own, with all tables."""
    async with open_database(database_url(tmp_path)) as database:
        await create_tables(Gateway(database))
        yield database


@pytest.fixture
async def gateway(database: databases.Database) -> AsyncIterator[Gateway]:
    gateway = Gateway(database)
    yield gateway
    await gateway.drain()


@pytest.fixture
def interactions(gateway: Gateway) -> InteractionCRUD:
    return InteractionCRUD(gateway)


@pytest.fixture
def shares(gateway: Gateway) -> ShareCRUD:
    return ShareCRUD(gateway)


@pytest.fixture
def recordings(gateway: Gateway) -> RecordingCRUD:
    return RecordingCRUD(gateway)
