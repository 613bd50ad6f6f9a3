"""Claims of jobs with a concurrency key: of each key only so many run at once.

Two statements in one READ COMMITTED transaction: the first picks keys that have room and locks
them, the second, whose snapshot is younger than the locks, counts again and claims. Counting within
the claim overshoots, and so does a lock in the same statement: neither sees what others have
committed meanwhile. A key that somebody else has locked is passed over, not waited for, so that a
claimer that is frozen in between holds up nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dragonfly.job import Claim
from dragonfly.queue.fragments import (
    ANY_CRASHES,
    CLAIMED,
    KEYED,
    MARK,
    OPEN_TYPES,
    SUSPECT,
    UNKEYED,
    levels,
)

if TYPE_CHECKING:
    from asyncpg import Connection

# so far a look goes in the order of claims; if the keys of all these jobs are busy, from key to key
_FRONT_ROWS = 500
_AROUND_KEYS = 250
# salts the hash of a key, so that other advisory locks of the database do not meet ours
_SEED = 0x44726167

# $1 job types, $2 how many keys, $3 how many may run of each, $4 the key after which to go around.
# head: the first job without a key that is due; what stands behind it waits for its turn.
# in_order: keys with room, in the order of claims. around: where jobs of busy keys fill the front,
#   the others, key by key, from where the last look ended.
# Answers each key and whether its lock is ours; and last a row without one, which tells in how many
# seconds the next job is due, and after which key the next look should go on ('' from the first).
LOCK_KEYS = f"""
WITH RECURSIVE {OPEN_TYPES}, {levels(UNKEYED, "plain")}, {levels(KEYED, "keyed")},
head AS MATERIALIZED (
    SELECT plain.priority, first.run_at, first.id
      FROM plain CROSS JOIN LATERAL (
           SELECT j.run_at, j.id
             FROM unnest(plain.job_types) AS here (job_type) CROSS JOIN LATERAL (
                  SELECT j.run_at, j.id FROM ops.jobs j
                   WHERE j.job_type = here.job_type AND {UNKEYED}
                     AND j.priority = plain.priority AND j.run_at <= (SELECT clock_timestamp())
                   ORDER BY j.run_at, j.id LIMIT 1) AS j
            ORDER BY j.run_at, j.id LIMIT 1) AS first
     ORDER BY plain.priority DESC LIMIT 1
), front AS MATERIALIZED (
    SELECT keyed.priority, next.run_at, next.id, next.concurrency_key
      FROM keyed CROSS JOIN LATERAL (
           SELECT due.run_at, due.id, due.concurrency_key
             FROM unnest(keyed.job_types) AS here (job_type) CROSS JOIN LATERAL (
                  SELECT j.run_at, j.id, j.concurrency_key FROM ops.jobs j
                   WHERE j.job_type = here.job_type AND {KEYED}
                     AND j.priority = keyed.priority AND j.run_at <= (SELECT clock_timestamp())
                   ORDER BY j.run_at, j.id
                   LIMIT {_FRONT_ROWS}) AS due
            ORDER BY due.run_at, due.id
            LIMIT {_FRONT_ROWS}) AS next
     WHERE NOT EXISTS (
           SELECT FROM head
            WHERE head.priority > keyed.priority
               OR (head.priority = keyed.priority
                   AND (head.run_at, head.id) < (next.run_at, next.id)))
     LIMIT {_FRONT_ROWS}
), in_order AS MATERIALIZED (
    SELECT first.concurrency_key
      FROM (SELECT DISTINCT ON (front.concurrency_key) front.*
              FROM front
             ORDER BY front.concurrency_key, front.priority DESC, front.run_at, front.id) AS first
     WHERE $3::bigint > (SELECT count(*) FROM ops.jobs r
                          WHERE r.concurrency_key = first.concurrency_key
                            AND r.status = 'processing')
     ORDER BY first.priority DESC, first.run_at, first.id
     LIMIT $2
), around (concurrency_key, step) AS (
    SELECT $4::text, 0
     WHERE (SELECT count(*) FROM front) = {_FRONT_ROWS}
       AND (SELECT count(*) FROM in_order) < $2
    UNION ALL
    SELECT (SELECT j.concurrency_key FROM ops.jobs j
             WHERE j.concurrency_key > around.concurrency_key AND j.status = 'pending'
             ORDER BY j.concurrency_key LIMIT 1), around.step + 1
      FROM around WHERE around.concurrency_key IS NOT NULL AND around.step < {_AROUND_KEYS}
), elsewhere AS MATERIALIZED (
    SELECT around.concurrency_key
      FROM around
     WHERE around.step > 0
       AND around.concurrency_key NOT IN (SELECT in_order.concurrency_key FROM in_order)
       AND $3 > (SELECT count(*) FROM ops.jobs r
                  WHERE r.concurrency_key = around.concurrency_key AND r.status = 'processing')
       AND EXISTS (SELECT FROM wanted CROSS JOIN ops.jobs j
                    WHERE j.concurrency_key = around.concurrency_key AND j.status = 'pending'
                      AND j.job_type = wanted.job_type AND j.crashes = 0
                      AND j.run_at <= (SELECT clock_timestamp())
                      AND j.priority >= coalesce((SELECT head.priority FROM head), -32768))
     LIMIT $2 - (SELECT count(*) FROM in_order)
), picked AS MATERIALIZED (
    SELECT concurrency_key FROM in_order UNION ALL SELECT concurrency_key FROM elsewhere
)
(SELECT picked.concurrency_key AS key, NULL::float8 AS due_in, NULL AS reached,
        pg_try_advisory_xact_lock(hashtextextended(picked.concurrency_key, {_SEED})) AS ours
   FROM picked)
UNION ALL
SELECT NULL,
       (SELECT extract(epoch FROM min(later.run_at) - clock_timestamp())
          FROM keyed_of_types AS rung CROSS JOIN LATERAL (
               SELECT j.run_at FROM ops.jobs j
                WHERE j.job_type = rung.job_type AND {KEYED} AND j.priority = rung.priority
                  AND j.run_at > (SELECT clock_timestamp())
                ORDER BY j.run_at LIMIT 1) AS later)::float8,
       coalesce(CASE WHEN (SELECT count(*) FROM picked) = $2
                     THEN (SELECT max(elsewhere.concurrency_key) FROM elsewhere)
                     ELSE (SELECT around.concurrency_key FROM around
                            WHERE around.step = {_AROUND_KEYS}) END, ''), false
"""  # noqa: S608 - made of constants, like all below

# The same for the first job that was in flight when a process died and whose key has room.
# $1 job types, $2 how many may run of a key, $3 to $4 how many crashes it may have.
LOCK_SUSPECT_KEY = f"""
WITH picked AS MATERIALIZED (
    SELECT j.concurrency_key
      FROM ops.jobs j
     WHERE j.job_type = ANY ($1) AND {SUSPECT} AND j.crashes BETWEEN $3 AND $4
       AND j.concurrency_key IS NOT NULL
       AND $2::bigint > (SELECT count(*) FROM ops.jobs r
                          WHERE r.concurrency_key = j.concurrency_key AND r.status = 'processing')
     ORDER BY j.priority DESC, j.run_at, j.id
     LIMIT 1
)
SELECT picked.concurrency_key AS key
  FROM picked
 WHERE pg_try_advisory_xact_lock(hashtextextended(picked.concurrency_key, {_SEED}))
"""  # noqa: S608

# What has room among the keys whose locks are held. $1 job types, $2 how many, $3 who, $4 lease
# seconds, $5 token, $6 keys, $7 how many may run of each, $8 to $9 how many crashes they have.
CLAIM_KEYED = f"""
WITH {OPEN_TYPES}, room AS MATERIALIZED (
    SELECT locked.key,
           greatest(0, $7::bigint - (SELECT count(*) FROM ops.jobs r
                                      WHERE r.concurrency_key = locked.key
                                        AND r.status = 'processing')) AS places
      FROM unnest($6::text[]) AS locked (key)
), ready AS MATERIALIZED (
    SELECT due.id
      FROM (SELECT first.*, room.places,
                   row_number() OVER (PARTITION BY room.key
                                      ORDER BY first.priority DESC, first.run_at, first.id) AS place
              FROM room CROSS JOIN wanted CROSS JOIN LATERAL (
                   SELECT j.id, j.priority, j.run_at FROM ops.jobs j
                    WHERE j.concurrency_key = room.key AND j.status = 'pending'
                      AND j.job_type = wanted.job_type AND j.crashes BETWEEN $8 AND $9
                      AND j.run_at <= (SELECT clock_timestamp())
                    ORDER BY j.priority DESC, j.run_at, j.id
                    LIMIT room.places
                      FOR UPDATE SKIP LOCKED) AS first) AS due
     WHERE due.place <= due.places
     ORDER BY due.priority DESC, due.run_at, due.id
     LIMIT $2
), {MARK}
SELECT {CLAIMED}
  FROM claimed ORDER BY priority DESC, run_at, id
"""  # noqa: S608

# Whether jobs with keys wait at all. $1 job types.
KEYED_WAIT = f"""
WITH {OPEN_TYPES}
SELECT EXISTS (SELECT FROM wanted CROSS JOIN LATERAL (
               SELECT FROM ops.jobs j WHERE j.job_type = wanted.job_type AND {KEYED}
                ORDER BY j.priority DESC LIMIT 1) AS one)
"""  # noqa: S608

# so soon a claim that met somebody else's lock is worth repeating, in seconds
_CONTENDED = -1.0


@dataclass(frozen=True, slots=True)
class ClaimedKeyed:
    """``due_in`` seconds the next job is due (negative: others are claiming what is due now).

    ``behind`` is where the next look from key to key should go on.
    """

    jobs: list[Claim]
    due_in: float | None = None
    behind: str = ""


async def keyed_wait(conn: Connection, job_types: Sequence[str]) -> bool:
    """Whether jobs with keys are pending, due or not: one cheap look before a claim of them."""
    waits: bool = await conn.fetchval(KEYED_WAIT, job_types)
    return waits


async def claim_keyed(
    conn: Connection,
    job_types: Sequence[str],
    limit: int,
    per_key: int,
    locked_by: str,
    lease: float,
    token: int,
    *,
    behind: str = "",
) -> ClaimedKeyed:
    """Take up to ``limit`` due jobs with keys, so that at most ``per_key`` of each key run.

    Only what stands before the first due job without a key; a transaction of its own.
    """
    async with conn.transaction(isolation="read_committed"):
        *picked, told = await conn.fetch(LOCK_KEYS, job_types, limit, per_key, behind)
        if not picked:
            unseen = told["reached"] or behind
            return ClaimedKeyed([], _CONTENDED if unseen else told["due_in"], told["reached"])
        keys = [row["key"] for row in picked if row["ours"]]
        jobs: list[Claim] = []
        if keys:
            options = (locked_by, lease, token, keys, per_key, 0, 0)
            found = await conn.fetch(CLAIM_KEYED, job_types, limit, *options)
            jobs = list(map(Claim._make, found))
    return ClaimedKeyed(jobs, None if jobs else _CONTENDED, told["reached"])


async def claim_keyed_suspect(
    conn: Connection,
    job_types: Sequence[str],
    per_key: int,
    locked_by: str,
    lease: float,
    token: int,
    *,
    crashes: tuple[int, int] = ANY_CRASHES,
) -> Claim | None:
    """Take one due job with a key that was in flight when a process died, so many times."""
    async with conn.transaction(isolation="read_committed"):
        key = await conn.fetchval(LOCK_SUSPECT_KEY, job_types, per_key, *crashes)
        if key is None:
            return None
        options = (locked_by, lease, token, [key], per_key, *crashes)
        row = await conn.fetchrow(CLAIM_KEYED, job_types, 1, *options)
    return None if row is None else Claim._make(row)
