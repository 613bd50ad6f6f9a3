"""Cancellations that nobody of ours asked for: what a handler left behind cancels its task."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import anyio
import asyncpg
import pytest

from dragonfly import Job, Worker, enqueue, enqueue_many
from dragonfly.events import JobFinished
from dragonfly.job import RetryPolicy
from tests.chaos.test_bad_handlers import Payload, effects, end_of, worker_with
from tests.support import running, until

__all__ = ["effects"]  # a fixture of both

ONCE = RetryPolicy(attempts=1)
LEFT = "SELECT count(*) FROM ops.jobs WHERE status IN ('pending', 'processing')"


async def test_what_it_left_behind_cancels_nobody(dsn: str, conn: asyncpg.Connection) -> None:
    """A timer that cancels the handler's task after its end ends no worker, and blames no job."""
    cancelled = anyio.Event()

    async def bad(_: Job[Payload]) -> None:
        task = asyncio.current_task()
        assert task is not None

        def cancel() -> None:
            task.cancel()
            cancelled.set()

        asyncio.get_running_loop().call_later(0.05, cancel)

    async with running(dsn, worker_with(bad)) as (_, seen):
        job_id = await enqueue(conn, "bad", {})
        await seen.wait_for(JobFinished)
        await cancelled.wait()
        row = await end_of(conn, seen, job_id)

    assert ("completed", 1) == (row["status"], row["attempts"])


async def cancels_itself(_: Job[Payload]) -> None:
    """It lets the cancellation out, as a bug would."""
    asyncio.get_running_loop().call_soon(current().cancel)
    await asyncio.sleep(60)


async def swallows_it(_: Job[Payload]) -> None:
    """It goes on as if nothing had been, and does not take the cancellation back."""
    asyncio.get_running_loop().call_soon(current().cancel)
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        return


async def cancels_itself_at_the_end(_: Job[Payload]) -> None:
    """It returns before it could meet its cancellation."""
    current().cancel()


def current() -> asyncio.Task[object]:
    task = asyncio.current_task()
    assert task is not None
    return task


@pytest.mark.parametrize("bad", [cancels_itself, swallows_it, cancels_itself_at_the_end])
async def test_a_time_out_after_it_ends_a_job_and_no_slot(
    dsn: str, conn: asyncpg.Connection, bad: Callable[[Job[Payload]], Awaitable[None]]
) -> None:
    """The slot in which it was serves on, cuts off what takes too long, and hands none of it on."""
    worker, counts = Worker("single", concurrency=1), list[int]()
    worker.job("bad", retry=ONCE)(bad)

    @worker.job("long", timeout=0.05, retry=ONCE)
    async def long(_: Job[Payload]) -> None:
        await asyncio.sleep(60)

    @worker.job("fine")
    async def fine(_: Job[Payload]) -> None:
        await asyncio.sleep(0)
        counts.append(current().cancelling())

    async with running(dsn, worker, backoff_scale=0.0001):
        for kind in ("bad", "fine", "long", "fine") * 3:
            await enqueue(conn, kind, {})
        await until(conn, LEFT, expected=0)

    rows = await conn.fetch("SELECT status, last_error FROM ops.jobs WHERE job_type = 'long'")
    assert {("failed", "TIMEOUT: ran longer than 0.05 s")} == {tuple(row) for row in rows}
    rows = await conn.fetch("SELECT status, attempts FROM ops.jobs WHERE job_type = 'fine'")
    assert {("completed", 1)} == {tuple(row) for row in rows}
    assert [0] * 6 == counts  # of the cancellations that asyncio's task groups see


async def test_one_that_meets_a_time_out(dsn: str, conn: asyncpg.Connection) -> None:
    """A cancellation in the very moment of a job's time-out ends neither slot nor worker."""
    worker = Worker("single", concurrency=1)

    @worker.job("long", timeout=0.05, retry=ONCE)
    async def long(_: Job[Payload]) -> None:
        task = current()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            task.cancel()
            raise

    @worker.job("fine")
    async def fine(_: Job[Payload]) -> None:
        return

    await enqueue_many(conn, "long", [{}] * 3)
    await enqueue_many(conn, "fine", [{}] * 3)
    async with running(dsn, worker, backoff_scale=0.0001):
        await until(conn, LEFT, expected=0)

    counts = "SELECT job_type, status, count(*) FROM ops.jobs GROUP BY 1, 2 ORDER BY 1"
    ends = [("fine", "completed", 3), ("long", "failed", 3)]
    assert ends == [tuple(row) for row in await conn.fetch(counts)]
