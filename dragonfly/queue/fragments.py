"""Parts of statements that more than one claim is made of."""

from __future__ import annotations

# What of $1 may be claimed: a paused type is as good as not asked for.
OPEN_TYPES = """wanted AS MATERIALIZED (
    SELECT asked.job_type
      FROM unnest($1::text[]) AS asked (job_type)
     WHERE NOT EXISTS (SELECT FROM ops.paused p WHERE p.job_type = asked.job_type)
)"""

# Two ways to be claimable; a constant condition, or the partial index would not be taken.
UNKEYED = "j.concurrency_key IS NULL AND j.status = 'pending' AND j.crashes = 0"
KEYED = "j.concurrency_key IS NOT NULL AND j.status = 'pending' AND j.crashes = 0"
# Claimable, and it was in flight when a process died.
SUSPECT = """j.status = 'pending' AND j.crashes > 0
                AND j.run_at <= (SELECT clock_timestamp())
                AND NOT EXISTS (SELECT FROM ops.paused p WHERE p.job_type = j.job_type)"""
# how many crashes a suspect may have, from the least to the most that the column holds
ANY_CRASHES = (1, 32767)

# Marks the rows of ready. $3 who, $4 lease seconds, $5 the token of this statement.
# relaxed: a claim lost in a crash of the server is only claimable again, so it need not be durable.
MARK = """relaxed AS MATERIALIZED (
    SELECT set_config('synchronous_commit', 'off', true)
), claimed AS (
    UPDATE ops.jobs
       SET status = 'processing', attempts = attempts + 1, locked_by = $3, lock_token = $5,
           locked_at = clock_timestamp(),
           locked_until = clock_timestamp() + make_interval(secs => $4)
     WHERE id = ANY (ARRAY (SELECT ready.id FROM ready, relaxed))
    RETURNING id, job_type, payload, attempts, max_attempts, crashes, lock_token, correlation_id,
              checkpoint, priority, run_at
)"""

# With this text, which is no number, the proof of a transaction fails where no row is ours: nothing
# else in plain SQL raises by a condition. Without a look at a row it would fail when it is planned.
LOST = "dragonfly: the job belongs to another holder"
MINE_OR_LOST = f"CASE WHEN EXISTS (SELECT FROM mine) THEN '1' ELSE '{LOST}' END::integer"

CLAIMED = """id, job_type, payload, attempts AS attempt, max_attempts, crashes, lock_token,
       correlation_id, checkpoint"""


def levels(claimable: str, name: str = "levels") -> str:
    """The priorities that exist among claimable jobs of the wanted types, the highest first.

    A volatile bound on run_at serves as an index bound only below an equal priority, so claims walk
    this ladder: one index probe each, and jobs scheduled in front cost nothing.
    """
    return f"""{name}_of_types (job_type, priority) AS (
    SELECT wanted.job_type,
           (SELECT j.priority FROM ops.jobs j
             WHERE j.job_type = wanted.job_type AND {claimable}
             ORDER BY j.priority DESC LIMIT 1)
      FROM wanted
    UNION ALL
    SELECT above.job_type,
           (SELECT j.priority FROM ops.jobs j
             WHERE j.job_type = above.job_type AND {claimable} AND j.priority < above.priority
             ORDER BY j.priority DESC LIMIT 1)
      FROM {name}_of_types AS above WHERE above.priority IS NOT NULL
), {name} AS (
    SELECT rung.priority, array_agg(rung.job_type) AS job_types
      FROM {name}_of_types AS rung WHERE rung.priority IS NOT NULL
     GROUP BY rung.priority ORDER BY rung.priority DESC
)"""  # noqa: S608 - made of constants
