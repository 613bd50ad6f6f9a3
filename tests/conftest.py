"""A real PostgreSQL for every test: one server a run, one migrated template, one copy a test."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from dragonfly.testing import PostgresServer, postgres_server


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A server on which this run may create databases."""
    with postgres_server(os.environ.get("DRAGONFLY_TEST_DSN")) as server:
        yield server


@pytest.fixture(scope="session")
def server(postgres: PostgresServer) -> str:
    """The server's address."""
    return postgres.dsn


@pytest.fixture(scope="session")
def template(postgres: PostgresServer) -> str:
    """The name of a migrated database from which each test's own is copied."""
    return asyncio.run(postgres.template())


@pytest.fixture
async def dsn(postgres: PostgresServer) -> AsyncIterator[str]:
    """The address of this test's own migrated database."""
    async with postgres.database() as dsn:
        yield dsn


@pytest.fixture
async def conn(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to this test's database."""
    connection = await asyncpg.connect(dsn)
    yield connection
    await connection.close()
