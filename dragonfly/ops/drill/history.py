"""What happened to the jobs of a drill, and whether it is what was promised.

Handlers tell of each step over a connection of their own, committed at once, so a step that was
taken is told whatever becomes of the job. Effects stand in a table without any constraint: one
that happened twice shows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from dragonfly.queue.bulk import enqueue_many

if TYPE_CHECKING:
    from asyncpg import Connection

FENCED = "drill"  # its effect and its end are one commit
RETURNING = "drill_return"  # it ends by returning: at least once
POISON = "drill_poison"  # it kills its process

TABLES = """
CREATE SCHEMA drill;
CREATE TABLE drill.history (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    job_id bigint NOT NULL,
    token bigint NOT NULL,
    process text NOT NULL,
    step text NOT NULL CHECK (step IN ('start', 'effect', 'end'))
);
CREATE TABLE drill.effects (job_id bigint NOT NULL, token bigint NOT NULL)
"""
NOTE = "INSERT INTO drill.history (job_id, token, process, step) VALUES ($1, $2, $3, $4)"
EFFECT = "INSERT INTO drill.effects (job_id, token) VALUES ($1, $2)"
FORGET = "TRUNCATE drill.history, drill.effects, ops.jobs, ops.worker_heartbeats"

UNENDED = "SELECT count(*) FROM ops.jobs WHERE status IN ('pending', 'processing')"
ENDED = "SELECT count(*) FROM ops.jobs WHERE status NOT IN ('pending', 'processing')"
# $1 when; the time from then to the last rescue
_RECOVERY = """
SELECT extract(epoch FROM max((each.error ->> 'at')::timestamptz) - $1)::float8
  FROM ops.jobs j CROSS JOIN jsonb_array_elements(j.errors) AS each (error)
 WHERE each.error ->> 'error' = 'crashed' AND (each.error ->> 'at')::timestamptz > $1
"""

# each lists the jobs that break a promise, at most a handful of their ids, and how many there are
# a job that comes back while another one waits with its unique key gives way to that one
_WRONG_END = """
SELECT id FROM ops.jobs
 WHERE status <> coalesce(payload ->> 'ends', 'completed')
   AND NOT (status = 'cancelled' AND unique_key IS NOT NULL
            AND coalesce(last_error, '') LIKE 'superseded: %')
"""
_WRONG_EFFECTS = """
SELECT j.id
  FROM ops.jobs j LEFT JOIN drill.effects e ON e.job_id = j.id
 WHERE j.job_type LIKE 'drill%' AND j.job_type <> 'drill_return'
 GROUP BY j.id
HAVING count(e.job_id) <> (j.status = 'completed' AND j.job_type <> 'drill_poison')::integer
"""
_NEVER_RAN = """
SELECT j.id FROM ops.jobs j
 WHERE j.status = 'completed' AND j.job_type = 'drill_return'
   AND NOT EXISTS (SELECT FROM drill.history h WHERE h.job_id = j.id AND h.step = 'effect')
"""
_ONE_CLAIM_TWICE = """
SELECT job_id AS id FROM drill.history GROUP BY job_id, token
HAVING count(*) FILTER (WHERE step = 'start') > 1 OR count(DISTINCT process) > 1
"""
_ONE_CLAIM_OF_TWO = """
SELECT min(job_id) AS id FROM drill.history GROUP BY token HAVING count(DISTINCT process) > 1
"""
_EFFECT_OF_NOBODY = """
SELECT e.job_id AS id FROM drill.effects e
 WHERE NOT EXISTS (SELECT FROM drill.history h
                    WHERE h.job_id = e.job_id AND h.token = e.token AND h.step = 'start')
"""
_ENDED_TWICE = """
SELECT job_id AS id FROM drill.history h JOIN ops.jobs j ON j.id = h.job_id
 WHERE h.step = 'end' AND j.job_type <> 'drill_return'
 GROUP BY h.job_id HAVING count(*) > 1
"""
_HELD = "SELECT id FROM ops.jobs WHERE status = 'processing'"
_ATTEMPT_LOST = "SELECT id FROM ops.jobs WHERE status = 'completed' AND attempts <> 1"
# $1 the crash budget; a job that fails for another reason has none to use up
_BUDGET = """
SELECT id FROM ops.jobs
 WHERE CASE WHEN status = 'failed' AND job_type = 'drill_poison' THEN crashes <> $1 + 1
                 OR jsonb_array_length(errors) < $1 + 1 ELSE crashes > $1 END
"""
_CONNECTIONS = """
SELECT pid AS id FROM pg_stat_activity
 WHERE datname = current_database() AND application_name LIKE 'dragonfly %'
   AND pid <> pg_backend_pid()
   AND application_name NOT IN ('dragonfly drill', 'dragonfly history')
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """One promise after a run: whether it held, and if not, what breaks it."""

    promise: str
    held: bool
    detail: str = ""


async def prepare(conn: Connection) -> None:
    """Make the drill's own tables."""
    await conn.execute(TABLES)


async def put_mixed(conn: Connection, number: int, **payload: Any) -> None:
    """Enqueue so many jobs: three in four fenced, the others ended by returning."""
    returning = number // 4
    await enqueue_many(conn, FENCED, [payload] * (number - returning))
    results = [payload | {"result": n} if n % 2 else payload for n in range(returning)]
    await enqueue_many(conn, RETURNING, results)


async def recovery_seconds(conn: Connection, since: datetime) -> float | None:
    """How long after ``since`` the last job of a dead process was free again; None if none was."""
    seconds: float | None = await conn.fetchval(_RECOVERY, since)
    return seconds


async def examine(
    conn: Connection, *, crash_budget: int, attempts: bool = True, gone: bool = True
) -> list[Finding]:
    """Every promise, over all jobs there are, after the run.

    ``attempts``: nothing in the run may cost an attempt. ``gone``: all processes have ended.
    """
    asked: list[tuple[str, str, tuple[Any, ...]]] = [
        ("every job ended as it should", _WRONG_END, ()),
        ("fenced effects exactly once", _WRONG_EFFECTS, ()),
        ("a job that ended by returning ran", _NEVER_RAN, ()),
        ("one start, one process for each claim of a job", _ONE_CLAIM_TWICE, ()),
        ("no token in two claims", _ONE_CLAIM_OF_TWO, ()),
        ("no effect without a claim that started", _EFFECT_OF_NOBODY, ()),
        ("no second end", _ENDED_TWICE, ()),
        ("no job is held by nobody", _HELD, ()),
        ("crashes stay within their budget, with evidence", _BUDGET, (crash_budget,)),
    ]
    if attempts:
        asked.append(("no attempt is lost", _ATTEMPT_LOST, ()))
    if gone:
        asked.append(("no connection is left", _CONNECTIONS, ()))
    return [await ask(conn, *each) for each in asked]


async def ask(conn: Connection, promise: str, sql: str, values: Iterable[Any]) -> Finding:
    """Whether a promise held; the query lists the ``id`` of each job that breaks it."""
    rows = await conn.fetch(sql, *values)
    ids = ", ".join(str(row["id"]) for row in rows[:5])
    return Finding(promise, not rows, f"{len(rows)} break it, such as {ids}" if rows else "")
