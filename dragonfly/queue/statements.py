"""The SQL of the queue, whole: what each statement promises stands above it.

Every statement names its schema, takes its time from ``clock_timestamp()`` (``now()`` stands still
inside a transaction), and fences by ``lock_token`` alone: a finish that also asked for the status
would let the planner read the whole small index of held jobs once per row.
"""

from __future__ import annotations

# $1 job types, $2 how many, $3 who, $4 lease seconds, $5 the token of this statement.
# ladder: a volatile bound on run_at serves as an index bound only below an equal priority, so walk
#   the priorities that exist; one index probe each, and jobs scheduled in front cost nothing.
# ready: the order that was promised; SKIP LOCKED lets any number of claimers pass each other.
# relaxed: a claim lost in a crash of the server is only claimable again, so it need not be durable.
# The last branch answers an empty claim: when the next job is due, and whether suspects wait.
CLAIM = """
WITH RECURSIVE ladder (job_type, priority) AS (
    SELECT wanted.job_type,
           (SELECT j.priority FROM ops.jobs j
             WHERE j.job_type = wanted.job_type AND j.status = 'pending' AND j.crashes = 0
             ORDER BY j.priority DESC LIMIT 1)
      FROM unnest($1::text[]) AS wanted (job_type)
    UNION ALL
    SELECT ladder.job_type,
           (SELECT j.priority FROM ops.jobs j
             WHERE j.job_type = ladder.job_type AND j.status = 'pending' AND j.crashes = 0
               AND j.priority < ladder.priority
             ORDER BY j.priority DESC LIMIT 1)
      FROM ladder WHERE ladder.priority IS NOT NULL
), ready AS (
    SELECT next.id
      FROM ladder CROSS JOIN LATERAL (
           SELECT j.id, j.priority, j.run_at FROM ops.jobs j
            WHERE j.job_type = ladder.job_type AND j.status = 'pending' AND j.crashes = 0
              AND j.priority = ladder.priority AND j.run_at <= (SELECT clock_timestamp())
            ORDER BY j.run_at, j.id
            LIMIT $2
              FOR UPDATE SKIP LOCKED) AS next
     ORDER BY next.priority DESC, next.run_at, next.id
     LIMIT $2
), relaxed AS MATERIALIZED (
    SELECT set_config('synchronous_commit', 'off', true)
), claimed AS (
    UPDATE ops.jobs
       SET status = 'processing', attempts = attempts + 1, locked_by = $3, lock_token = $5,
           locked_at = clock_timestamp(),
           locked_until = clock_timestamp() + make_interval(secs => $4)
     WHERE id = ANY (ARRAY (SELECT ready.id FROM ready, relaxed))
    RETURNING id, job_type, payload, attempts, max_attempts, crashes, correlation_id, checkpoint,
              priority, run_at
)
(SELECT id, job_type, payload, attempts, max_attempts, crashes, correlation_id, checkpoint,
        NULL::float8 AS due_in, NULL::boolean AS suspects_wait
   FROM claimed ORDER BY priority DESC, run_at, id)
UNION ALL
SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
       (SELECT extract(epoch FROM min(first.run_at) - clock_timestamp())::float8
          FROM ladder CROSS JOIN LATERAL (
               SELECT j.run_at FROM ops.jobs j
                WHERE j.job_type = ladder.job_type AND j.status = 'pending' AND j.crashes = 0
                  AND j.priority = ladder.priority
                ORDER BY j.run_at LIMIT 1) AS first),
       EXISTS (SELECT FROM ops.jobs j
                WHERE j.job_type = ANY ($1) AND j.status = 'pending' AND j.crashes > 0
                  AND j.run_at <= (SELECT clock_timestamp()))
 WHERE NOT EXISTS (SELECT FROM claimed)
"""

# One job that was in flight when a process died. $1 job types, $2 who, $3 lease seconds, $4 token.
CLAIM_SUSPECT = """
UPDATE ops.jobs
   SET status = 'processing', attempts = attempts + 1, locked_by = $2, lock_token = $4,
       locked_at = clock_timestamp(), locked_until = clock_timestamp() + make_interval(secs => $3)
 WHERE id = ANY (ARRAY (
       SELECT j.id FROM ops.jobs j
        WHERE j.job_type = ANY ($1) AND j.status = 'pending' AND j.crashes > 0
          AND j.run_at <= (SELECT clock_timestamp())
        ORDER BY j.priority DESC, j.run_at, j.id
        LIMIT 1
          FOR UPDATE SKIP LOCKED))
RETURNING id, job_type, payload, attempts, max_attempts, crashes, correlation_id, checkpoint
"""

# A claim whose answer was lost may have been committed: give back what carries its token.
UNCLAIM = """
UPDATE ops.jobs
   SET status = 'pending', attempts = attempts - 1, lock_token = NULL, locked_until = NULL
 WHERE id = ANY (ARRAY (
       SELECT id FROM ops.jobs
        WHERE status = 'processing' AND lock_token = ANY ($1)
        ORDER BY id FOR UPDATE))
RETURNING id
"""

# Ordinary success, many at once. $1 ids, $2 tokens, $3 results as JSON text.
# A row that somebody has locked is passed over, so that it never holds up the others.
COMPLETE = """
WITH mine AS (
    SELECT j.id, done.result
      FROM unnest($1::bigint[], $2::bigint[], $3::text[]) AS done (id, token, result)
      JOIN ops.jobs j ON j.id = done.id AND j.lock_token = done.token
     ORDER BY j.id
       FOR UPDATE OF j SKIP LOCKED
)
UPDATE ops.jobs j
   SET status = 'completed', finished_at = clock_timestamp(), result = mine.result::jsonb,
       lock_token = NULL, locked_until = NULL
  FROM mine
 WHERE j.id = mine.id
RETURNING j.id
"""

# Every other end of an attempt. A job that returns to pending while another pending job has its
# unique key is cancelled as superseded. What is due at once rings the workers of other processes.
FINISH = """
WITH mine AS (
    SELECT j.id, f.status, f.result, f.error, f.detail, f.delay, f.run_at, f.refund,
           f.status = 'pending' AND j.unique_key IS NOT NULL AND EXISTS (
               SELECT FROM ops.jobs other
                WHERE other.job_type = j.job_type AND other.unique_key = j.unique_key
                  AND other.status = 'pending') AS superseded
      FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[],
                  $7::float8[], $8::timestamptz[], $9::boolean[])
           AS f (id, token, status, result, error, detail, delay, run_at, refund)
      JOIN ops.jobs j ON j.id = f.id AND j.lock_token = f.token
     ORDER BY j.id
       FOR UPDATE OF j SKIP LOCKED
), finished AS (
    UPDATE ops.jobs j
       SET status = CASE WHEN mine.superseded THEN 'cancelled' ELSE mine.status END,
           finished_at = CASE WHEN mine.status <> 'pending' OR mine.superseded
                              THEN clock_timestamp() END,
           run_at = CASE WHEN mine.status = 'pending'
                         THEN coalesce(mine.run_at,
                                       clock_timestamp() + make_interval(secs => mine.delay),
                                       j.run_at)
                         ELSE j.run_at END,
           attempts = j.attempts - mine.refund::integer,
           result = coalesce(mine.result::jsonb, j.result),
           last_error = CASE WHEN mine.superseded
                             THEN 'superseded: another pending job has its unique key'
                             ELSE coalesce(mine.error, j.last_error) END,
           errors = CASE WHEN mine.error IS NULL THEN j.errors
                         ELSE (CASE WHEN jsonb_array_length(j.errors) >= 20 THEN j.errors - 0
                                    ELSE coalesce(j.errors, '[]') END)
                              || jsonb_build_object('attempt', j.attempts, 'at', clock_timestamp(),
                                                    'error', mine.error, 'detail', mine.detail) END,
           lock_token = NULL, locked_until = NULL
      FROM mine
     WHERE j.id = mine.id
    RETURNING j.id, j.job_type, j.status, j.run_at
)
SELECT id, status,
       CASE WHEN status = 'pending' AND run_at <= clock_timestamp()
            THEN pg_notify('ops_jobs', job_type)::text END AS rung
  FROM finished
"""

# The same for one job inside its handler's transaction: the commit finishes the job.
COMPLETE_ONE = """
UPDATE ops.jobs
   SET status = 'completed', finished_at = clock_timestamp(), result = $3::jsonb,
       lock_token = NULL, locked_until = NULL
 WHERE id = $1 AND lock_token = $2
RETURNING id
"""

# Proves at the end of a transaction that the job is still ours, and holds it to the commit.
FENCE = "SELECT id FROM ops.jobs WHERE id = $1 AND lock_token = $2 FOR NO KEY UPDATE"

# $1 ids, $2 tokens, $3 lease seconds. A row that somebody else has locked is renewed next time.
RENEW = """
WITH mine AS (
    SELECT j.id
      FROM unnest($1::bigint[], $2::bigint[]) AS held (id, token)
      JOIN ops.jobs j ON j.id = held.id AND j.lock_token = held.token
     ORDER BY j.id
       FOR UPDATE OF j SKIP LOCKED
)
UPDATE ops.jobs
   SET locked_at = clock_timestamp(),
       locked_until = clock_timestamp() + make_interval(secs => $3)
 WHERE id = ANY (ARRAY (SELECT id FROM mine))
RETURNING id
"""

# A plain read: a job missing from a renewal is lost only if it shows another token.
TOKENS = "SELECT id, lock_token FROM ops.jobs WHERE id = ANY ($1)"

# A finish whose answer was lost counts as done if the row left processing in our hands.
FINISHED_BY_US = """
SELECT id, status FROM ops.jobs
 WHERE id = ANY ($1) AND lock_token IS NULL AND locked_by = ANY ($2)
"""

# $1 crash budget, $2 at most. Of a process that died holding a suspect only the suspect is charged;
# suspects come last, so that a batch that is cut short never leaves their neighbours to be charged.
RESCUE = """
WITH expired AS (
    SELECT j.id, j.crashes, split_part(j.locked_by, '@', 2) AS process
      FROM ops.jobs j
     WHERE j.status = 'processing' AND j.locked_until < (SELECT clock_timestamp())
     ORDER BY j.crashes > 0, j.id
     LIMIT $2
       FOR UPDATE SKIP LOCKED
), judged AS (
    SELECT expired.id,
           expired.crashes > 0 OR NOT EXISTS (
               SELECT FROM ops.jobs suspect
                WHERE suspect.status = 'processing' AND suspect.crashes > 0
                  AND split_part(suspect.locked_by, '@', 2) = expired.process) AS charged
      FROM expired
), rescued AS (
    UPDATE ops.jobs j
       SET crashes = j.crashes + judged.charged::integer,
           attempts = greatest(j.attempts - 1, 0),
           status = CASE WHEN judged.charged AND j.crashes >= $1 THEN 'failed'
                         WHEN j.unique_key IS NOT NULL AND EXISTS (
                              SELECT FROM ops.jobs other
                               WHERE other.job_type = j.job_type AND other.unique_key = j.unique_key
                                 AND other.status = 'pending') THEN 'cancelled'
                         ELSE 'pending' END,
           lock_token = NULL, locked_until = NULL,
           finished_at = CASE WHEN judged.charged AND j.crashes >= $1 THEN clock_timestamp()
                              WHEN j.unique_key IS NOT NULL AND EXISTS (
                                   SELECT FROM ops.jobs other
                                    WHERE other.job_type = j.job_type
                                      AND other.unique_key = j.unique_key
                                      AND other.status = 'pending') THEN clock_timestamp() END,
           last_error = format('crashed: %s stopped renewing its lock at %s (crash %s of %s)',
                               j.locked_by, to_char(j.locked_at AT TIME ZONE 'UTC',
                                       'YYYY-MM-DD HH24:MI:SS"Z"'),
                               j.crashes + judged.charged::integer, $1 + 1),
           errors = (CASE WHEN jsonb_array_length(j.errors) >= 20 THEN j.errors - 0
                          ELSE coalesce(j.errors, '[]') END)
                    || jsonb_build_object(
                           'attempt', j.attempts, 'at', clock_timestamp(), 'error', 'crashed',
                           'detail', jsonb_build_object(
                               'locked_by', j.locked_by, 'last_renewed_at', j.locked_at,
                               'charged', judged.charged))
      FROM judged
     WHERE j.id = judged.id
    RETURNING j.id, j.job_type, j.status
)
SELECT id, status,
       CASE WHEN status = 'pending' THEN pg_notify('ops_jobs', job_type)::text END AS rung
  FROM rescued
"""

# $1 id, $2 reason. Clears the token, so the holder can write nothing more.
CANCEL = """
WITH cancelled AS (
    UPDATE ops.jobs
       SET status = 'cancelled', finished_at = clock_timestamp(), last_error = $2,
           lock_token = NULL, locked_until = NULL
     WHERE id = $1 AND status IN ('pending', 'processing')
    RETURNING id
)
SELECT id, pg_notify('ops_jobs_cancelled', id::text)::text FROM cancelled
"""

# An ended job starts over: fresh attempts, no crashes, due at once. Refused while its key is taken.
RETRY = """
WITH revived AS (
    UPDATE ops.jobs j
       SET status = 'pending', attempts = 0, crashes = 0, run_at = clock_timestamp(),
           finished_at = NULL
     WHERE j.id = $1 AND j.status IN ('failed', 'cancelled', 'completed')
       AND NOT EXISTS (SELECT FROM ops.jobs other
                        WHERE other.job_type = j.job_type AND other.unique_key = j.unique_key
                          AND other.status = 'pending')
    RETURNING j.id, j.job_type
)
SELECT id, pg_notify('ops_jobs', job_type)::text FROM revived
"""

PROGRESS = """
UPDATE ops.jobs
   SET progress = jsonb_build_object('percent', $3::float8, 'sentence', $4::text,
                                     'at', clock_timestamp())
 WHERE id = $1 AND lock_token = $2
RETURNING id
"""

CHECKPOINT = """
UPDATE ops.jobs SET checkpoint = $3::jsonb WHERE id = $1 AND lock_token = $2 RETURNING id
"""

ENQUEUE = """
SELECT ops.enqueue_job($1, $2::jsonb, $3, $4, $5, $6, $7, $8, $9, $10)
"""

# $1 job type, $2 payloads, $3 unique keys or nulls, $4 run_at, $5 priority, $6 max attempts,
# $7 correlation id, $8 parent id. Rows are inserted, and so numbered, in the order given.
ENQUEUE_MANY = """
INSERT INTO ops.jobs (job_type, payload, unique_key, run_at, priority, max_attempts,
                      correlation_id, parent_id)
SELECT $1, new.payload::jsonb, new.unique_key, coalesce($4, now()), $5, coalesce($6, 8), $7, $8
  FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS new (payload, unique_key, place)
 ORDER BY new.place
    ON CONFLICT (job_type, unique_key) WHERE status = 'pending' AND unique_key IS NOT NULL
    DO NOTHING
RETURNING id, unique_key
"""

PENDING_BY_KEY = """
SELECT id, unique_key FROM ops.jobs
 WHERE job_type = $1 AND unique_key = ANY ($2) AND status = 'pending'
"""
