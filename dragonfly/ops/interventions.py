"""What a person does to a job by hand, with the reason kept beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dragonfly.postgres.transactions import transaction
from dragonfly.queue import store

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


async def cancel(conn: Connection, job_id: int, reason: str) -> bool:
    """Cancel a job that waits or runs; False if it had ended or does not exist."""
    return await store.cancel(conn, job_id, reason)


async def retry(conn: Connection, job_id: int, reason: str) -> bool:
    """Start an ended job over; False if it has not ended, or its unique key is taken."""
    async with transaction(conn):
        revived = await store.retry(conn, job_id)
        if revived:
            await conn.execute(_NOTE, job_id, reason)
    return revived
