"""Processes that die without a word: what is rescued, who is charged, and who is to blame."""

from __future__ import annotations

import json
import signal
from itertools import pairwise

import asyncpg

from dragonfly import enqueue, enqueue_many
from dragonfly.queue import store
from tests.process.launch import workers
from tests.queue.rows import put
from tests.support import until

STARTED = "SELECT count(*) FROM public.trace WHERE what = 'start'"


async def test_jobs_of_a_killed_process_are_rescued(traced: str, conn: asyncpg.Connection) -> None:
    """After the lease another process brings them back; each then runs alone, and completes."""
    await conn.execute("SELECT pg_advisory_lock(42)")
    ids = await enqueue_many(conn, "script", [{"do": "wait"}] * 3)
    async with workers(traced) as victim, workers(traced, "neighbour") as survivor:
        await until(conn, STARTED, expected=3)
        victim.signal(signal.SIGKILL)
        await survivor.says("rescued 3 jobs whose worker died")
    rows = await conn.fetch("SELECT * FROM ops.jobs ORDER BY id")
    assert [("pending", 1, 0)] * 3 == [(r["status"], r["crashes"], r["attempts"]) for r in rows]
    evidence = json.loads(rows[0]["errors"])[0]
    assert "crashed" == evidence["error"]
    assert evidence["detail"]["locked_by"].startswith("scripted.1@")

    async with workers(traced):
        await until(conn, STARTED, expected=4)
        await beats(conn, 3)
        assert 1 == await conn.fetchval("SELECT count(*) FROM ops.jobs WHERE status = 'processing'")
        await conn.execute("SELECT pg_advisory_unlock(42)")
        await until(conn, "SELECT count(*) FROM ops.jobs WHERE status = 'completed'", expected=3)

    runs = await conn.fetch(
        "SELECT max(at) AS began, finished_at AS ended FROM public.trace "
        "JOIN ops.jobs ON id = job_id WHERE what = 'start' GROUP BY id ORDER BY 1"
    )
    assert 3 == len(ids) == len(runs)
    for before, after in pairwise(runs):
        assert before["ended"] <= after["began"]


async def beats(conn: asyncpg.Connection, number: int) -> None:
    """Wait until the newest worker has sent this many heartbeats."""
    newest = "SELECT coalesce(max(last_heartbeat_at), '-infinity') FROM ops.worker_heartbeats"
    for _ in range(number):
        before = await conn.fetchval(newest)
        await until(conn, f"SELECT ({newest}) > $1", before)


async def test_a_poison_job_is_found_out(traced: str, conn: asyncpg.Connection) -> None:
    """A job that kills its process fails after its budget; neighbours complete, charged once.

    The one that is retried in between is charged no more.
    """
    await conn.execute("SELECT pg_advisory_lock(42)")
    deeds = ("wait", "wait and raise once")
    neighbours = await enqueue_many(conn, "script", [{"do": deed} for deed in deeds])
    async with workers(traced) as victim:
        await until(conn, STARTED, expected=2)
        poison = await enqueue(conn, "script", {"do": "exit"})
        assert 3 == await victim.ends()
    await conn.execute("SELECT pg_advisory_unlock(42)")

    for deaths in (2, 3, 4):
        async with workers(traced, DRAGONFLY_CRASH_BUDGET="3") as victim:
            await until(
                conn, "SELECT crashes FROM ops.jobs WHERE id = $1", poison, expected=deaths - 1
            )
            assert 3 == await victim.ends()
    async with workers(traced, DRAGONFLY_CRASH_BUDGET="3"):
        await until(conn, "SELECT status FROM ops.jobs WHERE id = $1", poison, expected="failed")
        await until(conn, "SELECT count(*) FROM ops.jobs WHERE status = 'completed'", expected=2)

    job = await conn.fetchrow("SELECT * FROM ops.jobs WHERE id = $1", poison)
    assert job is not None
    assert (4, 0) == (job["crashes"], job["attempts"])
    assert "(crash 4 of 4)" in job["last_error"]
    assert 4 == len({entry["detail"]["locked_by"] for entry in json.loads(job["errors"])})
    charged = await conn.fetch(
        "SELECT crashes, attempts FROM ops.jobs WHERE id = ANY ($1) ORDER BY id", neighbours
    )
    assert [(1, 1), (0, 2)] == [tuple(row) for row in charged]


async def test_an_innocent_is_not_failed_for_its_neighbour(
    traced: str, conn: asyncpg.Connection
) -> None:
    """Beside a job whose next crash fails it nothing runs: whatever kills the process comes later.

    A fresh job that kills its process is due all the while, and has its turn when that job is done.
    """
    await conn.execute("SELECT pg_advisory_lock(42), pg_advisory_lock(43)")
    async with workers(traced) as running:
        await enqueue_many(conn, "script", [{"do": "wait"}] * 2)
        await until(conn, STARTED, expected=2)
        innocent = await put(
            conn, "suspect", job_type="script", crashes=3, payload='{"do": "wait", "lock": 43}'
        )
        await running.says("waits to run alone")
        poison = await enqueue(conn, "script", {"do": "exit"})
        await conn.execute("SELECT pg_advisory_unlock(42)")
        await running.says(f"job {innocent} (script) runs alone")
        await until(conn, STARTED, expected=3)
        await beats(conn, 3)
        held = "SELECT array_agg(id) FROM ops.jobs WHERE status = 'processing'"
        assert [innocent] == await conn.fetchval(held)
        await conn.execute("SELECT pg_advisory_unlock(43)")
        assert 3 == await running.ends()

    rows = await conn.fetch("SELECT id, status, crashes FROM ops.jobs ORDER BY id")
    assert [("completed", 0), ("completed", 0)] == [(r["status"], r["crashes"]) for r in rows[:2]]
    assert [(innocent, "completed", 3), (poison, "processing", 0)] == [tuple(r) for r in rows[2:]]


async def test_a_process_serves_on_after_a_last_chance(
    traced: str, conn: asyncpg.Connection
) -> None:
    """When the job that ran alone has ended, all slots of its process have work again."""
    await conn.execute("SELECT pg_advisory_lock(42), pg_advisory_lock(43)")
    innocent = await put(
        conn, "suspect", job_type="script", crashes=3, payload='{"do": "wait", "lock": 43}'
    )
    async with workers(traced) as running:
        await running.says(f"job {innocent} (script) runs alone")
        await enqueue_many(conn, "script", [{"do": "wait"}] * 4)
        await conn.execute("SELECT pg_advisory_unlock(43)")
        await until(conn, STARTED, expected=5)
        together = "SELECT count(*) FROM ops.jobs WHERE status = 'processing'"
        assert 4 == await conn.fetchval(together)
        await conn.execute("SELECT pg_advisory_unlock(42)")
        await until(conn, "SELECT count(*) FROM ops.jobs WHERE status = 'completed'", expected=5)


async def test_a_frozen_process_writes_nothing_late(traced: str, conn: asyncpg.Connection) -> None:
    """A process that sleeps through its lease finds its job gone, and leaves the new result."""
    await conn.execute("SELECT pg_advisory_lock(42)")
    job_id = await enqueue(conn, "script", {"do": "wait"})
    async with workers(traced) as sleeper, workers(traced, "neighbour") as survivor:
        await until(conn, STARTED, expected=1)
        sleeper.signal(signal.SIGSTOP)
        await survivor.says("rescued 1 job")
        async with workers(traced, args=("--debug",)) as heir:
            await until(conn, STARTED, expected=2)
            await conn.execute("SELECT pg_advisory_unlock(42)")
            await heir.says(f"job {job_id} (script) completed")
            sleeper.signal(signal.SIGCONT)
            await sleeper.says("taken away or cancelled")

    row = await conn.fetchrow("SELECT status, locked_by, crashes FROM ops.jobs")
    assert row is not None
    assert ("completed", 1) == (row["status"], row["crashes"])
    assert 1 == await conn.fetchval("SELECT count(*) FROM public.trace WHERE what = 'released'")


async def test_cancelling_reaches_a_running_process(traced: str, conn: asyncpg.Connection) -> None:
    """A cancel stops the handler by NOTIFY, long before a heartbeat; the row stays cancelled."""
    job_id = await enqueue(conn, "script", {"do": "sleep"})
    async with workers(
        traced, DRAGONFLY_HEARTBEAT_SECONDS="20", DRAGONFLY_LEASE_SECONDS="60"
    ) as running:
        await until(conn, STARTED, expected=1)
        await running.says("listening for new jobs")
        assert await store.cancel(conn, job_id, "not wanted")
        await running.says("taken away or cancelled", seconds=3)
        other = await enqueue(conn, "script", {"do": "return"})
        await until(conn, "SELECT status FROM ops.jobs WHERE id = $1", other, expected="completed")
        running.signal()
        assert 0 == await running.ends()

    row = await conn.fetchrow("SELECT status, last_error FROM ops.jobs WHERE id = $1", job_id)
    assert ("cancelled", "cancelled: not wanted") == tuple(row or ())


async def test_two_processes_share_the_work(traced: str, conn: asyncpg.Connection) -> None:
    """Jobs waiting for one release spread over two processes; each runs once."""
    await conn.execute("SELECT pg_advisory_lock(42)")
    async with workers(traced, SCRIPTED_SLOTS="2"), workers(traced, SCRIPTED_SLOTS="2"):
        await enqueue_many(conn, "script", [{"do": "wait"}] * 6)
        await until(conn, STARTED, expected=4)
        holders = await conn.fetchval(
            "SELECT count(DISTINCT locked_by) FROM ops.jobs WHERE status = 'processing'"
        )
        await conn.execute("SELECT pg_advisory_unlock(42)")
        await until(conn, "SELECT count(*) FROM ops.jobs WHERE status = 'completed'", expected=6)

    assert 2 == holders
    assert 6 == await conn.fetchval(STARTED)
