"""A drop folder with a watcher whose clock moves only when it pauses."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from dragonfly.ops.dropfolder import DropFolder
from dragonfly.ops.watcher import Tally, Watcher

EXPORT = (
    "CaseNo,Plaintiff,Defendant,JudgmentAmount,JudgmentDate,Court,County\r\n"
    "CV-{0:06d}-24/KI,Harbor Lending LLC,Debtor Number{0},1500.00,2024-03-15,Kings Civil,Kings\r\n"
)


def export(number: int = 1) -> bytes:
    """The bytes of a small export; each number makes another."""
    return EXPORT.format(number).encode()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass
class Drop:
    """``while_pausing`` runs between the two looks of a run."""

    root: Path
    dsn: str
    said: list[str] = field(default_factory=list)
    while_pausing: Callable[[], object] = lambda: None
    connect: Any = None
    time: float = 0.0

    def __post_init__(self) -> None:
        self.folder = DropFolder(self.root)
        self.folder.prepare()
        if self.connect is None:
            self.connect = lambda: asyncpg.connect(self.dsn)

    def put(self, name: str, content: bytes) -> Path:
        path = self.folder.inbox / name
        path.write_bytes(content)
        return path

    def watcher(self) -> Watcher:
        return Watcher(
            self.folder,
            self.connect,
            self.said.append,
            clock=lambda: self.time,
            pause=self._pause,
        )

    async def _pause(self, seconds: float) -> None:
        self.while_pausing()
        self.time += seconds

    async def once(self) -> Tally:
        return await self.watcher().once()

    def files(self, folder: str) -> list[Path]:
        """The files somewhere below a folder, without receipts and explanations."""
        return sorted(
            p
            for p in (self.root / folder).rglob("*")
            if not p.is_dir() and not p.name.endswith((".receipt.json", ".why.txt"))
        )

    def receipts(self) -> list[dict[str, Any]]:
        found = sorted((self.root / "done").rglob("*.receipt.json"))
        return [json.loads(path.read_text()) for path in found]


async def job_files(conn: asyncpg.Connection) -> list[dict[str, Any]]:
    """What the jobs name, in the order in which they were enqueued."""
    rows = await conn.fetch(
        "SELECT payload FROM ops.jobs WHERE job_type = 'simplicity_ingest' ORDER BY id"
    )
    return [json.loads(row["payload"])["file"] for row in rows]
