"""PostgreSQL restarts under working processes: every job takes effect exactly once."""

from __future__ import annotations

import asyncpg
import pytest

from dragonfly import enqueue, enqueue_many
from tests.process.launch import workers
from tests.process.scripted import make_trace
from tests.servers import own_server
from tests.support import until

EFFECTS = "SELECT count(*) FROM public.trace WHERE what = 'effect'"
JOBS = 400


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_every_job_takes_effect_once(mode: str) -> None:
    """Two restarts in the middle of many jobs lose none, double none and restart no worker."""
    async with own_server() as server:
        conn = await asyncpg.connect(server.dsn)
        await make_trace(conn)
        async with (
            workers(server.dsn, DRAGONFLY_LEASE_SECONDS="3") as first,
            workers(server.dsn, DRAGONFLY_LEASE_SECONDS="3") as second,
        ):
            for running in (first, second):
                await running.says("listening for new jobs")
            await enqueue_many(conn, "script", [{"do": "count"}] * JOBS)
            for share in (JOBS // 4, JOBS // 2):
                await until(conn, f"SELECT ({EFFECTS}) >= {share}")
                await conn.close()
                await server.stop(mode)
                await server.start()
                conn = await asyncpg.connect(server.dsn)
            await until(
                conn, "SELECT count(*) FROM ops.jobs WHERE status = 'completed'", expected=JOBS
            )
            for running in (first, second):
                await running.says("listening for new jobs again")
            # with the listener back, a new job does not wait for a poll
            await enqueue(conn, "script", {"do": "return"})
            await until(
                conn, "SELECT count(*) FROM ops.jobs WHERE status = 'completed'", expected=JOBS + 1
            )
            for running in (first, second):
                assert 1 == running.text.count("started as")
                running.signal()
                assert 0 == await running.ends()

        effects = await conn.fetch(
            "SELECT job_id FROM public.trace WHERE what = 'effect' ORDER BY 1"
        )
        await conn.close()
    assert JOBS == len(effects) == len({row["job_id"] for row in effects})
