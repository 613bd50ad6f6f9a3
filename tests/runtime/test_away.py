"""The database goes away and comes back: nobody is blamed, nothing is lost."""

from __future__ import annotations

import anyio
import asyncpg
import pytest

from dragonfly import Job, Worker, enqueue, enqueue_many
from dragonfly.events import (
    CircuitOpened,
    DatabaseAway,
    DatabaseBack,
    Events,
    JobFinished,
    JobStarted,
    ListenerConnected,
    ListenerLost,
    WorkerFell,
    WorkerPaused,
    WorkerStarted,
)
from dragonfly.runtime import supervisor as supervision
from dragonfly.runtime.health import Health
from dragonfly.runtime.process import Mode
from tests.servers import free_port, own_server
from tests.support import Recorder, running, supervisor, until

Payload = dict[str, object]


@pytest.fixture
def brief_farewell(monkeypatch: pytest.MonkeyPatch) -> None:
    """An end that cannot be written is waited for half a second at a stop, instead of five."""
    monkeypatch.setattr(supervision, "SETTLE_SECONDS", 0.5)


def writing(inside: anyio.Event, go_on: anyio.Event) -> Worker:
    """A worker whose first job waits inside before it opens its transaction."""
    worker = Worker("writing", concurrency=3)

    @worker.job("write")
    async def write(job: Job[Payload]) -> None:
        inside.set()
        await go_on.wait()
        async with job.transaction() as tx:
            await tx.execute("INSERT INTO public.effects VALUES ($1)", job.id)
            job.complete()

    return worker


async def effects(dsn: str) -> list[int]:
    """The ids of the jobs that took effect, in order."""
    conn = await asyncpg.connect(dsn)
    rows = await conn.fetch("SELECT job_id FROM public.effects ORDER BY 1")
    await conn.close()
    return [row["job_id"] for row in rows]


async def prepare(dsn: str, jobs: int) -> list[int]:
    """A table for effects, and jobs that write to it."""
    conn = await asyncpg.connect(dsn)
    await conn.execute("CREATE TABLE public.effects (job_id bigint)")
    ids = await enqueue_many(conn, "write", [{}] * jobs)
    await conn.close()
    return ids


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_a_stopped_database_is_waited_for(mode: str) -> None:
    """A worker survives a stop of PostgreSQL with jobs in flight; all complete, none is charged."""
    inside, go_on = anyio.Event(), anyio.Event()
    async with own_server() as server:
        ids = await prepare(server.dsn, 9)
        async with running(server.dsn, writing(inside, go_on), lease_seconds=1) as (_, seen):
            await inside.wait()
            await seen.wait_for(ListenerConnected)
            await server.stop(mode)
            go_on.set()
            # longer than the lease, the backoff's first steps and the listener's
            await seen.wait_for(DatabaseAway, count=4)
            await server.start()
            await seen.wait_for(DatabaseBack)
            await seen.wait_for(ListenerConnected, lambda event: event.reconnected)
            conn = await asyncpg.connect(server.dsn)
            await until(
                conn, "SELECT count(*) FROM ops.jobs WHERE status = 'completed'", expected=9
            )
            await until(conn, "SELECT max(status) FROM ops.worker_heartbeats", expected="running")
            charged = await conn.fetchval("SELECT sum(crashes) + sum(attempts) FROM ops.jobs")
            await conn.close()

        assert ids == await effects(server.dsn)
        assert 9 == charged
        assert [] == [*seen.of(WorkerPaused), *seen.of(WorkerFell)]
        assert 1 == len(seen.of(WorkerStarted))


async def test_pauses_grow_while_it_stays_away() -> None:
    """The pauses of a worker whose database is away double, and are never counted."""
    async with own_server() as server:
        async with running(server.dsn, writing(anyio.Event(), anyio.Event())) as (boss, seen):
            await seen.wait_for(ListenerConnected)
            await server.stop()
            await seen.wait_for(DatabaseAway, count=5)
            health = boss._loops["writing"].health
            counted = health.backoff.consecutive_failures

        pauses = [event.seconds / 0.01 for event in seen.of(DatabaseAway)][:5]
        for pause, plain in zip(pauses, (1, 2, 4, 8, 16), strict=True):
            assert 0.9 * plain <= pause <= 1.1 * plain
        assert 0 == counted


def test_a_job_that_needs_no_database_says_nothing_about_it() -> None:
    """The pauses of an absent database go on growing although a job completes that needed none."""
    now = 100.0
    health = Health("any", Events(), 1.0, lambda: None, lambda: now)
    pauses: list[float] = []
    for _ in range(3):
        pauses.append(health.database_away("gone", by_job=not pauses))
        health.succeeded("greet")
        now += 10
    assert pauses == pytest.approx([1, 2, 4], rel=0.101)  # the jitter is a tenth of these


async def test_a_job_whose_connection_breaks_makes_room(dsn: str, conn: asyncpg.Connection) -> None:
    """A job that always meets a broken connection does not keep the others from running."""
    worker = Worker("patient")

    @worker.job("meet")
    async def meet(job: Job[Payload]) -> None:
        if job.payload["broken"]:
            raise ConnectionResetError("peer reset")

    broken = await enqueue(conn, "meet", {"broken": True})
    others = await enqueue_many(conn, "meet", [{"broken": False}] * 5)
    # a pause long enough for the broken job to be given back before it ends
    async with running(dsn, worker, backoff_scale=0.2) as (_, seen):
        await seen.wait_for(JobFinished, lambda event: event.job_id == broken, count=2)

    completed = [e.job_id for e in seen.of(JobFinished) if e.outcome == "completed"]
    assert others == completed
    assert 0 == await conn.fetchval("SELECT attempts FROM ops.jobs WHERE id = $1", broken)


async def test_a_job_that_kills_its_connection_is_slowed_down(
    dsn: str, conn: asyncpg.Connection
) -> None:
    """The pauses after lost connections of jobs grow until a job completes."""
    worker = Worker("patient")

    @worker.job("meet")
    async def meet(job: Job[Payload]) -> None:
        raise ConnectionResetError("peer reset")

    await enqueue(conn, "meet", {})
    async with running(dsn, worker) as (_, seen):
        await seen.wait_for(DatabaseAway, count=4)

    pauses = [event.seconds / 0.01 for event in seen.of(DatabaseAway)][:4]
    for pause, plain in zip(pauses, (1, 2, 4, 8), strict=True):
        assert 0.9 * plain <= pause <= 1.1 * plain


@pytest.mark.usefixtures("brief_farewell")
async def test_a_refused_login_is_not_hammered() -> None:
    """Once logins are refused the whole process tries three times, then leaves the server be."""
    port = free_port()
    inside, go_on = anyio.Event(), anyio.Event()
    async with own_server() as server:
        await server.stop()
        server.listen_on(port)
        await server.start()
        await prepare(server.dsn, 1)
        admin = await asyncpg.connect(server.dsn)
        await admin.execute("CREATE ROLE runner SUPERUSER LOGIN PASSWORD 'first'")
        dsn = f"postgresql://runner:first@127.0.0.1:{port}/postgres"
        async with running(dsn, writing(inside, go_on)) as (_, seen):
            await inside.wait()
            await admin.execute("ALTER ROLE runner PASSWORD 'second'")
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name LIKE 'dragonfly%'"
            )
            go_on.set()
            await seen.wait_for(CircuitOpened, lambda event: event.seconds == 1200)
            # many heartbeats and listener's tries later
            await enough_beats(seen)
        refused = server.log().count("password authentication failed")
        await admin.close()

    assert 1 <= refused <= 3
    assert [] == seen.of(WorkerFell)
    assert 1 == len(seen.of(JobStarted))


async def enough_beats(seen: Recorder) -> None:
    """Wait until the listener has tried to reconnect a few more times."""
    await seen.wait_for(ListenerLost, count=len(seen.of(ListenerLost)) + 3)


@pytest.mark.usefixtures("brief_farewell")
async def test_once_tells_of_an_end_it_could_not_write() -> None:
    """A job whose end was not written when the process had to go is no success."""
    inside, go_on = anyio.Event(), anyio.Event()
    worker = Worker("single")

    @worker.job("write")
    async def write(job: Job[Payload]) -> None:
        inside.set()
        await go_on.wait()

    async with own_server() as server:
        await prepare(server.dsn, 1)
        codes = []
        async with (
            supervisor(server.dsn, worker, mode=Mode.ONCE) as (boss, _),
            anyio.create_task_group() as group,
        ):

            async def run() -> None:
                codes.append(await boss.run())

            group.start_soon(run)
            await inside.wait()
            await server.stop()
            go_on.set()

    assert [1] == codes
