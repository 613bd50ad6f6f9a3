"""Claims at the head of the queue: a quicker answer, and never another one than the whole gives."""

from __future__ import annotations

from datetime import timedelta

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dragonfly.queue import store
from tests.queue.rows import LEASE, ME, MINE, locked, put

HOUR = timedelta(hours=1)


async def head(
    conn: asyncpg.Connection, *types: str, limit: int = 100, behind: int | None = None
) -> list[int]:
    """The ids that a claim at the head takes, in its order: of one type alone, or of several."""
    options = (limit, ME, LEASE, MINE)
    if types:
        jobs = await store.claim_head(conn, types, *options, behind=behind)
        return [job.id for job in jobs]
    undone = conn.transaction()
    await undone.start()
    alone = await store.claim_head(conn, ["greet"], *options, behind=behind)
    await undone.rollback()
    jobs = await store.claim_head(conn, ["greet", "absent"], *options, behind=behind)
    assert [job.id for job in jobs] == [job.id for job in alone]
    return [job.id for job in jobs]


async def test_it_takes_the_highest_priority_alone(conn: asyncpg.Connection) -> None:
    """All that is due of the highest priority, in order, and nothing below it."""
    await put(conn, priority=1)
    late = await put(conn, priority=2, run_at=-HOUR)
    early = await put(conn, priority=2, run_at=-2 * HOUR)

    assert [early, late] == await head(conn)


async def test_scheduled_jobs_hide_what_lies_below(conn: asyncpg.Connection) -> None:
    """Where the highest priority has nothing due it finds nothing: that is for the whole claim."""
    await put(conn, priority=2, run_at=HOUR)
    due = await put(conn, priority=1)

    assert [] == await head(conn)
    assert [due] == [job.id for job in (await store.claim(conn, ["greet"], 9, ME, 60, MINE)).jobs]


async def test_several_types_share_one_order(conn: asyncpg.Connection) -> None:
    """Jobs of several types at the same priority come by run_at; a lower one of any type waits."""
    second = await put(conn, job_type="b", run_at=-HOUR)
    first = await put(conn, job_type="a", run_at=-2 * HOUR)
    await put(conn, job_type="a", priority=-1, run_at=-3 * HOUR)

    assert [first, second] == await head(conn, "a", "b")


async def test_suspects_are_left_alone(conn: asyncpg.Connection) -> None:
    """A job that was in flight at a crash is claimed singly, never at the head."""
    await put(conn, "suspect", priority=5)
    plain = await put(conn)

    assert [plain] == await head(conn)


async def test_it_passes_over_locked_rows(dsn: str, conn: asyncpg.Connection) -> None:
    """A row that somebody has locked is left to them, without waiting."""
    taken = await put(conn, run_at=-HOUR)
    free = await put(conn)
    async with locked(dsn, taken):
        assert [free] == await head(conn)


async def test_a_claim_is_under_its_token(conn: asyncpg.Connection) -> None:
    """The row carries who holds it and the token, and the attempt is counted."""
    job_id = await put(conn)

    (job,) = await store.claim_head(conn, ["greet"], 1, ME, LEASE, MINE)

    stored = await conn.fetchrow("SELECT * FROM ops.jobs WHERE id = $1", job_id)
    assert stored is not None
    assert ("processing", ME, MINE, 1) == (
        stored["status"],
        stored["locked_by"],
        stored["lock_token"],
        stored["attempts"],
    )
    assert (job_id, MINE, 1, "{}") == (job.id, job.lock_token, job.attempt, job.payload)


async def test_behind_the_last_it_goes_on(conn: asyncpg.Connection) -> None:
    """Behind a claimed job come the next ones; what has come to stand before it is passed over."""
    jobs = [await put(conn, run_at=-HOUR) for _ in range(4)]
    assert jobs[:2] == await head(conn, limit=2)
    earlier = await put(conn, run_at=-2 * HOUR)

    assert [jobs[2]] == await head(conn, limit=1, behind=jobs[1])
    assert [earlier, jobs[3]] == await head(conn)


async def test_a_higher_priority_comes_first_all_the_same(conn: asyncpg.Connection) -> None:
    """Going on behind a job, a job of a higher priority is still taken before the next."""
    jobs = [await put(conn, run_at=-HOUR) for _ in range(2)]
    assert jobs[:1] == await head(conn, limit=1)
    urgent = await put(conn, priority=3)

    assert [urgent] == await head(conn, limit=1, behind=jobs[0])


@pytest.mark.parametrize("last", ["pending again", "gone"])
async def test_behind_a_job_that_moved_it_begins_at_the_start(
    conn: asyncpg.Connection, last: str
) -> None:
    """A last job that waits again, or was forgotten, tells no place: the look is from the start."""
    first = await put(conn, run_at=-HOUR)
    behind = await put(conn, run_at=HOUR) if last == "pending again" else 10**9

    assert [first] == await head(conn, behind=behind)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    jobs=st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(-2, 2), st.integers(-3, 1)), max_size=12
    ),
    limit=st.integers(1, 5),
)
async def test_head_and_whole_agree(
    conn: asyncpg.Connection, jobs: list[tuple[str, int, int]], limit: int
) -> None:
    """What the head gives is always the beginning of what the whole queue gives."""
    for job_type, priority, hours in jobs:
        await put(conn, job_type=job_type, priority=priority, run_at=hours * HOUR)
    undone = conn.transaction()
    await undone.start()
    whole = [job.id for job in (await store.claim(conn, ["a", "b"], limit, ME, 60, MINE)).jobs]
    await undone.rollback()

    quick = await head(conn, "a", "b", limit=limit)
    await conn.execute("DELETE FROM ops.jobs")

    assert quick == whole[: len(quick)]
