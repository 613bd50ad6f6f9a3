"""Finishes whose answer is lost or refused: no job is doubled, and none holds up the others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import anyio
import asyncpg
import pytest

from dragonfly import Cancel, Job, Reject, Retry, Snooze, Worker, enqueue, enqueue_many
from dragonfly.events import JobFinished, JobLockLost, WorkerPaused
from tests.proxy import proxy
from tests.support import running, until

Payload = dict[str, object]
STATUS = "SELECT status FROM ops.jobs WHERE id = $1"


def returning(runs: list[int]) -> Worker:
    """A worker that returns a value for the proxy to recognise."""
    worker = Worker("returning")

    @worker.job("return")
    async def back(job: Job[dict[str, str]]) -> str:
        runs.append(job.id)
        return job.payload["say"]

    return worker


async def test_a_finish_whose_answer_was_lost_counts(dsn: str, conn: asyncpg.Connection) -> None:
    """The commit happened but nobody heard of it: the job is completed, once, and not lost."""
    runs: list[int] = []
    async with proxy(dsn) as between, running(between.dsn, returning(runs)) as (_, seen):
        await until(conn, "SELECT status FROM ops.worker_heartbeats", expected="running")
        between.marked = b"remarkable"
        # the claim carries the payload as an answer, the finish the result as a request
        job_id = await enqueue(conn, "return", {"say": "remarkable"})
        ended = await seen.wait_for(JobFinished)

    assert (1, [job_id]) == (between.cuts, runs)
    assert "completed" == ended.outcome
    assert [] == [*seen.of(JobLockLost), *seen.of(WorkerPaused)]
    assert "completed" == await conn.fetchval(STATUS, job_id)


async def test_a_claim_whose_answer_was_lost_strands_nothing(
    dsn: str, conn: asyncpg.Connection
) -> None:
    """What a claim took without hearing of it is given back with its attempt, and runs."""
    runs: list[int] = []
    async with (
        proxy(dsn) as between,
        running(between.dsn, returning(runs), lease_seconds=200, heartbeat_seconds=60),
    ):
        await until(conn, "SELECT status FROM ops.worker_heartbeats", expected="running")
        # no heartbeat is due any more: the next request that names the worker is its claim
        between.marked = b"returning.1@"
        ids = await enqueue_many(conn, "return", [{"say": "x"}] * 3)
        await until(conn, "SELECT count(*) FROM ops.jobs WHERE status = 'completed'", expected=3)

    rows = await conn.fetch("SELECT attempts, crashes FROM ops.jobs")
    assert (1, ids) == (between.cuts, sorted(runs))
    assert [(1, 0)] * 3 == [tuple(row) for row in rows]


@pytest.mark.parametrize("result", [None, {"done": True}])
async def test_a_commit_whose_answer_was_lost_counts(
    dsn: str, conn: asyncpg.Connection, result: dict[str, bool] | None
) -> None:
    """A handler's completing transaction that committed unheard is not run again."""
    await conn.execute("CREATE TABLE public.effects (job_id bigint)")
    worker = Worker("writing")
    between_cuts = []

    async with proxy(dsn) as between:

        @worker.job("write")
        async def write(job: Job[Payload]) -> None:
            async with job.transaction() as tx:
                await tx.execute("INSERT INTO public.effects VALUES ($1)", job.id)
                job.complete(result)
                between.marked = b"COMMIT"  # behind the finish, or in a message of its own

        job_id = await enqueue(conn, "write", {})
        async with running(between.dsn, worker) as (_, seen):
            await until(conn, STATUS, job_id, expected="completed")
            await seen.wait_for(JobLockLost)
            between_cuts.append(between.cuts)

    assert [1] == between_cuts
    assert 1 == await conn.fetchval("SELECT count(*) FROM public.effects")
    assert 1 == await conn.fetchval("SELECT attempts FROM ops.jobs")


ODD = "a \0 and \ud800 in it"


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (Reject("NO", ODD), "failed", "NO: a "),
        (Retry(ODD, after=60), "pending", "a "),
        (Cancel(ODD), "cancelled", "a "),
        (ValueError(ODD), "pending", "ValueError: a "),
        (Retry("x", after=1e300), "failed", "RESULT_INVALID"),
        (Snooze(until=datetime.max.replace(tzinfo=timezone(-timedelta(hours=12)))), "failed", "R"),
        (Snooze(until=datetime.max.replace(tzinfo=UTC)), "pending", None),
    ],
)
async def test_what_postgres_cannot_hold_holds_nobody_up(
    dsn: str, conn: asyncpg.Connection, error: Exception, status: str, words: str | None
) -> None:
    """Characters and times beyond PostgreSQL end their own job; the next one is written too."""
    worker = Worker("odd")

    @worker.job("odd")
    async def odd(job: Job[Payload]) -> None:
        if job.payload.get("odd"):
            raise error

    strange = await enqueue(conn, "odd", {"odd": True})
    plain = await enqueue(conn, "odd", {})
    async with running(dsn, worker) as (_, seen):
        await seen.wait_for(JobFinished, count=2)

    row = await conn.fetchrow("SELECT status, last_error FROM ops.jobs WHERE id = $1", strange)
    assert row is not None
    assert "completed" == await conn.fetchval(STATUS, plain)
    assert status == row["status"]
    assert (row["last_error"] or "").startswith(words or "")


async def test_an_odd_reason_does_not_stop_the_heartbeat(
    dsn: str, conn: asyncpg.Connection
) -> None:
    """A failure with characters that PostgreSQL cannot hold still shows in the heartbeat."""
    worker = Worker("odd")

    @worker.job("odd")
    async def odd(job: Job[Payload]) -> None:
        raise ValueError(ODD)

    await enqueue(conn, "odd", {})
    async with running(dsn, worker, backoff_scale=1):
        await until(conn, "SELECT status FROM ops.worker_heartbeats", expected="degraded")
        reason = await conn.fetchval("SELECT reason FROM ops.worker_heartbeats")

    assert reason.startswith("ValueError: a ")


@pytest.mark.parametrize("result", [float("nan"), "nul \0", "half \ud800", b"\xff", object()])
async def test_a_result_that_is_no_json_fails_its_job(
    dsn: str, conn: asyncpg.Connection, result: object
) -> None:
    """It fails with RESULT_INVALID; the others of its flush are completed."""
    worker = Worker("odd", concurrency=5)

    @worker.job("odd")
    async def odd(job: Job[Payload]) -> object:
        return result if job.payload.get("odd") else {"fine": True}

    strange = await enqueue(conn, "odd", {"odd": True})
    await enqueue_many(conn, "odd", [{}] * 8)
    async with running(dsn, worker):
        await until(conn, "SELECT count(*) FROM ops.jobs WHERE status = 'completed'", expected=8)
        await until(conn, STATUS, strange, expected="failed")

    error = await conn.fetchval("SELECT last_error FROM ops.jobs WHERE id = $1", strange)
    assert error.startswith("RESULT_INVALID")


async def test_a_locked_row_does_not_hold_up_the_others(dsn: str, conn: asyncpg.Connection) -> None:
    """While somebody has one job's row locked the other finishes are written, then its own."""
    worker = Worker("crowd", concurrency=5)
    inside, go_on = anyio.Event(), anyio.Event()

    @worker.job("crowd")
    async def crowd(job: Job[dict[str, bool]]) -> None:
        if job.payload["first"]:
            inside.set()
            await go_on.wait()

    locked = await enqueue(conn, "crowd", {"first": True}, priority=1)
    await enqueue_many(conn, "crowd", [{"first": False}] * 20)
    async with running(dsn, worker) as (_, seen):
        await inside.wait()
        async with conn.transaction():
            await conn.execute("SELECT FROM ops.jobs WHERE id = $1 FOR UPDATE", locked)
            go_on.set()
            await seen.wait_for(JobFinished, count=20)
            others = {event.job_id for event in seen.of(JobFinished)}
        await seen.wait_for(JobFinished, lambda event: event.job_id == locked)

    assert locked not in others
    assert [] == seen.of(JobLockLost)


async def test_a_job_taken_again_is_not_taken_for_the_old_one(
    dsn: str, conn: asyncpg.Connection
) -> None:
    """A job whose lock ran out and that this worker claimed anew runs and ends as the new one."""
    worker = Worker("again", concurrency=2)
    runs, inside, cancelled = [], anyio.Event(), anyio.Event()

    @worker.job("again")
    async def again(job: Job[Payload]) -> int:
        runs.append(job.claim.lock_token)
        if len(runs) == 1:
            inside.set()
            try:
                await anyio.sleep_forever()
            finally:
                cancelled.set()
        return len(runs)

    job_id = await enqueue(conn, "again", {})
    async with running(dsn, worker, heartbeat_seconds=60, lease_seconds=200) as (_, seen):
        await until(conn, "SELECT status FROM ops.worker_heartbeats", expected="running")
        await inside.wait()
        await conn.execute(
            "UPDATE ops.jobs SET status = 'pending', lock_token = NULL, locked_until = NULL"
        )
        await conn.execute("NOTIFY ops_jobs, 'again'")
        ended = await seen.wait_for(JobFinished)
        with anyio.fail_after(5):
            await cancelled.wait()

    assert 2 == len(set(runs))
    assert ("completed", job_id) == (ended.outcome, ended.job_id)
    assert "2" == await conn.fetchval("SELECT result FROM ops.jobs")


async def test_two_ends_of_one_job_do_not_meet(dsn: str, conn: asyncpg.Connection) -> None:
    """While the first end's answer is lost the job comes back and ends again: both are sorted."""
    worker = Worker("again")

    @worker.job("again")
    async def again(job: Job[Payload]) -> int:
        if job.attempt == 1:
            raise Retry("remarkable", after=0)
        return job.attempt

    async with proxy(dsn) as between, running(between.dsn, worker, backoff_scale=1) as (_, seen):
        await until(conn, "SELECT status FROM ops.worker_heartbeats", expected="running")
        between.marked = b"remarkable"
        job_id = await enqueue(conn, "again", {})
        await until(conn, STATUS, job_id, expected="completed")
        ended = await seen.wait_for(JobFinished, lambda event: event.outcome == "completed")
        following = await enqueue(conn, "again", {}, max_attempts=1)
        await seen.wait_for(JobFinished, lambda event: event.job_id == following)

    assert (1, 2) == (between.cuts, ended.attempt)
    assert "2" == await conn.fetchval("SELECT result FROM ops.jobs WHERE id = $1", job_id)
