"""Everything that changes a job, one function per transition; each is one statement.

All take a connection and run in whatever transaction it is in.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, get_args

import asyncpg

from dragonfly.errors import JobLost
from dragonfly.job import Claim, Completion, Finish, Job, JobStatus, to_json
from dragonfly.postgres.transactions import Proof
from dragonfly.queue import claiming
from dragonfly.queue import statements as sql
from dragonfly.queue.fragments import ANY_CRASHES, LOST

if TYPE_CHECKING:
    from asyncpg import Connection

JOBS_CHANNEL = "ops_jobs"
CANCELLED_CHANNEL = "ops_jobs_cancelled"
# what a second enqueue does to the pending job that has its unique key
OnConflict = Literal["skip", "replace", "reschedule"]
_CHOICES = get_args(OnConflict)


@dataclass(frozen=True, slots=True)
class Claimed:
    """The answer of a claim, in the order in which the jobs should start.

    After an empty claim ``due_in`` is the number of seconds until the next job (None: none waits),
    ``suspects_wait`` tells whether a job that was in flight at a crash is due, and ``keyed_wait``
    whether jobs with concurrency keys are pending, which are claimed apart.
    """

    jobs: list[Claim]
    due_in: float | None = None
    suspects_wait: bool = False
    keyed_wait: bool = False


@dataclass(frozen=True, slots=True)
class ClaimedSuspect:
    """A job that was in flight when a process died, or none.

    ``last_chance_waits`` tells whether one with more crashes than were asked for could be claimed.
    """

    job: Claim | None
    last_chance_waits: bool


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
    parent: Job[Any] | None = None,
    on_conflict: OnConflict = "skip",
) -> int:
    """Add a job in the transaction of ``conn`` and return its id.

    If a pending job of this type has the ``unique_key``, its id is returned and nothing is added:
    ``on_conflict`` leaves that job as it is (``"skip"``), gives it the payload and options of this
    call (``"replace"``; its ``run_at`` only if one is given), or only the ``run_at``, by default
    now (``"reschedule"``). Its attempts and errors stay.
    Of the jobs with one ``concurrency_key``, whatever their types, only as many run at once as
    their workers say (``Worker(…, concurrency_per_key=1)``).
    ``parent``, the job that this one follows from, gives its id and its correlation id.
    """
    require_choice(on_conflict)
    if run_at is not None or due_at is not None:
        require_zone(run_at, due_at)
    if parent is not None:
        correlation_id, parent_id = descent(parent, correlation_id, parent_id)
    head = (job_type, payload_json(payload), run_at, priority)
    rest = (concurrency_key, max_attempts, due_at, correlation_id, parent_id)
    job_id: int
    if unique_key is None:
        job_id = await conn.fetchval(sql.ENQUEUE, *head, *rest)
    else:
        job_id = await conn.fetchval(sql.ENQUEUE_KEYED, *head, unique_key, *rest, on_conflict)
    return job_id


def require_choice(on_conflict: str) -> None:
    """ValueError for a word that ``on_conflict`` does not know."""
    if on_conflict not in _CHOICES:
        raise ValueError(f"on_conflict is {on_conflict!r}; it must be {', '.join(_CHOICES)}.")


def require_zone(*moments: datetime | None) -> None:
    """ValueError for a time without a time zone: it would mean another moment elsewhere."""
    if any(moment is not None and moment.tzinfo is None for moment in moments):
        raise ValueError("run_at and due_at need a time with a time zone.")


def descent(
    parent: Job[Any] | None, correlation_id: uuid.UUID | None, parent_id: int | None
) -> tuple[uuid.UUID | None, int | None]:
    """What a job inherits from ``parent``; what is given beside it goes first."""
    if parent is None:
        return correlation_id, parent_id
    own_id = parent.id if parent_id is None else parent_id
    return correlation_id or parent.correlation_id, own_id


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
    options = (limit, locked_by, lease, token)
    if behind is not None:
        rows = await conn.fetch(claiming.CLAIM_BEHIND, job_types, *options, behind)
    elif len(job_types) == 1:
        rows = await conn.fetch(claiming.CLAIM_HEAD_OF, job_types[0], *options)
    else:
        rows = await conn.fetch(claiming.CLAIM_HEAD, job_types, *options)
    return list(map(Claim._make, rows))


async def claim(
    conn: Connection, job_types: Sequence[str], limit: int, locked_by: str, lease: float, token: int
) -> Claimed:
    """Take up to ``limit`` due jobs of these types, for ``lease`` seconds, under ``token``."""
    rows = await conn.fetch(claiming.CLAIM, job_types, limit, locked_by, lease, token)
    if len(rows) == 1 and rows[0]["id"] is None:
        (row,) = rows
        return Claimed([], row["due_in"], row["suspects_wait"], row["keyed_wait"])
    return Claimed([Claim._make(row[: len(Claim._fields)]) for row in rows])


async def claim_suspect(
    conn: Connection,
    job_types: Sequence[str],
    locked_by: str,
    lease: float,
    token: int,
    *,
    crashes: tuple[int, int] = ANY_CRASHES,
    per_key: int = 1,
) -> ClaimedSuspect:
    """Take one due job without a key that was in flight when a process died, so many times."""
    options = (locked_by, lease, token, *crashes, per_key)
    (row,) = await conn.fetch(claiming.CLAIM_SUSPECT, job_types, *options)
    job = None if row["id"] is None else Claim._make(row[: len(Claim._fields)])
    return ClaimedSuspect(job, row["last_chance_waits"])


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


def completing(claim: Claim, completion: Completion) -> Proof:
    """Ends a handler's transaction and finishes the job; fails if it is no longer ours."""
    return Proof(sql.COMPLETE_ONE, (claim.id, claim.lock_token, completion.result))


def holding(claim: Claim) -> Proof:
    """Ends a transaction: the job is ours until the commit; fails if it is not."""
    return Proof(sql.FENCE, (claim.id, claim.lock_token))


def raise_if_lost(claim: Claim, error: BaseException) -> None:
    """JobLost if this is how a proof failed because the job is no longer ours."""
    if isinstance(error, asyncpg.InvalidTextRepresentationError) and LOST in str(error):
        raise JobLost(
            f"job {claim.id} belongs to another holder now; its transaction was undone"
        ) from None


async def complete_within(conn: Connection, claim: Claim, completion: Completion) -> None:
    """Finish the job in the open transaction; JobLost if it is no longer ours."""
    await _prove(conn, claim, completing(claim, completion))


async def fence(conn: Connection, claim: Claim) -> None:
    """Prove that the job is ours and keep it so until the commit; JobLost if it is not."""
    await _prove(conn, claim, holding(claim))


async def _prove(conn: Connection, claim: Claim, proof: Proof) -> None:
    try:
        await conn.execute(proof.statement, *proof.args)
    except asyncpg.InvalidTextRepresentationError as error:
        raise_if_lost(claim, error)
        raise


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


async def rescue(
    conn: Connection, crash_budget: int, limit: int = 1000, *, not_after: datetime | None = None
) -> Rescued:
    """Bring back jobs whose lease ran out; above the crash budget they are failed.

    If PostgreSQL gets to it at ``not_after`` or later by its own clock, nothing is brought back.
    """
    rows = await conn.fetch(sql.RESCUE, crash_budget, limit, not_after)
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
