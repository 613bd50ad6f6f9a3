"""Ten counted failures in a row: the fall of a worker, its restarts, and the end of the last."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import asyncpg
import pytest

from dragonfly import Cancel, Job, Reject, Retry, RetryPolicy, Snooze, Worker, enqueue, enqueue_many
from dragonfly.events import (
    CrashLoopDetected,
    JobFinished,
    WorkerGivenUp,
    WorkerPaused,
    WorkerRestarting,
    WorkerStarted,
)
from dragonfly.runtime.process import Mode
from dragonfly.settings import Settings
from tests.support import drain, running, supervisor, until

Payload = dict[str, object]
SOON = RetryPolicy(first=0.001)


def failing(name: str = "failing", concurrency: int = 1) -> Worker:
    """A worker whose every job is a bug, unless its payload says what else to raise."""
    worker = Worker(name, concurrency=concurrency)

    @worker.job(f"{name}_job", retry=SOON)
    async def fail(job: Job[Payload]) -> None:
        match job.payload.get("raise"):
            case None:
                raise ValueError("broken")
            case "reject":
                raise Reject("NO", "never")
            case "retry":
                raise Retry("later", after=60)
            case "snooze":
                raise Snooze(after=60)
            case "cancel":
                raise Cancel

    return worker


async def test_ten_failures_make_the_heartbeat_say_error(
    dsn: str, conn: asyncpg.Connection
) -> None:
    """At the tenth failure the row says error, why, and how many; the process exits with 1."""
    await enqueue_many(conn, "failing_job", [{}] * 30)
    async with supervisor(dsn, failing(), worker_restarts=0, backoff_scale=0.001) as (boss, seen):
        with anyio.fail_after(30):
            code = await boss.run()

    row = await conn.fetchrow("SELECT * FROM ops.worker_heartbeats")
    assert row is not None
    assert 1 == code
    assert [10] == [event.failures for event in seen.of(CrashLoopDetected)]
    assert ("error", 10) == (row["status"], row["consecutive_failures"])
    assert row["reason"].startswith("Crash loop detected: failing failed 10 times in a row")
    assert "ValueError: broken" in row["reason"]
    assert 0 == await conn.fetchval("SELECT count(*) FROM ops.jobs WHERE status = 'processing'")


async def test_the_other_workers_keep_running(dsn: str, conn: asyncpg.Connection) -> None:
    """A worker that fell and is given up does not stop its neighbour, nor the process."""
    healthy = Worker("healthy")

    @healthy.job("fine")
    async def fine(job: Job[Payload]) -> str:
        return "done"

    await enqueue_many(conn, "failing_job", [{}] * 10)
    async with running(dsn, failing(), healthy, worker_restarts=0, backoff_scale=0.001) as (_, see):
        await see.wait_for(WorkerGivenUp)
        job_id = await enqueue(conn, "fine", {})
        await see.wait_for(JobFinished, lambda event: event.job_id == job_id)
        await until(
            conn,
            "SELECT string_agg(worker_type || ' ' || status, ', ' ORDER BY worker_type) "
            "FROM ops.worker_heartbeats",
            expected="failing error, healthy running",
        )


async def test_a_fallen_worker_restarts_under_a_new_id(dsn: str, conn: asyncpg.Connection) -> None:
    """After sixty (scaled) seconds the worker starts again, with a heartbeat row of its own."""
    await enqueue_many(conn, "failing_job", [{}] * 10, max_attempts=1)
    async with running(dsn, failing(), backoff_scale=0.005) as (_, seen):
        await seen.wait_for(CrashLoopDetected)
        restarting = await seen.wait_for(WorkerRestarting)
        again = await seen.wait_for(WorkerStarted, count=2)
        await until(
            conn,
            "SELECT status FROM ops.worker_heartbeats WHERE worker_id = $1",
            again.worker_id,
            expected="running",
        )

    first = seen.of(WorkerStarted)[0]
    rows = await conn.fetch("SELECT worker_id, status FROM ops.worker_heartbeats")
    assert pytest.approx(0.3) == restarting.seconds
    assert (1, 3) == (restarting.restarts, restarting.allowed)
    assert {first.worker_id: "error", again.worker_id: "stopped"} == {
        row["worker_id"]: row["status"] for row in rows
    }


async def test_restarts_are_rationed(dsn: str, conn: asyncpg.Connection) -> None:
    """A worker that goes on falling is restarted DRAGONFLY_WORKER_RESTARTS times, no more."""
    await enqueue_many(conn, "failing_job", [{}] * 40)
    async with supervisor(dsn, failing(), worker_restarts=2, backoff_scale=0.001) as (boss, seen):
        with anyio.fail_after(60):
            code = await boss.run()

    statuses = await conn.fetch("SELECT status FROM ops.worker_heartbeats")
    assert 1 == code
    assert [1, 2] == [event.restarts for event in seen.of(WorkerRestarting)]
    assert 1 == len(seen.of(WorkerGivenUp))
    assert ["error"] * 3 == [row["status"] for row in statuses]


async def test_failures_in_flight_together_count_once(dsn: str, conn: asyncpg.Connection) -> None:
    """Eight jobs that fail at the same time are one failure, not eight."""
    worker, all_there = Worker("crowd", concurrency=8), anyio.Event()
    present = 0

    @worker.job("crowd_job", retry=RetryPolicy(first=60))
    async def crowd(job: Job[Payload]) -> None:
        nonlocal present
        present += 1
        if present == 8:
            all_there.set()
        await all_there.wait()
        raise ValueError("together")

    await enqueue_many(conn, "crowd_job", [{}] * 8)
    async with running(dsn, worker) as (boss, seen):
        await seen.wait_for(JobFinished, count=8)
        failures = boss._loops["crowd"].health.backoff.consecutive_failures

    assert 1 == failures
    assert [1] == [event.failures for event in seen.of(WorkerPaused)]


async def test_a_success_resets_the_count(dsn: str, conn: asyncpg.Connection) -> None:
    """Nine failures, a success and nine failures are no crash loop."""
    worker = Worker("mixed")
    runs = itertools.count(1)

    @worker.job("mixed_job", retry=RetryPolicy(first=60))
    async def mixed(job: Job[Payload]) -> None:
        if next(runs) != 10:
            raise ValueError("broken")

    await enqueue_many(conn, "mixed_job", [{}] * 19)
    code, seen = await drain(dsn, worker, backoff_scale=0.001)

    assert 1 == code
    assert [*range(1, 10), *range(1, 10)] == [event.failures for event in seen.of(WorkerPaused)]
    assert [] == seen.of(CrashLoopDetected)


@pytest.mark.parametrize("choice", ["reject", "retry", "snooze", "cancel"])
async def test_choices_neither_count_nor_reset(
    dsn: str, conn: asyncpg.Connection, choice: str
) -> None:
    """Twelve rejects, retries, snoozes or cancels pause nothing, and reset no count."""
    await enqueue_many(conn, "failing_job", [{}, *[{"raise": choice}] * 12, {}])
    async with running(dsn, failing(), backoff_scale=0.001) as (_, seen):
        await seen.wait_for(WorkerPaused, count=2)

    assert [1, 2] == [event.failures for event in seen.of(WorkerPaused)][:2]


async def test_a_crash_loop_ends_a_drain_with_one(dsn: str, conn: asyncpg.Connection) -> None:
    """A drain does not restart a fallen worker; its neighbours drain on, and the code is 1."""
    healthy = Worker("healthy")

    @healthy.job("fine")
    async def fine(job: Job[Payload]) -> None:
        return None

    await enqueue_many(conn, "failing_job", [{}] * 20)
    await enqueue_many(conn, "fine", [{}] * 20)
    async with supervisor(
        dsn, failing(), healthy, mode=Mode.DRAIN, backoff_scale=0.001
    ) as (boss, seen):  # fmt: skip
        with anyio.fail_after(30):
            code = await boss.run()

    done = await conn.fetchval(
        "SELECT count(*) FROM ops.jobs WHERE job_type = 'fine' AND status = 'completed'"
    )
    assert (1, 20, 1) == (code, done, len(seen.of(CrashLoopDetected)))


async def test_a_crash_loop_shows_before_its_last_job_is_done(
    dsn: str, conn: asyncpg.Connection
) -> None:
    """The heartbeat says error at once, not after the grace of the jobs still running."""
    worker, release = Worker("failing", concurrency=2), anyio.Event()

    @worker.job("failing_job", retry=SOON)
    async def fail(job: Job[Payload]) -> None:
        raise ValueError("broken")

    @worker.job("long")
    async def long(job: Job[Payload]) -> None:
        await release.wait()

    job_id = await enqueue(conn, "long", {}, priority=1)
    await enqueue_many(conn, "failing_job", [{}] * 10)
    async with running(dsn, worker, backoff_scale=0.001) as (_, seen):
        await seen.wait_for(CrashLoopDetected)
        await until(conn, "SELECT status FROM ops.worker_heartbeats", expected="error")
        assert "processing" == await conn.fetchval(
            "SELECT status FROM ops.jobs WHERE id = $1", job_id
        )
        release.set()
        await seen.wait_for(JobFinished, lambda event: event.job_id == job_id)


async def test_a_lifespan_that_fails_keeps_its_secrets(dsn: str, conn: asyncpg.Connection) -> None:
    """A worker that cannot open its resources is in error, and its reason is redacted."""
    secret = "https://user:hunter2@store.example"

    @asynccontextmanager
    async def resources(_: Settings) -> AsyncIterator[None]:
        if secret:
            raise RuntimeError(f"cannot reach {secret}")
        yield

    worker = Worker("resourceful", lifespan=resources)

    @worker.job("any")
    async def anything(job: Job[Payload]) -> None:
        return None

    async with supervisor(dsn, worker, worker_restarts=0) as (boss, seen):
        code = await boss.run()

    status, reason = (await conn.fetch("SELECT status, reason FROM ops.worker_heartbeats"))[
        0
    ].values()
    assert (1, "error") == (code, status)
    assert "RuntimeError: cannot reach https://user:***@store.example" == reason
    assert "hunter2" not in repr(seen.seen)
