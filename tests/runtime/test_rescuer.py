"""When a process may take what others no longer renew, and when it knows too little to do so."""

from __future__ import annotations

from datetime import timedelta

import asyncpg

from dragonfly.events import Events, JobsRescued
from dragonfly.postgres.database import open_database
from dragonfly.queue.heartbeats import Beat
from dragonfly.runtime.heartbeat import Rescuer
from dragonfly.runtime.process import open_process
from tests.queue.rows import put
from tests.support import settings


async def test_held_up_after_its_heartbeat_it_rescues_nothing(
    dsn: str, conn: asyncpg.Connection
) -> None:
    """Half a lease after the heartbeat others may have been held up with it; fresh ones count."""
    told: list[JobsRescued] = []
    lapsed, events = await put(conn, "lapsed"), Events()
    events.on(JobsRescued, told.append)
    now = await conn.fetchval("SELECT clock_timestamp()")
    database = await open_database(dsn, "the test database")
    async with open_process(settings(lease_seconds=60), database, events) as process:
        rescuer = Rescuer(process)
        for seconds in (90, 60, 30):
            await rescuer.renewed(conn, Beat(now - timedelta(seconds=seconds), lapsed=True))
        late = list(told)
        await rescuer.renewed(conn, Beat(now - timedelta(seconds=1), lapsed=True))

    assert [] == late
    assert [JobsRescued((lapsed,), ())] == told
