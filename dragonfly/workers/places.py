"""Where a file of the drop folder may lie: below the intake root, by its plain name."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import BinaryIO

from dragonfly.errors import ConfigurationError
from dragonfly.job import Reject, Retry

# where folders can be opened one below the other; Windows opens by the whole path alone
_WALKS = os.open in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW")
# a pipe that took the file's place would keep its reader waiting
_FILE = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
# what Windows takes for a device whatever folder it is in, or shortens to another name
_DEVICE = re.compile(r"(?i:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(?:[ .].*)?|.*[ .]")
_SEGMENT = re.compile(r"[^\x00-\x1f\x7f\\%:*?\"<>|/]+")


def relative_parts(file_path: str, root: Path) -> tuple[str, ...]:
    """The folders and name that a path or ``file://`` address means below the intake root.

    Raises Reject (PATH_NOT_ALLOWED) for every other way to write a path: absolute, ``..``,
    percent-encoded, with a backslash or a drive letter.
    """
    path = file_path
    if path.startswith("file://"):
        path = path.removeprefix("file://")
        top = root.absolute().as_posix().rstrip("/")
        # file:///C:/folder/x has one slash more than the folder's own name
        for prefix in (f"{top}/", f"/{top}/"):
            if path.startswith(prefix):
                path = path.removeprefix(prefix)
                break
    parts = tuple(path.split("/"))
    if any(not _is_plain(part) or _DEVICE.fullmatch(part) for part in parts):
        raise not_allowed()
    return parts


def object_parts(path: str) -> tuple[str, ...]:
    """The same rule for the name of an object in Storage."""
    parts = tuple(path.split("/"))
    if not all(map(_is_plain, parts)):
        raise not_allowed()
    return parts


def _is_plain(part: str) -> bool:
    return part not in {"", ".", ".."} and _SEGMENT.fullmatch(part) is not None


def open_file(root: Path, parts: tuple[str, ...]) -> BinaryIO:
    """The regular file there, opened without following a link, whatever changes meanwhile.

    Raises Reject as ``find_file`` does, Retry if it was exchanged at this moment, and
    ConfigurationError if it may not be read. Blocking.
    """
    try:
        place = find_file(root, parts)
        handle = open_below(root, parts) if _WALKS else os.open(place, _FILE)
    except PermissionError:
        raise ConfigurationError(
            "A file of the intake folder may not be read by the user that runs Dragonfly; "
            "give that user the right to read the folder."
        ) from None
    except OSError:
        raise Retry("the file was taken away while it was opened") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise not_allowed()
    return os.fdopen(handle, "rb")


def open_below(root: Path, parts: tuple[str, ...]) -> int:
    """A handle of the file, reached folder by folder; OSError if one of them is a link."""
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in parts[:-1]:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inner
        return os.open(parts[-1], _FILE | os.O_NOFOLLOW, dir_fd=folder)
    finally:
        os.close(folder)


def find_file(root: Path, parts: tuple[str, ...]) -> Path:
    """The regular file there. Blocking.

    Raises Reject: PATH_NOT_ALLOWED if a link or a special file is on the way, FILE_NOT_FOUND.
    """
    place = root
    for part in parts:
        place = place / part
        try:
            mode = place.lstat().st_mode
        except PermissionError:
            raise
        except OSError:  # nor can there be one if the name is longer than names may be
            raise Reject(
                "FILE_NOT_FOUND",
                f"The intake folder has no file {'/'.join(parts)}; "
                "put it there and enqueue the job again.",
            ) from None
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise not_allowed()
    if not stat.S_ISREG(mode):
        raise Reject("FILE_NOT_FOUND", f"{'/'.join(parts)} is a folder; name a file in it.")
    return place


def not_allowed() -> Reject:
    return Reject(
        "PATH_NOT_ALLOWED",
        "The path must name a file below the intake folder (DRAGONFLY_INTAKE_ROOT) by folders and "
        "name with / between them: no link, no .., no \\, no %, no drive letter, nothing absolute.",
    )
