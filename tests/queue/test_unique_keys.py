"""At most one pending job per type and key: what a second enqueue, a return and a race get."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from dragonfly.job import Finish, JobStatus
from dragonfly.queue import store
from dragonfly.queue.bulk import enqueue_many
from dragonfly.queue.store import enqueue
from tests.queue.rows import (
    LEASE,
    ME,
    MINE,
    again,
    another,
    put,
    row,
    statuses,
    until_blocked,
)

SUPERSEDED = "superseded: another pending job has its unique key"


async def test_the_second_gets_the_firsts_id(conn: asyncpg.Connection) -> None:
    """While a job with the key waits, another is not added, and the first is not changed."""
    first = await enqueue(conn, "greet", {"n": 1}, unique_key="k", priority=1)
    second = await enqueue(conn, "greet", {"n": 2}, unique_key="k", priority=2)

    assert first == second
    assert ({"n": 1}, 1) == (
        (await row(conn, first))["payload"],
        (await row(conn, first))["priority"],
    )


async def test_keys_belong_to_a_type(conn: asyncpg.Connection) -> None:
    """The same key of another type, another key, and no key at all are all new jobs."""
    ids = {
        await enqueue(conn, "greet", {}, unique_key="k"),
        await enqueue(conn, "stamp", {}, unique_key="k"),
        await enqueue(conn, "greet", {}, unique_key="K"),
        await enqueue(conn, "greet", {}),
        await enqueue(conn, "greet", {}),
    }

    assert 5 == len(ids)


@pytest.mark.parametrize("many", [False, True])
async def test_the_first_waits_for_the_seconds_commit(
    dsn: str, conn: asyncpg.Connection, many: bool
) -> None:
    """A job that stands for a second enqueue is claimed after its commit, and sees its rows."""
    job_id = await enqueue(conn, "greet", {}, unique_key="k")
    async with another(dsn) as second:
        async with second.transaction():
            if many:
                await enqueue_many(second, "greet", [{}], unique_keys=["k"])
            else:
                await enqueue(second, "greet", {}, unique_key="k")
            before = await store.claim(conn, ["greet"], 9, ME, LEASE, MINE)
        after = await store.claim(conn, ["greet"], 9, ME, LEASE, MINE)

    assert ([], [job_id]) == (before.jobs, [job.id for job in after.jobs])


@pytest.mark.parametrize("state", ["ours", "completed", "failed", "cancelled"])
async def test_only_a_waiting_job_has_its_key(conn: asyncpg.Connection, state: str) -> None:
    """A job that runs or has ended does not stop a new one with its key."""
    before = await put(conn, state, unique_key="k")

    assert before != await enqueue(conn, "greet", {}, unique_key="k")


async def test_a_suspect_has_its_key(conn: asyncpg.Connection) -> None:
    """A job that waits after a crash is a waiting job."""
    suspect = await put(conn, "suspect", unique_key="k")

    assert suspect == await enqueue(conn, "greet", {}, unique_key="k")


async def test_the_table_keeps_the_rule(conn: asyncpg.Connection) -> None:
    """A plain INSERT cannot break it either."""
    await put(conn, unique_key="k")

    with pytest.raises(asyncpg.UniqueViolationError):
        await put(conn, unique_key="k")


async def test_a_return_to_a_taken_key(conn: asyncpg.Connection) -> None:
    """A retry whose key a newer job has by now is cancelled as superseded, with its error kept."""
    job_id = await put(conn, "ours", unique_key="k")
    waiting = await enqueue(conn, "greet", {}, unique_key="k")

    written = await store.finish(conn, [again(job_id, error="timeout", delay=60.0)])

    after = await row(conn, job_id)
    assert {job_id: JobStatus.CANCELLED} == written
    assert {job_id: "cancelled", waiting: "pending"} == await statuses(conn)
    assert (SUPERSEDED, "now", "timeout") == (
        after["last_error"], after["finished_at"], after["errors"][0]["error"]
    )  # fmt: skip


async def test_two_returns_with_one_key(conn: asyncpg.Connection) -> None:
    """Of two that return together the newer stays; those that end otherwise do not count."""
    older, newer = [await put(conn, "ours", unique_key="k") for _ in range(2)]
    ending, returning = [await put(conn, "ours", unique_key="j") for _ in range(2)]
    other = await put(conn, "ours", job_type="stamp", unique_key="k")
    plain = [await put(conn, "ours") for _ in range(2)]
    last = await put(conn, "ours", unique_key="j")

    written = await store.finish(
        conn,
        [again(job_id, refund=True) for job_id in (newer, older, returning, other, *plain)]
        + [Finish(job_id, MINE, JobStatus.FAILED, error="no") for job_id in (ending, last)],
    )

    assert {
        older: "cancelled", newer: "pending", ending: "failed", returning: "pending",
        other: "pending", plain[0]: "pending", plain[1]: "pending", last: "failed",
    } == await statuses(conn) == written  # fmt: skip


async def test_an_end_does_not_care_for_the_key(conn: asyncpg.Connection) -> None:
    """A job that ends for good ends as it should, whoever waits with its key."""
    job_id = await put(conn, "ours", unique_key="k")
    await enqueue(conn, "greet", {}, unique_key="k")

    await store.finish(conn, [Finish(job_id, MINE, JobStatus.FAILED, error="NO_FILE")])

    after = await row(conn, job_id)
    assert ("failed", "NO_FILE") == (after["status"], after["last_error"])


async def test_retry_by_hand_is_refused_while_the_key_is_taken(conn: asyncpg.Connection) -> None:
    """A dead job does not push aside, nor stand beside, the one that waits with its key."""
    dead = await put(conn, "failed", unique_key="k")
    before = await row(conn, dead)
    waiting = await enqueue(conn, "greet", {}, unique_key="k")

    assert not await store.retry(conn, dead)
    assert before == await row(conn, dead)
    await store.cancel(conn, waiting, "make room")
    assert await store.retry(conn, dead)


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("commits", [True, False])
async def test_a_race_of_two_enqueuers(
    dsn: str, conn: asyncpg.Connection, many: bool, commits: bool
) -> None:
    """The second waits for the first's transaction: its id if that commits, else a new job."""

    async def second(late: asyncpg.Connection) -> int:
        if many:
            return (await enqueue_many(late, "greet", [{"n": 2}], unique_keys=["k"]))[0]
        return await enqueue(late, "greet", {"n": 2}, unique_key="k")

    async with another(dsn) as early, another(dsn) as late:
        work = early.transaction()
        await work.start()
        first_id = await enqueue(early, "greet", {"n": 1}, unique_key="k")
        racing = asyncio.create_task(second(late))
        await until_blocked(conn)
        await (work.commit() if commits else work.rollback())
        second_id = await racing

    assert commits == (first_id == second_id)
    assert {"n": 1 if commits else 2} == (await row(conn, second_id))["payload"]
    assert 1 == await conn.fetchval("SELECT count(*) FROM ops.jobs")


@pytest.mark.parametrize("many", [False, True])
async def test_a_race_with_a_claim(dsn: str, conn: asyncpg.Connection, many: bool) -> None:
    """A key that is claimed while an enqueuer waits for it is free: the enqueuer adds its job."""
    async with another(dsn) as early, another(dsn) as late:
        work = early.transaction()
        await work.start()
        first_id = await enqueue(early, "greet", {}, unique_key="k")
        await store.claim(early, ["greet"], 1, ME, LEASE, MINE)
        await enqueue(early, "greet", {}, unique_key="k")
        adding = asyncio.create_task(
            enqueue_many(late, "greet", [{}], unique_keys=["k"])
            if many
            else enqueue(late, "greet", {}, unique_key="k")
        )
        await until_blocked(conn)
        await store.claim(early, ["greet"], 1, ME, LEASE, 12)
        await work.commit()
        answer = await adding

    second_id = answer[0] if isinstance(answer, list) else answer
    assert {first_id: "processing", first_id + 1: "processing", second_id: "pending"} == (
        await statuses(conn)
    )


async def test_a_serializable_caller_is_told(dsn: str, conn: asyncpg.Connection) -> None:
    """A snapshot that cannot see the job with the key ends in an error to retry, not in a loop."""
    async with another(dsn) as caller, caller.transaction(isolation="repeatable_read"):
        await caller.fetchval("SELECT count(*) FROM ops.jobs")
        await enqueue(conn, "greet", {}, unique_key="k")
        with pytest.raises(asyncpg.SerializationError):
            await asyncio.wait_for(enqueue(caller, "greet", {}, unique_key="k"), 5)
