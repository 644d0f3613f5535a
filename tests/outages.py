"""Database servers of a test's own, to be stopped and started at will: the machine's are other tests', too."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.any_database import PATIENCE_SECONDS, databases, execute
from tests.tools import do_without, require

POSTGRES = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), Path("/usr/bin"))


class OwnDatabase:
    """A database that goes away and comes back. `url` is its address."""

    url: str

    def start(self) -> None:
        """Return when it answers."""
        raise NotImplementedError

    def stop(self, number: signal.Signals = signal.SIGQUIT) -> None:
        """End it by a signal; return when it is gone."""
        raise NotImplementedError


class SQLiteFile(OwnDatabase):
    """The file is taken away, and a folder stands in its place."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._file = folder / "own.db"
        self._away = folder / "away.db"
        self.url = f"sqlite:///{self._file}"

    def start(self) -> None:
        if self._away.exists():
            self._file.rmdir()
            self._away.rename(self._file)

    def stop(self, number: signal.Signals = signal.SIGQUIT) -> None:
        execute(self.url, "PRAGMA wal_checkpoint(TRUNCATE)")
        self._file.rename(self._away)
        self._file.mkdir()


class OwnServer(OwnDatabase):
    """A server process on a port of its own."""

    def __init__(self, folder: Path, user: str, scheme: str, database: str) -> None:
        folder.mkdir()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder = folder
        self.url = f"{scheme}:{self.port}/{database}"
        self._as_user: dict[str, str | int] = {}
        if os.geteuid() == 0:  # neither server runs as the superuser
            shutil.chown(folder, user)
            entry = pwd.getpwnam(user)
            self._as_user = {"user": entry.pw_uid, "group": entry.pw_gid}
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, *command: str | Path) -> None:
        subprocess.run(
            list(map(str, command)),
            cwd=self.folder,
            check=True,
            capture_output=True,
            timeout=PATIENCE_SECONDS,
            **self._as_user,  # type: ignore[call-overload]
        )

    def launch(self, *command: str | Path) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                list(map(str, command)),
                cwd=self.folder,
                stdout=log,
                stderr=log,
                **self._as_user,  # type: ignore[call-overload]
            )
        self.wait(lambda: execute(self.url, "SELECT 1"))

    def wait(self, answers: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                answers()
                return
            except Exception:
                assert self._process is not None and self._process.poll() is None, self.log
                assert time.monotonic() < deadline, self.log
                time.sleep(0.05)

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text("utf-8", "replace")

    def stop(self, number: signal.Signals = signal.SIGQUIT) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(number)
            self._process.wait(PATIENCE_SECONDS)

    def pause(self) -> None:
        """Have it accept nothing and answer nothing, with all connections left open."""
        assert self._process is not None
        for pid in self._processes():
            os.kill(pid, signal.SIGSTOP)

    def go_on(self) -> None:
        for pid in self._processes():
            os.kill(pid, signal.SIGCONT)

    def _processes(self) -> list[int]:
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        return [self._process.pid, *map(int, children)]


class OwnPostgres(OwnServer):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "postgres", "postgresql://postgres@127.0.0.1", "postgres")
        self.data = folder / "data"
        if not (POSTGRES / "initdb").exists():
            do_without("no PostgreSQL server is installed")
        self.run(POSTGRES / "initdb", "--no-sync", "--auth=trust", "--username=postgres", "-D", self.data)

    def start(self) -> None:
        options = ["-c", "fsync=off", "-c", "listen_addresses=127.0.0.1", "-k", self.folder]
        self.launch(POSTGRES / "postgres", "-D", self.data, "-p", str(self.port), *options)


class OwnMariaDB(OwnServer):
    def __init__(self, folder: Path, scheme: str) -> None:
        super().__init__(folder, "mysql", f"{scheme}://own:own@127.0.0.1", "test")
        self.data = folder / "data"
        require("mariadbd", "mariadb-server")
        self.run("mariadb-install-db", "--no-defaults", f"--datadir={self.data}", "--skip-test-db")
        user = "CREATE OR REPLACE USER own@'%' IDENTIFIED BY 'own';\nGRANT ALL ON *.* TO own@'%' WITH GRANT OPTION;\n"
        (self.folder / "first.sql").write_text(f"CREATE DATABASE IF NOT EXISTS test;\n{user}")

    def start(self) -> None:
        self.launch(
            "mariadbd",
            "--no-defaults",
            f"--datadir={self.data}",
            f"--port={self.port}",
            "--bind-address=127.0.0.1",
            f"--socket={self.folder / 'socket'}",
            f"--init-file={self.folder / 'first.sql'}",
            "--innodb-flush-log-at-trx-commit=2",
            "--innodb-buffer-pool-size=32M",
        )

    def stop(self, number: signal.Signals = signal.SIGKILL) -> None:
        super().stop(signal.SIGKILL if number is signal.SIGQUIT else number)


@contextlib.contextmanager
def own_database() -> Iterator[OwnDatabase]:
    """A database of the kind that the tests run on, started."""
    # Not in pytest's folder, which only its owner may enter.
    with tempfile.TemporaryDirectory(prefix="own-database-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        with _started(Path(folder) / "own") as own:
            yield own


@contextlib.contextmanager
def _started(folder: Path) -> Iterator[OwnDatabase]:
    own: OwnDatabase
    if databases.kind == "sqlite":
        own = SQLiteFile(folder)
    elif databases.dialect == "postgresql":
        own = OwnPostgres(folder)
    else:
        own = OwnMariaDB(folder, databases.kind)
    try:
        own.start()
        yield own
    finally:
        if isinstance(own, OwnServer):
            own.stop(signal.SIGKILL)
