"""Job types that nobody claims for now: one row each, which every claim goes by."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncpg import Connection

# $1 type, $2 who, $3 why, $4 until when or null. A pause that is over may be followed by another.
_PAUSE = """
INSERT INTO ops.pauses AS p (job_type, paused_by, reason, until)
VALUES ($1, $2, $3, $4)
    ON CONFLICT (job_type) DO UPDATE
   SET paused_at = excluded.paused_at, paused_by = excluded.paused_by, reason = excluded.reason,
       until = excluded.until
 WHERE p.until <= clock_timestamp()
RETURNING job_type
"""

_RESUME = """
WITH resumed AS (
    DELETE FROM ops.pauses p WHERE p.job_type = $1 RETURNING p.job_type, p.until
)
SELECT pg_notify('ops_jobs', resumed.job_type)::text AS rung
  FROM resumed WHERE resumed.until IS NULL OR resumed.until > clock_timestamp()
"""

_PAUSED = """
SELECT job_type, paused_at, paused_by, reason, until FROM ops.paused ORDER BY job_type LIMIT $1
"""

_MOST_ROWS = 1000


@dataclass(frozen=True, slots=True)
class Pause:
    """A job type that is not claimed; ``until`` None: until somebody resumes it."""

    job_type: str
    paused_at: datetime
    paused_by: str
    reason: str
    until: datetime | None


async def pause(
    conn: Connection, job_type: str, by: str, reason: str, until: datetime | None = None
) -> bool:
    """Let no claim that begins from now on take this type; False if it is paused already."""
    return await conn.fetchval(_PAUSE, job_type, by, reason, until) is not None


async def resume(conn: Connection, job_type: str) -> bool:
    """Let the type be claimed again, and ring its workers; False if it is not paused."""
    return bool(await conn.fetch(_RESUME, job_type))


async def paused(conn: Connection) -> list[Pause]:
    """The pauses in force, by job type."""
    return [Pause(*row) for row in await conn.fetch(_PAUSED, _MOST_ROWS)]
