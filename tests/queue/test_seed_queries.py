"""The three queries that the operations page tells people to paste, word for word."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import asyncpg
import pytest

from dragonfly.queue import heartbeats, store
from dragonfly.queue.heartbeats import Heartbeat, WorkerStatus
from tests.queue.rows import LEASE, another, held, put

HEARTBEATS = """
SELECT worker_id, worker_type, status, last_heartbeat_at
FROM ops.worker_heartbeats
WHERE last_heartbeat_at > now() - interval '5 minutes'
ORDER BY last_heartbeat_at DESC;
"""
PENDING = """
SELECT * FROM ops.jobs
WHERE status = 'pending'
ORDER BY created_at DESC
LIMIT 10;
"""
STUCK = """
SELECT * FROM ops.jobs
WHERE status = 'processing'
AND locked_at < now() - interval '10 minutes';
"""


def heartbeat(worker_id: str, status: WorkerStatus = WorkerStatus.RUNNING) -> Heartbeat:
    return Heartbeat(worker_id, "greeter", status, "host", 7, "0.1.0", 0, None, 0, ("greet",))


async def aged(conn: asyncpg.Connection, worker_id: str, age: timedelta) -> None:
    await conn.execute(
        "UPDATE ops.worker_heartbeats SET last_heartbeat_at = now() - $2::interval"
        " WHERE worker_id = $1",
        worker_id,
        age,
    )


async def test_recent_heartbeats(conn: asyncpg.Connection) -> None:
    """Workers heard of within five minutes, the latest first; silent ones are missing."""
    for worker_id, age in (("early", 120), ("silent", 301), ("late", 10)):
        await heartbeats.beat(conn, heartbeat(worker_id))
        await aged(conn, worker_id, timedelta(seconds=age))

    rows = await conn.fetch(HEARTBEATS)

    assert [("late", "greeter", "running"), ("early", "greeter", "running")] == [
        tuple(one)[:3] for one in rows
    ]


@pytest.mark.parametrize("status", WorkerStatus)
async def test_each_status_of_the_page(conn: asyncpg.Connection, status: WorkerStatus) -> None:
    """Every value of the page's table can be written, and is what the query shows."""
    await heartbeats.beat(conn, heartbeat("one", status))

    assert [status.value] == [one["status"] for one in await conn.fetch(HEARTBEATS)]


async def test_no_other_status(conn: asyncpg.Connection) -> None:
    """A value that the page does not list is refused."""
    await heartbeats.beat(conn, heartbeat("one"))

    with pytest.raises(asyncpg.CheckViolationError):
        await conn.execute("UPDATE ops.worker_heartbeats SET status = 'idle'")


async def test_pending_jobs(conn: asyncpg.Connection) -> None:
    """The ten newest jobs that wait, retries and later ones included, and no others."""
    for state in ("ours", "completed", "failed", "cancelled"):
        await put(conn, state)
    ids = [await put(conn, created_at=timedelta(minutes=-n)) for n in range(10)]
    await put(conn, created_at=timedelta(minutes=-30))
    later = await put(conn, run_at=timedelta(hours=1), created_at=timedelta(minutes=1))

    assert [later, *ids[:9]] == [one["id"] for one in await conn.fetch(PENDING)]


async def test_stuck_locks(conn: asyncpg.Connection) -> None:
    """Only a job whose holder has not renewed for ten minutes; one held for hours is not stuck."""
    old = timedelta(minutes=-11)
    stuck = await put(conn, "theirs", locked_at=old)
    renewed = await put(conn, "ours", locked_at=timedelta(hours=-5))
    await put(conn, "completed", locked_at=old)
    await put(conn, "pending", locked_at=old)

    await store.renew(conn, [held(renewed)], LEASE)

    assert [stuck] == [one["id"] for one in await conn.fetch(STUCK)]


async def test_a_beat_moves_one_row(conn: asyncpg.Connection) -> None:
    """A start has one row: a later beat changes what can change and keeps when it started."""
    await heartbeats.beat(conn, heartbeat("one", WorkerStatus.STARTING))
    await conn.execute("UPDATE ops.worker_heartbeats SET started_at = now() - interval '1 hour'")
    await aged(conn, "one", timedelta(minutes=3))
    later = dataclasses.replace(
        heartbeat("one", WorkerStatus.ERROR),
        consecutive_failures=10,
        reason="Crash loop.",
        running_jobs=3,
    )

    at = (await heartbeats.beat(conn, later)).at

    found = await conn.fetchrow(
        "SELECT status, consecutive_failures, reason, running_jobs, last_heartbeat_at = $1,"
        " started_at < now() - interval '59 minutes' FROM ops.worker_heartbeats",
        at,
    )
    assert ("error", 10, "Crash loop.", 3, True, True) == tuple(found or ())


async def test_a_locked_row_does_not_hold_up_the_prune(dsn: str, conn: asyncpg.Connection) -> None:
    """Two processes that forget old starts at the same time do not wait for each other."""
    for worker_id in ("one", "two"):
        await heartbeats.beat(conn, heartbeat(worker_id))
        await aged(conn, worker_id, timedelta(hours=25))

    async with another(dsn) as rival, another(dsn) as pruner, rival.transaction():
        await rival.execute("DELETE FROM ops.worker_heartbeats WHERE worker_id = 'one'")
        await heartbeats.prune(pruner)

    assert 0 == await conn.fetchval("SELECT count(*) FROM ops.worker_heartbeats")


async def test_old_starts_are_forgotten(conn: asyncpg.Connection) -> None:
    """A start that has said nothing for 24 hours goes, whatever it said last; others stay."""
    for worker_id, hours in (("old", 25), ("stopped", 23), ("new", 0)):
        await heartbeats.beat(conn, heartbeat(worker_id))
        await aged(conn, worker_id, timedelta(hours=hours))

    await heartbeats.prune(conn)

    kept = await conn.fetch("SELECT worker_id FROM ops.worker_heartbeats ORDER BY 1")
    assert ["new", "stopped"] == [one["worker_id"] for one in kept]
