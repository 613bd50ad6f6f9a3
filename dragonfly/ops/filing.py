"""A file below the intake folder becomes a job: its fingerprint, its safe name, its payload."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from dragonfly.errors import InputRefused
from dragonfly.judgments.encodings import refuse_other_types
from dragonfly.queue.store import enqueue

if TYPE_CHECKING:
    from asyncpg import Connection

JOB_TYPE = "simplicity_ingest"
LOADED_FOLDER = "loaded"
_PIECE = 1 << 20
_LONGEST_NAME = 150
# what a path in a job may not hold, on any system
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\\%:*?\"<>|/]")


class StillChanging(Exception):
    """Somebody writes to the file while it is read."""


@dataclass(frozen=True, slots=True)
class Filed:
    """A file by its path below the intake folder (with ``/``), its size and sha256 (hex)."""

    path: str
    size: int
    sha256: str

    def payload(self, **options: Any) -> dict[str, Any]:
        """What the job that loads it is given; options that are None are left out."""
        file = {"store": "drop", "path": self.path, "sha256": self.sha256, "bytes": self.size}
        given = {name: value for name, value in options.items() if value is not None}
        return {"file": file} | given


def safe_name(name: str) -> str:
    """The name with what some system or a job's path forbids replaced, and not too long."""
    text = unicodedata.normalize("NFC", name).encode("utf-8", "replace").decode()
    text = _UNSAFE.sub("_", text).rstrip(". ") or "file"
    while len(text.encode()) > _LONGEST_NAME:
        stem, dot, suffix = text.rpartition(".")
        text = f"{stem[:-1]}.{suffix}" if dot and len(suffix) < 10 and stem else text[:-1]
    return text


def fingerprint(path: Path) -> tuple[int, str]:
    """Size and sha256 (hex) of a file that no link stands for; StillChanging if it changes."""
    digest = hashlib.sha256()
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags), "rb") as source:
        before = os.fstat(source.fileno())
        while piece := source.read(_PIECE):
            digest.update(piece)
        after = os.fstat(source.fileno())
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise StillChanging
    return before.st_size, digest.hexdigest()


def file_by_content(root: Path, source: Path) -> Filed:
    """Copy a file below the intake folder, to a place that its content names.

    Raises InputRefused for what cannot be an export, OSError for what cannot be read or written.
    """
    if not source.is_file():
        raise InputRefused("FILE_NOT_FOUND", f"There is no file {source}; check its path.")
    refuse_other_types(source)
    size, sha256 = fingerprint(source.resolve())
    folder = root / LOADED_FOLDER / sha256
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / safe_name(source.name)
    if not target.exists():
        half = folder / f".{os.getpid()}.partial"
        shutil.copyfile(source, half)
        half.replace(target)
    if fingerprint(target) != (size, sha256):
        target.unlink()
        raise StillChanging
    return Filed(f"{LOADED_FOLDER}/{sha256}/{target.name}", size, sha256)


_LOADED = """
SELECT batch_id FROM civil.intake_batches
 WHERE file_sha256 = $1 AND mode = 'load' AND status IN ('completed', 'completed_with_rejects')
 ORDER BY created_at LIMIT 1
"""

_BATCH_OF = "SELECT batch_id FROM civil.intake_batches WHERE file_sha256 = $1 AND storage_path = $2"


async def enqueue_file(
    conn: Connection, filed: Filed, *, job_type: str = JOB_TYPE, **options: Any
) -> int:
    """Enqueue the job that loads the file; the id of the one that waits for it already, if any."""
    given = [str(value) for name, value in sorted(options.items()) if value is not None]
    key = ":".join([filed.sha256, *given])
    return await enqueue(conn, job_type, filed.payload(**options), unique_key=key)


async def loaded_as(conn: Connection, filed: Filed) -> UUID | None:
    """The batch that loaded a file of the same content, under whatever name."""
    batch_id: UUID | None = await conn.fetchval(_LOADED, bytes.fromhex(filed.sha256))
    return batch_id


async def taken_up(conn: Connection, filed: Filed) -> bool:
    """Whether a job has begun with exactly this file."""
    return (await conn.fetchval(_BATCH_OF, bytes.fromhex(filed.sha256), filed.path)) is not None
