"""When a worker looks for jobs, how many it takes, and what it gives back unstarted."""

from __future__ import annotations

import time
from typing import Any

import anyio
import asyncpg
import pytest

from dragonfly import Job, Worker, enqueue, enqueue_many
from dragonfly.events import JobFinished, JobLockLost, JobsClaimed, JobStarted, ListenerConnected
from dragonfly.queue import store
from tests.support import SLEPT_FOR, running, until

Payload = dict[str, object]
HELD = "SELECT count(*) FROM ops.jobs WHERE status = 'processing'"


@pytest.mark.unpooled("transaction", reason="it is about NOTIFY being heard")
async def test_a_lone_job_never_waits_for_the_poll(dsn: str, conn: asyncpg.Connection) -> None:
    """Jobs that arrive while an empty claim is in flight are seen at once, by the wake-up alone."""
    worker, done = Worker("alone"), anyio.Event()
    ended: list[int] = []

    @worker.job("lone")
    async def lone(job: Job[Payload]) -> None:
        ended.append(job.id)
        done.set()

    began = time.monotonic()
    async with running(dsn, worker, poll_seconds=30) as (boss, seen):
        await seen.wait_for(ListenerConnected)
        for number in range(60):
            done = anyio.Event()
            # an empty look is under way at various points when the job's ring arrives
            boss.process.ring()
            for _ in range(number % 7):
                await anyio.lowlevel.checkpoint()
            await enqueue(conn, "lone", {})
            with anyio.fail_after(10):
                await done.wait()
    assert 60 == len(ended)
    assert time.monotonic() - began < 20


@pytest.mark.unpooled("transaction", reason="it is about NOTIFY being heard")
async def test_a_ring_during_the_look_is_not_lost(dsn: str, conn: asyncpg.Connection) -> None:
    """Staged: the claim has looked and found nothing, then the job arrives before its answer."""
    worker = Worker("staged")

    @worker.job("lone")
    async def lone(job: Job[Payload]) -> None:
        return None

    async with running(dsn, worker, poll_seconds=30) as (boss, seen):
        await until(conn, SLEPT_FOR, "lone", expected=1)
        loop = boss._loops["staged"]
        take, looked, answer = loop._claims.take, anyio.Event(), anyio.Event()

        async def slow_take(*args: Any, **options: Any) -> object:
            found = await take(*args, **options)
            looked.set()
            await answer.wait()
            return found

        loop._claims.take = slow_take  # type: ignore[method-assign, assignment]
        boss.process.ring()
        await looked.wait()
        await enqueue(conn, "lone", {})
        await until(conn, "SELECT pg_notification_queue_usage() = 0")
        # the ring of this very job has been heard
        with anyio.fail_after(5):
            while not boss.process.wakeups["staged"].is_set():
                await anyio.lowlevel.checkpoint()
        answer.set()
        await seen.wait_for(JobFinished, seconds=5)


@pytest.mark.unpooled("transaction", reason="it is about NOTIFY being heard")
async def test_each_worker_is_rung_for_its_own_types(dsn: str, conn: asyncpg.Connection) -> None:
    """Two workers with a long poll both hear their jobs, whoever claims first."""
    first, second = Worker("first"), Worker("second")

    @first.job("a")
    async def a(job: Job[Payload]) -> None:
        return None

    @second.job("b")
    async def b(job: Job[Payload]) -> None:
        return None

    async with running(dsn, first, second, poll_seconds=30) as (_, seen):
        await seen.wait_for(ListenerConnected)
        for number in range(1, 11):
            async with conn.transaction():
                await enqueue(conn, "a", {})
                await enqueue(conn, "b", {})
            await seen.wait_for(JobFinished, count=2 * number, seconds=5)


@pytest.mark.unpooled("transaction", reason="it is about NOTIFY being heard")
async def test_a_job_of_the_near_future_starts_on_time(dsn: str, conn: asyncpg.Connection) -> None:
    """With a long poll a job scheduled for soon starts when it is due."""
    worker = Worker("punctual")

    @worker.job("soon")
    async def soon(job: Job[Payload]) -> None:
        return None

    await conn.execute(
        "INSERT INTO ops.jobs (job_type, run_at) "
        "VALUES ('soon', clock_timestamp() + interval '0.4 s')"
    )
    async with running(dsn, worker, poll_seconds=30) as (_, seen):
        await seen.wait_for(JobFinished, seconds=5)

    late = await conn.fetchval(
        "SELECT extract(epoch FROM locked_at - run_at)::float8 FROM ops.jobs"
    )
    assert 0 <= late < 1


async def test_slow_jobs_are_not_hoarded(dsn: str, conn: asyncpg.Connection) -> None:
    """A worker that knows nothing yet, or knows its jobs are slow, holds one job a slot."""
    worker, go_on = Worker("slow", concurrency=2), anyio.Event()

    @worker.job("slow")
    async def slow(job: Job[Payload]) -> None:
        await go_on.wait()

    await enqueue_many(conn, "slow", [{}] * 20)
    async with running(dsn, worker) as (_, seen):
        await seen.wait_for(JobStarted, count=2)
        held = await conn.fetchval(HELD)
        go_on.set()
        await seen.wait_for(JobFinished, count=20)

    assert 2 == held


async def test_what_waits_behind_a_slow_job_is_given_back(
    dsn: str, conn: asyncpg.Connection
) -> None:
    """After fast jobs the worker claims ahead; a slow one then returns the rest, unharmed."""
    worker, go_on = Worker("moody"), anyio.Event()

    @worker.job("any")
    async def either(job: Job[dict[str, bool]]) -> None:
        if job.payload["slow"]:
            await go_on.wait()

    await enqueue_many(conn, "any", [{"slow": n == 300} for n in range(600)])
    async with running(dsn, worker) as (boss, seen):
        slow = "SELECT status FROM ops.jobs WHERE payload @> '{\"slow\": true}'"
        await until(conn, slow, expected="processing")
        ahead = max(len(event.job_ids) for event in seen.of(JobsClaimed))
        await until(conn, HELD, expected=1)
        claims = len(seen.of(JobsClaimed))
        # neither their return nor a new job lures the worker into hoarding again
        await enqueue(conn, "any", {"slow": False})
        await until(conn, "SELECT count(*) FROM ops.worker_heartbeats", expected=1)
        newest = "SELECT last_heartbeat_at FROM ops.worker_heartbeats"
        for _ in range(2):
            before = await conn.fetchval(newest)
            await until(conn, f"SELECT ({newest}) > $1", before)
        returned = await conn.fetchrow(
            "SELECT max(attempts), max(crashes), bool_and(run_at <= clock_timestamp()) "
            "FROM ops.jobs WHERE status = 'pending'"
        )
        assert claims == len(seen.of(JobsClaimed))
        async with running(dsn, worker) as (_, other):
            await other.wait_for(JobFinished, count=5)
        assert 1 == len(boss._loops["moody"].running)
        go_on.set()
        await until(conn, "SELECT count(*) FROM ops.jobs WHERE status = 'completed'", expected=601)

    assert ahead > 1
    assert (0, 0, True) == tuple(returned or ())
    assert 601 == await conn.fetchval("SELECT sum(attempts) FROM ops.jobs")


async def test_suspects_run_in_a_busy_queue_of_long_jobs(
    dsn: str, conn: asyncpg.Connection
) -> None:
    """A job that was in flight at a crash is not starved by jobs longer than a heartbeat."""
    worker = Worker("busy")

    @worker.job("long")
    async def long(job: Job[Payload]) -> None:
        # until the heartbeats have given back whatever waits behind this job
        own = await asyncpg.connect(dsn)
        newest = "SELECT coalesce(max(last_heartbeat_at), '-infinity') FROM ops.worker_heartbeats"
        for _ in range(3):
            before = await own.fetchval(newest)
            await until(own, f"SELECT ({newest}) > $1", before)
        await own.close()

    await enqueue_many(conn, "long", [{}] * 30)
    suspect = await enqueue(conn, "long", {})
    await conn.execute("UPDATE ops.jobs SET crashes = 1 WHERE id = $1", suspect)
    async with running(dsn, worker, heartbeat_seconds=0.1, lease_seconds=5) as (_, seen):
        await seen.wait_for(JobStarted, lambda event: event.job_id == suspect, seconds=15)

    assert len(seen.of(JobStarted)) <= 10


async def test_types_of_nobody_are_left_pending(dsn: str, conn: asyncpg.Connection) -> None:
    """A job type that no worker of the process takes is never claimed."""
    worker = Worker("picky")

    @worker.job("known")
    async def known(job: Job[Payload]) -> None:
        return None

    await enqueue(conn, "unknown", {}, priority=5)
    await enqueue(conn, "known", {})
    async with running(dsn, worker) as (_, seen):
        await seen.wait_for(JobFinished)

    assert [("known", "completed"), ("unknown", "pending")] == [
        tuple(r) for r in await conn.fetch("SELECT job_type, status FROM ops.jobs ORDER BY 1")
    ]


async def test_a_payload_that_does_not_fit_is_rejected(dsn: str, conn: asyncpg.Connection) -> None:
    """A payload of the wrong shape fails its job with a code, and does not count as a failure."""
    worker = Worker("strict")

    @worker.job("typed")
    async def typed(job: Job[dict[str, int]]) -> int:
        return job.payload["n"]

    @worker.job("plain")
    async def plain(job: Job[dict[str, object]]) -> int:
        return len(job.payload)

    await conn.execute(
        "INSERT INTO ops.jobs (job_type, payload) VALUES "
        "('typed', '[1]'), ('typed', '{\"n\": \"many\"}'), ('plain', '[1]'), ('plain', '{}')"
    )
    async with running(dsn, worker) as (boss, seen):
        await seen.wait_for(JobFinished, count=4)
        failures = boss._loops["strict"].health.backoff.consecutive_failures

    rows = await conn.fetch("SELECT status, last_error FROM ops.jobs ORDER BY id")
    assert ["failed", "failed", "failed", "completed"] == [row["status"] for row in rows]
    assert all("PAYLOAD_INVALID" in row["last_error"] for row in rows[:3])
    assert "many" not in rows[1]["last_error"]
    assert 0 == failures


async def test_a_job_claimed_anew_during_a_heartbeat_is_kept(
    dsn: str, conn: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A renewal that misses a job claimed anew meanwhile does not take the new claim for lost."""
    worker = Worker("slow")

    @worker.job("slow")
    async def slow(job: Job[Payload]) -> None:
        await anyio.sleep_forever()

    job_id = await enqueue(conn, "slow", {})
    renew = store.renew
    async with running(dsn, worker, heartbeat_seconds=60, lease_seconds=200) as (boss, seen):
        await seen.wait_for(JobStarted)
        loop = boss._loops["slow"]
        old = loop.ledger.held[job_id]
        renewed = anyio.Event()

        async def renew_late(*args: Any) -> set[int]:
            """The job changes its token between the look at what is held and its renewal."""
            await conn.execute("UPDATE ops.jobs SET lock_token = $1", old.lock_token + 1)
            loop.ledger.held[job_id] = old._replace(lock_token=old.lock_token + 1)
            found = await renew(*args)
            renewed.set()
            return found

        await until(conn, "SELECT count(*) FROM ops.worker_heartbeats", expected=1)
        before = await conn.fetchval("SELECT last_heartbeat_at FROM ops.worker_heartbeats")
        monkeypatch.setattr(store, "renew", renew_late)
        boss._pulses["slow"].nudge()
        await renewed.wait()
        later = "SELECT last_heartbeat_at > $1 FROM ops.worker_heartbeats"
        await until(conn, later, before)
        kept, lost = loop.ledger.held.get(job_id), seen.of(JobLockLost)
        if kept is not None:
            loop.lose([kept])  # it is on no slot: let the worker end without it

    assert old.lock_token + 1 == (kept and kept.lock_token)
    assert [] == lost
