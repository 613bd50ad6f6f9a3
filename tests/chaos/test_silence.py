"""One connection gave no answer: the others are found out by the server's word, not by waiting."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import anyio
import asyncpg
import pytest

from dragonfly import Job, Worker, enqueue_many
from dragonfly.events import ConnectionsSilent, JobFinished, ListenerConnected
from dragonfly.postgres import line, sessions
from dragonfly.postgres.database import open_database
from dragonfly.runtime import inspector, listener
from tests.chaos.runs import say
from tests.chaos.test_network import CLAIM, COMPLETED, HEARTBEAT, JOBS, LISTEN
from tests.poolers import needs_pgbouncer, pgbouncer
from tests.proxy import Proxy, proxy
from tests.support import Recorder, running, until

Payload = dict[str, str]
# below what the server, the kernel and the bounds of a commit and of a transaction left open take
SOON_SECONDS = 25.0
# beyond what tells silence from slowness
LONG_SECONDS = 4.0
OTHERS_BEAT = "SELECT last_heartbeat_at > $1 FROM ops.worker_heartbeats"
RUNS = "SELECT count(*), sum(attempts), sum(crashes) FROM ops.jobs WHERE status = 'completed'"


@pytest.fixture
async def between(direct: str, conn: asyncpg.Connection) -> AsyncIterator[Proxy]:
    """A proxy to this test's database, which has a table for effects."""
    await conn.execute("CREATE TABLE public.effects (job_id bigint)")
    async with proxy(direct) as open_proxy:
        yield open_proxy


class Stage:
    """A worker whose jobs wait inside their transactions, and then go on as their payload says.

    ``inside`` is set when a ``crowd`` of them waits there; one slot is left.
    """

    def __init__(self, crowd: int) -> None:
        self.worker = Worker("stage", concurrency=crowd + 1)
        self.inside, self.go_on = anyio.Event(), anyio.Event()
        self._crowd = crowd
        self._entered = 0

        @self.worker.job("act")
        async def act(job: Job[Payload]) -> None:
            async with job.transaction() as tx:
                await job.progress(1, "entered")  # it locks the row of the job
                self._enter()
                await self.go_on.wait()
                if job.payload["does"] == "ask":
                    await tx.execute("INSERT INTO public.effects VALUES ($1)", job.id)
                elif job.payload["does"] == "ask slowly":
                    await tx.execute("SELECT pg_sleep($1)", LONG_SECONDS)
                elif job.payload["does"] == "ask often":
                    until = anyio.current_time() + LONG_SECONDS
                    while anyio.current_time() < until:
                        await tx.execute("SELECT $1::int", 1)
                job.complete()

    def _enter(self) -> None:
        self._entered += 1
        if self._entered == self._crowd:
            self.inside.set()


async def done_once(conn: asyncpg.Connection, jobs: int) -> None:
    """Every job completed, with one attempt that counts and no crash."""
    assert (jobs, jobs, 0) == tuple(await conn.fetchrow(RUNS) or ())


async def recovered(conn: asyncpg.Connection, seen: Recorder, jobs: int) -> None:
    """Wait until all jobs are done and somebody beats again; say how long it took."""
    began = time.monotonic()
    now = await conn.fetchval("SELECT clock_timestamp()")
    await until(conn, COMPLETED, expected=jobs, seconds=SOON_SECONDS)
    await until(conn, OTHERS_BEAT, now, seconds=SOON_SECONDS)
    told = [event.number for event in seen.of(ConnectionsSilent)]
    say(f"  all connections silent: {told} found, all well {time.monotonic() - began:.1f} s later")


async def test_all_connections_fall_silent(between: Proxy, conn: asyncpg.Connection) -> None:
    """In a statement, before a commit, idle or listening: all are replaced in a few seconds.

    What their transactions had locked is free as soon, for the server is rid of them.
    """
    stage = Stage(3)
    does = [{"does": "ask"}, {"does": "ask"}, {"does": "complete"}]
    await enqueue_many(conn, "act", does)
    async with running(
        between.dsn, stage.worker, pool_size=4, lease_seconds=8, heartbeat_seconds=1
    ) as (_, seen):
        await seen.wait_for(ListenerConnected)
        await stage.inside.wait()
        between.silence()
        stage.go_on.set()
        await enqueue_many(conn, "act", does)
        await recovered(conn, seen, 6)
        await seen.wait_for(ListenerConnected, lambda event: event.reconnected)

    await done_once(conn, 6)
    assert seen.of(ConnectionsSilent)
    given_back = [event for event in seen.of(JobFinished) if event.outcome == "released"]
    assert 3 <= len(given_back)
    assert 2 == await conn.fetchval("SELECT count(DISTINCT job_id) / 2 FROM public.effects")


async def test_a_statement_that_is_worked_at_is_left_alone(
    between: Proxy, conn: asyncpg.Connection
) -> None:
    """While others are replaced, one that the server works at gets its time, and its answer.

    So does one that is asked and answers, again and again.
    """
    stage = Stage(2)
    await enqueue_many(conn, "act", [{"does": "ask slowly"}, {"does": "ask often"}])
    async with running(between.dsn, stage.worker, lease_seconds=4) as (_, seen):
        await seen.wait_for(ListenerConnected)
        await stage.inside.wait()
        logins = between.logins.copy()
        assert 2 == between.silence(HEARTBEAT, CLAIM)
        stage.go_on.set()
        await until(conn, COMPLETED, expected=2)
        await until(conn, "SELECT status FROM ops.worker_heartbeats", expected="running")

    assert ["completed"] * 2 == [event.outcome for event in seen.of(JobFinished)]
    assert (logins[JOBS], logins[LISTEN]) == (between.logins[JOBS], between.logins[LISTEN])
    assert between.logins[HEARTBEAT] > logins[HEARTBEAT]


async def test_a_handler_that_computes_is_left_alone(
    between: Proxy, conn: asyncpg.Connection
) -> None:
    """The server knows a transaction to be idle whose handler asks for nothing: it goes on."""
    stage = Stage(1)
    await enqueue_many(conn, "act", [{"does": "ask"}])
    async with running(between.dsn, stage.worker, lease_seconds=4) as (_, seen):
        await stage.inside.wait()
        assert 2 == between.silence(HEARTBEAT, CLAIM)
        await enqueue_many(conn, "act", [{"does": "ask"}])
        await seen.wait_for(ConnectionsSilent)  # the claim, whose bound is not over
        stage.go_on.set()
        await until(conn, COMPLETED, expected=2)

    await done_once(conn, 2)
    assert {"completed"} == {event.outcome for event in seen.of(JobFinished)}


async def test_a_slow_database_is_no_silent_one(
    between: Proxy, conn: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While every answer comes later than a proof may, only what misses its own bound goes."""
    monkeypatch.setattr(inspector, "PROMPT_SECONDS", 0.4)
    for module, name in (
        (line, "PROOF_SECONDS"),
        (sessions, "PROOF_SECONDS"),
        (listener, "DOUBTED_SECONDS"),
    ):
        monkeypatch.setattr(module, name, 0.6)
    stage = Stage(1)
    stage.go_on.set()
    async with running(between.dsn, stage.worker, lease_seconds=2, poll_seconds=60) as (_, seen):
        await seen.wait_for(ListenerConnected)
        await until(conn, "SELECT status FROM ops.worker_heartbeats", expected="running")
        await enqueue_many(conn, "act", [{"does": "ask"}])
        await until(conn, COMPLETED, expected=1)
        logins = between.logins.copy()
        between.delay = 0.4
        with anyio.fail_after(60):
            while between.logins["dragonfly witness"] < 2:
                await anyio.sleep(0.02)
        between.delay = 0.0
        now = await conn.fetchval("SELECT clock_timestamp()")
        await until(conn, OTHERS_BEAT, now)

    assert [] == seen.of(ConnectionsSilent)
    for purpose in (CLAIM, JOBS, LISTEN):
        assert logins[purpose] == between.logins[purpose], purpose


@needs_pgbouncer
async def test_behind_a_session_pooler(direct: str, conn: asyncpg.Connection) -> None:
    """A pooler tells numbers of its own: the server's are asked for, and it is asked by those."""
    await conn.execute("CREATE TABLE public.effects (job_id bigint)")
    stage = Stage(1)
    await enqueue_many(conn, "act", [{"does": "ask"}])
    with pgbouncer(direct, "session") as pooler:
        address = pooler.through(direct)
        assert not (await open_database(address, "the pooler")).true_pids
        async with (
            proxy(address) as between,
            running(between.dsn, stage.worker, lease_seconds=8, heartbeat_seconds=1) as (_, seen),
        ):
            await stage.inside.wait()
            between.silence()
            stage.go_on.set()
            await recovered(conn, seen, 1)

    await done_once(conn, 1)
