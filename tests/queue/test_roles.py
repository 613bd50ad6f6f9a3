"""Who may do what: a database with Supabase's roles, migrated by an owner who is no superuser."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from dragonfly.postgres.embedded import embedded_server
from dragonfly.queue import store
from dragonfly.queue.migrate import migrate
from dragonfly.testing.databases import database_dsn
from tests.queue.rows import LEASE, ME, MINE, done

ROLES = """
CREATE ROLE anon NOLOGIN NOINHERIT;
CREATE ROLE authenticated NOLOGIN NOINHERIT;
CREATE ROLE service_role NOLOGIN NOINHERIT BYPASSRLS;
CREATE ROLE authenticator LOGIN NOINHERIT;
GRANT anon, authenticated, service_role TO authenticator;
CREATE ROLE builder LOGIN;
"""
# wider than Supabase's own, which name the schema public
GENEROUS = """
ALTER DEFAULT PRIVILEGES FOR ROLE builder
    GRANT ALL ON TABLES TO anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES FOR ROLE builder
    GRANT ALL ON SEQUENCES TO anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES FOR ROLE builder
    GRANT ALL ON FUNCTIONS TO anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES FOR ROLE builder
    GRANT ALL ON SCHEMAS TO anon, authenticated, service_role;
"""
DIRECT = [
    "SELECT * FROM ops.jobs",
    "INSERT INTO ops.jobs (job_type) VALUES ('greet')",
    "UPDATE ops.jobs SET priority = 1",
    "DELETE FROM ops.jobs",
    "TRUNCATE ops.jobs",
    "SELECT * FROM ops.worker_heartbeats",
    "DELETE FROM ops.worker_heartbeats",
    "SELECT * FROM ops.schedules",
    "UPDATE ops.schedules SET paused_at = NULL",
    "SELECT * FROM ops.migrations",
    "DELETE FROM ops.migrations",
    "SELECT nextval('ops.jobs_id_seq')",
]
ENQUEUE = "SELECT ops.enqueue_job('greet', '{}', unique_key => 'k')"


@pytest.fixture(scope="module")
def guarded() -> Iterator[str]:
    """A server of its own, as roles belong to a whole server, with two migrated databases."""
    with (
        tempfile.TemporaryDirectory(prefix="dragonfly-test-") as folder,
        embedded_server(Path(folder) / "pg") as dsn,
    ):
        asyncio.run(_prepare(dsn))
        yield dsn


async def _prepare(dsn: str) -> None:
    conn = await asyncpg.connect(dsn)
    await conn.execute(ROLES)
    for name in ("plain", "generous"):
        await conn.execute(f"CREATE DATABASE {name} OWNER builder")
        own = await asyncpg.connect(database_dsn(dsn, name))
        if name == "generous":
            await own.execute(GENEROUS)
        await own.execute("SET SESSION AUTHORIZATION builder")
        await migrate(own)
        await own.close()
    await conn.close()


@pytest.fixture(params=["plain", "generous"])
async def session(
    guarded: str, request: pytest.FixtureRequest
) -> AsyncIterator[asyncpg.Connection]:
    """A superuser's session, in a transaction that is undone."""
    conn = await asyncpg.connect(database_dsn(guarded, request.param))
    work = conn.transaction()
    await work.start()
    yield conn
    await work.rollback()
    await conn.close()


async def refused(conn: asyncpg.Connection, role: str, statement: str) -> bool:
    """Whether the role lacks the right to do this."""
    nested = conn.transaction()
    await nested.start()
    try:
        await conn.execute(f"SET LOCAL ROLE {role}")
        await conn.execute(statement)
    except asyncpg.InsufficientPrivilegeError:
        return True
    finally:
        await nested.rollback()
    return False


@pytest.mark.parametrize("role", ["anon", "authenticated", "authenticator"])
async def test_the_web_has_nothing(session: asyncpg.Connection, role: str) -> None:
    """Whoever comes without the service key can neither read, write nor call anything in ops."""
    statements = [*DIRECT, ENQUEUE]

    assert statements == [one for one in statements if await refused(session, role, one)]


async def test_no_function_is_open_to_everybody(session: asyncpg.Connection) -> None:
    """Were somebody given the schema by mistake, they could call only what they got."""
    open_to = (
        "SELECT f.oid::regprocedure::text FROM pg_proc f WHERE has_function_privilege($1, f.oid,"
        " 'execute') AND f.pronamespace = 'ops'::regnamespace ORDER BY 1"
    )
    callable_by = {
        role: [one[0].partition("(")[0] for one in await session.fetch(open_to, role)]
        for role in ("anon", "authenticated", "authenticator", "service_role")
    }

    assert {
        "anon": [], "authenticated": [], "authenticator": [], "service_role": ["ops.enqueue_job"]
    } == callable_by  # fmt: skip


async def test_the_service_may_only_enqueue(session: asyncpg.Connection) -> None:
    """The service key calls ops.enqueue_job, and touches no table, though it bypasses policies."""
    assert DIRECT == [one for one in DIRECT if await refused(session, "service_role", one)]
    await session.execute("SET LOCAL ROLE service_role")
    first, second = await session.fetchval(ENQUEUE), await session.fetchval(ENQUEUE)
    await session.execute("RESET ROLE")

    assert first == second == await session.fetchval("SELECT id FROM ops.jobs")


async def test_the_owner_works(session: asyncpg.Connection) -> None:
    """The owner of the tables enqueues, copies, claims and finishes, row-level security or not."""
    await session.execute("SET LOCAL SESSION AUTHORIZATION builder")
    await store.enqueue(session, "greet", {})
    await session.copy_records_to_table(
        "jobs", schema_name="ops", records=[("greet",)], columns=["job_type"]
    )
    jobs = (await store.claim(session, ["greet"], 10, ME, LEASE, MINE)).jobs

    assert 2 == len(await store.complete(session, [done(job.id) for job in jobs]))


async def test_row_level_security_is_on_and_not_forced(session: asyncpg.Connection) -> None:
    """Were somebody granted a table of ops by mistake, they would still see no row."""
    rows = await session.fetch(
        "SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity FROM pg_class c"
        " WHERE c.relnamespace = 'ops'::regnamespace AND c.relkind = 'r' ORDER BY 1"
    )

    assert [
        ("jobs", True, False), ("migrations", True, False), ("schedules", True, False),
        ("worker_heartbeats", True, False)
    ] == [tuple(one) for one in rows]  # fmt: skip
