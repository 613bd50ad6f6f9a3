"""Every verb in every state: which rows it changes, what it writes, and what it answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from dragonfly.errors import JobLost
from dragonfly.job import Completion, Finish, JobStatus
from dragonfly.queue import store
from tests.queue.rows import LEASE, ME, MINE, STATES, Row, again, changes, done, held, put, row

# takes the connection, the job's id and its type; tells whether the verb took effect
Verb = Callable[[asyncpg.Connection, int, str], Awaitable[bool]]

LONG_AGO = datetime(2024, 1, 2, tzinfo=UTC)
NOT_HELD: Row = {"lock_token": None, "locked_until": None}
ENDED: Row = NOT_HELD | {"finished_at": "now"}
CLAIMED: Row = {
    "status": "processing",
    "attempts": 1,
    "locked_by": ME,
    "lock_token": MINE,
    "locked_at": "now",
    "locked_until": "+60 s",
}
RENEWED: Row = {"locked_at": "now", "locked_until": "+60 s"}
COMPLETED: Row = ENDED | {"status": "completed", "result": {"n": 1}}
RELEASED: Row = NOT_HELD | {"status": "pending", "attempts": 0}
REVIVED: Row = {"status": "pending", "attempts": 0, "finished_at": None}
CANCELLED: Row = ENDED | {"status": "cancelled", "last_error": "cancelled: no longer wanted"}


def noted(error: str, detail: str | None = None) -> Row:
    """What an error leaves behind in the row."""
    evidence = {"attempt": 1, "at": "now", "error": error, "detail": detail}
    return {"last_error": error, "errors": [evidence]}


CRASHED: Row = NOT_HELD | {
    "status": "pending",
    "attempts": 0,
    "crashes": 1,
    "locked_by": None,
    "last_error": f"crashed: {ME} stopped renewing its lock at TIME (crash 1 of 4)",
    "errors": [
        {
            "attempt": 1,
            "at": "now",
            "error": "crashed",
            "detail": {"locked_by": ME, "last_renewed_at": "-70 s", "charged": True},
        }
    ],
}


def ours(what: Row) -> dict[str, Row]:
    """The same change whether our lease still runs or nobody has noticed that it is over."""
    return {"ours": what, "lapsed": what}


def finishing(**columns: object) -> Verb:
    """The general finish, with these columns."""

    async def verb(conn: asyncpg.Connection, job_id: int, _: str) -> bool:
        finish = Finish(job_id, MINE, **columns)  # type: ignore[arg-type]
        return {job_id: finish.status} == await store.finish(conn, [finish])

    return verb


async def claim(conn: asyncpg.Connection, job_id: int, job_type: str) -> bool:
    claimed = await store.claim(conn, [job_type], 10, ME, LEASE, MINE)
    return [job_id] == [job.id for job in claimed.jobs]


async def claim_suspect(conn: asyncpg.Connection, job_id: int, job_type: str) -> bool:
    claimed = (await store.claim_suspect(conn, [job_type], ME, LEASE, MINE)).job
    return claimed is not None and claimed.id == job_id


async def unclaim(conn: asyncpg.Connection, job_id: int, _: str) -> bool:
    return job_id in await store.unclaim(conn, [MINE])


async def renew(conn: asyncpg.Connection, job_id: int, _: str) -> bool:
    return {job_id} == await store.renew(conn, [held(job_id)], LEASE)


async def complete(conn: asyncpg.Connection, job_id: int, _: str) -> bool:
    return {job_id: JobStatus.COMPLETED} == await store.complete(conn, [done(job_id)])


async def complete_batch(conn: asyncpg.Connection, job_id: int, _: str) -> bool:
    return 1 == await store.complete_batch(conn, [job_id], MINE)


async def complete_within(conn: asyncpg.Connection, job_id: int, _: str) -> bool:
    try:
        await store.complete_within(conn, held(job_id), Completion('{"n": 1}'))
    except JobLost:
        return False
    return True


async def fence(conn: asyncpg.Connection, job_id: int, _: str) -> bool:
    try:
        await store.fence(conn, held(job_id))
    except JobLost:
        return False
    return True


async def rescue(conn: asyncpg.Connection, job_id: int, _: str) -> bool:
    return job_id in (await store.rescue(conn, 3)).returned


async def cancel(conn: asyncpg.Connection, job_id: int, _: str) -> bool:
    return await store.cancel(conn, job_id, "no longer wanted")


async def retry(conn: asyncpg.Connection, job_id: int, _: str) -> bool:
    return await store.retry(conn, job_id)


async def progress(conn: asyncpg.Connection, job_id: int, _: str) -> bool:
    return await store.progress(conn, held(job_id), 12.5, "an eighth")


async def checkpoint(conn: asyncpg.Connection, job_id: int, _: str) -> bool:
    return await store.checkpoint(conn, held(job_id), '{"line": 7}')


TABLE: dict[str, tuple[Verb, dict[str, Row]]] = {
    "claim": (claim, {"pending": CLAIMED}),
    "claim a suspect": (claim_suspect, {"suspect": CLAIMED}),
    "unclaim": (unclaim, ours(RELEASED)),
    "renew": (renew, ours(RENEWED)),
    "complete": (complete, ours(COMPLETED)),
    "complete without a result": (complete_batch, ours(ENDED | {"status": "completed"})),
    "complete within a transaction": (complete_within, ours(COMPLETED)),
    "fence": (fence, {"ours": {}, "lapsed": RENEWED}),
    "finish as completed": (
        finishing(status=JobStatus.COMPLETED, result='{"n": 1}'),
        ours(COMPLETED),
    ),
    "finish as failed": (
        finishing(status=JobStatus.FAILED, error="NO_FILE", detail="loader.py:7"),
        ours(ENDED | {"status": "failed"} | noted("NO_FILE", "loader.py:7")),
    ),
    "finish as cancelled": (
        finishing(status=JobStatus.CANCELLED, error="unwanted"),
        ours(ENDED | {"status": "cancelled"} | noted("unwanted")),
    ),
    "retry later": (
        finishing(status=JobStatus.PENDING, error="timeout", delay=600.0),
        ours(NOT_HELD | {"status": "pending", "run_at": "+600 s"} | noted("timeout")),
    ),
    "snooze": (
        finishing(status=JobStatus.PENDING, delay=600.0, refund=True),
        ours(RELEASED | {"run_at": "+600 s"}),
    ),
    "give back": (finishing(status=JobStatus.PENDING, refund=True), ours(RELEASED)),
    "rescue": (rescue, {"lapsed": CRASHED}),
    "cancel": (
        cancel,
        {
            "pending": {k: v for k, v in CANCELLED.items() if k not in NOT_HELD},
            "suspect": {k: v for k, v in CANCELLED.items() if k not in NOT_HELD},
            "theirs": CANCELLED,
            **ours(CANCELLED),
        },
    ),
    "retry an ended job": (
        retry,
        {"completed": REVIVED | {"result": None}, "failed": REVIVED, "cancelled": REVIVED},
    ),
    "progress": (
        progress,
        ours({"progress": {"percent": 12.5, "sentence": "an eighth", "at": "now"}}),
    ),
    "checkpoint": (checkpoint, ours({"checkpoint": {"line": 7}})),
}


@pytest.mark.parametrize("name", TABLE)
async def test_verb_in_every_state(conn: asyncpg.Connection, name: str) -> None:
    """A verb changes exactly the columns, in exactly the states, that the table says."""
    verb, expected = TABLE[name]
    written: dict[str, Row] = {}
    accepted = set()
    for state in STATES:
        job_id = await put(conn, state, job_type=state)
        before = await row(conn, job_id)
        if await verb(conn, job_id, state):
            accepted.add(state)
        written[state] = changes(before, await row(conn, job_id))
        await conn.execute("DELETE FROM ops.jobs")

    assert {state: expected.get(state, {}) for state in STATES} == written
    assert set(expected) == accepted


async def test_an_ended_job_starts_over_with_both_budgets(conn: asyncpg.Connection) -> None:
    """A retry by hand gives back all attempts and forgets the crashes; it is due at once."""
    job_id = await put(
        conn, "failed", attempts=8, crashes=4, run_at=timedelta(hours=1), progress="{}",
        checkpoint='{"line": 7}',
    )  # fmt: skip

    assert await store.retry(conn, job_id)

    after = await row(conn, job_id)
    assert (None, {"line": 7}) == (after["progress"], after["checkpoint"])
    assert ("pending", 0, 0, "now") == (
        after["status"], after["attempts"], after["crashes"], after["run_at"]
    )  # fmt: skip


async def test_snooze_until_a_time(conn: asyncpg.Connection) -> None:
    """A given time is written as it is, and wins over a delay."""
    job_id = await put(conn, "ours")

    await store.finish(conn, [again(job_id, run_at=LONG_AGO, delay=60.0)])

    assert LONG_AGO == await conn.fetchval("SELECT run_at FROM ops.jobs")


async def test_only_the_last_twenty_errors_are_kept(conn: asyncpg.Connection) -> None:
    """The history of errors is cut at its old end, so a job that fails for ever stays small."""
    job_id = await put(conn, "ours")
    for number in range(1, 24):
        await store.finish(conn, [again(job_id, MINE, error=f"error {number}")])
        await store.claim(conn, ["greet"], 1, ME, LEASE, MINE)

    kept = [entry["error"] for entry in (await row(conn, job_id))["errors"]]
    assert [f"error {number}" for number in range(4, 24)] == kept


async def test_a_return_without_an_error_keeps_the_history(conn: asyncpg.Connection) -> None:
    """A snooze or a success after errors leaves last_error and errors as they were."""
    job_id = await put(conn, "ours", last_error="before", errors='[{"error": "before"}]')

    await store.finish(conn, [again(job_id, delay=0.0)])

    after = await row(conn, job_id)
    assert ("before", [{"error": "before"}]) == (after["last_error"], after["errors"])


async def test_lost_shows_who_has_another_token(conn: asyncpg.Connection) -> None:
    """Lost are the jobs with another token, without one, and those that are gone."""
    ids = {state: await put(conn, state) for state in STATES}
    asked = [(job_id, MINE) for job_id in (*ids.values(), 999)]

    lost = await store.lost(conn, asked)

    assert {*ids.values(), 999} - {ids["ours"], ids["lapsed"]} == lost
