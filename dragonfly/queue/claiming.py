"""The SQL of claims: the head of the queue, the whole of it, its suspects, and the way back.

All of them give every claim statement a token of its own, mark rows that nobody else has locked,
take no job of a paused type, and answer the columns of ``job.Claim``, in its order. Jobs with a
concurrency key are claimed in ``keyed``.
"""

from __future__ import annotations

from dragonfly.queue.fragments import (
    CLAIMED,
    KEYED,
    MARK,
    OPEN_TYPES,
    SUSPECT,
    UNKEYED,
    levels,
)

# $1 job types, $2 how many, $3 who, $4 lease seconds, $5 the token of this statement.
# What is due of the highest priority there is: all that a lone job or a busy worker needs, at half
# the cost of the whole queue (benchmark W4). Fewer rows than asked for say nothing about the rest.
# A volatile bound on run_at serves as an index bound only below an equal priority.
CLAIM_HEAD = f"""
WITH {OPEN_TYPES}, ready AS MATERIALIZED (
    SELECT due.id
      FROM wanted CROSS JOIN LATERAL (
           SELECT j.id, j.run_at FROM ops.jobs j
            WHERE j.job_type = wanted.job_type AND {UNKEYED}
              AND j.priority = (
                  SELECT max(first.priority)
                    FROM wanted AS each CROSS JOIN LATERAL (
                         SELECT j.priority FROM ops.jobs j
                          WHERE j.job_type = each.job_type AND {UNKEYED}
                          ORDER BY j.priority DESC LIMIT 1) AS first)
              AND j.run_at <= (SELECT clock_timestamp())
            ORDER BY j.run_at, j.id
            LIMIT $2
              FOR UPDATE SKIP LOCKED) AS due
     ORDER BY due.run_at, due.id
     LIMIT $2
), {MARK}
SELECT {CLAIMED}
  FROM claimed ORDER BY run_at, id
"""  # noqa: S608 - made of constants, like all below

# The same for a single type, $1, as most workers have: a seventh cheaper (benchmark W4).
CLAIM_HEAD_OF = f"""
WITH ready AS MATERIALIZED (
    SELECT j.id
      FROM ops.jobs j
     WHERE j.job_type = $1::text AND {UNKEYED}
       AND j.priority = (
           SELECT j.priority FROM ops.jobs j
            WHERE j.job_type = $1 AND {UNKEYED}
            ORDER BY j.priority DESC LIMIT 1)
       AND j.run_at <= (SELECT clock_timestamp())
       AND NOT EXISTS (SELECT FROM ops.paused p WHERE p.job_type = $1)
     ORDER BY j.run_at, j.id
     LIMIT $2
       FOR UPDATE SKIP LOCKED
), {MARK}
SELECT {CLAIMED}
  FROM claimed ORDER BY run_at, id
"""  # noqa: S608

# The same, going on behind the job claimed last ($6): it passes over what is dead in the index
# before that, which a pinned horizon may keep there for hours (benchmark W6), and over what has
# come to stand there since. A higher priority still comes first.
CLAIM_BEHIND = f"""
WITH {OPEN_TYPES}, last AS MATERIALIZED (
    SELECT j.priority, j.run_at, j.id
      FROM ops.jobs j WHERE j.id = $6 AND j.status <> 'pending'
), higher AS MATERIALIZED (
    SELECT max(first.priority) AS priority
      FROM wanted CROSS JOIN LATERAL (
           SELECT j.priority FROM ops.jobs j
            WHERE j.job_type = wanted.job_type AND {UNKEYED}
              AND j.priority > coalesce((SELECT last.priority FROM last), -32769)
            ORDER BY j.priority DESC LIMIT 1) AS first
), start AS MATERIALIZED (
    SELECT coalesce(higher.priority, last.priority) AS priority,
           CASE WHEN higher.priority IS NULL THEN last.run_at ELSE '-infinity' END AS run_at,
           CASE WHEN higher.priority IS NULL THEN last.id ELSE 0 END AS id
      FROM higher LEFT JOIN last ON true
), ready AS MATERIALIZED (
    SELECT due.id
      FROM wanted CROSS JOIN LATERAL (
           SELECT j.id, j.run_at FROM ops.jobs j
            WHERE j.job_type = wanted.job_type AND {UNKEYED}
              AND j.priority = (SELECT start.priority FROM start)
              AND j.run_at <= (SELECT clock_timestamp())
              AND (j.run_at, j.id) > ((SELECT start.run_at FROM start),
                                      (SELECT start.id FROM start))
            ORDER BY j.run_at, j.id
            LIMIT $2
              FOR UPDATE SKIP LOCKED) AS due
     ORDER BY due.run_at, due.id
     LIMIT $2
), {MARK}
SELECT {CLAIMED}
  FROM claimed ORDER BY run_at, id
"""  # noqa: S608

# The same over all priorities. $1 job types, $2 how many, $3 who, $4 lease seconds, $5 token.
# ready: the order that was promised, level by level, so that no level is locked that is not needed:
#   what a claim locks is hidden from all others. SKIP LOCKED lets claimers pass each other.
# The last branch answers an empty claim: when the next job is due, or the next pause is over;
#   whether suspects are due, and whether jobs with keys wait, due or not.
CLAIM = f"""
WITH RECURSIVE {OPEN_TYPES}, {levels(UNKEYED)}, ready AS (
    SELECT next.id
      FROM levels CROSS JOIN LATERAL (
           SELECT due.id
             FROM unnest(levels.job_types) AS here (job_type) CROSS JOIN LATERAL (
                  SELECT j.id, j.run_at FROM ops.jobs j
                   WHERE j.job_type = here.job_type AND {UNKEYED}
                     AND j.priority = levels.priority AND j.run_at <= (SELECT clock_timestamp())
                   ORDER BY j.run_at, j.id
                   LIMIT $2
                     FOR UPDATE SKIP LOCKED) AS due
            ORDER BY due.run_at, due.id
            LIMIT $2) AS next
     LIMIT $2
), {MARK}
(SELECT {CLAIMED},
        NULL::float8 AS due_in, NULL::boolean AS suspects_wait, NULL::boolean AS keyed_wait
   FROM claimed ORDER BY priority DESC, run_at, id)
UNION ALL
SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
       extract(epoch FROM least(
           (SELECT min(first.run_at)
              FROM levels_of_types AS rung CROSS JOIN LATERAL (
                   SELECT j.run_at FROM ops.jobs j
                    WHERE j.job_type = rung.job_type AND {UNKEYED}
                      AND j.priority = rung.priority
                    ORDER BY j.run_at LIMIT 1) AS first),
           (SELECT min(later.run_at)
              FROM wanted CROSS JOIN LATERAL (
                   SELECT j.run_at FROM ops.jobs j
                    WHERE j.job_type = wanted.job_type AND j.status = 'pending' AND j.crashes > 0
                      AND j.run_at > (SELECT clock_timestamp())
                    ORDER BY j.run_at LIMIT 1) AS later),
           (SELECT min(p.until) FROM ops.paused p WHERE p.job_type = ANY ($1)))
           - clock_timestamp())::float8,
       EXISTS (SELECT FROM wanted CROSS JOIN LATERAL (
               SELECT FROM ops.jobs j
                WHERE j.job_type = wanted.job_type AND j.status = 'pending' AND j.crashes > 0
                  AND j.run_at <= (SELECT clock_timestamp()) LIMIT 1) AS one),
       EXISTS (SELECT FROM wanted CROSS JOIN LATERAL (
               SELECT FROM ops.jobs j WHERE j.job_type = wanted.job_type AND {KEYED}
                ORDER BY j.priority DESC LIMIT 1) AS one)
 WHERE NOT EXISTS (SELECT FROM claimed)
"""  # noqa: S608

# One job that was in flight when a process died, if it has $5 to $6 crashes. $1 job types, $2 who,
# $3 lease seconds, $4 token, $7 how many may run of a key.
# Always one row: besides the job, or nulls, whether one with more crashes could be claimed, with or
# without a key: at its last chance it runs alone, and its process has to be emptied first.
CLAIM_SUSPECT = f"""
WITH claimed AS (
    UPDATE ops.jobs
       SET status = 'processing', attempts = attempts + 1, locked_by = $2, lock_token = $4,
           locked_at = clock_timestamp(),
           locked_until = clock_timestamp() + make_interval(secs => $3)
     WHERE id = ANY (ARRAY (
           SELECT j.id FROM ops.jobs j
            WHERE j.job_type = ANY ($1) AND {SUSPECT} AND j.crashes BETWEEN $5 AND $6
              AND j.concurrency_key IS NULL
            ORDER BY j.priority DESC, j.run_at, j.id
            LIMIT 1
              FOR UPDATE SKIP LOCKED))
    RETURNING id, job_type, payload, attempts, max_attempts, crashes, lock_token, correlation_id,
              checkpoint
)
SELECT {CLAIMED},
       EXISTS (SELECT FROM ops.jobs j
                WHERE j.job_type = ANY ($1) AND {SUSPECT} AND j.crashes > $6
                  AND (j.concurrency_key IS NULL
                       OR $7::bigint > (SELECT count(*) FROM ops.jobs r
                                         WHERE r.concurrency_key = j.concurrency_key
                                           AND r.status = 'processing'))) AS last_chance_waits
  FROM (SELECT) AS always LEFT JOIN claimed ON true
"""  # noqa: S608

# A claim whose answer was lost may have been committed: give back what carries its token. Like
# every return to pending it yields to a pending job with its unique key; of two the newer stays.
UNCLAIM = """
WITH mine AS (
    SELECT j.id, j.job_type, j.unique_key
      FROM ops.jobs j
     WHERE j.status = 'processing' AND j.lock_token = ANY ($1)
     ORDER BY j.id
       FOR UPDATE
), judged AS (
    SELECT mine.id,
           mine.unique_key IS NOT NULL AND (
               row_number() OVER (PARTITION BY mine.job_type, mine.unique_key
                                  ORDER BY mine.id DESC) > 1
               OR EXISTS (SELECT FROM ops.jobs other WHERE other.status = 'pending'
                             AND other.job_type = mine.job_type
                             AND other.unique_key = mine.unique_key)) AS superseded
      FROM mine
)
UPDATE ops.jobs j
   SET status = CASE WHEN judged.superseded THEN 'cancelled' ELSE 'pending' END,
       finished_at = CASE WHEN judged.superseded THEN clock_timestamp() END,
       last_error = CASE WHEN judged.superseded
                         THEN 'superseded: another pending job has its unique key'
                         ELSE j.last_error END,
       attempts = j.attempts - 1, lock_token = NULL, locked_until = NULL
  FROM judged
 WHERE j.id = judged.id
RETURNING j.id
"""
