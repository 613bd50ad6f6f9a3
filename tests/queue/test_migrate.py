"""Migrations: applied once, whole, in order, and never over somebody else's tables."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import anyio
import asyncpg
import pytest

from dragonfly.errors import ConfigurationError
from dragonfly.postgres.database import connect
from dragonfly.queue import migrate as module
from dragonfly.queue.migrate import Migration, migrate, migrations, require_schema, schema_state
from dragonfly.testing.databases import database_dsn
from tests.proxy import proxy


@pytest.fixture
async def empty(server: str) -> AsyncIterator[str]:
    """The address of a database without any schema."""
    name = f"dragonfly_empty_{secrets.token_hex(6)}"
    admin = await asyncpg.connect(server)
    await admin.execute(f'CREATE DATABASE "{name}"')
    yield database_dsn(server, name)
    await admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    await admin.close()


@pytest.fixture
async def blank(empty: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to a database without any schema."""
    connection = await asyncpg.connect(empty)
    yield connection
    await connection.close()


async def test_each_file_is_applied_once(blank: asyncpg.Connection) -> None:
    """The first run applies every file in order, the second none."""
    first = await migrate(blank)
    second = await migrate(blank)

    assert list(migrations()) == first
    assert [] == second


async def test_two_migrators_at_once(empty: str) -> None:
    """Of two migrators at once each file is applied by exactly one, and both succeed."""
    applied: list[Migration] = []

    async def one() -> None:
        connection = await asyncpg.connect(empty)
        applied.extend(await migrate(connection))
        await connection.close()

    async with anyio.create_task_group() as group:
        group.start_soon(one)
        group.start_soon(one)

    assert sorted(m.number for m in migrations()) == sorted(m.number for m in applied)


async def test_foreign_jobs_table_is_left_alone(blank: asyncpg.Connection) -> None:
    """An ops.jobs that Dragonfly did not make is refused with a sentence and not touched."""
    await blank.execute("CREATE SCHEMA ops; CREATE TABLE ops.jobs (mine text)")
    await blank.execute("INSERT INTO ops.jobs VALUES ('kept')")

    with pytest.raises(ConfigurationError, match=r"ops\.jobs exists but was not made by Dragonfly"):
        await migrate(blank)

    assert "kept" == await blank.fetchval("SELECT mine FROM ops.jobs")
    assert await blank.fetchval("SELECT to_regclass('ops.migrations') IS NULL")


async def test_a_failing_file_leaves_nothing(
    blank: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file whose last statement fails leaves neither its tables nor its record."""
    bad = Migration(9999, "bad", "0.1.0", "CREATE TABLE ops.half (x int); SELECT 1/0;")
    monkeypatch.setattr(module, "migrations", lambda: (bad,))

    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(blank)

    assert await blank.fetchval("SELECT to_regclass('ops.half') IS NULL")


async def test_a_view_in_the_way_is_named(
    blank: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A view of the user's own on a column that changes is left alone; dropped, all is applied."""
    await migrate(blank)
    change = "ALTER TABLE ops.jobs ALTER COLUMN locked_by TYPE varchar"
    change_it = Migration(9999, "change", "0.1.0", f"DROP INDEX ops.jobs_held; {change};")
    monkeypatch.setattr(module, "migrations", lambda: (change_it,))
    await blank.execute("CREATE VIEW public.holders AS SELECT locked_by FROM ops.jobs")

    with pytest.raises(ConfigurationError, match=r"9999 change was not applied.*view holders"):
        await migrate(blank)
    assert await blank.fetchval("SELECT to_regclass('ops.jobs_held') IS NOT NULL")

    await blank.execute("DROP VIEW public.holders")
    assert [change_it] == await migrate(blank)


async def test_what_the_server_cannot_do_is_no_view(
    blank: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing stands in the way, nobody is asked to drop it: the server's error stays."""
    await migrate(blank)
    refused = "DO 'BEGIN RAISE feature_not_supported; END'"
    monkeypatch.setattr(module, "migrations", lambda: (Migration(9999, "no", "0.1.0", refused),))

    with pytest.raises(asyncpg.FeatureNotSupportedError):
        await migrate(blank)


async def test_a_changed_file_is_refused(conn: asyncpg.Connection) -> None:
    """A file that differs from what was applied stops both run and migrate, by name."""
    await conn.execute("UPDATE ops.migrations SET checksum = 'other' WHERE number = 1")

    with pytest.raises(ConfigurationError, match="0001 queue"):
        await require_schema(conn)
    with pytest.raises(ConfigurationError, match="0001 queue"):
        await migrate(conn)


async def test_unmigrated_schema_is_refused(blank: asyncpg.Connection) -> None:
    """An unmigrated database is refused with the command that mends it."""
    with pytest.raises(ConfigurationError, match="Run: dragonfly migrate"):
        await require_schema(blank)


async def test_older_code_lives_beside_a_newer_schema(conn: asyncpg.Connection) -> None:
    """A migration this version does not know is no obstacle as long as it serves this version."""
    await conn.execute("INSERT INTO ops.migrations VALUES (9000, 'later', 'x', '0.1.0')")
    await require_schema(conn)
    assert ("9000 later",) == (await schema_state(conn)).unknown

    await conn.execute("UPDATE ops.migrations SET serves = '99.0.0' WHERE number = 9000")
    with pytest.raises(ConfigurationError, match="Install a newer Dragonfly"):
        await require_schema(conn)


async def test_a_connection_that_falls_silent_is_given_up(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start does not wait for ever for a database that took the login and answers no more."""
    monkeypatch.setattr(module, "PROBING_SECONDS", 0.2)
    async with proxy(dsn) as between:
        conn = await connect(between.dsn, "start")
        between.silence()

        with anyio.fail_after(5), pytest.raises(ConnectionResetError, match="did not answer in"):
            await require_schema(conn)

        assert conn.is_closed()
