"""Somebody changes the schema or the grants under a running worker, and mends it again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import asyncpg
import pytest

from dragonfly import Job, Worker, enqueue_many
from dragonfly.events import (
    CircuitClosed,
    CircuitOpened,
    JobFinished,
    JobsClaimed,
    WorkerFell,
    WorkerPaused,
)
from dragonfly.queue.migrate import migrate
from dragonfly.settings import Settings
from tests.roles import administering, with_login
from tests.support import Recorder, running, until

Payload = dict[str, object]
COMPLETED = "SELECT count(*) FROM ops.jobs WHERE status = 'completed'"
ROLE = "dragonfly_test_runner"


def worker() -> Worker:
    """Jobs that return a result, and jobs that write into a table with a column of its own."""
    both = Worker("both", concurrency=2)

    @both.job("return")
    async def back(job: Job[Payload]) -> int:
        return job.id

    @both.job("write")
    async def write(job: Job[Payload]) -> None:
        async with job.transaction() as tx:
            await tx.execute("INSERT INTO public.effects (job_id, noted) VALUES ($1, 'x')", job.id)
            job.complete()

    return both


@pytest.fixture(autouse=True)
async def effects(conn: asyncpg.Connection) -> None:
    """The handlers' table."""
    await conn.execute("CREATE TABLE public.effects (job_id bigint, noted text)")


@pytest.fixture
async def as_runner(dsn: str, effects: None) -> AsyncIterator[str]:
    """The address with a role that owns nothing and may do everything."""
    async with administering(dsn) as administrator:
        await administrator.execute(
            f"CREATE ROLE {ROLE} LOGIN PASSWORD 'x'; GRANT USAGE ON SCHEMA ops, public TO {ROLE}; "
            f"GRANT ALL ON ALL TABLES IN SCHEMA ops, public TO {ROLE}; "
            f"GRANT ALL ON ALL SEQUENCES IN SCHEMA ops TO {ROLE}; ALTER ROLE {ROLE} BYPASSRLS"
        )
        yield with_login(dsn, f"{ROLE}:x")
        await administrator.execute(f"DROP OWNED BY {ROLE}; DROP ROLE {ROLE}")


async def assert_unharmed(conn: asyncpg.Connection, seen: Recorder, jobs: int) -> None:
    """Every job completed with the one attempt it needed, and nobody was blamed."""
    row = await conn.fetchrow("SELECT count(*), sum(attempts), sum(crashes) FROM ops.jobs")
    assert (jobs, jobs, 0) == tuple(row or ())
    assert [] == [*seen.of(WorkerPaused), *seen.of(WorkerFell)]


@pytest.mark.parametrize(
    ("column", "kind"), [("checkpoint", "jsonb"), ("result", "jsonb")], ids=["claim", "finish"]
)
async def test_a_dropped_column_of_the_queue_stops_claiming(
    dsn: str, conn: asyncpg.Connection, column: str, kind: str
) -> None:
    """Where a claim or a finish needs it the worker says so and waits; put back, all goes on."""
    async with running(dsn, worker(), backoff_scale=0.005) as (_, seen):
        await enqueue_many(conn, "return", [{}] * 5)
        await seen.wait_for(JobFinished, count=5)
        await conn.execute(f"ALTER TABLE ops.jobs DROP COLUMN {column}")
        await enqueue_many(conn, "return", [{}] * 5)
        opened = await seen.wait_for(CircuitOpened)
        await until(conn, "SELECT status FROM ops.worker_heartbeats", expected="degraded")
        reason = await conn.fetchval("SELECT reason FROM ops.worker_heartbeats")
        await enqueue_many(conn, "return", [{}] * 5)
        await conn.execute(f"ALTER TABLE ops.jobs ADD COLUMN {column} {kind}")
        await seen.wait_for(CircuitClosed)
        await until(conn, COMPLETED, expected=15)
        await until(conn, "SELECT status FROM ops.worker_heartbeats", expected="running")

    assert opened.job_type is None
    assert column in opened.reason
    assert "does not exist (SQLSTATE 42703)" in opened.reason
    assert opened.reason == reason
    await assert_unharmed(conn, seen, 15)


def mortal(dies: anyio.Event) -> Worker:
    """A worker that starts in vain when it may, and is well at its second start."""
    starts = []

    @asynccontextmanager
    async def lifespan(_: Settings) -> AsyncIterator[None]:
        starts.append(1)
        if len(starts) == 1:
            await dies.wait()
            raise LookupError("no such resource")
        yield

    worker = Worker("mortal", lifespan=lifespan)

    @worker.job("later")
    async def later(job: Job[Payload]) -> None:
        return None

    return worker


async def test_a_new_start_claims_nothing_while_no_end_can_be_written(
    dsn: str, conn: asyncpg.Connection
) -> None:
    """A worker that starts again meanwhile knows of it, and claims when an end can be written."""
    dies = anyio.Event()
    async with running(dsn, worker(), mortal(dies), backoff_scale=0.005) as (_, seen):
        await conn.execute("ALTER TABLE ops.jobs DROP COLUMN result")
        await enqueue_many(conn, "return", [{}])
        await enqueue_many(conn, "later", [{}])
        await seen.wait_for(CircuitOpened, lambda event: event.worker == "mortal")
        dies.set()
        beat = "SELECT status FROM ops.worker_heartbeats WHERE worker_id LIKE 'mortal.2@%'"
        await until(conn, beat, expected="degraded")
        await conn.execute("ALTER TABLE ops.jobs ADD COLUMN result jsonb")
        await until(conn, COMPLETED, expected=2)

    told = [each for each in seen.seen if isinstance(each, CircuitClosed | JobsClaimed)]
    first = next(each for each in told if each.worker == "mortal")
    assert isinstance(first, CircuitClosed)


@pytest.mark.unpooled(reason="a pooler logs in as one user")
async def test_a_revoked_grant_on_the_queue_stops_claiming(
    as_runner: str, conn: asyncpg.Connection
) -> None:
    """Without UPDATE on ops.jobs nothing is claimed or blamed; granted again, all goes on."""
    async with running(as_runner, worker(), backoff_scale=0.005) as (_, seen):
        await enqueue_many(conn, "return", [{}] * 5)
        await seen.wait_for(JobFinished, count=5)
        await conn.execute(f"REVOKE UPDATE ON ops.jobs FROM {ROLE}")
        await enqueue_many(conn, "return", [{}] * 5)
        opened = await seen.wait_for(CircuitOpened)
        await conn.execute(f"GRANT UPDATE ON ops.jobs TO {ROLE}")
        await seen.wait_for(CircuitClosed)
        await until(conn, COMPLETED, expected=10)

    assert (None, "permission denied for table jobs (SQLSTATE 42501)") == (
        opened.job_type,
        opened.reason,
    )
    await assert_unharmed(conn, seen, 10)


async def test_a_dropped_column_of_a_handler_stops_its_type(
    dsn: str, conn: asyncpg.Connection
) -> None:
    """Jobs of that type are given back unharmed, others run; put back, the probe succeeds."""
    async with running(dsn, worker(), backoff_scale=0.005) as (_, seen):
        await enqueue_many(conn, "write", [{}] * 5)
        await seen.wait_for(JobFinished, count=5)
        await conn.execute("ALTER TABLE public.effects DROP COLUMN noted")
        await enqueue_many(conn, "write", [{}] * 5)
        opened = await seen.wait_for(CircuitOpened)
        await enqueue_many(conn, "return", [{}] * 5)
        await until(conn, COMPLETED, expected=10)
        await conn.execute("ALTER TABLE public.effects ADD COLUMN noted text")
        await seen.wait_for(CircuitClosed)
        await until(conn, COMPLETED, expected=15)

    assert "write" == opened.job_type
    assert opened.reason.startswith('column "noted" of relation "effects" does not exist')
    await assert_unharmed(conn, seen, 15)
    assert 10 == await conn.fetchval("SELECT count(*) FROM public.effects")


@pytest.mark.unpooled(reason="a pooler logs in as one user")
async def test_a_revoked_grant_of_a_handler_stops_its_type(
    as_runner: str, conn: asyncpg.Connection
) -> None:
    """42501 in a handler's own table is no fault of its jobs; granted again, they complete."""
    async with running(as_runner, worker(), backoff_scale=0.005) as (_, seen):
        await enqueue_many(conn, "write", [{}] * 5)
        await seen.wait_for(JobFinished, count=5)
        await conn.execute(f"REVOKE INSERT ON public.effects FROM {ROLE}")
        await enqueue_many(conn, "write", [{}] * 5)
        opened = await seen.wait_for(CircuitOpened)
        await conn.execute(f"GRANT INSERT ON public.effects TO {ROLE}")
        await seen.wait_for(CircuitClosed)
        await until(conn, COMPLETED, expected=10)

    assert ("write", "permission denied for table effects (SQLSTATE 42501)") == (
        opened.job_type,
        opened.reason,
    )
    await assert_unharmed(conn, seen, 10)


async def test_a_table_altered_in_between_is_no_bug(dsn: str, conn: asyncpg.Connection) -> None:
    """A plan that a new column made void inside a transaction is tried again, and succeeds."""
    reading = Worker("reading")

    @reading.job("read")
    async def read(job: Job[Payload]) -> None:
        async with job.transaction() as tx:
            await tx.fetch("SELECT * FROM public.effects")
            job.complete()

    async with running(dsn, reading, backoff_scale=0.005) as (_, seen):
        await enqueue_many(conn, "read", [{}] * 3)
        await seen.wait_for(JobFinished, count=3)
        await conn.execute("ALTER TABLE public.effects ADD COLUMN more text")
        await enqueue_many(conn, "read", [{}])
        await seen.wait_for(JobFinished, lambda event: event.outcome in {"retried", "completed"})
        await conn.execute("UPDATE ops.jobs SET run_at = now() WHERE status = 'pending'")
        await until(conn, COMPLETED, expected=4)

    assert [] == [event for event in seen.of(JobFinished) if event.outcome == "failed"]


BEFORE_DOMAINS = """
ALTER TABLE ops.jobs
    DROP CONSTRAINT jobs_state,
    ADD CONSTRAINT jobs_state CHECK (status <> ''),
    ALTER COLUMN job_type TYPE text,
    ALTER COLUMN unique_key TYPE text,
    ALTER COLUMN concurrency_key TYPE text,
    ALTER COLUMN attempts TYPE integer,
    ALTER COLUMN max_attempts TYPE integer,
    ALTER COLUMN crashes TYPE smallint,
    ADD CONSTRAINT jobs_job_type_check CHECK (length(job_type) BETWEEN 1 AND 200),
    ADD CONSTRAINT jobs_counts CHECK (attempts >= 0 AND max_attempts >= 1 AND crashes >= 0),
    ADD CONSTRAINT jobs_keys CHECK (length(unique_key) <= 500 AND length(concurrency_key) <= 500);
DROP DOMAIN ops.job_type, ops.job_key, ops.attempt_count, ops.attempt_limit, ops.crash_count,
            ops.possible_job_state;
DROP TYPE ops.job_state;
DELETE FROM ops.migrations WHERE number = 13;
"""


async def test_a_migration_changes_types_under_a_worker(dsn: str, conn: asyncpg.Connection) -> None:
    """What the worker had prepared is void then; its jobs go on, once each, and no row is moved."""
    await conn.execute(BEFORE_DOMAINS)
    place = "SELECT pg_relation_filenode('ops.jobs')"
    before = await conn.fetchval(place)
    async with running(dsn, worker(), backoff_scale=0.005) as (_, seen):
        for kind in ("return", "write"):
            await enqueue_many(conn, kind, [{}] * 5)
        await seen.wait_for(JobFinished, count=10)
        assert [13] == [migration.number for migration in await migrate(conn)]
        for kind in ("return", "write"):
            await enqueue_many(conn, kind, [{}] * 5)
        await until(conn, COMPLETED, expected=20)

    await assert_unharmed(conn, seen, 20)
    assert 10 == await conn.fetchval("SELECT count(*) FROM public.effects")
    assert before == await conn.fetchval(place)
