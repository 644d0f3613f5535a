from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from pathlib import Path

import pytest

from tests.server import GOLDEN, SHORT, make_recording, run_here, write_recording


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    assert run_here("import", GOLDEN / "short.recording.json", folder=tmp_path).returncode == 0
    return tmp_path


def held(page: str) -> dict[str, object]:
    found = re.search(r'<script type="application/json" id="recording">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_a_page_holds_the_rows_as_they_are_sent_and_the_files(tmp_path: Path) -> None:
    recording = make_recording("run", 3, "</script><!-- 数据 \ud800", workspace={"a b.txt": "aGVsbG8="})
    recording["raws"][1]["data"] = {"large": "x" * 1_100_000, "number": 12345678901234567890}
    run_here("import", "--private", write_recording(tmp_path / "r.json", recording), folder=tmp_path)

    done = run_here("export", "run", "--html", tmp_path / "run.html", folder=tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"run  .*run\.html  \d+\.\d MB\n", done.stdout)
    page = held((tmp_path / "run.html").read_text("utf-8"))
    assert [row["offset"] for row in page["rows"]] == [1, 2, 3]
    assert page["rows"][0]["data"] == recording["raws"][0]["data"]
    assert page["rows"][1]["data"] == recording["raws"][1]["data"]
    assert page["recording"]["total"] == 3
    assert page["files"] == [{"name": "a b.txt", "media_type": "text/plain", "content": "aGVsbG8="}]


def test_only_what_belongs_to_the_page_may_run_in_it(folder: Path) -> None:
    run_here("export", SHORT, "--html", "out.html", folder=folder)

    page = (folder / "out.html").read_text("utf-8")
    policy = re.search('content="(default-src[^"]+)"', page)
    assert policy is not None
    for tag, directive in (("script", "script-src"), ("style", "style-src")):
        (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{directive} &#x27;sha256-{digest}&#x27;;" in policy[1]
    assert "unsafe" not in policy[1]
    assert not re.search(r'(src|href)="(?!#)', page.split("<body", 1)[1].split("<script", 1)[0])


@pytest.mark.parametrize("name", ["nobody", "../x", "", "a" * 200])
def test_a_recording_that_is_not_there(folder: Path, name: str) -> None:
    done = run_here("export", name, "--html", "out.html", folder=folder)

    assert done.returncode == 1
    assert done.stderr.startswith("Error: there is no recording ")
    assert not (folder / "out.html").exists()


def test_a_page_that_cannot_be_written_leaves_what_was_there(folder: Path) -> None:
    done = run_here("export", SHORT, "--html", folder / "none" / "out.html", folder=folder)
    (folder / "there").mkdir()
    onto_a_folder = run_here("export", SHORT, "--html", folder / "there", folder=folder)

    assert (done.returncode, done.stdout) == (1, "")
    assert "No such file or directory" in done.stderr
    assert onto_a_folder.returncode == 2
    assert {path.name for path in folder.iterdir()} - {"data"} == {"there"}


def test_a_page_is_written_over_the_one_before_with_the_usual_permissions(folder: Path) -> None:
    (folder / "out.html").write_text("old")

    run_here("export", SHORT, "--html", "out.html", folder=folder)

    assert held((folder / "out.html").read_text("utf-8"))["recording"]["interaction_id"] == SHORT
    mask = os.umask(0)
    os.umask(mask)
    assert (folder / "out.html").stat().st_mode & 0o777 == 0o666 & ~mask
    assert {path.name for path in folder.iterdir()} - {"data"} == {"out.html"}
