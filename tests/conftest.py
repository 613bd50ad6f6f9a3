"""A real PostgreSQL for every test: one server a run, one migrated template, one copy a test."""

from __future__ import annotations

import asyncio
import os
import secrets
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from dragonfly.postgres.embedded import embedded_server
from dragonfly.queue.migrate import migrate


def database_dsn(server: str, name: str) -> str:
    """The address of another database on the same server."""
    parts = urlsplit(server)
    return urlunsplit(parts._replace(path=f"/{name}"))


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The address of a server on which this run may create databases."""
    given = os.environ.get("DRAGONFLY_TEST_DSN")
    if given:
        yield given
        return
    with (
        tempfile.TemporaryDirectory(prefix="dragonfly-test-") as folder,
        embedded_server(Path(folder) / "pg") as dsn,
    ):
        # what a crash of the machine would lose is nobody's data here
        asyncio.run(_execute(dsn, "ALTER SYSTEM SET fsync = off"))
        asyncio.run(_execute(dsn, "SELECT pg_reload_conf()"))
        yield dsn


@pytest.fixture(scope="session")
def template(server: str) -> Iterator[str]:
    """The name of a migrated database from which each test's own is copied."""
    name = f"dragonfly_template_{secrets.token_hex(4)}"
    asyncio.run(_make_template(server, name))
    yield name
    asyncio.run(_execute(server, f'DROP DATABASE "{name}" WITH (FORCE)'))


@pytest.fixture
async def dsn(server: str, template: str) -> AsyncIterator[str]:
    """The address of this test's own migrated database."""
    name = f"dragonfly_test_{secrets.token_hex(6)}"
    await _execute(server, f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY wal_log')
    yield database_dsn(server, name)
    await _execute(server, f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
async def conn(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to this test's database."""
    connection = await asyncpg.connect(dsn)
    yield connection
    await connection.close()


async def _execute(dsn: str, sql: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


async def _make_template(server: str, name: str) -> None:
    await _execute(server, f'CREATE DATABASE "{name}"')
    connection = await asyncpg.connect(database_dsn(server, name))
    try:
        await migrate(connection)
    finally:
        await connection.close()
