"""A network that goes silent, loses answers or is slow: no job waits for ever or is done twice."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import asyncpg
import pytest

from dragonfly import Job, Worker, enqueue_many
from dragonfly.events import (
    DatabaseAway,
    DatabaseBack,
    JobFinished,
    JobLockLost,
    ListenerConnected,
    WorkerFell,
    WorkerPaused,
)
from dragonfly.job import RetryPolicy
from dragonfly.postgres import closing, database, lending, transactions
from dragonfly.runtime import execution, listener, process
from tests.proxy import Proxy, proxy
from tests.support import Recorder, drain, running, until

Payload = dict[str, object]
COMPLETED = "SELECT count(*) FROM ops.jobs WHERE status = 'completed'"
LISTEN, JOBS, HEARTBEAT = "dragonfly listen", "dragonfly jobs", "dragonfly heartbeat"
CLAIM, FINISH = "dragonfly claim", "dragonfly finish"


@pytest.fixture
def short_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is bounded by seconds is bounded by tenths of them."""
    for module, name in (
        (process, "STATEMENT_SECONDS"),
        (transactions, "BEGIN_SECONDS"),
        (transactions, "COMMIT_SECONDS"),
        (closing, "BEGIN_SECONDS"),
        (closing, "COMMIT_SECONDS"),
        (execution, "COMMIT_SECONDS"),
        (lending, "RELEASE_SECONDS"),
        (listener, "PROOF_EVERY_SECONDS"),
        (listener, "PROOF_SECONDS"),
    ):
        monkeypatch.setattr(module, name, 0.7)
    monkeypatch.setattr(database, "CONNECT_SECONDS", 2.0)


@pytest.fixture
async def between(dsn: str, conn: asyncpg.Connection) -> AsyncIterator[Proxy]:
    """A proxy to this test's database, which has a table for effects."""
    await conn.execute("CREATE TABLE public.effects (job_id bigint)")
    async with proxy(dsn) as open_proxy:
        yield open_proxy


def busy(
    inside: anyio.Event | None = None, go_on: anyio.Event | None = None, crowd: int = 1
) -> Worker:
    """A worker whose jobs write in the commit that finishes them, or return a result.

    Those that write wait for ``go_on``; ``inside`` is set when so many of them do.
    """
    worker = Worker("busy", concurrency=4)
    writing = []

    @worker.job("write")
    async def write(job: Job[Payload]) -> None:
        async with job.transaction() as tx:
            await tx.execute("INSERT INTO public.effects VALUES ($1)", job.id)
            writing.append(job.id)
            if inside is not None and go_on is not None:
                if len(writing) == crowd:
                    inside.set()
                await go_on.wait()
            job.complete()

    @worker.job("return")
    async def back(job: Job[Payload]) -> int:
        return job.id

    return worker


async def enqueue_both(conn: asyncpg.Connection, each: int) -> None:
    """So many jobs of either kind."""
    for job_type in ("write", "return"):
        await enqueue_many(conn, job_type, [{}] * each)


async def assert_all_done_once(conn: asyncpg.Connection, seen: Recorder, jobs: int) -> None:
    """Every job completed with one attempt and at most one effect; nobody is blamed."""
    row = await conn.fetchrow(
        "SELECT count(*), sum(attempts), sum(crashes) FROM ops.jobs WHERE status = 'completed'"
    )
    assert (jobs, jobs, 0) == tuple(row or ())
    effects = await conn.fetchrow("SELECT count(*), count(DISTINCT job_id) FROM public.effects")
    written = await conn.fetchval("SELECT count(*) FROM ops.jobs WHERE job_type = 'write'")
    assert (written, written) == tuple(effects or ())
    assert [] == [*seen.of(WorkerPaused), *seen.of(WorkerFell)]


@pytest.mark.usefixtures("short_bounds")
@pytest.mark.parametrize("purpose", [LISTEN, JOBS, HEARTBEAT, CLAIM, FINISH])
async def test_a_silent_connection_is_replaced(
    between: Proxy, conn: asyncpg.Connection, purpose: str
) -> None:
    """Sockets that stay open but answer nothing are given up within the bound of their purpose."""
    async with running(between.dsn, busy(), pool_size=2, lease_seconds=4) as (_, seen):
        await seen.wait_for(ListenerConnected)
        await enqueue_both(conn, 10)
        await until(conn, COMPLETED, expected=20)
        await until(conn, "SELECT status FROM ops.worker_heartbeats", expected="running")
        logins = between.logins[purpose]
        assert between.silence(purpose) >= 1
        await enqueue_both(conn, 10)
        await until(conn, COMPLETED, expected=40)
        if purpose == LISTEN:
            await seen.wait_for(ListenerConnected, lambda event: event.reconnected)
        newest = await conn.fetchval("SELECT last_heartbeat_at FROM ops.worker_heartbeats")
        await until(
            conn, "SELECT last_heartbeat_at > $1 FROM ops.worker_heartbeats", newest, expected=True
        )

    await assert_all_done_once(conn, seen, 40)
    assert between.logins[purpose] > logins
    assert [] == seen.of(JobLockLost)


@pytest.mark.usefixtures("short_bounds")
async def test_a_network_that_is_gone_comes_back(between: Proxy, conn: asyncpg.Connection) -> None:
    """When nothing is answered, logins neither, the worker waits; then all is done, once."""
    inside, go_on = anyio.Event(), anyio.Event()
    await enqueue_both(conn, 10)
    async with running(between.dsn, busy(inside, go_on, 3), lease_seconds=2) as (_, seen):
        await inside.wait()
        between.silence(newcomers=True)
        go_on.set()
        await seen.wait_for(DatabaseAway, count=3)
        between.let_newcomers_in()
        await seen.wait_for(DatabaseBack)
        await until(conn, COMPLETED, expected=20)

    await assert_all_done_once(conn, seen, 20)


@pytest.mark.usefixtures("short_bounds")
async def test_a_transaction_that_meets_silence_is_undone(
    between: Proxy, conn: asyncpg.Connection
) -> None:
    """A fence or commit without an answer ends within its bound; the job is given back and runs."""
    inside, go_on = anyio.Event(), anyio.Event()
    await enqueue_many(conn, "write", [{}])
    async with running(between.dsn, busy(inside, go_on), pool_size=1) as (_, seen):
        await inside.wait()
        assert 1 == between.silence(JOBS)
        go_on.set()
        await until(conn, COMPLETED, expected=1)

    await assert_all_done_once(conn, seen, 1)
    assert ["released", "completed"] == [event.outcome for event in seen.of(JobFinished)]


@pytest.mark.usefixtures("short_bounds")
async def test_a_handlers_own_statement_ends_with_its_timeout(
    between: Proxy, conn: asyncpg.Connection
) -> None:
    """How long a statement of its own may take only a handler knows: its timeout ends it."""
    worker, silent = Worker("busy"), anyio.Event()

    @worker.job("write", timeout=1, retry=RetryPolicy(first=0.01))
    async def write(job: Job[Payload]) -> None:
        async with job.transaction() as tx:
            if not silent.is_set():
                silent.set()
                between.silence(JOBS)
            await tx.execute("INSERT INTO public.effects VALUES ($1)", job.id)
            job.complete()

    await enqueue_many(conn, "write", [{}])
    async with running(between.dsn, worker, pool_size=1) as (_, seen):
        await until(conn, COMPLETED, expected=1)

    assert ["retried", "completed"] == [event.outcome for event in seen.of(JobFinished)]
    assert 1 == await conn.fetchval("SELECT count(*) FROM public.effects")


@pytest.mark.usefixtures("short_bounds")
async def test_progress_that_meets_silence_is_given_up(
    between: Proxy, conn: asyncpg.Connection
) -> None:
    """Progress and checkpoints are bounded as well, inside a handler without a timeout."""
    worker, inside, go_on = Worker("busy"), anyio.Event(), anyio.Event()

    @worker.job("tell")
    async def tell(job: Job[Payload]) -> None:
        await job.progress(1, "begun")
        inside.set()
        await go_on.wait()
        await job.progress(50, "half")

    await enqueue_many(conn, "tell", [{}])
    async with running(between.dsn, worker, pool_size=1) as (_, seen):
        await inside.wait()
        assert 1 == between.silence(JOBS)
        go_on.set()
        await until(conn, COMPLETED, expected=1)

    await assert_all_done_once(conn, seen, 1)


async def test_a_batch_whose_answer_was_lost_counts(
    between: Proxy, conn: asyncpg.Connection
) -> None:
    """Of many successes in one unheard statement each is completed, once, and none is lost."""
    worker = Worker("crowd", concurrency=100)
    runs: list[int] = []

    @worker.job("quick")
    async def quick(job: Job[Payload]) -> None:
        runs.append(job.id)

    async with running(between.dsn, worker) as (_, seen):
        await until(conn, "SELECT status FROM ops.worker_heartbeats", expected="running")
        between.marked = b"{1,2,3,"  # the ids of the batch
        ids = await enqueue_many(conn, "quick", [{}] * 100)
        await seen.wait_for(JobFinished, count=100)

    assert (1, ids) == (between.cuts, sorted(runs))
    assert {"completed"} == {event.outcome for event in seen.of(JobFinished)}
    assert [] == [*seen.of(JobLockLost), *seen.of(WorkerPaused)]
    assert 100 == await conn.fetchval(COMPLETED)


async def test_a_slow_network_is_no_trouble(between: Proxy, conn: asyncpg.Connection) -> None:
    """With a tenth of a second for every round trip all jobs are done, and nobody complains."""
    await enqueue_both(conn, 10)
    between.delay = 0.05
    code, seen = await drain(between.dsn, busy(), lease_seconds=10, heartbeat_seconds=1)

    assert 0 == code
    await assert_all_done_once(conn, seen, 20)
    assert [] == [*seen.of(DatabaseAway), *seen.of(JobLockLost)]
