"""Ended jobs are forgotten when their time is over, and no others."""

from __future__ import annotations

import asyncpg
import pytest

from dragonfly import enqueue_many
from dragonfly.job import JobStatus
from dragonfly.queue.maintenance import VACUUM, Keep, litter, prune_step
from tests.roles import administering

HOUR = 3600.0
RULES = (
    Keep(JobStatus.COMPLETED, HOUR),
    Keep(JobStatus.COMPLETED, 10 * HOUR, "important"),
    Keep(JobStatus.FAILED, 24 * HOUR),
)


async def _ended(
    conn: asyncpg.Connection, count: int, job_type: str, status: str, hours_ago: float
) -> None:
    ids = await enqueue_many(conn, job_type, [{} for _ in range(count)])
    await conn.execute(
        "UPDATE ops.jobs SET status = $2, created_at = now() - make_interval(secs => $3), "
        "finished_at = now() - make_interval(secs => $3) WHERE id = ANY ($1)",
        ids,
        status,
        hours_ago * HOUR,
    )


async def _sweep(conn: asyncpg.Connection, rows: int = 1000) -> int:
    after: int | None = 0
    forgotten = 0
    while after is not None:
        step = await prune_step(conn, RULES, after, rows)
        after, forgotten = step.last_id, forgotten + step.forgotten
    return forgotten


async def _left(conn: asyncpg.Connection) -> dict[tuple[str, str], int]:
    rows = await conn.fetch("SELECT job_type, status, count(*) FROM ops.jobs GROUP BY 1, 2")
    return {(row["job_type"], row["status"]): row["count"] for row in rows}


async def test_each_status_and_type_has_its_time(conn: asyncpg.Connection) -> None:
    """A rule for a job type goes before the one for its status; without a rule a job stays."""
    await _ended(conn, 3, "plain", "completed", 2)
    await _ended(conn, 3, "plain", "failed", 2)
    await _ended(conn, 3, "plain", "cancelled", 1000)
    await _ended(conn, 3, "important", "completed", 2)
    await _ended(conn, 3, "important", "completed", 11)

    assert 6 == await _sweep(conn)
    assert {
        ("plain", "failed"): 3,
        ("plain", "cancelled"): 3,
        ("important", "completed"): 3,
    } == await _left(conn)


async def test_what_has_not_ended_stays(conn: asyncpg.Connection) -> None:
    """Pending and running jobs are never forgotten, however old."""
    await enqueue_many(conn, "plain", [{}, {}])
    await conn.execute(
        "UPDATE ops.jobs SET created_at = now() - interval '1 year', run_at = created_at"
    )

    assert 0 == await _sweep(conn)
    assert {("plain", "pending"): 2} == await _left(conn)


async def test_a_sweep_goes_in_small_steps(conn: asyncpg.Connection) -> None:
    """Many rows are forgotten in many steps, each of them small, and young ones end the sweep."""
    await _ended(conn, 25, "plain", "completed", 2)
    await _ended(conn, 25, "plain", "completed", 0)

    first = await prune_step(conn, RULES, 0, 10)

    assert 10 == first.forgotten
    assert 15 == await _sweep(conn, 10)
    assert {("plain", "completed"): 25} == await _left(conn)


async def test_a_locked_row_is_left_for_the_next_sweep(dsn: str, conn: asyncpg.Connection) -> None:
    """A row that somebody holds is passed over."""
    await _ended(conn, 3, "plain", "completed", 2)
    other = await asyncpg.connect(dsn)
    async with other.transaction():
        await other.execute("SELECT FROM ops.jobs ORDER BY id LIMIT 1 FOR UPDATE")
        assert 2 == await _sweep(conn)
    await other.close()

    assert 1 == await _sweep(conn)


async def test_without_rules_nothing_is_forgotten(conn: asyncpg.Connection) -> None:
    """No rule, no sweep."""
    await _ended(conn, 3, "plain", "completed", 1000)

    assert 0 == (await prune_step(conn, (), 0)).forgotten


@pytest.mark.unpooled("transaction", reason="each session counts rows, and tells later")
async def test_dead_rows_are_counted_until_a_vacuum(conn: asyncpg.Connection) -> None:
    """Dead and living rows as the server counts them, and how often somebody vacuumed."""
    # what other tests in this database have left, counted by now or not
    await conn.execute("SELECT pg_stat_force_next_flush()")
    await conn.execute(VACUUM)
    await enqueue_many(conn, "plain", [{} for _ in range(100)])
    await conn.execute("UPDATE ops.jobs SET priority = 1 WHERE id % 4 = 0")
    await conn.execute("SELECT pg_stat_force_next_flush()")
    before = await litter(conn)
    await conn.execute(VACUUM)
    after = await litter(conn)

    assert (25, 100) == (before.dead, before.live)
    assert (0, 100) == (after.dead, after.live)
    assert 1 == after.vacuums - before.vacuums


async def test_owners_and_maintainers_may_vacuum(dsn: str) -> None:
    """The owner of the table or of the database and, where the server knows it, MAINTAIN."""
    async with administering(dsn) as conn:
        assert (await litter(conn)).may_vacuum
        transaction = conn.transaction()
        await transaction.start()
        await conn.execute("CREATE ROLE dragonfly_test_plain")
        await conn.execute("CREATE ROLE dragonfly_test_owner")
        await conn.execute("GRANT USAGE ON SCHEMA ops TO dragonfly_test_plain")
        await conn.execute(
            "GRANT SELECT, INSERT, UPDATE, DELETE ON ops.jobs TO dragonfly_test_plain"
        )
        assert not await _may_vacuum(conn, "dragonfly_test_plain")

        if conn.get_server_version().major >= 17:
            await conn.execute("SAVEPOINT plain")
            await conn.execute("GRANT MAINTAIN ON ops.jobs TO dragonfly_test_plain")
            assert await _may_vacuum(conn, "dragonfly_test_plain")
            await conn.execute("ROLLBACK TO plain")

        await conn.execute("ALTER TABLE ops.jobs OWNER TO dragonfly_test_owner")
        assert not await _may_vacuum(conn, "dragonfly_test_plain")
        await conn.execute("GRANT dragonfly_test_owner TO dragonfly_test_plain")
        assert await _may_vacuum(conn, "dragonfly_test_plain")
        await transaction.rollback()


async def _may_vacuum(conn: asyncpg.Connection, role: str) -> bool:
    await conn.execute(f"SET LOCAL ROLE {role}")
    found = await litter(conn)
    await conn.execute("RESET ROLE")
    return found.may_vacuum
