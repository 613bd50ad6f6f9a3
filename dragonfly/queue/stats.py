"""How deep the queue is and how fast it moves, by job type, at a bounded cost on any table.

Nothing here reads ``ops.jobs`` through. Depths are counted in the indexes of live jobs, up to
``COUNT_UP_TO``. Ended jobs have no index of their own, so rates and times come from a walk down the
primary key over at most ``LOOK_AT`` rows: the newest jobs and, where a backlog keeps those waiting,
the jobs just below the next one to be claimed, because that is where jobs end now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dragonfly.queue.fragments import KEYED, UNKEYED

if TYPE_CHECKING:
    from asyncpg import Connection, Record

COUNT_UP_TO = 100_000
LOOK_AT = 100_000
MOST_TYPES = 200
PERCENTILES = ("p50", "p95", "p99")
# of those held for a twentieth of a heartbeat, one in twenty meets a renewal
_BLUR = 1 / 20


@dataclass(frozen=True, slots=True)
class Count:
    """A number of jobs; not ``exact`` means at least so many."""

    count: int
    exact: bool = True

    def __str__(self) -> str:
        return f"{self.count:,}{'' if self.exact else '+'}"


@dataclass(frozen=True, slots=True)
class Depth:
    """The live jobs of one type: due, with a later ``run_at``, and held by a worker.

    ``oldest_due`` is in seconds past ``run_at``, None if none is due. ``frontier`` is the id near
    which the type's jobs start, and so end, at present.
    """

    job_type: str
    due: Count
    scheduled: Count
    processing: Count
    oldest_due: float | None
    frontier: int | None


@dataclass(frozen=True, slots=True)
class Spread:
    """Percentiles in seconds; None without a job."""

    p50: float | None
    p95: float | None
    p99: float | None


@dataclass(frozen=True, slots=True)
class Flow:
    """What came and ended of one type; times in seconds.

    ``enqueued`` counts the last ``enqueued_over`` seconds, ``completed`` and ``failed`` the last
    ``ended_over``: the window, or what of it the walk covers.

    ``total`` (``run_at`` to end) is exact. A row keeps no time of its claim, only that of the last
    renewal of its lock, which is the claim's unless a heartbeat fell between claim and end. So
    ``wait`` (``run_at`` to claim) is never longer, and ``run`` (claim to end, the moments claimed
    ahead included) never shorter than shown; their sum is ``total``. Percentiles in ``blurred`` are
    no more than such bounds. At the others too few jobs were held long enough to meet a renewal:
    there ``run`` is off by at most a twentieth of a heartbeat, and ``wait`` can have been raised
    only by that few. Jobs cancelled, and those failed because their process died, are not timed.
    """

    job_type: str
    enqueued: int
    enqueued_over: float
    completed: int
    failed: int
    ended_over: float
    failed_24h: Count
    timed: int
    wait: Spread
    run: Spread
    total: Spread
    blurred: tuple[str, ...]


def _ladder(claimable: str, name: str) -> str:
    """The job types and the priorities that exist among claimable jobs, an index probe each.

    A volatile bound on run_at serves as an index bound only below an equal priority.
    """
    return f"""{name}_types (job_type, n) AS (
    (SELECT j.job_type, 1 FROM ops.jobs j
      WHERE {claimable}
      ORDER BY j.job_type LIMIT 1)
    UNION ALL
    SELECT (SELECT j.job_type FROM ops.jobs j
             WHERE {claimable} AND j.job_type > types.job_type
             ORDER BY j.job_type LIMIT 1), types.n + 1
      FROM {name}_types AS types WHERE types.job_type IS NOT NULL AND types.n < $2
), {name}_ladder (job_type, priority) AS (
    SELECT types.job_type,
           (SELECT j.priority FROM ops.jobs j
             WHERE j.job_type = types.job_type AND {claimable}
             ORDER BY j.priority DESC LIMIT 1)
      FROM {name}_types AS types WHERE types.job_type IS NOT NULL
    UNION ALL
    SELECT ladder.job_type,
           (SELECT j.priority FROM ops.jobs j
             WHERE j.job_type = ladder.job_type AND {claimable}
               AND j.priority < ladder.priority
             ORDER BY j.priority DESC LIMIT 1)
      FROM {name}_ladder AS ladder WHERE ladder.priority IS NOT NULL
)"""  # noqa: S608 - made of constants


def _pending(claimable: str, name: str) -> str:
    """The claimable jobs that wait, by type and priority, as CTEs of which ``name`` is the last.

    ORDER BY run_at: for so many rows the planner would else take a pass through the table for
    cheap. frontier: of jobs neither retried nor scheduled ahead, whose ids follow the order of
    claims.
    """
    return f"""{_ladder(claimable, name)}, {name} AS (
    SELECT ladder.job_type, ladder.priority, due.count AS due, later.count AS scheduled,
           0 AS processing, due.oldest, next.frontier
      FROM {name}_ladder AS ladder CROSS JOIN LATERAL (
           SELECT count(*) AS count, min(first.run_at) AS oldest
             FROM (SELECT j.run_at FROM ops.jobs j
                    WHERE j.job_type = ladder.job_type AND {claimable}
                      AND j.priority = ladder.priority AND j.run_at <= (SELECT clock_timestamp())
                    ORDER BY j.run_at LIMIT $1::integer + 1) AS first) AS due
           CROSS JOIN LATERAL (
           SELECT count(*) AS count
             FROM (SELECT FROM ops.jobs j
                    WHERE j.job_type = ladder.job_type AND {claimable}
                      AND j.priority = ladder.priority AND j.run_at > (SELECT clock_timestamp())
                    ORDER BY j.run_at LIMIT $1::integer + 1) AS first) AS later
           CROSS JOIN LATERAL (
           SELECT max(first.id) AS frontier
             FROM (SELECT j.id, j.created_at, j.run_at FROM ops.jobs j
                    WHERE j.job_type = ladder.job_type AND {claimable}
                      AND j.priority = ladder.priority AND j.run_at <= (SELECT clock_timestamp())
                    ORDER BY j.run_at, j.id LIMIT 100) AS first
            WHERE first.run_at <= first.created_at + interval '1 second') AS next
     WHERE ladder.priority IS NOT NULL
)"""  # noqa: S608 - made of constants


# $1 count up to, $2 most types.
_DEPTHS = f"""
WITH RECURSIVE {_pending(UNKEYED, "unkeyed")}, {_pending(KEYED, "keyed")}, parts AS (
    SELECT * FROM unkeyed
    UNION ALL
    SELECT * FROM keyed
    UNION ALL
    SELECT first.job_type, NULL, count(*) FILTER (WHERE first.run_at <= clock_timestamp()),
           count(*) FILTER (WHERE first.run_at > clock_timestamp()), 0,
           min(first.run_at) FILTER (WHERE first.run_at <= clock_timestamp()), NULL
      FROM (SELECT j.job_type, j.run_at FROM ops.jobs j
             WHERE j.status = 'pending' AND j.crashes > 0
             ORDER BY j.job_type, j.run_at LIMIT $1::integer + 1) AS first
     GROUP BY first.job_type
    UNION ALL
    SELECT first.job_type, -32769, 0, 0, count(*), NULL,
           max(first.id) FILTER (WHERE first.run_at <= first.created_at + interval '1 second')
      FROM (SELECT j.id, j.job_type, j.created_at, j.run_at FROM ops.jobs j
             WHERE j.status = 'processing'
             ORDER BY j.locked_until LIMIT $1::integer + 1) AS first
     GROUP BY first.job_type
)
SELECT job_type, sum(due)::bigint AS due, sum(scheduled)::bigint AS scheduled,
       sum(processing)::bigint AS processing,
       extract(epoch FROM clock_timestamp() - min(oldest))::float8 AS oldest_due,
       (array_agg(frontier ORDER BY priority DESC) FILTER (WHERE frontier IS NOT NULL))[1]
           AS frontier
  FROM parts
 GROUP BY job_type
 ORDER BY job_type
"""  # noqa: S608

_EDGE = """
SELECT min(newest.id)
  FROM (SELECT j.id FROM ops.jobs j ORDER BY j.id DESC LIMIT $1) AS newest
"""

# $1 window in seconds, $2 rows of a walk, $3 job types and $4 their frontiers for a walk of their
# own, $5 rows at the low end of a walk.
# looked: a frontier among the newest needs no walk, as they hold what lies below it.
# reach: what a walk has seen whole: everything, or what was enqueued since the rows at its low end
#   were, and what ended since those did.
_FLOW = """
WITH clock AS MATERIALIZED (
    SELECT now, now - make_interval(secs => $1) AS start FROM clock_timestamp() AS now
), newest AS MATERIALIZED (
    SELECT '' AS walk, row_number() OVER (ORDER BY j.id DESC) AS place,
           j.id, j.job_type, j.status, j.created_at, j.run_at, j.finished_at,
           CASE WHEN j.locked_by IS NOT NULL THEN j.locked_at END AS locked_at
      FROM ops.jobs j ORDER BY j.id DESC LIMIT $2
), looked AS MATERIALIZED (
    SELECT * FROM newest
    UNION ALL
    SELECT frontier.job_type, below.*
      FROM unnest($3::text[], $4::bigint[]) AS frontier (job_type, id) CROSS JOIN LATERAL (
           SELECT row_number() OVER (ORDER BY j.id DESC),
                  j.id, j.job_type, j.status, j.created_at, j.run_at, j.finished_at,
                  CASE WHEN j.locked_by IS NOT NULL THEN j.locked_at END
             FROM ops.jobs j WHERE j.id < frontier.id ORDER BY j.id DESC LIMIT $2) AS below
     WHERE frontier.id < (SELECT min(newest.id) FROM newest)
), walks AS (
    SELECT walk, count(*) AS rows,
           percentile_disc(0.5) WITHIN GROUP (ORDER BY created_at)
               FILTER (WHERE place > $2 - $5) AS low,
           percentile_disc(0.5) WITHIN GROUP (ORDER BY finished_at - created_at)
               FILTER (WHERE place > $2 - $5 AND walk IN ('', job_type)) AS lag
      FROM looked
     GROUP BY walk
), reach AS MATERIALIZED (
    SELECT walk, rows, CASE WHEN rows < $2 THEN '-infinity' ELSE low END AS enqueued,
           CASE WHEN rows < $2 THEN '-infinity'
                ELSE least(low + coalesce(lag, interval '0'), clock.now) END AS ended
      FROM walks CROSS JOIN clock
), seen AS (
    SELECT looked.*, clock.now, greatest(clock.start, main.enqueued) AS enqueued_from,
           greatest(clock.start, coalesce(own.ended, main.ended)) AS ended_from,
           coalesce(own.ended, main.ended) <= clock.now - interval '24 hours' AS whole_day,
           looked.finished_at > greatest(clock.start, coalesce(own.ended, main.ended)) AS ended
      FROM looked CROSS JOIN clock
           JOIN reach main ON main.walk = ''
           LEFT JOIN reach own ON own.walk = looked.job_type
     WHERE looked.walk IN ('', looked.job_type)
), told AS (
    SELECT *, ended AND status <> 'cancelled' AND locked_at IS NOT NULL AS timed FROM seen
)
SELECT job_type,
       count(*) FILTER (WHERE created_at > enqueued_from) AS enqueued,
       extract(epoch FROM max(now - enqueued_from))::float8 AS enqueued_over,
       count(*) FILTER (WHERE ended AND status = 'completed') AS completed,
       count(*) FILTER (WHERE ended AND status = 'failed') AS failed,
       extract(epoch FROM max(now - ended_from))::float8 AS ended_over,
       count(*) FILTER (WHERE status = 'failed' AND finished_at >= now - interval '24 hours')
           AS failed_24h,
       bool_and(whole_day) AS whole_day,
       count(*) FILTER (WHERE timed) AS timed,
       percentile_disc(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (
           ORDER BY greatest(extract(epoch FROM locked_at - run_at)::float8, 0))
           FILTER (WHERE timed) AS wait,
       percentile_disc(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (
           ORDER BY extract(epoch FROM finished_at - locked_at)::float8)
           FILTER (WHERE timed) AS run,
       percentile_disc(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (
           ORDER BY greatest(extract(epoch FROM finished_at - run_at)::float8, 0))
           FILTER (WHERE timed) AS total,
       (SELECT sum(reach.rows)::bigint FROM reach) AS looked_at
  FROM told
 GROUP BY job_type
 ORDER BY job_type
 LIMIT $6
"""


async def depths(conn: Connection, up_to: int = COUNT_UP_TO) -> list[Depth]:
    """The types that have live jobs, in alphabetical order."""
    rows = await conn.fetch(_DEPTHS, up_to, MOST_TYPES)
    held = sum(row["processing"] for row in rows)
    return [_depth(row, up_to, all_held=held <= up_to) for row in rows]


def _depth(row: Record, up_to: int, *, all_held: bool) -> Depth:
    return Depth(
        job_type=row["job_type"],
        due=Count(min(row["due"], up_to), row["due"] <= up_to),
        scheduled=Count(min(row["scheduled"], up_to), row["scheduled"] <= up_to),
        processing=Count(row["processing"], all_held),
        oldest_due=row["oldest_due"],
        frontier=row["frontier"],
    )


@dataclass(frozen=True, slots=True)
class Flows:
    """What came and ended by type, in alphabetical order, and how many rows were looked at."""

    looked_at: int
    types: tuple[Flow, ...]


async def flows(
    conn: Connection,
    window: float,
    frontiers: Mapping[str, int],
    heartbeat: float,
    look_at: int = LOOK_AT,
) -> Flows:
    """What the last ``window`` seconds brought, as far as ``look_at`` rows can tell.

    ``frontiers`` are those of ``depths()``. ``heartbeat``, in seconds, is the workers'.
    """
    edge = await conn.fetchval(_EDGE, look_at)
    below = edge is not None and any(frontier < edge for frontier in frontiers.values())
    walks = dict(frontiers) if below else {}
    rows = max(look_at // (1 + len(walks)), 1)
    found = await conn.fetch(
        _FLOW, window, rows, list(walks), list(walks.values()), max(rows // 20, 1), MOST_TYPES
    )
    looked_at = found[0]["looked_at"] if found else 0
    return Flows(looked_at, tuple(_flow(row, heartbeat) for row in found))


def _flow(row: Record, heartbeat: float) -> Flow:
    run = _spread(row["run"])
    return Flow(
        job_type=row["job_type"],
        enqueued=row["enqueued"],
        enqueued_over=row["enqueued_over"],
        completed=row["completed"],
        failed=row["failed"],
        ended_over=row["ended_over"],
        failed_24h=Count(row["failed_24h"], row["whole_day"]),
        timed=row["timed"],
        wait=_spread(row["wait"]),
        run=run,
        total=_spread(row["total"]),
        blurred=tuple(
            name for name in PERCENTILES if (getattr(run, name) or 0) >= heartbeat * _BLUR
        ),
    )


def _spread(values: Sequence[float] | None) -> Spread:
    return Spread(*values) if values else Spread(None, None, None)
