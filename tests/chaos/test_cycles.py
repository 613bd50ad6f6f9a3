"""Fast starts and stops under load, with second signals in every phase: nothing leaks."""

from __future__ import annotations

import asyncio
import random
import threading

import anyio
import asyncpg
import psutil

from dragonfly.events import Event, JobFinished, JobsClaimed, JobStarted, ListenerConnected
from dragonfly.ops.drill import history
from dragonfly.ops.drill.worker import worker
from tests.chaos.runs import held
from tests.support import Recorder, drain, running

CYCLES = 50
MOMENTS: tuple[type[Event] | None, ...] = (
    None,
    ListenerConnected,
    JobsClaimed,
    JobStarted,
    JobFinished,
)


async def _moment(seen: Recorder, rng: random.Random) -> None:
    """Some moment in the life of a process, none of them far away."""
    kind = rng.choice(MOMENTS)
    if kind is None:
        for _ in range(rng.randint(0, 20)):
            await asyncio.sleep(0)
    else:
        with anyio.move_on_after(0.2):
            await seen.wait_for(kind, count=len(seen.of(kind)) + 1)


async def _cycle(dsn: str, rng: random.Random) -> None:
    async with running(dsn, worker, db_url_dev=dsn, grace_seconds=5) as (boss, seen):
        await _moment(seen, rng)
        boss.process.stop.request("first")
        if rng.random() < 0.8:
            await _moment(seen, rng)
            boss.process.stop.request("second")


async def test_fifty_cycles_leave_nothing(
    dsn: str, told: asyncpg.Connection, rng: random.Random
) -> None:
    """No job is lost, held or done twice; no task, thread, file or connection is left."""
    await history.put_mixed(told, 600, seconds=0.02)
    await _cycle(dsn, rng)
    me = psutil.Process()
    before = (len(asyncio.all_tasks()), threading.active_count(), me.num_fds())
    for _ in range(CYCLES):
        await _cycle(dsn, rng)
    after = (len(asyncio.all_tasks()), threading.active_count(), me.num_fds())

    assert before == after
    assert 0 == await told.fetchval("SELECT count(*) FROM ops.jobs WHERE status = 'processing'")
    assert await told.fetchval(history.UNENDED) > 0, "the load was too small"
    await drain(dsn, worker, db_url_dev=dsn)
    await held(told)
