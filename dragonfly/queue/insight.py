"""Read-only questions about the queue; the database's clock decides what is old or alive."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from asyncpg import Connection, Record

# a worker that has said nothing for so long is not counted on; six heartbeats at the longest wish
ALIVE_SECONDS = 90.0
STUCK_SECONDS = 600.0
MOST_ROWS = 200


@dataclass(frozen=True, slots=True)
class TypeCount:
    """How many jobs of one type have one status."""

    job_type: str
    status: str
    count: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """The jobs of one type that are due and not claimed; ``seconds`` is the oldest one's delay."""

    job_type: str
    count: int
    seconds: float


@dataclass(frozen=True, slots=True)
class StuckJob:
    """A job in processing whose lock nobody renews; ``seconds`` since the last renewal."""

    id: int
    job_type: str
    locked_by: str
    seconds: float


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """Failed jobs of one type that share the code at the beginning of their error."""

    job_type: str
    code: str
    count: int
    first_id: int
    last_at: datetime


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """One start of a worker; ``age`` is seconds since its last heartbeat."""

    worker_id: str
    worker_type: str
    status: str
    age: float
    last_heartbeat_at: datetime
    started_at: datetime
    hostname: str
    pid: int
    version: str
    consecutive_failures: int
    reason: str | None
    running_jobs: int
    rss_bytes: int | None
    job_types: tuple[str, ...]

    @property
    def alive(self) -> bool:
        """It has spoken lately and has not said goodbye."""
        return self.age <= ALIVE_SECONDS and self.status not in {"stopped", "error"}


@dataclass(frozen=True, slots=True)
class JobLine:
    """A job in a list, without its payload."""

    id: int
    job_type: str
    status: str
    attempts: int
    max_attempts: int
    run_at: datetime
    created_at: datetime
    finished_at: datetime | None
    locked_by: str | None
    last_error: str | None


@dataclass(frozen=True, slots=True)
class JobDetail:
    """Everything about one job that a person may see; jsonb columns are decoded."""

    id: int
    job_type: str
    status: str
    payload: Any
    priority: int
    run_at: datetime
    created_at: datetime
    finished_at: datetime | None
    attempts: int
    max_attempts: int
    crashes: int
    locked_by: str | None
    locked_at: datetime | None
    locked_until: datetime | None
    unique_key: str | None
    concurrency_key: str | None
    due_at: datetime | None
    progress: Any
    checkpoint: Any
    last_error: str | None
    errors: Any
    result: Any
    correlation_id: UUID | None
    parent_id: int | None


_COUNTS = """
SELECT job_type, status, count(*) AS count
  FROM ops.jobs
 GROUP BY job_type, status
 ORDER BY job_type, status
 LIMIT $1
"""

_WAITING = """
SELECT job_type, count(*) AS count,
       extract(epoch FROM clock_timestamp() - min(run_at))::float8 AS seconds
  FROM ops.jobs
 WHERE status = 'pending' AND run_at <= (SELECT clock_timestamp())
 GROUP BY job_type
 ORDER BY seconds DESC, job_type
 LIMIT $1
"""

_STUCK = """
SELECT id, job_type, locked_by,
       extract(epoch FROM clock_timestamp() - locked_at)::float8 AS seconds
  FROM ops.jobs
 WHERE status = 'processing'
   AND locked_at < clock_timestamp() - make_interval(secs => $1)
 ORDER BY locked_at, id
 LIMIT $2
"""

# due, and in no living worker's list of types: nothing is wrong with them, nobody takes them
_UNTAKEN = """
SELECT j.job_type, count(*) AS count,
       extract(epoch FROM clock_timestamp() - min(j.run_at))::float8 AS seconds
  FROM ops.jobs j
 WHERE j.status = 'pending' AND j.run_at <= (SELECT clock_timestamp())
   AND NOT EXISTS (SELECT FROM ops.worker_heartbeats h
                    WHERE j.job_type = ANY (h.job_types) AND h.status NOT IN ('stopped', 'error')
                      AND h.last_heartbeat_at >= clock_timestamp() - make_interval(secs => $1))
 GROUP BY j.job_type
 ORDER BY j.job_type
 LIMIT $2
"""

# the code of a rejection stands before the first colon; any other error is grouped as a whole kind
_DEAD = """
SELECT job_type, coalesce(substring(last_error FROM '^[A-Z][A-Z0-9_]+(?=:)'),
                          substring(last_error FROM '^[A-Za-z_]+'), 'UNKNOWN') AS code,
       count(*) AS count, min(id) AS first_id, max(finished_at) AS last_at
  FROM ops.jobs
 WHERE status = 'failed'
   AND finished_at >= clock_timestamp() - make_interval(hours => $1)
 GROUP BY 1, 2
 ORDER BY count(*) DESC, 1, 2
 LIMIT $2
"""

_WORKERS = """
SELECT worker_id, worker_type, status,
       extract(epoch FROM clock_timestamp() - last_heartbeat_at)::float8 AS age,
       last_heartbeat_at, started_at, hostname, pid, version, consecutive_failures, reason,
       running_jobs, rss_bytes, job_types
  FROM ops.worker_heartbeats
 ORDER BY last_heartbeat_at DESC, worker_id
 LIMIT $1
"""

_JOB = """
SELECT id, job_type, status, payload, priority, run_at, created_at, finished_at, attempts,
       max_attempts, crashes, locked_by, locked_at, locked_until, unique_key, concurrency_key,
       due_at, progress, checkpoint, last_error, errors, result, correlation_id, parent_id
  FROM ops.jobs WHERE id = $1
"""

_LIST = """
SELECT id, job_type, status, attempts, max_attempts, run_at, created_at, finished_at, locked_by,
       last_error
  FROM ops.jobs
 WHERE ($1::text IS NULL OR status = $1) AND ($2::text IS NULL OR job_type = $2)
 ORDER BY id DESC
 LIMIT $3
"""

_JSON_COLUMNS = ("payload", "progress", "checkpoint", "errors", "result")


async def counts(conn: Connection) -> list[TypeCount]:
    """Jobs by type and status."""
    return [TypeCount(*row) for row in await conn.fetch(_COUNTS, MOST_ROWS)]


async def waiting(conn: Connection) -> list[Waiting]:
    """Due jobs by type, the longest delay first."""
    return [Waiting(*row) for row in await conn.fetch(_WAITING, MOST_ROWS)]


async def stuck(conn: Connection, seconds: float = STUCK_SECONDS) -> list[StuckJob]:
    """Jobs in processing whose lock was not renewed for ``seconds``."""
    return [StuckJob(*row) for row in await conn.fetch(_STUCK, seconds, MOST_ROWS)]


async def untaken(conn: Connection) -> list[Waiting]:
    """Due jobs whose type no living worker takes."""
    return [Waiting(*row) for row in await conn.fetch(_UNTAKEN, ALIVE_SECONDS, MOST_ROWS)]


async def dead_letters(conn: Connection, hours: int = 24) -> list[DeadLetters]:
    """Jobs that failed within ``hours``, by type and the code of their error."""
    return [DeadLetters(*row) for row in await conn.fetch(_DEAD, hours, MOST_ROWS)]


async def workers(conn: Connection, limit: int = MOST_ROWS) -> list[WorkerRow]:
    """The heartbeat rows, newest first."""
    return [_worker(row) for row in await conn.fetch(_WORKERS, limit)]


def _worker(row: Record) -> WorkerRow:
    return WorkerRow(**(dict(row) | {"job_types": tuple(row["job_types"])}))


async def job(conn: Connection, job_id: int) -> JobDetail | None:
    """One job; None if there is none of this id."""
    row = await conn.fetchrow(_JOB, job_id)
    if row is None:
        return None
    decoded = {name: json.loads(row[name]) for name in _JSON_COLUMNS if row[name] is not None}
    return JobDetail(**(dict(row) | decoded))


async def jobs(
    conn: Connection, *, status: str | None = None, job_type: str | None = None, limit: int = 50
) -> list[JobLine]:
    """The newest jobs, of one status or type if asked for."""
    rows = await conn.fetch(_LIST, status, job_type, limit)
    return [JobLine(*row) for row in rows]
