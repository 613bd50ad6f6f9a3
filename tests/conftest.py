"""A real PostgreSQL for every test: one server a run, one migrated template, one copy a test."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from dragonfly.testing import PostgresServer, postgres_server
from tests import roles


def pytest_addoption(parser: pytest.Parser) -> None:
    """Who the tests are in the database."""
    parser.addoption("--role", choices=("superuser", "ordinary"), default="superuser")


@pytest.fixture(scope="session")
def postgres(pytestconfig: pytest.Config) -> Iterator[PostgresServer]:
    """A server on which this run may create databases.

    With ``--role ordinary`` they belong to a role that may do nothing else.
    """
    with postgres_server(os.environ.get("DRAGONFLY_TEST_DSN")) as server:
        roles.serve(server.dsn)
        if pytestconfig.getoption("role") == "superuser":
            yield server
            return
        server.owner = name, password = roles.new()
        create = f"CREATE ROLE {name} {roles.ATTRIBUTES} PASSWORD '{password}'"
        asyncio.run(server.execute(create))
        yield server
        asyncio.run(server.aclose())
        asyncio.run(server.execute(f"DROP ROLE {name}"))


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
