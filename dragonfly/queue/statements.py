"""The SQL of the queue, whole: what each statement promises stands above it.

Every statement names its schema, takes its time from ``clock_timestamp()`` (``now()`` stands still
inside a transaction), and fences by ``lock_token`` alone: a finish that also asked for the status
would let the planner read the whole small index of held jobs once per row.
"""

from __future__ import annotations

from dragonfly.queue.fragments import MINE_OR_LOST

# Ordinary success, many at once. $1 ids, $2 tokens, $3 results as JSON text.
# A row that somebody has locked is passed over, so that it never holds up the others. Whenever a
# job with a concurrency key ends, the workers are rung: its key has room.
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
RETURNING j.id,
          CASE WHEN j.concurrency_key IS NOT NULL
               THEN pg_notify('ops_jobs', j.job_type)::text END AS rung
"""

# The same for jobs of one claim, without results and keys: no join, no answer but the number of
# rows. It may wait for a locked row, up to the session's lock_timeout; COMPLETE then takes over.
# $1 ids in ascending order, as the text of an array: asyncpg looks at each element of a list.
# $2 the token of the claim.
COMPLETE_BATCH = """
UPDATE ops.jobs
   SET status = 'completed', finished_at = clock_timestamp(),
       lock_token = NULL, locked_until = NULL
 WHERE id = ANY ($1::text::bigint[]) AND lock_token = $2
"""

# Every other end of an attempt. A job that returns to pending while another pending job has its
# unique key is cancelled as superseded; of two that return together the newer stays. What is due at
# once rings the workers of other processes.
# One crash is charged to all that was in flight, so it is no proof: an attempt that came to an end
# of its own (acquits) takes it back if the job goes on. A second one fell on it alone, and stays.
# What costs no attempt, a snooze, takes back a first charge only: else a job that snoozes and
# crashes in turns would never be found out.
FINISH = """
WITH mine AS (
    SELECT j.id, j.job_type, j.unique_key, f.status, f.result, f.error, f.detail, f.delay, f.run_at,
           f.refund, f.acquits
      FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[],
                  $7::float8[], $8::timestamptz[], $9::boolean[], $10::boolean[])
           AS f (id, token, status, result, error, detail, delay, run_at, refund, acquits)
      JOIN ops.jobs j ON j.id = f.id AND j.lock_token = f.token
     ORDER BY j.id
       FOR UPDATE OF j SKIP LOCKED
), judged AS (
    SELECT mine.*,
           mine.status = 'pending' AND mine.unique_key IS NOT NULL AND (
               row_number() OVER (PARTITION BY mine.job_type, mine.unique_key, mine.status
                                  ORDER BY mine.id DESC) > 1
               OR EXISTS (SELECT FROM ops.jobs other WHERE other.status = 'pending'
                             AND other.job_type = mine.job_type
                             AND other.unique_key = mine.unique_key)) AS superseded
      FROM mine
), finished AS (
    UPDATE ops.jobs j
       SET status = CASE WHEN judged.superseded THEN 'cancelled' ELSE judged.status END,
           finished_at = CASE WHEN judged.status <> 'pending' OR judged.superseded
                              THEN clock_timestamp() END,
           run_at = CASE WHEN judged.status = 'pending'
                         THEN coalesce(judged.run_at,
                                       clock_timestamp() + make_interval(secs => judged.delay),
                                       j.run_at)
                         ELSE j.run_at END,
           attempts = j.attempts - judged.refund::integer,
           crashes = CASE WHEN j.crashes = 1 AND judged.acquits
                           AND judged.status = 'pending' AND NOT judged.superseded
                           AND NOT (judged.refund AND (
                               SELECT count(*) > 1
                                 FROM jsonb_path_query(j.errors, '$[*].detail.charged')
                                      AS charged WHERE charged = 'true'))
                          THEN 0 ELSE j.crashes END,
           result = coalesce(judged.result::jsonb, j.result),
           last_error = CASE WHEN judged.superseded
                             THEN 'superseded: another pending job has its unique key'
                             ELSE coalesce(judged.error, j.last_error) END,
           errors = CASE WHEN judged.error IS NULL THEN j.errors
                         ELSE (CASE WHEN jsonb_array_length(j.errors) >= 20 THEN j.errors - 0
                                    ELSE coalesce(j.errors, '[]') END)
                              || jsonb_build_object(
                                     'attempt', j.attempts, 'at', clock_timestamp(),
                                     'error', judged.error, 'detail', judged.detail) END,
           lock_token = NULL, locked_until = NULL
      FROM judged
     WHERE j.id = judged.id
    RETURNING j.id, j.job_type, j.status, j.run_at, j.concurrency_key
)
SELECT id, status,
       CASE WHEN status = 'pending' AND run_at <= clock_timestamp()
              OR concurrency_key IS NOT NULL
            THEN pg_notify('ops_jobs', job_type)::text END AS rung
  FROM finished
"""

# The same for one job inside its handler's transaction: the commit finishes the job.
COMPLETE_ONE = f"""
WITH mine AS (
    UPDATE ops.jobs
       SET status = 'completed', finished_at = clock_timestamp(), result = $3::jsonb,
           lock_token = NULL, locked_until = NULL
     WHERE id = $1 AND lock_token = $2
    RETURNING CASE WHEN concurrency_key IS NOT NULL
                   THEN pg_notify('ops_jobs', job_type)::text END AS rung
)
SELECT {MINE_OR_LOST}
"""  # noqa: S608 - made of a constant

# Proves at the end of a transaction that the job is still ours, and holds it to the commit.
# Progress written early in the transaction kept the row locked, and renewals passed it by: without
# a renewal here a rescue could take the job between the commit and the next heartbeat.
FENCE = f"""
WITH mine AS (
    SELECT j.id, j.locked_until, j.locked_until - j.locked_at AS lease
      FROM ops.jobs j
     WHERE j.id = $1 AND j.lock_token = $2
       FOR NO KEY UPDATE
), renewed AS (
    UPDATE ops.jobs j
       SET locked_at = clock_timestamp(), locked_until = clock_timestamp() + mine.lease
      FROM mine
     WHERE j.id = mine.id AND mine.locked_until < clock_timestamp() + mine.lease / 2
)
SELECT {MINE_OR_LOST}
"""  # noqa: S608

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

# $1 crash budget, $2 at most, $3 not after: a process held up since its heartbeat may find locks
# lapsed whose holders were held up just like it.
# Of a process that died holding a suspect only the suspect is charged: it comes back only when
# nothing else of its process is left, or its neighbours, which may lapse later, would be charged
# for it. If the process lives after all, it waits one lease and no more.
# id + 0: before a LIMIT the planner would rather walk the primary key past every job there is;
# ANY (ARRAY …): it takes a third of what is held for lapsed, and would read the table for so many.
# Clearing locked_by keeps the late holder from taking this end of the job for its own.
# The evidence: who held it, its last sign of life, and what that said of its end (it was asked to
# stop, it ended itself) and its memory; how far the handler had come.
RESCUE = """
WITH ordinary AS (
    SELECT j.id, j.job_type, j.unique_key, j.crashes, j.locked_by,
           split_part(j.locked_by, '@', 2) AS process
      FROM ops.jobs j
     WHERE j.status = 'processing' AND j.crashes = 0 AND j.locked_until < (SELECT clock_timestamp())
       AND (SELECT clock_timestamp()) < coalesce($3::timestamptz, 'infinity')
     ORDER BY j.id + 0 LIMIT $2 FOR UPDATE SKIP LOCKED
), suspects AS (
    SELECT j.id, j.job_type, j.unique_key, j.crashes, j.locked_by
      FROM ops.jobs j
     WHERE j.status = 'processing' AND j.crashes > 0 AND j.locked_until < (SELECT clock_timestamp())
       AND (SELECT clock_timestamp()) < coalesce($3::timestamptz, 'infinity')
       AND (j.locked_until + (j.locked_until - j.locked_at) < (SELECT clock_timestamp())
            OR NOT EXISTS (
                SELECT FROM ops.jobs neighbour
                 WHERE neighbour.status = 'processing' AND neighbour.crashes = 0
                   AND split_part(neighbour.locked_by, '@', 2) = split_part(j.locked_by, '@', 2)
                   AND neighbour.id NOT IN (SELECT ordinary.id FROM ordinary)))
     ORDER BY j.id + 0 LIMIT $2 - (SELECT count(*) FROM ordinary) FOR UPDATE SKIP LOCKED
), suspected AS (
    SELECT DISTINCT split_part(j.locked_by, '@', 2) AS process
      FROM ops.jobs j WHERE j.status = 'processing' AND j.crashes > 0
), charges AS (
    SELECT id, job_type, unique_key, crashes, locked_by,
           NOT EXISTS (SELECT FROM suspected WHERE suspected.process = ordinary.process) AS charged
      FROM ordinary
     UNION ALL
    SELECT id, job_type, unique_key, crashes, locked_by, true FROM suspects
), judged AS (
    SELECT charges.id, charges.charged, charges.locked_by,
           CASE WHEN charges.charged AND charges.crashes >= $1 THEN 'failed'
                WHEN charges.unique_key IS NOT NULL AND (
                     row_number() OVER (PARTITION BY charges.job_type, charges.unique_key,
                                                     charges.charged AND charges.crashes >= $1
                                        ORDER BY charges.id DESC) > 1
                     OR EXISTS (SELECT FROM ops.jobs other WHERE other.status = 'pending'
                                   AND other.job_type = charges.job_type
                                   AND other.unique_key = charges.unique_key)) THEN 'cancelled'
                ELSE 'pending' END AS status
      FROM charges
), rescued AS (
    UPDATE ops.jobs j
       SET status = judged.status,
           finished_at = CASE WHEN judged.status <> 'pending' THEN clock_timestamp() END,
           crashes = j.crashes + judged.charged::integer,
           attempts = greatest(j.attempts - 1, 0),
           locked_by = NULL, lock_token = NULL, locked_until = NULL,
           last_error = CASE WHEN judged.status = 'cancelled'
                             THEN 'superseded: another pending job has its unique key'
                             ELSE format('crashed: %s stopped renewing its lock at %s '
                                         '(crash %s of %s)', j.locked_by,
                                         to_char(j.locked_at AT TIME ZONE 'UTC',
                                                 'YYYY-MM-DD HH24:MI:SS"Z"'),
                                         j.crashes + judged.charged::integer, $1 + 1) END,
           errors = (CASE WHEN jsonb_array_length(j.errors) >= 20 THEN j.errors - 0
                          ELSE coalesce(j.errors, '[]') END)
                    || jsonb_build_object(
                           'attempt', j.attempts, 'at', clock_timestamp(), 'error', 'crashed',
                           'detail', jsonb_strip_nulls(jsonb_build_object(
                               'locked_by', j.locked_by, 'last_renewed_at', j.locked_at,
                               'charged', judged.charged, 'progress', j.progress,
                               'last_heartbeat_at', beat.last_heartbeat_at,
                               'last_status', beat.status, 'last_reason', beat.reason,
                               'rss_bytes', beat.rss_bytes, 'version', beat.version)))
      FROM judged
      LEFT JOIN ops.worker_heartbeats beat ON beat.worker_id = judged.locked_by
     WHERE j.id = judged.id AND j.id = ANY (ARRAY (SELECT judged.id FROM judged))
    RETURNING j.id, j.job_type, j.status, j.concurrency_key
)
SELECT id, status,
       CASE WHEN status = 'pending' OR concurrency_key IS NOT NULL
            THEN pg_notify('ops_jobs', job_type)::text END AS rung
  FROM rescued
"""

# $1 id, $2 token, $3 what the job did to its process, $4 where. The job stays as it is.
ACCUSE = """
UPDATE ops.jobs
   SET errors = (CASE WHEN jsonb_array_length(errors) >= 20 THEN errors - 0
                      ELSE coalesce(errors, '[]') END)
                || jsonb_build_object('attempt', attempts, 'at', clock_timestamp(),
                                      'error', $3::text, 'detail', $4::text)
 WHERE id = $1 AND lock_token = $2
"""

# $1 id, $2 reason. Clears the token, so the holder can write nothing more.
CANCEL = """
WITH cancelled AS (
    UPDATE ops.jobs
       SET status = 'cancelled', finished_at = clock_timestamp(), last_error = $2,
           lock_token = NULL, locked_until = NULL
     WHERE id = $1 AND status IN ('pending', 'processing')
    RETURNING id, job_type, concurrency_key
)
SELECT id, pg_notify('ops_jobs_cancelled', id::text)::text,
       CASE WHEN concurrency_key IS NOT NULL THEN pg_notify('ops_jobs', job_type)::text END AS rung
  FROM cancelled
"""

# An ended job starts over: fresh attempts, no crashes, no result, due at once; a checkpoint stays.
# Refused while its key is taken.
RETRY = """
WITH revived AS (
    UPDATE ops.jobs j
       SET status = 'pending', attempts = 0, crashes = 0, run_at = clock_timestamp(),
           finished_at = NULL, result = NULL, progress = NULL
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

ENQUEUE_KEYED = """
SELECT ops.enqueue_job($1, $2::jsonb, $3, $4, $5, $6, $7, $8, $9, $10, $11)
"""

# What the function does where no key can be taken, without its detour: a twentieth of the time of a
# job that is added alone (benchmark W1). A parameter without a type would be of the column's, which
# clients have to look up first.
ENQUEUE = """
INSERT INTO ops.jobs (job_type, payload, run_at, priority, concurrency_key, max_attempts, due_at,
                      correlation_id, parent_id)
VALUES ($1::text, $2, coalesce($3, now()), $4::integer, $5::text, coalesce($6::integer, 8),
        $7, $8, $9)
RETURNING id
"""

# The same for jobs of any types, one array for each parameter. They are numbered in the order
# given: each gets its number, or is added if it has a key, before the next is read. Those without
# keys are inserted together at the end, at a fraction of the cost.
ENQUEUE_EACH = """
WITH given AS MATERIALIZED (
    SELECT new.*, CASE WHEN new.unique_key IS NULL THEN nextval('ops.jobs_id_seq') END AS id
      FROM (SELECT *
              FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::integer[], $5::text[],
                          $6::text[], $7::integer[], $8::timestamptz[], $9::uuid[], $10::bigint[],
                          $11::text[])
                   WITH ORDINALITY AS row (job_type, payload, run_at, priority, unique_key,
                                           concurrency_key, max_attempts, due_at, correlation_id,
                                           parent_id, on_conflict, place)
             ORDER BY place) AS new
), unkeyed AS (
    INSERT INTO ops.jobs (id, job_type, payload, run_at, priority, concurrency_key, max_attempts,
                          due_at, correlation_id, parent_id)
    SELECT id, job_type, payload::jsonb, coalesce(run_at, now()), priority, concurrency_key,
           coalesce(max_attempts, 8), due_at, correlation_id, parent_id
      FROM given WHERE unique_key IS NULL
)
SELECT coalesce(id, ops.enqueue_job(job_type, payload::jsonb, run_at, priority, unique_key,
                                    concurrency_key, max_attempts, due_at, correlation_id,
                                    parent_id, on_conflict)) AS id
  FROM given
"""

# $1 job type, $2 payloads, $3 unique keys or nulls, $4 concurrency keys or nulls, $5 run_at,
# $6 priority, $7 max attempts, $8 due_at, $9 correlation id, $10 parent id. Jobs are numbered, and
# so run, in the order given; they are inserted in the order of their keys, so that of two enqueuers
# with the same keys one waits for the other, and never each for each.
ENQUEUE_MANY = """
INSERT INTO ops.jobs (id, job_type, payload, unique_key, concurrency_key, run_at, priority,
                      max_attempts, due_at, correlation_id, parent_id)
SELECT numbered.id, $1::text, numbered.payload::jsonb, numbered.unique_key,
       numbered.concurrency_key, coalesce($5, now()), $6, coalesce($7::integer, 8), $8, $9, $10
  FROM (SELECT nextval('ops.jobs_id_seq') AS id, new.*
          FROM (SELECT *
                  FROM unnest($2::text[], $3::text[], $4::text[])
                       WITH ORDINALITY AS given (payload, unique_key, concurrency_key, place)
                 ORDER BY place) AS new) AS numbered
 ORDER BY numbered.unique_key COLLATE "C", numbered.id
    ON CONFLICT (job_type, unique_key) WHERE status = 'pending' AND unique_key IS NOT NULL
    DO NOTHING
RETURNING id, unique_key
"""

# Ids for rows that are copied in, $1 of them, ascending.
DRAW_IDS = """
SELECT array_agg(nextval('ops.jobs_id_seq')) FROM generate_series(1, $1::integer)
"""

# The same where it is a transaction of its own: the log that makes the rows durable holds the draw,
# too, so that it need not be waited for by itself (benchmark W1).
DRAW_IDS_ALONE = """
WITH relaxed AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
SELECT array_agg(nextval('ops.jobs_id_seq')) FROM relaxed, generate_series(1, $1::integer)
"""

# The jobs that have these keys, kept from claims until the transaction ends: they must see what was
# written in it.
PENDING_BY_KEY = """
SELECT id, unique_key FROM ops.jobs
 WHERE job_type = $1 AND unique_key = ANY ($2) AND status = 'pending'
 ORDER BY id FOR KEY SHARE
"""
