"""Why a job does not run: the first of the conditions of a claim that it does not meet.

The conditions are those of ``claiming`` and ``keyed``, in the order in which they keep a job back;
a property test holds the two together.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from dragonfly.queue.fragments import ANY_CRASHES, KEYED, OPEN_TYPES, UNKEYED, levels
from dragonfly.queue.insight import ALIVE_SECONDS

if TYPE_CHECKING:
    from asyncpg import Connection, Record

# ranks are counted up to here
COUNT_UP_TO = 10_000


class Cause(StrEnum):
    """What keeps a job from running, in the order in which it is looked for."""

    ENDED = "ended"
    RUNNING = "running"
    NOT_DUE = "not due"
    PAUSED = "paused"
    NO_WORKER = "no worker"
    CIRCUIT_OPEN = "circuit open"
    ONE_RUNS_ALONE = "one runs alone"
    KEY_BUSY = "key busy"
    SUSPECT_WAITS = "suspect waits"
    LAST_CHANCE = "last chance"  # it must run alone, and no process is empty
    NEXT = "next"  # nothing does: it waits for its turn


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a job stands. Times in seconds of the database's clock; None where it does not apply.

    ``ahead`` jobs come before it, of those that the same workers take (``ahead_exact``: no more);
    of a key or of suspects only the others of that kind count. ``blocker`` is the job that holds
    its key, the suspect that runs, or the job that keeps its process from it. ``workers`` is how
    many living workers take its type, and ``job_types`` what they take that is not paused.
    """

    cause: Cause
    job_id: int
    job_type: str
    job_types: list[str]
    status: str
    crashes: int
    run_at: datetime
    due_in: float
    finished_at: datetime | None
    last_error: str | None
    locked_by: str | None
    held_for: float | None
    paused_by: str | None
    pause_reason: str | None
    paused_until: datetime | None
    workers: int
    last_seen: float | None
    circuit: str | None
    concurrency_key: str | None
    per_key: int
    blocker: int | None
    blocker_on: str | None
    ahead: int
    ahead_exact: bool


# $1 id, $2 seconds for which a worker counts as alive, $3 from how many crashes a job runs alone.
# kept: such a job runs there. empty: nothing does. free_for_suspects: no suspect does.
_JOB = """
WITH alive AS MATERIALIZED (
    SELECT split_part(h.worker_id, '@', 2) AS process, h.job_types, h.concurrency_per_key,
           h.circuits ->> (SELECT j.job_type FROM ops.jobs j WHERE j.id = $1) AS circuit
      FROM ops.worker_heartbeats h
     WHERE h.status NOT IN ('stopped', 'error')
       AND h.last_heartbeat_at >= clock_timestamp() - make_interval(secs => $2)
       AND (SELECT j.job_type FROM ops.jobs j WHERE j.id = $1) = ANY (h.job_types)
), processes AS MATERIALIZED (
    SELECT alive.process, count(r.id) = 0 AS is_empty,
           coalesce(bool_or(r.crashes > 0), false) AS has_suspect,
           coalesce(bool_or(r.crashes >= $3), false) AS is_kept
      FROM (SELECT DISTINCT process FROM alive) AS alive
      LEFT JOIN ops.jobs r
             ON r.status = 'processing' AND split_part(r.locked_by, '@', 2) = alive.process
     GROUP BY alive.process
)
SELECT j.id, j.job_type, j.status, j.crashes, j.priority, j.run_at, j.finished_at, j.last_error,
       j.locked_by, j.concurrency_key,
       extract(epoch FROM j.run_at - clock_timestamp())::float8 AS due_in,
       extract(epoch FROM clock_timestamp() - j.locked_at)::float8 AS held_for,
       p.paused_by, p.reason AS pause_reason, p.until AS paused_until,
       (SELECT count(*) FROM alive) AS workers,
       (SELECT count(*) FROM alive WHERE circuit IS NULL) AS claiming,
       (SELECT count(*) FROM processes WHERE NOT is_kept) AS not_kept,
       (SELECT count(*) FROM processes WHERE NOT has_suspect) AS free_for_suspects,
       (SELECT count(*) FROM processes WHERE is_empty) AS empty,
       (SELECT coalesce(array_agg(process), ARRAY[]::text[]) FROM processes) AS processes,
       (SELECT min(circuit) FROM alive) AS circuit,
       (SELECT coalesce(max(concurrency_per_key), 1) FROM alive) AS per_key,
       (SELECT coalesce(array_agg(DISTINCT kind), ARRAY[]::text[])
          FROM alive CROSS JOIN unnest(alive.job_types) AS kind
         WHERE NOT EXISTS (SELECT FROM ops.paused q WHERE q.job_type = kind)) AS job_types,
       (SELECT extract(epoch FROM clock_timestamp() - max(h.last_heartbeat_at))::float8
          FROM ops.worker_heartbeats h WHERE j.job_type = ANY (h.job_types)) AS last_seen
  FROM ops.jobs j LEFT JOIN ops.paused p ON p.job_type = j.job_type
 WHERE j.id = $1
"""

# What holds the key of job $1, and how many of the key that are due come before it, counted up to
# $2, of the types $3 that the same workers take, with at most $4 crashes.
_KEY = """
SELECT (SELECT count(*) FROM ops.jobs r
         WHERE r.concurrency_key = mine.concurrency_key AND r.status = 'processing') AS running,
       first.id AS blocker, first.locked_by AS blocker_on,
       (SELECT count(*)
          FROM (SELECT FROM unnest($3::text[]) AS here (job_type) CROSS JOIN LATERAL (
                       SELECT FROM ops.jobs j
                        WHERE j.concurrency_key = mine.concurrency_key AND j.status = 'pending'
                          AND j.job_type = here.job_type AND j.priority > mine.priority
                          AND (j.crashes > 0) = (mine.crashes > 0) AND j.crashes <= $4
                          AND j.run_at <= (SELECT clock_timestamp())
                       UNION ALL
                       SELECT FROM ops.jobs j
                        WHERE j.concurrency_key = mine.concurrency_key AND j.status = 'pending'
                          AND j.job_type = here.job_type AND j.priority = mine.priority
                          AND (j.crashes > 0) = (mine.crashes > 0) AND j.crashes <= $4
                          AND (j.run_at, j.id) < (mine.run_at, mine.id)) AS each
                 LIMIT $2::integer + 1) AS before) AS ahead
  FROM ops.jobs mine LEFT JOIN LATERAL (
       SELECT r.id, r.locked_by FROM ops.jobs r
        WHERE r.concurrency_key = mine.concurrency_key AND r.status = 'processing'
        ORDER BY r.locked_at, r.id LIMIT 1) AS first ON true
 WHERE mine.id = $1
"""

# The same for jobs that were in flight when a process died: one of them that runs, and how many
# come before job $1: first those without a key, then those whose key has room ($4 may run of each).
# beside: those of them that need not run alone, as they have less than $5 crashes.
_SUSPECTS = """
SELECT first.id AS blocker, first.locked_by AS blocker_on, before.ahead, before.beside
  FROM ops.jobs mine CROSS JOIN LATERAL (
       SELECT count(*) AS ahead, count(*) FILTER (WHERE each.crashes < $5) AS beside
          FROM (SELECT j.crashes FROM ops.jobs j
                 WHERE j.job_type = ANY ($3) AND j.status = 'pending' AND j.crashes > 0
                   AND j.run_at <= (SELECT clock_timestamp())
                   AND (j.concurrency_key IS NOT NULL, -j.priority, j.run_at, j.id)
                       < (mine.concurrency_key IS NOT NULL, -mine.priority, mine.run_at, mine.id)
                   AND (j.concurrency_key IS NULL
                        OR $4::bigint > (SELECT count(*) FROM ops.jobs r
                                          WHERE r.concurrency_key = j.concurrency_key
                                            AND r.status = 'processing'))
                 LIMIT $2::integer + 1) AS each) AS before
  LEFT JOIN LATERAL (
       SELECT r.id, r.locked_by FROM ops.jobs r
        WHERE r.status = 'processing' AND r.crashes > 0
        ORDER BY r.locked_at, r.id LIMIT 1) AS first ON true
 WHERE mine.id = $1
"""

# What runs in the processes $1: one that does so alone, as it has $2 crashes, or else the oldest.
_HELD = """
SELECT r.id AS blocker, r.locked_by AS blocker_on, 0 AS ahead
  FROM ops.jobs r
 WHERE r.status = 'processing' AND split_part(r.locked_by, '@', 2) = ANY ($1)
 ORDER BY r.crashes >= $2 DESC, r.id
 LIMIT 1
"""


def _before(claimable: str, name: str) -> str:
    """Those before ``mine``, level by level, so that nothing behind it is read."""
    return f"""SELECT FROM {name} AS level CROSS JOIN mine
               CROSS JOIN unnest(level.job_types) AS here (job_type) CROSS JOIN LATERAL (
               SELECT FROM ops.jobs j
                WHERE j.job_type = here.job_type AND {claimable} AND j.priority = level.priority
                  AND j.run_at <= (SELECT clock_timestamp())
                  AND (j.run_at, j.id) < (
                      CASE WHEN level.priority > mine.priority THEN 'infinity' ELSE mine.run_at END,
                      mine.id)
                LIMIT $2::integer + 1) AS each
         WHERE level.priority >= mine.priority"""  # noqa: S608 - made of constants


# How many due jobs of the types $1 come before job $3, counted up to $2.
_BEFORE = f"""
WITH RECURSIVE {OPEN_TYPES}, {levels(UNKEYED, "plain")}, {levels(KEYED, "keyed")},
mine AS (
    SELECT priority, run_at, id FROM ops.jobs WHERE id = $3
)
SELECT count(*) AS ahead
  FROM ({_before(UNKEYED, "plain")}
        UNION ALL
        {_before(KEYED, "keyed")}
         LIMIT $2::integer + 1) AS before
"""  # noqa: S608


async def standing(conn: Connection, job_id: int, crash_budget: int) -> Standing | None:
    """Where this job stands; None if there is none of this id.

    ``crash_budget`` is that of the workers.
    """
    last_chance = max(1, crash_budget)
    row = await conn.fetchrow(_JOB, job_id, ALIVE_SECONDS, last_chance)
    if row is None:
        return None
    cause, kind, limit = _own_cause(row), None, COUNT_UP_TO
    if cause is Cause.NEXT:
        cause, kind = await _cause_among_others(conn, row, limit, last_chance)
    ahead = kind["ahead"] if kind else 0
    if cause is Cause.NEXT and not row["crashes"]:  # suspects are claimed apart from the others
        ahead = await conn.fetchval(_BEFORE, row["job_types"], limit, job_id)
    shared = set(Standing.__dataclass_fields__) & set(row.keys())
    return Standing(
        cause=cause,
        job_id=row["id"],
        blocker=kind["blocker"] if kind else None,
        blocker_on=kind["blocker_on"] if kind else None,
        ahead=min(ahead, limit),
        ahead_exact=ahead <= limit,
        **{name: row[name] for name in shared},
    )


def _own_cause(row: Record) -> Cause:
    """What keeps it back, whatever other jobs there are."""
    if row["finished_at"] is not None:
        return Cause.ENDED
    if row["status"] == "processing":
        return Cause.RUNNING
    if row["due_in"] > 0:
        return Cause.NOT_DUE
    if row["paused_by"] is not None:
        return Cause.PAUSED
    if not row["workers"]:
        return Cause.NO_WORKER
    return Cause.NEXT if row["claiming"] else Cause.CIRCUIT_OPEN


async def _cause_among_others(
    conn: Connection, row: Record, limit: int, last_chance: int
) -> tuple[Cause, Record | None]:
    """What keeps it back because of other jobs: one alone, its key, then the rule of suspects."""
    if not row["not_kept"]:
        return Cause.ONE_RUNS_ALONE, await _held(conn, row, last_chance)
    options = (row["id"], limit, row["job_types"])
    if row["concurrency_key"] is not None:
        # a busy process passes over those that must run alone
        passes = row["crashes"] < last_chance and _busy(row)
        most = last_chance - 1 if passes else ANY_CRASHES[1]
        (key,) = await conn.fetch(_KEY, *options, most)
        if key["ahead"] >= row["per_key"] - key["running"]:
            return Cause.KEY_BUSY, key
    if row["crashes"]:
        (suspects,) = await conn.fetch(_SUSPECTS, *options, row["per_key"], last_chance)
        if not _is_next_suspect(row, suspects, last_chance):
            if row["crashes"] >= last_chance and not row["empty"]:
                return Cause.LAST_CHANCE, await _held(conn, row, last_chance)
            return Cause.SUSPECT_WAITS, suspects
    return Cause.NEXT, None


async def _held(conn: Connection, row: Record, last_chance: int) -> Record | None:
    held: Record | None = await conn.fetchrow(_HELD, row["processes"], last_chance)
    return held


def _busy(row: Record) -> int:
    """How many processes hold something, and may take a suspect beside it."""
    busy: int = row["free_for_suspects"] - row["empty"]
    return busy


def _is_next_suspect(row: Record, suspects: Record, last_chance: int) -> bool:
    """Busy processes take those that need not run alone, empty ones whichever is first then."""
    empty, busy = row["empty"], _busy(row)
    if row["crashes"] < last_chance and suspects["beside"] < busy:
        return True
    left = suspects["ahead"] - min(busy, suspects["beside"])
    return bool(left < empty)
