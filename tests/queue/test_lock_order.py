"""Statements about many jobs: no deadlocks, and none is held up by one locked row."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence

import asyncpg
import pytest

from dragonfly.queue import store
from tests.queue.rows import (
    LEASE,
    ME,
    MINE,
    again,
    another,
    done,
    held,
    locked,
    put,
    statuses,
    until_blocked,
)

Many = Callable[[asyncpg.Connection, Sequence[int]], Awaitable[set[int]]]


async def complete(conn: asyncpg.Connection, ids: Sequence[int]) -> set[int]:
    return set(await store.complete(conn, [done(job_id) for job_id in ids]))


async def finish(conn: asyncpg.Connection, ids: Sequence[int]) -> set[int]:
    return set(await store.finish(conn, [again(job_id, refund=True) for job_id in ids]))


async def renew(conn: asyncpg.Connection, ids: Sequence[int]) -> set[int]:
    return await store.renew(conn, [held(job_id) for job_id in ids], LEASE)


async def rescue(conn: asyncpg.Connection, _: Sequence[int]) -> set[int]:
    rescued = await store.rescue(conn, 3)
    return {*rescued.returned, *rescued.failed}


@pytest.mark.parametrize("verb", [complete, finish, renew, rescue])
@pytest.mark.parametrize("crashes", [0, 1])
async def test_a_locked_row_is_passed_over(
    dsn: str, conn: asyncpg.Connection, verb: Many, crashes: int
) -> None:
    """A row that somebody has locked does not hold up the others, and is served the next time."""
    ids = [await put(conn, "lapsed", crashes=crashes, locked_by=f"w.1@{n}") for n in range(3)]

    async with another(dsn) as worker:
        async with locked(dsn, ids[1]):
            first = await verb(worker, ids)
        second = await verb(worker, ids)

    assert {ids[0], ids[2]} == first
    assert {ids[1]} == second - first


async def test_the_quick_completion_is_all_or_nothing(dsn: str, conn: asyncpg.Connection) -> None:
    """The one that does not pass rows over gives up at the session's bound, and writes nothing."""
    ids = [await put(conn, "ours") for _ in range(3)]
    theirs = await put(conn, "theirs")

    async with another(dsn) as worker:
        await worker.execute("SET lock_timeout = '20ms'")
        async with locked(dsn, ids[1]):
            with pytest.raises(asyncpg.LockNotAvailableError):
                await store.complete_batch(worker, ids, MINE)
        before = await statuses(conn)
        written = await store.complete_batch(worker, [*reversed(ids), theirs], MINE)

    assert {"processing"} == set(before.values())
    assert 3 == written
    assert {**dict.fromkeys(ids, "completed"), theirs: "processing"} == await statuses(conn)


async def test_a_locked_row_is_not_lost(dsn: str, conn: asyncpg.Connection) -> None:
    """What a renewal or finish passed over still shows our token to a plain read."""
    job_id = await put(conn, "ours")

    async with locked(dsn, job_id):
        assert set() == await store.lost(conn, [(job_id, 11)])


async def test_unclaim_locks_in_id_order(dsn: str, conn: asyncpg.Connection) -> None:
    """The one statement that waits for locks takes them by id, wherever the rows lie."""
    low, high = await put(conn), await put(conn)
    # the index it searches has the higher id first
    for job_id, seconds in ((low, 60), (high, 30)):
        await conn.execute(
            "UPDATE ops.jobs SET status = 'processing', attempts = 1, lock_token = $2,"
            " locked_until = now() + make_interval(secs => $3) WHERE id = $1",
            job_id,
            MINE,
            seconds,
        )
    free = "SELECT id FROM ops.jobs WHERE id = $1 FOR UPDATE SKIP LOCKED"

    async with another(dsn) as worker:
        async with locked(dsn, low):
            unclaiming = asyncio.create_task(store.unclaim(worker, [MINE]))
            await until_blocked(conn)
            assert high == await conn.fetchval(free, high)
        assert {low, high} == set(await unclaiming)


async def test_opposite_orders_under_load(dsn: str, conn: asyncpg.Connection) -> None:
    """Renewals, finishes and rescues of the same jobs, all in other orders, never deadlock."""
    chance = random.Random(7)
    ids = [await put(conn, "ours") for _ in range(300)]
    hold = (
        "UPDATE ops.jobs SET status = 'processing', attempts = 1, lock_token = 11, crashes = 0,"
        " locked_by = 'w.1@x', finished_at = NULL, locked_until = clock_timestamp() +"
        " make_interval(secs => CASE WHEN id % 3 = 0 THEN -1 ELSE 60 END)"
    )

    def shuffled() -> list[int]:
        return chance.sample(ids, len(ids))

    async with another(dsn) as a, another(dsn) as b, another(dsn) as c, another(dsn) as d:
        for _ in range(15):
            await conn.execute(hold)
            completed, returned, renewed, rescued = await asyncio.gather(
                complete(a, shuffled()[:200]),
                finish(b, shuffled()[:200]),
                renew(c, sorted(ids, reverse=True)),
                rescue(d, ids),
            )
            now = await statuses(conn)
            assert completed == {job_id for job_id in ids if now[job_id] == "completed"}
            assert returned | rescued == {job_id for job_id in ids if now[job_id] == "pending"}
            assert not completed & returned
            assert not rescued & (completed | returned)
            assert renewed <= set(ids)


async def test_claimers_under_load(dsn: str, conn: asyncpg.Connection) -> None:
    """Any number of claimers at once take every job exactly once."""
    ids = [await put(conn, priority=n % 3, job_type="ab"[n % 2]) for n in range(200)]

    async def claimer(number: int) -> list[int]:
        taken: list[int] = []
        async with another(dsn) as mine:
            while jobs := (
                await store.claim(mine, ["a", "b"], 7, f"{ME}{number}", LEASE, number)
            ).jobs:
                taken += [job.id for job in jobs]
        return taken

    shares = await asyncio.gather(*(claimer(number) for number in range(1, 5)))

    left = {job_id for job_id, status in (await statuses(conn)).items() if status == "pending"}
    taken = [job_id for share in shares for job_id in share]
    assert len(taken) == len(set(taken))
    # an empty answer may mean that the others had what was left in their hands
    assert set(ids) - left == set(taken)
    owners = await conn.fetch(
        "SELECT id, lock_token FROM ops.jobs WHERE lock_token IS NOT NULL ORDER BY id"
    )
    assert [(job_id, n) for n, share in enumerate(shares, 1) for job_id in share] == sorted(
        [(one["id"], one["lock_token"]) for one in owners],
        key=lambda pair: (pair[1], shares[pair[1] - 1].index(pair[0])),
    )
