"""Many jobs in one call: their order, equal keys, keys that are taken, and two calls at once."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from dragonfly.queue.bulk import NewJob, enqueue_each, enqueue_many
from dragonfly.queue.store import OnConflict, enqueue
from tests.queue.rows import another, put, row, until_blocked

CHOICES: list[OnConflict] = ["skip", "replace", "reschedule"]


@pytest.mark.parametrize("on_conflict", CHOICES)
async def test_the_same_keys_in_opposite_order(
    dsn: str, conn: asyncpg.Connection, on_conflict: OnConflict
) -> None:
    """Of two batches with the same new keys one waits for the other, whatever their order."""
    orders = [["a", "m", "b"], ["b", "m", "a"]]
    async with another(dsn) as holder, another(dsn) as one, another(dsn) as two:
        work = holder.transaction()
        await work.start()
        await enqueue(holder, "greet", {}, unique_key="m")
        racing = []
        for caller, keys in zip((one, two), orders, strict=True):
            adding = enqueue_many(caller, "greet", keys, unique_keys=keys, on_conflict=on_conflict)
            racing.append(asyncio.ensure_future(adding))
            await until_blocked(conn, len(racing))
        await work.rollback()
        first, second = await asyncio.gather(*racing)

    assert first == second[::-1]
    assert 3 == await conn.fetchval("SELECT count(*) FROM ops.jobs")


@pytest.mark.parametrize(
    ("on_conflict", "kept"), [("skip", [0, 1]), ("replace", [4, 3]), ("reschedule", [0, 1])]
)
@pytest.mark.parametrize("waiting", [False, True])
async def test_equal_keys_of_one_batch(
    conn: asyncpg.Connection, on_conflict: OnConflict, kept: list[int], waiting: bool
) -> None:
    """Equal keys are one job, as one call after the other leaves it, where the first stood."""
    old = await put(conn, unique_key="a", payload='{"n": -1}') if waiting else None
    keys = ["a", "b", None, "b", "a"]
    payloads = ({"n": n} for n in range(5))

    ids = await enqueue_many(
        conn, "greet", payloads, unique_keys=iter(keys), on_conflict=on_conflict
    )

    a, b, plain, again_b, again_a = ids
    left = [(await row(conn, one))["payload"]["n"] for one in (a, b, plain)]
    assert (a, b) == (again_a, again_b)
    assert sorted({a, b, plain}) == [a, b, plain]
    if old is None or on_conflict == "replace":
        assert [*kept, 2] == left
    else:
        assert [-1, kept[1], 2] == left
    assert old in {None, a}


@pytest.mark.parametrize("on_conflict", CHOICES)
async def test_ten_thousand(conn: asyncpg.Connection, on_conflict: OnConflict) -> None:
    """A large batch, half of whose keys are taken, is answered in order and adds the rest."""
    count = 10_000
    old = await enqueue_many(
        conn, "greet", range(0, count, 2), unique_keys=[f"k{n}" for n in range(0, count, 2)]
    )

    ids = await enqueue_many(
        conn, "greet", (-n for n in range(count)),
        unique_keys=(f"k{n}" for n in range(count)), on_conflict=on_conflict,
    )  # fmt: skip

    payloads = {
        job["id"]: int(job["payload"])
        for job in await conn.fetch("SELECT id, payload FROM ops.jobs")
    }
    assert (old, count) == (ids[::2], len(payloads))
    assert sorted(ids[1::2]) == ids[1::2]
    sign = -1 if on_conflict == "replace" else 1
    assert [sign * n if n % 2 == 0 else -n for n in range(count)] == [payloads[i] for i in ids]


async def test_each_in_turn(conn: asyncpg.Connection) -> None:
    """Jobs of any types are numbered, and so run, in the order given, keyed or not."""
    types, keys = ("greet", "stamp"), (None, "a", None, "b", "a")
    jobs = [
        NewJob(types[n % 2], str(n), unique_key=keys[n % 5] and f"{keys[n % 5]}{n // 20}")
        for n in range(200)
    ]

    ids = await enqueue_each(conn, jobs)

    rows = {one["id"]: one for one in await conn.fetch("SELECT * FROM ops.jobs")}
    assert [(job.job_type, job.unique_key) for job in jobs] == [
        (rows[one]["job_type"], rows[one]["unique_key"]) for one in ids
    ]
    added = list(dict.fromkeys(ids))
    assert sorted(added) == added
    assert set(added) == rows.keys()
    assert [job.payload for job in jobs if job.unique_key is None] == [
        rows[one]["payload"] for one in added if rows[one]["unique_key"] is None
    ]


async def test_each_of_none(conn: asyncpg.Connection) -> None:
    """No jobs are no statement."""
    assert [] == await enqueue_each(conn, [])
