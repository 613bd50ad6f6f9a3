-- 0007 enqueue: a choice of what a taken unique key means for the job that waits with it
-- serves: 0.1.0

-- one more parameter makes another function: beside the old one, a call with names would be ambiguous
drop function ops.enqueue_job(text, jsonb, timestamptz, integer, text, text, integer, timestamptz,
                              uuid, bigint);

create function ops.enqueue_job(
    job_type        text,
    payload         jsonb default '{}',
    run_at          timestamptz default null,
    priority        integer default 0,
    unique_key      text default null,
    concurrency_key text default null,
    max_attempts    integer default null,
    due_at          timestamptz default null,
    correlation_id  uuid default null,
    parent_id       bigint default null,
    on_conflict     text default 'skip'
) returns bigint
    language plpgsql security definer set search_path = '' as $$
#variable_conflict use_column
declare
    new_id     bigint;
    waiting_id bigint;
    waiting_at timestamptz;
    moved_to   timestamptz;
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
    on_conflict := coalesce(on_conflict, 'skip');
    if on_conflict not in ('skip', 'replace', 'reschedule') then
        raise invalid_parameter_value using
            message = pg_catalog.format(
                'on_conflict is %L; it must be skip, replace or reschedule', on_conflict);
    end if;
    loop
        if on_conflict <> 'skip' then
            -- waits while a claim or another enqueuer holds the row, and sees what became of it
            select j.id, j.run_at into waiting_id, waiting_at from ops.jobs as j
             where j.job_type = enqueue_job.job_type and j.unique_key = enqueue_job.unique_key
               and j.status = 'pending'
               for no key update;
            exit when waiting_id is not null;
        end if;
        insert into ops.jobs as j (job_type, payload, run_at, priority, unique_key, concurrency_key,
                                   max_attempts, due_at, correlation_id, parent_id)
        values (job_type, coalesce(payload, '{}'), coalesce(run_at, pg_catalog.now()),
                coalesce(priority, 0)::smallint, unique_key, concurrency_key,
                coalesce(max_attempts, 8), due_at, correlation_id, parent_id)
        on conflict (job_type, unique_key) where status = 'pending' and unique_key is not null
        do nothing
        returning j.id into new_id;
        if new_id is null and on_conflict = 'skip' then
            -- kept from claims until this transaction ends: the job must see what was written with
            -- this call
            select j.id into new_id from ops.jobs as j
             where j.job_type = enqueue_job.job_type and j.unique_key = enqueue_job.unique_key
               and j.status = 'pending'
               for key share;
        end if;
        if new_id is not null then
            return new_id;
        end if;
        -- the key was taken and is free again, or the other way round: look again
    end loop;

    if on_conflict = 'reschedule' then
        update ops.jobs as j
           set run_at = coalesce(enqueue_job.run_at, pg_catalog.now())
         where j.id = waiting_id
        returning j.run_at into moved_to;
    else
        -- what an earlier attempt left to resume from belongs to the payload that it had;
        -- attempts, crashes and errors stay, so that no budget starts over
        update ops.jobs as j
           set payload = coalesce(enqueue_job.payload, '{}'),
               run_at = coalesce(enqueue_job.run_at, j.run_at),
               priority = coalesce(enqueue_job.priority, 0)::smallint,
               concurrency_key = enqueue_job.concurrency_key,
               max_attempts = coalesce(enqueue_job.max_attempts, 8),
               due_at = enqueue_job.due_at,
               correlation_id = enqueue_job.correlation_id,
               parent_id = enqueue_job.parent_id,
               progress = null, checkpoint = null
         where j.id = waiting_id
        returning j.run_at into moved_to;
    end if;
    if moved_to < waiting_at then
        -- no trigger rings for an update: every claim and finish would pay for it
        perform pg_catalog.pg_notify('ops_jobs', enqueue_job.job_type);
    end if;
    return waiting_id;
end $$;

comment on function ops.enqueue_job is
    'Adds a job and returns its id. While a job with the unique_key is pending, on_conflict says whether that one is left as it is (skip), gets the new payload and options (replace) or only the new run_at (reschedule); the answer is its id.';

revoke all on function ops.enqueue_job from public;

do $$
declare
    role_name text;
begin
    -- whatever the default privileges of this database gave them
    for role_name in select rolname from pg_catalog.pg_roles
                      where rolname in ('anon', 'authenticated', 'service_role') loop
        execute format('revoke all on function ops.enqueue_job from %I', role_name);
    end loop;
    if exists (select from pg_catalog.pg_roles where rolname = 'service_role') then
        grant execute on function ops.enqueue_job to service_role;
    end if;
end $$;
