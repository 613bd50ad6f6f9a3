-- 0005 schedules: jobs that come at the times of a cron expression
-- serves: 0.1.0

create table ops.schedules (
    name          text primary key check (length(name) between 1 and 100),
    cron          text not null,
    timezone      text not null,
    job_type      text not null check (length(job_type) between 1 and 200),
    payload       jsonb not null default '{}' check (jsonb_typeof(payload) = 'object'),
    tells_tick    boolean not null default false,
    priority      smallint not null default 0,
    max_attempts  integer check (max_attempts >= 1),
    catch_up      text not null default 'last' check (catch_up in ('last', 'all', 'none')),
    overlap       text not null default 'skip' check (overlap in ('skip', 'queue')),
    fingerprint   text not null,
    next_tick_at  timestamptz not null,
    last_tick_at  timestamptz,
    last_job_id   bigint,
    defined_at    timestamptz not null,
    confirmed_at  timestamptz not null default now(),
    declared_at   timestamptz not null default now(),
    paused_at     timestamptz,
    paused_by     text,
    pause_reason  text,
    resumed_at    timestamptz,
    resumed_by    text,
    resume_reason text,
    constraint schedules_paused check ((paused_at is null) = (paused_by is null)
                                       and (paused_at is null) = (pause_reason is null))
);

comment on table ops.schedules is
    'One row per schedule, as the code that started last declares it; worker.schedule() writes it, nobody else need.';
comment on column ops.schedules.tells_tick is 'Each job''s payload has the tick''s time under tick_at.';
comment on column ops.schedules.next_tick_at is 'Moved on in the transaction that enqueues the tick''s job.';
comment on column ops.schedules.last_tick_at is 'The newest tick that became a job; last_job_id is that job.';
comment on column ops.schedules.defined_at is 'When the process started whose declaration this is.';
comment on column ops.schedules.confirmed_at is 'When a running process last declared exactly this.';
comment on column ops.schedules.declared_at is 'When a running process last declared a schedule of this name.';

alter table ops.schedules enable row level security;
revoke all on table ops.schedules from public;

do $$
declare
    role_name text;
begin
    -- whatever the default privileges of this database gave them
    for role_name in select rolname from pg_catalog.pg_roles
                      where rolname in ('anon', 'authenticated', 'service_role') loop
        execute format('revoke all on table ops.schedules from %I', role_name);
    end loop;
end $$;
