"""What nobody may cut off while it is on its way, because its answer would be unknown."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import asyncpg
import pytest

from dragonfly.events import Events
from dragonfly.postgres.closing import ClosingConnection, brief_transaction
from dragonfly.postgres.database import open_database
from dragonfly.postgres.line import Line
from dragonfly.postgres.transactions import transaction
from dragonfly.queue.store import Claimed
from dragonfly.runtime.acks import Acks
from dragonfly.runtime.claims import Claims
from dragonfly.runtime.process import open_process
from dragonfly.worker import Worker
from tests.queue.rows import ME, done, put
from tests.runtime.test_acks import Bench
from tests.support import settings, until

# whoever changes a job, or commits a note, waits for the advisory lock 77
GATES = """
CREATE FUNCTION public.wait() RETURNS trigger LANGUAGE plpgsql AS $$
begin perform pg_advisory_xact_lock_shared(77); return new; end $$;
CREATE TABLE public.notes (text text);
CREATE CONSTRAINT TRIGGER gate AFTER INSERT ON public.notes DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION public.wait();
"""
GATE_OF_JOBS = """
CREATE TRIGGER gate BEFORE UPDATE ON ops.jobs FOR EACH ROW EXECUTE FUNCTION public.wait();
"""
WAITS = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 77 AND NOT granted"


@pytest.fixture
async def gated(conn: asyncpg.Connection) -> asyncpg.Connection:
    """A connection that holds the lock."""
    await conn.execute(GATES)
    await conn.execute("SELECT pg_advisory_lock(77)")
    return conn


async def cut_off(gate: asyncpg.Connection, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Cancel the work while its statement waits in the server; it must not end before that does."""
    ended = anyio.Event()

    async def run() -> None:
        try:
            await work()
        finally:
            ended.set()

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        await until(gate, WAITS, expected=1)
        group.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            with anyio.move_on_after(0.5):
                await ended.wait()
            was_cut_off = ended.is_set()
            await gate.execute("SELECT pg_advisory_unlock(77)")
    assert not was_cut_off


@pytest.mark.parametrize("kind", [transaction, brief_transaction])
async def test_a_commit_under_way_is_not_cut_off(
    dsn: str, gated: asyncpg.Connection, kind: Callable[..., AbstractAsyncContextManager[None]]
) -> None:
    """A cancellation that meets the COMMIT waits for its answer, and the connection is sound."""
    other = await asyncpg.connect(dsn, connection_class=ClosingConnection)

    async def write() -> None:
        async with kind(other):
            await other.execute("INSERT INTO public.notes VALUES ('kept')")

    await cut_off(gated, write)

    assert "kept" == await other.fetchval("SELECT text FROM public.notes")
    await other.close()


async def test_a_flush_under_way_is_not_cut_off(dsn: str, gated: asyncpg.Connection) -> None:
    """Finishes that travel when their writer is cancelled are written, and their holder told."""
    job_id = await put(gated, "ours")
    await gated.execute(GATE_OF_JOBS)
    database = await open_database(dsn, "the test database")
    line = Line(lambda: database.connect("finish"), 10)
    bench = Bench(Acks(line, 0.01))
    bench.acks.put(done(job_id), bench)

    await cut_off(gated, bench.acks.run)
    await line.aclose()

    assert [job_id] == list(bench.told)
    assert "completed" == await gated.fetchval("SELECT status FROM ops.jobs")


@asynccontextmanager
async def claims(dsn: str) -> AsyncIterator[Claims]:
    """The claims of a worker."""
    database = await open_database(dsn, "the test database")
    async with open_process(settings(), database, Events()) as process:
        yield Claims(process, Worker("greeter"), ME)


@pytest.mark.parametrize("within", [False, True])
async def test_a_claim_under_way_is_not_cut_off(
    dsn: str, gated: asyncpg.Connection, within: bool
) -> None:
    """A worker that is cancelled while it claims learns what it claimed, and can give it back."""
    job_id = await put(gated)
    await gated.execute(GATE_OF_JOBS)
    got: list[Claimed | None] = []
    async with claims(dsn) as ours:

        async def take() -> None:
            with anyio.CancelScope() as scope:
                given = scope if within else None
                got.append(await ours.take(["greet"], 1, head=True, scope=given))

        await cut_off(gated, take)

    assert [[job_id]] == [[claim.id for claim in claimed.jobs] for claimed in got if claimed]


async def test_each_claim_has_a_token_of_its_own(dsn: str, conn: asyncpg.Connection) -> None:
    """Whoever lost a job and claimed it again cannot finish it by the first claim's token."""
    for _ in range(3):
        await put(conn)
    async with claims(dsn) as ours:
        taken = [await ours.take(["greet"], 1, head=True) for _ in range(3)]

    assert 3 == len({claim.lock_token for claimed in taken if claimed for claim in claimed.jobs})
