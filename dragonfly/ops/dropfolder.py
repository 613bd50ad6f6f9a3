"""The drop folder on disk: where a file lies is what is known of it.

inbox/             files as people put them there
working/           taken, by an atomic rename, under a name that carries when it was taken
done/YYYY-MM/      handed over; ``NAME.receipt.json`` is written after the job is committed
rejected/YYYY-MM/  not accepted; ``NAME.why.txt`` says what, why, and what to do

A name in working/ decides the place in done/, so whatever dies in between, the next look finds the
same answer. A file in done/ without a receipt is one whose commit nobody saw.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from dragonfly.errors import ConfigurationError, DragonflyError, InputRefused
from dragonfly.ops.filing import safe_name

FOLDERS = ("inbox", "working", "done", "rejected")
LOCK_NAME = ".watch.lock"
_RECEIPT, _WHY = ".receipt.json", ".why.txt"
_NOT_YET = (".*", "~$*", "*.tmp", "*.partial", "*.crdownload", "*.part", "desktop.ini", "thumbs.db")
_TAKEN = re.compile(r"(?P<year>\d{4})(?P<month>\d{2})\d{2}T\d{6}Z-[0-9a-f]{12}__(?P<name>.+)")
_REPARSE_POINT = getattr(stat, "FILE_ATTRIBUTE_REPARSE_POINT", 0)


class AlreadyWatched(DragonflyError):
    """Another watcher holds the lock of this drop folder."""


class Mark(NamedTuple):
    """What two looks at a file that nobody writes to have in common."""

    size: int
    mtime_ns: int


class DropFolder:
    """All methods block; each does at most one thing that a crash could halve."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.inbox, self.working, self.done, self.rejected = (self.root / n for n in FOLDERS)

    def prepare(self) -> None:
        """Make the folders; ConfigurationError unless renames between them are atomic."""
        try:
            for folder in (self.inbox, self.working, self.done, self.rejected):
                folder.mkdir(parents=True, exist_ok=True)
                self._require_own(folder)
        except OSError as error:
            raise ConfigurationError(
                f"The drop folder {str(self.root)!a} cannot be used ({error.strerror}); "
                "set DRAGONFLY_INTAKE_ROOT to a folder in which this user may write."
            ) from error

    @contextmanager
    def held(self) -> Iterator[None]:
        """Be the only watcher while the block runs; a crash lets go. Raises AlreadyWatched."""
        lock = FileLock(self.root / LOCK_NAME)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise AlreadyWatched(
                f"Another watcher runs on {str(self.root)!a}; stop it, or let it work."
            ) from None
        try:
            yield
        finally:
            lock.release()

    def _require_own(self, folder: Path) -> None:
        if _is_link(folder.lstat()) or folder.stat().st_dev != self.root.stat().st_dev:
            raise ConfigurationError(
                f"{folder.name} in the drop folder {str(self.root)!a} is a link or another "
                "volume; make it a plain folder there, so that moving a file is one step."
            )
        if not os.access(folder, os.W_OK):
            raise PermissionError(13, "Permission denied")

    def arrivals(self) -> dict[str, Mark]:
        """Files in the inbox that may be complete, by name."""
        found = {}
        for entry in os.scandir(self.inbox):
            if any(fnmatchcase(entry.name.lower(), pattern) for pattern in _NOT_YET):
                continue
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            # what is no file is taken as well, to be rejected where its owner sees it
            plain = stat.S_ISREG(status.st_mode)
            if not stat.S_ISDIR(status.st_mode) and not (plain and status.st_size == 0):
                found[entry.name] = Mark(status.st_size, status.st_mtime_ns)
        return found

    def take(self, name: str, now: datetime) -> Path | None:
        """Rename into working/; None if it is gone, or in use by a program (Windows)."""
        stamp = f"{now.astimezone(UTC):%Y%m%dT%H%M%S}Z-{secrets.token_hex(6)}"
        target = self.working / f"{stamp}__{safe_name(name)}"
        try:
            (self.inbox / name).rename(target)
        except (FileNotFoundError, PermissionError):
            return None
        return target

    def in_hand(self) -> list[Path]:
        """Files in working/, the longest taken first."""
        return sorted(p for p in self.working.iterdir() if _TAKEN.fullmatch(p.name))

    def require_plain(self, taken: Path) -> None:
        """InputRefused for a link, a device, or anything else that is not a file."""
        status = taken.lstat()
        if not stat.S_ISREG(status.st_mode) or _is_link(status):
            raise InputRefused(
                "NOT_A_FILE",
                "It is a link or a special file, which could lead out of the drop folder; "
                "put the file itself into the inbox.",
            )

    def done_path(self, taken: Path) -> str:
        """Where a taken file will lie, below the root, with ``/``."""
        return f"done/{_month(taken)}/{taken.name}"

    def move_to_done(self, taken: Path) -> None:
        target = self.root / self.done_path(taken)
        target.parent.mkdir(parents=True, exist_ok=True)
        taken.rename(target)

    def reject(self, taken: Path, why: InputRefused) -> None:
        """Explain first, move then: a file in rejected/ has always its explanation beside it."""
        folder = self.rejected / _month(taken)
        folder.mkdir(parents=True, exist_ok=True)
        reason, _, remedy = why.message.rstrip(".").partition("; ")
        remedy = remedy or "mend it and put it into the inbox again"
        lines = (
            f"What: {shown(taken)} was not accepted ({why.code}).",
            f"Why: {reason}.",
            f"What to do: {remedy[:1].upper()}{remedy[1:]}.",
        )
        text = "\r\n".join(lines) + "\r\n"
        _write_whole(folder / f"{taken.name}{_WHY}", text.encode("ascii", "replace"))
        taken.rename(folder / taken.name)

    def write_receipt(self, done_path: str, receipt: dict[str, Any]) -> None:
        text = json.dumps(receipt, indent=2) + "\n"
        _write_whole(self.root / f"{done_path}{_RECEIPT}", text.encode())

    def without_receipt(self) -> list[str]:
        """Paths of files in done/ of which nobody knows whether their job was committed."""
        open_ended = []
        for month in sorted(p for p in self.done.iterdir() if p.is_dir()):
            names = {entry.name for entry in month.iterdir()}
            open_ended += [
                f"done/{month.name}/{name}"
                for name in sorted(names)
                if _TAKEN.fullmatch(name)
                and not name.endswith(_RECEIPT)
                and f"{name}{_RECEIPT}" not in names
            ]
        return open_ended


def own_name(path: Path | str) -> str:
    """The name its owner gave a file, before a watcher put in front when it was taken."""
    name = Path(path).name
    match = _TAKEN.fullmatch(name)
    return match["name"] if match else name


def shown(path: Path | str) -> str:
    """Its owner's name for a file, in quotes, fit for any console."""
    return ascii(own_name(path))


def _month(taken: Path) -> str:
    match = _TAKEN.fullmatch(taken.name)
    if match is None:
        raise ValueError(f"{taken.name} was not taken by a watcher")
    return f"{match['year']}-{match['month']}"


def _is_link(status: os.stat_result) -> bool:
    attributes = getattr(status, "st_file_attributes", 0)
    return stat.S_ISLNK(status.st_mode) or bool(attributes & _REPARSE_POINT)


def _write_whole(path: Path, content: bytes) -> None:
    half = path.with_name(f".{path.name}.tmp")
    half.write_bytes(content)
    half.replace(path)
