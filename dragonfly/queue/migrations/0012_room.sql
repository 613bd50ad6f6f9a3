-- 0012 room: place beside a job, in its table and its primary key, for its later versions
-- serves: 0.1.0

-- No update of a job is HOT, for each changes a column that an index's condition names: its claim
-- and its finish write a version of the row and an entry of the key each.
-- The table: with room on the row's own page the log holds only what changed, a seventh less a job.
-- The key: in full pages each entry is added after a search for others that may go. With room a
-- claim and a finish cost a tenth less (benchmarks W2, W3 and SOAK), and in the end the index is no
-- larger, for full pages split.
-- Both hold for pages that are filled from now on.
alter table ops.jobs set (fillfactor = 50);
alter index ops.jobs_pkey set (fillfactor = 50);
