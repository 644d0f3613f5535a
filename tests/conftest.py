from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import databases
import pytest
from hypothesis import HealthCheck, settings

from storage.database import Gateway, open_database
from storage.interactions import InteractionCRUD
from storage.recordings import RecordingCRUD
from storage.schema import create_tables
from storage.shares import ShareCRUD
from tests.browser import chromium, pages, require_chromium, shared_server

__all__ = ["chromium", "pages", "shared_server"]  # fixtures

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


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[databases.Database]:
    """A connected SQLite database in a file of its own, with all tables."""
    async with open_database(f"sqlite:///{quote(str(tmp_path / 'replay.db'))}") as database:
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
