"""Nobody's search_path, temporary table, function or operator gets into what ours run."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from dragonfly.queue import insight, schedules, store
from dragonfly.queue.migrate import migrate
from dragonfly.testing.databases import database_dsn
from tests.queue.rows import LEASE, ME, MINE, again, done, held, put
from tests.security.test_roles import ENQUEUE, OURS

# what a function of ours might call without saying whose it means, each telling who ran it
TRAPS = """
CREATE SCHEMA evil;
GRANT ALL ON SCHEMA evil TO PUBLIC;
CREATE TABLE evil.ran_as (who text);
GRANT ALL ON evil.ran_as TO PUBLIC;
CREATE FUNCTION evil.now() RETURNS timestamptz LANGUAGE plpgsql AS $$
begin insert into evil.ran_as values (current_user); return 'epoch'; end $$;
CREATE FUNCTION evil.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS $$
begin insert into evil.ran_as values (current_user); return 'epoch'; end $$;
CREATE FUNCTION evil.pg_notify(text, text) RETURNS void LANGUAGE plpgsql AS $$
begin insert into evil.ran_as values (current_user); end $$;
CREATE FUNCTION evil.is(text, text) RETURNS boolean LANGUAGE plpgsql AS $$
begin insert into evil.ran_as values (current_user); return true; end $$;
CREATE FUNCTION evil.same(jsonb, jsonb) RETURNS boolean LANGUAGE plpgsql AS $$
begin insert into evil.ran_as values (current_user); return true; end $$;
CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.is);
CREATE OPERATOR evil.= (LEFTARG = jsonb, RIGHTARG = jsonb, FUNCTION = evil.same);
"""
SHADOWS = """
CREATE TEMP TABLE jobs (LIKE ops.jobs INCLUDING ALL);
CREATE TEMP TABLE inserted (job_type text);
INSERT INTO pg_temp.inserted VALUES ('shadow');
CREATE DOMAIN pg_temp.bigint AS pg_catalog.int4;
CREATE DOMAIN pg_temp.jsonb AS pg_catalog.text;
GRANT ALL ON pg_temp.jobs, pg_temp.inserted TO PUBLIC;
SET LOCAL search_path = pg_temp, evil, pg_catalog, ops, civil;
"""
# the same as ours, but for the fixed search_path
VICTIM = """
CREATE FUNCTION ops.victim() RETURNS timestamptz LANGUAGE plpgsql SECURITY DEFINER
    AS 'begin return now(); end';
GRANT EXECUTE ON FUNCTION ops.victim TO service_role;
"""


@pytest.fixture
async def trapped(session: asyncpg.Connection) -> asyncpg.Connection:
    """A session of the service key with everything prepared to catch what is not qualified."""
    await session.execute(TRAPS + SHADOWS)
    await session.execute("SET LOCAL ROLE builder")
    await session.execute(VICTIM)
    await session.execute("SET LOCAL ROLE service_role")
    return session


async def test_every_function_has_an_empty_search_path(session: asyncpg.Connection) -> None:
    """No function looks anywhere but where its names say, whatever rights it runs with."""
    open_ones = await session.fetch(
        f"SELECT f.oid::regproc::text AS name FROM pg_proc f WHERE f.{OURS.replace('rel', 'pro')}"
        " AND NOT coalesce(f.proconfig, '{}') @> ARRAY['search_path=\"\"']"
    )

    assert [] == [row["name"] for row in open_ones]


async def test_the_traps_catch_what_looks_around(trapped: asyncpg.Connection) -> None:
    """A function like ours without the fixed path falls for it, with its owner's rights."""
    await trapped.fetchval("SELECT ops.victim()")
    await trapped.execute("RESET ROLE")

    assert ["builder"] == [row["who"] for row in await trapped.fetch("TABLE evil.ran_as")]


async def test_enqueueing_does_not_look_around(trapped: asyncpg.Connection) -> None:
    """ops.enqueue_job and the trigger it fires use neither functions, operators, types nor
    temporary tables of the caller's."""
    await trapped.execute("SELECT ops.enqueue_job('other', '{\"n\": 1}')")
    first, second = await trapped.fetchval(ENQUEUE), await trapped.fetchval(ENQUEUE)
    await trapped.execute("RESET ROLE; SET LOCAL search_path = pg_catalog")

    assert first == second
    assert [] == await trapped.fetch("TABLE evil.ran_as")
    assert 0 == await trapped.fetchval("SELECT count(*) FROM pg_temp.jobs")
    assert [("greet", "{}"), ("other", '{"n": 1}')] == [
        tuple(row) for row in await trapped.fetch(
            "SELECT job_type, payload FROM ops.jobs WHERE run_at > now() - interval '1 hour'"
            " ORDER BY job_type"
        )
    ]  # fmt: skip


async def test_a_payment_stays_as_it_is(session: asyncpg.Connection) -> None:
    """Even the owner cannot change a payment by giving = another meaning."""
    await session.execute(TRAPS)
    await session.execute(
        "CREATE TABLE public.copy AS TABLE civil.judgment_payments;"
        "CREATE TRIGGER kept BEFORE UPDATE ON public.copy"
        " FOR EACH ROW EXECUTE FUNCTION civil.refuse_payment_change();"
        "INSERT INTO public.copy (payment_id, amount) VALUES (1, 10);"
        "SET LOCAL search_path = evil, pg_catalog"
    )

    with pytest.raises(asyncpg.RestrictViolationError):
        await session.execute("UPDATE public.copy SET amount = 1")


@pytest.fixture(params=["''", "evil, public"])
async def elsewhere(
    guarded: str, request: pytest.FixtureRequest
) -> AsyncIterator[asyncpg.Connection]:
    """An owner's session that looks nowhere, or first where somebody else has laid traps."""
    conn = await asyncpg.connect(database_dsn(guarded, "plain"))
    work = conn.transaction()
    await work.start()
    await conn.execute(TRAPS + "SET LOCAL SESSION AUTHORIZATION builder")
    await conn.execute(f"SET LOCAL search_path = {request.param}")
    yield conn
    await work.rollback()
    await conn.close()


async def test_the_queue_needs_no_search_path(elsewhere: asyncpg.Connection) -> None:
    """Every way of a job works in a session whose search_path names no schema of ours."""
    ids = [await put(elsewhere) for _ in range(4)]
    jobs = (await store.claim(elsewhere, ["greet"], 4, ME, LEASE, MINE)).jobs
    assert ids == [job.id for job in jobs]
    await store.renew(elsewhere, jobs, LEASE)
    await store.fence(elsewhere, held(ids[0]))
    await store.progress(elsewhere, held(ids[0]), 1, "a tenth")
    await store.checkpoint(elsewhere, held(ids[0]), "1")
    await store.complete(elsewhere, [done(ids[0])])
    await store.complete_batch(elsewhere, ids[1:2], MINE)
    await store.finish(elsewhere, [again(ids[2], delay=1.0)])
    await store.cancel(elsewhere, ids[3], "no reason")
    await store.retry(elsewhere, ids[3])
    await store.rescue(elsewhere, 3)
    await schedules.rows(elsewhere)
    await insight.waiting(elsewhere)
    await migrate(elsewhere)
    statuses = await elsewhere.fetch("SELECT status FROM ops.jobs ORDER BY id")

    assert ["completed", "completed", "pending", "pending"] == [row["status"] for row in statuses]
