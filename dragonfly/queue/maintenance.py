"""Forgets ended jobs when their time is over, in steps small enough to disturb nobody.

And knows what dead rows lie in the table, and the statement that removes them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dragonfly.job import JobStatus

if TYPE_CHECKING:
    from asyncpg import Connection

STEP_ROWS = 1000

# by the rule for its type or else by the one for its status; without a rule it stays
_OVER = "j.finished_at < coalesce(own.ended_before, usual.ended_before)"

# $1 after which id, $2 how many rows, $3 statuses, $4 job types ('' for all), $5 seconds to keep.
# A walk along the primary key needs no index of its own, for which every finish would have to pay.
# From there rows go by their places (benchmark SOAK). One without an xmax is locked by nobody and
# needs no lock before its deletion; who locks it in that very moment is waited for, but not long.
# What was retried since the walk is not forgotten, not even if it has ended anew: older servers do
# not see that its row is in another place by then.
# relaxed: what a crash of the server brings back is only forgotten again.
_STEP = f"""
WITH relaxed AS MATERIALIZED (
    SELECT set_config('synchronous_commit', 'off', true), set_config('lock_timeout', '100ms', true)
), rules AS MATERIALIZED (
    SELECT rule.status, rule.job_type,
           clock_timestamp() - make_interval(secs => rule.seconds) AS ended_before
      FROM unnest($3::text[], $4::text[], $5::float8[]) AS rule (status, job_type, seconds)
), seen AS MATERIALIZED (
    SELECT max(j.id) AS last_id, count(*) AS seen, max(j.created_at) AS youngest,
           array_agg(j.ctid) FILTER (WHERE j.xmax = '0' AND {_OVER}) AS free,
           array_agg(j.ctid) FILTER (WHERE j.xmax <> '0' AND {_OVER}) AS marked
      FROM (SELECT j.ctid, j.xmax, j.id, j.status, j.job_type, j.created_at, j.finished_at
              FROM ops.jobs j WHERE j.id > $1 ORDER BY j.id LIMIT $2) AS j
      LEFT JOIN rules AS own ON own.status = j.status AND own.job_type = j.job_type
      LEFT JOIN rules AS usual ON usual.status = j.status AND usual.job_type = ''
), forgotten AS (
    DELETE FROM ops.jobs
     WHERE ctid = ANY ((SELECT seen.free FROM seen, relaxed)::tid[] || ARRAY (
           SELECT j.ctid FROM ops.jobs j
            WHERE j.ctid = ANY ((SELECT seen.marked FROM seen)::tid[])
              AND j.finished_at < statement_timestamp()
              FOR UPDATE SKIP LOCKED))
       AND finished_at < statement_timestamp()
    RETURNING 1
)
SELECT seen.last_id, seen.seen, (SELECT count(*) FROM forgotten) AS forgotten,
       extract(epoch FROM clock_timestamp() - seen.youngest)::float8 AS youngest
  FROM seen
"""  # noqa: S608 - made of constants

# Who may vacuum: the owner of the table or of the database and, as of PostgreSQL 17, whom MAINTAIN
# was granted. Any other's VACUUM succeeds and does nothing.
_LITTER = """
SELECT s.n_dead_tup AS dead, s.n_live_tup AS live, s.vacuum_count AS vacuums,
       pg_has_role(c.relowner, 'USAGE') OR pg_has_role(d.datdba, 'USAGE')
       OR CASE WHEN current_setting('server_version_num')::integer >= 170000
               THEN has_table_privilege(c.oid, 'MAINTAIN') ELSE false END AS may_vacuum
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_stat_all_tables s ON s.relid = c.oid
  JOIN pg_catalog.pg_database d ON d.datname = current_database()
 WHERE c.oid = 'ops.jobs'::regclass
"""

# SKIP_LOCKED: one at a time, autovacuum included, without a wait. TRUNCATE would lock out everybody
# for the sake of the file's size. Workers for the indexes would take processors from the jobs.
VACUUM = "VACUUM (SKIP_LOCKED, TRUNCATE false, PARALLEL 0) ops.jobs"

# Somebody wants to alter the table, and behind him wait all others. No claim, finish or enqueue
# waits for the table as such unless that is so.
_WAITED_FOR = """
SELECT EXISTS (
       SELECT FROM pg_catalog.pg_locks l
        WHERE l.locktype = 'relation' AND l.relation = 'ops.jobs'::regclass AND NOT l.granted
          AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d
                             WHERE d.datname = current_database()))
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


@dataclass(frozen=True, slots=True)
class Litter:
    """What lies in the table, as last counted; ``vacuums`` counts those that somebody ordered."""

    dead: int
    live: int
    vacuums: int
    may_vacuum: bool


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


async def litter(conn: Connection) -> Litter:
    """Dead and living rows of the table; reads statistics only."""
    (row,) = await conn.fetch(_LITTER)
    return Litter(*row)


async def is_waited_for(conn: Connection) -> bool:
    """Whether somebody waits for a lock of the whole table."""
    waited: bool = await conn.fetchval(_WAITED_FOR)
    return waited
