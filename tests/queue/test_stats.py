"""Depths, rates and times of the queue, at a bounded cost."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from dragonfly.queue import stats
from dragonfly.queue.stats import Count, Flow, Flows, Spread, depths, flows
from tests.queue.rows import put
from tests.queue.test_plans import explain, nodes

HOUR = 3600.0
HEARTBEAT = 10.0
NOTHING = Spread(None, None, None)

# mostly ended, mostly due, a second type, scheduled, held, and suspects that wait
MANY_JOBS = """
INSERT INTO ops.jobs (job_type, status, finished_at, locked_by, locked_at)
SELECT 'greet', 'completed', now(), 'greeter.1@here', now() FROM generate_series(1, 40000);
INSERT INTO ops.jobs (job_type, run_at, priority)
SELECT (ARRAY['greet', 'stamp'])[1 + n % 2], now() - make_interval(secs => n), n % 3
  FROM generate_series(1, 60000) AS n;
INSERT INTO ops.jobs (job_type, run_at, crashes)
SELECT 'greet', now() + interval '1 day', n % 2 FROM generate_series(1, 20000) AS n;
INSERT INTO ops.jobs (job_type, status, lock_token, locked_by, locked_at, locked_until)
SELECT 'greet', 'processing', 7, 'greeter.1@here', now(), now() FROM generate_series(1, 2000);
ANALYZE ops.jobs
"""
# $1 jobs, done one a second, that were enqueued when their time came; or, if a backlog of $2 waits
# behind them, all together
STREAM = """
WITH came AS (
    SELECT n, clock.now, CASE WHEN $2 = 0 THEN clock.now - make_interval(secs => $1 - n + 0.5)
                              ELSE clock.now - make_interval(secs => $1 + 1) END AS at
      FROM (SELECT clock_timestamp() AS now) AS clock, generate_series(1, $1 + $2::integer) AS n
)
INSERT INTO ops.jobs (job_type, status, created_at, run_at, locked_at, finished_at, locked_by)
SELECT 'greet', CASE WHEN n > $1 THEN 'pending' ELSE 'completed' END, at, at,
       CASE WHEN n <= $1 THEN now - make_interval(secs => $1 - n + 0.1) END,
       CASE WHEN n <= $1 THEN now - make_interval(secs => $1 - n) END,
       CASE WHEN n <= $1 THEN 'greeter.1@here' END
  FROM came ORDER BY n
"""
FRONTIERS = "ARRAY['greet', 'stamp'], ARRAY[40001, 40002]::bigint[]"
# arguments, and the most pages that the statement may touch: about twice what they need
PLANS = {
    "few counted": (stats._DEPTHS, "100, 200", 1_500),
    "all counted": (stats._DEPTHS, "100000, 200", 200_000),
    "edge": (stats._EDGE, "1000", 100),
    "few looked at": (stats._FLOW, f"3600, 1000, {FRONTIERS}, 50, 200", 500),
    "most looked at": (stats._FLOW, f"3600, 33333, {FRONTIERS}, 1666, 200", 10_000),
}


def ago(seconds: float) -> timedelta:
    return timedelta(seconds=-seconds)


async def enqueued(conn: asyncpg.Connection, seconds: float, **columns: Any) -> int:
    """A job that came so many seconds ago, and was due at once."""
    return await put(conn, created_at=ago(seconds), run_at=ago(seconds), **columns)


async def ended(
    conn: asyncpg.Connection,
    seconds: float,
    wait: float = 0,
    run: float = 0,
    state: str = "completed",
    **columns: Any,
) -> int:
    """A job that ended so many seconds ago, after this wait and run."""
    began = seconds + wait + run
    times = {"created_at": ago(began), "run_at": ago(began), "finished_at": ago(seconds)}
    return await put(conn, state, **(times | {"locked_at": ago(seconds + run)} | columns))


async def flow(conn: asyncpg.Connection, **options: Any) -> Flow:
    """The flow of the only type."""
    wanted: dict[str, Any] = {"window": HOUR, "frontiers": {}, "heartbeat": HEARTBEAT} | options
    (found,) = (await flows(conn, **wanted)).types
    return found


async def fronts(conn: asyncpg.Connection) -> dict[str, int]:
    """The frontiers that depths() hands to flows()."""
    return {d.job_type: d.frontier for d in await depths(conn) if d.frontier is not None}


async def test_depths_by_type(conn: asyncpg.Connection) -> None:
    """What is due, scheduled and held is counted by type, over all priorities, suspects too."""
    await put(conn, run_at=ago(100), priority=-5)
    await put(conn, run_at=ago(50), priority=7)
    await put(conn, "suspect", run_at=ago(200))
    await put(conn, run_at=timedelta(hours=1))
    await put(conn, "suspect", run_at=timedelta(hours=1))
    await put(conn, "ours")
    await put(conn, "completed")
    await put(conn, "theirs", job_type="stamp")

    greet, stamp = await depths(conn)

    assert ("greet", Count(3), Count(2), Count(1)) == (
        greet.job_type,
        greet.due,
        greet.scheduled,
        greet.processing,
    )
    assert greet.oldest_due is not None
    assert 200 <= greet.oldest_due < 210
    assert ("stamp", Count(0), Count(1), None) == (
        stamp.job_type,
        stamp.due,
        stamp.processing,
        stamp.oldest_due,
    )


async def test_an_empty_queue(conn: asyncpg.Connection) -> None:
    """Without jobs there are no depths and no flows."""
    assert [] == await depths(conn)
    assert Flows(0, ()) == await flows(conn, HOUR, {}, HEARTBEAT)


async def test_counting_ends_at_a_limit(conn: asyncpg.Connection) -> None:
    """A count stops at the limit, and says that there are at least so many."""
    for _ in range(5):
        await put(conn)
        await put(conn, run_at=timedelta(hours=1))
        await put(conn, "ours")

    (exact,) = await depths(conn, 5)
    (capped,) = await depths(conn, 4)

    assert [Count(5)] * 3 == [exact.due, exact.scheduled, exact.processing]
    assert [Count(4, exact=False)] * 2 == [capped.due, capped.scheduled]
    assert not capped.processing.exact
    assert ["1,234", "1,234+"] == [str(Count(1234)), str(Count(1234, exact=False))]


async def test_rates_are_over_the_window(conn: asyncpg.Connection) -> None:
    """What came and what ended within the window counts; failures are also told for a day."""
    await enqueued(conn, 10)
    await enqueued(conn, 700)
    await ended(conn, 20)
    await ended(conn, 700)
    await ended(conn, 30, wait=6000)
    await ended(conn, 40, state="failed")
    await ended(conn, 23 * HOUR, state="failed")
    await ended(conn, 25 * HOUR, state="failed")
    await ended(conn, 50, state="cancelled")

    found = await flow(conn, window=600.0)

    assert (4, 2, 1) == (found.enqueued, found.completed, found.failed)
    assert [found.enqueued_over, found.ended_over] == pytest.approx([600.0, 600.0])
    assert Count(2) == found.failed_24h


async def test_percentiles_of_wait_and_run(conn: asyncpg.Connection) -> None:
    """Of a job that was not renewed, wait is from run_at to claim, and run from claim to end."""
    for n in range(1, 101):
        await ended(conn, 60, wait=n, run=n / 1000)

    found = await flow(conn)

    assert Spread(50, 95, 99) == found.wait
    assert Spread(0.050, 0.095, 0.099) == found.run
    assert Spread(50.050, 95.095, 99.099) == found.total
    assert (100, ()) == (found.timed, found.blurred)


async def test_renewals_blur_wait_and_run(conn: asyncpg.Connection) -> None:
    """Where more than the rare job was held over a heartbeat, wait and run are bounds only."""
    for _ in range(97):
        await ended(conn, 60, wait=0.01, run=0.02)
    for _ in range(3):  # ran for 70 s, and were renewed 4 s before their end
        await ended(conn, 60, wait=66, run=4)

    found = await flow(conn)

    assert ("p99",) == found.blurred
    assert (66, 4, 70) == (found.wait.p99, found.run.p99, found.total.p99)
    assert (0.01, 0.02) == (found.wait.p95, found.run.p95)


async def test_only_jobs_that_were_run_are_timed(conn: asyncpg.Connection) -> None:
    """Cancelled jobs, those whose process died, and those never claimed have no times."""
    await ended(conn, 60, state="cancelled")
    await ended(conn, 60, state="failed", locked_by=None)
    await ended(conn, 60, locked_at=None)

    found = await flow(conn)

    assert (0, NOTHING, NOTHING, NOTHING) == (found.timed, found.wait, found.run, found.total)
    assert (1, 1) == (found.completed, found.failed)


async def test_a_limit_cuts_the_window(conn: asyncpg.Connection) -> None:
    """If the limit ends the walk early, rates are over the time that it covers, and say so."""
    await conn.execute(STREAM, 200, 0)

    cut = await flow(conn, look_at=100)
    whole = await flow(conn, look_at=1000)

    assert 95 <= cut.enqueued_over <= 101
    assert cut.enqueued == pytest.approx(cut.enqueued_over, abs=3)
    assert cut.completed == pytest.approx(cut.ended_over, abs=3)
    assert not cut.failed_24h.exact
    assert (200, 200, HOUR) == (whole.enqueued, whole.completed, whole.ended_over)


async def test_a_backlog_does_not_hide_what_ends(conn: asyncpg.Connection) -> None:
    """Where only waiting jobs are among the newest, ends are looked for below the next claim."""
    await conn.execute(STREAM, 400, 1000)

    found = await flows(conn, HOUR, await fronts(conn), HEARTBEAT, look_at=400)
    blind = await flow(conn, look_at=400)

    (seen,) = found.types
    assert (0, 400) == (blind.completed, found.looked_at)
    assert 90 <= seen.completed <= 200
    assert seen.completed == pytest.approx(seen.ended_over, abs=3)


async def test_a_retry_is_no_frontier(conn: asyncpg.Connection) -> None:
    """Old jobs that come round again say nothing about where jobs of their type start now."""
    await put(conn, attempts=1, created_at=ago(9000), run_at=ago(1))
    await put(conn, "ours", attempts=2, created_at=ago(9000), run_at=ago(60))

    assert {} == await fronts(conn)


async def test_the_frontier_is_of_the_first_in_line(conn: asyncpg.Connection) -> None:
    """It is an id near the next claim: of the highest priority due, or else of what is held."""
    await enqueued(conn, 60, priority=1)
    first = await enqueued(conn, 60, priority=2)
    await enqueued(conn, 60)
    held = await put(conn, "ours", job_type="stamp", created_at=ago(60), run_at=ago(60))

    assert {"greet": first, "stamp": held} == await fronts(conn)


async def test_types_are_told_apart(conn: asyncpg.Connection) -> None:
    """Each type has its own numbers, whether it has live jobs, ended ones or both."""
    await ended(conn, 5, job_type="a")
    await enqueued(conn, 5, job_type="b")

    found = await flows(conn, HOUR, await fronts(conn), HEARTBEAT)

    assert [("a", 1, 1), ("b", 1, 0)] == [
        (each.job_type, each.enqueued, each.completed) for each in found.types
    ]


@pytest.mark.parametrize("mode", ["force_generic_plan", "force_custom_plan"])
async def test_nothing_reads_the_table_through(conn: asyncpg.Connection, mode: str) -> None:
    """Every statement goes by an index, and touches no more pages than its limit asks for."""
    await conn.execute(MANY_JOBS)
    for name, (statement, arguments, most) in PLANS.items():
        async with conn.transaction():
            plan = await explain(conn, statement, arguments, mode)
            await conn.execute("DEALLOCATE explained")

        scanned = [n.get("Relation Name") for n in nodes(plan) if n["Node Type"] == "Seq Scan"]
        pages = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
        assert (name, []) == (name, scanned)
        assert (name, True, pages) == (name, pages <= most, pages)
