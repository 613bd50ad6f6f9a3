"""How long a statement may go without an answer."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import asyncpg
import pytest

from dragonfly.postgres.bounds import answering, unanswered
from tests.support import until

WAITS = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 5 AND NOT granted"


@pytest.fixture
async def other(dsn: str, conn: asyncpg.Connection) -> AsyncIterator[asyncpg.Connection]:
    """A second connection; whatever it asks for is locked."""
    await conn.execute("SELECT pg_advisory_lock(5)")
    other = await asyncpg.connect(dsn)
    yield other
    other.terminate()


async def wait(conn: asyncpg.Connection, seconds: float) -> None:
    """Ask for what somebody else has locked."""
    with answering(conn, seconds):
        await conn.execute("SELECT pg_advisory_lock(5)")


async def test_the_shorter_bound_holds_though_it_began_later(
    dsn: str, conn: asyncpg.Connection, other: asyncpg.Connection
) -> None:
    """Each statement has its own bound, however long others may wait beside it."""
    patient = await asyncpg.connect(dsn)
    async with anyio.create_task_group() as group:
        group.start_soon(wait, patient, 60.0)
        await until(conn, WAITS, expected=1)
        with pytest.raises(ConnectionResetError, match=r"did not answer in 0\.2 s"):
            await wait(other, 0.2)
        assert other.is_closed()
        assert [patient] == unanswered()
        await conn.execute("SELECT pg_advisory_unlock(5)")
    await patient.close()


async def test_bounds_follow_each_other(
    dsn: str, conn: asyncpg.Connection, other: asyncpg.Connection
) -> None:
    """Who asks while others wait is given up in its turn, after them."""
    ended = []

    async def run(name: str, conn: asyncpg.Connection, seconds: float) -> None:
        with pytest.raises(ConnectionResetError):
            await wait(conn, seconds)
        ended.append(name)

    third = await asyncpg.connect(dsn)
    async with anyio.create_task_group() as group:
        group.start_soon(run, "second", other, 0.3)
        await until(conn, WAITS, expected=1)
        group.start_soon(run, "first", third, 0.1)

    assert ["first", "second"] == ended
    assert [] == unanswered()


async def test_an_answer_in_time_is_no_matter(other: asyncpg.Connection) -> None:
    """A connection that answers in time goes on, and nothing is left waiting."""
    with answering(other, 60.0):
        assert 1 == await other.fetchval("SELECT 1")

    assert [] == unanswered()
    assert not other.is_closed()
