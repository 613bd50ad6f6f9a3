"""A worker in one process: outcomes, pace, timeouts, drains."""

from __future__ import annotations

import asyncio

import anyio
import asyncpg
import pytest

from dragonfly import Cancel, Job, Reject, Retry, Snooze, Worker, enqueue, enqueue_many
from dragonfly.events import JobFinished
from dragonfly.job import Claim
from dragonfly.runtime.acks import Acks
from dragonfly.runtime.loop import WorkerLoop
from dragonfly.runtime.process import Mode
from tests.support import drain, running, supervisor

Record = dict[str, object]


async def row(conn: asyncpg.Connection, job_id: int) -> asyncpg.Record:
    """The job as it stands in the table."""
    found = await conn.fetchrow("SELECT * FROM ops.jobs WHERE id = $1", job_id)
    assert found is not None
    return found


async def test_returning_completes_with_the_result(dsn: str, conn: asyncpg.Connection) -> None:
    """A handler that returns completes its job with what it returned."""
    worker = Worker("adder")

    @worker.job("add")
    async def add(job: Job[dict[str, int]]) -> dict[str, int]:
        return {"sum": job.payload["a"] + job.payload["b"]}

    job_id = await enqueue(conn, "add", {"a": 2, "b": 3})
    code, _ = await drain(dsn, worker)

    done = await row(conn, job_id)
    assert code == 0
    assert ("completed", '{"sum": 5}', 1) == (done["status"], done["result"], done["attempts"])


@pytest.mark.parametrize(
    ("error", "status", "attempts", "last_error"),
    [
        (Reject("NO_FILE", "it is gone"), "failed", 1, "NO_FILE: it is gone"),
        (Retry("not yet", after=60), "pending", 1, "not yet"),
        (Snooze(after=60), "pending", 0, None),
        (Cancel("nobody wants it"), "cancelled", 1, "nobody wants it"),
        (ValueError("'secret' 123456"), "pending", 1, "ValueError: '***' ***"),
        (TimeoutError(), "pending", 1, "TimeoutError"),
        (ConnectionResetError(), "pending", 0, None),
    ],
)
async def test_each_outcome(
    dsn: str,
    conn: asyncpg.Connection,
    error: Exception,
    status: str,
    attempts: int,
    last_error: str | None,
) -> None:
    """What a handler raises decides status, attempts and error, by the table of outcomes."""
    worker = Worker("scripted")

    @worker.job("do")
    async def do(job: Job[Record]) -> None:
        raise error

    job_id = await enqueue(conn, "do", {})
    async with running(dsn, worker) as (_, recorder):
        await recorder.wait_for(JobFinished)

    done = await row(conn, job_id)
    assert (status, attempts, last_error) == (done["status"], done["attempts"], done["last_error"])


async def test_a_transaction_finishes_the_job(dsn: str, conn: asyncpg.Connection) -> None:
    """What is written beside complete() is committed with it, once."""
    await conn.execute("CREATE TABLE public.greeted (name text)")
    worker = Worker("greeter")

    @worker.job("greet")
    async def greet(job: Job[dict[str, str]]) -> None:
        async with job.transaction() as tx:
            await tx.execute("INSERT INTO public.greeted VALUES ($1)", job.payload["name"])
            job.complete({"ok": True})

    job_id = await enqueue(conn, "greet", {"name": "Ada"})
    code, _ = await drain(dsn, worker)

    assert code == 0
    assert "completed" == (await row(conn, job_id))["status"]
    assert 1 == await conn.fetchval("SELECT count(*) FROM public.greeted")


async def test_many_jobs_over_many_slots(dsn: str, conn: asyncpg.Connection) -> None:
    """Each of many jobs runs exactly once, whatever the number of slots."""
    ran: list[int] = []
    worker = Worker("counter", concurrency=7)

    @worker.job("count")
    async def count(job: Job[dict[str, int]]) -> None:
        ran.append(job.payload["n"])
        await anyio.lowlevel.checkpoint()

    await enqueue_many(conn, "count", [{"n": n} for n in range(3000)])
    code, _ = await drain(dsn, worker)

    assert code == 0
    assert list(range(3000)) == sorted(ran)


async def test_a_timeout_is_a_failed_attempt(dsn: str, conn: asyncpg.Connection) -> None:
    """A handler that runs longer than declared is cancelled and retried later."""
    worker = Worker("sleeper")

    @worker.job("sleep", timeout=0.05)
    async def sleep(job: Job[Record]) -> None:
        await anyio.sleep_forever()

    job_id = await enqueue(conn, "sleep", {})
    async with running(dsn, worker) as (_, recorder):
        await recorder.wait_for(JobFinished)

    done = await row(conn, job_id)
    assert ("pending", "TIMEOUT: ran longer than 0.05 s") == (done["status"], done["last_error"])


async def test_a_drain_follows_jobs_across_workers(dsn: str, conn: asyncpg.Connection) -> None:
    """A drain ends only when no worker has anything due, follow-up jobs included."""
    first, second = Worker("first"), Worker("second")

    @first.job("ping")
    async def ping(job: Job[dict[str, int]]) -> None:
        async with job.transaction() as tx:
            if job.payload["left"]:
                await enqueue(tx, "pong", {"left": job.payload["left"] - 1})
            job.complete()

    @second.job("pong")
    async def pong(job: Job[dict[str, int]]) -> None:
        async with job.transaction() as tx:
            if job.payload["left"]:
                await enqueue(tx, "ping", {"left": job.payload["left"] - 1})
            job.complete()

    await enqueue(conn, "ping", {"left": 9})
    code, _ = await drain(dsn, first, second)

    assert code == 0
    assert [("completed", 10)] == [
        tuple(r) for r in await conn.fetch("SELECT status, count(*) FROM ops.jobs GROUP BY 1")
    ]


async def test_a_drain_waits_for_what_was_claimed_after_a_look_in_vain(dsn: str) -> None:
    """A worker that claims after it found nothing counts as busy again, whoever looks meanwhile."""
    ours, other = Worker("ours"), Worker("other")
    async with supervisor(dsn, ours, other, mode=Mode.DRAIN) as (boss, _):
        process = boss.process
        process.wakeups = {"ours": asyncio.Event(), "other": asyncio.Event()}
        loop = WorkerLoop(
            process, ours, 1, Acks(process.finishes), process.wakeups["ours"], lambda: None
        )
        process.quiet = {"ours": 0}  # looked in vain
        loop._accept([Claim(1, "greet", "{}", 1, 8, 0, 7, None, None)])
        process.quiet["other"] = 0  # and so has the other one now

        assert not process.stop_if_drained(0)
        assert not process.stop.claiming.is_set()
