from __future__ import annotations

import pytest

from storage.kept_files import IN_MEMORY_BYTES, KeptFiles


def test_files_come_out_as_they_went_in_until_they_are_closed() -> None:
    files = {"a/b": b"", "数": bytes(range(256)), "large": b"x" * (IN_MEMORY_BYTES + 1), "last": b"y"}
    kept = KeptFiles()
    for name, content in files.items():
        kept.add(name, content)
    assert kept == files
    assert list(kept) == list(files)
    assert "c" not in kept
    kept.close()
    kept.close()
    with pytest.raises(ValueError, match="closed"):
        kept["last"]
