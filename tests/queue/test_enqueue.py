"""Enqueuing from Python and from SQL: transactions, options, batches, and what is refused."""

from __future__ import annotations

import contextlib
import json
import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
from pydantic import BaseModel

from dragonfly.errors import UnfitValue
from dragonfly.queue import bulk, store
from dragonfly.queue.bulk import enqueue_many
from dragonfly.queue.store import enqueue
from tests.queue.rows import another, listening, put, row

WHEN = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)
CORRELATION = uuid.UUID("6f1c0c36-9d5b-4f0e-8f67-3f0a3c2d9b11")
DEFAULTS = {
    "job_type": "greet",
    "payload": {},
    "status": "pending",
    "priority": 0,
    "run_at": "now",
    "created_at": "now",
    "attempts": 0,
    "max_attempts": 8,
    "crashes": 0,
}
OPTIONS: dict[str, Any] = {
    "run_at": WHEN,
    "priority": -7,
    "unique_key": "k",
    "concurrency_key": "c",
    "max_attempts": 3,
    "due_at": WHEN,
    "correlation_id": CORRELATION,
    "parent_id": 41,
}


class Greeting(BaseModel):
    name: str


async def written(conn: asyncpg.Connection, job_id: int) -> dict[str, Any]:
    """The columns of a job that are not null, but for its id."""
    return {
        name: value
        for name, value in (await row(conn, job_id)).items()
        if value is not None and name != "id"
    }


async def given(conn: asyncpg.Connection, job_id: int) -> dict[str, Any]:
    found = await conn.fetchrow(f"SELECT {', '.join(OPTIONS)} FROM ops.jobs WHERE id = $1", job_id)
    return dict(found or {})


async def test_it_shares_the_callers_fate(dsn: str, conn: asyncpg.Connection) -> None:
    """A job enqueued in a transaction is seen by nobody before the commit, and goes with it."""
    count = "SELECT count(*) FROM ops.jobs"
    async with another(dsn) as caller:
        work = caller.transaction()
        await work.start()
        await enqueue(caller, "greet", {})
        await enqueue_many(caller, "greet", [{}, {}], unique_keys=["k", None])
        assert 0 == await conn.fetchval(count)
        await work.rollback()
        assert 0 == await conn.fetchval(count)
        async with caller.transaction():
            await enqueue(caller, "greet", {})

    assert 1 == await conn.fetchval(count)


async def test_the_shortest_ways(conn: asyncpg.Connection) -> None:
    """A plain INSERT, COPY, the function and the Python call all make the same complete job."""
    await conn.copy_records_to_table(
        "jobs", schema_name="ops", records=[("greet",)], columns=["job_type"]
    )
    ids = [
        await conn.fetchval("SELECT id FROM ops.jobs"),
        await conn.fetchval("INSERT INTO ops.jobs (job_type) VALUES ('greet') RETURNING id"),
        await conn.fetchval("SELECT ops.enqueue_job('greet')"),
        await conn.fetchval(
            "SELECT ops.enqueue_job('greet', null, null, null, null, null, null, null, null, null)"
        ),
        await enqueue(conn, "greet", {}),
        *await enqueue_many(conn, "greet", [{}]),
    ]

    assert [DEFAULTS] * 6 == [await written(conn, job_id) for job_id in ids]


async def test_every_option(conn: asyncpg.Connection) -> None:
    """Each option lands in its column, from Python with a key and without, and from SQL by name."""
    from_python = await enqueue(conn, "greet", {"name": "Ada"}, **OPTIONS)
    unkeyed = OPTIONS | {"unique_key": None}
    without_key = await enqueue(conn, "greet", {"name": "Ada"}, **unkeyed)
    names = ", ".join(f"{name} => ${number}" for number, name in enumerate(OPTIONS, 3))
    values = (OPTIONS | {"unique_key": "other"}).values()
    from_sql = await conn.fetchval(
        f"SELECT ops.enqueue_job(job_type => $1, payload => $2, {names})",
        "greet",
        '{"name": "Ada"}',
        *values,
    )

    assert OPTIONS == await given(conn, from_python)
    assert unkeyed == await given(conn, without_key)
    assert OPTIONS | {"unique_key": "other"} == await given(conn, from_sql)
    for job_id in (from_python, without_key, from_sql):
        assert {"name": "Ada"} == (await row(conn, job_id))["payload"]


async def test_every_option_of_many(conn: asyncpg.Connection) -> None:
    """The options of a batch hold for each of its jobs."""
    shared = {
        k: v for k, v in OPTIONS.items() if k not in {"unique_key", "concurrency_key", "due_at"}
    }

    ids = await enqueue_many(conn, "greet", [{}, {}], unique_keys=["k", None], **shared)

    expected = OPTIONS | {"concurrency_key": None, "due_at": None}
    assert [expected, expected | {"unique_key": None}] == [await given(conn, i) for i in ids]


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ({"name": "Zoë"}, {"name": "Zoë"}),
        (Greeting(name="Ada"), {"name": "Ada"}),
        ([1, 2], [1, 2]),
        (None, {}),
    ],
)
async def test_payloads(conn: asyncpg.Connection, payload: object, expected: object) -> None:
    """A payload is a model or any JSON value; none is an empty object."""
    job_id = await enqueue(conn, "greet", payload)

    assert expected == (await row(conn, job_id))["payload"]


@pytest.mark.parametrize(
    "payload", [{"n": float("nan")}, {"s": "\0"}, {"s": "\ud800"}, {"o": object}]
)
async def test_payloads_that_are_not_json(conn: asyncpg.Connection, payload: object) -> None:
    """What jsonb cannot hold is refused before anything is sent."""
    with pytest.raises(UnfitValue, match="RESULT_INVALID"):
        await enqueue(conn, "greet", payload)


async def test_many_are_numbered_in_order(conn: asyncpg.Connection) -> None:
    """The jobs of a batch have ids, and so run, in the order of its payloads, keyed or not."""
    keys = [f"k{n}" if n % 3 else None for n in range(500)]

    ids = await enqueue_many(conn, "greet", [{"n": n} for n in range(500)], unique_keys=keys)

    assert sorted(ids) == ids
    assert [(n, keys[n]) for n in range(500)] == [
        tuple(one)
        for one in await conn.fetch(
            "SELECT (payload->>'n')::int, unique_key FROM ops.jobs ORDER BY id"
        )
    ]


async def test_many_with_keys(conn: asyncpg.Connection) -> None:
    """A taken key answers with the id that has it, and of equal keys the first payload is kept."""
    taken = await enqueue(conn, "greet", {"n": "first"}, unique_key="taken")
    keys = ["a", "taken", None, "a", "b", None]

    ids = await enqueue_many(conn, "greet", [{"n": n} for n in range(6)], unique_keys=keys)

    assert (taken, ids[0]) == (ids[1], ids[3])
    assert [{"n": n} for n in (0, "first", 2, 0, 4, 5)] == [
        (await row(conn, job_id))["payload"] for job_id in ids
    ]
    assert 5 == await conn.fetchval("SELECT count(*) FROM ops.jobs")
    assert ids[0:2] == await enqueue_many(conn, "greet", [{}, {}], unique_keys=["a", "taken"])


async def test_none_of_many(conn: asyncpg.Connection) -> None:
    """An empty batch is no error and adds nothing; a batch with too few keys is one."""
    assert [] == await enqueue_many(conn, "greet", [])
    with pytest.raises(ValueError, match="2 payloads but 1 unique keys"):
        await enqueue_many(conn, "greet", [{}, {}], unique_keys=["k"])

    assert 0 == await conn.fetchval("SELECT count(*) FROM ops.jobs")


async def test_an_empty_key_is_refused(conn: asyncpg.Connection) -> None:
    """An empty unique key is a mistake of the caller, in a batch as in a single call."""
    with pytest.raises(asyncpg.CheckViolationError):
        await enqueue(conn, "greet", {}, unique_key="")
    with pytest.raises(asyncpg.CheckViolationError):
        await enqueue_many(conn, "greet", [{}], unique_keys=[""])


@pytest.mark.parametrize(
    ("state", "change"),
    [
        ("pending", "status = 'processing'"),
        ("pending", "status = 'scheduled'"),
        ("pending", "status = 'completed'"),
        ("pending", "lock_token = 1"),
        ("pending", "locked_until = now()"),
        ("pending", "finished_at = now()"),
        ("ours", "lock_token = NULL"),
        ("ours", "locked_until = NULL"),
        ("ours", "status = 'pending'"),
        ("ours", "status = 'completed', finished_at = now()"),
        ("ours", "finished_at = now()"),
        ("completed", "finished_at = NULL"),
        ("failed", "lock_token = 1"),
        ("cancelled", "status = 'pending'"),
        ("ours", "attempts = -1"),
        ("ours", "crashes = -1"),
        ("ours", "max_attempts = 0"),
        ("ours", "job_type = ''"),
        ("ours", "job_type = repeat('x', 201)"),
        ("ours", "unique_key = repeat('x', 501)"),
        ("ours", "concurrency_key = ''"),
    ],
)
async def test_half_states_are_refused(conn: asyncpg.Connection, state: str, change: str) -> None:
    """The table itself refuses rows that no verb would write, whoever tries, and shows none."""
    await put(conn, state)

    with pytest.raises(asyncpg.CheckViolationError) as refused:
        await conn.execute(f"UPDATE ops.jobs SET {change}")
    assert refused.value.detail is None


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"max_attempts": 0}, asyncpg.CheckViolationError),
        ({"priority": 40_000}, asyncpg.NumericValueOutOfRangeError),
        ({"concurrency_key": ""}, asyncpg.CheckViolationError),
    ],
)
async def test_options_out_of_bounds(
    conn: asyncpg.Connection, options: dict[str, Any], error: type[Exception]
) -> None:
    """An option that its column cannot hold is refused, not bent."""
    with pytest.raises(error):
        await enqueue(conn, "greet", {}, **options)


async def test_a_later_run_at_does_not_bend(conn: asyncpg.Connection) -> None:
    """The given time is kept to the microsecond."""
    at = WHEN + timedelta(microseconds=123_456)

    job_id = await enqueue(conn, "greet", {}, run_at=at)

    assert at == (await given(conn, job_id))["run_at"]


async def test_many_are_copied_with_every_option(conn: asyncpg.Connection) -> None:
    """Enough to be copied, they have ids in the order of the payloads, and all that was asked."""
    run_at = datetime(2031, 5, 6, 7, 8, tzinfo=UTC)
    correlation = uuid.uuid4()

    ids = await enqueue_many(
        conn,
        "greet",
        [{"n": n} for n in range(bulk.COPY_ROWS)],
        run_at=run_at,
        priority=-3,
        max_attempts=2,
        correlation_id=correlation,
        parent_id=7,
    )

    rows = await conn.fetch("SELECT * FROM ops.jobs ORDER BY id")
    assert ids == [row["id"] for row in rows]
    assert [f'{{"n": {n}}}' for n in range(bulk.COPY_ROWS)] == [row["payload"] for row in rows]
    assert {(run_at, -3, 2, correlation, 7)} == {
        (r["run_at"], r["priority"], r["max_attempts"], r["correlation_id"], r["parent_id"])
        for r in rows
    }


@pytest.mark.unpooled("transaction", reason="it is about NOTIFY being heard")
async def test_copied_jobs_belong_to_their_transaction(dsn: str, conn: asyncpg.Connection) -> None:
    """Copied jobs ring the workers, once, at the caller's commit; a rollback leaves none."""
    payloads: list[dict[str, int]] = [{}] * bulk.COPY_ROWS
    async with listening(dsn, store.JOBS_CHANNEL, asleep=["greet", "stamp"]) as heard:
        with contextlib.suppress(ZeroDivisionError):
            async with conn.transaction():
                await enqueue_many(conn, "greet", payloads)
                raise ZeroDivisionError
        async with conn.transaction():
            await enqueue_many(conn, "stamp", payloads)

    assert [(store.JOBS_CHANNEL, "stamp")] == heard
    assert bulk.COPY_ROWS == await conn.fetchval("SELECT count(*) FROM ops.jobs")


async def test_copied_jobs_are_as_durable_as_their_commit(conn: asyncpg.Connection) -> None:
    """The caller's transaction and session wait for the disk as before; only the draw does not."""
    payloads: list[dict[str, int]] = [{}] * bulk.COPY_ROWS
    shown = []
    await conn.execute("SET synchronous_commit = on")
    await enqueue_many(conn, "greet", payloads)
    shown.append(await conn.fetchval("SHOW synchronous_commit"))
    async with conn.transaction():
        await enqueue_many(conn, "greet", payloads)
        shown.append(await conn.fetchval("SHOW synchronous_commit"))

    assert ["on", "on"] == shown


async def test_payloads_may_hold_what_pydantic_writes(conn: asyncpg.Connection) -> None:
    """Dates, UUIDs, decimals and models in a payload are written as pydantic writes them."""
    key = uuid.UUID(int=5)
    await enqueue(conn, "greet", {"on": date(2026, 1, 2), "key": key, "sum": Decimal("1.50")})

    payload = json.loads(await conn.fetchval("SELECT payload FROM ops.jobs"))
    assert {"on": "2026-01-02", "key": str(key), "sum": "1.50"} == payload


@pytest.mark.parametrize("name", ["run_at", "due_at"])
async def test_a_time_needs_a_zone(conn: asyncpg.Connection, name: str) -> None:
    """A time without a zone would mean another moment on another machine: it is refused."""
    naive: dict[str, Any] = {name: datetime(2026, 12, 1, 9)}  # noqa: DTZ001 - that is the point

    with pytest.raises(ValueError, match="time zone"):
        await store.enqueue(conn, "greet", {}, **naive)
    with pytest.raises(ValueError, match="time zone"):
        await enqueue_many(conn, "greet", [{}], **naive)
