"""Something outside the jobs is missing: the circuit of their type, its probes, its closing."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import anyio
import asyncpg
import pytest

from dragonfly import Job, Worker, enqueue, enqueue_many
from dragonfly.events import (
    CircuitClosed,
    CircuitOpened,
    Events,
    JobFinished,
    JobStarted,
    WorkerPaused,
)
from dragonfly.queue.store import Claimed
from dragonfly.runtime.acks import Acks
from dragonfly.runtime.health import Health
from dragonfly.runtime.loop import WorkerLoop
from tests.support import running, supervisor, until

Payload = dict[str, object]


def selecting(concurrency: int = 1) -> Worker:
    """A worker with one type that needs public.missing, and one that needs nothing."""
    worker = Worker("selecting", concurrency=concurrency)

    @worker.job("select")
    async def select(job: Job[Payload]) -> None:
        async with job.transaction() as tx:
            if not job.payload.get("easy"):
                await tx.execute("SELECT * FROM public.missing")
            job.complete()

    @worker.job("plain")
    async def plain(job: Job[Payload]) -> None:
        return None

    return worker


async def test_a_missing_table_opens_the_circuit_of_that_type(
    dsn: str, conn: asyncpg.Connection
) -> None:
    """The job is given back unharmed for after the pause; jobs of other types go on."""
    job_id = await enqueue(conn, "select", {})
    async with running(dsn, selecting(), backoff_scale=1) as (_, seen):
        opened = await seen.wait_for(CircuitOpened)
        other = await enqueue(conn, "plain", {})
        await seen.wait_for(JobFinished, lambda event: event.job_id == other)
        await until(conn, "SELECT status FROM ops.worker_heartbeats", expected="degraded")
        reason = await conn.fetchval("SELECT reason FROM ops.worker_heartbeats")

    job = await conn.fetchrow(
        "SELECT *, run_at - clock_timestamp() > interval '20 s' AS later FROM ops.jobs "
        "WHERE id = $1",
        job_id,
    )
    assert job is not None
    assert ("select", 30.0) == (opened.job_type, opened.seconds)
    assert ("pending", 0, True) == (job["status"], job["attempts"], job["later"])
    assert 'relation "public.missing" does not exist (SQLSTATE 42P01)' == job["last_error"]
    assert 'select: relation "public.missing" does not exist (SQLSTATE 42P01)' == reason
    assert [] == seen.of(WorkerPaused)


async def test_while_it_is_open_only_a_probe_runs(dsn: str, conn: asyncpg.Connection) -> None:
    """Of many jobs of the type each pause tries one, another each time; all use no attempt."""
    await enqueue_many(conn, "select", [{}] * 50)
    async with running(dsn, selecting(4), backoff_scale=0.005) as (_, seen):
        await seen.wait_for(CircuitOpened, count=3)

    probes = [event.job_id for event in seen.of(JobStarted)][4:]
    assert 2 <= len(probes) == len(set(probes)) <= 4
    assert 0 == await conn.fetchval("SELECT sum(attempts) FROM ops.jobs")


async def test_the_circuit_closes_when_the_table_appears(
    dsn: str, conn: asyncpg.Connection
) -> None:
    """Nobody needs to restart anything: the next probe succeeds and everything else follows."""
    await enqueue_many(conn, "select", [{}] * 20)
    async with running(dsn, selecting(2), backoff_scale=0.005) as (_, seen):
        await seen.wait_for(CircuitOpened)
        await conn.execute("CREATE TABLE public.missing ()")
        await seen.wait_for(CircuitClosed)
        await until(conn, "SELECT count(*) FROM ops.jobs WHERE status = 'completed'", expected=20)
        await until(conn, "SELECT status FROM ops.worker_heartbeats", expected="running")

    assert 20 == await conn.fetchval("SELECT sum(attempts) FROM ops.jobs")


async def test_a_job_that_keeps_reopening_it_is_the_culprit(
    dsn: str, conn: asyncpg.Connection
) -> None:
    """A job that opens the circuit three times, while others of its type succeed, is failed."""
    bad = await enqueue(conn, "select", {})
    async with running(dsn, selecting(), backoff_scale=0.002, poll_seconds=0.1) as (_, seen):
        for openings in (1, 2):
            await seen.wait_for(CircuitOpened, count=openings)
            await enqueue(conn, "select", {"easy": True}, priority=1)
            await seen.wait_for(CircuitClosed, count=openings)
        await until(conn, "SELECT status FROM ops.jobs WHERE id = $1", bad, expected="failed")
        good = await enqueue(conn, "select", {"easy": True})
        await seen.wait_for(JobFinished, lambda event: event.job_id == good)

    assert 1 == len(seen.of(WorkerPaused))
    assert "42P01" in await conn.fetchval("SELECT last_error FROM ops.jobs WHERE id = $1", bad)


async def test_the_culprit_may_be_the_probe(dsn: str, conn: asyncpg.Connection) -> None:
    """A circuit whose probe turns out to be the culprit does not stay open for ever."""
    bad = await enqueue(conn, "select", {})
    async with running(dsn, selecting(), backoff_scale=0.002, poll_seconds=0.1) as (_, seen):
        await seen.wait_for(CircuitOpened)
        await enqueue(conn, "select", {"easy": True}, priority=1)
        await seen.wait_for(CircuitClosed)
        # alone in the queue, it is its own probe
        await until(conn, "SELECT status FROM ops.jobs WHERE id = $1", bad, expected="failed")
        good = await enqueue(conn, "select", {"easy": True})
        await seen.wait_for(JobFinished, lambda event: event.job_id == good)

    assert "completed" == await conn.fetchval("SELECT status FROM ops.jobs WHERE id = $1", good)


def test_a_probe_that_was_given_back_is_no_probe() -> None:
    """A probing job that ends without having run leaves the circuit free to try another."""
    now = 0.0
    health = Health("any", Events(), 1.0, lambda: None, lambda: now)
    health.opened("select", 1, "the table is missing")
    now = 60.0
    assert "select" == health.probe(held=())
    health.probing("select", 2)

    assert None is health.probe(held={2})
    assert "select" == health.probe(held=())


async def test_what_a_probe_meets_is_heeded_before_the_next_claim(
    dsn: str, conn: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A probe whose statement is refused begins a pause, in which nothing else is asked for."""
    asked: list[list[str]] = []
    worker = selecting()
    async with supervisor(dsn, worker) as (boss, _):
        acks = Acks(boss.process.finishes)
        loop = WorkerLoop(boss.process, worker, 1, acks, asyncio.Event(), lambda: None)
        take = loop._claims.take

        async def noted(types: list[str], limit: int, **options: Any) -> Claimed | None:
            asked.append(types)
            return await take(types, limit, **options)

        monkeypatch.setattr(loop._claims, "take", noted)
        loop.health.opened("select", 1, "the table is missing")
        monkeypatch.setattr(loop.health, "_clock", lambda: time.monotonic() + 3600)
        await conn.execute("ALTER TABLE ops.jobs RENAME TO elsewhere")
        await loop._look(1)

        assert [["select"]] == asked
        assert loop.health.pause_left() > 0


async def test_a_missing_permission_counts_as_configuration(
    dsn: str, conn: asyncpg.Connection
) -> None:
    """SQLSTATE 42501 in a handler opens the circuit, it does not fail the job."""
    worker = Worker("forbidden")

    @worker.job("forbid")
    async def forbid(job: Job[Payload]) -> None:
        raise asyncpg.InsufficientPrivilegeError("permission denied for table secrets")

    job_id = await enqueue(conn, "forbid", {})
    async with running(dsn, worker) as (_, seen):
        await seen.wait_for(CircuitOpened)

    with anyio.fail_after(5):
        await until(conn, "SELECT status FROM ops.jobs WHERE id = $1", job_id, expected="pending")
    assert 0 == await conn.fetchval("SELECT attempts FROM ops.jobs WHERE id = $1", job_id)
