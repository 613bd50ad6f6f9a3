"""Group 7: can this machine do the work?"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dragonfly.ops.findings import Finding, err, ok, warn

OLDEST_PYTHON = (3, 11)
LITTLE_BYTES, TOO_LITTLE_BYTES = 1_000_000_000, 200_000_000


def check_machine(intake_root: Path) -> list[Finding]:
    """Checks 7.1 to 7.6; writes nothing."""
    folders = {"spool": Path(tempfile.gettempdir()), "intake": _nearest(intake_root.absolute())}
    return [
        *_python(sys.version_info[:2]),
        *_time_zones(),
        *(finding for what, folder in folders.items() for finding in _room(what, folder)),
        *_intake(intake_root),
    ]


def _python(version: tuple[int, ...]) -> Iterator[Finding]:
    shown = ".".join(map(str, version))
    if version < OLDEST_PYTHON:
        yield err("7.1", f"Python {shown} is too old.", "Install Python 3.11 or newer.")
    else:
        yield ok("7.1", f"Python {shown}.")


def _time_zones() -> Iterator[Finding]:
    try:
        ZoneInfo("America/New_York")
    except ZoneInfoNotFoundError:
        yield err(
            "7.2",
            "The time zone America/New_York is not known; the courts' day cannot be told.",
            "Install the package tzdata.",
        )
    else:
        yield ok("7.2", "Time zones are known.")


def _room(what: str, folder: Path) -> Iterator[Finding]:
    free = shutil.disk_usage(folder).free
    told = f"{free / 1e9:.1f} GB are free for the {what} folder."
    fix = "Free some space, or point the folder elsewhere."
    if free < TOO_LITTLE_BYTES:
        yield err("7.3", told, fix)
    elif free < LITTLE_BYTES:
        yield warn("7.3", told, fix)
    else:
        yield ok("7.3", told)


def _nearest(folder: Path) -> Path:
    """The folder, or the first above it that exists."""
    return next(each for each in (folder, *folder.parents) if each.exists())


def _intake(root: Path) -> Iterator[Finding]:
    nearest = _nearest(root.absolute())
    fix = "Set DRAGONFLY_INTAKE_ROOT to a folder in which this user may write."
    if not nearest.is_dir():
        yield err("7.6", "The intake folder is not a folder.", fix)
    elif not os.access(nearest, os.W_OK | os.X_OK):
        yield err("7.6", "The intake folder may not be written.", fix)
    elif nearest == root.absolute():
        yield ok("7.6", "The intake folder can be written.")
    else:
        yield ok("7.6", "The intake folder does not exist yet; it is made when first needed.")
