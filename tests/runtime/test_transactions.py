"""Transactions of handlers: they commit under the fence, and they cannot lie."""

from __future__ import annotations

import asyncio

import anyio
import asyncpg
import pytest

from dragonfly import Job, Worker, enqueue
from dragonfly.errors import JobLost, TransactionAborted
from dragonfly.events import JobFinished, JobLockLost, WorkerPaused
from dragonfly.job import RetryPolicy
from tests.support import running, until

Payload = dict[str, object]
SOON = RetryPolicy(first=0.01)


@pytest.fixture(autouse=True)
async def _effects(conn: asyncpg.Connection) -> None:
    await conn.execute("CREATE TABLE public.effects (job_id bigint, attempt int)")


async def _effect(tx: asyncpg.Connection, job: Job[Payload]) -> None:
    await tx.execute("INSERT INTO public.effects VALUES ($1, $2)", job.id, job.attempt)


async def test_a_swallowed_error_writes_nothing(dsn: str, conn: asyncpg.Connection) -> None:
    """A database error swallowed inside the block raises TransactionAborted at its end."""
    worker, raised = Worker("careless"), []

    @worker.job("swallow", retry=RetryPolicy(first=60))
    async def swallow(job: Job[Payload]) -> None:
        try:
            async with job.transaction() as tx:
                await _effect(tx, job)
                with pytest.raises(asyncpg.UndefinedTableError):
                    await tx.execute("SELECT * FROM public.missing")
                job.complete()
        except TransactionAborted as error:
            raised.append(error)
            raise

    job_id = await enqueue(conn, "swallow", {})
    async with running(dsn, worker) as (_, seen):
        ended = await seen.wait_for(JobFinished)

    job = await conn.fetchrow("SELECT * FROM ops.jobs WHERE id = $1", job_id)
    assert job is not None
    assert ("retried", 1) == (ended.outcome, len(raised))
    assert ("pending", 1, None) == (job["status"], job["attempts"], job["result"])
    assert 0 == await conn.fetchval("SELECT count(*) FROM public.effects")


async def test_a_failed_transaction_is_rolled_back_and_retried(
    dsn: str, conn: asyncpg.Connection
) -> None:
    """InFailedSQLTransactionError: the job is tried again after a pause, on a sound connection."""
    worker = Worker("insisting")

    @worker.job("insist", retry=SOON)
    async def insist(job: Job[Payload]) -> None:
        async with job.transaction() as tx:
            await _effect(tx, job)
            if job.attempt == 1:
                with pytest.raises(asyncpg.DivisionByZeroError):
                    await tx.execute("SELECT 1 / 0")
                await tx.execute("SELECT 1")
            job.complete()

    job_id = await enqueue(conn, "insist", {})
    # with a single connection the second attempt meets the one that failed
    async with running(dsn, worker, pool_size=1) as (_, seen):
        await seen.wait_for(JobFinished, lambda event: event.outcome == "completed")

    assert "InFailedSQLTransactionError" in seen.of(WorkerPaused)[0].reason
    assert [(job_id, 2)] == [tuple(r) for r in await conn.fetch("SELECT * FROM public.effects")]


@pytest.mark.parametrize("noticed", [False, True])
async def test_a_connection_killed_inside_the_block_is_replaced(
    dsn: str, conn: asyncpg.Connection, noticed: bool
) -> None:
    """A handler whose connection dies uses no attempt, and the next one gets another."""
    worker = Worker("unlucky")
    killed: list[int] = []

    @worker.job("die")
    async def die(job: Job[Payload]) -> None:
        async with job.transaction() as tx:
            await _effect(tx, job)
            if not killed:
                killed.append(await tx.fetchval("SELECT pg_backend_pid()"))
                await conn.execute("SELECT pg_terminate_backend($1)", killed[0])
                if noticed:  # by the driver, while the handler was busy with other things
                    gone = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1"
                    await until(conn, gone, killed[0], expected=0)
                    await anyio.wait_all_tasks_blocked()
            await tx.execute("SELECT 1")
            job.complete()

    job_id = await enqueue(conn, "die", {})
    async with running(dsn, worker, pool_size=1) as (_, seen):
        await seen.wait_for(JobFinished, lambda event: event.outcome == "completed")

    assert [] == seen.of(WorkerPaused)
    assert [(job_id, 1)] == [tuple(r) for r in await conn.fetch("SELECT * FROM public.effects")]


async def test_a_job_that_moved_on_writes_nothing(dsn: str, conn: asyncpg.Connection) -> None:
    """When the token has changed, the commit raises JobLost and the domain row is absent."""
    worker, raised = Worker("slow"), []
    inside, go_on = anyio.Event(), anyio.Event()

    @worker.job("lose")
    async def lose(job: Job[Payload]) -> None:
        try:
            async with job.transaction() as tx:
                await _effect(tx, job)
                inside.set()
                await go_on.wait()
                job.complete({"mine": True})
        except JobLost as error:
            raised.append(error)
            raise

    async with running(dsn, worker, heartbeat_seconds=60, lease_seconds=200) as (_, seen):
        # no heartbeat is left to find it out before the commit
        await until(conn, "SELECT status FROM ops.worker_heartbeats", expected="running")
        job_id = await enqueue(conn, "lose", {})
        await inside.wait()
        await conn.execute("UPDATE ops.jobs SET lock_token = 7, locked_by = 'another'")
        go_on.set()
        await seen.wait_for(JobLockLost)

    job = await conn.fetchrow("SELECT * FROM ops.jobs WHERE id = $1", job_id)
    assert job is not None
    assert 1 == len(raised)
    assert ("processing", 7, None) == (job["status"], job["lock_token"], job["result"])
    assert 0 == await conn.fetchval("SELECT count(*) FROM public.effects")


async def test_a_cancelled_handler_rolls_back_quietly(dsn: str, conn: asyncpg.Connection) -> None:
    """A timeout inside a transaction undoes it; no message of asyncpg looks like a bug."""
    worker, complaints = Worker("hasty"), []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))

    @worker.job("hurry", timeout=0.05, retry=RetryPolicy(first=60))
    async def hurry(job: Job[Payload]) -> None:
        async with job.transaction() as tx:
            await _effect(tx, job)
            await tx.execute("SELECT pg_sleep(60)")

    await enqueue(conn, "hurry", {})
    async with running(dsn, worker, pool_size=1) as (_, seen):
        ended = await seen.wait_for(JobFinished)
        await until(
            conn,
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'dragonfly jobs' "
            "AND datname = current_database() AND state LIKE '%transaction%'",
            expected=0,
        )

    assert "TIMEOUT: ran longer than 0.05 s" == ended.error
    assert 0 == await conn.fetchval("SELECT count(*) FROM public.effects")
    assert [] == complaints


async def test_what_follows_complete_cannot_undo_it(dsn: str, conn: asyncpg.Connection) -> None:
    """A handler that fails after its completing commit leaves its job completed."""
    worker = Worker("late")

    @worker.job("trip")
    async def trip(job: Job[Payload]) -> None:
        async with job.transaction() as tx:
            await _effect(tx, job)
            job.complete({"n": 1})
        raise ValueError("afterwards")

    job_id = await enqueue(conn, "trip", {})
    async with running(dsn, worker) as (_, seen):
        ended = await seen.wait_for(JobFinished)

    assert ("completed", "ValueError: afterwards") == (ended.outcome, ended.error)
    assert ("completed", '{"n": 1}') == tuple(
        await conn.fetchrow("SELECT status, result FROM ops.jobs WHERE id = $1", job_id) or ()
    )
    assert [] == seen.of(WorkerPaused)


async def test_what_follows_complete_may_take_its_time(dsn: str, conn: asyncpg.Connection) -> None:
    """Heartbeats find the job finished by its own holder: its handler goes on to its end."""
    worker, released = Worker("late"), anyio.Event()

    @worker.job("linger")
    async def linger(job: Job[Payload]) -> None:
        async with job.transaction() as tx:
            await _effect(tx, job)
            job.complete()
        await released.wait()
        lingered.append(job.id)

    lingered: list[int] = []
    job_id = await enqueue(conn, "linger", {})
    newest = "SELECT max(last_heartbeat_at) FROM ops.worker_heartbeats"
    async with running(dsn, worker) as (_, seen):
        await until(conn, "SELECT status FROM ops.jobs", expected="completed")
        await until(conn, f"SELECT ({newest}) IS NOT NULL")
        for _ in range(3):
            before = await conn.fetchval(newest)
            await until(conn, f"SELECT ({newest}) > $1", before)
        released.set()
        ended = await seen.wait_for(JobFinished)

    assert ([job_id], "completed", []) == (lingered, ended.outcome, seen.of(JobLockLost))
