"""What becomes of a transaction that the commit before it began, until somebody takes it over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import anyio
import asyncpg
import pytest

from dragonfly.postgres import closing
from dragonfly.postgres import lending as lending_module
from dragonfly.postgres.closing import brief_transaction
from dragonfly.postgres.lending import Lender, behind
from tests.postgres.test_lending import backend, lending
from tests.proxy import proxy
from tests.support import until

pytestmark = pytest.mark.unpooled("transaction", reason="sessions have to be our own for it")

STATE = "SELECT state FROM pg_stat_activity WHERE pid = $1"


@pytest.fixture
async def complaints(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[Any]]:
    """What asyncpg reports to the loop; and what was begun ahead is fresh on any machine."""
    monkeypatch.setattr(closing, "FRESH_SECONDS", 600.0)
    heard: list[Any] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: heard.append(context))
    yield heard
    loop.set_exception_handler(None)


def committed(lent: asyncpg.Connection) -> brief_transaction:
    """A transaction whose commit begins the next one."""
    return brief_transaction(behind(lent), begins_next=lambda: True)


async def begin_ahead(lender: Lender) -> int:
    """Commit one transaction and begin the next; the pid of its session."""
    async with lender.lend_begun() as lent, committed(lent):
        return int(await lent.fetchval("SELECT pg_backend_pid()"))


async def test_the_next_transaction_takes_it_over(
    dsn: str, conn: asyncpg.Connection, complaints: list[Any]
) -> None:
    """A brief transaction of the same session goes on in what was begun."""
    async with lending(dsn) as lender:
        pid = await begin_ahead(lender)
        began = await conn.fetchval("SELECT xact_start FROM pg_stat_activity WHERE pid = $1", pid)
        async with lender.lend_begun() as lent, brief_transaction(behind(lent)):
            now = await lent.fetchval("SELECT now()")

    assert began == now


async def test_nobody_else_gets_it(
    dsn: str, conn: asyncpg.Connection, complaints: list[Any]
) -> None:
    """Who is lent a connection for anything else writes what is committed at once."""
    async with lending(dsn) as lender:
        pid = await begin_ahead(lender)
        async with lender.lend() as lent:
            await lent.execute("CREATE TABLE public.seen (n bigint)")
            seen = await conn.fetchval("SELECT to_regclass('public.seen')::text")
            assert pid == lent.get_server_pid()

    assert "seen" == seen.rpartition(".")[2]


async def test_what_nobody_wants_is_ended(
    dsn: str, conn: asyncpg.Connection, complaints: list[Any]
) -> None:
    """A session does not stay in a transaction for want of another job."""
    async with lending(dsn) as lender, anyio.create_task_group() as group:
        group.start_soon(lender.end_unused)
        pid = await begin_ahead(lender)
        await until(conn, STATE, pid, expected="idle")
        assert pid == await backend(lender)
        group.cancel_scope.cancel()


async def test_a_connection_that_is_given_back_is_in_none(
    dsn: str, conn: asyncpg.Connection, complaints: list[Any]
) -> None:
    """The pool gets its connections back without a transaction."""
    async with lending(dsn) as lender:
        pid = await begin_ahead(lender)
        await lender.give_back()

        assert ("idle", []) == (await conn.fetchval(STATE, pid), complaints)


async def test_who_waits_gets_a_connection_in_no_transaction(
    dsn: str, conn: asyncpg.Connection, complaints: list[Any]
) -> None:
    """What was begun for nobody is ended where somebody waited for the connection."""
    waiting, states = anyio.Event(), []

    async def borrow(lender: Lender) -> None:
        waiting.set()
        async with lender.lend() as lent:
            states.append(await conn.fetchval(STATE, lent.get_server_pid()))

    async with lending(dsn) as lender:
        with anyio.fail_after(20):
            async with (
                anyio.create_task_group() as group,
                lender.lend_begun() as lent,
                committed(lent),
            ):
                group.start_soon(borrow, lender)
                await waiting.wait()
                await anyio.wait_all_tasks_blocked()
                assert lender.is_wanted

    assert (["idle"], []) == (states, complaints)


async def test_a_loop_that_stalls_meanwhile_harms_nobody(
    dsn: str, complaints: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever gets a connection gets one that lives, even if the answer was read too late."""
    monkeypatch.setattr(lending_module, "PROOF_SECONDS", 0.2)
    answers = []

    async def use(lender: Lender) -> None:
        async with lender.lend() as lent:
            answers.append(await lent.fetchval("SELECT 1"))

    async def stall() -> None:
        time.sleep(0.5)

    async with lending(dsn) as lender:
        await begin_ahead(lender)
        async with anyio.create_task_group() as group:
            group.start_soon(use, lender)
            group.start_soon(stall)

    assert [1] == answers


async def test_silent_ones_do_not_wait_for_each_other(
    dsn: str, complaints: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """To be rid of four connections that give no answer takes as long as to be rid of one."""
    monkeypatch.setattr(lending_module, "PROOF_SECONDS", 1.0)

    async def one(lender: Lender, meet: anyio.Event, there: list[int]) -> None:
        async with lender.lend_begun() as lent, committed(lent):
            there.append(await lent.fetchval("SELECT 1"))
            if len(there) == 4:
                meet.set()
            await meet.wait()

    async with proxy(dsn) as between, lending(between.dsn, 4) as lender:
        meet, there = anyio.Event(), list[int]()
        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(one, lender, meet, there)
        between.silence("dragonfly jobs")
        with anyio.fail_after(3):
            await lender.give_back()


@pytest.mark.unpooled(reason="a pooler hides whose session it was")
async def test_one_that_died_in_it_is_replaced(
    dsn: str, conn: asyncpg.Connection, complaints: list[Any]
) -> None:
    """The next transaction does not meet a session that the server has ended, nor fails for it."""
    async with lending(dsn) as lender:
        pid = await begin_ahead(lender)
        (kept,) = lender._kept
        inner: asyncpg.Connection = kept._con  # type: ignore[attr-defined]
        await conn.fetchval("SELECT pg_terminate_backend($1)", pid)
        with anyio.fail_after(20):
            while not inner.is_closed():
                await anyio.lowlevel.checkpoint()
        async with lender.lend_begun() as lent, brief_transaction(behind(lent)):
            assert pid != await lent.fetchval("SELECT pg_backend_pid()")


async def test_at_the_end_none_is_left(
    dsn: str, conn: asyncpg.Connection, complaints: list[Any]
) -> None:
    """A process that ends leaves no transaction behind."""
    async with lending(dsn) as lender:
        pid = await begin_ahead(lender)
    await until(conn, "SELECT count(*) FROM pg_stat_activity WHERE pid = $1", pid, expected=0)
    assert [] == complaints
