"""Paused job types: no claim that begins after the pause takes a job of them."""

from __future__ import annotations

import json
from datetime import timedelta

import asyncpg
import pytest

from dragonfly.queue import audit, keyed, pauses, store
from dragonfly.queue.audit import Deed
from tests.queue.rows import LEASE, ME, MINE, listening, put

WHO = ("ada", "court closed")


async def test_no_claim_takes_a_paused_type(conn: asyncpg.Connection) -> None:
    """Neither the quick claims nor the whole one, nor those of suspects and keys."""
    last = await put(conn, "completed")
    for state, columns in (("pending", {}), ("suspect", {}), ("pending", {"concurrency_key": "k"})):
        await put(conn, state, **columns)
    suspect_with_key = await put(conn, "suspect", concurrency_key="s")
    open_job = await put(conn, job_type="open")
    assert await pauses.pause(conn, "greet", *WHO)

    types, options = ["greet", "open"], (ME, LEASE, MINE)
    head = await store.claim_head(conn, types, 9, *options)
    alone = await store.claim_head(conn, ["greet"], 9, *options)
    behind = await store.claim_head(conn, types, 9, *options, behind=last)
    whole = await store.claim(conn, types, 9, *options)
    suspect = (await store.claim_suspect(conn, types, *options)).job
    with_key = await keyed.claim_keyed(conn, types, 9, 1, *options)
    both = await keyed.claim_keyed_suspect(conn, types, 1, *options)

    assert [open_job] == [job.id for job in head]
    assert ([], []) == (alone, behind)
    assert ([], None, [], None) == (whole.jobs, suspect, with_key.jobs, both)
    assert (False, False) == (whole.suspects_wait, whole.keyed_wait)
    assert await pauses.resume(conn, "greet")
    assert suspect_with_key == (await keyed.claim_keyed_suspect(conn, types, 1, *options)).id  # type: ignore[union-attr]


async def test_a_pause_ends_by_itself(conn: asyncpg.Connection) -> None:
    """An empty claim tells when the pause is over, and a claim after that takes the job."""
    job_id = await put(conn)
    now = await conn.fetchval("SELECT clock_timestamp()")
    await pauses.pause(conn, "greet", *WHO, until=now + timedelta(minutes=1))
    empty = await store.claim(conn, ["greet"], 9, ME, LEASE, MINE)
    await conn.execute("UPDATE ops.pauses SET until = clock_timestamp()")
    after = await store.claim(conn, ["greet"], 9, ME, LEASE, MINE)

    assert ([], True) == (empty.jobs, 55 < (empty.due_in or 0) <= 60)
    assert [job_id] == [job.id for job in after.jobs]
    assert [] == await pauses.paused(conn)


async def test_a_second_pause_changes_nothing(conn: asyncpg.Connection) -> None:
    """While a type is paused its pause stands; one that is over makes room for the next."""
    now = await conn.fetchval("SELECT clock_timestamp()")
    first = await pauses.pause(conn, "greet", *WHO, until=now + timedelta(minutes=1))
    second = await pauses.pause(conn, "greet", "bob", "again")
    kept = [(p.paused_by, p.reason) for p in await pauses.paused(conn)]
    await conn.execute("UPDATE ops.pauses SET until = clock_timestamp()")
    third = await pauses.pause(conn, "greet", "bob", "again")

    assert (True, False, True) == (first, second, third)
    assert [WHO] == kept
    assert [("bob", None)] == [(p.paused_by, p.until) for p in await pauses.paused(conn)]


@pytest.mark.unpooled("transaction", reason="it is about NOTIFY being heard")
async def test_resuming_rings(dsn: str, conn: asyncpg.Connection) -> None:
    """The workers of the type learn at once that it may be claimed; others are left alone."""
    await pauses.pause(conn, "greet", *WHO)
    async with listening(dsn, store.JOBS_CHANNEL) as heard:
        resumed = await pauses.resume(conn, "greet")
        again = await pauses.resume(conn, "greet")

    assert (True, False, [("ops_jobs", "greet")]) == (resumed, again, heard)


async def test_the_record_is_append_only(conn: asyncpg.Connection) -> None:
    """Entries of ops.audit can be added, and neither changed nor removed, by whomever."""
    await audit.record(conn, Deed("ada", "why"), "pause type", "greet", after={"until": None})

    for statement in (
        "UPDATE ops.audit SET actor = 'eve'",
        "DELETE FROM ops.audit",
        "TRUNCATE ops.audit",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
            await conn.execute(statement)

    (entry,) = await audit.entries(conn)
    assert ("ada", "why", {"until": None}) == (entry.actor, entry.reason, entry.after)
    assert {"until": None} == json.loads(await conn.fetchval("SELECT after::text FROM ops.audit"))
