"""Races for a tick, staged with locks: whoever dies or comes second, each tick is one job."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import anyio
import asyncpg
import pytest

from dragonfly.queue import schedules as table
from tests.queue.rows import another, until_blocked
from tests.queue.test_schedules import DAY, daily, jobs, owing, schedule_row
from tests.support import until

LOCK = "SELECT FROM ops.schedules FOR UPDATE"


async def test_a_taken_tick_is_passed_over(dsn: str, conn: asyncpg.Connection) -> None:
    """Who finds the tick in other hands neither waits for it nor takes it."""
    tick = await owing(conn)
    async with another(dsn) as holder, holder.transaction():
        await holder.execute(LOCK)
        with anyio.fail_after(2):
            passed = await table.tick(conn, "nightly")
            (seen,) = await table.look(conn, [daily(tick)], await table.now(conn))

    assert (None, []) == (passed, await jobs(conn))
    assert seen.due_in is not None
    assert seen.due_in < 0


async def test_a_look_never_waits(dsn: str, conn: asyncpg.Connection) -> None:
    """A look that would leave a mark passes over a schedule in other hands."""
    tick = await owing(conn)
    await conn.execute("UPDATE ops.schedules SET declared_at = declared_at - interval '1 hour'")
    before = await schedule_row(conn)
    async with another(dsn) as holder, holder.transaction():
        await holder.execute(LOCK)
        with anyio.fail_after(2):
            await table.look(conn, [daily(tick)], await table.now(conn))

    assert before == await schedule_row(conn)


async def test_one_job_when_the_second_comes_before_the_commit(
    dsn: str, conn: asyncpg.Connection
) -> None:
    """A second process finds nothing to do before and after the first one's commit."""
    await owing(conn)
    async with another(dsn) as other:
        async with conn.transaction():
            first = await table.tick(conn, "nightly")
            before = await table.tick(other, "nightly")
        after = await table.tick(other, "nightly")

    assert first is not None
    assert (None, None, 1) == (before, after, len(await jobs(conn)))


async def test_a_death_before_the_commit_leaves_the_tick(
    dsn: str, conn: asyncpg.Connection
) -> None:
    """A process killed between its job and its commit leaves neither; the next one ticks."""
    tick = await owing(conn)
    async with another(dsn) as dying:
        work = dying.transaction()
        await work.start()
        taken = await table.tick(dying, "nightly")
        pid = await dying.fetchval("SELECT pg_backend_pid()")
        await conn.execute("SELECT pg_terminate_backend($1)", pid)
        await until(conn, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)", pid)

    assert taken is not None
    assert (tick, []) == ((await schedule_row(conn))["next_tick_at"], await jobs(conn))
    assert await table.tick(conn, "nightly") is not None
    assert (tick + DAY, 1) == ((await schedule_row(conn))["next_tick_at"], len(await jobs(conn)))


async def test_a_cut_off_tick_leaves_nothing(dsn: str, conn: asyncpg.Connection) -> None:
    """A tick that is cancelled while it waits to insert its job rolls back, and is owed."""
    tick = await owing(conn)
    async with another(dsn) as holder, another(dsn) as cut:
        async with holder.transaction():
            await holder.execute("LOCK TABLE ops.jobs IN SHARE MODE")
            task = asyncio.create_task(table.tick(cut, "nightly"))
            await until_blocked(conn)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        again = await table.tick(conn, "nightly")

    assert again is not None
    assert ((tick,), 1) == (again.ticks, len(await jobs(conn)))


async def test_many_at_once(dsn: str, conn: asyncpg.Connection) -> None:
    """Of six processes at the same tick exactly one makes its job, twenty times over."""
    tick = await owing(conn, overlap="queue")
    async with AsyncExitStack() as stack:
        rivals = [await stack.enter_async_context(another(dsn)) for _ in range(6)]
        for _ in range(20):
            # without what else would hide a second job: the key of the first, and the last tick
            await conn.execute("UPDATE ops.jobs SET unique_key = NULL")
            await conn.execute(
                "UPDATE ops.schedules SET next_tick_at = $1, last_tick_at = NULL", tick
            )
            won = await asyncio.gather(*(table.tick(rival, "nightly") for rival in rivals))
            assert 1 == len([one for one in won if one is not None])

    assert 20 == len(await jobs(conn))


async def test_a_deployment_at_the_tick(dsn: str, conn: asyncpg.Connection) -> None:
    """A new definition that waits for the old one's tick does not bring that tick again."""
    tick = await owing(conn)
    changed = daily(tick, cron=type(daily(tick).cron)(f"{tick.minute} {tick.hour} * * 0-6"))
    started = await table.now(conn)
    async with another(dsn) as new:
        async with conn.transaction():
            await table.tick(conn, "nightly")
            task = asyncio.create_task(table.declare(new, [changed], started))
            await until_blocked(conn)
        await task
        await new.execute("UPDATE ops.schedules SET next_tick_at = $1", tick)
        again = await table.tick(new, "nightly")

    assert again is not None
    assert ((), 1) == (again.ticks, len(await jobs(conn)))
    assert changed.fingerprint == (await schedule_row(conn))["fingerprint"]
