"""A server with Supabase's roles: three databases, migrated by an owner who is no superuser."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from dragonfly.postgres.embedded import embedded_server, quick_folder
from dragonfly.queue.migrate import migrate
from dragonfly.testing.databases import database_dsn

# as Supabase makes them; builder stands for its role postgres, less what ours need not
ROLES = """
CREATE ROLE anon NOLOGIN;
CREATE ROLE authenticated NOLOGIN;
CREATE ROLE service_role NOLOGIN BYPASSRLS;
CREATE ROLE authenticator LOGIN NOINHERIT;
GRANT anon, authenticated, service_role TO authenticator;
CREATE ROLE builder LOGIN;
"""
_GRANTS = " ".join(
    f"ALTER DEFAULT PRIVILEGES FOR ROLE builder {{where}} GRANT ALL ON {what} "
    "TO anon, authenticated, service_role;"
    for what in ("TABLES", "SEQUENCES", "FUNCTIONS")
)
# what a database grants by default before the migrations: nothing; Supabase's own defaults; and
# the widest there could be, which name no schema
DEFAULTS = {
    "plain": "SELECT",
    "supabase": "GRANT USAGE ON SCHEMA public TO anon, authenticated, service_role;"
    + _GRANTS.format(where="IN SCHEMA public"),
    "generous": _GRANTS.format(where="") + "ALTER DEFAULT PRIVILEGES FOR ROLE builder"
    " GRANT ALL ON SCHEMAS TO anon, authenticated, service_role;",
}


@pytest.fixture(scope="session")
def guarded() -> Iterator[str]:
    """A server of its own, as roles belong to a whole server."""
    with (
        tempfile.TemporaryDirectory(prefix="dragonfly-test-", dir=quick_folder()) as folder,
        embedded_server(Path(folder) / "pg") as dsn,
    ):
        asyncio.run(_prepare(dsn))
        yield dsn


async def _prepare(dsn: str) -> None:
    conn = await asyncpg.connect(dsn)
    await conn.execute(ROLES)
    for name, defaults in DEFAULTS.items():
        await conn.execute(f"CREATE DATABASE {name} OWNER builder")
        own = await asyncpg.connect(database_dsn(dsn, name))
        await own.execute(defaults)
        await own.execute("SET SESSION AUTHORIZATION builder")
        await migrate(own)
        await own.close()
    await conn.close()


@pytest.fixture(params=list(DEFAULTS))
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
