"""A connection kept for one purpose: bounded uses, one at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import nullcontext

import anyio
import asyncpg
import pytest

from dragonfly.postgres.line import Line
from tests.support import until

LOCK = "SELECT pg_advisory_lock(6)"
WAITS = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 6 AND NOT granted"


@pytest.fixture
async def line(dsn: str) -> AsyncIterator[Line]:
    """One whose uses may take a fifth of a second."""
    line = Line(lambda: asyncpg.connect(dsn), 0.2)
    yield line
    await line.aclose()


@pytest.mark.timeout(20)
@pytest.mark.parametrize("within", [False, True])
async def test_a_use_without_an_answer_ends(
    line: Line, conn: asyncpg.Connection, within: bool
) -> None:
    """It raises TimeoutError at its bound, and the next use has a new connection."""
    await conn.execute(LOCK)
    with anyio.CancelScope() if within else nullcontext() as scope:
        with pytest.raises(TimeoutError):
            async with line.use(shield=True, scope=scope) as first:
                await first.execute(LOCK)
        assert within == bool(scope and scope.cancel_called)

    async with line.use() as second:
        assert 1 == await second.fetchval("SELECT 1")
    assert first.is_closed()


async def test_a_scope_serves_many_uses(line: Line) -> None:
    """What bounds and shields a use is over with it, so that a cancellation reaches the caller."""
    with anyio.CancelScope() as scope:
        for number in range(2):
            async with line.use(shield=True, scope=scope) as conn:
                assert scope.shield
                assert number == await conn.fetchval("SELECT $1::integer", number)
            assert not scope.shield
        # the bounds of both pass, and nothing is left that they would cut off
        with anyio.move_on_after(2 * line.timeout) as pause:
            await anyio.sleep_forever()
        assert pause.cancelled_caught
    assert not scope.cancel_called


@pytest.mark.parametrize("within", [False, True])
async def test_a_use_that_is_cancelled_drops_the_connection(
    line: Line, conn: asyncpg.Connection, within: bool
) -> None:
    """Cut off unshielded, nobody knows what became of its statement: the next opens another."""
    await conn.execute(LOCK)
    line.timeout = 60.0
    async with anyio.create_task_group() as group:

        async def wait() -> None:
            with anyio.CancelScope() if within else nullcontext() as scope:
                async with line.use(scope=scope) as own:
                    await own.execute(LOCK)

        group.start_soon(wait)
        await until(conn, WAITS, expected=1)
        group.cancel_scope.cancel()

    async with line.use() as second:
        assert 1 == await second.fetchval("SELECT 1")


@pytest.mark.timeout(20)
@pytest.mark.parametrize("within", [False, True])
async def test_a_connection_that_does_not_open_is_given_up(dsn: str, within: bool) -> None:
    """The bound of a use holds for the opening, too; the next use tries again."""
    tries = 0

    async def connect() -> asyncpg.Connection:
        nonlocal tries
        tries += 1
        if tries == 1:
            await anyio.sleep_forever()
        return await asyncpg.connect(dsn)

    line = Line(connect, 0.2)
    with anyio.CancelScope() if within else nullcontext() as scope, pytest.raises(TimeoutError):
        async with line.use(shield=True, scope=scope):
            raise AssertionError("it has no connection")
    async with line.use() as conn:
        assert 1 == await conn.fetchval("SELECT 1")
    await line.aclose()
    assert 2 == tries
