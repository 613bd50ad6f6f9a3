"""Handlers that break the rules: what becomes of their jobs, and that their neighbours go on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import asyncpg
import pytest

from dragonfly import Job, Worker, enqueue, enqueue_many
from dragonfly.errors import JobLost
from dragonfly.events import CrashLoopDetected, JobFinished, JobLockLost, WorkerFell
from dragonfly.job import RetryPolicy
from tests.support import Recorder, running, until

Payload = dict[str, object]
STATUS = "SELECT status FROM ops.jobs WHERE id = $1"
COMPLETED = "SELECT count(*) FROM ops.jobs WHERE job_type = 'fine' AND status = 'completed'"


def worker_with(
    bad: Callable[[Job[Payload]], Awaitable[object]], timeout: float | None = None
) -> Worker:
    """A worker with the bad handler and a neighbour that writes."""
    worker = Worker("mixed", concurrency=4)
    worker.job("bad", timeout=timeout, retry=RetryPolicy(first=0.01))(bad)

    @worker.job("fine")
    async def fine(job: Job[Payload]) -> None:
        async with job.transaction() as tx:
            await tx.execute("INSERT INTO public.effects VALUES ($1)", job.id)
            job.complete()

    return worker


@pytest.fixture(autouse=True)
async def effects(conn: asyncpg.Connection) -> None:
    """A table for what handlers write."""
    await conn.execute("CREATE TABLE public.effects (job_id bigint)")


async def end_of(conn: asyncpg.Connection, seen: Recorder, job_id: int) -> asyncpg.Record:
    """The row of the bad job after its end, when ten neighbours that came later ended well."""
    await seen.wait_for(
        JobFinished, lambda e: e.job_id == job_id and e.outcome in {"failed", "completed"}
    )
    before = await conn.fetchval(COMPLETED)
    await enqueue_many(conn, "fine", [{}] * 10)
    await until(conn, COMPLETED, expected=before + 10)
    assert [] == [*seen.of(WorkerFell), *seen.of(CrashLoopDetected)]
    row = await conn.fetchrow("SELECT * FROM ops.jobs WHERE id = $1", job_id)
    assert row is not None
    return row


class Mute(Exception):
    """An error that cannot say what it is."""

    def __str__(self) -> str:
        raise ValueError("not even that")


@pytest.mark.parametrize(
    "error",
    [
        KeyboardInterrupt("x"),
        GeneratorExit("x"),
        SystemExit(3),
        StopIteration("x"),
        StopAsyncIteration("x"),
        BaseExceptionGroup("x", [KeyboardInterrupt("x"), ValueError("x")]),
        asyncio.CancelledError("x"),
        asyncio.InvalidStateError("x"),
        MemoryError("x"),
        Mute(),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("plain", [False, True], ids=["async", "plain"])
async def test_whatever_it_raises_is_a_bug_of_its_job(
    dsn: str, conn: asyncpg.Connection, error: BaseException, plain: bool
) -> None:
    """Tried once more, then failed with its name; the process and the neighbours go on."""

    async def bad(job: Job[Payload]) -> None:
        raise error

    def bad_in_a_thread(job: Job[Payload]) -> None:
        raise error

    handler: Any = bad_in_a_thread if plain else bad
    job_id = await enqueue(conn, "bad", {})
    async with running(dsn, worker_with(handler)) as (_, seen):
        row = await end_of(conn, seen, job_id)

    assert ("failed", 2, 0) == (row["status"], row["attempts"], row["crashes"])
    name = type(error).__name__
    if isinstance(error, BaseExceptionGroup):
        name = "KeyboardInterrupt"
    elif isinstance(error, StopIteration):  # Python itself does not let it out
        name = "RuntimeError"
    assert row["last_error"].startswith(name)


async def test_a_swallowed_timeout_holds_its_slot_alone(dsn: str, conn: asyncpg.Connection) -> None:
    """A handler that outlives its timeout keeps its lock and its slot; the others work on."""
    inside, release = anyio.Event(), anyio.Event()

    async def bad(job: Job[Payload]) -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                inside.set()

    job_id = await enqueue(conn, "bad", {})
    async with running(dsn, worker_with(bad, timeout=0.05), lease_seconds=1) as (_, seen):
        await inside.wait()
        await enqueue_many(conn, "fine", [{}] * 20)
        await until(conn, COMPLETED, expected=20)
        locked = await conn.fetchval("SELECT locked_until FROM ops.jobs WHERE id = $1", job_id)
        await until(conn, "SELECT clock_timestamp() > $1", locked)
        assert "processing" == await conn.fetchval(STATUS, job_id)
        release.set()
        row = await end_of(conn, seen, job_id)

    # it ended well in the end, so it is not run again
    assert ("completed", 1, 0) == (row["status"], row["attempts"], row["crashes"])


async def test_an_exhausted_pool_stops_nobody_else(dsn: str, conn: asyncpg.Connection) -> None:
    """While jobs hold every connection of the pool, others run, and everybody is renewed."""
    release = anyio.Event()
    worker = Worker("greedy", concurrency=4)

    @worker.job("hold")
    async def hold(job: Job[Payload]) -> None:
        async with job.transaction():
            await release.wait()
            job.complete()

    @worker.job("modest")
    async def modest(job: Job[Payload]) -> int:
        return 1

    held = await enqueue_many(conn, "hold", [{}] * 3)
    async with running(dsn, worker, pool_size=1, lease_seconds=1) as (_, seen):
        holding = "SELECT count(*) FROM ops.jobs WHERE status = 'processing'"
        await until(conn, holding, expected=3)
        first = await conn.fetchval("SELECT max(locked_until) FROM ops.jobs")
        modest_ids = await enqueue_many(conn, "modest", [{}] * 20)
        await seen.wait_for(JobFinished, count=20)
        # a lease later everybody is still there
        await until(conn, "SELECT clock_timestamp() > $1", first)
        assert 3 == await conn.fetchval(holding)
        release.set()
        await seen.wait_for(JobFinished, count=23)

    assert set(held) | set(modest_ids) == {event.job_id for event in seen.of(JobFinished)}
    assert [] == [*seen.of(JobLockLost), *seen.of(WorkerFell)]
    assert 0 == await conn.fetchval("SELECT sum(crashes) FROM ops.jobs")


def nested(depth: int) -> object:
    """A list in a list in a list."""
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


def round_and_round() -> object:
    """A list that holds itself."""
    value: list[object] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    "result",
    [round_and_round(), nested(200), nested(5000), nested(100_000), {1: {2: {3}}}, {(1, 2): 3}],
    ids=["circle", "deep", "deeper", "deepest", "set", "tuple as key"],
)
async def test_a_monstrous_result_holds_nobody_up(
    dsn: str, conn: asyncpg.Connection, result: object
) -> None:
    """It is kept or its job fails with RESULT_INVALID; finishes of neighbours are written."""

    async def bad(job: Job[Payload]) -> object:
        return result

    job_id = await enqueue(conn, "bad", {})
    async with running(dsn, worker_with(bad)) as (_, seen):
        row = await end_of(conn, seen, job_id)

    assert row["status"] == "completed" or row["last_error"].startswith("RESULT_INVALID")


async def test_a_result_that_postgres_alone_refuses(dsn: str, conn: asyncpg.Connection) -> None:
    """What is JSON but too much for the server fails its own job, not the flush it is in."""
    await conn.execute(
        "ALTER TABLE ops.jobs ADD CONSTRAINT small CHECK (pg_column_size(result) < 1000)"
    )

    async def bad(job: Job[Payload]) -> object:
        return [str(number) for number in range(5000)]

    job_id = await enqueue(conn, "bad", {})
    async with running(dsn, worker_with(bad)) as (_, seen):
        row = await end_of(conn, seen, job_id)

    assert ("failed", 1) == (row["status"], row["attempts"])
    assert row["last_error"].startswith("RESULT_INVALID")


async def test_a_task_that_outlives_its_job_writes_nothing(
    dsn: str, conn: asyncpg.Connection
) -> None:
    """After its handler's return a task finds the job lost, whatever it asks of it."""
    release, tasks = anyio.Event(), list[asyncio.Task[list[str]]]()

    async def outlive(job: Job[Payload]) -> list[str]:
        await release.wait()
        refusals = []
        for late in (write(job), job.progress(50, "half"), job.checkpoint({"at": 1})):
            try:
                await late
            except JobLost:
                refusals.append("lost")
        return refusals

    async def write(job: Job[Payload]) -> None:
        async with job.transaction() as tx:
            await tx.execute("INSERT INTO public.effects VALUES ($1)", job.id)

    async def bad(job: Job[Payload]) -> int:
        tasks.append(asyncio.create_task(outlive(job)))
        return 1

    job_id = await enqueue(conn, "bad", {})
    async with running(dsn, worker_with(bad)) as (_, seen):
        row = await end_of(conn, seen, job_id)
        release.set()
        refusals = await tasks[0]

    assert ["lost"] * 3 == refusals
    assert ("completed", 1) == (row["status"], row["attempts"])
    written = "SELECT count(*) FROM public.effects WHERE job_id = $1"
    assert 0 == await conn.fetchval(written, job_id)
    late = await conn.fetchrow("SELECT progress, checkpoint FROM ops.jobs WHERE id = $1", job_id)
    assert (None, None) == tuple(late or ())


async def close_it(tx: asyncpg.Connection) -> None:
    await tx.close()


async def terminate_it(tx: asyncpg.Connection) -> None:
    tx.terminate()


@pytest.mark.parametrize("end", [close_it, terminate_it])
async def test_who_closes_its_connection_is_told(
    dsn: str, conn: asyncpg.Connection, end: Callable[[asyncpg.Connection], Awaitable[None]]
) -> None:
    """That is a bug like any other: tried once more, then failed, and nobody waits for its sake."""

    async def bad(job: Job[Payload]) -> None:
        async with job.transaction() as tx:
            await tx.execute("INSERT INTO public.effects VALUES ($1)", job.id)
            await end(tx)
            job.complete()

    job_id = await enqueue(conn, "bad", {})
    async with running(dsn, worker_with(bad), pool_size=1) as (_, seen):
        row = await end_of(conn, seen, job_id)

    assert ("failed", 2, 0) == (row["status"], row["attempts"], row["crashes"])
    assert row["last_error"].startswith("JobMisuse: the handler closed the connection")
    written = "SELECT count(*) FROM public.effects WHERE job_id = $1"
    assert 0 == await conn.fetchval(written, job_id)


async def test_a_connection_it_loses_is_replaced(dsn: str, conn: asyncpg.Connection) -> None:
    """Its transaction is undone and its job given back; the neighbours get another connection."""
    broken = anyio.Event()

    async def bad(job: Job[Payload]) -> None:
        async with job.transaction() as tx:
            await tx.execute("INSERT INTO public.effects VALUES ($1)", job.id)
            if not broken.is_set():
                broken.set()
                await tx.execute("SELECT pg_terminate_backend(pg_backend_pid())")
            job.complete()

    job_id = await enqueue(conn, "bad", {})
    async with running(dsn, worker_with(bad), pool_size=1) as (_, seen):
        row = await end_of(conn, seen, job_id)

    assert ("completed", 1, 0) == (row["status"], row["attempts"], row["crashes"])
    released = [e.outcome for e in seen.of(JobFinished) if e.job_id == job_id]
    assert ["released", "completed"] == released
    written = "SELECT count(*) FROM public.effects WHERE job_id = $1"
    assert 1 == await conn.fetchval(written, job_id)


async def open_savepoint(tx: asyncpg.Connection) -> None:
    await tx.transaction().start()


async def open_cursor(tx: asyncpg.Connection) -> None:
    await tx.cursor("SELECT generate_series(1, 100000)")


async def commit_by_hand(tx: asyncpg.Connection) -> None:
    await tx.execute("COMMIT")


async def begin_again(tx: asyncpg.Connection) -> None:
    await tx.execute("COMMIT; BEGIN")


@pytest.mark.parametrize("leave", [open_savepoint, open_cursor, commit_by_hand, begin_again])
async def test_what_it_leaves_open_ends_with_its_loan(
    dsn: str, conn: asyncpg.Connection, leave: Callable[[asyncpg.Connection], Awaitable[None]]
) -> None:
    """A transaction left open on the lent connection is nobody else's: it is closed in between."""

    async def bad(job: Job[Payload]) -> None:
        async with job.transaction() as tx:
            await leave(tx)
            job.complete()

    job_id = await enqueue(conn, "bad", {})
    async with running(dsn, worker_with(bad), pool_size=1) as (_, seen):
        row = await end_of(conn, seen, job_id)
        idle = await conn.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND state LIKE 'idle in transaction%'"
        )

    assert "completed" == row["status"]
    assert 0 == idle


async def test_a_connection_kept_beyond_its_loan_answers_nothing(
    dsn: str, conn: asyncpg.Connection
) -> None:
    """Whoever keeps the lent connection cannot use it after the block: a bug, not a stray write."""

    async def bad(job: Job[Payload]) -> None:
        async with job.transaction() as tx:
            kept = tx
        await kept.execute("INSERT INTO public.effects VALUES ($1)", job.id)

    job_id = await enqueue(conn, "bad", {})
    async with running(dsn, worker_with(bad), pool_size=1) as (_, seen):
        row = await end_of(conn, seen, job_id)

    assert ("failed", 2) == (row["status"], row["attempts"])
    assert row["last_error"].startswith("InterfaceError")
