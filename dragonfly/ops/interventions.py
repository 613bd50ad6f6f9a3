"""What a person does to jobs, job types and schedules: each deed leaves a row in ops.audit."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from dragonfly.postgres.transactions import transaction
from dragonfly.queue import audit, pauses, schedules, store
from dragonfly.queue.audit import Deed

if TYPE_CHECKING:
    from asyncpg import Connection

# the job's row is locked by the retry before it, so no worker claims it in between
_NOTE = """
UPDATE ops.jobs
   SET errors = (CASE WHEN jsonb_array_length(errors) >= 20 THEN errors - 0
                      ELSE coalesce(errors, '[]') END)
                || jsonb_build_object('attempt', attempts, 'at', clock_timestamp(),
                                      'error', 'retried: ' || $2::text)
 WHERE id = $1
"""

# locked, so that what the audit says was there before is what the deed found
_STATE = """
SELECT job_type, status, attempts, crashes, run_at, last_error
  FROM ops.jobs WHERE id = $1 FOR UPDATE
"""


async def cancel(conn: Connection, job_id: int, deed: Deed) -> bool:
    """Cancel a job that waits or runs; False if it had ended or does not exist."""
    async with transaction(conn):
        before = await _state(conn, job_id)
        done = await store.cancel(conn, job_id, deed.reason)
        if done:
            await _record_job(conn, deed, "cancel job", job_id, before)
    return done


async def retry(conn: Connection, job_id: int, deed: Deed) -> bool:
    """Start an ended job over; False if it has not ended, or its unique key is taken."""
    async with transaction(conn):
        before = await _state(conn, job_id)
        revived = await store.retry(conn, job_id)
        if revived:
            await conn.execute(_NOTE, job_id, deed.reason)
            await _record_job(conn, deed, "retry job", job_id, before)
    return revived


async def pause_type(
    conn: Connection, job_type: str, deed: Deed, until: datetime | None = None
) -> bool:
    """Let nobody claim this type, until a time if given; False if it is paused already."""
    async with transaction(conn):
        done = await pauses.pause(conn, job_type, deed.actor, deed.reason, until)
        if done:
            after = {"until": until}
            await audit.record(conn, deed, "pause type", job_type, after=after)
    return done


async def resume_type(conn: Connection, job_type: str, deed: Deed) -> bool:
    """Let the type be claimed again; False if it is not paused."""
    async with transaction(conn):
        before = [p for p in await pauses.paused(conn) if p.job_type == job_type]
        done = await pauses.resume(conn, job_type)
        if done:
            state = asdict(before[0]) if before else None
            await audit.record(conn, deed, "resume type", job_type, before=state)
    return done


async def pause_schedule(conn: Connection, name: str, deed: Deed) -> bool:
    """Stop a schedule's ticks; False if there is none of this name or it is paused."""
    async with transaction(conn):
        done = await schedules.pause(conn, name, deed.actor, deed.reason)
        if done:
            await audit.record(conn, deed, "pause schedule", name)
    return done


async def resume_schedule(conn: Connection, name: str, deed: Deed) -> bool:
    """Let a schedule tick again; False if it does, or there is none of this name."""
    async with transaction(conn):
        done = await schedules.resume(conn, name, deed.actor, deed.reason)
        if done:
            await audit.record(conn, deed, "resume schedule", name)
    return done


async def _state(conn: Connection, job_id: int) -> dict[str, Any] | None:
    row = await conn.fetchrow(_STATE, job_id)
    return None if row is None else dict(row)


async def _record_job(
    conn: Connection, deed: Deed, action: str, job_id: int, before: dict[str, Any] | None
) -> None:
    after = await _state(conn, job_id)
    subject = str(before["job_type"]) if before else ""
    await audit.record(conn, deed, action, subject, job_id=job_id, before=before, after=after)
