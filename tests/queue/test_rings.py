"""NOTIFY: who is rung, for what, and only when it is committed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

import asyncpg
import pytest

from dragonfly.job import Finish, JobStatus
from dragonfly.queue import store
from dragonfly.queue.bulk import COPY_ROWS, NewJob, enqueue_each, enqueue_many
from dragonfly.queue.store import CANCELLED_CHANNEL, JOBS_CHANNEL, enqueue
from tests.queue.rows import MINE, again, done, listening, put

pytestmark = pytest.mark.unpooled("transaction", reason="it is about NOTIFY being heard")


async def test_an_insert_rings_once_per_statement_and_type(
    dsn: str, conn: asyncpg.Connection
) -> None:
    """Sleepers are rung at the commit, once for each type of a statement, and not for nothing."""
    types = ["a", "b", "c", "none", "undone", "one"]
    async with listening(dsn, JOBS_CHANNEL, asleep=types) as heard:
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


async def _by_hand(conn: asyncpg.Connection, job_type: str, key: str | None) -> None:
    await put(conn, job_type=job_type, unique_key=key)


async def _by_function(conn: asyncpg.Connection, job_type: str, key: str | None) -> None:
    await conn.execute("SELECT ops.enqueue_job($1, unique_key => $2)", job_type, key)


async def _by_copy(conn: asyncpg.Connection, job_type: str, key: str | None) -> None:
    columns = ["job_type", "unique_key"]
    await conn.copy_records_to_table(
        "jobs", schema_name="ops", records=[(job_type, key)], columns=columns
    )


async def _one(conn: asyncpg.Connection, job_type: str, key: str | None) -> None:
    await enqueue(conn, job_type, {}, unique_key=key)


async def _many(conn: asyncpg.Connection, job_type: str, key: str | None) -> None:
    await enqueue_many(conn, job_type, [{}], unique_keys=[key])


async def _many_more(conn: asyncpg.Connection, job_type: str, key: str | None) -> None:
    keys = None if key is None else [key, *[None] * COPY_ROWS]
    await enqueue_many(conn, job_type, [{}] * (COPY_ROWS + 1), unique_keys=keys)


async def _each(conn: asyncpg.Connection, job_type: str, key: str | None) -> None:
    await enqueue_each(conn, [NewJob(job_type, unique_key=key)])


@pytest.mark.parametrize("key", [None, "k"])
@pytest.mark.parametrize("add", [_by_hand, _by_function, _by_copy, _one, _many, _many_more, _each])
async def test_every_entrance_rings_at_the_commit(
    dsn: str, conn: asyncpg.Connection, add: Callable[..., Awaitable[None]], key: str | None
) -> None:
    """Whichever way jobs come, what commits rings once and not before; what is undone does not."""
    types = ["kept", "half undone", "undone"]
    async with listening(dsn, JOBS_CHANNEL, asleep=types) as early:
        work = conn.transaction()
        await work.start()
        await add(conn, "kept", key)
        undone = conn.transaction()
        await undone.start()
        await add(conn, "half undone", key)
        await undone.rollback()
    assert [] == early
    async with listening(dsn, JOBS_CHANNEL) as heard:
        await work.commit()
        work = conn.transaction()
        await work.start()
        await add(conn, "undone", key)
        await work.rollback()

    assert [(JOBS_CHANNEL, "kept")] == heard


@pytest.mark.parametrize("add", [_by_function, _one, _many, _each])
async def test_what_is_left_out_does_not_ring(
    dsn: str, conn: asyncpg.Connection, add: Callable[..., Awaitable[None]]
) -> None:
    """A job that is not added, as its key is taken, is no news."""
    await add(conn, "greet", "k")
    async with listening(dsn, JOBS_CHANNEL, asleep=["greet"]) as heard:
        await add(conn, "greet", "k")

    assert [] == heard


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
