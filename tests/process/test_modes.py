"""``--once`` and ``--drain``: what they run, what they wait for, how they end."""

from __future__ import annotations

import asyncpg
import pytest

from dragonfly import enqueue, enqueue_many
from tests.process.launch import Dragonfly, run_to_end, workers
from tests.support import until

STATUSES = "SELECT array_agg(status ORDER BY id) FROM ops.jobs"
BOTH = "tests.process.scripted:worker,tests.process.scripted:neighbour"


async def run(dsn: str, mode: str, names: str = BOTH, **env: str) -> Dragonfly:
    """``dragonfly run`` in this mode, to its end."""
    return await run_to_end(dsn, "run", "--workers", names, mode, env=env)


async def test_once_runs_one_job_of_each_worker(traced: str, conn: asyncpg.Connection) -> None:
    """Each worker claims one job at most; the rest stays, and the code is 0."""
    await enqueue_many(conn, "script", [{"do": "return"}] * 3)
    await enqueue_many(conn, "next", [{"do": "return"}] * 3)

    ended = await run(traced, "--once")

    assert 0 == ended.process.returncode
    done = await conn.fetch(
        "SELECT job_type, count(*) FROM ops.jobs WHERE status = 'completed' GROUP BY 1 ORDER BY 1"
    )
    assert [("next", 1), ("script", 1)] == [tuple(row) for row in done]
    assert 0 == await conn.fetchval("SELECT count(*) FROM ops.jobs WHERE status = 'processing'")


async def test_once_does_not_wait(traced: str, conn: asyncpg.Connection) -> None:
    """With nothing due it ends at once with 0."""
    ended = await run(traced, "--once", DRAGONFLY_POLL_SECONDS="300")

    assert 0 == ended.process.returncode


@pytest.mark.parametrize(
    ("what", "code", "status"),
    [
        ("return", 0, "completed"),
        ("snooze", 0, "pending"),
        ("raise", 1, "pending"),
        ("reject", 1, "failed"),
    ],
)
@pytest.mark.parametrize("mode", ["--once", "--drain"])
async def test_the_code_tells_of_failures(
    traced: str, conn: asyncpg.Connection, mode: str, what: str, code: int, status: str
) -> None:
    """1 if an attempt failed or will be retried after an error; a snooze is no failure."""
    # the second attempt of a bug would fail it: keep it out of the drain's sight
    attempts = 1 if (mode, what) == ("--drain", "raise") else 8
    await enqueue(conn, "script", {"do": what}, max_attempts=attempts)

    ended = await run(traced, mode)

    expected = "failed" if attempts == 1 else status
    assert (code, [expected]) == (ended.process.returncode, await conn.fetchval(STATUSES))


async def test_a_drain_follows_jobs_and_ignores_the_future(
    traced: str, conn: asyncpg.Connection
) -> None:
    """Follow-ups of another worker run too; jobs of the future and of nobody are left."""
    await enqueue_many(conn, "script", [{"do": "follow"}] * 5)
    await conn.execute(
        "INSERT INTO ops.jobs (job_type, run_at) VALUES ('script', now() + interval '1 hour')"
    )
    await enqueue(conn, "nobody takes this", {})

    ended = await run(traced, "--drain")

    left = await conn.fetch(
        "SELECT job_type, status, attempts FROM ops.jobs WHERE status <> 'completed' ORDER BY id"
    )
    assert 0 == ended.process.returncode
    assert [("script", "pending", 0), ("nobody takes this", "pending", 0)] == [
        tuple(row) for row in left
    ]
    assert 10 == await conn.fetchval("SELECT count(*) FROM ops.jobs WHERE status = 'completed'")


async def test_a_drain_waits_out_pauses(traced: str, conn: asyncpg.Connection) -> None:
    """Jobs behind a backoff pause are still drained; the code is 1 for the attempt that failed."""
    await enqueue(conn, "script", {"do": "raise once"}, priority=1)
    await enqueue_many(conn, "script", [{"do": "return"}] * 5)

    ended = await run(traced, "--drain", SCRIPTED_SLOTS="1", DRAGONFLY_BACKOFF_SCALE="0.3")

    done = await conn.fetchval("SELECT count(*) FROM ops.jobs WHERE status = 'completed'")
    assert (1, 6) == (ended.process.returncode, done)
    assert "failure 1 in a row, pausing" in ended.text


async def test_a_drain_is_not_held_by_an_open_circuit(
    traced: str, conn: asyncpg.Connection
) -> None:
    """A job whose table is missing is left pending, and the code is 1."""
    await enqueue(conn, "select", {})

    ended = await run(
        traced, "--drain", "tests.process.scripted:lonely", DRAGONFLY_BACKOFF_SCALE="1"
    )

    assert (1, ["pending"]) == (ended.process.returncode, await conn.fetchval(STATUSES))


async def test_a_crash_loop_ends_the_process_with_one(
    traced: str, conn: asyncpg.Connection
) -> None:
    """When the only worker has used up its restarts the process says so and exits with 1."""
    await enqueue_many(conn, "script", [{"do": "raise"}] * 40)
    async with workers(
        traced, SCRIPTED_SLOTS="1", DRAGONFLY_WORKER_RESTARTS="1", DRAGONFLY_BACKOFF_SCALE="0.001"
    ) as running:
        code = await running.ends(30)

    critical = [line["message"] for line in running.lines if line["level"] == "critical"]
    assert 1 == code
    assert ["Crash loop detected", "Crash loop detected", "scripted: stays in error"] == [
        message[: len(start)]
        for message, start in zip(
            critical,
            ["Crash loop detected", "Crash loop detected", "scripted: stays in error"],
            strict=True,
        )
    ]
    assert ["error", "error"] == await conn.fetchval(
        "SELECT array_agg(status) FROM ops.worker_heartbeats"
    )


async def test_types_of_nobody_are_left_alone(traced: str, conn: asyncpg.Connection) -> None:
    """A running process leaves jobs of unknown types pending and untouched."""
    await enqueue(conn, "unknown", {}, priority=9)
    async with workers(traced) as running:
        known = await enqueue(conn, "script", {"do": "return"})
        await until(conn, "SELECT status FROM ops.jobs WHERE id = $1", known, expected="completed")
        running.signal()
        await running.ends()

    unknown = await conn.fetchrow("SELECT * FROM ops.jobs WHERE job_type = 'unknown'")
    assert unknown is not None
    assert ("pending", 0, None) == (unknown["status"], unknown["attempts"], unknown["locked_by"])
