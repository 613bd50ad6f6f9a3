"""Group 4: do the workers live, and does the queue move?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from dragonfly import __version__
from dragonfly.ops.findings import Finding, age, err, ok, warn
from dragonfly.queue import insight
from dragonfly.queue.insight import WorkerRow
from dragonfly.workers import TRADE_WORKERS

if TYPE_CHECKING:
    from asyncpg import Connection

SILENT_ERROR_SECONDS = 300.0
LATE_SECONDS = 600.0


async def check_queue(conn: Connection) -> list[Finding]:
    """Checks 4.1 to 4.4 and 4.8."""
    rows = await insight.workers(conn)
    return [
        *_heartbeats(rows),
        *_versions(rows),
        *await _stuck(conn),
        *await _late(conn),
        *await _untaken(conn),
        *await _dead_letters(conn),
    ]


def _heartbeats(rows: Sequence[WorkerRow]) -> Iterator[Finding]:
    """One finding per worker type, by the start that spoke last."""
    newest = {row.worker_type: row for row in reversed(rows)}
    for worker_type in {name.replace("-", "_"): None for name in TRADE_WORKERS} | newest:
        yield _heartbeat(worker_type, newest.get(worker_type))


def _heartbeat(worker_type: str, row: WorkerRow | None) -> Finding:
    start = f"Start it: dragonfly run --workers {worker_type.replace('_', '-')}"
    if row is None:
        return warn("4.1", f"{worker_type}: no heartbeat within a day.", start)
    spoke = f"{age(row.age)} ago"
    if row.status == "error":
        return err("4.1", f"{worker_type}: in error, last heard {spoke}: {row.reason}.", start)
    if row.status == "stopped":
        return warn("4.1", f"{worker_type}: stopped {spoke}.", start)
    if row.age > SILENT_ERROR_SECONDS:
        return err("4.1", f"{worker_type}: last heard {spoke}, and it has not stopped.", start)
    if row.age > insight.ALIVE_SECONDS:
        return warn("4.1", f"{worker_type}: last heard {spoke}.", start)
    if row.status == "degraded":
        return warn("4.8", f"{worker_type}: degraded: {row.reason}.", "Mend what the reason names.")
    return ok("4.1", f"{worker_type}: {row.status}, heartbeat {spoke}.")


def _versions(rows: Sequence[WorkerRow]) -> Iterator[Finding]:
    others = sorted({row.version for row in rows if row.alive} - {__version__})
    if others:
        yield warn(
            "4.2",
            f"Workers of version {', '.join(others)} run; this is {__version__}.",
            "Deploy one version everywhere.",
        )


async def _stuck(conn: Connection) -> list[Finding]:
    stuck = await insight.stuck(conn)
    if not stuck:
        return [ok("4.3", "No job is stuck.")]
    first = stuck[0]
    return [
        err(
            "4.3",
            f"{len(stuck)} jobs are in processing without a living holder; the oldest, "
            f"job {first.id} ({first.job_type}), for {age(first.seconds)}.",
            "Start any worker process: it brings them back by itself.",
        )
    ]


async def _late(conn: Connection) -> list[Finding]:
    findings = [
        warn(
            "4.3",
            f"{each.count} {each.job_type} jobs are due, the oldest for {age(each.seconds)}.",
            "See whether its worker lives (dragonfly workers); give it more slots or processes.",
        )
        for each in await insight.waiting(conn)
        if each.seconds > LATE_SECONDS
    ]
    return findings or [ok("4.3", f"No job is due for more than {age(LATE_SECONDS)}.")]


async def _untaken(conn: Connection) -> list[Finding]:
    return [
        warn(
            "4.3",
            f"Jobs of type {each.job_type} are left pending ({each.count}): no worker takes them.",
            "Start a worker for this type, or cancel them (dragonfly jobs list "
            f"--type {each.job_type}).",
        )
        for each in await insight.untaken(conn)
    ]


async def _dead_letters(conn: Connection) -> list[Finding]:
    findings = [
        warn(
            "4.4",
            f"{each.count} {each.job_type} jobs failed within a day with {each.code}; "
            f"the first is job {each.first_id}.",
            f"Read why: dragonfly jobs show {each.first_id}",
        )
        for each in await insight.dead_letters(conn)
    ]
    return findings or [ok("4.4", "No job failed within a day.")]
