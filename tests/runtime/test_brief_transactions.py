"""Short jobs: the commit of one begins the transaction of the next."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest

from dragonfly import Job, Worker, enqueue, enqueue_many
from dragonfly.events import JobFinished, JobLockLost, JobsClaimed
from dragonfly.postgres import closing, lending
from dragonfly.postgres.closing import ClosingConnection
from dragonfly.runtime import pace
from tests.support import drain, running, until

pytestmark = pytest.mark.unpooled("transaction", reason="sessions have to be our own for it")

Payload = dict[str, Any]
JOBS = 40


@pytest.fixture
async def said(conn: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the handlers' connections say; a slow machine changes nothing about it."""
    await conn.execute("CREATE TABLE public.effects (job bigint, at timestamptz)")
    monkeypatch.setattr(pace, "QUICK_SECONDS", math.inf)
    monkeypatch.setattr(closing, "FRESH_SECONDS", 600.0)
    messages: list[str] = []
    real = ClosingConnection.execute

    async def execute(self: ClosingConnection, query: str, *args: Any, **options: Any) -> str:
        messages.append(query)
        return await real(self, query, *args, **options)

    monkeypatch.setattr(ClosingConnection, "execute", execute)
    return messages


def has(job_id: int) -> Callable[[JobsClaimed], bool]:
    """A claim brought this job."""
    return lambda event: job_id in event.job_ids


def writer(concurrency: int) -> Worker:
    """It writes a job's row, and the time of its transaction."""
    worker = Worker("writer", concurrency=concurrency)

    @worker.job("write")
    async def write(job: Job[Payload]) -> None:
        async with job.transaction() as tx:
            await tx.execute("INSERT INTO public.effects VALUES ($1, now())", job.id)
            job.complete()

    return worker


async def test_a_transaction_is_two_messages(
    dsn: str, conn: asyncpg.Connection, said: list[str]
) -> None:
    """Most are begun by the commit before them, and each has its effect once."""
    await enqueue_many(conn, "write", [{}] * JOBS)
    await drain(dsn, writer(1))

    begun_apart = sum(message in {"BEGIN", "ROLLBACK;BEGIN"} for message in said)
    assert begun_apart < JOBS / 2
    assert begun_apart + sum(m.endswith(";COMMIT;BEGIN") for m in said) >= JOBS
    rows = "SELECT count(DISTINCT job), count(*) FROM public.effects"
    assert (JOBS, JOBS) == tuple(await conn.fetchrow(rows) or ())


async def test_where_jobs_take_long_each_begins_its_own(
    dsn: str, conn: asyncpg.Connection, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection does not wait in a transaction for what is not likely to come at once."""
    monkeypatch.setattr(pace, "QUICK_SECONDS", 0.0)
    await enqueue_many(conn, "write", [{}] * JOBS)
    await drain(dsn, writer(1))

    assert JOBS == said.count("BEGIN")
    assert [] == [message for message in said if message.endswith(";BEGIN")]


async def test_where_it_cannot_be_kept_none_is_begun(
    dsn: str, conn: asyncpg.Connection, said: list[str]
) -> None:
    """A handler that leaves a prepared statement on its connection pays for no BEGIN in vain."""
    worker = Worker("preparer", concurrency=1)

    @worker.job("prepare")
    async def prepare(job: Job[Payload]) -> None:
        async with job.transaction() as tx:
            await tx.prepare("SELECT 1")
            job.complete()

    await enqueue_many(conn, "prepare", [{}] * JOBS)
    await drain(dsn, worker)

    assert [] == [message for message in said if message.endswith(";BEGIN")]


async def test_a_time_out_behind_the_commit_undoes_nothing(
    dsn: str, conn: asyncpg.Connection, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job is finished with its commit, whatever cuts off what happens to its connection then."""
    real, cut_off = closing.Outermost.rollback, []

    async def rollback(self: closing.Outermost) -> None:
        if self.begun is not None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cut_off.append(self)
                raise
        await real(self)

    monkeypatch.setattr(closing.Outermost, "rollback", rollback)
    monkeypatch.setattr(lending.Loan, "changed", False)
    worker = Worker("preparer", concurrency=1)

    @worker.job("prepare", timeout=0.5)
    async def prepare(job: Job[Payload]) -> None:
        async with job.transaction() as tx:
            await tx.prepare("SELECT 1")
            job.complete()

    await enqueue_many(conn, "prepare", [{}] * 5)
    _, seen = await drain(dsn, worker)

    assert cut_off
    assert [] == seen.of(JobLockLost)
    assert 5 == await conn.fetchval("SELECT count(*) FROM ops.jobs WHERE status = 'completed'")


async def test_now_is_never_before_the_claim(
    dsn: str, conn: asyncpg.Connection, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that was claimed after a transaction was begun ahead does not run in that one."""
    monkeypatch.setattr(pace, "AHEAD_MOST", 1)
    monkeypatch.setattr(lending, "UNUSED_SECONDS", 600.0)
    worker, claimed = writer(1), list[asyncio.Event]()

    @worker.job("begin")
    async def begin(job: Job[Payload]) -> None:
        await claimed[1].wait()
        async with job.transaction():
            job.complete()

    @worker.job("hold")
    async def hold(job: Job[Payload]) -> None:
        await claimed[2].wait()

    await enqueue(conn, "write", {}, priority=9)  # so that something is known of the run times
    ids = [await enqueue(conn, kind, {}) for kind in ("begin", "hold", "write")]
    claimed += [asyncio.Event() for _ in ids]
    async with running(dsn, worker) as (_, seen):
        for job_id, event in zip(ids, claimed, strict=True):
            await seen.wait_for(JobsClaimed, has(job_id))
            event.set()
        await seen.wait_for(JobFinished, count=4)

    assert [m for m in said if m.endswith(";COMMIT;BEGIN")]
    times = "SELECT at, locked_at FROM public.effects JOIN ops.jobs ON id = job WHERE job = $1"
    (row,) = await conn.fetch(times, ids[2])
    assert row["locked_at"] <= row["at"]


async def test_no_session_waits_in_a_transaction(
    dsn: str, conn: asyncpg.Connection, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a long job comes after a short one, what that began ahead is ended soon."""
    monkeypatch.setattr(pace, "AHEAD_MOST", 1)  # no look at an empty queue gives it back
    worker, claimed, go_on = writer(1), asyncio.Event(), asyncio.Event()

    @worker.job("begin")
    async def begin(job: Job[Payload]) -> None:
        await claimed.wait()
        async with job.transaction():
            job.complete()

    @worker.job("think")
    async def think(job: Job[Payload]) -> None:
        await go_on.wait()

    await enqueue(conn, "write", {}, priority=9)  # so that something is known of the run times
    ids = [await enqueue(conn, kind, {}) for kind in ("begin", "think", "think")]
    async with running(dsn, worker) as (_, seen):
        await seen.wait_for(JobsClaimed, has(ids[1]))
        claimed.set()
        await seen.wait_for(JobsClaimed, has(ids[2]))  # the long one runs, with another at hand
        await until(
            conn,
            "SELECT count(*) FILTER (WHERE state LIKE 'idle in%') FROM pg_stat_activity"
            " WHERE application_name = 'dragonfly jobs' AND datname = current_database()",
            expected=0,
        )
        go_on.set()
        await seen.wait_for(JobFinished, count=4)

    assert [m for m in said if m.endswith(";COMMIT;BEGIN")]


async def test_progress_beside_it_is_seen_at_once(
    dsn: str, conn: asyncpg.Connection, said: list[str]
) -> None:
    """What a job writes outside of a transaction is not caught in one that was begun for it."""
    worker, shown = writer(1), []

    @worker.job("tell")
    async def tell(job: Job[Payload]) -> None:
        await job.progress(50, "half")
        shown.append(await conn.fetchval("SELECT progress FROM ops.jobs WHERE id = $1", job.id))

    for _ in range(10):
        await enqueue(conn, "write", {})
        await enqueue(conn, "tell", {})
    await drain(dsn, worker)

    assert [m for m in said if m.endswith(";COMMIT;BEGIN")]
    assert 10 == len(shown)
    assert None not in shown
