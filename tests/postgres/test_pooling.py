"""What stands between us and PostgreSQL is found out by experiment, and the queue works with it."""

from __future__ import annotations

from collections.abc import Iterator

import asyncpg
import pytest

from dragonfly import Job, Worker, enqueue_many
from dragonfly.events import ListenerConnected, ListenerUnavailable
from dragonfly.postgres.database import Pooling, open_database
from tests.poolers import MODES, needs_pgbouncer, pgbouncer
from tests.support import drain


@pytest.fixture(params=MODES)
def pooled(request: pytest.FixtureRequest, direct: str) -> Iterator[tuple[str, str]]:
    """A pooling mode, and the address of this test's database through a PgBouncer in it."""
    with pgbouncer(direct, request.param) as pooler:
        yield request.param, pooler.through(direct)


@needs_pgbouncer
async def test_pooling_is_found_and_lived_with(
    pooled: tuple[str, str], conn: asyncpg.Connection
) -> None:
    """Through either kind of pooler every job runs once; without LISTEN that is reported."""
    mode, address = pooled
    worker = Worker("counter", concurrency=4)
    ran: list[int] = []

    @worker.job("count")
    async def count(job: Job[dict[str, int]]) -> None:
        async with job.transaction() as tx:
            await tx.fetchval("SELECT $1::int", job.payload["n"])
            job.complete()
        ran.append(job.payload["n"])

    await enqueue_many(conn, "count", [{"n": n} for n in range(200)])
    code, recorder = await drain(address, worker)

    assert code == 0
    assert list(range(200)) == sorted(ran)
    assert Pooling(mode) == (await open_database(address, "the address")).pooling
    kind = ListenerConnected if mode == "session" else ListenerUnavailable
    assert 1 == len(recorder.of(kind))


async def test_a_direct_address_has_sessions(direct: str) -> None:
    """Without a pooler sessions are our own."""
    assert Pooling.SESSION == (await open_database(direct, "the address")).pooling
