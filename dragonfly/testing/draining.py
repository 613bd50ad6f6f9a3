"""A whole queue, run dry by the real supervisor in the event loop of a test."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import anyio

from dragonfly.errors import CrashLoopError, DragonflyError
from dragonfly.events import (
    CrashLoopDetected,
    Events,
    JobFinished,
    JobLockLost,
    JobStarted,
    WorkerFell,
)
from dragonfly.job import JobStatus
from dragonfly.postgres.database import Database, close, open_database
from dragonfly.queue.migrate import require_schema
from dragonfly.runtime.process import Mode, open_process
from dragonfly.runtime.supervisor import Supervisor
from dragonfly.settings import Settings
from dragonfly.worker import Worker

if TYPE_CHECKING:
    from asyncpg import Connection

# the pauses of a worker after failures: 10 ms where it would be a second
BACKOFF_SCALE = 0.01

_RAN = """
SELECT id, job_type, status, attempts, result, last_error, run_at FROM ops.jobs
 WHERE id = ANY ($1) ORDER BY id
"""
_MAKE_DUE = """
UPDATE ops.jobs SET run_at = clock_timestamp()
 WHERE id = ANY (ARRAY (
           SELECT id FROM ops.jobs
            WHERE status = 'pending' AND run_at > (SELECT clock_timestamp())
              AND job_type = coalesce($1, job_type)
            ORDER BY id FOR UPDATE))
RETURNING id
"""


@dataclass(frozen=True, slots=True)
class DrainedJob:
    """A job that a drain ran, as it stands now; ``error`` is what ``last_error`` says."""

    id: int
    job_type: str
    status: JobStatus
    attempts: int
    result: Any
    error: str | None
    run_at: datetime


@dataclass(frozen=True, slots=True)
class Drained:
    """What a drain did, in the order of the jobs' ids."""

    jobs: tuple[DrainedJob, ...]

    @property
    def counts(self) -> dict[str, int]:
        """How many of the jobs have each status now."""
        return dict(Counter(job.status.value for job in self.jobs))

    @property
    def failed(self) -> tuple[DrainedJob, ...]:
        """Those that ended in the dead-letter state."""
        return tuple(job for job in self.jobs if job.status is JobStatus.FAILED)

    @property
    def pending(self) -> tuple[DrainedJob, ...]:
        """Those that will be tried again at their ``run_at``: retried, snoozed or given back."""
        return tuple(job for job in self.jobs if job.status is JobStatus.PENDING)


async def drain(
    database: str | Database,
    *workers: Worker,
    settings: Settings | None = None,
    seconds: float = 60,
) -> Drained:
    """Run these workers until nothing of theirs is due; follow-up jobs included.

    ``database`` is an address. What is scheduled for later stays, see ``make_due``. Raises
    TimeoutError if it takes longer than ``seconds``, and what a worker died of, such as
    CrashLoopError.
    """
    if isinstance(database, str):
        database = await open_database(database, "the test's database")
    conn = await database.connect("test")
    try:
        await require_schema(conn)
        witness = _Witness()
        quick = settings or Settings(backoff_scale=BACKOFF_SCALE)
        await _run(database, workers, quick, witness, seconds)
        rows = await conn.fetch(_RAN, sorted(witness.ran))
    finally:
        await close(conn)
    return Drained(tuple(_read(row) for row in rows))


async def make_due(conn: Connection, job_type: str | None = None) -> list[int]:
    """Let the time come for jobs that are pending for later, all or those of a type; their ids."""
    return sorted(row["id"] for row in await conn.fetch(_MAKE_DUE, job_type))


@dataclass
class _Witness:
    """Which jobs ran, which still do, and what a worker died of."""

    events: Events = field(default_factory=Events)
    ran: set[int] = field(default_factory=set)
    running: dict[int, str] = field(default_factory=dict)
    death: DragonflyError | None = None

    def __post_init__(self) -> None:
        self.events.on(JobStarted, self._started)
        self.events.on(JobFinished, self._ended)
        self.events.on(JobLockLost, self._ended)
        self.events.on(WorkerFell, self._fell)
        self.events.on(CrashLoopDetected, self._crashed)

    def _started(self, event: JobStarted) -> None:
        self.ran.add(event.job_id)
        self.running[event.job_id] = event.job_type

    def _ended(self, event: JobFinished | JobLockLost) -> None:
        self.running.pop(event.job_id, None)

    def _fell(self, event: WorkerFell) -> None:
        self.death = DragonflyError(f"Worker {event.worker} fell: {event.reason}")

    def _crashed(self, event: CrashLoopDetected) -> None:
        self.death = CrashLoopError(
            f"Worker {event.worker} failed {event.failures} times in a row; "
            f"the last time: {event.reason}"
        )


async def _run(
    database: Database,
    workers: tuple[Worker, ...],
    settings: Settings,
    witness: _Witness,
    seconds: float,
) -> None:
    late: str | None = None
    async with (
        open_process(settings, database, witness.events, Mode.DRAIN) as process,
        anyio.create_task_group() as group,
    ):

        async def stop_if_late() -> None:
            nonlocal late
            await anyio.sleep(seconds)
            running = [f"{job_id} ({kind})" for job_id, kind in witness.running.items()]
            late = f"jobs {', '.join(running)} ran" if running else "no job ran"
            process.stop.request("timeout")
            process.stop.request("timeout")

        def leave(_: int) -> None:
            # what cannot be stopped must not take the process of the tests with it
            witness.death = DragonflyError("a handler or a lifespan did not end when it was told")
            group.cancel_scope.cancel()

        group.start_soon(stop_if_late)
        boss = Supervisor(process, workers, exit_now=leave)
        await boss.run(heed_signals=False)
        group.cancel_scope.cancel()
    if late is not None:
        raise TimeoutError(f"the drain had not ended after {seconds:g} s; {late} then")
    if witness.death is not None:
        raise witness.death


def _read(row: Any) -> DrainedJob:
    result = None if row["result"] is None else json.loads(row["result"])
    return DrainedJob(
        row["id"],
        row["job_type"],
        JobStatus(row["status"]),
        row["attempts"],
        result,
        row["last_error"],
        row["run_at"],
    )
