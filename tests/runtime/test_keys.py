"""Limits per key and pauses, in running processes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import anyio
import asyncpg
import pytest

from dragonfly import Job, Worker, enqueue
from dragonfly.events import JobFinished, JobStarted
from dragonfly.queue import pauses
from tests.support import drain, running, until

Payload = dict[str, Any]


class Crowd:
    """A worker that counts how many jobs of a key run at once, and the most there were."""

    def __init__(self, concurrency_per_key: int = 1) -> None:
        self.now: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.worker = Worker("crowd", concurrency=8, concurrency_per_key=concurrency_per_key)

        @self.worker.job("visit")
        async def visit(job: Job[Payload]) -> None:
            key = job.payload["key"]
            self.now[key] += 1
            self.most[key] = max(self.most[key], self.now[key])
            await anyio.lowlevel.checkpoint()
            self.now[key] -= 1


async def _visits(conn: asyncpg.Connection, number: int, keys: int) -> None:
    for n in range(number):
        key = f"k{n % keys}"
        await enqueue(conn, "visit", {"key": key}, concurrency_key=key)


async def test_one_of_a_key_at_once(dsn: str, conn: asyncpg.Connection) -> None:
    """Of jobs with one key a worker of many slots runs one after the other, in order."""
    crowd = Crowd()
    await _visits(conn, 30, 3)

    code, seen = await drain(dsn, crowd.worker)

    assert (0, {"k0": 1, "k1": 1, "k2": 1}) == (code, dict(crowd.most))
    started = [event.job_id for event in seen.of(JobStarted)]
    for first in range(1, 4):
        assert [*range(first, 31, 3)] == [job_id for job_id in started if (job_id - first) % 3 == 0]


async def test_processes_share_the_limit(dsn: str, conn: asyncpg.Connection) -> None:
    """Two processes together run no more of a key than the limit, and lose none."""
    crowd = Crowd(concurrency_per_key=2)
    await _visits(conn, 60, 4)
    async with running(dsn, crowd.worker) as (_, one), running(dsn, crowd.worker) as (_, two):
        done = "SELECT count(*) FROM ops.jobs WHERE status = 'completed'"
        await until(conn, done, expected=60, seconds=40)

    assert 2 >= max(crowd.most.values())
    assert 60 == len(one.of(JobFinished)) + len(two.of(JobFinished))


@pytest.mark.unpooled("transaction", reason="it is about NOTIFY being heard")
async def test_a_free_key_is_known_at_once(dsn: str, conn: asyncpg.Connection) -> None:
    """Another process that waits for a key is rung when its job ends, and does not poll for it."""
    worker = Worker("visits")
    go_on = anyio.Event()

    @worker.job("first")
    async def first(job: Job[Payload]) -> None:
        await go_on.wait()

    other = Worker("others")

    @other.job("first")
    async def second(job: Job[Payload]) -> None:
        return None

    await enqueue(conn, "first", {}, concurrency_key="k")
    quiet = {"poll_seconds": 60}
    async with running(dsn, worker, **quiet) as (boss, one):
        await one.wait_for(JobStarted)
        waiting = await enqueue(conn, "first", {}, concurrency_key="k")
        async with running(dsn, other, **quiet) as (_, two):
            beats = "SELECT count(*) FROM ops.worker_heartbeats WHERE worker_type = 'others'"
            await until(conn, beats, expected=1)
            boss.process.stop.request("test")  # so that it claims nothing more itself
            go_on.set()
            await two.wait_for(JobFinished, lambda event: event.job_id == waiting)


async def test_keys_do_not_starve_in_a_busy_queue(dsn: str, conn: asyncpg.Connection) -> None:
    """A worker that is never idle finds jobs with keys, too, when their turn has come."""
    worker = Worker("busy", concurrency=2)
    seen_keyed = anyio.Event()

    @worker.job("plain")
    async def plain(job: Job[Payload]) -> None:
        if not seen_keyed.is_set():
            async with job.transaction() as own:
                await enqueue(own, "plain", {})

    @worker.job("keyed")
    async def keyed(job: Job[Payload]) -> None:
        seen_keyed.set()

    for _ in range(4):
        await enqueue(conn, "plain", {})
    async with running(dsn, worker) as (_, seen):
        await seen.wait_for(JobFinished, count=10)
        await enqueue(conn, "keyed", {}, concurrency_key="k")
        await seen.wait_for(JobFinished, lambda event: event.job_type == "keyed")


async def test_a_paused_type_waits(dsn: str, conn: asyncpg.Connection) -> None:
    """A running worker claims nothing of a paused type, and the job at once when it is resumed."""
    worker = Worker("greeter")

    @worker.job("greet")
    async def greet(job: Job[Payload]) -> None:
        return None

    @worker.job("stamp")
    async def stamp(job: Job[Payload]) -> None:
        return None

    async with running(dsn, worker, poll_seconds=60) as (_, seen):
        await pauses.pause(conn, "greet", "ada", "court closed")
        paused = await enqueue(conn, "greet", {})
        await enqueue(conn, "stamp", {})
        await seen.wait_for(JobFinished)
        before = [event.job_type for event in seen.of(JobStarted)]
        await pauses.resume(conn, "greet")
        await seen.wait_for(JobFinished, lambda event: event.job_id == paused)

    assert ["stamp"] == before


async def test_a_drain_does_not_wait_for_a_pause(dsn: str, conn: asyncpg.Connection) -> None:
    """What is paused is not due: a drain leaves it pending and ends."""
    worker = Worker("greeter")

    @worker.job("greet")
    async def greet(job: Job[Payload]) -> None:
        return None

    await pauses.pause(conn, "greet", "ada", "court closed")
    await enqueue(conn, "greet", {})

    code, seen = await drain(dsn, worker)

    assert (0, []) == (code, seen.of(JobStarted))
