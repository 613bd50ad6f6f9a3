-- 0006 control: paused job types, limits per key, and the record of what people did
-- serves: 0.1.0

create table ops.pauses (
    job_type  text primary key check (length(job_type) between 1 and 200),
    paused_at timestamptz not null default clock_timestamp(),
    paused_by text not null,
    reason    text not null check (length(reason) between 1 and 1000),
    until     timestamptz
);

comment on table ops.pauses is
    'Each row keeps a job type from being claimed, until its time or until it is deleted.';

-- what claims, and whoever explains them, go by
create view ops.paused with (security_invoker = true) as
    select job_type, paused_at, paused_by, reason, until
      from ops.pauses
     where until is null or until > clock_timestamp();

-- jobs with a concurrency_key are claimed by a way of their own (queue/keyed.py), so that jobs
-- without one pay nothing for it
drop index ops.jobs_ready;
create index jobs_ready on ops.jobs (job_type, priority desc, run_at, id)
    where concurrency_key is null and status = 'pending' and crashes = 0;
create index jobs_keyed on ops.jobs (job_type, priority desc, run_at, id)
    where concurrency_key is not null and status = 'pending' and crashes = 0;
-- per key: how many of its jobs run, and which comes next
create index jobs_of_key on ops.jobs (concurrency_key, status, job_type, priority desc, run_at, id)
    where concurrency_key is not null and status in ('pending', 'processing');

comment on column ops.jobs.concurrency_key is
    'Of the jobs that share it, whatever their types, only as many run at once as their worker says.';

alter table ops.worker_heartbeats
    add column concurrency integer not null default 1,
    add column concurrency_per_key integer not null default 1,
    add column circuits jsonb not null default '{}' check (jsonb_typeof(circuits) = 'object');

comment on column ops.worker_heartbeats.circuits is
    'Job types that this worker does not claim for now, each with the reason.';

create table ops.audit (
    id      bigint generated always as identity primary key,
    at      timestamptz not null default clock_timestamp(),
    actor   text not null,
    action  text not null,
    subject text not null,
    job_id  bigint,
    reason  text not null,
    before  jsonb,
    after   jsonb
);

comment on table ops.audit is
    'What people did to jobs, job types and schedules, and why: rows are added and never changed.';

create index audit_job on ops.audit (job_id) where job_id is not null;

create function ops.keep_audit() returns trigger
    language plpgsql set search_path = '' as $$
begin
    raise exception 'ops.audit is append-only' using errcode = 'insufficient_privilege';
end $$;

create trigger keep_audit before update or delete or truncate on ops.audit
    for each statement execute function ops.keep_audit();

alter table ops.pauses enable row level security;
alter table ops.audit enable row level security;
revoke all on ops.pauses, ops.paused, ops.audit from public;
revoke all on function ops.keep_audit from public;

do $$
declare
    role_name text;
begin
    -- whatever the default privileges of this database gave them
    for role_name in select rolname from pg_catalog.pg_roles
                      where rolname in ('anon', 'authenticated', 'service_role') loop
        execute format('revoke all on ops.pauses, ops.paused, ops.audit from %I', role_name);
        execute format('revoke all on sequence ops.audit_id_seq from %I', role_name);
        execute format('revoke all on function ops.keep_audit from %I', role_name);
    end loop;
end $$;
