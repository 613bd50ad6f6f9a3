"""Claims: the promised order, the limit, several claimers, and what an empty claim says."""

from __future__ import annotations

import uuid
from datetime import timedelta

import asyncpg
import pytest

from dragonfly.job import Claim
from dragonfly.queue import store
from dragonfly.queue.store import Claimed
from tests.queue.rows import LEASE, ME, MINE, OTHER, THEIRS, another, locked, put, statuses

HOUR = timedelta(hours=1)


async def claim(conn: asyncpg.Connection, *types: str, limit: int = 100) -> Claimed:
    return await store.claim(conn, types or ["greet"], limit, ME, LEASE, MINE)


def ids(claimed: Claimed) -> list[int]:
    return [job.id for job in claimed.jobs]


async def test_order(conn: asyncpg.Connection) -> None:
    """Higher priority first, then the earlier run_at, then the lower id."""
    low = await put(conn, priority=-1, run_at=-2 * HOUR)
    late = await put(conn, run_at=-HOUR)
    early = await put(conn, run_at=-2 * HOUR)
    same = await conn.fetchval(
        "INSERT INTO ops.jobs (job_type, run_at) SELECT job_type, run_at FROM ops.jobs"
        " WHERE id = $1 RETURNING id",
        early,
    )
    high = await put(conn, priority=5)

    assert [high, early, same, late, low] == ids(await claim(conn))


async def test_the_order_is_no_accident_of_the_plan(conn: asyncpg.Connection) -> None:
    """The order is asked for, so a plan that reads the table as it lies keeps it too."""
    await conn.execute("SET enable_indexscan = off; SET enable_bitmapscan = off")
    late, early = await put(conn, run_at=-HOUR), await put(conn, run_at=-2 * HOUR)
    low, high = await put(conn, "suspect"), await put(conn, "suspect", priority=1)

    taken = [ids(await claim(conn, limit=1)) for _ in range(2)]
    suspects = [(await store.claim_suspect(conn, ["greet"], ME, LEASE, MINE)).job for _ in range(2)]

    assert [[early], [late]] == taken
    assert [high, low] == [one and one.id for one in suspects]


async def test_order_across_job_types(conn: asyncpg.Connection) -> None:
    """Jobs of several types come in one common order, not type by type."""
    second = await put(conn, job_type="b", priority=3, run_at=-3 * HOUR)
    third = await put(conn, job_type="a", priority=3, run_at=-2 * HOUR)
    first = await put(conn, job_type="a", priority=4)
    fourth = await put(conn, job_type="b", priority=3, run_at=-HOUR)
    await put(conn, job_type="c", priority=9)

    assert [first, second, third] == ids(await claim(conn, "a", "b", limit=3))
    assert [fourth] == ids(await claim(conn, "a", "b"))


async def test_the_limit_takes_the_first_of_the_order(conn: asyncpg.Connection) -> None:
    """A claim takes as many as it was asked for: the first, and touches no other."""
    jobs = [await put(conn, priority=priority) for priority in (0, 1, 2, 0, 1, 2)]

    taken = ids(await claim(conn, limit=3))

    assert [jobs[2], jobs[5], jobs[1]] == taken
    assert taken == [job_id for job_id in taken if (await statuses(conn))[job_id] == "processing"]
    assert 3 == list((await statuses(conn)).values()).count("pending")


@pytest.mark.parametrize("limit", [1, 7, 500])
async def test_many_priorities(conn: asyncpg.Connection, limit: int) -> None:
    """The order holds over hundreds of priorities, the extremes of smallint among them."""
    await conn.execute(
        "INSERT INTO ops.jobs (job_type, priority, run_at)"
        " SELECT 'greet', p, now() - make_interval(secs => abs(p)) FROM unnest($1::int[]) AS p",
        [-32768, *range(300, 0, -1), 32767, 0],
    )
    order = await conn.fetch("SELECT id FROM ops.jobs ORDER BY priority DESC, run_at, id")

    assert [job["id"] for job in order][:limit] == ids(await claim(conn, limit=limit))


async def test_the_future_is_not_claimed(conn: asyncpg.Connection) -> None:
    """A job before its time stays, however high its priority; the one behind it is taken."""
    await put(conn, run_at=HOUR, priority=9)
    due = await put(conn)

    assert [due] == ids(await claim(conn))
    assert [] == ids(await claim(conn))


async def test_what_a_claim_hands_over(conn: asyncpg.Connection) -> None:
    """A claim carries the job, its attempt, what an earlier attempt kept, and its token."""
    correlation = uuid.uuid4()
    job_id = await put(
        conn,
        payload='{"name": "Ada"}',
        attempts=2,
        max_attempts=5,
        checkpoint='{"line": 7}',
        correlation_id=correlation,
    )

    claimed = await claim(conn)

    expected = Claim(
        job_id, "greet", '{"name": "Ada"}', 3, 5, 0, MINE, correlation, '{"line": 7}'
    )  # fmt: skip
    assert Claimed([expected]) == claimed


async def test_two_claimers_share(dsn: str, conn: asyncpg.Connection) -> None:
    """A claimer passes by what another has just taken and takes what follows, without waiting."""
    jobs = [await put(conn) for _ in range(4)]

    async with another(dsn) as rival, rival.transaction():
        first = ids(await claim(rival, limit=2))
        async with another(dsn) as patient:
            second = await store.claim(patient, ["greet"], 2, OTHER, LEASE, THEIRS)

    assert [jobs[:2], jobs[2:]] == [first, ids(second)]


async def test_a_claim_locks_only_what_it_takes(dsn: str, conn: asyncpg.Connection) -> None:
    """However many priorities there are, the jobs behind a claim are free for the next claimer."""
    jobs = [await put(conn, priority=priority) for priority in (9, 9, 5, 5, 0, 0)]

    async with another(dsn) as rival, rival.transaction():
        first = ids(await claim(rival, limit=2))
        second = ids(await claim(conn, limit=3))

    assert [jobs[:2], jobs[2:5]] == [first, second]


async def test_a_locked_row_is_passed_by(dsn: str, conn: asyncpg.Connection) -> None:
    """A row that anybody has locked is left for later, be it ordinary or a suspect."""
    first, second = await put(conn), await put(conn)
    third, fourth = await put(conn, "suspect"), await put(conn, "suspect")

    async with locked(dsn, first, third), another(dsn) as claimer:
        ordinary = await claim(claimer)
        suspect = (await store.claim_suspect(claimer, ["greet"], ME, LEASE, MINE)).job

    assert [second] == ids(ordinary)
    assert suspect is not None
    assert fourth == suspect.id


async def test_an_empty_claim_tells_when_the_next_is_due(conn: asyncpg.Connection) -> None:
    """The seconds until the first job of these types, of whatever priority."""
    await put(conn, run_at=2 * HOUR, priority=5)
    await put(conn, run_at=HOUR)
    await put(conn, run_at=timedelta(minutes=1), job_type="other")

    greet = await claim(conn)
    both = await claim(conn, "greet", "other")

    assert greet.due_in == pytest.approx(3600, abs=5)
    assert both.due_in == pytest.approx(60, abs=5)
    assert Claimed([], None, suspects_wait=False) == await claim(conn, "none of these")


async def test_due_in_is_the_databases_difference(conn: asyncpg.Connection) -> None:
    """due_in is exact: between the times that the database shows before and after the claim."""
    await put(conn, run_at=HOUR)
    left = "SELECT extract(epoch FROM run_at - clock_timestamp())::float8 FROM ops.jobs"

    before = await conn.fetchval(left)
    due_in = (await claim(conn)).due_in
    after = await conn.fetchval(left)

    assert due_in is not None
    assert before > due_in > after


async def test_due_in_counts_a_suspect_that_waits(conn: asyncpg.Connection) -> None:
    """A suspect put off to a later time is a job that will be due; one due now is no such time."""
    await put(conn, "suspect", run_at=HOUR)
    await put(conn, run_at=2 * HOUR)
    await put(conn, "suspect")

    claimed = await claim(conn)

    assert claimed.due_in == pytest.approx(3600, abs=5)
    assert claimed.suspects_wait


async def test_a_claim_that_found_something_says_nothing_more(conn: asyncpg.Connection) -> None:
    """Beside jobs there is no due_in and no word of suspects."""
    await put(conn)
    await put(conn, "suspect")

    claimed = await claim(conn)

    assert (None, False) == (claimed.due_in, claimed.suspects_wait)


async def test_suspects_are_claimed_singly(conn: asyncpg.Connection) -> None:
    """The ordinary claim leaves suspects; their own claim takes one, in the promised order."""
    second = await put(conn, "suspect", crashes=2)
    first = await put(conn, "suspect", priority=1)
    await put(conn, "suspect", run_at=HOUR, priority=9)
    await put(conn, "suspect", job_type="other", priority=9)

    empty = await claim(conn)
    taken = [(await store.claim_suspect(conn, ["greet"], ME, LEASE, MINE)).job for _ in range(3)]

    assert ([], True) == (empty.jobs, empty.suspects_wait)
    assert [(first, 1, 1), (second, 1, 2), None] == [
        one and (one.id, one.attempt, one.crashes) for one in taken
    ]


@pytest.mark.parametrize(
    ("state", "columns", "wait"),
    [
        ("suspect", {}, True),
        ("suspect", {"run_at": HOUR}, False),
        ("suspect", {"job_type": "other"}, False),
        ("theirs", {"crashes": 1}, False),
    ],
)
async def test_suspects_wait(
    conn: asyncpg.Connection, state: str, columns: dict[str, object], wait: bool
) -> None:
    """An empty claim tells of suspects of its types only while one is due and nobody's."""
    await put(conn, state, **columns)

    assert wait is (await claim(conn)).suspects_wait


async def test_unclaim_gives_back_only_its_tokens(conn: asyncpg.Connection) -> None:
    """What claims with these tokens took is pending as before; other claims are untouched."""
    ours, more = await put(conn, "ours"), await put(conn, "ours", lock_token=12)
    theirs = await put(conn, "theirs")

    assert [ours, more] == sorted(await store.unclaim(conn, [MINE, 12, 13]))
    assert {ours: "pending", more: "pending", theirs: "processing"} == await statuses(conn)


async def test_unclaim_yields_to_a_taken_key(conn: asyncpg.Connection) -> None:
    """A job that would return while a pending one has its key is cancelled as superseded."""
    older = await put(conn, "ours", unique_key="k")
    newer = await put(conn, "ours", unique_key="k", lock_token=12)
    other = await put(conn, "ours", unique_key="j")
    waiting = await put(conn, unique_key="j")

    await store.unclaim(conn, [MINE, 12])

    assert {
        older: "cancelled", newer: "pending", other: "cancelled", waiting: "pending"
    } == await statuses(conn)  # fmt: skip
