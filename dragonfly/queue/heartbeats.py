"""The table in which every start of a worker has one row."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncpg import Connection


class WorkerStatus(StrEnum):
    """What the seed page's table of status values says."""

    STARTING = "starting"
    RUNNING = "running"
    DEGRADED = "degraded"
    STOPPED = "stopped"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """One worker's state; ``reason`` is a sentence when the status is degraded or error.

    ``circuits`` are the job types that it does not claim for now, each with the reason.
    """

    worker_id: str
    worker_type: str
    status: WorkerStatus
    hostname: str
    pid: int
    version: str
    consecutive_failures: int
    reason: str | None
    running_jobs: int
    job_types: tuple[str, ...]
    concurrency: int = 1
    concurrency_per_key: int = 1
    circuits: Mapping[str, str] = field(default_factory=dict)
    rss_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Beat:
    """What the database said to a heartbeat: its time, and whether some job's lease ran out."""

    at: datetime
    lapsed: bool


_BEAT = """
INSERT INTO ops.worker_heartbeats AS h (
       worker_id, worker_type, status, hostname, pid, version, consecutive_failures, reason,
       running_jobs, job_types, concurrency, concurrency_per_key, circuits, rss_bytes,
       last_heartbeat_at, started_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, clock_timestamp(),
        clock_timestamp())
    ON CONFLICT (worker_id) DO UPDATE
   SET status = excluded.status, consecutive_failures = excluded.consecutive_failures,
       reason = excluded.reason, running_jobs = excluded.running_jobs,
       circuits = excluded.circuits, rss_bytes = excluded.rss_bytes,
       last_heartbeat_at = excluded.last_heartbeat_at
RETURNING last_heartbeat_at,
          EXISTS (SELECT FROM ops.jobs j
                   WHERE j.status = 'processing'
                     AND j.locked_until < (SELECT clock_timestamp())) AS lapsed
"""

_PRUNE = """
DELETE FROM ops.worker_heartbeats
 WHERE worker_id = ANY (ARRAY (
       SELECT worker_id FROM ops.worker_heartbeats
        WHERE last_heartbeat_at < clock_timestamp() - interval '24 hours'
          FOR UPDATE SKIP LOCKED))
"""


async def beat(conn: Connection, heartbeat: Heartbeat) -> Beat:
    """Write the row of this start of the worker."""
    (row,) = await conn.fetch(
        _BEAT,
        heartbeat.worker_id,
        heartbeat.worker_type,
        heartbeat.status,
        heartbeat.hostname,
        heartbeat.pid,
        heartbeat.version,
        heartbeat.consecutive_failures,
        heartbeat.reason,
        heartbeat.running_jobs,
        heartbeat.job_types,
        heartbeat.concurrency,
        heartbeat.concurrency_per_key,
        json.dumps(dict(heartbeat.circuits)),
        heartbeat.rss_bytes,
    )
    return Beat(row["last_heartbeat_at"], row["lapsed"])


async def prune(conn: Connection) -> None:
    """Forget the starts that have said nothing for 24 hours."""
    await conn.execute(_PRUNE)
