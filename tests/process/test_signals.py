"""Signals to real processes with jobs in flight: what is finished, given back, or left."""

from __future__ import annotations

import signal
import time

import asyncpg
import pytest

from dragonfly import enqueue, enqueue_many
from tests.process.launch import workers
from tests.process.scripted import make_trace
from tests.process.test_evidence import evidence
from tests.servers import own_server
from tests.support import until

STARTED = "SELECT count(*) FROM public.trace WHERE what = 'start'"
JOB = """
SELECT status, attempts, crashes, lock_token IS NULL, run_at <= clock_timestamp() FROM ops.jobs
"""
HEARTBEAT = "SELECT status, running_jobs FROM ops.worker_heartbeats"
FRESH = ("pending", 0, 0, True, True)


async def one(conn: asyncpg.Connection, sql: str) -> tuple[object, ...]:
    """The only row."""
    (row,) = await conn.fetch(sql)
    return tuple(row)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_running_job_may_finish(
    traced: str, conn: asyncpg.Connection, number: signal.Signals
) -> None:
    """After the first signal a running job finishes, nothing new is claimed, and the code is 0."""
    await conn.execute("SELECT pg_advisory_lock(42)")
    early = await enqueue(conn, "script", {"do": "wait"})
    async with workers(traced, SCRIPTED_SLOTS="1") as running:
        await until(conn, STARTED, expected=1)
        running.signal(number)
        stopping = await running.says("stopping")
        late = await enqueue(conn, "script", {"do": "return"})
        # the heartbeat outlives the last job
        await until(conn, "SELECT count(*) FROM ops.worker_heartbeats", expected=1)
        before = await conn.fetchval("SELECT last_heartbeat_at FROM ops.worker_heartbeats")
        await until(
            conn, "SELECT last_heartbeat_at > $1 FROM ops.worker_heartbeats", before, expected=True
        )
        await conn.execute("SELECT pg_advisory_unlock(42)")
        code = await running.ends()

    assert 0 == code
    assert f"{number.name}: stopping; 1 running job" in stopping["message"]
    statuses = {row["id"]: row["status"] for row in await conn.fetch("SELECT * FROM ops.jobs")}
    assert {early: "completed", late: "pending"} == statuses
    assert ("stopped", 0) == await one(conn, HEARTBEAT)


async def test_a_job_longer_than_the_grace_is_given_back(
    traced: str, conn: asyncpg.Connection
) -> None:
    """It is cancelled and pending again at once, its attempt refunded, the code is 0."""
    await enqueue(conn, "script", {"do": "sleep"})
    async with workers(traced, DRAGONFLY_GRACE_SECONDS="0.3") as running:
        await until(conn, STARTED, expected=1)
        running.signal()
        code = await running.ends(8)

    assert 0 == code
    assert FRESH == await one(conn, JOB)
    assert ("stopped", 0) == await one(conn, HEARTBEAT)


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_cancels_at_once(
    traced: str, conn: asyncpg.Connection, second: signal.Signals
) -> None:
    """Nobody waits for a long grace after the second signal."""
    for _ in range(3):
        await enqueue(conn, "script", {"do": "sleep"})
    async with workers(traced, DRAGONFLY_GRACE_SECONDS="300") as running:
        await until(conn, STARTED, expected=3)
        running.signal()
        await running.says("stopping")
        running.signal(second)
        code = await running.ends(8)

    assert 0 == code
    assert [FRESH] * 3 == [tuple(row) for row in await conn.fetch(JOB)]


async def test_a_job_that_cannot_be_stopped_keeps_its_lock(
    traced: str, conn: asyncpg.Connection
) -> None:
    """A swallowed cancellation or a blocked thread holds up the exit for a bound, no longer."""
    await enqueue(conn, "script", {"do": "swallow"})
    await enqueue(conn, "thread", {})
    await enqueue(conn, "script", {"do": "sleep"})
    async with workers(
        traced, DRAGONFLY_GRACE_SECONDS="0.2", DRAGONFLY_LEASE_SECONDS="30"
    ) as running:
        await until(conn, STARTED, expected=3)
        began = time.monotonic()
        running.signal()
        code = await running.ends(12)
        took = time.monotonic() - began

    kept = ("processing", 1, 0, False, True)
    assert 0 == code
    assert 5 <= took < 9
    assert [kept, kept, FRESH] == [tuple(row) for row in await conn.fetch(JOB + " ORDER BY id")]
    assert 2 == running.text.count("does not stop")
    assert "stopped" == (await one(conn, HEARTBEAT))[0]
    for detail in await evidence(conn):
        assert "stopped" == detail["last_status"]
        assert detail["last_reason"].startswith("stopping for ")
        assert "(SIGTERM); left by 2 handlers that did not end" in detail["last_reason"]


@pytest.mark.parametrize("name", ["opening", "closing"])
async def test_resources_do_not_hold_up_the_exit(traced: str, name: str) -> None:
    """A lifespan that never opens, or never closes, is left behind within a bound."""
    async with workers(traced, name) as running:
        await running.says("listening for new jobs")
        running.signal()
        code = await running.ends(9)

    assert 0 == code


async def test_a_crash_loop_with_a_job_that_cannot_be_stopped(
    traced: str, conn: asyncpg.Connection
) -> None:
    """The only worker fell, and a blocked thread would keep it: the process exits with 1."""
    await enqueue(conn, "thread", {}, priority=1)
    await enqueue_many(conn, "script", [{"do": "raise"}] * 12)
    async with workers(
        traced, SCRIPTED_SLOTS="2", DRAGONFLY_GRACE_SECONDS="0.2", DRAGONFLY_BACKOFF_SCALE="0.001"
    ) as running:
        await running.says("Crash loop detected")
        code = await running.ends(12)

    assert 1 == code
    assert "error" == (await one(conn, HEARTBEAT))[0]


async def test_a_thread_that_ends_in_time_is_completed(
    traced: str, conn: asyncpg.Connection
) -> None:
    """A blocking handler that ends after its cancellation still completes its job."""
    await enqueue(conn, "thread", {"seconds": 1.5})
    async with workers(traced, DRAGONFLY_GRACE_SECONDS="0.2") as running:
        await until(conn, STARTED, expected=1)
        running.signal()
        code = await running.ends(8)

    assert 0 == code
    assert "completed" == (await one(conn, JOB))[0]


async def test_an_idle_process_stops_quickly(traced: str, conn: asyncpg.Connection) -> None:
    """With nothing in flight a stop takes well under two seconds, whatever the grace and poll."""
    async with workers(
        traced, DRAGONFLY_GRACE_SECONDS="300", DRAGONFLY_POLL_SECONDS="300"
    ) as running:
        await until(conn, "SELECT status FROM ops.worker_heartbeats", expected="running")
        began = time.monotonic()
        running.signal()
        code = await running.ends(5)

    assert 0 == code
    assert time.monotonic() - began < 2
    assert ("stopped", 0) == await one(conn, HEARTBEAT)


@pytest.mark.parametrize("how", ["stopped", "frozen"])
async def test_a_stop_while_the_database_is_gone(how: str) -> None:
    """Without a database the process still ends with 0, within a bound."""
    async with own_server() as server:
        conn = await asyncpg.connect(server.dsn)
        await make_trace(conn)
        await enqueue(conn, "script", {"do": "sleep"})
        async with workers(
            server.dsn, DRAGONFLY_GRACE_SECONDS="0.5", DRAGONFLY_LEASE_SECONDS="4"
        ) as running:
            await until(conn, STARTED, expected=1)
            if how == "stopped":
                await conn.close()
                await server.stop()
                await running.says("the database is away")
                running.signal()
                code = await running.ends(15)
            else:
                with server.frozen():
                    running.signal()
                    code = await running.ends(25)
                await conn.close()

        assert 0 == code
        assert "Traceback" not in running.text
