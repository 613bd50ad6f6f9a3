"""Exports made of a few rows, and a host that runs the pipeline as a job would."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from dragonfly.judgments.batches import Order
from dragonfly.judgments.pipeline import Host, load_file
from dragonfly.postgres.transactions import transaction

HEADER = ("CaseNo", "Plaintiff", "Defendant", "JudgmentAmount", "JudgmentDate", "Court", "County")


class Killed(BaseException):
    """The process dies here."""


@dataclass(frozen=True)
class Line:
    """One line of an export of the layout ``simplicity_caseno``."""

    case_no: str
    plaintiff: str = "Harbor Lending LLC"
    defendant: str = "Jane Roe"
    amount: str = "1,500.00"
    judged: str = "2024-03-15"
    court: str = "Kings Civil"
    county: str = "Kings"

    def cells(self) -> tuple[str, ...]:
        return (
            self.case_no,
            self.plaintiff,
            self.defendant,
            self.amount,
            self.judged,
            self.court,
            self.county,
        )


def lines(count: int, *, bad: int = 0) -> list[Line]:
    """So many different judgments, the last ``bad`` of them without a usable amount."""
    made = [Line(f"CV-{n:06d}-24/KI", defendant=f"Debtor Number{n}") for n in range(1, count + 1)]
    return made[: count - bad] + [replace(line, amount="a lot") for line in made[count - bad :]]


def write_export(path: Path, rows: Sequence[Line], newline: str = "\r\n") -> Path:
    return write_cells(path, HEADER, [row.cells() for row in rows], newline)


def write_cells(
    path: Path, header: Sequence[str], rows: Iterable[Sequence[str]], newline: str = "\r\n"
) -> Path:
    with path.open("w", encoding="utf-8", newline="") as target:
        writer = csv.writer(target, lineterminator=newline)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def order_for(path: Path, **changes: Any) -> Order:
    content = path.read_bytes()
    order = Order(
        source_system="simplicity",
        file_name=path.name,
        byte_size=len(content),
        file_sha256=hashlib.sha256(content).digest(),
        error_budget_pct=Decimal(10),
    )
    return replace(order, **changes)


@dataclass
class Bench:
    """Runs the pipeline with a connection per transaction; dies before a chosen commit."""

    dsn: str
    dies_at: int | None = None
    commits: int = 0
    results: list[dict[str, Any]] = field(default_factory=list)
    followed: list[UUID] = field(default_factory=list)
    remembered: list[UUID] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[asyncpg.Connection]:
        results, followed = len(self.results), len(self.followed)
        conn = await asyncpg.connect(self.dsn)
        try:
            async with transaction(conn):
                yield conn
                self._die_if_due()
        except BaseException:
            del self.results[results:], self.followed[followed:]
            raise
        finally:
            await conn.close()
        self.commits += 1

    def _die_if_due(self) -> None:
        if self.commits == self.dies_at:
            raise Killed

    async def remember(self, batch_id: UUID) -> None:
        self.remembered.append(batch_id)

    async def progress(self, percent: float, sentence: str) -> None:
        assert 0 <= percent <= 100
        self.said.append(sentence)

    async def follow_up(self, conn: asyncpg.Connection, judgment_ids: Sequence[UUID]) -> None:
        self.followed.extend(judgment_ids)

    def complete(self, result: dict[str, Any]) -> None:
        json.dumps(result)
        self.results.append(result)

    @property
    def host(self) -> Host:
        return Host(self.transaction, self.remember, self.progress, self.follow_up, self.complete)

    async def load(self, path: Path, **changes: Any) -> dict[str, Any]:
        """The result of loading a file."""
        await load_file(self.host, order_for(path, **changes), path)
        return self.results[-1]


def counts(**named: int) -> dict[str, int]:
    """The six outcomes and their total, those not named being 0."""
    names = ("loaded", "updated", "unchanged", "duplicate", "rejected", "review")
    rows = dict.fromkeys(names, 0) | named
    return {"total": sum(rows.values())} | rows
