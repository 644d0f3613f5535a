"""Programs that tests run, and that needn't be everywhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def do_without(missing: str) -> None:
    """Skip the test for want of something; where everything has to be there, fail it."""
    if os.environ.get("REPLAY_SHARE_CI"):
        pytest.fail(missing)
    pytest.skip(missing)


def require(program: str, package: str) -> str:
    """The path of a program: in this Python's environment, on PATH, or where an administrator's programs are."""
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    found = shutil.which(program, path=places)
    if found is None:
        do_without(f"{program} is not there: install {package}")
    return str(found)


def check(*command: str | Path, **variables: str) -> str:
    """Run a checker, which has to be content; what it says."""
    done = subprocess.run(
        list(map(str, command)),
        env=os.environ | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said
