"""A worker that sleeps misses no job, however the INSERT and its falling asleep fall together.

The poll is far away in all of these: a job that nobody rings for, and nobody looks for, stays.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import anyio
import asyncpg
import pytest

import dragonfly.queue.sleepers
from dragonfly import Job, Worker, enqueue, enqueue_many
from dragonfly.events import JobFinished, JobStarted, ListenerConnected, WorkerGivenUp
from dragonfly.queue.store import JOBS_CHANNEL
from dragonfly.runtime import sleepers
from tests.queue.rows import another, listening
from tests.support import SLEPT_FOR, running, until

pytestmark = pytest.mark.unpooled("transaction", reason="it is about NOTIFY being heard")

POLL_SECONDS = 300


def greeter(*job_types: str, name: str = "greeter") -> Worker:
    """A worker with nothing to do but to take these."""
    worker = Worker(name)
    for job_type in job_types:

        @worker.job(job_type)
        async def greet(job: Job[dict[str, object]]) -> None:
            return None

    return worker


@pytest.mark.parametrize("undone", [False, True])
async def test_a_commit_whose_insert_rang_nobody(
    dsn: str, conn: asyncpg.Connection, undone: bool
) -> None:
    """A job inserted while nobody slept, and committed when all do, is found without a ring."""
    async with another(dsn) as client, listening(dsn, JOBS_CHANNEL) as rings:
        work, other = client.transaction(), conn.transaction()
        await other.start()
        await enqueue(conn, "greet", {})
        await work.start()
        await enqueue(client, "greet", {})
        async with (
            running(dsn, greeter("greet"), poll_seconds=POLL_SECONDS) as (_, seen),
            another(dsn) as watcher,
        ):
            await until(watcher, SLEPT_FOR, "greet", expected=1)
            await (other.rollback if undone else other.commit)()
            if not undone:
                await seen.wait_for(JobFinished)
            await work.commit()
            await seen.wait_for(JobFinished, count=1 if undone else 2)

    assert [] == rings


async def test_a_commit_just_before_the_server_knows(
    dsn: str, conn: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job committed after the worker's look, and before its locks, is found by a second look."""

    async def fall_asleep(session: asyncpg.Connection, types: Sequence[str]) -> frozenset[str]:
        await enqueue(conn, "greet", {})
        return await dragonfly.queue.sleepers.fall_asleep(session, types)

    monkeypatch.setattr(sleepers, "fall_asleep", fall_asleep)
    async with (
        listening(dsn, JOBS_CHANNEL) as rings,
        running(dsn, greeter("greet"), poll_seconds=POLL_SECONDS) as (_, seen),
    ):
        await seen.wait_for(JobFinished)

    assert [] == rings


async def test_a_busy_worker_is_rung_no_more(
    dsn: str, conn: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commits stop paying for it once it works for long; idle, it sleeps again."""
    monkeypatch.setattr(sleepers, "AWAKE_SECONDS", 0.0)
    worker, go_on = Worker("greeter"), anyio.Event()

    @worker.job("greet")
    async def greet(job: Job[dict[str, object]]) -> None:
        await go_on.wait()

    async with running(dsn, worker, poll_seconds=POLL_SECONDS) as (_, seen):
        await until(conn, SLEPT_FOR, "greet", expected=1)
        await enqueue(conn, "greet", {})
        await seen.wait_for(JobStarted)
        await enqueue(conn, "greet", {})
        await until(conn, SLEPT_FOR, "greet", expected=0)
        async with listening(dsn, JOBS_CHANNEL) as rings:
            await enqueue(conn, "greet", {})
        go_on.set()
        await seen.wait_for(JobFinished, count=3)
        await until(conn, SLEPT_FOR, "greet", expected=1)
        await enqueue(conn, "greet", {})
        await seen.wait_for(JobFinished, count=4)

    assert [] == rings


async def test_nobody_rings_for_a_worker_that_was_given_up(
    dsn: str, conn: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The locks of a worker that fell for good go at the first ring for it; the others sleep on."""
    monkeypatch.setattr(sleepers, "AWAKE_SECONDS", math.inf)
    falling = Worker("falling")

    @falling.job("fall")
    async def fall(job: Job[dict[str, object]]) -> None:
        raise RuntimeError

    async with running(
        dsn, falling, greeter("greet"), poll_seconds=POLL_SECONDS, worker_restarts=0
    ) as (_, seen):
        for job_type in ("fall", "greet"):
            await until(conn, SLEPT_FOR, job_type, expected=1)
        await enqueue_many(conn, "fall", [{}] * 20)
        await seen.wait_for(WorkerGivenUp)
        monkeypatch.setattr(sleepers, "AWAKE_SECONDS", 0.0)
        await enqueue(conn, "fall", {})
        await until(conn, SLEPT_FOR, "fall", expected=0)
        await enqueue(conn, "greet", {})
        await seen.wait_for(JobFinished, lambda event: event.job_type == "greet")


async def test_a_new_session_sleeps_for_the_same(dsn: str, conn: asyncpg.Connection) -> None:
    """When the listener's connection is lost its locks are, too; the next one takes them."""
    async with running(dsn, greeter("a", "b"), poll_seconds=POLL_SECONDS) as (_, seen):
        await until(conn, SLEPT_FOR, "b", expected=1)
        await conn.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'dragonfly listen' AND datname = current_database()"
        )
        await seen.wait_for(ListenerConnected, lambda event: event.reconnected)
        for job_type in ("a", "b"):
            await until(conn, SLEPT_FOR, job_type, expected=1)
            await enqueue(conn, job_type, {})
        await seen.wait_for(JobFinished, count=2)


async def test_who_lies_down_while_another_is_told_to_be_awake(
    conn: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two that were busy the second lies down while the first's locks go: it sleeps anew."""
    monkeypatch.setattr(sleepers, "AWAKE_SECONDS", -1.0)
    both = {name: greeter(name, name=name) for name in ("left", "right")}
    told = sleepers.Sleepers({})
    lay_down: list[str] = []

    async def wake_up(session: asyncpg.Connection, types: Sequence[str]) -> None:
        if not lay_down:
            lay_down.extend(both.keys() - set(types))
            told.lie_down(both[lay_down[0]])
        await dragonfly.queue.sleepers.wake_up(session, types)

    monkeypatch.setattr(sleepers, "wake_up", wake_up)
    for worker in both.values():
        told.lie_down(worker)
    await told.settle(conn)
    for worker in both.values():
        told.get_up(worker)
        told.rung(worker)
    while told.changed.is_set():
        await told.settle(conn)
    slept_for = [name for name in both if await conn.fetchval(SLEPT_FOR, name)]

    assert lay_down == slept_for
