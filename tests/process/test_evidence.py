"""What a process said of its own end before it died stands in the evidence; nothing else does."""

from __future__ import annotations

import json
import re
import signal
from typing import Any

import asyncpg
import pytest

from dragonfly import enqueue
from dragonfly.queue import store
from tests.process.launch import workers
from tests.support import until

STARTED = "SELECT count(*) FROM public.trace WHERE what = 'start'"
SAID = "SELECT reason ~ $1 FROM ops.worker_heartbeats"
# a heartbeat that comes by itself comes too late
SELDOM: dict[str, Any] = {
    "DRAGONFLY_GRACE_SECONDS": "300",
    "DRAGONFLY_HEARTBEAT_SECONDS": "60",
    "DRAGONFLY_LEASE_SECONDS": "240",
}
LAPSE = """
UPDATE ops.jobs SET locked_until = clock_timestamp() - interval '1 second'
 WHERE status = 'processing'
"""


async def evidence(conn: asyncpg.Connection) -> list[dict[str, Any]]:
    """What a rescue writes down about the jobs that are held by now, in the order of their ids."""
    await conn.execute(LAPSE)
    await store.rescue(conn, 3)
    rows = await conn.fetch(
        "SELECT errors -> -1 ->> 'detail' AS detail FROM ops.jobs WHERE crashes > 0 ORDER BY id"
    )
    return [json.loads(row["detail"]) for row in rows]


@pytest.mark.parametrize("second", [None, signal.SIGINT])
async def test_killed_while_it_stopped(
    traced: str, conn: asyncpg.Connection, second: signal.Signals | None
) -> None:
    """Asked to stop and killed before it had: the evidence names the signal that it was told."""
    await enqueue(conn, "thread", {})
    async with workers(traced, **SELDOM) as victim:
        await until(conn, STARTED, expected=1)
        victim.signal(signal.SIGTERM)
        await until(conn, SAID, "SIGTERM")
        if second is not None:
            victim.signal(second)
            await until(conn, SAID, "asked twice")
        victim.signal(signal.SIGKILL)
        await victim.ends()
        (detail,) = await evidence(conn)

    twice = ", asked twice" if second else ""
    assert re.fullmatch(rf"stopping for \d+ s \(SIGTERM{twice}\)", detail["last_reason"])
    assert "running" == detail["last_status"]


async def test_killed_without_a_word(traced: str, conn: asyncpg.Connection) -> None:
    """Of a process that was killed while all was well nobody knows why, and no reason is given."""
    await enqueue(conn, "thread", {})
    async with workers(traced) as victim:
        await until(conn, STARTED, expected=1)
        await until(conn, "SELECT running_jobs FROM ops.worker_heartbeats", expected=1)
        victim.signal(signal.SIGKILL)
        await victim.ends()
        (detail,) = await evidence(conn)

    assert "running" == detail["last_status"]
    assert "last_reason" not in detail
