-- 0013 domains: the rules for one column of a job belong to the column's type
-- serves: 0.1.0

-- PostgreSQL reads the text of a table's checks anew for every statement that writes a row, and a
-- domain's once a session; an UPDATE does not even ask those of columns it leaves alone. The same
-- rules cost an enqueue a half and a single claim or finish a third of what they did (benchmark W1).
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
