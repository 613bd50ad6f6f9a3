-- 0004 performance: one check for the state of a job, and settings for a table whose rows all change twice
-- serves: 0.1.0

-- every claim and every finish evaluates all checks: one CASE compares the status once or twice, the
-- three that it replaces did so seven times. The words are the same: a token and a lease exist
-- exactly while somebody holds the job, a time of its end exactly when it has ended.
alter table ops.jobs
    drop constraint jobs_status,
    drop constraint jobs_held,
    drop constraint jobs_finished,
    add constraint jobs_state check (
        case status
            when 'pending' then
                lock_token is null and locked_until is null and finished_at is null
            when 'processing' then
                lock_token is not null and locked_until is not null and finished_at is null
            when 'completed' then
                lock_token is null and locked_until is null and finished_at is not null
            when 'failed' then
                lock_token is null and locked_until is null and finished_at is not null
            when 'cancelled' then
                lock_token is null and locked_until is null and finished_at is not null
            else false
        end);

-- fillfactor: the claimed and the finished version of a row find room on its page, so that the
--   write-ahead log holds what changed and not the whole row (benchmark W2, log bytes a job)
-- autovacuum: what is dead in jobs_ready is walked by claims, so clean up after one row in twenty,
--   and without pauses, which would make a busy table's vacuum last for hours
alter table ops.jobs set (
    fillfactor = 70,
    autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_analyze_scale_factor = 0.05,
    autovacuum_vacuum_cost_delay = 0);
