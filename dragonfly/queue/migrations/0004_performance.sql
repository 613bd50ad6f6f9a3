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

-- without a unique key there is nothing to conflict with, and ON CONFLICT would write each row's log
-- twice (benchmark W1)
create or replace function ops.enqueue_job(
    job_type        text,
    payload         jsonb default '{}',
    run_at          timestamptz default null,
    priority        integer default 0,
    unique_key      text default null,
    concurrency_key text default null,
    max_attempts    integer default null,
    due_at          timestamptz default null,
    correlation_id  uuid default null,
    parent_id       bigint default null
) returns bigint
    language plpgsql security definer set search_path = '' as $$
#variable_conflict use_column
declare
    new_id bigint;
begin
    if enqueue_job.unique_key is null then
        insert into ops.jobs as j (job_type, payload, run_at, priority, concurrency_key,
                                   max_attempts, due_at, correlation_id, parent_id)
        values (job_type, coalesce(payload, '{}'), coalesce(run_at, pg_catalog.now()),
                coalesce(priority, 0)::smallint, concurrency_key,
                coalesce(max_attempts, 8), due_at, correlation_id, parent_id)
        returning j.id into new_id;
        return new_id;
    end if;
    loop
        insert into ops.jobs as j (job_type, payload, run_at, priority, unique_key, concurrency_key,
                                   max_attempts, due_at, correlation_id, parent_id)
        values (job_type, coalesce(payload, '{}'), coalesce(run_at, pg_catalog.now()),
                coalesce(priority, 0)::smallint, unique_key, concurrency_key,
                coalesce(max_attempts, 8), due_at, correlation_id, parent_id)
        on conflict (job_type, unique_key) where status = 'pending' and unique_key is not null
        do nothing
        returning j.id into new_id;
        if new_id is not null then
            return new_id;
        end if;
        select j.id into new_id from ops.jobs as j
         where j.job_type = enqueue_job.job_type and j.unique_key = enqueue_job.unique_key
           and j.status = 'pending';
        if new_id is not null then
            return new_id;
        end if;
        -- the other one was claimed between the two statements: the key is free again
    end loop;
end $$;
