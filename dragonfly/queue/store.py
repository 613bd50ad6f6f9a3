"""Everything that changes a job, one function per transition; each is one statement.

All take a connection and run in whatever transaction it is in.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from dragonfly.errors import JobLost
from dragonfly.job import Claim, Completion, Finish, JobStatus, to_json
from dragonfly.queue import claiming
from dragonfly.queue import statements as sql

if TYPE_CHECKING:
    from asyncpg import Connection

JOBS_CHANNEL = "ops_jobs"
CANCELLED_CHANNEL = "ops_jobs_cancelled"
# below this number the one round trip of an INSERT beats the two of a COPY
COPY_ROWS = 50


@dataclass(frozen=True, slots=True)
class Claimed:
    """The answer of a claim, in the order in which the jobs should start.

    After an empty claim ``due_in`` is the number of seconds until the next job (None: none waits),
    and ``suspects_wait`` tells whether a job that was in flight at a crash is due.
    """

    jobs: list[Claim]
    due_in: float | None = None
    suspects_wait: bool = False


@dataclass(frozen=True, slots=True)
class Rescued:
    """Jobs whose holder died: those that will run again, and those that may not."""

    returned: tuple[int, ...]
    failed: tuple[int, ...]


async def enqueue(
    conn: Connection,
    job_type: str,
    payload: Any,
    *,
    run_at: datetime | None = None,
    priority: int = 0,
    unique_key: str | None = None,
    concurrency_key: str | None = None,
    max_attempts: int | None = None,
    due_at: datetime | None = None,
    correlation_id: uuid.UUID | None = None,
    parent_id: int | None = None,
) -> int:
    """Add a job in the transaction of ``conn`` and return its id.

    If a pending job of this type has the ``unique_key``, nothing is added and its id is returned.
    The ``concurrency_key`` is kept with the job; workers do not limit by it in this version.
    """
    job_id: int = await conn.fetchval(
        sql.ENQUEUE,
        job_type,
        payload_json(payload),
        run_at,
        priority,
        unique_key,
        concurrency_key,
        max_attempts,
        due_at,
        correlation_id,
        parent_id,
    )
    return job_id


async def enqueue_many(
    conn: Connection,
    job_type: str,
    payloads: Iterable[Any],
    *,
    unique_keys: Sequence[str | None] | None = None,
    run_at: datetime | None = None,
    priority: int = 0,
    max_attempts: int | None = None,
    correlation_id: uuid.UUID | None = None,
    parent_id: int | None = None,
) -> list[int]:
    """Add many jobs of one type in one statement; the ids come in the order of the payloads.

    Where a pending job has a payload's unique key, that job's id stands in its place.
    """
    texts = [payload_json(payload) for payload in payloads]
    if unique_keys is None and len(texts) >= COPY_ROWS:
        columns = {
            "run_at": run_at,
            "priority": priority or None,
            "max_attempts": max_attempts,
            "correlation_id": correlation_id,
            "parent_id": parent_id,
        }
        return await _copy(conn, job_type, texts, columns)
    keys = list(unique_keys) if unique_keys is not None else [None] * len(texts)
    options = (run_at, priority, max_attempts, correlation_id, parent_id)
    if len(keys) != len(texts):
        raise ValueError(f"{len(texts)} payloads but {len(keys)} unique keys")
    rows = await conn.fetch(sql.ENQUEUE_MANY, job_type, texts, keys, *options)
    unkeyed = iter([row["id"] for row in rows if row["unique_key"] is None])
    by_key = {row["unique_key"]: row["id"] for row in rows if row["unique_key"] is not None}
    first = {key: text for text, key in zip(reversed(texts), reversed(keys), strict=True)}
    while taken := [key for key in first if key is not None and key not in by_key]:
        found = await conn.fetch(sql.PENDING_BY_KEY, job_type, taken)
        by_key |= {row["unique_key"]: row["id"] for row in found}
        # what was claimed between the two statements has freed its key
        free = [key for key in taken if key not in by_key]
        if free:
            texts = [first[key] for key in free]
            rows = await conn.fetch(sql.ENQUEUE_MANY, job_type, texts, free, *options)
            by_key |= {row["unique_key"]: row["id"] for row in rows}
    return [next(unkeyed) if key is None else by_key[key] for key in keys]


async def _copy(
    conn: Connection, job_type: str, payloads: Sequence[str], columns: dict[str, Any]
) -> list[int]:
    """COPY writes pages where INSERT writes rows (benchmark W1); ids are drawn before."""
    ids: list[int] = await conn.fetchval(sql.DRAW_IDS, len(payloads))
    given = {name: value for name, value in columns.items() if value is not None}
    same = (job_type, *given.values())
    await conn.copy_records_to_table(
        "jobs",
        schema_name="ops",
        columns=["id", "payload", "job_type", *given],
        records=[(*pair, *same) for pair in zip(ids, payloads, strict=True)],
    )
    return ids


def payload_json(payload: Any) -> str:
    """The JSON text of a payload: a dict, a pydantic model, or any JSON value."""
    return to_json(payload) or "{}"


def new_token() -> int:
    """63 random bits: a sequence would repeat after a crash that lost a claim."""
    return secrets.randbits(63)


async def claim_head(
    conn: Connection,
    job_types: Sequence[str],
    limit: int,
    locked_by: str,
    lease: float,
    token: int,
    *,
    behind: int | None = None,
) -> list[Claim]:
    """Take up to ``limit`` jobs that are due at the highest priority there is.

    Fewer than that say nothing about the rest of the queue: ask ``claim``. ``behind`` a job claimed
    shortly before, it passes over what has come to stand in front of that job since.
    """
    options = (job_types, limit, locked_by, lease, token)
    if behind is None:
        rows = await conn.fetch(claiming.CLAIM_HEAD, *options)
    else:
        rows = await conn.fetch(claiming.CLAIM_BEHIND, *options, behind)
    return list(map(Claim._make, rows))


async def claim(
    conn: Connection, job_types: Sequence[str], limit: int, locked_by: str, lease: float, token: int
) -> Claimed:
    """Take up to ``limit`` due jobs of these types, for ``lease`` seconds, under ``token``."""
    rows = await conn.fetch(claiming.CLAIM, job_types, limit, locked_by, lease, token)
    if len(rows) == 1 and rows[0]["id"] is None:
        return Claimed([], rows[0]["due_in"], rows[0]["suspects_wait"])
    return Claimed([Claim._make(row[: len(Claim._fields)]) for row in rows])


async def claim_suspect(
    conn: Connection, job_types: Sequence[str], locked_by: str, lease: float, token: int
) -> Claim | None:
    """Take one due job that was in flight when a process died."""
    row = await conn.fetchrow(claiming.CLAIM_SUSPECT, job_types, locked_by, lease, token)
    return None if row is None else Claim._make(row)


async def unclaim(conn: Connection, tokens: Sequence[int]) -> list[int]:
    """Give back what claims with these tokens took, when their answers were lost."""
    return [row["id"] for row in await conn.fetch(claiming.UNCLAIM, tokens)]


async def complete(conn: Connection, finishes: Sequence[Finish]) -> dict[int, JobStatus]:
    """Write ordinary successes; returns those that were still ours, and not locked by others."""
    results = [finish.result for finish in finishes]
    rows = await conn.fetch(
        sql.COMPLETE,
        [finish.job_id for finish in finishes],
        [finish.lock_token for finish in finishes],
        # unnest() fills a shorter array up with nulls, and asyncpg looks at each element it sends
        results if any(result is not None for result in results) else [],
    )
    return {row["id"]: JobStatus.COMPLETED for row in rows}


async def complete_batch(conn: Connection, ids: Sequence[int], token: int) -> int:
    """Write successes without results of jobs claimed together; how many were still ours.

    LockNotAvailableError, and nothing written, if somebody holds one of the rows for long.
    """
    array = f"{{{','.join(map(str, sorted(ids)))}}}"
    tag = await conn.execute(sql.COMPLETE_BATCH, array, token)
    return int(tag.rpartition(" ")[2])


async def finish(conn: Connection, finishes: Sequence[Finish]) -> dict[int, JobStatus]:
    """Write any ends of attempts; returns the status that each job still ours has now."""
    columns = zip(*finishes, strict=True)
    rows = await conn.fetch(sql.FINISH, *(list(column) for column in columns))
    return {row["id"]: JobStatus(row["status"]) for row in rows}


async def complete_within(conn: Connection, claim: Claim, completion: Completion) -> None:
    """Finish the job in the handler's transaction; JobLost if it is no longer ours."""
    if await conn.fetchval(sql.COMPLETE_ONE, claim.id, claim.lock_token, completion.result) is None:
        raise JobLost(f"job {claim.id} belongs to another holder now; its transaction was undone")


async def fence(conn: Connection, claim: Claim) -> None:
    """Prove that the job is ours and keep it so until the commit; JobLost if it is not."""
    if await conn.fetchval(sql.FENCE, claim.id, claim.lock_token) is None:
        raise JobLost(f"job {claim.id} belongs to another holder now; its transaction was undone")


async def finished_by_us(
    conn: Connection, ids: Sequence[int], holders: Sequence[str]
) -> dict[int, JobStatus]:
    """Which of these jobs ended in the hands of these holders: their lost answers were yes."""
    rows = await conn.fetch(sql.FINISHED_BY_US, ids, holders)
    return {row["id"]: JobStatus(row["status"]) for row in rows}


async def renew(conn: Connection, held: Sequence[Claim], lease: float) -> set[int]:
    """Prolong the locks of held jobs; returns the ids that were renewed."""
    ids, tokens = [claim.id for claim in held], [claim.lock_token for claim in held]
    return {row["id"] for row in await conn.fetch(sql.RENEW, ids, tokens, lease)}


async def lost(conn: Connection, held: Sequence[tuple[int, int]]) -> set[int]:
    """Which of these jobs, given as (id, token), really have another token by now, or none."""
    rows = await conn.fetch(sql.TOKENS, [job_id for job_id, _ in held])
    tokens = {row["id"]: row["lock_token"] for row in rows}
    return {job_id for job_id, token in held if tokens.get(job_id) != token}


async def rescue(conn: Connection, crash_budget: int, limit: int = 1000) -> Rescued:
    """Bring back jobs whose lease ran out; above the crash budget they are failed."""
    rows = await conn.fetch(sql.RESCUE, crash_budget, limit)
    return Rescued(
        tuple(row["id"] for row in rows if row["status"] == "pending"),
        tuple(row["id"] for row in rows if row["status"] != "pending"),
    )


async def accuse(conn: Connection, claim: Claim, verdict: str, detail: str) -> None:
    """Leave evidence against a running job before its process ends; its rescue counts a crash."""
    await conn.execute(sql.ACCUSE, claim.id, claim.lock_token, verdict, detail)


async def cancel(conn: Connection, job_id: int, reason: str) -> bool:
    """Cancel a pending or running job; False if it had ended or does not exist."""
    return await conn.fetchval(sql.CANCEL, job_id, f"cancelled: {reason}") is not None


async def retry(conn: Connection, job_id: int) -> bool:
    """Start an ended job over; False if it has not ended, or its unique key is taken."""
    return await conn.fetchval(sql.RETRY, job_id) is not None


async def progress(conn: Connection, claim: Claim, percent: float, sentence: str) -> bool:
    """Write how far the job is; False if it is no longer ours."""
    row = await conn.fetchval(sql.PROGRESS, claim.id, claim.lock_token, percent, sentence)
    return row is not None


async def checkpoint(conn: Connection, claim: Claim, value: str) -> bool:
    """Write what the next attempt resumes from (JSON text); False if the job is no longer ours."""
    return await conn.fetchval(sql.CHECKPOINT, claim.id, claim.lock_token, value) is not None
