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
from tests import roles
from tests.roles import Role


def pytest_addoption(parser: pytest.Parser) -> None:
    """Who the tests are in the database."""
    parser.addoption("--role", choices=("superuser", "ordinary"), default="superuser")


def database_dsn(server: str, name: str) -> str:
    """The address of another database on the same server."""
    parts = urlsplit(server)
    return urlunsplit(parts._replace(path=f"/{name}"))


def owned_dsn(server: str, name: str, owner: Role | None) -> str:
    """The same, logged in to as its owner."""
    dsn = database_dsn(server, name)
    return dsn if owner is None else owner.address(dsn)


def create_database(name: str, owner: Role | None, options: str = "") -> str:
    """The statement with which a superuser makes it."""
    whose = f"OWNER {owner.name}" if owner else ""
    return f'CREATE DATABASE "{name}" {whose} {options}'


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The address of a server on which this run may create databases."""
    given = os.environ.get("DRAGONFLY_TEST_DSN")
    if given:
        roles.serve(given)
        yield given
        return
    with (
        tempfile.TemporaryDirectory(prefix="dragonfly-test-") as folder,
        embedded_server(Path(folder) / "pg") as dsn,
    ):
        # what a crash of the machine would lose is nobody's data here
        asyncio.run(_execute(dsn, "ALTER SYSTEM SET fsync = off"))
        asyncio.run(_execute(dsn, "SELECT pg_reload_conf()"))
        roles.serve(dsn)
        yield dsn


@pytest.fixture(scope="session")
def owner(server: str, pytestconfig: pytest.Config) -> Iterator[Role | None]:
    """The ordinary role that owns all databases of this run; None: the superuser does."""
    if pytestconfig.getoption("role") == "superuser":
        yield None
        return
    role = roles.new()
    asyncio.run(
        _execute(server, f"CREATE ROLE {role.name} {roles.ATTRIBUTES} PASSWORD '{role.password}'")
    )
    yield role
    asyncio.run(_execute(server, f"DROP ROLE {role.name}"))


@pytest.fixture(scope="session")
def template(server: str, owner: Role | None) -> Iterator[str]:
    """The name of a migrated database from which each test's own is copied."""
    name = f"dragonfly_template_{secrets.token_hex(4)}"
    asyncio.run(_make_template(server, name, owner))
    yield name
    asyncio.run(_execute(server, f'DROP DATABASE "{name}" WITH (FORCE)'))


@pytest.fixture
async def dsn(server: str, template: str, owner: Role | None) -> AsyncIterator[str]:
    """The address of this test's own migrated database."""
    name = f"dragonfly_test_{secrets.token_hex(6)}"
    await _execute(server, create_database(name, owner, f'TEMPLATE "{template}" STRATEGY wal_log'))
    yield owned_dsn(server, name, owner)
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


async def _make_template(server: str, name: str, owner: Role | None) -> None:
    await _execute(server, create_database(name, owner))
    connection = await asyncpg.connect(owned_dsn(server, name, owner))
    try:
        await migrate(connection)
    finally:
        await connection.close()
