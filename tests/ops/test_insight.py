"""Questions about the queue."""

from __future__ import annotations

import asyncpg
import pytest

from dragonfly.queue import insight
from dragonfly.queue.insight import TypeCount
from dragonfly.queue.store import enqueue
from tests.ops.rows import add_heartbeat, add_job


async def test_counts_by_type_and_status(conn: asyncpg.Connection) -> None:
    """Jobs are counted by type and status, in that order."""
    for job_type, status in (("b", "pending"), ("a", "failed"), ("a", "pending"), ("a", "pending")):
        await add_job(conn, job_type, status)

    expected = [
        TypeCount("a", "failed", 1),
        TypeCount("a", "pending", 2),
        TypeCount("b", "pending", 1),
    ]
    assert expected == await insight.counts(conn)


async def test_waiting_counts_from_when_a_job_was_due(conn: asyncpg.Connection) -> None:
    """Only due jobs wait, and the type that waits longest comes first."""
    await add_job(conn, "young", seconds=5)
    await add_job(conn, "old", seconds=100)
    await add_job(conn, "old", seconds=1)
    await add_job(conn, "later", seconds=-60)
    await add_job(conn, "taken", "processing", seconds=500)

    found = await insight.waiting(conn)

    assert [("old", 2), ("young", 1)] == [(each.job_type, each.count) for each in found]
    assert 100 <= found[0].seconds < 110


async def test_stuck_means_ten_minutes_without_renewal(conn: asyncpg.Connection) -> None:
    """A job in processing is stuck when its lock was not renewed for more than ten minutes."""
    stuck = await add_job(conn, "x", "processing", seconds=601)
    await add_job(conn, "x", "processing", seconds=590)
    await add_job(conn, "x", "completed", seconds=900)

    assert [stuck] == [each.id for each in await insight.stuck(conn)]


async def test_untaken_types_have_no_living_worker(conn: asyncpg.Connection) -> None:
    """A due type is untaken unless a worker that spoke lately, and has not ended, takes it."""
    for job_type in ("taken", "unknown", "silent", "stopped"):
        await add_job(conn, job_type, seconds=1)
    await add_heartbeat(conn, "w1", job_types=["taken", "other"])
    await add_heartbeat(conn, "w2", job_types=["silent"], seconds=91.0)
    await add_heartbeat(conn, "w3", "stopped", job_types=["stopped"])

    assert ["silent", "stopped", "unknown"] == [
        each.job_type for each in await insight.untaken(conn)
    ]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("FILE_TYPE: The file is a PDF document.", "FILE_TYPE"),
        ("ValueError: '***'", "ValueError"),
        ("crashed: x@y stopped renewing", "crashed"),
        (None, "UNKNOWN"),
    ],
)
async def test_dead_letters_show_the_code(
    conn: asyncpg.Connection, error: str | None, code: str
) -> None:
    """A dead letter is grouped by the code at the beginning of its error."""
    first = await add_job(conn, "x", "failed", error=error)
    await add_job(conn, "x", "failed", error=error)

    (found,) = await insight.dead_letters(conn)

    assert ("x", code, 2, first) == (found.job_type, found.code, found.count, found.first_id)


async def test_dead_letters_are_of_the_last_day(conn: asyncpg.Connection) -> None:
    """What failed earlier is not counted."""
    await add_job(conn, "x", "failed", seconds=86_500)

    assert [] == await insight.dead_letters(conn)


async def test_workers_by_their_last_word(conn: asyncpg.Connection) -> None:
    """Heartbeats come newest first; silence and goodbyes are not life."""
    await add_heartbeat(conn, "silent", seconds=100.0)
    await add_heartbeat(conn, "gone", "stopped", seconds=50.0)
    await add_heartbeat(conn, "well", seconds=1.0)

    found = await insight.workers(conn)

    assert [("well", True), ("gone", False), ("silent", False)] == [
        (each.worker_type, each.alive) for each in found
    ]
    assert 100 <= found[2].age < 110


async def test_one_job_is_decoded(conn: asyncpg.Connection) -> None:
    """A job's jsonb columns are values, not text; an unknown id is None."""
    job_id = await enqueue(conn, "x", {"a": [1]}, unique_key="k", priority=3)

    found = await insight.job(conn, job_id)

    assert found is not None
    assert ({"a": [1]}, "k", 3, None) == (
        found.payload,
        found.unique_key,
        found.priority,
        found.result,
    )
    assert await insight.job(conn, job_id + 1) is None


async def test_lists_filter_and_end(conn: asyncpg.Connection) -> None:
    """A list is the newest first, of one status and type, and no longer than asked for."""
    ids = [await add_job(conn, "x", "failed") for _ in range(3)]
    await add_job(conn, "y", "failed")
    await add_job(conn, "x")

    found = await insight.jobs(conn, status="failed", job_type="x", limit=2)

    assert [ids[2], ids[1]] == [each.id for each in found]
