"""The files of an interaction: where they lie, and that nothing outside of its folder is ever read or written."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

from .models import Interaction

_ID = re.compile(r"(?!\.)[A-Za-z0-9._-]{1,128}")
_PREFIX = ".workspace-"
_TRIES = 100
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def is_safe_id(interaction_id: str) -> bool:
    """Whether an id may stand in paths and logs: 1 to 128 of `A-Z a-z 0-9 . _ -`, the first of them no dot."""
    return _ID.fullmatch(interaction_id) is not None


def record_directory(base_dir: Path, interaction: Interaction) -> Path:
    """`<base_dir>/localstorage/interact_records/<date>/<interaction_id>`, where XAgent keeps what belongs to a run.

    The date is the day on which the interaction was made; one without a usable day lies under `undated`. Raises
    `ValueError` for an id that is not safe.
    """
    if not is_safe_id(interaction.interaction_id):
        raise ValueError(f"interaction id: expected 1 to 128 of A-Z a-z 0-9 . _ -, got {interaction.interaction_id!r}")
    day = (interaction.create_time or "")[:10]
    records = base_dir / "localstorage" / "interact_records"
    return records / (day if _DATE.fullmatch(day) else "undated") / interaction.interaction_id


class Workspace:
    """The files that a run left, in the folder `workspace` of its record directory. Its methods block: use a thread."""

    def __init__(self, record_directory: Path) -> None:
        self.root = record_directory / "workspace"

    def read_file(self, name: str, max_bytes: int) -> bytes | None:
        """The content of a file inside the workspace; None where there is none, or it is larger than `max_bytes`.

        `name` is not trusted: what leads out of the workspace, also by a symbolic link, isn't there.
        """
        path = self.find_file(name)
        try:
            return path.read_bytes() if path is not None and path.stat().st_size <= max_bytes else None
        except OSError:  # no permission
            return None

    def find_file(self, name: str) -> Path | None:
        """Where a file inside the workspace lies; None where there is none. `name` is not trusted."""
        try:
            path = _inside(self.root, name)
            return path if path.is_file() else None
        except (OSError, ValueError):  # a name that leads out, is too long, or has a NUL in it
            return None

    def holds(self, files: Mapping[str, bytes]) -> bool:
        """Whether exactly these files lie in the workspace."""
        there = {path.relative_to(self.root).as_posix(): path for path in self.root.rglob("*") if path.is_file()}
        return there.keys() == files.keys() and all(there[name].read_bytes() == files[name] for name in files)

    def write_files(self, files: Mapping[str, bytes]) -> None:
        """Write files into the workspace, one after the other. Raises `OSError`; `ValueError` before any is written."""
        _write(self.root, files)

    def stage(self, files: Mapping[str, bytes] | Callable[[Path], list[str]]) -> StagedFiles:
        """Write files beside the workspace, to be moved there whole by `commit`. Raises `OSError`, `ValueError`.

        `files` may also be a function that writes them below the folder that it is given, and returns their names.
        """
        return StagedFiles(self.root, files)

    def list_files(self) -> dict[str, Path]:
        """The regular files inside the workspace by their paths in it, with `/` between the parts, in order.

        One whose name is no text isn't among them.
        """
        root = self.root.resolve()
        paths = (path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
        names = {path.relative_to(root).as_posix(): path for path in sorted(paths)}
        return {name: path for name, path in names.items() if _is_text(name)}


def _is_text(name: str) -> bool:
    try:
        return bool(name.encode())
    except UnicodeEncodeError:
        return False


def _inside(root: Path, name: str) -> Path:
    try:
        root = root.resolve()
        path = (root / name).resolve()
    except RuntimeError:  # symbolic links in a circle, before Python 3.13
        raise ValueError(f"workspace: expected a path, got {name!r}") from None
    if not path.is_relative_to(root) or path == root:
        raise ValueError(f"workspace: expected a path inside the workspace, got {name!r}")
    return path


def _write(root: Path, files: Mapping[str, bytes]) -> None:
    paths = {_inside(root, name): name for name in files}
    for path, name in paths.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(files[name])


class StagedFiles:
    """Files on their way into a workspace: `commit` puts them there at once.

    Leaving the block without it removes them; so does an error after it, but not a cancel: what was cancelled may yet
    succeed. Names are relative paths with `/` between their parts; `ValueError` for one that leads out.
    """

    def __init__(self, root: Path, files: Mapping[str, bytes] | Callable[[Path], list[str]]) -> None:
        self._root = root
        self._staged: Path | None = None
        self._names: list[str] = []
        self._committed = False
        self._lock: int | None = None
        if not files:
            return
        self._staged, self._lock = _make_folder(root.parent)
        try:
            if isinstance(files, Mapping):
                _write(self._staged, files)
                self._names = list(files)
            else:
                self._names = files(self._staged)
            self._staged.chmod(0o755)  # mkdtemp lets nobody else in; a server of another user must read it
        except BaseException:
            self.__exit__(None)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if self._committed and kind is not None and issubclass(kind, Exception):
            shutil.rmtree(self._root, ignore_errors=True)
        self._unlock()
        if self._staged is not None:
            shutil.rmtree(self._staged, ignore_errors=True)
            for folder in self._root.parents[:2]:  # the run's and the day's, where nothing else is in them
                with suppress(OSError):
                    folder.rmdir()

    def commit(self) -> None:
        """Put the files in place of what may lie there. It can only be a remainder of an import that was killed."""
        if self._staged is None:
            shutil.rmtree(self._root, ignore_errors=True)
        else:
            # Some are gone where the import was cancelled, or the run's folder removed: nothing is put in place then.
            for name in self._names:
                (self._staged / name).stat()
            shutil.rmtree(self._root, ignore_errors=True)
            self._staged.rename(self._root)
            self._staged, self._committed = None, True
            self._unlock()
            _remove_remainders(self._root.parent)

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _make_folder(parent: Path) -> tuple[Path, int]:
    # Whoever is refused, or removes a recording of the same id, may remove the empty folder above at any moment.
    for _ in range(_TRIES):
        try:
            parent.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        except (FileNotFoundError, FileExistsError):
            continue
        if (lock := _lock(folder)) is not None:
            return folder, lock
    raise FileNotFoundError(errno.ENOENT, "a folder that is removed again and again", str(parent))


def _lock(folder: Path) -> int | None:
    # Whoever writes into the folder has it locked; the lock goes with the process. None where another has it.
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), folder.stat()):
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None


def _remove_remainders(directory: Path) -> None:
    for remainder in directory.glob(f"{_PREFIX}*"):
        if (lock := _lock(remainder)) is not None:
            shutil.rmtree(remainder, ignore_errors=True)
            os.close(lock)


def remove_records(directory: Path) -> None:
    """Remove what lies in a record directory, and the directory where that is all. Raises `OSError`.

    What an upload of the same id is writing at this moment stays: it has a folder of its own, and may yet be refused.
    """
    if directory.is_symlink():
        raise OSError(errno.ELOOP, "expected a folder, got a symbolic link", str(directory))
    for path in directory.iterdir() if directory.is_dir() else ():
        if path.name.startswith(_PREFIX):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    _remove_remainders(directory)
    with suppress(OSError):
        directory.rmdir()
