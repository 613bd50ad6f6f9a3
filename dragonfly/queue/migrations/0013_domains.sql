-- 0013 domains: the rules of a job belong to types, which are read once a session
-- serves: 0.1.0

-- PostgreSQL reads the text of a table's checks anew for every statement that writes a row, and a
-- domain's once a session; of a column that an UPDATE leaves alone it does not even ask. So the
-- rules cost an enqueue, a claim or a finish a quarter of what they did (benchmarks W1, W2T, W4).
-- What they refuse is what they refused before.
create domain ops.job_type as text;
create domain ops.job_key as text;
create domain ops.attempt_count as integer;
create domain ops.attempt_limit as integer;
create domain ops.crash_count as smallint;

-- a domain that has no rule yet changes no row: what follows reads the table, and does not write it
alter table ops.jobs
    drop constraint jobs_job_type_check,
    drop constraint jobs_counts,
    drop constraint jobs_keys,
    alter column job_type type ops.job_type,
    alter column unique_key type ops.job_key,
    alter column concurrency_key type ops.job_key,
    alter column attempts type ops.attempt_count,
    alter column max_attempts type ops.attempt_limit,
    alter column crashes type ops.crash_count;

alter domain ops.job_type
    add constraint job_type_has_1_to_200_letters check (length(value) between 1 and 200);
alter domain ops.job_key
    add constraint key_has_1_to_500_letters check (length(value) between 1 and 500);
alter domain ops.attempt_count add constraint attempts_not_negative check (value >= 0);
alter domain ops.attempt_limit add constraint max_attempts_at_least_1 check (value >= 1);
alter domain ops.crash_count add constraint crashes_not_negative check (value >= 0);

-- the rule of four columns at once is that of a row of them
create type ops.job_state as (
    status text, finished_at timestamptz, lock_token bigint, locked_until timestamptz);
create domain ops.possible_job_state as ops.job_state
    -- a token and a lease exist exactly while somebody holds the job, a time of its end exactly
    -- when it has ended
    constraint state_is_possible check (
        case when (value).finished_at is null
             then (value).status = case when (value).lock_token is null then 'pending'
                                        else 'processing' end
             else (value).lock_token is null
                  and (value).status in ('completed', 'failed', 'cancelled') end
        and ((value).lock_token is null) = ((value).locked_until is null));
alter table ops.jobs
    drop constraint jobs_state,
    -- the cast is the check: it refuses what is not possible, and makes no null of what is
    add constraint jobs_state check (
        row(status, finished_at, lock_token, locked_until)::ops.possible_job_state
        is distinct from null);
