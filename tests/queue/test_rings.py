"""NOTIFY: who is rung, for what, and only when it is committed."""

from __future__ import annotations

from datetime import timedelta

import asyncpg
import pytest

from dragonfly.job import Finish, JobStatus
from dragonfly.queue import store
from dragonfly.queue.store import CANCELLED_CHANNEL, JOBS_CHANNEL, enqueue, enqueue_many
from tests.queue.rows import MINE, again, done, listening, put

pytestmark = pytest.mark.unpooled("transaction", reason="it is about NOTIFY being heard")


async def test_an_insert_rings_once_per_statement_and_type(
    dsn: str, conn: asyncpg.Connection
) -> None:
    """Workers are rung at the commit, once for each type of a statement, and not for nothing."""
    async with listening(dsn, JOBS_CHANNEL) as heard:
        await conn.execute(
            "INSERT INTO ops.jobs (job_type) SELECT (ARRAY['a', 'b'])[1 + n % 2]"
            " FROM generate_series(1, 100) AS n"
        )
        await enqueue_many(conn, "c", [{}] * 100)
        await conn.execute("INSERT INTO ops.jobs (job_type) SELECT 'none' WHERE false")
        work = conn.transaction()
        await work.start()
        await enqueue(conn, "undone", {})
        await work.rollback()
        await enqueue(conn, "one", {})

    assert ["a", "b", "c", "one"] == sorted(job_type for _, job_type in heard)


async def test_a_finish_rings_for_what_is_due_again(dsn: str, conn: asyncpg.Connection) -> None:
    """A job given back at once is news for other processes; a later, ended or lost one is not."""
    ids = {name: await put(conn, "ours", job_type=name) for name in ("now", "later", "over")}
    superseded = await put(conn, "ours", job_type="superseded", unique_key="k")
    await put(conn, job_type="superseded", unique_key="k")
    theirs, completed = await put(conn, "theirs"), await put(conn, "ours")
    async with listening(dsn, JOBS_CHANNEL) as heard:
        await store.complete(conn, [done(completed)])
        await store.finish(
            conn,
            [
                again(ids["now"], refund=True),
                again(ids["later"], delay=60.0),
                Finish(ids["over"], MINE, JobStatus.FAILED, error="no"),
                again(superseded),
                again(theirs),
            ],
        )

    assert [(JOBS_CHANNEL, "now")] == heard


async def test_a_rescue_rings(dsn: str, conn: asyncpg.Connection) -> None:
    """The workers of the types that have something to do again are rung, once each."""
    for job_type in ("a", "a", "b"):
        await put(conn, "lapsed", job_type=job_type)
    await put(conn, "lapsed", job_type="spent", crashes=3, locked_by="a.1@elsewhere")
    async with listening(dsn, JOBS_CHANNEL) as heard:
        await store.rescue(conn, 3)

    assert ["a", "b"] == sorted(job_type for _, job_type in heard)


async def test_a_retry_by_hand_rings(dsn: str, conn: asyncpg.Connection) -> None:
    """A job that starts over is due, so its workers are rung; a refused retry rings nobody."""
    dead, waiting = await put(conn, "failed"), await put(conn, run_at=timedelta(hours=1))
    async with listening(dsn, JOBS_CHANNEL) as heard:
        await store.retry(conn, dead)
        await store.retry(conn, waiting)

    assert [(JOBS_CHANNEL, "greet")] == heard


async def test_a_cancel_tells_the_holder(dsn: str, conn: asyncpg.Connection) -> None:
    """The id of a cancelled job goes out, so that its holder stops; not that of an ended one."""
    running, ended = await put(conn, "ours"), await put(conn, "completed")
    async with listening(dsn, CANCELLED_CHANNEL) as heard:
        await store.cancel(conn, running, "no longer wanted")
        await store.cancel(conn, ended, "no longer wanted")

    assert [(CANCELLED_CHANNEL, str(running))] == heard
