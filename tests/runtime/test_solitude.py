"""A job at its last chance in running processes: what waits for it, and what does not."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import anyio
import asyncpg
import pytest

from dragonfly import Job, Worker, enqueue, enqueue_many
from dragonfly.events import (
    Events,
    JobAlone,
    JobFinished,
    JobsClaimed,
    JobStarted,
    SolitudePutOff,
)
from dragonfly.events import SolitudeSought as Sought
from dragonfly.postgres.database import open_database
from dragonfly.queue import pauses, store
from dragonfly.runtime.claims import Claims
from dragonfly.runtime.process import Mode, Process, open_process
from dragonfly.settings import Settings
from tests.queue.rows import put, statuses
from tests.support import Recorder, running, supervisor, until

Payload = dict[str, Any]
LAST = Settings().crash_budget
# so long does a process wait for its jobs to end: more than a loaded machine takes for a step
PATIENT = {"heartbeat_seconds": 5, "lease_seconds": 20}


class Stage:
    """Two workers whose jobs run until a gate opens, and what ran beside each of them."""

    def __init__(self) -> None:
        self.running: set[int] = set()
        self.beside: dict[int, set[int]] = {}
        self.gates = {name: anyio.Event() for name in ("served", "first", "alone", "never")}
        self.left = Worker("left", concurrency=3)
        self.right = Worker("right", concurrency=2)
        self.left.job("left")(self.play)
        self.right.job("right")(self.play)

    async def play(self, job: Job[Payload]) -> None:
        """Run until the gate is open."""
        for other in self.running:
            self.beside[other].add(job.id)
        self.beside[job.id] = set(self.running)
        self.running.add(job.id)
        try:
            await self.gates[job.payload["until"]].wait()
        finally:
            self.running.discard(job.id)

    def open(self, gate: str) -> None:
        self.gates[gate].set()


@pytest.fixture
def stage() -> Stage:
    return Stage()


async def last_chance(conn: asyncpg.Connection, **columns: Any) -> int:
    """A job whose next crash would fail it; it runs until the gate "alone" opens."""
    job = {"job_type": "left", "payload": json.dumps({"until": "alone"}), "crashes": LAST}
    return await put(conn, "suspect", **(job | columns))


async def begun(seen: Recorder, *job_ids: int) -> None:
    """Wait until these jobs have started."""
    for job_id in job_ids:
        await seen.wait_for(JobStarted, lambda event, wanted=job_id: event.job_id == wanted)  # type: ignore[misc]


@pytest.mark.parametrize("key", [None, "k"])
async def test_a_busy_process_empties_itself_and_serves_on(
    dsn: str, conn: asyncpg.Connection, stage: Stage, key: str | None
) -> None:
    """Both workers finish what runs and claim nothing; the job runs alone; then all slots serve."""
    busy = [await enqueue(conn, kind, {"until": "first"}) for kind in ("left", "left", "right")]
    async with running(dsn, stage.left, stage.right, **PATIENT) as (_, seen):
        await begun(seen, *busy)
        innocent = await last_chance(conn, concurrency_key=key)
        await seen.wait_for(Sought)
        kinds = ["left"] * 3 + ["right"] * 2
        fresh = [await enqueue(conn, kind, {"until": "never"}) for kind in kinds]
        stage.open("first")
        await begun(seen, innocent)
        await seen.wait_for(JobFinished, count=3)
        assert {innocent} == stage.running
        stage.open("alone")
        await begun(seen, *fresh)
        assert set(fresh) == stage.running
        stage.open("never")
        await seen.wait_for(JobFinished, count=9)

    assert set() == stage.beside[innocent]
    assert [innocent] == [event.job_id for event in seen.of(JobAlone)]
    assert [] == seen.of(SolitudePutOff)
    assert {"completed"} == set((await statuses(conn)).values())


async def test_a_long_job_does_not_stop_the_service(
    dsn: str, conn: asyncpg.Connection, stage: Stage
) -> None:
    """What does not end in time ends the wait, twice as long the next time; meanwhile all serve."""
    long = await enqueue(conn, "right", {"until": "first"})
    async with running(dsn, stage.left, stage.right) as (_, seen):
        await begun(seen, long)
        innocent = await last_chance(conn)
        await seen.wait_for(SolitudePutOff)
        served = await enqueue(conn, "left", {"until": "served"})
        await begun(seen, served)
        assert {long, served} == stage.running
        stage.open("served")
        await seen.wait_for(SolitudePutOff, count=2)
        stage.open("first")
        await begun(seen, innocent)
        stage.open("alone")
        await seen.wait_for(JobFinished, count=3)

    first, second = seen.of(Sought)[:2]
    assert 2 * first.seconds == second.seconds
    assert (set(), {served}) == (stage.beside[innocent], stage.beside[long])


async def test_what_waits_unstarted_is_given_back(
    dsn: str, conn: asyncpg.Connection, stage: Stage
) -> None:
    """Jobs that no slot has started go back, with their attempt, to whoever claims them."""
    quick = [await enqueue(conn, "left", {"until": "served"}) for _ in range(200)]
    stage.open("served")
    # with such a heartbeat they do not go back because they waited for one
    slow = {"heartbeat_seconds": 60, "lease_seconds": 240}
    async with running(dsn, stage.left, stage.right, **slow) as (boss, seen):
        await seen.wait_for(JobFinished, count=len(quick))
        # by now it claims ahead, as its jobs have been quick
        await begun(seen, await enqueue(conn, "right", {"until": "first"}))
        await enqueue_many(conn, "left", [{"until": "first"}] * 9)
        held = "SELECT count(*) FROM ops.jobs WHERE status = 'processing'"
        await until(conn, f"SELECT ({held}) > 4")
        ledger = boss._loops["left"].ledger
        await seen.wait_for(JobsClaimed, lambda _: len(ledger.waiting) > 0)
        await last_chance(conn, job_type="right")
        await seen.wait_for(Sought)
        await until(conn, held, expected=4)
        returned = "SELECT count(*) FROM ops.jobs WHERE status = 'pending' AND attempts = 0"
        assert 7 == await conn.fetchval(returned)
        stage.open("first")
        stage.open("alone")
        await seen.wait_for(JobAlone)


async def test_others_claim_while_one_process_waits(
    dsn: str, conn: asyncpg.Connection, stage: Stage
) -> None:
    """Another process that is empty takes the job at once; the one that waited goes on."""
    busy = await enqueue(conn, "left", {"until": "first"})
    async with running(dsn, stage.left, **PATIENT) as (_, waiting):
        await begun(waiting, busy)
        innocent = await last_chance(conn)
        await waiting.wait_for(Sought)
        other = Stage()
        async with running(dsn, other.left, **PATIENT) as (_, empty):
            await begun(empty, innocent)
            assert set() == other.beside[innocent]
            stage.open("first")
            fresh = await enqueue(conn, "left", {"until": "first"})
            await waiting.wait_for(JobFinished, lambda event: event.job_id == fresh)
            other.open("alone")
            await empty.wait_for(JobFinished)

    assert [] == waiting.of(JobAlone)


async def test_a_pause_of_its_type_ends_the_wait(
    dsn: str, conn: asyncpg.Connection, stage: Stage
) -> None:
    """A job whose type is paused meanwhile is left, and the process serves what is not."""
    busy = await enqueue(conn, "right", {"until": "first"})
    async with running(dsn, stage.left, stage.right, **PATIENT) as (_, seen):
        await begun(seen, busy)
        innocent = await last_chance(conn)
        await seen.wait_for(Sought)
        await pauses.pause(conn, "left", "ada", "why")
        stage.open("first")
        fresh = await enqueue(conn, "right", {"until": "first"})
        await seen.wait_for(JobFinished, lambda event: event.job_id == fresh)

    assert [] == seen.of(JobAlone)
    assert "pending" == (await statuses(conn))[innocent]


async def test_a_stop_ends_the_wait(dsn: str, conn: asyncpg.Connection, stage: Stage) -> None:
    """A process that is told to stop while it empties itself stops as ever; the job is left."""
    busy = await enqueue(conn, "right", {"until": "never"})
    async with running(dsn, stage.left, stage.right, **(PATIENT | {"grace_seconds": 0})) as (
        _,
        seen,
    ):
        await begun(seen, busy)
        innocent = await last_chance(conn)
        await seen.wait_for(Sought)

    assert {busy: "pending", innocent: "pending"} == await statuses(conn)


@pytest.mark.parametrize("mode", [Mode.ONCE, Mode.DRAIN])
async def test_it_runs_alone_in_a_process_that_ends(
    dsn: str, conn: asyncpg.Connection, stage: Stage, mode: Mode
) -> None:
    """With --once and --drain too nothing runs beside it, and the other worker has its turn."""
    innocent = await last_chance(conn)
    other = await enqueue(conn, "right", {"until": "first"})
    stage.open("first")
    async with (
        supervisor(dsn, stage.left, stage.right, mode=mode) as (boss, seen),
        anyio.create_task_group() as group,
    ):
        codes: list[int] = []

        async def run() -> None:
            codes.append(await boss.run())

        group.start_soon(run)
        await begun(seen, innocent)
        stage.open("alone")

    assert [0] == codes
    assert {innocent: "completed", other: "completed"} == await statuses(conn)
    assert set() == stage.beside[innocent]


# --- claims -------------------------------------------------------------------------------------


@pytest.fixture
async def process(dsn: str) -> AsyncIterator[Process]:
    database = await open_database(dsn, "the test database")
    async with open_process(Settings(), database, Events()) as opened:
        yield opened


async def take(claims: Claims, *job_types: str) -> list[int] | None:
    claimed = await claims.take(job_types, 9, head=False)
    return None if claimed is None else [claim.id for claim in claimed.jobs]


@pytest.mark.parametrize("busy", [True, False])
async def test_a_claim_takes_nothing_else_with_it(
    conn: asyncpg.Connection, process: Process, stage: Stage, busy: bool
) -> None:
    """Neither the claim that takes it, though it may take nine, nor one that waited for that."""
    left, right = Claims(process, stage.left, "l.1@here"), Claims(process, stage.right, "r.1@here")
    innocent = await last_chance(conn)
    if busy:  # nobody tells of suspects, but the turn of one has come
        left._suspects_seen_at -= 2 * process.settings.heartbeat_seconds
        await put(conn, job_type="left")
    await put(conn, job_type="left", concurrency_key="k")
    await put(conn, job_type="right")
    taken: dict[str, list[int] | None] = {}

    async def claim(name: str, claims: Claims) -> None:
        taken[name] = await take(claims, name)

    async with anyio.create_task_group() as group:
        group.start_soon(claim, "left", left)
        group.start_soon(claim, "right", right)

    assert {"left": [innocent], "right": None} == taken


async def test_a_lost_answer_is_undone_before_anything_is_claimed(
    conn: asyncpg.Connection,
    process: Process,
    stage: Stage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whichever worker claims next gives back what a claim may have taken, or it was not alone."""
    innocent, other = await last_chance(conn), await put(conn, job_type="right")
    real = store.claim_suspect

    async def lost(*args: Any, **options: Any) -> Any:
        await real(*args, **options)
        raise ConnectionResetError

    with monkeypatch.context() as patch:
        patch.setattr(store, "claim_suspect", lost)
        with pytest.raises(ConnectionResetError):
            await take(Claims(process, stage.left, "l.1@here"), "left")
    assert "processing" == (await statuses(conn))[innocent]

    assert [other] == await take(Claims(process, stage.right, "r.1@here"), "right")
    assert {innocent: "pending", other: "processing"} == await statuses(conn)
