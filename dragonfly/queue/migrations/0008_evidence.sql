-- 0008 evidence: how much memory a worker's process had at its last heartbeat
-- serves: 0.1.0

alter table ops.worker_heartbeats add column rss_bytes bigint;

comment on column ops.worker_heartbeats.rss_bytes is
    'Resident memory of the process at this heartbeat; a job that dies with it keeps the figure in its errors.';
