"""Forgets ended jobs when their time is over, in steps small enough to disturb nobody."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dragonfly.job import JobStatus

if TYPE_CHECKING:
    from asyncpg import Connection

STEP_ROWS = 1000

# $1 after which id, $2 how many rows, $3 statuses, $4 job types ('' for all), $5 seconds to keep.
# A walk along the primary key needs no index of its own, which every finish would have to pay for.
_STEP = """
WITH rules AS MATERIALIZED (
    SELECT * FROM unnest($3::text[], $4::text[], $5::float8[]) AS rule (status, job_type, seconds)
), seen AS MATERIALIZED (
    SELECT j.id, j.status, j.job_type, j.created_at, j.finished_at
      FROM ops.jobs j WHERE j.id > $1 ORDER BY j.id LIMIT $2
), over AS (
    SELECT seen.id
      FROM seen
     WHERE seen.finished_at < clock_timestamp() - make_interval(secs => (
           SELECT rules.seconds FROM rules
            WHERE rules.status = seen.status AND rules.job_type IN (seen.job_type, '')
            ORDER BY rules.job_type = '' LIMIT 1))
), forgotten AS (
    DELETE FROM ops.jobs
     WHERE id = ANY (ARRAY (
           SELECT j.id FROM ops.jobs j
            WHERE j.id = ANY (ARRAY (SELECT over.id FROM over)) AND j.finished_at IS NOT NULL
            ORDER BY j.id FOR UPDATE SKIP LOCKED))
    RETURNING id
)
SELECT max(seen.id) AS last_id, count(*) AS seen, (SELECT count(*) FROM forgotten) AS forgotten,
       extract(epoch FROM clock_timestamp() - max(seen.created_at))::float8 AS youngest
  FROM seen
"""


@dataclass(frozen=True, slots=True)
class Keep:
    """How long ended jobs of a status stay; ``job_type`` None speaks for all without a rule."""

    status: JobStatus
    seconds: float
    job_type: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a sweep: where it got to (None: at the end), and how many rows it forgot."""

    last_id: int | None
    forgotten: int


async def prune_step(
    conn: Connection, keeps: Iterable[Keep], after: int, rows: int = STEP_ROWS
) -> Step:
    """Look at the next rows by id and delete those whose time is over.

    The sweep is at its end when no row is left, or the next ones are too young for every rule.
    """
    rules = list(keeps)
    if not rules:
        return Step(None, 0)
    row = await conn.fetchrow(
        _STEP,
        after,
        rows,
        [rule.status.value for rule in rules],
        [rule.job_type or "" for rule in rules],
        [rule.seconds for rule in rules],
    )
    if row is None or row["seen"] < rows or row["youngest"] < min(r.seconds for r in rules):
        return Step(None, row["forgotten"] if row else 0)
    return Step(row["last_id"], row["forgotten"])
