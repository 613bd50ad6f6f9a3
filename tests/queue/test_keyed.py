"""Jobs with a concurrency key: of each key only so many run, whoever claims, and nobody starves."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import asyncpg
import pytest

from dragonfly.job import Completion
from dragonfly.queue import keyed, store
from dragonfly.queue.keyed import ClaimedKeyed
from tests.queue.rows import LEASE, ME, MINE, another, listening, put, statuses

HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)


async def claim(
    conn: asyncpg.Connection, *types: str, limit: int = 100, per_key: int = 1, behind: str = ""
) -> ClaimedKeyed:
    return await keyed.claim_keyed(
        conn, types or ["greet"], limit, per_key, ME, LEASE, MINE, behind=behind
    )


def ids(claimed: ClaimedKeyed) -> list[int]:
    return [job.id for job in claimed.jobs]


async def test_one_of_each_key(conn: asyncpg.Connection) -> None:
    """The first job of each key is taken, in the order of claims; the others wait."""
    second = await put(conn, concurrency_key="a", run_at=-2 * HOUR)
    await put(conn, concurrency_key="a", run_at=-HOUR)
    first = await put(conn, concurrency_key="b", run_at=-3 * HOUR)
    await put(conn, concurrency_key="b", run_at=-HOUR)

    assert [first, second] == ids(await claim(conn))
    assert ClaimedKeyed([]) == await claim(conn)


@pytest.mark.parametrize("per_key", [2, 3])
async def test_as_many_as_the_worker_says(conn: asyncpg.Connection, per_key: int) -> None:
    """What runs already counts, by whomever and of whatever type."""
    await put(conn, "theirs", concurrency_key="a", job_type="other")
    jobs = [await put(conn, concurrency_key="a") for _ in range(5)]

    assert jobs[: per_key - 1] == ids(await claim(conn, per_key=per_key))
    assert [] == ids(await claim(conn, per_key=per_key))


@pytest.mark.unpooled("transaction", reason="it is about NOTIFY being heard")
async def test_an_ended_job_makes_room(dsn: str, conn: asyncpg.Connection) -> None:
    """When a job of the key ends, the next is claimable, and its type's workers are rung."""
    first, second = [await put(conn, concurrency_key="a") for _ in range(2)]
    (held,) = (await claim(conn)).jobs

    async with listening(dsn, store.JOBS_CHANNEL) as heard:
        await store.complete_within(conn, held, Completion(None))

    assert first == held.id
    assert [("ops_jobs", "greet")] == heard
    assert [second] == ids(await claim(conn))


async def test_the_limit_and_the_priority(conn: asyncpg.Connection) -> None:
    """A claim takes as many as it was asked for, of higher priority first."""
    await put(conn, concurrency_key="a")
    high = await put(conn, concurrency_key="b", priority=3)
    higher = await put(conn, concurrency_key="c", priority=4)

    assert [higher, high] == ids(await claim(conn, limit=2))


async def test_jobs_without_a_key_have_their_turn(conn: asyncpg.Connection) -> None:
    """What stands behind the first due job without a key is left until that was claimed."""
    early = await put(conn, concurrency_key="a", run_at=-3 * HOUR)
    plain = await put(conn, run_at=-2 * HOUR)
    late = await put(conn, concurrency_key="b", run_at=-HOUR)
    high = await put(conn, concurrency_key="c", priority=1)
    await put(conn, priority=9, run_at=HOUR)

    assert [high, early] == ids(await claim(conn))
    ordinary = await store.claim(conn, ["greet"], 9, ME, LEASE, MINE)
    assert [plain] == [job.id for job in ordinary.jobs]
    assert [late] == ids(await claim(conn))


async def test_claims_of_jobs_without_a_key_pass_them_by(conn: asyncpg.Connection) -> None:
    """An ordinary claim takes no job with a key, and an empty one tells that there are some."""
    await put(conn, concurrency_key="a")

    head = await store.claim_head(conn, ["greet"], 9, ME, LEASE, MINE)
    whole = await store.claim(conn, ["greet"], 9, ME, LEASE, MINE)
    others = await store.claim(conn, ["other"], 9, ME, LEASE, MINE)

    assert ([], [], True, False) == (head, whole.jobs, whole.keyed_wait, others.keyed_wait)


async def test_the_next_due_time(conn: asyncpg.Connection) -> None:
    """Without a claimable job the answer says in how many seconds one is due, of any priority."""
    await put(conn, concurrency_key="a", priority=5, run_at=HOUR)
    await put(conn, concurrency_key="b", run_at=HOUR / 2)

    found = await claim(conn)

    assert [] == found.jobs
    assert 1795 < (found.due_in or 0) <= 1800


async def test_busy_keys_in_front_hold_nobody_up(conn: asyncpg.Connection) -> None:
    """Though thousands of jobs of a busy key come first, the other keys are found, each in turn."""
    await put(conn, "theirs", concurrency_key="m")
    await conn.execute(
        "INSERT INTO ops.jobs (job_type, concurrency_key, run_at) SELECT 'greet', 'm',"
        " now() - interval '1 hour' FROM generate_series(1, 1000)"
    )
    others = {await put(conn, concurrency_key=key): key for key in ("b", "y", "z", "c")}

    first = await claim(conn, limit=2)
    second = await claim(conn, limit=1, behind=first.behind)
    third = await claim(conn, limit=1, behind=second.behind)

    taken = [others[job_id] for job_id in ids(first) + ids(second) + ids(third)]
    assert [["b", "c"], "y", "z"] == [sorted(taken[:2]), *taken[2:]]
    assert [] == ids(await claim(conn, behind=third.behind))


async def test_around_comes_to_every_key(conn: asyncpg.Connection) -> None:
    """However many keys have nothing due, look after look goes on until all were seen."""
    await put(conn, "theirs", concurrency_key="m")
    await conn.execute(
        "INSERT INTO ops.jobs (job_type, concurrency_key, run_at) SELECT 'greet', 'm',"
        " now() - interval '1 hour' FROM generate_series(1, 600)"
    )
    await conn.execute(
        "INSERT INTO ops.jobs (job_type, concurrency_key, run_at)"
        " SELECT 'greet', 'n' || n, now() + interval '1 hour' FROM generate_series(1, 600) AS n"
    )
    last = await put(conn, concurrency_key="z")

    looks, found = 1, await claim(conn, behind="zz")
    while not found.jobs:
        assert (found.due_in or 0) < 0  # to be repeated soon
        looks, found = looks + 1, await claim(conn, behind=found.behind)

    assert ([last], True) == (ids(found), looks > 2)


async def test_a_locked_key_is_passed_by(dsn: str, conn: asyncpg.Connection) -> None:
    """A claimer frozen between its two statements holds up nobody: others take other keys."""
    await put(conn, concurrency_key="a")
    free = await put(conn, concurrency_key="b")
    async with another(dsn) as frozen, frozen.transaction():
        await frozen.fetch(keyed.LOCK_KEYS, ["greet"], 1, 1, "")

        assert [free] == ids(await claim(conn))
        contended = await claim(conn)

    assert ([], True) == (contended.jobs, (contended.due_in or 0) < 0)


@pytest.mark.parametrize("per_key", [1, 3])
async def test_many_claimers_never_overshoot(
    dsn: str, conn: asyncpg.Connection, per_key: int
) -> None:
    """However many claim at once and end jobs meanwhile, no key ever runs more than its limit."""
    await conn.execute(
        "INSERT INTO ops.jobs (job_type, concurrency_key)"
        " SELECT 'greet', 'key ' || n % 5 FROM generate_series(1, 400) AS n"
    )
    most: list[int] = []

    async def work(number: int) -> None:
        async with another(dsn) as mine:
            token = 1000 * number
            while await mine.fetchval(
                "SELECT EXISTS (SELECT FROM ops.jobs WHERE finished_at IS NULL)"
            ):
                token += 1
                found = await keyed.claim_keyed(mine, ["greet"], 3, per_key, ME, LEASE, token)
                most.append(
                    await mine.fetchval(
                        "SELECT coalesce(max(n), 0) FROM (SELECT count(*) AS n FROM ops.jobs"
                        " WHERE status = 'processing' GROUP BY concurrency_key) AS running"
                    )
                )
                for job in found.jobs:
                    await store.complete_within(mine, job, Completion(None))

    await asyncio.gather(*(work(number) for number in range(1, 7)))

    assert per_key == max(most)
    assert {"completed"} == set((await statuses(conn)).values())


async def test_suspects_keep_to_the_limit(conn: asyncpg.Connection) -> None:
    """A job that was in flight at a crash waits for its key like any other, and is taken apart."""
    await put(conn, "theirs", concurrency_key="a")
    await put(conn, "suspect", concurrency_key="a")
    free = await put(conn, "suspect", concurrency_key="b")

    options = (conn, ["greet"], 1, ME, LEASE, MINE)
    taken = await keyed.claim_keyed_suspect(*options)

    assert free == (taken and taken.id)
    assert None is await keyed.claim_keyed_suspect(*options)
    assert None is (await store.claim_suspect(conn, ["greet"], ME, LEASE, MINE)).job
    assert [] == ids(await claim(conn))


async def test_keys_cross_types(conn: asyncpg.Connection) -> None:
    """A key counts over all job types, and of several types the first in order is taken."""
    first = await put(conn, concurrency_key="a", job_type="x", run_at=-2 * SECOND)
    await put(conn, concurrency_key="a", job_type="y", run_at=-SECOND)

    assert [first] == ids(await claim(conn, "x", "y"))
