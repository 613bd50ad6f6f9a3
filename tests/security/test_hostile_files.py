"""Files and names made to lead the intake astray, or to take its memory, disk or terminal."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import psutil
import pytest

from dragonfly.errors import InputRefused
from dragonfly.job import Reject, Retry
from dragonfly.judgments.encodings import MAX_BYTES
from dragonfly.judgments.reading import open_export
from dragonfly.workers.places import object_parts, open_below, open_file, relative_parts

ROOT = Path("/srv/firm/intake")
OUTSIDE = b"outside"
INSIDE = b"inside"

WALKS = pytest.mark.skipif(os.open not in os.supports_dir_fd, reason="folders cannot be walked")


@pytest.mark.parametrize(
    "written",
    [
        "", ".", "..", "/", "a/..", "a/../..", "..\\a", "....//a", "a/.../../b", "~/../a",
        "/etc/passwd", "//host/share/a", "///a", "\\\\?\\C:\\a", "\\\\.\\pipe\\a", "C:a", "c:/a",
        "file:a", "file:/etc/passwd", "file:////etc/passwd",
        "file:///etc/passwd", "FILE:///etc/passwd", "file://C:/a", "file:///srv/firm/intake/",
        "file:///srv/firm/intake/../x", "file:///srv/firm/intake//etc/passwd", "file://../../x",
        "%2e%2e/a", "%2E%2E%2Fa", "..%2fa", "..%5ca", "%252e%252e/a", "a%00.csv", "%c0%ae%c0%ae/a",
        "a\0", "a\0.csv", "a\n.csv", "a\x1b[2J.csv", "a\x7f.csv", "a|b", "a?b", "a*b", "<a>",
        "https://host/a?token=x", "s3://bucket/a", "data:text/csv,a", "jar:file:///a!/b",
        "CON", "nul", "aux.csv", "2026/COM1", "lpt9.txt", "NUL .csv", "a.", "a ", "a./b", "2026 /b",
    ],
)  # fmt: skip
def test_no_spelling_leads_out_of_the_folder(written: str) -> None:
    """Upwards, absolute, encoded, as an address, a device, a drive, a share or a stream."""
    with pytest.raises(Reject) as rejected:
        relative_parts(written, ROOT)

    assert "PATH_NOT_ALLOWED" == rejected.value.code


@pytest.mark.parametrize("written", ["a\0b", "../a", "a/../b", "/a", "a\\b", "a%2fb", "a\x1bb", ""])
def test_no_name_of_an_object_leads_out_of_its_bucket(written: str) -> None:
    """The same for names in Storage."""
    with pytest.raises(Reject):
        object_parts(written)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An intake folder with a file, beside a folder that is none of its business."""
    for name, content in (("intake/2026", INSIDE), ("elsewhere", OUTSIDE)):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "a.csv").write_bytes(content)
    return tmp_path / "intake"


@pytest.mark.parametrize("name", ["x" * 300, "x" * 5000, "é" * 200, "/".join("x" * 300)])
def test_a_name_longer_than_names_may_be_is_missing(root: Path, name: str) -> None:
    """The system's limits of names and paths are an answer, not a bug."""
    with pytest.raises(Reject) as rejected:
        open_file(root, tuple(name.split("/")))

    assert "FILE_NOT_FOUND" == rejected.value.code


@WALKS
def test_a_folder_that_becomes_a_link_after_the_check_is_not_followed(root: Path) -> None:
    """Opening trusts no earlier look: each folder is opened below the last, and none by a link."""
    (root / "linked").symlink_to(root.parent / "elsewhere")
    (root / "2026" / "link.csv").symlink_to(root.parent / "elsewhere" / "a.csv")
    for parts in (("linked", "a.csv"), ("2026", "link.csv")):
        with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
            open_below(root, parts)

    handle = open_below(root, ("2026", "a.csv"))
    os.close(handle)


SWAP = """
import os
print("begun", flush=True)
while True:
    os.rename("2026", "spare")
    os.rename("link", "2026")
    os.rename("2026", "link")
    os.rename("spare", "2026")
"""


@WALKS
def test_a_race_of_folder_and_link_is_never_won(root: Path) -> None:
    """While folder and link take turns in one place, no byte from outside is ever read."""
    (root / "link").symlink_to(root.parent / "elsewhere")
    swapper = subprocess.Popen([sys.executable, "-c", SWAP], cwd=root, stdout=subprocess.PIPE)
    assert swapper.stdout is not None
    swapper.stdout.readline()
    read: list[bytes] = []
    refused, until = 0, time.monotonic() + 30
    try:
        # a swapper that gets no turn for a while shows one side of it only
        while len(read) + refused < 3000 or (not (read and refused) and time.monotonic() < until):
            try:
                with open_file(root, ("2026", "a.csv")) as file:
                    read.append(file.read())
            except (Reject, Retry):
                refused += 1
    finally:
        swapper.kill()
        swapper.communicate()

    assert {INSIDE} == set(read)
    assert refused > 0


@WALKS
def test_a_pipe_in_a_files_place_keeps_nobody_waiting(root: Path) -> None:
    """Were a pipe put there after the check, opening it would not wait for a writer."""
    os.mkfifo(root / "pipe")
    handle = open_below(root, ("pipe",))
    os.close(handle)

    with pytest.raises(Reject):
        open_file(root, ("pipe",))


def test_five_gigabytes_of_nothing_are_refused_unread(tmp_path: Path) -> None:
    """A sparse file is refused by its size."""
    path = tmp_path / "a.csv"
    with path.open("wb") as file:
        file.truncate(5 << 30)

    with pytest.raises(InputRefused) as refused, open_export(path):
        pass

    assert "FILE_TOO_LARGE" == refused.value.code


def _claims_many_names(path: Path) -> None:
    """An archive whose list of names would take a gigabyte to hold."""
    entry = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0)
    count = MAX_BYTES // 2 // 47
    listing = (entry + b"x") * count
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 65535, 65535, len(listing), 4, 0)
    path.write_bytes(b"PK\3\4" + listing + end)


def _holds_zeros(path: Path) -> None:
    """A gigabyte in a megabyte."""
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("a.csv", "w") as member,
    ):
        for _ in range(64):
            member.write(bytes(1 << 20))


def _has_a_name_that_is_no_text(path: Path) -> None:
    """A name that is marked as UTF-8 and is not."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("é.csv", "x")
    path.write_bytes(path.read_bytes().replace("é".encode(), b"\xff\xfe"))


@pytest.mark.parametrize("make", [_claims_many_names, _holds_zeros, _has_a_name_that_is_no_text])
def test_an_archive_is_refused_without_being_opened(tmp_path: Path, make: object) -> None:
    """Whatever an archive says of itself costs neither memory nor an error."""
    assert callable(make)
    make(path := tmp_path / "a.csv")
    before = psutil.Process().memory_info().rss

    with pytest.raises(InputRefused) as refused, open_export(path):
        pass

    assert "FILE_TYPE" == refused.value.code
    assert psutil.Process().memory_info().rss - before < 50 << 20


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"CaseNo,Plaintiff\n" + b"," * (1 << 20), "1"),
        (b"a,b\n" * 3 + b'"' + b"x" * (8 << 20), "UNTERMINATED_QUOTE"),
        (b"\n" * (8 << 20), "EMPTY_FILE"),
        (b'"' * (1 << 20) + b"\n", "EMPTY_FILE"),
        (b"a,b\n" + b'"\n' * 200_001, "UNTERMINATED_QUOTE"),
        (("a\N{RIGHT-TO-LEFT OVERRIDE}b,c\n" * 1000).encode(), "999"),
    ],
    ids=["commas", "open quote", "blank lines", "quotes", "quoted lines", "direction marks"],
)
def test_absurd_text_is_read_or_refused_within_bounds(
    tmp_path: Path, content: bytes, expected: str
) -> None:
    """Megabytes of nothing but delimiters, quotes or line ends keep the parser neither busy nor
    full."""
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    before = psutil.Process().memory_info().rss
    try:
        with open_export(path) as export:
            outcome = str(sum(1 for _ in export))
    except InputRefused as refusal:
        outcome = refusal.code

    assert expected == outcome
    assert psutil.Process().memory_info().rss - before < 400 << 20
