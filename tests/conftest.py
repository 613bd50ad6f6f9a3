"""A real PostgreSQL for every test: one server a run, one migrated template, one copy a test."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from dragonfly.testing import PostgresServer, postgres_server
from tests import roles
from tests.poolers import Pooler, chosen_mode, leave_out, pgbouncer, uncached_statements


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


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "unpooled(*modes, reason): left out behind a pooler in these modes (none: in either)",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Behind a pooler, leave out what it takes the ground from; that is no skip."""
    mode = chosen_mode()
    if mode is not None and (unfit := leave_out(items, mode)):
        config.hook.pytest_deselected(items=unfit)
        items[:] = [item for item in items if item not in unfit]


@pytest.fixture(scope="session")
def pooler(server: str) -> Iterator[Pooler | None]:
    """The PgBouncer that this run's databases are reached through, if the environment says so."""
    mode = chosen_mode()
    if mode is None:
        yield None
        return
    with pgbouncer(server, mode) as running:
        if mode == "transaction":
            with uncached_statements(running):
                yield running
        else:
            yield running


@pytest.fixture
async def direct(postgres: PostgresServer) -> AsyncIterator[str]:
    """The address of this test's own migrated database, past any pooler."""
    async with postgres.database() as dsn:
        yield dsn


@pytest.fixture
def dsn(direct: str, pooler: Pooler | None) -> str:
    """The address of this test's own migrated database."""
    return pooler.through(direct) if pooler else direct


@pytest.fixture
async def conn(direct: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to this test's database: a tool of the test's, so no pooler is between."""
    connection = await asyncpg.connect(direct)
    yield connection
    await connection.close()
