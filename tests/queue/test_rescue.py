"""Rescue: two budgets, the evidence, and who is charged when a process dies."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from dragonfly.job import Finish, JobStatus
from dragonfly.queue import heartbeats, store
from dragonfly.queue.heartbeats import Heartbeat, WorkerStatus
from tests.queue.rows import ME, MINE, again, done, locked, put, row, statuses

ENDLESS = timedelta(seconds=600)


async def crashes(conn: asyncpg.Connection) -> dict[int, int]:
    """How often each job was charged with a crash."""
    return {r["id"]: r["crashes"] for r in await conn.fetch("SELECT id, crashes FROM ops.jobs")}


async def lapse(conn: asyncpg.Connection) -> None:
    """Every lease runs out."""
    await conn.execute(
        "UPDATE ops.jobs SET locked_until = now() - interval '1 second',"
        " locked_at = now() - interval '61 seconds' WHERE status = 'processing'"
    )


async def test_a_lease_that_runs_is_left_alone(conn: asyncpg.Connection) -> None:
    """Rescue goes by locked_until alone, however long ago the job was claimed."""
    alive = await put(conn, "ours", locked_at=-ENDLESS)
    dead = await put(conn, "lapsed", locked_at=timedelta())

    rescued = await store.rescue(conn, 3)

    assert ((dead,), ()) == (rescued.returned, rescued.failed)
    assert {alive: "processing", dead: "pending"} == await statuses(conn)


async def test_a_rescue_that_comes_late_rescues_nothing(conn: asyncpg.Connection) -> None:
    """Held up since its heartbeat, a process knows of nobody whether he renewed meanwhile."""
    alone = {"locked_by": "w@elsewhere:1:0/1", "crashes": 1}
    lapsed = {await put(conn, "lapsed"), await put(conn, "lapsed", **alone)}
    now = await conn.fetchval("SELECT clock_timestamp()")

    late = await store.rescue(conn, 3, not_after=now)
    in_time = await store.rescue(conn, 3, not_after=now + timedelta(minutes=1))

    assert ((), ()) == (late.returned, late.failed)
    assert lapsed == {*in_time.returned}


async def test_the_crash_budget(conn: asyncpg.Connection) -> None:
    """A budget of 2 forgives two crashes; the third fails the job, with the attempts untouched."""
    job_id = await put(conn)
    seen = []
    for _ in range(3):
        token = store.new_token()
        if not (await store.claim(conn, ["greet"], 1, ME, 60, token)).jobs:
            await store.claim_suspect(conn, ["greet"], ME, 60, token)
        await lapse(conn)
        rescued = await store.rescue(conn, 2)
        after = await row(conn, job_id)
        seen.append((rescued.returned, rescued.failed, after["status"], after["crashes"]))
        assert (0, None) == (after["attempts"], after["lock_token"])

    assert [
        ((job_id,), (), "pending", 1),
        ((job_id,), (), "pending", 2),
        ((), (job_id,), "failed", 3),
    ] == seen
    assert "now" == after["finished_at"]
    assert f"crashed: {ME} stopped renewing its lock at TIME (crash 3 of 3)" == after["last_error"]
    assert [1, 1, 1] == [entry["attempt"] for entry in after["errors"]]


async def test_the_evidence(conn: asyncpg.Connection) -> None:
    """The row tells who held it, when it last renewed, and whether the crash was charged."""
    job_id = await put(conn, "lapsed", attempts=3, locked_at=timedelta(seconds=-90))

    await store.rescue(conn, 3)

    after = await row(conn, job_id)
    assert 2 == after["attempts"]
    assert [
        {
            "attempt": 3,
            "at": "now",
            "error": "crashed",
            "detail": {"locked_by": ME, "last_renewed_at": "-90 s", "charged": True},
        }
    ] == after["errors"]


async def test_what_the_last_heartbeat_said(conn: asyncpg.Connection) -> None:
    """How far the handler was, and what its process said of itself at its last heartbeat, stay."""
    reason = "stopping for 3 s (SIGTERM)"
    beat = Heartbeat(
        ME, "greeter", WorkerStatus.RUNNING, "h", 1, "0.1", 0, reason, 1, (), rss_bytes=2**33
    )
    await heartbeats.beat(conn, beat)
    progress = '{"percent": 40, "sentence": "reading", "at": null}'
    job_id = await put(conn, "lapsed", progress=progress)

    await store.rescue(conn, 3)

    detail = (await row(conn, job_id))["errors"][0]["detail"]
    assert {
        "locked_by": ME,
        "last_renewed_at": "-70 s",
        "charged": True,
        "progress": {"percent": 40, "sentence": "reading"},
        "last_heartbeat_at": "now",
        "last_status": "running",
        "last_reason": reason,
        "rss_bytes": 2**33,
        "version": "0.1",
    } == detail


async def test_the_evidence_is_bounded(conn: asyncpg.Connection) -> None:
    """A crash adds to the errors that were there, and the oldest of twenty goes."""
    job_id = await put(conn, "lapsed", errors=str([{"n": n} for n in range(20)]).replace("'", '"'))

    await store.rescue(conn, 3)

    errors = (await row(conn, job_id))["errors"]
    assert [{"n": n} for n in range(1, 20)] == errors[:-1]
    assert "crashed" == errors[-1]["error"]


async def test_without_a_suspect_all_are_charged(conn: asyncpg.Connection) -> None:
    """Nobody knows which of a dead process's ordinary jobs killed it: each is charged once."""
    ids = [await put(conn, "lapsed", locked_by=f"greeter.{n}@dead") for n in range(3)]

    await store.rescue(conn, 3)

    assert dict.fromkeys(ids, 1) == await crashes(conn)


async def test_only_the_suspect_is_charged(conn: asyncpg.Connection) -> None:
    """Of a process that died holding a suspect, whichever its worker, the others return free."""
    suspect = await put(conn, "lapsed", crashes=1, locked_by="a.1@dead")
    free = [await put(conn, "lapsed", locked_by=f"{who}@dead") for who in ("a.1", "b.1")]
    charged = await put(conn, "lapsed", locked_by="a.1@dead too")

    rescued = await store.rescue(conn, 3)

    assert {suspect: 2, **dict.fromkeys(free, 0), charged: 1} == await crashes(conn)
    assert {suspect, *free, charged} == set(rescued.returned)
    assert {False} == {(await row(conn, i))["errors"][0]["detail"]["charged"] for i in free}


@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_a_split_batch_charges_nobody_else(conn: asyncpg.Connection, limit: int) -> None:
    """However small the batches, the neighbours are back before the suspect is."""
    suspect = await put(conn, "lapsed", crashes=1, locked_by="a.1@dead")
    free = [await put(conn, "lapsed", locked_by="a.1@dead") for _ in range(4)]
    sizes = []
    while rescued := (await store.rescue(conn, 3, limit)).returned:
        sizes.append(len(rescued))

    assert {suspect: 2, **dict.fromkeys(free, 0)} == await crashes(conn)
    assert (limit, 5) == (max(sizes), sum(sizes))


async def test_the_suspect_waits_for_neighbours_that_lapse_later(conn: asyncpg.Connection) -> None:
    """A job claimed after the last renewal lapses after the suspect, and still returns free."""
    suspect = await put(conn, "lapsed", crashes=1, locked_by="a.1@dead")
    later = await put(conn, "ours", locked_by="b.1@dead")

    early = await store.rescue(conn, 3)
    await conn.execute("UPDATE ops.jobs SET locked_until = now() WHERE id = $1", later)
    late = await store.rescue(conn, 3)

    assert () == early.returned
    assert (suspect, later) == tuple(sorted(late.returned))
    assert {suspect: 2, later: 0} == await crashes(conn)


async def test_the_suspect_waits_for_a_locked_neighbour(dsn: str, conn: asyncpg.Connection) -> None:
    """A neighbour whose row is locked just now is not charged for that later."""
    suspect = await put(conn, "lapsed", crashes=1, locked_by="a.1@dead")
    neighbour = await put(conn, "lapsed", locked_by="a.1@dead")

    async with locked(dsn, neighbour):
        await store.rescue(conn, 3)
    await store.rescue(conn, 3)

    assert {suspect: 2, neighbour: 0} == await crashes(conn)


async def test_the_suspect_does_not_wait_for_ever(conn: asyncpg.Connection) -> None:
    """A suspect that a living process let lapse is brought back after one more lease."""
    suspect = await put(
        conn,
        "ours",
        crashes=1,
        locked_at=timedelta(seconds=-130),
        locked_until=timedelta(seconds=-70),
    )
    alive = await put(conn, "ours")

    assert (suspect,) == (await store.rescue(conn, 3)).returned
    assert {suspect: 2, alive: 0} == await crashes(conn)


async def test_a_taken_key(conn: asyncpg.Connection) -> None:
    """A job whose unique key a pending one has by now is cancelled as superseded."""
    job_id = await put(conn, "lapsed", unique_key="k")
    waiting = await put(conn, unique_key="k")

    rescued = await store.rescue(conn, 3)

    after = await row(conn, job_id)
    assert ((), (job_id,)) == (rescued.returned, rescued.failed)
    assert {job_id: "cancelled", waiting: "pending"} == await statuses(conn)
    assert "superseded: another pending job has its unique key" == after["last_error"]
    assert ("now", "crashed") == (after["finished_at"], after["errors"][0]["error"])


async def test_two_with_one_key(conn: asyncpg.Connection) -> None:
    """Of two jobs with one key that died together the newer returns; nothing else is stopped."""
    older, newer, last = [await put(conn, "lapsed", unique_key=key) for key in ("k", "k", None)]
    fresh = await put(conn, "lapsed", unique_key="j", locked_by="a.1@elsewhere")
    spent = await put(conn, "lapsed", unique_key="j", crashes=3)

    await store.rescue(conn, 3)

    assert {
        older: "cancelled", newer: "pending", last: "pending", spent: "failed", fresh: "pending"
    } == await statuses(conn)  # fmt: skip


async def test_a_rescued_job_forgives_its_late_holder(conn: asyncpg.Connection) -> None:
    """The holder that was only slow can give back neither its attempt twice nor the crash."""
    job_id = await put(conn, "lapsed", attempts=2)
    await store.rescue(conn, 3)

    await store.finish(conn, [again(job_id, refund=True, acquits=True)])

    after = await row(conn, job_id)
    assert (1, 1) == (after["attempts"], after["crashes"])


RETRIED: dict[str, Any] = {"error": "timeout", "delay": 0.0, "acquits": True}
SNOOZED: dict[str, Any] = {"delay": 0.0, "refund": True, "acquits": True}
GIVEN_BACK: dict[str, Any] = {"refund": True}
REFUSED: dict[str, Any] = {"error": "no grant", "delay": 0.0, "refund": True}


async def take(conn: asyncpg.Connection, job_id: int) -> None:
    """The only job is claimed, with others or as a suspect."""
    free = (await store.claim(conn, ["greet"], 1, ME, 60, MINE)).jobs
    job = free[0] if free else (await store.claim_suspect(conn, ["greet"], ME, 60, MINE)).job
    assert job is not None
    assert job_id == job.id


async def crash(conn: asyncpg.Connection, job_id: int) -> None:
    """It is claimed, and the process that holds it dies."""
    await take(conn, job_id)
    await lapse(conn)
    await store.rescue(conn, 3)


async def end(conn: asyncpg.Connection, job_id: int, options: dict[str, Any]) -> None:
    """It is claimed, and this attempt ends so."""
    await take(conn, job_id)
    await store.finish(conn, [again(job_id, **options)])


@pytest.mark.parametrize("way", [RETRIED, SNOOZED], ids=["retried", "snoozed"])
async def test_an_attempt_that_ends_takes_the_first_charge_back(
    conn: asyncpg.Connection, way: dict[str, Any]
) -> None:
    """Retried or snoozed it is claimed with the others again; the evidence stays in its errors."""
    job_id = await put(conn)
    await crash(conn, job_id)

    await end(conn, job_id, way)

    after = await row(conn, job_id)
    assert (0, "crashed") == (after["crashes"], after["errors"][0]["error"])
    assert after["errors"][0]["detail"]["charged"]
    free = await store.claim(conn, ["greet"], 1, ME, 60, MINE)
    assert [job_id] == [job.id for job in free.jobs]


@pytest.mark.parametrize(
    ("crashes", "finish"),
    [
        (1, again(0, **GIVEN_BACK)),
        (1, again(0, **REFUSED)),
        (1, Finish(0, MINE, JobStatus.FAILED, error="NO_FILE")),
        (1, done(0)),
        (2, again(0, **RETRIED)),
        (2, again(0, **SNOOZED)),
    ],
    ids=["given back", "refused", "failed", "completed", "two and retried", "two and snoozed"],
)
async def test_any_other_end_leaves_the_charge(
    conn: asyncpg.Connection, crashes: int, finish: Finish
) -> None:
    """What did not run to an end proves nothing, an end is history, and a second charge stays."""
    job_id = await put(conn, "ours", crashes=crashes)

    await store.finish(conn, [finish._replace(job_id=job_id)])

    assert crashes == (await row(conn, job_id))["crashes"]


async def test_a_superseded_retry_keeps_its_charge(conn: asyncpg.Connection) -> None:
    """It is cancelled instead of retried, and that is an end."""
    job_id = await put(conn, "ours", crashes=1, unique_key="k")
    await put(conn, unique_key="k")

    await store.finish(conn, [again(job_id, **RETRIED)])

    after = await row(conn, job_id)
    assert ("cancelled", 1) == (after["status"], after["crashes"])


async def test_a_job_that_snoozes_and_crashes_in_turns_is_found_out(
    conn: asyncpg.Connection,
) -> None:
    """A snooze costs no attempt, so it takes the charge of one crash back and of no other."""
    job_id = await put(conn)
    seen = []
    for _ in range(5):
        await crash(conn, job_id)
        seen.append((await crashes(conn))[job_id])
        if seen[-1] < 4:
            await end(conn, job_id, SNOOZED)

    assert [1, 1, 2, 3, 4] == seen
    assert {job_id: "failed"} == await statuses(conn)


async def test_a_job_that_fails_and_crashes_in_turns_uses_up_its_attempts(
    conn: asyncpg.Connection,
) -> None:
    """A retry takes the charge back each time, and has cost an attempt each time."""
    job_id = await put(conn)
    for attempts in (1, 2, 3):
        await crash(conn, job_id)
        await end(conn, job_id, RETRIED)
        after = await row(conn, job_id)
        assert (0, attempts) == (after["crashes"], after["attempts"])
