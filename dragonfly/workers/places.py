"""Where a file of the drop folder may lie: below the intake root, by its plain name."""

from __future__ import annotations

import re
import stat
from pathlib import Path

from dragonfly.job import Reject

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
    if any(part in {"", ".", ".."} or not _SEGMENT.fullmatch(part) for part in parts):
        raise not_allowed()
    return parts


def object_parts(path: str) -> tuple[str, ...]:
    """The same rule for the name of an object in Storage."""
    parts = tuple(path.split("/"))
    if any(part in {"", ".", ".."} or not _SEGMENT.fullmatch(part) for part in parts):
        raise not_allowed()
    return parts


def find_file(root: Path, parts: tuple[str, ...]) -> Path:
    """The regular file there. Blocking.

    Raises Reject: PATH_NOT_ALLOWED if a link or a special file is on the way, FILE_NOT_FOUND.
    """
    place = root
    for part in parts:
        place = place / part
        try:
            mode = place.lstat().st_mode
        except (FileNotFoundError, NotADirectoryError):
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
