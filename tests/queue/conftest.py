"""One database for the whole folder, emptied before each test, as copying one takes longer."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from dragonfly.testing import PostgresServer

EMPTY = """
ALTER TABLE ops.audit DISABLE TRIGGER keep_audit;
TRUNCATE ops.jobs, ops.worker_heartbeats, ops.schedules, ops.pauses, ops.audit RESTART IDENTITY;
ALTER TABLE ops.audit ENABLE TRIGGER keep_audit;
DELETE FROM ops.migrations;
INSERT INTO ops.migrations SELECT * FROM public.applied;
"""


async def _execute(dsn: str, *statements: str) -> None:
    conn = await asyncpg.connect(dsn)
    for statement in statements:
        await conn.execute(statement)
    await conn.close()


@pytest.fixture(scope="session")
def shared(postgres: PostgresServer, template: str) -> Iterator[str]:
    """The address of a migrated database that the tests of this folder use in turn."""
    name = f"dragonfly_queue_{secrets.token_hex(6)}"
    asyncio.run(
        _execute(
            postgres.dsn,
            postgres.creation(name, f'TEMPLATE "{template}" STRATEGY file_copy'),
            f'ALTER DATABASE "{name}" SET synchronous_commit = off',
            # a test that waits for a lock that nobody gives back ends in an error
            f"ALTER DATABASE \"{name}\" SET lock_timeout = '5s'",
        )
    )
    dsn = postgres.address(name)
    asyncio.run(_execute(dsn, "CREATE TABLE public.applied AS TABLE ops.migrations"))
    yield dsn
    asyncio.run(_execute(postgres.dsn, f'DROP DATABASE "{name}" WITH (FORCE)'))


@pytest.fixture
async def direct(shared: str) -> str:
    """The address of a migrated database without rows, this test's own while it runs."""
    await _execute(shared, EMPTY)
    return shared


@pytest.fixture
async def conn(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection as the queue's functions get it, so through a pooler where there is one."""
    connection = await asyncpg.connect(dsn)
    yield connection
    await connection.close()
