"""Starts and stops in quick succession, and cancels: nothing is left behind."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import anyio
import asyncpg
import pytest

from dragonfly import Job, Worker, enqueue, enqueue_many
from dragonfly.events import JobAbandoned, JobLockLost, JobStarted, ListenerConnected
from dragonfly.queue import store
from tests.support import running, supervisor, until

Payload = dict[str, object]


@pytest.mark.unpooled(reason="it counts backends, and a pooler keeps them")
async def test_twenty_quick_cycles_leave_nothing(dsn: str, conn: asyncpg.Connection) -> None:
    """Cycles of start and stop with jobs in flight leave no held row, no backend and no task."""
    worker = Worker("cycling", concurrency=4)

    @worker.job("cycle")
    async def cycle(job: Job[dict[str, int]]) -> None:
        async with job.transaction() as tx:
            await tx.execute("SELECT")
            await anyio.sleep_forever() if job.payload["n"] % 2 else None
            job.complete()

    await enqueue_many(conn, "cycle", [{"n": n} for n in range(200)])
    tasks = len(asyncio.all_tasks())
    for number in range(20):
        async with running(dsn, worker, grace_seconds=0) as (_, seen):
            # stopped at different moments: before, while and after jobs start
            if number % 3:
                await seen.wait_for(JobStarted, count=number % 3)

    assert tasks == len(asyncio.all_tasks())
    assert 0 == await conn.fetchval("SELECT count(*) FROM ops.jobs WHERE status = 'processing'")
    assert 0 == await conn.fetchval(
        "SELECT count(*) FROM ops.jobs WHERE crashes > 0 OR status = 'pending' AND attempts > 0"
    )
    assert {"stopped"} == {
        row["status"] for row in await conn.fetch("SELECT status FROM ops.worker_heartbeats")
    }
    await until(
        conn,
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid()",
        expected=0,
        seconds=5,
    )


@pytest.mark.unpooled("transaction", reason="it is about NOTIFY being heard")
async def test_cancelling_a_running_job(dsn: str, conn: asyncpg.Connection) -> None:
    """The handler is cancelled by NOTIFY, the row stays cancelled, the slot takes the next job."""
    worker, cancelled = Worker("busy"), anyio.Event()

    @worker.job("work")
    async def work(job: Job[Payload]) -> None:
        if job.payload.get("long"):
            try:
                await anyio.sleep_forever()
            finally:
                cancelled.set()

    job_id = await enqueue(conn, "work", {"long": True})
    async with running(dsn, worker, heartbeat_seconds=60, lease_seconds=200) as (_, seen):
        await seen.wait_for(ListenerConnected)
        await seen.wait_for(JobStarted)
        assert await store.cancel(conn, job_id, "a person said so")
        with anyio.fail_after(3):
            await cancelled.wait()
        await seen.wait_for(JobLockLost)
        following = await enqueue(conn, "work", {})
        await until(
            conn, "SELECT status FROM ops.jobs WHERE id = $1", following, expected="completed"
        )

    row = await conn.fetchrow("SELECT status, result FROM ops.jobs WHERE id = $1", job_id)
    assert ("cancelled", None) == tuple(row or ())


async def test_a_cancel_that_nobody_hears_is_found_by_the_heartbeat(
    dsn: str, conn: asyncpg.Connection
) -> None:
    """Without a NOTIFY the next renewal finds the token gone and cancels the handler."""
    worker, cancelled = Worker("busy"), anyio.Event()

    @worker.job("work")
    async def work(job: Job[Payload]) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()

    await enqueue(conn, "work", {})
    async with running(dsn, worker) as (_, seen):
        await seen.wait_for(JobStarted)
        await conn.execute(
            "UPDATE ops.jobs SET status = 'cancelled', finished_at = now(), lock_token = NULL, "
            "locked_until = NULL"
        )
        with anyio.fail_after(5):
            await cancelled.wait()
        await seen.wait_for(JobLockLost)


async def test_a_handler_that_returns_after_its_cancellation_is_completed(
    dsn: str, conn: asyncpg.Connection
) -> None:
    """Whoever uses a cancellation to end well has ended well; nothing runs twice."""
    worker = Worker("polite")

    @worker.job("work")
    async def work(job: Job[Payload]) -> str:
        with suppress(asyncio.CancelledError):
            await anyio.sleep_forever()
        return "saved"

    await enqueue(conn, "work", {})
    async with running(dsn, worker, grace_seconds=0) as (_, seen):
        await seen.wait_for(JobStarted)

    row = await conn.fetchrow("SELECT status, result, attempts FROM ops.jobs")
    assert ("completed", '"saved"', 1) == tuple(row or ())


async def test_the_process_leaves_an_unstoppable_handler(
    dsn: str, conn: asyncpg.Connection
) -> None:
    """Neighbours are given back and the worker's row says stopped before the process leaves."""
    worker, left, release = Worker("stubborn", concurrency=2), anyio.Event(), anyio.Event()
    codes: list[int] = []

    @worker.job("work")
    async def work(job: Job[Payload]) -> None:
        while job.payload.get("stubborn") and not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        await anyio.sleep_forever()

    stubborn = await enqueue(conn, "work", {"stubborn": True})
    mild = await enqueue(conn, "work", {})

    def leave(code: int) -> None:
        codes.append(code)
        left.set()

    async with supervisor(dsn, worker, grace_seconds=0) as (boss, seen):
        boss._exit_now = leave
        async with anyio.create_task_group() as group:
            group.start_soon(boss.run)
            await seen.wait_for(JobStarted, count=2)
            boss.process.stop.request("test")
            await left.wait()
            kept = await conn.fetch("SELECT id, status FROM ops.jobs ORDER BY id")
            status = await conn.fetchval("SELECT status FROM ops.worker_heartbeats")
            release.set()

    assert [0] == codes
    assert [(stubborn, "processing"), (mild, "pending")] == [tuple(row) for row in kept]
    assert "stopped" == status
    assert [stubborn] == [event.job_id for event in seen.of(JobAbandoned)]
