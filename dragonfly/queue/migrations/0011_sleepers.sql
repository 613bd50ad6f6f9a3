-- 0011 sleepers: an INSERT rings only for the types of jobs that a worker sleeps for
-- serves: 0.1.0

-- A commit that sends a NOTIFY waits for all others that send one: ten connections which add a job a
-- transaction do a third of what they do without (benchmark W1C). Who works looks at the queue by
-- itself; who sleeps says so by advisory locks of its session (queue/sleepers.py), which end with it:
-- 5277240125 for any sleeper, the hash of a type for those who take it.
-- To ask is to take the lock for a moment. Who asks in the same moment takes that for a sleeper:
-- one ring too many, never one too few. It is given back before anything could interrupt.
-- A worker of an older version does not say that it sleeps, and finds new jobs by its polls.
create or replace function ops.ring_workers() returns trigger
    language plpgsql set search_path = '' as $$
begin
    perform pg_catalog.pg_notify('ops_jobs', job_type)
       from (select distinct job_type from inserted) as types
      where case when pg_catalog.pg_try_advisory_lock(
                          pg_catalog.hashtextextended(job_type, 5277240125))
                 then not pg_catalog.pg_advisory_unlock(
                          pg_catalog.hashtextextended(job_type, 5277240125))
                 else true end;
    return null;
end $$;

create or replace trigger ring_workers after insert on ops.jobs
    referencing new table as inserted
    for each statement
    when (case when pg_catalog.pg_try_advisory_lock(5277240125)
               then not pg_catalog.pg_advisory_unlock(5277240125) else true end)
    execute function ops.ring_workers();
