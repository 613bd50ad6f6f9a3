"""Rows of the queue in chosen states."""

from __future__ import annotations

from typing import Any

import asyncpg

_JOB = """
INSERT INTO ops.jobs (job_type, status, run_at, finished_at, attempts, locked_by, locked_at,
                      locked_until, lock_token, last_error)
VALUES ($1, $2, clock_timestamp() - make_interval(secs => $3),
        CASE WHEN $2 NOT IN ('pending', 'processing')
             THEN clock_timestamp() - make_interval(secs => $3) END,
        1, 'holder',
        clock_timestamp() - make_interval(secs => $3),
        CASE WHEN $2 = 'processing' THEN clock_timestamp() END,
        CASE WHEN $2 = 'processing' THEN 1 END, $4)
RETURNING id
"""
_HEARTBEAT = """
INSERT INTO ops.worker_heartbeats (worker_id, worker_type, status, last_heartbeat_at, hostname, pid,
                                   version, reason, job_types)
VALUES ($1 || '-' || ($3::float8)::text, $1, $2,
        clock_timestamp() - make_interval(secs => $3), 'here', 1, $4, $5, $6)
"""


async def add_job(
    conn: asyncpg.Connection,
    job_type: str,
    status: str = "pending",
    *,
    seconds: float = 0,
    error: str | None = None,
) -> int:
    """A job that came to its status so many seconds ago."""
    job_id: int = await conn.fetchval(_JOB, job_type, status, seconds, error)
    return job_id


async def add_heartbeat(
    conn: asyncpg.Connection, worker_type: str, status: str = "running", **changes: Any
) -> None:
    """A worker that last spoke ``seconds`` ago."""
    row = {"seconds": 0.0, "version": "0.1.0", "reason": None, "job_types": [worker_type]} | changes
    await conn.execute(
        _HEARTBEAT,
        worker_type,
        status,
        row["seconds"],
        row["version"],
        row["reason"],
        row["job_types"],
    )
