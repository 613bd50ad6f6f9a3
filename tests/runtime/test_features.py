"""What a handler can count on: progress, checkpoints, descent, timeouts, threads."""

from __future__ import annotations

import json
import math
import threading
from datetime import timedelta
from typing import Any
from uuid import uuid4

import anyio
import anyio.from_thread
import asyncpg
import pytest

from dragonfly import (
    ConfigurationError,
    Job,
    JobLost,
    JobMisuse,
    Retry,
    RetryPolicy,
    Snooze,
    Worker,
    enqueue,
    enqueue_many,
)
from dragonfly.events import JobFinished, JobLockLost
from dragonfly.queue import store
from dragonfly.testing import perform
from tests.support import drain, running

Payload = dict[str, Any]
SOON = RetryPolicy(first=0.001)


async def test_follow_up_jobs_inherit_their_descent(dsn: str, conn: asyncpg.Connection) -> None:
    """parent= gives its id and correlation id; what is given beside it goes first."""
    worker, own, correlation = Worker("family"), uuid4(), uuid4()

    @worker.job("parent")
    async def parent(job: Job[Payload]) -> None:
        async with job.transaction() as tx:
            await enqueue(tx, "child", {}, parent=job)
            await enqueue_many(tx, "child", [{}], parent=job)
            await enqueue(tx, "child", {}, parent=job, correlation_id=own, parent_id=7)
            job.complete()

    job_id = await enqueue(conn, "parent", {}, correlation_id=correlation)
    await drain(dsn, worker)

    rows = await conn.fetch(
        "SELECT parent_id, correlation_id FROM ops.jobs WHERE job_type = 'child' ORDER BY id"
    )
    assert [(job_id, correlation), (job_id, correlation), (7, own)] == [tuple(row) for row in rows]


async def test_progress_is_seen_while_the_job_runs(dsn: str, conn: asyncpg.Connection) -> None:
    """Outside a transaction it shows at once, inside at its commit, and not after a rollback."""
    worker = Worker("teller")
    shown: list[float | None] = []

    async def look() -> None:
        shown.append(await conn.fetchval("SELECT (progress ->> 'percent')::float8 FROM ops.jobs"))

    @worker.job("tell")
    async def tell(job: Job[Payload]) -> None:
        await job.progress(12.5, "an eighth")
        await look()
        with pytest.raises(KeyError):
            async with job.transaction():
                await job.progress(99, "undone")
                raise KeyError
        await look()
        async with job.transaction():
            await job.progress(50, "half")
            await look()
        await look()
        await job.progress(100, "all")

    await enqueue(conn, "tell", {})
    code, _ = await drain(dsn, worker)

    progress = json.loads(await conn.fetchval("SELECT progress FROM ops.jobs"))
    assert (0, [12.5, 12.5, 12.5, 50]) == (code, shown)
    assert (100, "all") == (progress["percent"], progress["sentence"])


async def test_a_percentage_is_from_0_to_100(dsn: str, conn: asyncpg.Connection) -> None:
    """Any other is refused with a sentence, and nothing is written."""
    worker = Worker("teller")

    @worker.job("tell")
    async def tell(job: Job[Payload]) -> str:
        for percent in (-0.1, 100.1, math.nan, math.inf):
            with pytest.raises(JobMisuse, match="from 0 to 100"):
                await job.progress(percent, "much")
        return "told"

    await enqueue(conn, "tell", {})
    await drain(dsn, worker)

    assert ("completed", None) == tuple(
        await conn.fetchrow("SELECT status, progress FROM ops.jobs") or ()
    )


async def test_a_sentence_of_progress_can_be_stored(dsn: str, conn: asyncpg.Connection) -> None:
    """Counts stay in it, credentials and what PostgreSQL cannot hold do not; it is cut to fit."""
    worker = Worker("teller")

    @worker.job("tell")
    async def tell(job: Job[Payload]) -> str:
        for text in job.payload["texts"]:
            await job.progress(1, text + "\0\ud800")
            kept.append(await conn.fetchval("SELECT progress ->> 'sentence' FROM ops.jobs"))
        return "told"

    kept: list[str] = []
    texts = [
        "12000 of 40000 rows",
        "reading postgresql://reader:hunter2@db/x",
        "asking with api_key=abc123",
        "x" * 600,
    ]
    await enqueue(conn, "tell", {"texts": texts})
    code, _ = await drain(dsn, worker)

    assert 0 == code
    assert [
        "12000 of 40000 rows\N{REPLACEMENT CHARACTER}?",
        "reading postgresql://reader:***@db/x\N{REPLACEMENT CHARACTER}?",
        "asking with api_key=***",
        "x" * 500,
    ] == kept


async def test_a_retry_resumes_from_the_last_checkpoint(dsn: str, conn: asyncpg.Connection) -> None:
    """A checkpoint outside a transaction stays, one inside it only if that commits."""
    worker = Worker("resuming")
    found: list[Any] = []

    @worker.job("resume", retry=RetryPolicy(first=0.001, attempts=4))
    async def resume(job: Job[Payload]) -> None:
        found.append(job.last_checkpoint)
        match job.attempt:
            case 1:
                await job.checkpoint({"row": 10})
                raise KeyError
            case 2:
                async with job.transaction():
                    await job.checkpoint({"row": 99})
                    raise KeyError
            case 3:
                async with job.transaction():
                    await job.checkpoint({"row": 20})
                raise Retry(after=0)

    await enqueue(conn, "resume", {})
    async with running(dsn, worker) as (_, seen):
        await seen.wait_for(JobFinished, lambda event: event.outcome == "completed")

    assert [None, {"row": 10}, {"row": 10}, {"row": 20}] == found


async def test_a_plain_function_may_tell_its_progress(dsn: str, conn: asyncpg.Connection) -> None:
    """A handler in a thread reaches its job through anyio.from_thread."""
    worker = Worker("blocking")
    threads: list[threading.Thread] = []

    @worker.job("block")
    def block(job: Job[Payload]) -> str:
        threads.append(threading.current_thread())
        anyio.from_thread.run(job.progress, 40, "so far")
        anyio.from_thread.run(job.checkpoint, 3)
        return "done"

    await enqueue(conn, "block", {})
    code, _ = await drain(dsn, worker)

    row = await conn.fetchrow("SELECT progress ->> 'sentence', checkpoint, result FROM ops.jobs")
    assert (0, ("so far", "3", '"done"')) == (code, tuple(row or ()))
    assert threading.main_thread() is not threads[0]


@pytest.mark.parametrize("tells", [True, False])
async def test_a_plain_function_learns_of_its_timeout(
    dsn: str, conn: asyncpg.Connection, tells: bool
) -> None:
    """Nobody can stop a thread, but what it asks of the event loop raises once time is up."""
    worker, pause = Worker("blocking"), threading.Event()

    @worker.job("block", timeout=0.05, retry={TimeoutError: None})
    def block(job: Job[Payload]) -> None:
        while True:
            pause.wait(0.01)
            if tells:
                anyio.from_thread.run(job.progress, 1, "at it")
            else:
                anyio.from_thread.check_cancelled()

    await enqueue(conn, "block", {})
    await drain(dsn, worker)

    assert ("failed", "TIMEOUT: ran longer than 0.05 s") == tuple(
        await conn.fetchrow("SELECT status, last_error FROM ops.jobs") or ()
    )


async def test_a_cancel_undoes_the_open_transaction(dsn: str, conn: asyncpg.Connection) -> None:
    """A running job that somebody cancels leaves nothing of what it had not committed."""
    await conn.execute("CREATE TABLE public.effects (n integer)")
    worker, inside = Worker("writing"), anyio.Event()

    @worker.job("write")
    async def write(job: Job[Payload]) -> None:
        async with job.transaction() as tx:
            await tx.execute("INSERT INTO public.effects VALUES (1)")
            await enqueue(tx, "next", {}, parent=job)
            inside.set()
            await anyio.sleep_forever()

    job_id = await enqueue(conn, "write", {})
    async with running(dsn, worker) as (_, seen):
        await inside.wait()
        assert await store.cancel(conn, job_id, "sent twice")
        await seen.wait_for(JobLockLost)

    rows = await conn.fetch("SELECT status, last_error FROM ops.jobs")
    assert [("cancelled", "cancelled: sent twice")] == [tuple(row) for row in rows]
    assert 0 == await conn.fetchval("SELECT count(*) FROM public.effects")


@pytest.mark.parametrize("asks", ["progress", "checkpoint"])
async def test_a_job_that_was_taken_away_can_tell_nothing(
    conn: asyncpg.Connection, asks: str
) -> None:
    """Progress and checkpoints of a job that is no longer ours raise JobLost."""
    worker = Worker("late")

    @worker.job("tell")
    async def tell(job: Job[Payload]) -> None:
        await store.cancel(conn, job.id, "sent twice")
        await (job.progress(50, "half") if asks == "progress" else job.checkpoint({"row": 1}))

    ran = await perform(worker, "tell", {}, conn=conn)

    assert "lost" == ran.outcome
    assert isinstance(ran.exception, JobLost)
    assert (None, None) == (ran.progress, ran.checkpoint)


async def test_a_handler_knows_its_last_attempt() -> None:
    """It can do once more what it would otherwise leave to the next."""
    worker = Worker("patient")

    @worker.job("try")
    async def attempt(job: Job[Payload]) -> bool:
        return job.attempt == job.max_attempts

    attempts = [
        await perform(worker, "try", {}, attempt=number, max_attempts=3) for number in (2, 3)
    ]
    assert [False, True] == [ran.result for ran in attempts]


async def test_higher_priorities_run_first(dsn: str, conn: asyncpg.Connection) -> None:
    """Of due jobs the highest priority starts first, then the earlier time, then the smaller id."""
    worker, order = Worker("queueing"), list[str]()

    @worker.job("stand")
    async def stand(job: Job[dict[str, str]]) -> None:
        order.append(job.payload["name"])

    past = await conn.fetchval("SELECT clock_timestamp() - interval '1 hour'")
    await enqueue(conn, "stand", {"name": "second"})
    await enqueue(conn, "stand", {"name": "third"})
    await enqueue(conn, "stand", {"name": "early"}, run_at=past)
    await enqueue(conn, "stand", {"name": "urgent"}, priority=10)
    await enqueue(conn, "stand", {"name": "never mind"}, priority=-10, run_at=past)
    await drain(dsn, worker)

    assert ["urgent", "early", "second", "third", "never mind"] == order


@pytest.mark.parametrize(
    ("of_worker", "of_job", "expected"),
    [(0.05, None, 0.05), (60, 0.05, 0.05), (0.05, math.inf, None), (None, None, None)],
)
def test_whose_timeout_goes(
    of_worker: float | None, of_job: float | None, expected: float | None
) -> None:
    """The handler's own goes, else the worker's; an endless one lifts the worker's."""
    worker = Worker("sleeper", timeout=of_worker)

    @worker.job("sleep", timeout=of_job)
    async def sleep(job: Job[Payload]) -> None:
        """Never run."""

    assert expected == worker.handlers["sleep"].timeout


async def test_the_timeout_of_a_worker_is_kept(dsn: str, conn: asyncpg.Connection) -> None:
    """A handler without a timeout of its own is cancelled after the worker's."""
    worker = Worker("sleeper", timeout=0.05)

    @worker.job("sleep", retry={TimeoutError: None})
    async def sleep(job: Job[Payload]) -> None:
        await anyio.sleep_forever()

    await enqueue(conn, "sleep", {})
    await drain(dsn, worker)

    assert ("failed", "TIMEOUT: ran longer than 0.05 s") == tuple(
        await conn.fetchrow("SELECT status, last_error FROM ops.jobs") or ()
    )


@pytest.mark.parametrize("seconds", [0, -1, math.nan])
def test_times_that_do_not_fit_are_refused(seconds: float) -> None:
    """A timeout, or days to keep, that make no sense are refused where they are declared."""
    worker = Worker("sleeper")
    with pytest.raises(ConfigurationError, match="timeout= of worker 'w' must be more than 0"):
        Worker("w", timeout=seconds)
    with pytest.raises(ConfigurationError, match="timeout= of 'sleep' must be more than 0"):
        worker.job("sleep", timeout=seconds)
    with pytest.raises(ConfigurationError, match="keep_days= of 'sleep' must be more than 0"):
        worker.job("sleep", keep_days=seconds)


@pytest.mark.parametrize("after", [-1, math.nan, math.inf, timedelta(seconds=-1)])
def test_pauses_that_do_not_fit_are_refused(after: float | timedelta) -> None:
    """A retry or a snooze into the past, or to no time at all, is the handler's mistake."""
    with pytest.raises(JobMisuse, match="0 or more"):
        Retry(after=after)
    with pytest.raises(JobMisuse, match="0 or more"):
        Snooze(after=after)
