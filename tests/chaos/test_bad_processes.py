"""Handlers that harm the process they run in: who is charged, and that the process gets away."""

from __future__ import annotations

import json
import signal

import asyncpg
import pytest

from dragonfly import enqueue
from tests.chaos.bad_handlers import BAD
from tests.process.launch import workers
from tests.support import until

STATUS = "SELECT status FROM ops.jobs WHERE id = $1"


@pytest.mark.parametrize(
    ("harm", "code"), [("segfault", -signal.SIGSEGV), ("child exits", 5)], ids=["segfault", "exit"]
)
async def test_a_job_that_ends_its_process_is_charged(
    traced: str, conn: asyncpg.Connection, harm: str, code: int
) -> None:
    """A crash of the interpreter, or an exit that no handler can catch, counts for its job."""
    async with (
        workers(traced, BAD) as victim,
        workers(traced, "neighbour", DRAGONFLY_CRASH_BUDGET="0") as survivor,
    ):
        job_id = await enqueue(conn, "bad", {"do": harm})
        ended = await victim.ends()
        await survivor.says("failed for crashing too often")

    job = await conn.fetchrow("SELECT * FROM ops.jobs WHERE id = $1", job_id)
    assert job is not None
    assert code == ended
    assert ("failed", 1, 0) == (job["status"], job["crashes"], job["attempts"])
    (evidence,) = json.loads(job["errors"])
    assert evidence["detail"]["charged"]


async def test_a_job_without_memory_fails_alone(traced: str, conn: asyncpg.Connection) -> None:
    """A handler that meets the limit of its process's memory is a bug; the process goes on."""
    async with workers(traced, BAD) as running:
        job_id = await enqueue(conn, "bad", {"do": "fill memory"})
        await until(conn, STATUS, job_id, expected="failed")
        other = await enqueue(conn, "bad", {"do": "return"})
        await until(conn, STATUS, other, expected="completed")
        running.signal()
        code = await running.ends()

    job = await conn.fetchrow("SELECT * FROM ops.jobs WHERE id = $1", job_id)
    assert job is not None
    assert (0, 2, 0) == (code, job["attempts"], job["crashes"])
    assert job["last_error"].startswith("MemoryError")


async def test_a_task_left_behind_does_not_hold_the_exit(
    traced: str, conn: asyncpg.Connection
) -> None:
    """A task that outlived its job and that nobody can cancel keeps no process from ending."""
    async with workers(traced, BAD) as running:
        job_id = await enqueue(conn, "bad", {"do": "straggle"})
        await until(conn, STATUS, job_id, expected="completed")
        running.signal()
        code = await running.ends()

    assert 0 == code
    assert "stopped" == await conn.fetchval("SELECT status FROM ops.worker_heartbeats")
