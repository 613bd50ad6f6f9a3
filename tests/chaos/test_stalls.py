"""A handler blocks the event loop: its lock is kept up to a bound, and the log names the line."""

from __future__ import annotations

import inspect
import json
import signal

import asyncpg

from dragonfly import enqueue
from dragonfly.runtime.stalls import EXIT_HOPELESS, Standstill
from tests.chaos.bad_handlers import BAD, block
from tests.process.launch import workers
from tests.support import until

STARTED = "SELECT count(*) FROM public.trace WHERE what = 'start'"
STATUS = "SELECT status FROM ops.jobs WHERE id = $1"
_, _FIRST_LINE = inspect.getsourcelines(block)
SLEEPS = f"chaos/bad_handlers.py:{_FIRST_LINE + 2} in block"


async def test_a_blocked_loop_keeps_its_lock(traced: str, conn: asyncpg.Connection) -> None:
    """A handler that blocks for three leases runs once; log and heartbeat name its line."""
    async with workers(traced, BAD) as blocked, workers(traced, "neighbour") as rescuer:
        job_id = await enqueue(conn, "bad", {"do": "block", "seconds": 3.5})
        said = await blocked.says("the event loop has not turned")
        reason = await conn.fetchval(
            "SELECT reason FROM ops.worker_heartbeats WHERE worker_type = 'bad'"
        )
        await blocked.says("the event loop turns again")
        await until(conn, STATUS, job_id, expected="completed")
        await until(
            conn, "SELECT bool_and(status = 'running') FROM ops.worker_heartbeats", expected=True
        )

    who = f"job {job_id} (bad)"
    assert f"blocked by {who}: {SLEEPS} < " in said["message"]
    assert "error" == said["level"]
    assert reason.startswith(f"the event loop is blocked: {who} at chaos/bad_handlers.py:")
    assert reason.endswith(SLEEPS)
    assert 1 == await conn.fetchval(STARTED)
    assert (0, 1) == tuple(await conn.fetchrow("SELECT crashes, attempts FROM ops.jobs") or ())
    assert "rescued" not in rescuer.text
    assert 1 == blocked.text.count("has not turned")


async def test_a_hopeless_loop_is_ended(traced: str, conn: asyncpg.Connection) -> None:
    """Beyond the bound the process ends; the job that blocked is charged, its neighbour is not."""
    await conn.execute("SELECT pg_advisory_lock(42)")
    neighbour = await enqueue(conn, "bad", {"do": "wait"})
    async with (
        workers(traced, BAD, DRAGONFLY_STALL_SECONDS="1") as hopeless,
        workers(traced, "neighbour", DRAGONFLY_CRASH_BUDGET="0") as survivor,
    ):
        await until(conn, STARTED, expected=1)
        culprit = await enqueue(conn, "bad", {"do": "block", "seconds": 3600})
        code = await hopeless.ends()
        await until(conn, STATUS, neighbour, expected="pending")
        await survivor.says("failed for crashing too often")

    assert EXIT_HOPELESS == code
    (critical,) = [line for line in hopeless.lines if line["level"] == "critical"]
    assert f" by job {culprit} (bad) at " in critical["message"]
    assert f"calling {SLEEPS}; the process ends itself" in critical["message"]
    job = await conn.fetchrow("SELECT * FROM ops.jobs WHERE id = $1", culprit)
    assert job is not None
    accused, crashed = json.loads(job["errors"])
    assert ("failed", 1) == (job["status"], job["crashes"])
    assert accused["error"].startswith("blocked the event loop for ")
    assert accused["detail"].endswith(SLEEPS)
    assert ("crashed", True) == (crashed["error"], crashed["detail"]["charged"])
    assert "error" == crashed["detail"]["last_status"]
    assert crashed["detail"]["last_reason"].startswith("ended, because the event loop was blocked")
    innocent = await conn.fetchrow(
        "SELECT attempts, crashes FROM ops.jobs WHERE id = $1", neighbour
    )
    assert (0, 0) == tuple(innocent or ())
    row = await conn.fetchrow(
        "SELECT status, reason FROM ops.worker_heartbeats WHERE worker_type = 'bad'"
    )
    assert row is not None
    assert "error" == row["status"]
    assert row["reason"].startswith(f"ended, because the event loop was blocked: job {culprit}")


async def test_an_unknown_culprit_lets_all_be_charged(
    traced: str, conn: asyncpg.Connection
) -> None:
    """Blocked in a task that a handler started: the rescue charges what was held."""
    async with (
        workers(traced, BAD, DRAGONFLY_STALL_SECONDS="1") as hopeless,
        workers(traced, "neighbour", DRAGONFLY_CRASH_BUDGET="0") as survivor,
    ):
        await enqueue(conn, "bad", {"do": "block in a task", "seconds": 3600})
        code = await hopeless.ends()
        await survivor.says("failed for crashing too often")

    assert EXIT_HOPELESS == code
    assert "blocked by no handler's own task" in hopeless.text
    assert f"{SLEEPS} < chaos/bad_handlers.py:" in hopeless.text
    (evidence,) = json.loads(await conn.fetchval("SELECT errors FROM ops.jobs"))
    assert ("crashed", True) == (evidence["error"], evidence["detail"]["charged"])


async def test_a_frozen_process_is_not_hopeless(traced: str, conn: asyncpg.Connection) -> None:
    """A process that was stopped for longer than lease and bound goes on, and blames nobody."""
    await conn.execute("SELECT pg_advisory_lock(42)")
    await enqueue(conn, "bad", {"do": "wait"})
    async with (
        workers(traced, BAD, DRAGONFLY_STALL_SECONDS="1") as sleeper,
        workers(traced, "neighbour") as survivor,
    ):
        await until(conn, STARTED, expected=1)
        sleeper.signal(signal.SIGSTOP)
        await survivor.says("rescued 1 job")
        sleeper.signal(signal.SIGCONT)
        await sleeper.says("taken away or cancelled")
        await conn.execute("SELECT pg_advisory_unlock(42)")
        await until(conn, "SELECT status FROM ops.jobs", expected="completed")
        sleeper.signal()
        code = await sleeper.ends()

    assert 0 == code
    assert "has not turned" not in sleeper.text
    # the late holder's transaction was undone by the fence
    assert 1 == await conn.fetchval("SELECT count(*) FROM public.trace WHERE what = 'released'")


def test_only_steps_of_the_guard_count() -> None:
    """While the guard does not run either, no more than two of its steps count as a standstill."""
    standstill = Standstill(step=5.0, now=0.0)
    assert 0.0 == standstill.look(turns=1, now=5.0)
    assert 5.0 == standstill.look(turns=1, now=10.0)
    assert 15.0 == standstill.look(turns=1, now=3600.0)
    assert 20.0 == standstill.look(turns=1, now=3605.0)
    assert 0.0 == standstill.look(turns=2, now=3610.0)
