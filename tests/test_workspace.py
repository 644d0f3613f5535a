from __future__ import annotations

import asyncio
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.models import Interaction
from storage.workspace import Workspace, is_safe_id, record_directory, remove_records

ENOUGH = 1_000


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path / "record")
    workspace.root.mkdir(parents=True)
    (workspace.root / "figure.png").write_bytes(b"picture")
    (workspace.root / "a" / "b").mkdir(parents=True)
    (workspace.root / "a" / "b" / "数据.csv").write_bytes(b"1,2")
    (tmp_path / "record" / "share.log").write_bytes(b"secret")
    (tmp_path / "secret").write_bytes(b"secret")
    return workspace


@pytest.fixture
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


# Reading


@pytest.mark.parametrize("name", ["figure.png", "./figure.png", "a/../figure.png", "a//b/./../../figure.png"])
def test_a_file_inside_is_read(name: str, workspace: Workspace) -> None:
    assert workspace.read_file(name, ENOUGH) == b"picture"


def test_a_file_in_a_folder_is_read(workspace: Workspace) -> None:
    assert workspace.read_file("a/b/数据.csv", ENOUGH) == b"1,2"


@pytest.mark.parametrize(
    "name",
    [
        "../share.log",
        "../../secret",
        "a/../../share.log",
        "../workspace/../share.log",
        "../" * 50 + "etc/passwd",
        "/etc/passwd",
        "//etc/passwd",
        "/proc/self/environ",
        "/dev/zero",
        "~/.bashrc",
        "figure.png\0",
        "\0",
        "figure.png/",
        "figure.png/..",
        "figure.png/../figure.png",
        "",
        ".",
        "..",
        "/",
        "a",
        "a/b/",
        "nothing",
        "..\\share.log",
        "%2e%2e/share.log",
        "x" * 256,
        "x/" * 5000,
        "../" * 5000,
        "\ud800",
        "\udcff",
        "figure.png\n",
        " figure.png",
    ],
)
def test_what_is_no_file_inside_isnt_there(name: str, workspace: Workspace) -> None:
    found = workspace.read_file(name, ENOUGH)
    assert found is None or (name.startswith("figure.png/") and found == b"picture")


def test_the_absolute_path_of_a_file_inside_is_of_that_file(workspace: Workspace) -> None:
    assert workspace.read_file(str(workspace.root / "figure.png"), ENOUGH) == b"picture"


@pytest.mark.parametrize("target", ["../../secret", "../share.log", "/etc/passwd", "nothing"])
def test_a_link_that_leads_out_isnt_there(target: str, workspace: Workspace) -> None:
    (workspace.root / "link").symlink_to(target)
    assert workspace.read_file("link", ENOUGH) is None


@pytest.mark.parametrize("target", ["../..", "/", "/etc", ".."])
def test_nothing_is_read_through_a_linked_folder_that_leads_out(target: str, workspace: Workspace) -> None:
    (workspace.root / "folder").symlink_to(target, target_is_directory=True)
    for name in ("secret", "share.log", "etc/passwd", "passwd", "../secret"):
        assert workspace.read_file(f"folder/{name}", ENOUGH) is None


def test_a_link_that_stays_inside_is_followed(workspace: Workspace) -> None:
    (workspace.root / "link").symlink_to("a/b")
    assert workspace.read_file("link/数据.csv", ENOUGH) == b"1,2"


def test_a_workspace_that_is_a_link_itself_is_read(tmp_path: Path, workspace: Workspace) -> None:
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "workspace").symlink_to(workspace.root)
    linked = Workspace(tmp_path / "linked")
    assert linked.read_file("figure.png", ENOUGH) == b"picture"
    assert linked.read_file("../share.log", ENOUGH) is None


def test_a_link_to_itself_isnt_there(workspace: Workspace) -> None:
    (workspace.root / "one").symlink_to("two")
    (workspace.root / "two").symlink_to("one")
    assert workspace.read_file("one", ENOUGH) is None
    assert workspace.read_file("one/figure.png", ENOUGH) is None


def test_a_pipe_isnt_there_and_nobody_waits_for_it(workspace: Workspace) -> None:
    os.mkfifo(workspace.root / "pipe")
    assert workspace.read_file("pipe", ENOUGH) is None


def test_a_file_beside_whose_name_begins_like_the_workspace_isnt_there(workspace: Workspace) -> None:
    beside = workspace.root.with_name("workspace-2")
    beside.mkdir()
    (beside / "secret").write_bytes(b"secret")
    assert workspace.read_file("../workspace-2/secret", ENOUGH) is None


def test_a_file_that_is_too_large_isnt_there(workspace: Workspace) -> None:
    assert workspace.read_file("figure.png", 7) == b"picture"
    assert workspace.read_file("figure.png", 6) is None
    assert workspace.read_file("figure.png", 0) is None


def test_a_workspace_that_isnt_there_has_no_files(tmp_path: Path) -> None:
    assert Workspace(tmp_path / "nothing").read_file("figure.png", ENOUGH) is None


def test_a_file_inside_is_found_and_nothing_else(workspace: Workspace) -> None:
    assert workspace.find_file("figure.png") == (workspace.root / "figure.png").resolve()
    for name in ("../share.log", "/etc/passwd", "a", "", "nothing", "figure.png\0", "x" * 5000):
        assert workspace.find_file(name) is None


@given(st.text(alphabet=st.sampled_from("./\\a~%\0\udcff é"), max_size=12))
def test_no_name_raises_or_leads_out(name: str) -> None:
    assert Workspace(Path(__file__).parent / "data").read_file(name, ENOUGH) is None


# Writing


def test_files_are_put_in_place_whole(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "record")
    files = {"figure.png": b"picture", "a/b/数据.csv": b"1,2", "empty": b"", ".hidden": b"h"}
    with workspace.stage(files) as staged:
        assert not workspace.root.exists()
        staged.commit()
    assert {name: workspace.read_file(name, ENOUGH) for name in files} == files
    assert [path.name for path in (tmp_path / "record").iterdir()] == ["workspace"]


def test_what_lay_there_is_replaced(workspace: Workspace) -> None:
    with workspace.stage({"new": b"new"}) as staged:
        staged.commit()
    assert [path.name for path in workspace.root.iterdir()] == ["new"]
    assert (workspace.root.parent / "share.log").read_bytes() == b"secret"


def test_what_is_not_committed_is_removed(workspace: Workspace) -> None:
    with workspace.stage({"new": b"new"}):
        pass
    with pytest.raises(KeyError), workspace.stage({"new": b"new"}):
        raise KeyError
    assert sorted(path.name for path in workspace.root.parent.iterdir()) == ["share.log", "workspace"]
    assert workspace.read_file("figure.png", ENOUGH) == b"picture"


def test_what_is_committed_is_removed_again_by_an_error_and_not_by_a_cancel(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "day" / "record")
    with pytest.raises(asyncio.CancelledError), workspace.stage({"new": b"new"}) as staged:
        staged.commit()
        raise asyncio.CancelledError  # the transaction that it belongs to goes on, and may succeed
    assert workspace.read_file("new", ENOUGH) == b"new"
    with pytest.raises(KeyError), workspace.stage({"newer": b"newer"}) as staged:
        staged.commit()
        raise KeyError
    assert not workspace.root.exists()


def test_what_is_not_committed_leaves_no_folder_and_takes_none_that_is_in_use(tmp_path: Path) -> None:
    (tmp_path / "neighbours" / "other").mkdir(parents=True)
    for day in ("day", "neighbours"):
        with Workspace(tmp_path / day / "record").stage({"new": b"new"}):
            pass
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["neighbours", "other"]


def test_a_workspace_holds_exactly_what_it_holds(workspace: Workspace) -> None:
    files = {"figure.png": b"picture", "a/b/数据.csv": b"1,2"}
    assert workspace.holds(files)
    assert not workspace.holds({})
    assert not workspace.holds({**files, "more": b""})
    assert not workspace.holds({**files, "figure.png": b"other"})
    assert not workspace.holds({"figure.png": b"picture"})
    assert Workspace(workspace.root).holds({})


def test_no_files_make_no_folder(tmp_path: Path) -> None:
    with Workspace(tmp_path / "record").stage({}) as staged:
        staged.commit()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../a", "a/../../b", "/a", "//a", "", ".", "..", "a/..", "/etc/passwd", "a\0b"])
def test_a_name_that_leads_out_is_refused_and_nothing_stays(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        Workspace(tmp_path / "day" / "record").stage({"good": b"1", name: b"2"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("names", [("a", "a/b"), ("a/b", "a"), ("x" * 256,), ("x/" * 3000 + "x",)])
def test_a_name_that_cant_be_written_is_an_os_error_and_nothing_stays(names: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(OSError):
        Workspace(tmp_path / "day" / "record").stage(dict.fromkeys(names, b""))
    assert list(tmp_path.iterdir()) == []


def test_a_base_dir_may_lie_above_where_the_process_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with Workspace(Path("../data/record")).stage({"a": b"1"}) as staged:
        staged.commit()
    assert (tmp_path / "data" / "record" / "workspace" / "a").read_bytes() == b"1"


def test_files_are_added_to_what_is_there(workspace: Workspace) -> None:
    workspace.write_files({"figure.png": b"new", "a/c/d": b"1", "./e": b"2"})
    assert [workspace.read_file(name, ENOUGH) for name in ("figure.png", "a/c/d", "e")] == [b"new", b"1", b"2"]
    assert workspace.read_file("a/b/数据.csv", ENOUGH) == b"1,2"


def test_the_first_files_make_the_workspace(tmp_path: Path) -> None:
    Workspace(tmp_path / "record").write_files({"a": b"1"})
    assert (tmp_path / "record" / "workspace" / "a").read_bytes() == b"1"


@pytest.mark.parametrize("name", ["../share.log", "/etc/passwd", "", ".", "a/../..", "link/secret", "a\0"])
def test_no_file_is_written_where_one_name_leads_out(name: str, workspace: Workspace) -> None:
    (workspace.root / "link").symlink_to("../..")
    with pytest.raises(ValueError):
        workspace.write_files({"good": b"1", name: b"2"})
    assert workspace.read_file("good", ENOUGH) is None
    assert (workspace.root.parent / "share.log").read_bytes() == b"secret"
    assert (workspace.root.parent.parent / "secret").read_bytes() == b"secret"


def test_nothing_is_written_through_a_link_to_itself(workspace: Workspace) -> None:
    (workspace.root / "loop").symlink_to("loop")
    with pytest.raises((ValueError, OSError)):
        workspace.write_files({"loop": b"1"})


@pytest.mark.usefixtures("usual_umask")
def test_files_put_in_place_can_be_read_by_a_server_of_another_user(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "record")
    with workspace.stage({"a/b": b"1"}) as staged:
        staged.commit()
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [workspace.root, *workspace.root.rglob("*")]}
    assert modes == {"workspace": 0o755, "a": 0o755, "b": 0o644}


# Where it lies


@pytest.mark.parametrize(
    "interaction_id", ["a", "A9._-", "99d6e00b5c175a3c9826fc2cfe08dd2a", "a" * 128, "_", "-", "a..b"]
)
def test_an_id_that_is_safe(interaction_id: str) -> None:
    assert is_safe_id(interaction_id)


@pytest.mark.parametrize(
    "interaction_id",
    ["", ".", "..", ".a", "a/b", "a\\b", "a b", "a\n", "\na", "a\0", "é", "数", "٣", "a" * 129, "a%2f", "a?", "a#"],
)
def test_an_id_that_is_not_safe(interaction_id: str) -> None:
    assert not is_safe_id(interaction_id)
    with pytest.raises(ValueError, match=re.escape(f"got {interaction_id!r}")):
        record_directory(Path("data"), Interaction(interaction_id, "guest"))


@given(st.text())
def test_a_safe_id_is_one_part_of_a_path(interaction_id: str) -> None:
    if is_safe_id(interaction_id):
        directory = record_directory(Path("/data"), Interaction(interaction_id, "guest"))
        assert directory.resolve() == directory
        assert directory.parent == Path("/data/localstorage/interact_records/undated")


@pytest.mark.parametrize(
    ("create_time", "folder"),
    [
        ("2023-11-17 10:00:00", "2023-11-17"),
        ("2023-11-17T10:00:00Z", "2023-11-17"),
        ("2023-11-17", "2023-11-17"),
        (None, "undated"),
        ("", "undated"),
        ("yesterday", "undated"),
        ("../../../etc/", "undated"),
        ("2023/11/17", "undated"),
        ("17-11-2023 ", "undated"),
        (" 2023-11-17", "undated"),
        ("2023-11-1\n", "undated"),
    ],
)
def test_records_lie_under_the_day_of_the_interaction(create_time: str | None, folder: str) -> None:
    directory = record_directory(Path("data"), Interaction("run", "guest", create_time=create_time))
    assert directory == Path("data/localstorage/interact_records") / folder / "run"


def test_removed_records_are_gone_and_their_neighbours_not(workspace: Workspace) -> None:
    (workspace.root / "link").symlink_to("../../secret")
    remove_records(workspace.root.parent)
    assert not workspace.root.parent.exists()
    assert (workspace.root.parent.parent / "secret").read_bytes() == b"secret"
    remove_records(workspace.root.parent)


def test_records_that_are_a_link_are_not_followed(tmp_path: Path, workspace: Workspace) -> None:
    (tmp_path / "link").symlink_to(workspace.root)
    with pytest.raises(OSError):
        remove_records(tmp_path / "link")
    assert (workspace.root / "figure.png").exists()
