"""A sweep beside others who use the same rows: it locks what it must, and waits for nobody long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import anyio
import asyncpg
import pytest

from dragonfly import enqueue_many
from dragonfly.job import JobStatus
from dragonfly.queue import store
from dragonfly.queue.maintenance import Keep, Step, prune_step
from tests.queue.rows import MINE, another, done, locked, put, statuses, until_blocked

RULES = (Keep(JobStatus.COMPLETED, 10.0),)
AT_ONCE = (Keep(JobStatus.COMPLETED, 0.0),)
GATE = 7
# whoever deletes waits while the gate is shut, and for that alone without a bound
HOLD_UP = f"""
CREATE FUNCTION public.hold_up() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    bound text := current_setting('lock_timeout');
BEGIN
    PERFORM set_config('lock_timeout', '0', true);
    PERFORM pg_advisory_xact_lock_shared({GATE});
    PERFORM set_config('lock_timeout', bound, true);
    RETURN old;
END $$;
CREATE TRIGGER hold_up BEFORE DELETE ON ops.jobs FOR EACH ROW EXECUTE FUNCTION public.hold_up();
"""

Meanwhile = Callable[[asyncpg.Connection, int], Awaitable[None]]


@pytest.fixture
async def gated(conn: asyncpg.Connection) -> AsyncIterator[None]:
    """Deletions pass the gate while the test runs."""
    await conn.execute(HOLD_UP)
    yield
    await conn.execute("DROP FUNCTION public.hold_up CASCADE")


@asynccontextmanager
async def held_up(dsn: str) -> AsyncIterator[asyncio.Task[Step]]:
    """A sweep that has seen the rows, and forgets the first once the block is over."""
    async with another(dsn) as gate, another(dsn) as sweeping:
        async with gate.transaction():
            await gate.execute(f"SELECT pg_advisory_xact_lock({GATE})")
            sweep = asyncio.create_task(prune_step(sweeping, RULES, 0))
            await until_blocked(gate)
            yield sweep
        with anyio.fail_after(10):
            await asyncio.wait([sweep])


async def retry(conn: asyncpg.Connection, job_id: int) -> None:
    await store.retry(conn, job_id)


async def retry_and_complete(conn: asyncpg.Connection, job_id: int) -> None:
    await store.retry(conn, job_id)
    await conn.execute(
        "UPDATE ops.jobs SET status = 'processing', lock_token = $2, locked_until = now() "
        "WHERE id = $1",
        job_id,
        MINE,
    )
    await store.complete(conn, [done(job_id)])


@pytest.mark.usefixtures("gated")
@pytest.mark.parametrize("meanwhile", [retry, retry_and_complete])
async def test_what_was_retried_meanwhile_stays(
    dsn: str, conn: asyncpg.Connection, meanwhile: Meanwhile
) -> None:
    """A job that starts over while a sweep is at work is not forgotten, even if it has ended."""
    ids = [await put(conn, "completed") for _ in range(3)]

    async with held_up(dsn) as sweep:
        await meanwhile(conn, ids[1])

    assert 2 == sweep.result().forgotten
    assert [ids[1]] == list(await statuses(conn))


@pytest.mark.usefixtures("gated")
async def test_a_retry_that_is_not_committed_yet_is_waited_for(
    dsn: str, conn: asyncpg.Connection
) -> None:
    """If it is undone in time the job is forgotten after all."""
    ids = [await put(conn, "completed") for _ in range(2)]

    async with another(dsn) as person:
        work = person.transaction()
        await work.start()
        async with held_up(dsn) as sweep:
            await store.retry(person, ids[1])
            await work.rollback()

    assert 2 == sweep.result().forgotten
    assert {} == await statuses(conn)


@pytest.mark.usefixtures("gated")
async def test_it_waits_for_nobody_long(dsn: str, conn: asyncpg.Connection) -> None:
    """Who locks a row while a sweep is at work lets that step forget nothing; the next one does."""
    ids = [await put(conn, "completed") for _ in range(2)]

    async with another(dsn) as person, person.transaction():
        async with held_up(dsn) as sweep:
            await person.execute("SELECT FROM ops.jobs WHERE id = $1 FOR UPDATE", ids[1])

        assert isinstance(sweep.exception(), asyncpg.LockNotAvailableError)
        assert 1 == (await prune_step(conn, RULES, 0)).forgotten

    assert [ids[1]] == list(await statuses(conn))


async def test_what_was_locked_once_is_forgotten(dsn: str, conn: asyncpg.Connection) -> None:
    """The mark that a lock leaves in a row, be it an undone one, keeps nothing."""
    by_finish = await put(conn, "ours")
    await store.complete(conn, [done(by_finish)])
    by_person = await put(conn, "completed")
    async with locked(dsn, by_person):
        pass
    marks = await conn.fetch("SELECT xmax FROM ops.jobs")
    assert 0 not in [mark["xmax"] for mark in marks]

    assert 2 == (await prune_step(conn, AT_ONCE, 0)).forgotten


async def test_two_sweeps_share_the_work(dsn: str, conn: asyncpg.Connection) -> None:
    """Sweeps of several processes, at the same rows at the same time, forget each row once."""
    await enqueue_many(conn, "greet", [{} for _ in range(2000)])
    await conn.execute("UPDATE ops.jobs SET status = 'completed', finished_at = now()")

    async def sweep() -> int:
        forgotten, after = 0, 0
        async with another(dsn) as own:
            while (step := await prune_step(own, AT_ONCE, after, 50)).last_id is not None:
                forgotten, after = forgotten + step.forgotten, step.last_id
        return forgotten + step.forgotten

    by_each = await asyncio.gather(*(sweep() for _ in range(4)))
    rest = await prune_step(conn, AT_ONCE, 0, 3000)

    assert 2000 == sum(by_each) + rest.forgotten
    assert {} == await statuses(conn)


async def test_a_sweep_waits_for_no_disk_and_no_lock(conn: asyncpg.Connection) -> None:
    """Its commit need not be durable, and its waits have a bound: for this step alone."""
    await put(conn, "completed", finished_at=timedelta(hours=-1))
    asked = "SELECT current_setting('synchronous_commit'), current_setting('lock_timeout')"
    before = await conn.fetchrow(asked)

    async with conn.transaction():
        await prune_step(conn, RULES, 0)
        within = await conn.fetchrow(asked)

    assert within is not None
    assert ("off", "100ms") == tuple(within)
    assert before == await conn.fetchrow(asked)
