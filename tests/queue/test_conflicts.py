"""What a second enqueue does to the job that waits with its key: skip, replace, reschedule."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import anyio
import asyncpg
import pytest

from dragonfly import Job, Worker
from dragonfly.events import JobFinished, ListenerConnected
from dragonfly.queue import store
from dragonfly.queue.bulk import NewJob, enqueue_each, enqueue_many
from dragonfly.queue.store import JOBS_CHANNEL, OnConflict, enqueue, payload_json
from tests.queue.rows import (
    LEASE,
    ME,
    MINE,
    again,
    another,
    changes,
    listening,
    put,
    row,
    statuses,
    until_blocked,
)
from tests.support import running

Add = Callable[..., Awaitable[int]]
HOUR = timedelta(hours=1)
CORRELATION = uuid.UUID("6f1c0c36-9d5b-4f0e-8f67-3f0a3c2d9b11")
CHOICES: list[OnConflict] = ["skip", "replace", "reschedule"]


async def _one(conn: asyncpg.Connection, payload: Any, **options: Any) -> int:
    return await enqueue(conn, "greet", payload, unique_key="k", **options)


async def _many(conn: asyncpg.Connection, payload: Any, **options: Any) -> int:
    limit = options.pop("concurrency_key", None)
    (job_id,) = await enqueue_many(
        conn, "greet", [payload], unique_keys=["k"], concurrency_keys=[limit], **options
    )
    return job_id


async def _each(conn: asyncpg.Connection, payload: Any, **options: Any) -> int:
    (job_id,) = await enqueue_each(
        conn, [NewJob("greet", payload_json(payload), unique_key="k", **options)]
    )
    return job_id


each_way = pytest.mark.parametrize("add", [_one, _many, _each])


async def hours(conn: asyncpg.Connection, number: float) -> datetime:
    """A time so many hours from the database's now."""
    now: datetime = await conn.fetchval("SELECT clock_timestamp()")
    return now + number * HOUR


@each_way
async def test_replace(conn: asyncpg.Connection, add: Add) -> None:
    """The pending job gets the new payload and all options, as if it had been added so."""
    job_id = await add(conn, {"n": 1}, priority=9, max_attempts=3, correlation_id=CORRELATION)
    before = await row(conn, job_id)

    options: dict[str, Any] = {"priority": 2, "concurrency_key": "c", "parent_id": 41}
    when = {"run_at": await hours(conn, 1), "due_at": await hours(conn, 2)}
    same = await add(conn, {"n": 2}, **options, **when, on_conflict="replace")

    expected = options | {"payload": {"n": 2}, "max_attempts": 8, "correlation_id": None}
    times = {"run_at": "+3600 s", "due_at": "+7200 s"}
    assert (job_id, expected | times) == (same, changes(before, await row(conn, job_id)))


@each_way
async def test_replace_without_a_time(conn: asyncpg.Connection, add: Add) -> None:
    """Without a run_at, a replaced job comes when it was to come."""
    job_id = await add(conn, {"n": 1}, run_at=await hours(conn, 1))
    before = await row(conn, job_id)

    await add(conn, {"n": 2}, on_conflict="replace")

    assert {"payload": {"n": 2}} == changes(before, await row(conn, job_id))


@each_way
async def test_reschedule(conn: asyncpg.Connection, add: Add) -> None:
    """Only the time of the pending job is moved: later, sooner, or to now."""
    job_id = await add(conn, {"n": 1}, priority=9, run_at=await hours(conn, 1))
    before = await row(conn, job_id)
    seen = []

    for number in (2, 0.5, None):
        when = {} if number is None else {"run_at": await hours(conn, number)}
        same = await add(conn, {"n": 2}, priority=1, on_conflict="reschedule", **when)
        seen.append((same, changes(before, await row(conn, job_id))))

    assert [(job_id, {"run_at": at}) for at in ("+7200 s", "+1800 s", "now")] == seen


@each_way
@pytest.mark.parametrize("on_conflict", ["replace", "reschedule"])
@pytest.mark.parametrize("state", [None, "ours", "failed"])
async def test_a_free_key(
    conn: asyncpg.Connection, add: Add, on_conflict: OnConflict, state: str | None
) -> None:
    """While no job waits with the key, each choice adds one and touches nothing."""
    old = None if state is None else await put(conn, state, unique_key="k")
    before = None if old is None else await row(conn, old)

    new = await add(conn, {"n": 2}, priority=3, on_conflict=on_conflict)

    added = await row(conn, new)
    assert new != old
    assert ({"n": 2}, 3, "now") == (added["payload"], added["priority"], added["run_at"])
    if old is not None:
        assert before == await row(conn, old)


@each_way
async def test_a_retry_that_is_changed(conn: asyncpg.Connection, add: Add) -> None:
    """What failed before keeps its attempts, crashes and errors, and a checkpoint its payload."""
    job_id = await put(
        conn, "ours", unique_key="k", attempts=2, crashes=1,
        checkpoint='{"line": 7}', progress='{"percent": 9}',
    )  # fmt: skip
    await store.finish(conn, [again(job_id, error="timeout", delay=60.0)])
    before = await row(conn, job_id)

    await add(conn, {}, run_at=await hours(conn, 1), on_conflict="reschedule")
    moved = await row(conn, job_id)
    await add(conn, {"n": 2}, on_conflict="replace")

    assert {"run_at": "+3600 s"} == changes(before, moved)
    assert {"payload": {"n": 2}, "checkpoint": None, "progress": None} == (
        changes(moved, await row(conn, job_id))
    )


@pytest.mark.parametrize("on_conflict", CHOICES)
async def test_without_a_key_there_is_no_conflict(
    conn: asyncpg.Connection, on_conflict: OnConflict
) -> None:
    """Jobs without a unique key are all added."""
    ids = [
        await enqueue(conn, "greet", {}, on_conflict=on_conflict),
        await enqueue(conn, "greet", {}, on_conflict=on_conflict),
        *await enqueue_many(conn, "greet", [{}] * 3, on_conflict=on_conflict),
        *await enqueue_many(conn, "greet", [{}] * 60, on_conflict=on_conflict),
    ]

    assert ids == sorted(set(ids))


async def test_an_unknown_choice(conn: asyncpg.Connection) -> None:
    """What is no choice is refused with those that are, in Python and in SQL; null is skip."""
    wrong: Any = "update"
    sql = "SELECT ops.enqueue_job('greet', unique_key => 'k', on_conflict => $1)"

    with pytest.raises(ValueError, match=r"on_conflict is 'update'; .* skip, replace, reschedule"):
        await enqueue(conn, "greet", {}, on_conflict=wrong)
    with pytest.raises(ValueError, match=r"on_conflict is 'update'"):
        await enqueue_many(conn, "greet", [{}], on_conflict=wrong)
    with pytest.raises(asyncpg.InvalidParameterValueError, match="skip, replace or reschedule"):
        await conn.fetchval(sql, wrong)
    assert await conn.fetchval(sql, "skip") == await conn.fetchval(sql, None)


@pytest.mark.unpooled("transaction", reason="it is about NOTIFY being heard")
@each_way
@pytest.mark.parametrize("on_conflict", ["replace", "reschedule"])
async def test_who_is_rung(
    dsn: str, conn: asyncpg.Connection, add: Add, on_conflict: OnConflict
) -> None:
    """Workers are rung, at the commit, when a job comes sooner; not when it waits longer."""
    await put(conn, unique_key="k", run_at=2 * HOUR)
    later, soon, undone = await hours(conn, 3), await hours(conn, 1), await hours(conn, 0.5)
    async with listening(dsn, JOBS_CHANNEL) as heard:
        await add(conn, {}, run_at=later, on_conflict=on_conflict)
        work = conn.transaction()
        await work.start()
        await add(conn, {}, run_at=undone, on_conflict=on_conflict)
        await work.rollback()
        if on_conflict == "replace":
            await add(conn, {}, on_conflict=on_conflict)
    assert [] == heard
    async with listening(dsn, JOBS_CHANNEL) as heard:
        await add(conn, {}, run_at=soon, on_conflict=on_conflict)

    assert [(JOBS_CHANNEL, "greet")] == heard


@each_way
@pytest.mark.parametrize("commits", [True, False])
@pytest.mark.parametrize("on_conflict", CHOICES)
async def test_a_race_for_a_new_key(
    dsn: str, conn: asyncpg.Connection, add: Add, commits: bool, on_conflict: OnConflict
) -> None:
    """The second waits for the first's transaction, then changes its job or adds one."""
    async with another(dsn) as early, another(dsn) as late:
        work = early.transaction()
        await work.start()
        first = await add(early, {"n": 1}, run_at=await hours(conn, 1), on_conflict=on_conflict)
        racing = asyncio.ensure_future(add(late, {"n": 2}, on_conflict=on_conflict))
        await until_blocked(conn)
        await (work.commit() if commits else work.rollback())
        second = await racing

    after = await row(conn, second)
    expected = {
        "skip": ({"n": 1}, "+3600 s"),
        "replace": ({"n": 2}, "+3600 s"),
        "reschedule": ({"n": 1}, "now"),
    }[on_conflict] if commits else ({"n": 2}, "now")  # fmt: skip
    assert commits == (first == second)
    assert expected == (after["payload"], after["run_at"])
    assert 1 == await conn.fetchval("SELECT count(*) FROM ops.jobs")


@each_way
@pytest.mark.parametrize("on_conflict", ["replace", "reschedule"])
async def test_a_race_with_a_claim(
    dsn: str, conn: asyncpg.Connection, add: Add, on_conflict: OnConflict
) -> None:
    """A job claimed while an enqueuer waits to change it runs as it was; a new one is added."""
    first = await put(conn, unique_key="k", payload='{"n": 1}')
    async with another(dsn) as early, another(dsn) as late:
        work = early.transaction()
        await work.start()
        assert [first] == [
            job.id for job in (await store.claim(early, ["greet"], 1, ME, LEASE, MINE)).jobs
        ]
        changing = asyncio.ensure_future(add(late, {"n": 2}, on_conflict=on_conflict))
        await until_blocked(conn)
        await work.commit()
        second = await changing

    assert {first: "processing", second: "pending"} == await statuses(conn)
    assert [{"n": 1}, {"n": 2}] == [(await row(conn, one))["payload"] for one in (first, second)]


@each_way
@pytest.mark.parametrize("on_conflict", ["replace", "reschedule"])
async def test_a_claim_passes_by_what_is_being_changed(
    dsn: str, conn: asyncpg.Connection, add: Add, on_conflict: OnConflict
) -> None:
    """A job in the hands of an open transaction holds up no claim, and comes out changed."""
    changed, other = await put(conn, unique_key="k"), await put(conn)
    async with another(dsn) as caller, caller.transaction():
        await add(caller, {"n": 2}, on_conflict=on_conflict)
        claimed = (await store.claim(conn, ["greet"], 9, ME, LEASE, MINE)).jobs
        assert [other] == [job.id for job in claimed]
    claimed = (await store.claim(conn, ["greet"], 9, ME, LEASE, MINE)).jobs

    assert [changed] == [job.id for job in claimed]


@pytest.mark.unpooled("transaction", reason="it is about NOTIFY being heard")
async def test_a_worker_takes_what_is_moved_to_now(dsn: str, conn: asyncpg.Connection) -> None:
    """A worker that would look again in minutes runs a job that is moved to now."""
    worker = Worker("greeter")

    @worker.job("greet")
    async def greet(job: Job[int]) -> int:
        return job.payload

    await enqueue(conn, "greet", 0)
    job_id = await enqueue(conn, "greet", 1, unique_key="k", run_at=await hours(conn, 1))
    async with running(dsn, worker, poll_seconds=300) as (_, recorder):
        await recorder.wait_for(ListenerConnected)
        await recorder.wait_for(JobFinished)
        await enqueue(conn, "greet", 2, unique_key="k", on_conflict="replace")
        await enqueue(conn, "greet", 3, unique_key="k", on_conflict="reschedule")
        await recorder.wait_for(JobFinished, count=2)

    after = await row(conn, job_id)
    assert ("completed", 2) == (after["status"], after["result"])


@pytest.mark.parametrize("on_conflict", CHOICES)
async def test_a_crowd_with_one_key(
    dsn: str, conn: asyncpg.Connection, on_conflict: OnConflict
) -> None:
    """Enqueuers of one key beside workers that claim it do not fail, and none is forgotten."""
    rounds, answers = 40, []

    async def add_all(add: Add) -> None:
        async with another(dsn) as mine:
            for n in range(rounds):
                answers.append(await add(mine, {"n": n}, on_conflict=on_conflict))  # noqa: PERF401

    async def claim_all() -> None:
        async with another(dsn) as mine:
            for token in range(1, rounds):
                for job in (await store.claim(mine, ["greet"], 5, ME, LEASE, token)).jobs:
                    await store.complete_batch(mine, [job.id], token)

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            for add in (_one, _one, _many, _each):
                group.start_soon(add_all, add)
            group.start_soon(claim_all)
            group.start_soon(claim_all)

    known = await statuses(conn)
    assert 4 * rounds == len(answers)
    assert set(answers) == set(known)
    assert {"completed", "pending"} >= set(known.values())
