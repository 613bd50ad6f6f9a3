"""Who may do what, asked of every table, sequence and function there is, whoever adds one later."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg
import pytest

from dragonfly.queue import store
from tests.queue.rows import LEASE, ME, MINE, done

WEB = ["anon", "authenticated", "authenticator"]
ENQUEUE = "SELECT ops.enqueue_job('greet', '{}', unique_key => 'k')"
OURS = "relnamespace IN ('ops'::regnamespace, 'civil'::regnamespace)"
# what a role could try on each relation; {0} is its name, {1} a column of it
ATTEMPTS = (
    "SELECT FROM {0}",
    "SELECT {1} FROM {0}",
    "INSERT INTO {0} DEFAULT VALUES",
    "UPDATE {0} SET {1} = DEFAULT",
    "DELETE FROM {0}",
    "TRUNCATE {0} CASCADE",
    "LOCK TABLE {0}",
    "COPY {0} TO STDOUT",
    "ALTER TABLE {0} DISABLE ROW LEVEL SECURITY",
    "CREATE TRIGGER mine AFTER INSERT ON {0} FOR EACH ROW EXECUTE FUNCTION pg_temp.mine()",
)
# every grant to somebody else than the owner, on anything of ours
GRANTS = f"""
SELECT what, CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE grantee::regrole::text END AS grantee,
       privilege_type
  FROM (SELECT n.oid::regnamespace::text AS what, n.nspowner AS owner, a.*
          FROM pg_namespace n
         CROSS JOIN aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) AS a
         WHERE n.nspname IN ('ops', 'civil')
        UNION ALL
        SELECT c.oid::regclass::text, c.relowner, a.*
          FROM pg_class c
         CROSS JOIN aclexplode(coalesce(
               c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char",
                                    c.relowner))) AS a
         WHERE c.{OURS} AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
        UNION ALL
        SELECT c.oid::regclass || '.' || t.attname, c.relowner, a.*
          FROM pg_attribute t JOIN pg_class c ON c.oid = t.attrelid
         CROSS JOIN aclexplode(t.attacl) AS a
         WHERE c.{OURS}
        UNION ALL
        SELECT f.oid::regproc::text, f.proowner, a.*
          FROM pg_proc f
         CROSS JOIN aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) AS a
         WHERE f.{OURS.replace("rel", "pro")}) AS grants
 WHERE grantee <> owner
 ORDER BY 1, 2, 3
"""


async def refused(conn: asyncpg.Connection, role: str, statement: str) -> bool:
    """Whether the role lacks the right to do this, or nobody can: a view is not truncated."""
    nested = conn.transaction()
    await nested.start()
    try:
        await conn.execute(f"SET LOCAL ROLE {role}")
        await conn.execute(statement)
    except (asyncpg.InsufficientPrivilegeError, asyncpg.WrongObjectTypeError):
        return True
    finally:
        await nested.rollback()
    return False


async def relations(conn: asyncpg.Connection, kinds: Sequence[str]) -> list[asyncpg.Record]:
    """Name and a column of each relation of ours of these kinds."""
    return await conn.fetch(
        "SELECT c.oid::regclass::text AS name, (SELECT quote_ident(a.attname) FROM pg_attribute a"
        " WHERE a.attrelid = c.oid AND a.attnum = 1) AS first"
        f" FROM pg_class c WHERE c.{OURS} AND c.relkind::text = ANY ($1) ORDER BY 1",
        kinds,
    )


async def calls(conn: asyncpg.Connection) -> list[str]:
    """A call of each function of ours, with nulls."""
    rows = await conn.fetch(
        "SELECT f.oid::regproc::text AS name, f.pronargs - f.pronargdefaults AS given"
        f" FROM pg_proc f WHERE f.{OURS.replace('rel', 'pro')} ORDER BY 1"
    )
    return [f"SELECT {row['name']}({', '.join(['NULL'] * row['given'])})" for row in rows]


async def test_one_function_is_granted_to_one_role(session: asyncpg.Connection) -> None:
    """Of all schemas, tables, columns, sequences and functions only ops.enqueue_job is given away,
    to service_role, whatever the database grants by default."""
    assert [
        ("ops", "service_role", "USAGE"), ("ops.enqueue_job", "service_role", "EXECUTE")
    ] == [tuple(row) for row in await session.fetch(GRANTS)]  # fmt: skip


@pytest.mark.parametrize("role", [*WEB, "service_role"])
async def test_no_table_or_sequence_can_be_touched(session: asyncpg.Connection, role: str) -> None:
    """No role of the web's can do anything with any table or sequence; nor can the service key.

    Not even with the schemas open to them, by somebody's mistake.
    """
    await session.execute(f"GRANT USAGE ON SCHEMA ops, civil TO {role}")
    tables = await relations(session, ["r", "p", "v", "m", "f"])
    sequences = await relations(session, ["S"])
    statements = [a.format(table["name"], table["first"]) for table in tables for a in ATTEMPTS]
    statements += [f"SELECT nextval('{one['name']}')" for one in sequences]
    await session.execute(
        "CREATE FUNCTION pg_temp.mine() RETURNS trigger LANGUAGE plpgsql AS 'begin end'"
    )

    assert len(tables) > 20
    assert [] == [one for one in statements if not await refused(session, role, one)]


@pytest.mark.parametrize("role", WEB)
async def test_no_function_can_be_called(session: asyncpg.Connection, role: str) -> None:
    """Who comes without the service key can call no function, that of enqueueing least of all."""
    await session.execute(f"GRANT USAGE ON SCHEMA ops, civil TO {role}")
    statements = [*await calls(session), ENQUEUE]

    assert statements == [one for one in statements if await refused(session, role, one)]


async def test_the_service_may_only_enqueue(session: asyncpg.Connection) -> None:
    """The service key calls ops.enqueue_job and nothing else, though it bypasses policies."""
    others = [one for one in await calls(session) if "enqueue_job" not in one]
    assert others == [one for one in others if await refused(session, "service_role", one)]
    await session.execute("SET LOCAL ROLE service_role")
    first, second = await session.fetchval(ENQUEUE), await session.fetchval(ENQUEUE)
    await session.execute("RESET ROLE")

    assert first == second == await session.fetchval("SELECT id FROM ops.jobs")


async def test_a_request_takes_the_role_of_its_key(session: asyncpg.Connection) -> None:
    """A login that may become each role, as the web's does, enqueues with the service key alone."""
    await session.execute("SET LOCAL SESSION AUTHORIZATION authenticator")

    assert [True, True, True, False] == [
        await refused(session, role, ENQUEUE) for role in [*WEB, "service_role"]
    ]
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await session.execute("SET LOCAL ROLE builder")


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
    """Were somebody granted a table by mistake, they would see no row; every view asks as them."""
    rows = await session.fetch(
        "SELECT c.oid::regclass::text AS name, c.relrowsecurity AND NOT c.relforcerowsecurity"
        f" AS guarded FROM pg_class c WHERE c.{OURS} AND c.relkind IN ('r', 'p')"
    )
    views = await session.fetch(
        f"SELECT c.oid::regclass::text AS name FROM pg_class c WHERE c.{OURS}"
        " AND (c.relkind IN ('m', 'f') OR c.relkind = 'v'"
        " AND NOT coalesce(c.reloptions, '{}') @> '{security_invoker=true}')"
    )

    assert [] == [row["name"] for row in rows if not row["guarded"]]
    assert [] == [row["name"] for row in views]


async def test_a_grant_by_mistake_shows_no_row(session: asyncpg.Connection) -> None:
    """With every right on every table, anon still sees nothing and writes nothing."""
    await session.execute("INSERT INTO ops.jobs (job_type) VALUES ('greet')")
    await session.execute("GRANT USAGE ON SCHEMA ops, civil TO anon")
    await session.execute("GRANT ALL ON ALL TABLES IN SCHEMA ops, civil TO anon")
    names = [row["name"] for row in await relations(session, ["r", "p"])]
    await session.execute("SET LOCAL ROLE anon")
    seen = {name: await session.fetchval(f"SELECT count(*) FROM {name}") for name in names}

    assert dict.fromkeys(names, 0) == seen
    assert "UPDATE 0" == await session.execute("UPDATE ops.jobs SET payload = '{}'")
    assert await refused(session, "anon", "INSERT INTO ops.jobs (job_type) VALUES ('greet')")
