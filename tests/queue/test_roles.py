"""Who may do what: a database with Supabase's roles, migrated by an owner who is no superuser."""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

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
PARAMETERS = """
SELECT name, format_type(type, NULL) AS type
  FROM pg_proc, unnest(proargnames, proargtypes::oid[]) AS parameter (name, type)
 WHERE proname = 'enqueue_job'
"""
CALL = """
WITH pgrst_source AS (
    SELECT pgrst_call.pgrst_scalar
      FROM (SELECT $1::json AS json_data) pgrst_payload,
           LATERAL (SELECT {columns} FROM json_to_record(pgrst_payload.json_data) AS _({typed})
                   ) pgrst_body,
           LATERAL (SELECT "ops"."enqueue_job"({named}) pgrst_scalar) pgrst_call
)
SELECT coalesce(json_agg(_postgrest_t.pgrst_scalar)->0, 'null') AS body
  FROM (SELECT "enqueue_job".* FROM pgrst_source AS "enqueue_job") _postgrest_t
"""
DOCUMENT = (Path(__file__).parents[2] / "docs" / "enqueueing.md").read_text(encoding="utf-8")
_CURL = re.compile(r"-d '(\{.+\})'")


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


async def over_http(conn: asyncpg.Connection, role: str, body: dict[str, Any]) -> Any:
    """The answer to ``POST /rpc/enqueue_job``, by the statements that PostgREST 13 and 14 send.

    It logs in as authenticator, and knows the function's parameters from the catalogue.
    """
    types = {row["name"]: row["type"] for row in await conn.fetch(PARAMETERS)}
    claims = json.dumps({"role": role, "iss": "supabase"})
    async with conn.transaction():
        await conn.execute("SET LOCAL SESSION AUTHORIZATION authenticator")
        await conn.execute(
            "SELECT set_config('search_path', '\"ops\", \"public\"', true),"
            " set_config('role', $1, true), set_config('request.jwt.claims', $2, true),"
            " set_config('request.method', 'POST', true)",
            role,
            claims,
        )
        call = CALL.format(
            columns=", ".join(f'"{name}"' for name in body),
            typed=", ".join(f'"{name}" {types[name]}' for name in body),
            named=", ".join(f'"{name}" := pgrst_body."{name}"' for name in body),
        )
        answer = await conn.fetchval(call, json.dumps(body))
        await conn.execute("RESET SESSION AUTHORIZATION")
    return json.loads(answer)


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


async def test_an_enqueue_over_http(session: asyncpg.Connection) -> None:
    """What PostgREST makes of a call's JSON enqueues for the service key, whatever it names."""
    full = {
        "job_type": "greet", "payload": {"name": "Ada"}, "run_at": "2031-05-06T07:08:09Z",
        "priority": 5, "unique_key": "k", "concurrency_key": "c", "max_attempts": 3,
        "due_at": "2031-05-06T07:08:09Z", "on_conflict": "replace",
        "correlation_id": "6f1c0c36-9d5b-4f0e-8f67-3f0a3c2d9b11", "parent_id": 41,
    }  # fmt: skip
    short = {"job_type": "greet", "unique_key": "k"}
    (documented,) = _CURL.findall(DOCUMENT)

    answers = [
        await over_http(session, "service_role", body)
        for body in (full, short, json.loads(documented))
    ]

    first, second, third = answers
    names = [name for name in full if name != "on_conflict"]
    stored = await session.fetchval(
        f"SELECT to_jsonb(j) FROM (SELECT {', '.join(names)} FROM ops.jobs WHERE id = $1) AS j",
        first,
    )
    expected = {name: full[name] for name in names}
    times = dict.fromkeys(("run_at", "due_at"), "2031-05-06T07:08:09+00:00")
    assert expected | times == json.loads(stored)
    assert first == second
    assert first != third


@pytest.mark.parametrize("role", ["anon", "authenticated"])
async def test_nobody_else_enqueues_over_http(session: asyncpg.Connection, role: str) -> None:
    """The same call with another key is refused, as is one that would only read."""
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with session.transaction():
            await over_http(session, role, {"job_type": "greet"})
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        async with session.transaction():
            await session.execute("SET TRANSACTION READ ONLY")
            await over_http(session, "service_role", {"job_type": "greet"})

    assert 0 == await session.fetchval("SELECT count(*) FROM ops.jobs")


async def test_there_is_one_function(session: asyncpg.Connection) -> None:
    """A second function of the name would make calls over HTTP ambiguous."""
    assert 1 == await session.fetchval("SELECT count(*) FROM pg_proc WHERE proname = 'enqueue_job'")


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
        ("audit", True, False), ("jobs", True, False), ("migrations", True, False),
        ("pauses", True, False), ("schedules", True, False), ("worker_heartbeats", True, False)
    ] == [tuple(one) for one in rows]  # fmt: skip
