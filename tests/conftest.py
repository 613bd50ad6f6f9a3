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
from tests.poolers import Pooler, chosen_mode, leave_out, pgbouncer, uncached_statements


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
async def direct(server: str, template: str) -> AsyncIterator[str]:
    """The address of this test's own migrated database, past any pooler."""
    name = f"dragonfly_test_{secrets.token_hex(6)}"
    await _execute(server, f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY wal_log')
    yield database_dsn(server, name)
    await _execute(server, f'DROP DATABASE "{name}" WITH (FORCE)')


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
