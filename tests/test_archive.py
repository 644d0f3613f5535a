"""Zips out of the hands of strangers: each that could do harm is refused by the name of what is wrong in it."""

from __future__ import annotations

import bz2
import io
import lzma
import random
import shutil
import stat
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import pytest

from storage.archive import Archive, ArchiveError, ArchiveLimits, ArchiveTooLarge
from storage.workspace import Workspace

MEGABYTE = 1024 * 1024
LIMITS = ArchiveLimits(files=10, unpacked_bytes=3 * MEGABYTE, ratio=200)
UTF8 = 0x800
TEXT = b"A" * 500 + b"B" * 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An entry of a zip as its maker wants it: all that isn't given is as it should be."""

    name: bytes = b"a.txt"
    content: bytes = TEXT
    packed: bytes | None = None
    method: int = zipfile.ZIP_STORED
    flags: int = UTF8
    mode: int = 0
    size: int | None = None
    packed_size: int | None = None
    crc: int | None = None
    local_name: bytes | None = None
    header_offset: int | None = None
    extra: bytes = b""

    @property
    def data(self) -> bytes:
        return self.content if self.packed is None else self.packed

    @property
    def facts(self) -> tuple[int, int, int]:
        crc = zlib.crc32(self.content) if self.crc is None else self.crc
        packed_size = len(self.data) if self.packed_size is None else self.packed_size
        return crc, packed_size, len(self.content) if self.size is None else self.size

    def local(self) -> bytes:
        name = self.name if self.local_name is None else self.local_name
        head = struct.pack("<4s5H3L2H", b"PK\3\4", 20, self.flags, self.method, 0, 33, *self.facts, len(name), 0)
        return head + name + self.data

    def central(self, offset: int) -> bytes:
        place = offset if self.header_offset is None else self.header_offset
        lengths = (len(self.name), len(self.extra), 0, 0, 0, self.mode << 16, place)
        made = (0x0314, 20, self.flags, self.method, 0, 33)
        return struct.pack("<4s6H3L5H2L", b"PK\1\2", *made, *self.facts, *lengths) + self.name + self.extra


def make_zip(*entries: Entry, directory_offset: int = 0, comment: bytes = b"") -> bytes:
    """A zip of these entries; `directory_offset` is added to where it says that its directory is."""
    local, central = b"", b""
    for entry in entries:
        central += entry.central(len(local))
        local += entry.local()
    count = min(len(entries), 0xFFFF)
    place = (len(central), max(len(local) + directory_offset, 0))
    return local + central + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, *place, len(comment)) + comment


def deflated(content: bytes, **fields: Any) -> Entry:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(content) + packer.flush()
    return Entry(content=content, packed=packed, method=zipfile.ZIP_DEFLATED, **fields)


def unpack(content: bytes, base: Path, limits: ArchiveLimits = LIMITS) -> dict[str, bytes]:
    """Put a zip's files into the workspace of a run, as an upload does; what is there then."""
    workspace = Workspace(base / "records" / "2023-11-17" / "run")
    with workspace.stage(Archive(io.BytesIO(content), limits).extract) as files:
        files.commit()
    return {name: path.read_bytes() for name, path in workspace.list_files().items()}


def refusal(content: bytes, base: Path, limits: ArchiveLimits = LIMITS) -> ArchiveError:
    """The error by which a zip is refused, when nothing is left of it, in its workspace or elsewhere."""
    before = set(base.rglob("*")) | {base / "records"}
    with pytest.raises(ArchiveError) as caught:
        unpack(content, base, limits)
    assert set(base.rglob("*")) <= before
    return caught.value


@pytest.fixture
def base(tmp_path: Path) -> Iterator[Path]:
    """A folder deep in a tree of its own, so that what leads out of it can be seen."""
    base = tmp_path / "outside" / "base"
    base.mkdir(parents=True)
    around = set(tmp_path.iterdir()) | set(base.parent.iterdir())
    yield base
    assert set(tmp_path.iterdir()) | set(base.parent.iterdir()) == around


# What is taken


def test_files_are_unpacked_with_their_folders(base: Path) -> None:
    entries = [Entry(name=b"a/"), Entry(name=b"a/b.txt"), deflated(b"1,2\n" * 1000, name=b"a/c/d.csv")]
    assert unpack(make_zip(*entries), base) == {"a/b.txt": TEXT, "a/c/d.csv": b"1,2\n" * 1000}


def test_a_zip_of_another_tool_is_unpacked(base: Path) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("数据/é.csv", "1,2\n")
        archive.writestr(zipfile.ZipInfo("empty.txt"), b"")
        with archive.open("streamed.txt", "w", force_zip64=True) as file:
            file.write(TEXT)
        archive.comment = "made by 我们".encode()
    assert unpack(made.getvalue(), base) == {"数据/é.csv": b"1,2\n", "empty.txt": b"", "streamed.txt": TEXT}


def test_a_zip_with_something_in_front_of_it_is_unpacked(base: Path) -> None:
    assert unpack(b"#!/bin/sh\n" + make_zip(Entry()), base) == {"a.txt": TEXT}


@pytest.mark.parametrize("content", [make_zip(), make_zip(Entry(name=b"only/folders/", content=b""))])
def test_a_zip_without_files_leaves_an_empty_workspace(content: bytes, base: Path) -> None:
    assert unpack(content, base) == {}


def test_a_zip_inside_of_a_zip_stays_a_file(base: Path) -> None:
    inner = make_zip(Entry(name=b"../evil.txt"), Entry(name=b"/etc/passwd"))
    assert unpack(make_zip(Entry(name=b"inner.zip", content=inner)), base) == {"inner.zip": inner}


@pytest.mark.parametrize(
    "name",
    [
        "数据.csv",
        "é e\u0301.txt",
        "👩‍🔬.png",
        "a b/ c .txt",
        "…/‥.txt",
        "...",
        ".hidden",
        "..txt",
        "a..b/c..",
        "~/.ssh",
        "$HOME; rm -rf *",
        "%2e%2e%2fevil",
        "<script>.html",
        "CON",
        "-rf",
        "a\u202etxt.exe",
        "x" * 255,
        "é" * 127,
        "/".join(["x" * 100] * 8),
    ],
)
def test_a_strange_name_that_leads_nowhere_is_kept(name: str, base: Path) -> None:
    assert unpack(make_zip(Entry(name=name.encode())), base) == {name: TEXT}


def test_a_name_that_is_not_marked_as_utf_8_is_read_as_zips_always_were(base: Path) -> None:
    assert unpack(make_zip(Entry(name="é.txt".encode("cp437"), flags=0)), base) == {"é.txt": TEXT}


def test_no_file_can_be_executed_whatever_the_zip_says(base: Path) -> None:
    unpack(make_zip(Entry(name=b"run.sh", mode=stat.S_IFREG | 0o6777)), base)
    (path,) = base.rglob("run.sh")
    assert path.stat().st_mode & 0o7111 == 0


# Names


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "//server/share",
        "/",
        "",
        "..",
        "../evil.txt",
        "a/../../evil.txt",
        "a/../b.txt",
        "a/..",
        "../",
        ".",
        "./a.txt",
        "a/./b.txt",
        "a//b.txt",
        "a/b//",
        "C:/evil.txt",
        "c:evil.txt",
        "C:",
        "z:",
        "C:\\evil.txt",
        "\\evil.txt",
        "..\\evil.txt",
        "a\\b.txt",
        "\\\\server\\share",
        "a.txt\0.png",
        "\0",
        "a\nb.txt",
        "a\rb",
        "a\tb",
        "\x1b[2Ja",
        "a\x7f",
        "a\x85b",
        "x" * 256,
        "é" * 128,
        "a/" + "x" * 256 + "/b",
        "/".join(["x" * 100] * 12),
    ],
)
def test_a_name_that_may_do_harm_is_refused_by_its_name(name: str, base: Path) -> None:
    error = refusal(make_zip(Entry(name=b"good.txt"), Entry(name=name.encode())), base)
    assert f"{name[:200]!a}: expected a relative path" in str(error)
    assert str(error).isprintable()


def test_a_folder_is_refused_for_its_name_as_a_file_is(base: Path) -> None:
    assert "'../evil/'" in str(refusal(make_zip(Entry(name=b"../evil/", content=b"")), base))


def test_what_a_path_may_take_is_counted_as_the_disk_does(base: Path) -> None:
    # 1023 characters, but 4047 bytes, and with those of the folder above more than the 4096 that Linux takes.
    name = "/".join(["😀" * 63] * 16)
    assert ascii(name[:200]) in str(refusal(make_zip(Entry(name=name.encode())), base))


def test_a_name_that_is_no_utf_8_though_it_is_said_to_be_is_refused(base: Path) -> None:
    assert "expected a zip" in str(refusal(make_zip(Entry(name=b"\xff\xfe.txt")), base))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (b"a.txt", b"a.txt"),
        (b"a.txt", b"A.TXT"),
        (b"a/b.txt", b"A/b.txt"),
        ("stra\u00dfe".encode(), b"strasse"),
        ("é".encode(), "É".encode()),
    ],
)
def test_a_name_that_comes_again_is_refused(first: bytes, second: bytes, base: Path) -> None:
    error = refusal(make_zip(Entry(name=first), Entry(name=second, content=b"other")), base)
    assert f"{second.decode()!a}: expected each name once" in str(error)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([b"a", b"a/b.txt"], "'a/b.txt'"),
        ([b"a/b.txt", b"a"], "'a/b.txt'"),
        ([b"A", b"a/b/c.txt"], "'a/b/c.txt'"),
        ([b"a/b", b"a/b/c/d.txt"], "'a/b/c/d.txt'"),
        ([b"a/", b"a"], "'a'"),
        ([b"a", b"a/"], "'a'"),
    ],
)
def test_a_file_that_is_also_a_folder_is_refused(names: list[bytes], said: str, base: Path) -> None:
    assert f"zip: {said}: expected" in str(refusal(make_zip(*(Entry(name=name) for name in names)), base))


def test_a_name_in_the_extra_field_changes_nothing(base: Path) -> None:
    # Info-ZIP's Unicode path: newer versions of Python take the name from there.
    evil = struct.pack("<BL", 1, zlib.crc32(b"a.txt")) + b"../evil.txt"
    extra = struct.pack("<HH", 0x7075, len(evil)) + evil
    assert unpack(make_zip(Entry(extra=extra)), base) == {"a.txt": TEXT}


def test_a_name_that_is_another_one_in_front_of_the_file_is_refused(base: Path) -> None:
    assert "'a.txt'" in str(refusal(make_zip(Entry(local_name=b"../evil.txt")), base))


# Kinds


@pytest.mark.parametrize(
    "kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK, 0o170000, 0o030000]
)
def test_a_link_or_a_device_is_refused(kind: int, base: Path) -> None:
    error = refusal(make_zip(Entry(name=b"link", content=b"/etc/passwd", mode=kind | 0o777)), base)
    assert str(error) == "zip: 'link': expected a file or a folder, got a link or a device"


def test_a_link_is_refused_also_where_a_file_below_it_follows(base: Path) -> None:
    link = Entry(name=b"out", content=b"/tmp", mode=stat.S_IFLNK | 0o777)
    assert "'out'" in str(refusal(make_zip(link, Entry(name=b"out/evil.txt")), base))


@pytest.mark.parametrize("name", [b"link/", b"out/"])
def test_a_link_that_is_named_as_a_folder_is_refused(name: bytes, base: Path) -> None:
    assert "got a link" in str(refusal(make_zip(Entry(name=name, mode=stat.S_IFLNK | 0o777)), base))


def test_a_folder_that_is_named_as_a_file_is_refused(base: Path) -> None:
    assert "'a.txt'" in str(refusal(make_zip(Entry(mode=stat.S_IFDIR | 0o755)), base))


@pytest.mark.parametrize("flags", [0x1, 0x41, 0x40, 0x20, 0x2001])
def test_what_is_encrypted_or_patched_is_refused(flags: int, base: Path) -> None:
    assert "zip: 'a.txt': expected" in str(refusal(make_zip(Entry(flags=UTF8 | flags)), base))


def test_what_is_encrypted_only_in_front_of_the_file_is_no_secret(base: Path) -> None:
    content = bytearray(make_zip(Entry()))
    content[6] |= 1
    assert unpack(bytes(content), base) == {"a.txt": TEXT}


@pytest.mark.parametrize("method", [1, 6, 9, 12, 14, 93, 95, 98, 99, 0xFFFF])
def test_only_what_is_stored_or_deflated_is_unpacked(method: int, base: Path) -> None:
    assert "zip: 'a.txt': expected" in str(refusal(make_zip(Entry(method=method)), base))


@pytest.mark.parametrize(
    ("method", "packed"),
    [
        (zipfile.ZIP_BZIP2, b"BZh9" + b"\xff" * 100),
        (zipfile.ZIP_LZMA, b"\x09\x04\x05\x00\xff\xff\xff\xff\xff" + b"\xff" * 100),
        (zipfile.ZIP_LZMA, b"\x09\x04\x05\x00\x5d\x00\x00\x80\x00" + b"\xff" * 100),
        (zipfile.ZIP_LZMA, b"\x09\x04\x00\x00" + b"\xff" * 100),
        (zipfile.ZIP_DEFLATED, b"\xff" * 100),
        (zipfile.ZIP_DEFLATED, b""),
    ],
    ids=["bzip2", "lzma-properties", "lzma", "lzma-no-properties", "deflate", "nothing"],
)
def test_packed_data_that_is_broken_is_refused(method: int, packed: bytes, base: Path) -> None:
    assert "zip: 'a.txt': expected" in str(refusal(make_zip(Entry(method=method, packed=packed)), base))


# Sizes


@pytest.mark.parametrize("size", [0, 1, 500, 999, 1001, 5000, 2_000_000])
@pytest.mark.parametrize("entry", [Entry(), deflated(TEXT)], ids=["stored", "deflated"])
def test_a_size_that_is_a_lie_is_refused(entry: Entry, size: int, base: Path) -> None:
    # The checksum is of as much as the size says, so that it can't be what gives the lie away.
    crc = zlib.crc32(TEXT[:size])
    assert "zip: 'a.txt': expected" in str(refusal(make_zip(replace(entry, size=size, crc=crc)), base))


@pytest.mark.parametrize("packed_size", [0, 10, 999, 1001])
def test_a_packed_size_that_is_a_lie_is_refused(packed_size: int, base: Path) -> None:
    content = make_zip(Entry(packed_size=packed_size), Entry(name=b"b.txt"))
    assert "zip: '" in str(refusal(content, base))


def test_a_wrong_checksum_is_refused(base: Path) -> None:
    assert "'a.txt'" in str(refusal(make_zip(Entry(crc=1)), base))


def test_a_file_too_many_is_refused(base: Path) -> None:
    entries = [Entry(name=b"%d.txt" % number) for number in range(LIMITS.files)]
    assert len(unpack(make_zip(*entries), base)) == LIMITS.files
    error = refusal(make_zip(*entries, Entry()), base / "other")
    assert isinstance(error, ArchiveTooLarge) and str(error) == "zip: expected at most 10 files, got 11"


def test_a_file_too_many_is_refused_whatever_number_the_zip_says(base: Path) -> None:
    content = bytearray(make_zip(*(Entry(name=b"%d.txt" % number) for number in range(30))))
    struct.pack_into("<2H", content, len(content) - 14, 1, 1)
    assert isinstance(refusal(bytes(content), base), ArchiveTooLarge)


def test_folders_can_be_too_many_too(base: Path) -> None:
    entries = [Entry(name=b"%d/" % number, content=b"") for number in range(2 * LIMITS.files + 1)]
    assert isinstance(refusal(make_zip(*entries), base), ArchiveTooLarge)


def test_folders_are_counted_also_where_they_are_only_in_the_names_of_files(base: Path) -> None:
    entries = [Entry(name=b"%d/" % number + b"x/" * 200 + b"a.txt") for number in range(LIMITS.files)]
    assert isinstance(refusal(make_zip(*entries), base), ArchiveTooLarge)


def test_folders_are_counted_before_there_are_too_many() -> None:
    content = make_zip(*(Entry(name=b"%d/" % number + b"x/" * 490 + b"a", content=b"") for number in range(200)))
    assert peak_of_refusal(content) < 20 * len(content)


@pytest.mark.parametrize("said", ["the truth", "few", "few, and the truth in 64 bits"])
def test_a_directory_of_very_many_entries_is_not_read_to_its_end(said: str) -> None:
    content = make_zip(*(Entry(name=b"a", content=b"", header_offset=0) for _ in range(12_000)))
    end = content[-22:]
    if said == "few":
        end = end[:8] + struct.pack("<2H", 1, 1) + end[12:]
    if said == "few, and the truth in 64 bits":
        *_, count, size, place, _ = struct.unpack("<4s4H2LH", content[-22:])
        end64 = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, place)
        end64 += struct.pack("<4sLQL", b"PK\6\7", 0, len(content) - 22, 1)
        end = end64 + end[:8] + struct.pack("<2HL", 1, 1, 47) + end[16:]
    content = content[:-22] + end
    assert peak_of_refusal(content) < 3 * len(content)


def peak_of_refusal(content: bytes) -> int:
    """How many bytes it takes to refuse a zip."""
    file = io.BytesIO(content)
    tracemalloc.start()
    try:
        with pytest.raises(ArchiveError):
            Archive(file, LIMITS)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_zip_that_is_large_in_its_own_words_only_is_unpacked(base: Path) -> None:
    content = make_zip(Entry())
    end64 = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, 51, len(content) - 22 - 51)
    end64 += struct.pack("<4sLQL", b"PK\6\7", 0, len(content) - 22, 1)
    assert unpack(content[:-22] + end64 + content[-22:], base) == {"a.txt": TEXT}


def test_the_sizes_of_all_files_together_are_limited(base: Path) -> None:
    half = LIMITS.unpacked_bytes // 2
    fit = [Entry(name=b"a", content=b"a" * half), Entry(name=b"b", content=b"b" * half)]
    assert len(unpack(make_zip(*fit), base)) == 2
    error = refusal(make_zip(*fit, Entry(name=b"c", content=b"c")), base / "other")
    assert isinstance(error, ArchiveTooLarge)
    assert str(error) == f"zip: expected at most {LIMITS.unpacked_bytes} bytes unpacked, got more"


def test_the_sizes_of_all_files_together_are_limited_whatever_they_are_said_to_be(base: Path) -> None:
    bombs = [deflated(bytes(MEGABYTE), name=b"%d" % number, size=10) for number in range(LIMITS.files)]
    error = refusal(make_zip(*bombs), base, replace(LIMITS, ratio=10**6))
    assert "'0'" in str(error)


def test_a_zip_that_grows_too_much_is_refused(base: Path) -> None:
    bomb = deflated(bytes(2 * MEGABYTE), name=b"bomb.txt")
    assert len(make_zip(bomb)) * LIMITS.ratio < 2 * MEGABYTE
    error = refusal(make_zip(bomb), base)
    assert isinstance(error, ArchiveTooLarge)
    assert "'bomb.txt'" in str(error) and "200 times" in str(error)


def test_a_megabyte_may_come_of_however_little(base: Path) -> None:
    assert unpack(make_zip(deflated(bytes(MEGABYTE))), base) == {"a.txt": bytes(MEGABYTE)}


def test_text_that_packs_well_is_no_bomb(base: Path) -> None:
    text = "".join(f"{number},{number * number}\n" for number in range(80_000)).encode()
    assert len(text) > MEGABYTE
    assert unpack(make_zip(deflated(text)), base) == {"a.txt": text}


@pytest.mark.parametrize(
    ("method", "pack"),
    [
        (zipfile.ZIP_DEFLATED, lambda content: deflated(content).data),
        (zipfile.ZIP_BZIP2, bz2.compress),
        (
            zipfile.ZIP_LZMA,
            lambda content: (
                b"\x09\x04\x05\x00\x5d\x00\x00\x10\x00"
                + lzma.compress(content, lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA1, "dict_size": 2**20}])
            ),
        ),
    ],
    ids=["deflate", "bzip2", "lzma"],
)
def test_a_bomb_is_never_in_memory_whole(method: int, pack: Any, base: Path) -> None:
    content = bytes(32 * MEGABYTE)
    bomb = Entry(content=content, packed=pack(content), method=method, size=MEGABYTE, crc=0)
    archive = make_zip(bomb)
    tracemalloc.start()
    try:
        refusal(archive, base)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * MEGABYTE


# What is no zip, or none that can be read


@pytest.mark.parametrize(
    "content",
    [b"", b"PK", b"PK\5\6", b"not a zip", b"PK\3\4" + bytes(100), bytes(22), b"\x1f\x8b" + bytes(50), b"%PDF-1.4" * 20],
)
def test_what_is_no_zip_is_refused(content: bytes, base: Path) -> None:
    assert "expected a zip" in str(refusal(content, base))


def test_a_zip_that_breaks_off_is_refused_wherever_it_does(base: Path) -> None:
    content = make_zip(Entry(name=b"a/b.txt"), deflated(TEXT, name=b"c.txt"))
    for length in range(len(content)):
        assert "zip" in str(refusal(content[:length], base))


def test_a_zip_with_a_broken_front_is_refused(base: Path) -> None:
    content = make_zip(Entry(), Entry(name=b"b.txt"))
    for cut in (1, 30, 100, 1000):
        assert "zip: '" in str(refusal(content[cut:], base))


@pytest.mark.parametrize("offset", [1, 5000, 2**31, 0xFFFFFFFF])
@pytest.mark.parametrize("content", [TEXT, random.Random(0).randbytes(2 * MEGABYTE)], ids=["in memory", "on disk"])
def test_a_file_that_is_said_to_be_where_it_isnt_is_refused(offset: int, content: bytes, base: Path) -> None:
    assert "'a.txt'" in str(refusal_from_disk(make_zip(Entry(content=content, header_offset=offset)), base))


@pytest.mark.parametrize("place", [-1, -(2**63), 2**63 - 1, 2**64 - 1])
def test_a_place_of_64_bits_is_refused_where_nothing_can_be_there(place: int, base: Path) -> None:
    extra = struct.pack("<HHQ", 1, 8, place % 2**64)
    content = make_zip(Entry(header_offset=0xFFFFFFFF, extra=extra))
    assert "'a.txt'" in str(refusal(content, base))
    assert "'a.txt'" in str(refusal_from_disk(content, base))


@pytest.mark.parametrize("offset", [-1, 1, 5000, 2**31])
def test_a_directory_that_is_said_to_be_where_it_isnt_is_refused_or_found(offset: int, base: Path) -> None:
    content = make_zip(Entry(), directory_offset=offset)
    try:
        assert unpack(content, base) == {"a.txt": TEXT}
    except ArchiveError:
        refusal(content, base)
        refusal_from_disk(content, base)


def refusal_from_disk(content: bytes, base: Path) -> ArchiveError:
    """The same of a zip in a file: a file of the system answers otherwise than memory does."""
    with TemporaryFile() as file, pytest.raises(ArchiveError) as caught:
        file.write(content)
        Archive(file, LIMITS).extract(base / "disk")
    shutil.rmtree(base / "disk", ignore_errors=True)
    return caught.value


def test_two_names_for_the_same_bytes_are_refused(base: Path) -> None:
    content = make_zip(Entry(), Entry(name=b"b.txt", header_offset=0))
    assert "'b.txt'" in str(refusal(content, base))


def test_a_file_inside_of_another_is_refused(base: Path) -> None:
    # Each is what it says that it is; but of such a pile, a few megabytes become as many terabytes as one likes.
    inner = Entry(name=b"inner.txt")
    outer = Entry(name=b"outer.txt", content=b"x" + inner.local() + b"x")
    place = len(outer.local()) - len(inner.local()) - 1
    content = outer.local() + outer.central(0) + replace(inner, header_offset=place).central(0)
    size = len(content) - len(outer.local())
    content += struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 2, 2, size, len(outer.local()), 0)
    error = refusal(content, base)
    assert "'inner.txt'" in str(error) or "'outer.txt'" in str(error)


def test_a_file_that_reaches_into_the_directory_is_refused(base: Path) -> None:
    content = bytearray(make_zip(Entry()))
    directory = content.index(b"PK\1\2")
    behind = bytes(content[30 + 5 : directory + 46 + 5])
    struct.pack_into("<2L", content, directory + 20, len(behind), len(behind))
    behind = bytes(content[30 + 5 : directory + 46 + 5])
    # Its checksum can't be right, because it stands in what it is of; nobody gets so far.
    assert "'a.txt'" in str(refusal(bytes(content), base))


def test_a_zip_of_several_disks_is_refused(base: Path) -> None:
    end = struct.pack("<4sLQL", b"PK\6\7", 1, 0, 2)
    content = make_zip(Entry())
    assert "expected a zip" in str(refusal(content[:-22] + end + content[-22:], base))


@pytest.mark.parametrize("extra", [b"\1\0\xff\xff", b"\1\0\0\0", b"\1\0\4\0abcd"])
def test_an_extra_field_that_is_broken_is_refused(extra: bytes, base: Path) -> None:
    content = make_zip(Entry(size=0xFFFFFFFF, extra=extra))
    assert "expected a zip" in str(refusal(content, base))


def test_a_zip_with_a_byte_changed_is_refused_or_harmless(base: Path) -> None:
    content = make_zip(deflated(TEXT, name=b"a/b.txt"), Entry(name=b"c", content=b"c"), comment=b"comment")
    for place in range(len(content)):
        for change in (0x01, 0x0C, 0xFF):
            changed = bytearray(content)
            changed[place] ^= change
            try:
                found = unpack(bytes(changed), base)
            except ArchiveError as error:
                assert str(error).isprintable()
            else:
                assert sum(map(len, found.values())) <= len(TEXT) + 1
