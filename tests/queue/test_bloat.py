"""The size of the table, and what keeps vacuum from removing its dead rows."""

from __future__ import annotations

import asyncpg
import pytest

from dragonfly.queue.bloat import Pin, bloat
from tests.queue.rows import another, put
from tests.roles import administrator

OLD = "BEGIN ISOLATION LEVEL REPEATABLE READ"


async def pins(conn: asyncpg.Connection, of: asyncpg.Connection) -> list[Pin]:
    """What is told of this session."""
    return [pin for pin in (await bloat(conn)).pins if pin.pid == of.get_server_pid()]


@pytest.mark.unpooled(reason="it knows a session by its pid, and a pooler tells another")
async def test_an_old_snapshot_is_named(conn: asyncpg.Connection, dsn: str) -> None:
    """A session whose snapshot others have outlived is shown with its state, and no data of it."""
    async with another(dsn) as old:
        await old.execute("SET application_name = 'report'")
        await old.execute(OLD)
        await old.execute("SELECT 'Smith owes' FROM ops.jobs")
        await put(conn)

        (pin,) = await pins(conn, old)

        assert ("session", "report", "idle in transaction", "SELECT", False) == (
            pin.kind,
            pin.name,
            pin.state,
            pin.verb,
            pin.hidden,
        )
        assert pin.transactions >= 1
        assert pin.seconds is not None
        assert pin.seconds >= 0
        assert "Smith" not in str(pin)

        await old.execute("ROLLBACK")
        assert [] == await pins(conn, old)


@pytest.mark.unpooled(reason="it knows a session by its pid, and a pooler tells another")
@pytest.mark.parametrize(
    "query", ["/* Smith */ SELECT 1", "(SELECT 'Smith')", "VALUES ('Smith', 'SELECT')"]
)
async def test_a_query_that_begins_otherwise_is_not_shown(
    conn: asyncpg.Connection, dsn: str, query: str
) -> None:
    """Only a known word of SQL at the very beginning is shown of a query."""
    async with another(dsn) as old:
        await old.execute(OLD)
        await old.execute("SELECT FROM ops.jobs")
        await old.execute(query)

        (pin,) = await pins(conn, old)

        assert (None, False) == (pin.verb, "smith" in str(pin).lower())


@pytest.mark.unpooled(reason="it knows a session by its pid, and a pooler tells another")
async def test_a_writer_is_named(conn: asyncpg.Connection, dsn: str) -> None:
    """A transaction that has written holds vacuum back between its statements, too."""
    async with another(dsn) as writer:
        await writer.execute("BEGIN")
        await writer.execute("INSERT INTO ops.jobs (job_type) VALUES ('greet')")

        assert ["INSERT"] == [pin.verb for pin in await pins(conn, writer)]


async def test_other_databases_hold_nothing_here(conn: asyncpg.Connection, server: str) -> None:
    """A snapshot in another database of the server keeps no row of this one."""
    async with another(server) as old:
        await old.execute(OLD)
        await old.fetch("SELECT FROM pg_class")

        assert [] == await pins(conn, old)


@pytest.mark.unpooled(reason="it knows a session by its pid, and a pooler tells another")
async def test_hidden_sessions_are_said_to_be_hidden(dsn: str) -> None:
    """A role without pg_read_all_stats learns who holds vacuum back, and that it sees no more."""
    super_dsn = administrator(dsn)
    async with another(super_dsn) as conn, another(super_dsn) as old, another(super_dsn) as plain:
        await old.execute("SET application_name = 'report'")
        await old.execute(OLD)
        await old.fetch("SELECT FROM ops.jobs")
        await plain.execute("BEGIN")
        await plain.execute("CREATE ROLE dragonfly_test_plain")
        await plain.execute("GRANT USAGE ON SCHEMA ops TO dragonfly_test_plain")
        await plain.execute("SET LOCAL ROLE dragonfly_test_plain")

        (pin,) = await pins(plain, old)

        assert (True, "report", None, None, None) == (
            pin.hidden,
            pin.name,
            pin.state,
            pin.seconds,
            pin.verb,
        )
        assert (True, False) == ((await bloat(conn)).sees_all, (await bloat(plain)).sees_all)


async def test_sizes_and_dead_rows(conn: asyncpg.Connection) -> None:
    """Table, indexes and toast add up to the total; updated rows leave dead ones behind."""
    await conn.execute("INSERT INTO ops.jobs (job_type) SELECT 'x' FROM generate_series(1, 300)")
    await conn.execute("UPDATE ops.jobs SET priority = 1")
    await conn.execute("SELECT pg_stat_force_next_flush()")

    size = (await bloat(conn)).size

    assert size.total_bytes == size.table_bytes + size.index_bytes + size.toast_bytes
    assert size.table_bytes >= 300 * 50
    assert size.index_bytes >= 5 * 8192
    assert (300, 300, 0.5) == (size.live, size.dead, size.dead_share)


async def test_the_last_vacuum_is_told(conn: asyncpg.Connection) -> None:
    """Vacuum by hand and by the server have their own times."""
    await conn.execute("VACUUM ops.jobs")

    size = (await bloat(conn)).size

    assert size.last_vacuum is not None
    assert 0 <= (await conn.fetchval("SELECT now() - $1", size.last_vacuum)).total_seconds() < 60
