from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import databases
import pytest

from share.formats import read_recording
from share.importing import ImportRefused, store_recording
from storage.errors import DatabaseError
from storage.gateway import Gateway
from storage.interactions import InteractionCRUD
from storage.models import Interaction, Recording, Row, Visibility
from storage.recordings import RecordingCRUD
from storage.workspace import Workspace, record_directory

DATA = Path(__file__).parent / "data"
RUN = Interaction("run", "guest", create_time="2023-11-17 10:00:00")
RECORDING = Recording(RUN, [Row("n1", "run", step=0), Row("n2", "run", step=1)], {"a/figure.png": b"picture"})


@pytest.fixture
def base_dir(tmp_path: Path) -> Path:
    return tmp_path / "base"


def files(base_dir: Path) -> dict[str, bytes]:
    """All that lies in the base dir, folders too (with a / behind their names)."""
    return {
        str(path.relative_to(base_dir)) + ("/" if path.is_dir() else ""): b"" if path.is_dir() else path.read_bytes()
        for path in base_dir.rglob("*")
    }


async def rows(gateway: Gateway) -> int:
    record = await gateway.fetch_one(databases.core.text("SELECT count(*) AS n FROM raw"))
    assert record is not None
    return int(record["n"])


async def test_rows_share_and_files_are_stored(
    base_dir: Path, interactions: InteractionCRUD, recordings: RecordingCRUD
) -> None:
    progress: list[int] = []
    assert await store_recording(
        recordings, base_dir, RECORDING, visibility=Visibility.UNLISTED, progress=progress.append
    )
    assert sum(progress) == 2
    assert await recordings.holds(RECORDING)
    assert await interactions.get_shared_interaction("run")
    assert Workspace(record_directory(base_dir, RUN)).read_file("a/figure.png", 100) == b"picture"
    assert ".workspace" not in "".join(files(base_dir))


async def test_what_is_private_is_not_shared(
    base_dir: Path, interactions: InteractionCRUD, recordings: RecordingCRUD
) -> None:
    assert await store_recording(recordings, base_dir, RECORDING, visibility=Visibility.PRIVATE)
    assert await interactions.get_shared_interaction("run") is None


@pytest.mark.parametrize("file", sorted([*DATA.glob("golden/*.recording.json"), *DATA.glob("swe-agent/*.traj")]))
async def test_recorded_runs_are_stored_once(file: Path, base_dir: Path, recordings: RecordingCRUD) -> None:
    recording = read_recording(file)
    assert await store_recording(recordings, base_dir, recording, visibility=Visibility.UNLISTED) is True
    before = files(base_dir)
    assert await store_recording(recordings, base_dir, recording, visibility=Visibility.UNLISTED) is False
    assert files(base_dir) == before
    assert await recordings.holds(recording)
    workspace = Workspace(record_directory(base_dir, recording.interaction))
    for name, content in recording.workspace.items():
        assert workspace.read_file(name, 10**9) == content


async def test_a_trajectory_whose_file_was_copied_is_stored_once(
    base_dir: Path, tmp_path: Path, recordings: RecordingCRUD
) -> None:
    original = next(DATA.glob("swe-agent/*simple.traj"))
    copied = Path(shutil.copyfile(original, tmp_path / "copy.traj"))
    assert await store_recording(recordings, base_dir, read_recording(original), visibility=Visibility.UNLISTED) is True
    assert await store_recording(recordings, base_dir, read_recording(copied), visibility=Visibility.UNLISTED) is False


@pytest.mark.parametrize(
    "other",
    [
        Recording(replace(RUN, description="another"), RECORDING.rows, {"b": b"new"}),
        Recording(RUN, RECORDING.rows[:1], {"b": b"new"}),
        Recording(replace(RUN, interaction_id="other"), [Row("n1", "other")], {"b": b"new"}),
    ],
    ids=["description", "rows", "node_id"],
)
async def test_what_differs_from_what_is_stored_is_refused_and_nothing_changes(
    other: Recording, gateway: Gateway, base_dir: Path, interactions: InteractionCRUD, recordings: RecordingCRUD
) -> None:
    await store_recording(recordings, base_dir, RECORDING, visibility=Visibility.PRIVATE)
    before = files(base_dir)
    with pytest.raises(ImportRefused, match="nothing was changed"):
        await store_recording(recordings, base_dir, other, visibility=Visibility.UNLISTED)
    assert await recordings.holds(RECORDING)
    assert await rows(gateway) == 2
    assert await interactions.get_shared_interaction("run") is None
    assert {name: content for name, content in files(base_dir).items() if not name.endswith("/")} == {
        name: content for name, content in before.items() if not name.endswith("/")
    }


async def test_a_refused_import_leaves_no_folder_behind(base_dir: Path, recordings: RecordingCRUD) -> None:
    await store_recording(recordings, base_dir, RECORDING, visibility=Visibility.PRIVATE)
    before = files(base_dir)
    other = Recording(replace(RUN, interaction_id="other"), [Row("n1", "other")], {"b": b"new"})
    with pytest.raises(ImportRefused):
        await store_recording(recordings, base_dir, other, visibility=Visibility.PRIVATE)
    assert files(base_dir) == before


async def test_a_refusal_says_whose_rows_are_in_the_way(base_dir: Path, recordings: RecordingCRUD) -> None:
    await store_recording(recordings, base_dir, RECORDING, visibility=Visibility.PRIVATE)
    other = Recording(replace(RUN, interaction_id="other"), [Row("n1", "other")])
    with pytest.raises(ImportRefused) as refusal:
        await store_recording(recordings, base_dir, other, visibility=Visibility.PRIVATE)
    assert "delete other" not in str(refusal.value)  # there is no such recording, and deleting it makes no room


async def test_the_same_rows_with_other_files_are_another_recording(base_dir: Path, recordings: RecordingCRUD) -> None:
    await store_recording(recordings, base_dir, RECORDING, visibility=Visibility.PRIVATE)
    with pytest.raises(ImportRefused):
        await store_recording(
            recordings,
            base_dir,
            replace(RECORDING, workspace={"a/figure.png": b"other"}),
            visibility=Visibility.PRIVATE,
        )


async def test_an_error_of_the_callers_takes_everything_back(
    gateway: Gateway, base_dir: Path, recordings: RecordingCRUD
) -> None:
    def interrupt(rows: int) -> None:
        raise KeyError(rows)

    with pytest.raises(KeyError):
        await store_recording(recordings, base_dir, RECORDING, visibility=Visibility.UNLISTED, progress=interrupt)
    assert await rows(gateway) == 0
    assert not [name for name in files(base_dir) if not name.endswith("/")]
    assert await store_recording(recordings, base_dir, RECORDING, visibility=Visibility.UNLISTED)


async def test_files_that_cant_be_put_in_place_take_the_rows_back(
    gateway: Gateway, base_dir: Path, interactions: InteractionCRUD, recordings: RecordingCRUD
) -> None:
    root = record_directory(base_dir, RUN) / "workspace"
    root.parent.mkdir(parents=True)
    root.write_bytes(b"a file in the place of the folder")
    with pytest.raises(OSError):
        await store_recording(recordings, base_dir, RECORDING, visibility=Visibility.UNLISTED)
    assert await rows(gateway) == 0
    assert await interactions.get_interaction("run") is None
    assert root.read_bytes() == b"a file in the place of the folder"
    assert [path.name for path in root.parent.iterdir()] == ["workspace"]


async def test_a_base_dir_that_cant_be_written_is_an_os_error(
    gateway: Gateway, tmp_path: Path, recordings: RecordingCRUD
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError):
        await store_recording(recordings, tmp_path / "file", RECORDING, visibility=Visibility.UNLISTED)
    assert await rows(gateway) == 0


@pytest.mark.sqlite
async def test_a_failed_commit_leaves_no_files(
    database: databases.Database, gateway: Gateway, base_dir: Path, recordings: RecordingCRUD
) -> None:
    with contextlib.closing(sqlite3.connect(database.url.database, isolation_level=None)) as sql:
        sql.execute("CREATE TABLE parent (id INTEGER PRIMARY KEY)")
        sql.execute("CREATE TABLE child (id INTEGER REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED)")
        sql.execute("CREATE TRIGGER orphan AFTER INSERT ON raw BEGIN INSERT INTO child VALUES (NEW.id); END")
    with pytest.raises(DatabaseError, match="FOREIGN KEY"):
        await store_recording(recordings, base_dir, RECORDING, visibility=Visibility.UNLISTED)
    assert await rows(gateway) == 0
    assert not [name for name in files(base_dir) if not name.endswith("/")]


async def test_a_remainder_of_an_import_that_was_killed_gives_way(base_dir: Path, recordings: RecordingCRUD) -> None:
    root = record_directory(base_dir, RUN) / "workspace"
    root.mkdir(parents=True)
    (root / "remainder").write_bytes(b"old")
    await store_recording(recordings, base_dir, RECORDING, visibility=Visibility.UNLISTED)
    assert [str(path.relative_to(root)) for path in sorted(root.rglob("*"))] == ["a", "a/figure.png"]


async def test_a_caller_who_leaves_at_any_moment_leaves_all_or_nothing(
    gateway: Gateway, base_dir: Path, interactions: InteractionCRUD, recordings: RecordingCRUD
) -> None:
    for turns in range(0, 300, 3):
        interaction_id = f"run{turns}"
        recording = Recording(
            replace(RUN, interaction_id=interaction_id), [Row(f"n{turns}", interaction_id)], {"file": b"content"}
        )
        task = asyncio.create_task(store_recording(recordings, base_dir, recording, visibility=Visibility.UNLISTED))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    await gateway.drain()
    stored = {listed.interaction.interaction_id for listed in await interactions.list_interactions()}
    whole = {path.parent.parent.name for path in base_dir.rglob("file") if path.parent.name == "workspace"}
    assert whole == stored
    assert not list(base_dir.rglob(".workspace-*"))


@pytest.mark.parametrize("change", [lambda base: base, lambda base: base / "sub" / ".." / "data"])
async def test_a_base_dir_may_be_written_in_any_way(
    change: Callable[[Path], Path], base_dir: Path, recordings: RecordingCRUD
) -> None:
    (base_dir / "sub").mkdir(parents=True)
    assert await store_recording(recordings, change(base_dir), RECORDING, visibility=Visibility.UNLISTED)
    assert Workspace(record_directory(change(base_dir), RUN)).read_file("a/figure.png", 100) == b"picture"


@pytest.mark.parametrize("name", ["../../escaped", "/tmp/escaped", "..", ""])
async def test_a_file_that_would_lie_outside_is_refused(
    name: str, gateway: Gateway, base_dir: Path, recordings: RecordingCRUD
) -> None:
    with pytest.raises(ValueError, match="expected a path inside the workspace"):
        await store_recording(
            recordings, base_dir, replace(RECORDING, workspace={name: b"x"}), visibility=Visibility.UNLISTED
        )
    assert await rows(gateway) == 0


@pytest.mark.parametrize("interaction_id", ["../run", "", "a/b"])
async def test_an_id_that_is_not_safe_is_refused(
    interaction_id: str, gateway: Gateway, base_dir: Path, recordings: RecordingCRUD
) -> None:
    recording = replace(RECORDING, interaction=replace(RUN, interaction_id=interaction_id))
    with pytest.raises(ValueError, match="interaction id"):
        await store_recording(recordings, base_dir, recording, visibility=Visibility.UNLISTED)
    assert not base_dir.exists()
    assert await rows(gateway) == 0


async def test_two_who_import_the_same_at_once_store_it_once(base_dir: Path, recordings: RecordingCRUD) -> None:
    imports: list[Any] = [
        store_recording(recordings, base_dir, RECORDING, visibility=Visibility.UNLISTED) for _ in range(5)
    ]
    assert sorted(await asyncio.gather(*imports)) == [False] * 4 + [True]
    assert Workspace(record_directory(base_dir, RUN)).read_file("a/figure.png", 100) == b"picture"
    assert not list(base_dir.rglob(".workspace-*"))
