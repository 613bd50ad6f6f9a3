"""A queue run dry in the event loop of a test."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import anyio
import asyncpg
import pytest

from dragonfly import (
    ConfigurationError,
    CrashLoopError,
    DragonflyError,
    Job,
    Reject,
    RetryPolicy,
    Snooze,
    Worker,
    enqueue,
    enqueue_many,
)
from dragonfly.postgres.database import open_database
from dragonfly.settings import Settings
from dragonfly.testing import PostgresServer, drain, make_due
from dragonfly.testing.databases import database_dsn

Payload = dict[str, Any]


@pytest.fixture
def worker() -> Worker:
    """A worker whose jobs end as their payload says."""
    worker = Worker("scripted", concurrency=2)

    @worker.job("do", retry=RetryPolicy(first=3600))
    async def do(job: Job[Payload]) -> str | None:
        match job.payload["end"]:
            case "reject":
                raise Reject("BAD_NUMBER", "the number has letters")
            case "retry" if job.attempt == 1:
                raise KeyError("colour")
            case "snooze":
                raise Snooze(after=3600)
            case "follow":
                async with job.transaction() as conn:
                    await enqueue(conn, "do", {"end": "return"}, parent=job)
                    job.complete("led")
        return "done"

    return worker


async def test_a_drain_tells_what_came_of_each_job(
    dsn: str, conn: asyncpg.Connection, worker: Worker
) -> None:
    """Jobs, follow-up jobs included, with status, result and error; counted by status."""
    ends = ["return", "reject", "retry", "snooze", "follow"]
    ids = await enqueue_many(conn, "do", [{"end": end} for end in ends])
    drained = await drain(dsn, worker)

    assert {"completed": 3, "failed": 1, "pending": 2} == drained.counts
    assert [(ids[1], 1, "BAD_NUMBER: the number has letters")] == [
        (job.id, job.attempts, job.error) for job in drained.failed
    ]
    assert [(ids[2], 1, "KeyError: '***'"), (ids[3], 0, None)] == [
        (job.id, job.attempts, job.error) for job in drained.pending
    ]
    assert ["done", None, None, None, "led", "done"] == [job.result for job in drained.jobs]
    assert {"do"} == {job.job_type for job in drained.jobs}


async def test_scheduled_jobs_are_made_due(
    dsn: str, conn: asyncpg.Connection, worker: Worker
) -> None:
    """What is pending for later runs once its time is let come, all of it or one type."""
    tomorrow = await conn.fetchval("SELECT clock_timestamp()") + timedelta(days=1)
    later = await enqueue(conn, "do", {"end": "return"}, run_at=tomorrow)
    retried = await enqueue(conn, "do", {"end": "retry"})
    other = await enqueue(conn, "other", {}, run_at=tomorrow)
    first = await drain(dsn, worker)
    due = [await make_due(conn, "nothing"), await make_due(conn, "do"), await make_due(conn)]
    second = await drain(dsn, worker)

    assert [retried] == [job.id for job in first.jobs]
    assert [[], [later, retried], [other]] == due
    assert [(later, 1), (retried, 2)] == [(job.id, job.attempts) for job in second.jobs]
    assert {"completed": 2} == second.counts
    assert "pending" == await conn.fetchval("SELECT status FROM ops.jobs WHERE id = $1", other)


async def test_nothing_due_is_an_empty_summary(dsn: str, worker: Worker) -> None:
    """A drain of an empty queue ends at once, from an address or from a database."""
    database = await open_database(dsn, "the test's database")

    assert {} == (await drain(dsn, worker)).counts
    assert () == (await drain(database, worker)).jobs


async def test_signals_and_logs_are_left_alone(
    dsn: str, conn: asyncpg.Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    """While a drain runs, Ctrl-C is still the test runner's, and nothing is printed."""
    worker, seen = Worker("looking"), list[Any]()
    before = [signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)]
    level = logging.getLogger().level

    @worker.job("look")
    async def look(job: Job[Payload]) -> None:
        seen.extend([signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)])

    await enqueue(conn, "look", {})
    await drain(dsn, worker)

    assert before == seen
    assert level == logging.getLogger().level
    assert ("", "") == tuple(capsys.readouterr())


async def test_a_drain_that_takes_too_long_names_its_jobs(
    dsn: str, conn: asyncpg.Connection
) -> None:
    """After the time it is given, what runs is cancelled, given back and named."""
    worker = Worker("sleeper")

    @worker.job("sleep")
    async def sleep(job: Job[Payload]) -> None:
        await anyio.sleep_forever()

    job_id = await enqueue(conn, "sleep", {})
    with pytest.raises(TimeoutError, match=rf"after 1 s; jobs {job_id} \(sleep\) ran then"):
        await drain(dsn, worker, seconds=1)

    row = await conn.fetchrow("SELECT status, attempts FROM ops.jobs")
    assert ("pending", 0) == tuple(row or ())


async def test_a_crash_loop_is_raised(dsn: str, conn: asyncpg.Connection) -> None:
    """A worker that falls does not pass for a queue that is dry."""
    worker = Worker("falling")

    @worker.job("fall", retry={KeyError: None})
    async def fall(job: Job[Payload]) -> None:
        raise KeyError

    await enqueue_many(conn, "fall", [{}] * 12)
    with pytest.raises(CrashLoopError, match=r"falling failed 10 times in a row; .* KeyError"):
        await drain(dsn, worker, settings=Settings(backoff_scale=0.001))


async def test_a_lifespan_that_fails_is_raised(dsn: str) -> None:
    """A worker that could not open what it needs says so."""

    @asynccontextmanager
    async def lifespan(settings: Settings) -> AsyncIterator[None]:
        if settings.mode == "dev":
            raise LookupError("no such bucket")
        yield

    worker = Worker("locked-out", lifespan=lifespan)
    worker.job("work")(lambda job: None)

    with pytest.raises(DragonflyError, match="locked-out fell: LookupError: no such bucket"):
        await drain(dsn, worker)


async def test_a_database_without_the_schema_is_refused(
    postgres: PostgresServer, worker: Worker
) -> None:
    """Instead of waiting for tables, the drain says what to do."""
    with pytest.raises(ConfigurationError, match="dragonfly migrate"):
        await drain(database_dsn(postgres.dsn, "postgres"), worker)


async def test_a_drain_leaves_nothing_behind(
    dsn: str, conn: asyncpg.Connection, worker: Worker
) -> None:
    """No task, no connection and no held job outlive it."""
    await enqueue_many(conn, "do", [{"end": "follow"}] * 20)
    tasks = asyncio.all_tasks()
    await drain(dsn, worker)

    assert tasks == asyncio.all_tasks()
    assert 0 == await conn.fetchval("SELECT count(*) FROM ops.jobs WHERE status = 'processing'")
