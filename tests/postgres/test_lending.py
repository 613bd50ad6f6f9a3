"""What a handler's connection keeps between two loans, and what it does not."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import asyncpg
import pytest

from dragonfly.events import Events
from dragonfly.postgres.database import open_database
from dragonfly.postgres.lending import Lender
from dragonfly.runtime.process import open_process
from dragonfly.settings import Settings
from tests.support import until


@asynccontextmanager
async def lending(dsn: str, size: int = 1) -> AsyncIterator[Lender]:
    """The lender of a process that has this many connections."""
    database = await open_database(dsn, "the test database")
    async with open_process(Settings(pool_size=size), database, Events()) as process:
        yield process.lender


async def backend(lender: Lender) -> int:
    """The server process that a loan meets."""
    async with lender.lend() as conn:
        return int(await conn.fetchval("SELECT pg_backend_pid()"))


async def test_the_bound_on_idle_transactions_stays(dsn: str) -> None:
    """A frozen process loses its job's transaction after a minute, at every loan."""
    shown = []
    async with lending(dsn) as lender:
        for _ in range(2):
            async with lender.lend() as conn, conn.transaction():
                shown.append(await conn.fetchval("SHOW idle_in_transaction_session_timeout"))

    assert ["1min", "1min"] == shown


async def test_an_open_transaction_ends_with_the_loan(dsn: str) -> None:
    """What a handler began and did not end is rolled back before the next one gets it."""
    async with lending(dsn) as lender:
        async with lender.lend() as conn:
            await conn.execute("BEGIN; CREATE TABLE public.left_open (n bigint)")
        async with lender.lend() as conn:
            assert not conn.is_in_transaction()
            left = await conn.fetchval("SELECT to_regclass('public.left_open')")

    assert left is None


@pytest.mark.unpooled("transaction", reason="a pooler chooses the server process")
async def test_a_clean_connection_is_lent_again(dsn: str) -> None:
    """One loan after the other meets the same session, and a pool that is empty meanwhile."""
    async with lending(dsn) as lender:
        first, second = await backend(lender), await backend(lender)
        await lender.give_back()
        third = await backend(lender)

    assert first == second == third


async def test_after_its_loan_a_connection_answers_nothing(dsn: str) -> None:
    """A handler that kept its connection cannot write with it any more, and is told why."""
    async with lending(dsn) as lender:
        async with lender.lend() as conn:
            await conn.execute("SELECT")
        with pytest.raises(asyncpg.InterfaceError, match="given back when its block ended"):
            await conn.execute("SELECT")


@pytest.mark.unpooled("transaction", reason="it LISTENs")
async def test_a_listener_ends_with_the_loan(dsn: str) -> None:
    """What would stay with the session goes through the pool, which takes it off."""
    heard: list[object] = []
    async with lending(dsn) as lender:
        with pytest.warns(asyncpg.InterfaceWarning, match="active notification listener"):
            async with lender.lend() as conn:
                await conn.add_listener("left_behind", lambda *_: heard.append(1))
        async with lender.lend() as conn:
            await conn.execute("NOTIFY left_behind")
            await conn.execute("SELECT")

    assert [] == heard


async def test_a_prepared_statement_ends_with_the_loan(dsn: str) -> None:
    """A statement that a handler prepared and kept answers nothing after its loan."""
    async with lending(dsn) as lender:
        async with lender.lend() as conn:
            statement = await conn.prepare("SELECT 1")
        async with lender.lend() as conn:
            with pytest.raises(asyncpg.InterfaceError, match="released back to the pool"):
                await statement.fetchval()


async def test_who_waits_gets_the_next_connection(dsn: str) -> None:
    """With one connection for three borrowers each gets its turn."""
    turns: list[int] = []

    async def borrow(lender: Lender, number: int) -> None:
        async with lender.lend() as conn:
            await conn.execute("SELECT")
            turns.append(number)

    async with lending(dsn) as lender:
        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                for number in range(3):
                    group.start_soon(borrow, lender, number)

    assert [0, 1, 2] == sorted(turns)


@pytest.mark.unpooled(reason="a pooler hides whose session it was")
async def test_a_connection_that_died_between_loans_is_replaced(
    dsn: str, conn: asyncpg.Connection
) -> None:
    """The next borrower does not meet a session that the server has ended."""
    async with lending(dsn) as lender:
        first = await backend(lender)
        (kept,) = lender._kept
        await conn.fetchval("SELECT pg_terminate_backend($1)", first)
        with anyio.fail_after(20):
            while True:
                try:
                    if kept.is_closed():
                        break
                except asyncpg.InterfaceError:
                    break
                await anyio.lowlevel.checkpoint()
        second = await backend(lender)

    assert first != second


@pytest.mark.unpooled(reason="a pooler hides whose session it was")
async def test_a_lost_connection_is_no_bug_of_its_borrower(
    dsn: str, conn: asyncpg.Connection
) -> None:
    """What fails because its connection is gone says so, as a database that is away does."""
    async with lending(dsn) as lender:
        with pytest.raises(ConnectionResetError, match="lost while it was lent"):
            async with lender.lend() as lent:
                ending = asyncio.create_task(_end(conn, lent.get_server_pid()))
                with contextlib.suppress(asyncpg.PostgresError):
                    await lent.execute("SELECT pg_sleep(60)")
                await ending
                while not lent.is_closed():
                    await anyio.lowlevel.checkpoint()
                await lent.execute("SELECT")
        async with lender.lend() as lent:
            assert 1 == await lent.fetchval("SELECT 1")


async def _end(conn: asyncpg.Connection, pid: int) -> None:
    """End that session once it is busy."""
    await until(conn, "SELECT state = 'active' FROM pg_stat_activity WHERE pid = $1", pid)
    await conn.fetchval("SELECT pg_terminate_backend($1)", pid)
