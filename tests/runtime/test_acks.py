"""Finishes written together: one statement for many, and nobody waits for the odd one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import anyio
import asyncpg
import pytest

from dragonfly import enqueue_many
from dragonfly.job import Claim, Finish, JobStatus
from dragonfly.postgres.database import open_database
from dragonfly.postgres.line import Line
from dragonfly.queue import store
from dragonfly.runtime.acks import BATCH_ROWS, Acks
from dragonfly.runtime.outcomes import succeeded

HOLDER = "tester.1@here"
COUNT = 2 * BATCH_ROWS


class Bench:
    """Acks over a line of its own, and what it was told about each job."""

    worker_id = HOLDER

    def __init__(self, acks: Acks) -> None:
        self.acks = acks
        self.told: dict[int, JobStatus | None] = {}

    def complete(self, claim: Claim, result: object) -> None:
        if result is None:
            self.acks.complete(claim, self)
        else:
            ending = succeeded(claim, result)
            assert ending.finish is not None
            self.acks.put(ending.finish, self)

    def settled(self, finish: Finish, status: JobStatus | None) -> None:
        self.told[finish.job_id] = status

    def completed(self, claims: Sequence[Claim]) -> None:
        self.told |= {claim.id: JobStatus.COMPLETED for claim in claims}


@asynccontextmanager
async def _flushing(dsn: str, *, bounded: bool = True) -> AsyncIterator[Bench]:
    database = await open_database(dsn, "the test database")
    session = {"lock_timeout": "50ms"} if bounded else {}
    line = Line(lambda: database.connect("finish", session), 10)
    bench = Bench(Acks(line, 0.01, bounded=bounded))
    async with anyio.create_task_group() as group:
        group.start_soon(bench.acks.run)
        yield bench
        group.cancel_scope.cancel()
    await line.aclose()


async def _claim_all(conn: asyncpg.Connection) -> list[Claim]:
    await enqueue_many(conn, "work", [{"n": n} for n in range(COUNT)])
    return (await store.claim(conn, ["work"], COUNT, HOLDER, 60, store.new_token())).jobs


@pytest.mark.parametrize("result", [None, {"done": True}])
async def test_successes_are_written_together(
    dsn: str, conn: asyncpg.Connection, result: object
) -> None:
    """Many successes of one claim, with results or without, are all told and durable."""
    claims = await _claim_all(conn)
    async with _flushing(dsn) as bench:
        for claim in claims:
            bench.complete(claim, result)
        assert await bench.acks.drained(10)

    assert {claim.id: JobStatus.COMPLETED for claim in claims} == bench.told
    assert COUNT == await conn.fetchval("SELECT count(*) FROM ops.jobs WHERE status = 'completed'")


async def test_one_lost_among_many(dsn: str, conn: asyncpg.Connection) -> None:
    """A job that was cancelled meanwhile is told as lost, and its neighbours as completed."""
    claims = await _claim_all(conn)
    gone = claims[7].id
    await conn.execute(
        "UPDATE ops.jobs SET status = 'cancelled', finished_at = now(), lock_token = NULL, "
        "locked_until = NULL, locked_by = 'somebody else' WHERE id = $1",
        gone,
    )
    async with _flushing(dsn) as bench:
        for claim in claims:
            bench.complete(claim, None)
        assert await bench.acks.drained(10)

    assert [gone] == [job_id for job_id, status in bench.told.items() if status is None]
    assert COUNT == len(bench.told)
    assert "cancelled" == await conn.fetchval("SELECT status FROM ops.jobs WHERE id = $1", gone)


@pytest.mark.parametrize(
    "bounded",
    [
        pytest.param(
            True, marks=pytest.mark.unpooled("transaction", reason="it sets the session's bound")
        ),
        False,
    ],
)
async def test_a_locked_row_holds_up_nobody(
    dsn: str, conn: asyncpg.Connection, bounded: bool
) -> None:
    """While somebody holds a row, the others are written, with or without a bound on waiting."""
    claims = await _claim_all(conn)
    held = claims[3].id
    holder = await asyncpg.connect(dsn)
    lock = holder.transaction()
    await lock.start()
    await holder.execute("SELECT FROM ops.jobs WHERE id = $1 FOR UPDATE", held)
    async with _flushing(dsn, bounded=bounded) as bench:
        for claim in claims:
            bench.complete(claim, None)
        with anyio.fail_after(5):
            while len(bench.told) < COUNT - 1:
                await anyio.sleep(0.01)
        assert held not in bench.told
        await lock.rollback()
        assert await bench.acks.drained(10)
    await holder.close()

    assert {JobStatus.COMPLETED} == set(bench.told.values())
