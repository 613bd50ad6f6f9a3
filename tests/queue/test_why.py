"""Why a job does not run: each cause, and never another answer than a claim gives."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from dragonfly.queue import heartbeats, keyed, pauses, store
from dragonfly.queue.fragments import ANY_CRASHES
from dragonfly.queue.heartbeats import Heartbeat, WorkerStatus
from dragonfly.queue.why import Cause, Standing, standing
from tests.queue.rows import LEASE, ME, MINE, put

HOUR = timedelta(hours=1)
PROCESS = "here:1:aa"
BUDGET = 3


async def beat(
    conn: asyncpg.Connection,
    *types: str,
    worker: str = "w.1",
    process: str = PROCESS,
    **more: Any,
) -> None:
    """A living worker that takes these types."""
    row = Heartbeat(
        f"{worker}@{process}", "w", WorkerStatus.RUNNING, "here", 1, "0", 0, None, 0, types
    )
    await heartbeats.beat(conn, replace(row, **more))


async def why(conn: asyncpg.Connection, job_id: int) -> Standing:
    found = await standing(conn, job_id, BUDGET)
    assert found is not None
    return found


async def test_there_is_no_such_job(conn: asyncpg.Connection) -> None:
    """Of an id that nobody has nothing is said."""
    assert None is await standing(conn, 1, BUDGET)


@pytest.mark.parametrize("state", ["completed", "failed", "cancelled"])
async def test_ended(conn: asyncpg.Connection, state: str) -> None:
    """A job that has ended says so, with its error."""
    found = await why(conn, await put(conn, state))

    assert (Cause.ENDED, state) == (found.cause, found.status)


async def test_running(conn: asyncpg.Connection) -> None:
    """A job that runs names its holder, and when the lock was renewed."""
    found = await why(conn, await put(conn, "ours"))

    assert (Cause.RUNNING, ME) == (found.cause, found.locked_by)
    assert 19 <= (found.held_for or 0) < 60


async def test_not_due(conn: asyncpg.Connection) -> None:
    """A job with a later run_at tells how long that is."""
    found = await why(conn, await put(conn, run_at=HOUR))

    assert Cause.NOT_DUE is found.cause
    assert 3500 < found.due_in <= 3600


async def test_paused(conn: asyncpg.Connection) -> None:
    """A paused type tells by whom and why."""
    await pauses.pause(conn, "greet", "ada", "court closed")

    found = await why(conn, await put(conn))

    assert (Cause.PAUSED, "ada", "court closed") == (
        found.cause,
        found.paused_by,
        found.pause_reason,
    )


async def test_no_worker(conn: asyncpg.Connection) -> None:
    """A type that no living worker takes tells when one last did."""
    job_id = await put(conn)
    never = await why(conn, job_id)
    await beat(conn, "greet")
    await conn.execute(
        "UPDATE ops.worker_heartbeats SET last_heartbeat_at = clock_timestamp() - interval '1 hour'"
    )
    late = await why(conn, job_id)

    assert (Cause.NO_WORKER, None) == (never.cause, never.last_seen)
    assert (Cause.NO_WORKER, 3600) == (late.cause, round(late.last_seen or 0, -2))


async def test_circuit_open(conn: asyncpg.Connection) -> None:
    """Only when no living worker of the type has its circuit closed does it wait for that."""
    job_id = await put(conn)
    await beat(conn, "greet", circuits={"greet": "relation x does not exist"})
    shut = await why(conn, job_id)
    await beat(conn, "greet", worker="w.2")

    assert (Cause.CIRCUIT_OPEN, "relation x does not exist") == (shut.cause, shut.circuit)
    assert Cause.NEXT is (await why(conn, job_id)).cause


async def test_key_busy(conn: asyncpg.Connection) -> None:
    """A busy key names the job that holds it, and how many come before."""
    await beat(conn, "greet", concurrency_per_key=2)
    running = await put(conn, "theirs", concurrency_key="k")
    first, second, third = [await put(conn, concurrency_key="k") for _ in range(3)]

    assert Cause.NEXT is (await why(conn, first)).cause
    found = await why(conn, third)
    assert (Cause.KEY_BUSY, running, 2, 2) == (
        found.cause,
        found.blocker,
        found.per_key,
        found.ahead,
    )
    assert Cause.KEY_BUSY is (await why(conn, second)).cause


async def test_suspects_wait(conn: asyncpg.Connection) -> None:
    """Of the jobs that were in flight at a crash a process runs one at a time."""
    await beat(conn, "greet")
    first, second = [await put(conn, "suspect") for _ in range(2)]
    waits = await why(conn, second)
    await conn.execute(
        "UPDATE ops.jobs SET status = 'processing', lock_token = 1, locked_by = $2,"
        " locked_at = clock_timestamp(), locked_until = clock_timestamp() WHERE id = $1",
        first,
        f"w.1@{PROCESS}",
    )
    blocked = await why(conn, second)

    assert (Cause.SUSPECT_WAITS, 1, None) == (waits.cause, waits.ahead, waits.blocker)
    assert (Cause.SUSPECT_WAITS, 0, first) == (blocked.cause, blocked.ahead, blocked.blocker)


async def test_last_chance(conn: asyncpg.Connection) -> None:
    """A job whose next crash fails it waits for a process that holds nothing, and names the job."""
    await beat(conn, "greet")
    held = await put(conn, "ours", locked_by=f"w.1@{PROCESS}")
    job_id = await put(conn, "suspect", crashes=BUDGET)
    beside = await put(conn, "suspect", crashes=BUDGET - 1)
    waits = await why(conn, job_id)
    found_beside = await why(conn, beside)
    await beat(conn, "greet", process="there:2:bb")

    assert (Cause.LAST_CHANCE, held, BUDGET) == (waits.cause, waits.blocker, waits.crashes)
    assert Cause.NEXT is found_beside.cause
    assert Cause.NEXT is (await why(conn, job_id)).cause


async def test_one_runs_alone(conn: asyncpg.Connection) -> None:
    """Beside a job that runs at its last chance nothing starts, and the others name it."""
    await beat(conn, "greet")
    alone = await put(conn, "ours", locked_by=f"w.1@{PROCESS}", crashes=BUDGET)
    others = [await put(conn), await put(conn, concurrency_key="k"), await put(conn, "suspect")]

    found = [await why(conn, job_id) for job_id in others]

    assert {(Cause.ONE_RUNS_ALONE, alone)} == {(each.cause, each.blocker) for each in found}


async def test_rank(conn: asyncpg.Connection) -> None:
    """A job that nothing keeps back tells how many due jobs of its workers come before it."""
    await beat(conn, "greet", "stamp")
    await put(conn, priority=3, run_at=HOUR)
    await put(conn, job_type="stamp", priority=1)
    await put(conn, run_at=-HOUR, concurrency_key="k")
    await put(conn, job_type="other", priority=1)
    mine = await put(conn)
    await put(conn)
    await put(conn, priority=-1, run_at=-HOUR)

    found = await why(conn, mine)

    assert (Cause.NEXT, 2, True) == (found.cause, found.ahead, found.ahead_exact)


@pytest.mark.parametrize("seed", range(16))
async def test_why_and_the_claim_agree(conn: asyncpg.Connection, seed: int) -> None:
    """In whatever state the queue is, exactly those jobs are claimed of which nothing is told."""
    rng = random.Random(seed)
    per_key = rng.choice([1, 2])
    types = ["a", "b", "c"]
    for _ in range(60):
        state = rng.choice(["pending"] * 6 + ["suspect", "ours", "completed"])
        await put(
            conn,
            state,
            job_type=rng.choice([*types, "nobody"]),
            priority=rng.choice([0, 0, 1, -1]),
            run_at=rng.choice([-3, -2, -1, -1, 2]) * HOUR,
            concurrency_key=rng.choice([None, None, "k1", "k2", "k3"]),
            **({"crashes": rng.randint(1, BUDGET)} if state == "suspect" else {}),
        )
    await conn.execute("UPDATE ops.jobs SET locked_by = 'w.1@else:2:bb' WHERE locked_by = $1", ME)
    if rng.random() < 0.5:
        await pauses.pause(conn, "c", "ada", "why")
    await beat(conn, *types, concurrency_per_key=per_key)
    crashes = ANY_CRASHES
    if rng.random() < 0.5:
        await put(conn, "ours", locked_by=f"w.1@{PROCESS}")
        crashes = (1, BUDGET - 1)  # what must run alone is not taken beside it
    ids = [row["id"] for row in await conn.fetch("SELECT id FROM ops.jobs ORDER BY id")]
    free = {job_id for job_id in ids if (await why(conn, job_id)).cause is Cause.NEXT}

    options = (ME, LEASE, MINE)
    taken = []
    suspect = (await store.claim_suspect(conn, types, *options, crashes=crashes)).job
    if suspect is None:
        suspect = await keyed.claim_keyed_suspect(conn, types, per_key, *options, crashes=crashes)
    await conn.execute(
        "UPDATE ops.jobs SET status = 'pending', lock_token = NULL, locked_until = NULL"
        " WHERE id = $1",
        suspect and suspect.id,
    )
    taken += (await keyed.claim_keyed(conn, types, 100, per_key, *options)).jobs
    taken += (await store.claim(conn, types, 100, *options)).jobs
    taken += (await keyed.claim_keyed(conn, types, 100, per_key, *options)).jobs

    assert free == {job.id for job in [*taken, *([suspect] if suspect else [])]}
    assert free
