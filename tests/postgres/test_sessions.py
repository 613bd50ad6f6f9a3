"""A connection in doubt proves itself before its next use, or is replaced."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import asyncpg
import pytest

from dragonfly.events import Events
from dragonfly.postgres.database import open_database
from dragonfly.runtime.inspector import Inspector
from dragonfly.runtime.process import Process, open_process
from dragonfly.settings import Settings
from tests.proxy import Proxy, proxy
from tests.support import until

PID = "SELECT pg_backend_pid()"
CLAIM, JOBS = "dragonfly claim", "dragonfly jobs"
# half of what a line waits for an answer
SOON_SECONDS = 5.0


@pytest.fixture
async def between(direct: str) -> AsyncIterator[Proxy]:
    """A proxy to this test's database."""
    async with proxy(direct) as open_proxy:
        yield open_proxy


@pytest.fixture
async def process(between: Proxy) -> AsyncIterator[Process]:
    """The connections of a process, without anybody who uses them."""
    database = await open_database(between.dsn, "the test database")
    async with open_process(Settings(pool_size=2), database, Events()) as opened:
        yield opened


async def claims_pid(process: Process) -> int:
    """The server's process behind the claims."""
    with anyio.fail_after(SOON_SECONDS):
        async with process.claims.use() as conn:
            pid: int = await conn.fetchval(PID)
    return pid


async def test_a_line_that_answers_is_kept(process: Process) -> None:
    """A doubt costs a connection that is well one trivial statement."""
    before = await claims_pid(process)
    process.sessions.suspect()

    assert before == await claims_pid(process)


async def test_a_silent_line_is_replaced_before_its_use(between: Proxy, process: Process) -> None:
    """Whoever uses it waits for the proof, and not for the bound of its statement."""
    before = await claims_pid(process)
    assert 1 == between.silence(CLAIM)
    process.sessions.suspect()

    assert before != await claims_pid(process)


async def test_what_lies_in_the_pool_proves_itself(between: Proxy, process: Process) -> None:
    """Silent connections leave the pool, and who borrows one gets another."""
    async with process.lender.lend() as one, process.lender.lend() as other:
        before = {await one.fetchval(PID), await other.fetchval(PID)}
    await process.lender.prove_idle()
    async with process.lender.lend() as one, process.lender.lend() as other:
        assert before == {await one.fetchval(PID), await other.fetchval(PID)}

    assert 2 == between.silence(JOBS)
    await process.lender.prove_idle()
    with anyio.fail_after(SOON_SECONDS):
        async with process.lender.lend() as one, process.lender.lend() as other:
            after = {await one.fetchval(PID), await other.fetchval(PID)}

    assert set() == before & after


async def test_a_doubt_lets_the_pool_prove_itself(between: Proxy, process: Process) -> None:
    """Nobody has to borrow a silent connection to find out."""
    async with process.lender.lend() as one, process.lender.lend() as other:
        await one.execute("SELECT")
        await other.execute("SELECT")
    idle = [session.conn for session in process.sessions.open]
    assert 2 == len(idle) == between.silence(JOBS)
    async with anyio.create_task_group() as group:
        group.start_soon(Inspector(process).run)
        process.sessions.doubt()
        with anyio.fail_after(20):
            while not all(conn.is_closed() for conn in idle):
                await anyio.sleep(0.02)
        group.cancel_scope.cancel()


async def test_what_was_closed_here_is_ended_there(
    between: Proxy, process: Process, conn: asyncpg.Connection
) -> None:
    """The server hears nothing of a close in a silent network: it is told by the witness."""
    async with process.lender.lend() as borrowed:
        await borrowed.execute("BEGIN; LOCK ops.jobs IN ACCESS EXCLUSIVE MODE")
        pid = await borrowed.fetchval(PID)
        assert 1 == between.silence(JOBS)
        borrowed.terminate()
    async with anyio.create_task_group() as group:
        group.start_soon(Inspector(process).run)
        process.sessions.doubt()
        await until(conn, "SELECT count(*) FROM pg_stat_activity WHERE pid = $1", pid, expected=0)
        group.cancel_scope.cancel()


async def test_an_answer_that_is_late_casts_doubt(between: Proxy, process: Process) -> None:
    """A line that misses its bound doubts the others."""
    await claims_pid(process)
    between.silence(CLAIM)
    process.claims.timeout = 0.2
    with pytest.raises(TimeoutError):
        async with process.claims.use() as conn:
            await conn.execute("SELECT")

    assert process.sessions.doubted.is_set()
