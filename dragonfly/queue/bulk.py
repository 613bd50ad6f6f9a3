"""Adding many jobs at once: of one type, or of any types row by row.

All take a connection and run in whatever transaction it is in.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterable, Sequence, Sized
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from dragonfly.job import Job
from dragonfly.queue import statements as sql
from dragonfly.queue.store import (
    OnConflict,
    descent,
    payload_json,
    require_choice,
    require_zone,
)

if TYPE_CHECKING:
    from asyncpg import Connection

# below this number the one round trip of an INSERT beats the two of a COPY
COPY_ROWS = 50
# characters that are sent at once: few, so that the server soon has something to do
PIECE_LENGTH = 16_000
_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})
_NULL = r"\N"
_SHARED = (
    "job_type", "run_at", "priority", "max_attempts", "due_at", "correlation_id", "parent_id"
)  # fmt: skip


class NewJob(NamedTuple):
    """One call of ``ops.enqueue_job()``, its parameters in order; ``payload`` is JSON text."""

    job_type: str
    payload: str = "{}"
    run_at: datetime | None = None
    priority: int = 0
    unique_key: str | None = None
    concurrency_key: str | None = None
    max_attempts: int | None = None
    due_at: datetime | None = None
    correlation_id: uuid.UUID | None = None
    parent_id: int | None = None
    on_conflict: OnConflict = "skip"


async def enqueue_each(conn: Connection, jobs: Sequence[NewJob]) -> list[int]:
    """Add these jobs one after the other in one statement; the ids in their order."""
    columns = map(list, zip(*jobs, strict=True))
    return [row["id"] for row in await conn.fetch(sql.ENQUEUE_EACH, *columns)] if jobs else []


async def enqueue_many(
    conn: Connection,
    job_type: str,
    payloads: Iterable[Any],
    *,
    unique_keys: Iterable[str | None] | None = None,
    concurrency_keys: Iterable[str | None] | None = None,
    run_at: datetime | None = None,
    priority: int = 0,
    max_attempts: int | None = None,
    due_at: datetime | None = None,
    correlation_id: uuid.UUID | None = None,
    parent_id: int | None = None,
    parent: Job[Any] | None = None,
    on_conflict: OnConflict = "skip",
) -> list[int]:
    """Add many jobs of one type; the ids come, and the jobs run, in the order of the payloads.

    The keys go with the payloads one by one. Where a pending job has a payload's unique key, that
    job's id stands in its place, and ``on_conflict`` says what becomes of it, as in ``enqueue``;
    equal keys of one call are one job, with the last payload if it says ``"replace"``.
    ``parent``, the job that these follow from, gives its id and its correlation id.
    """
    require_choice(on_conflict)
    require_zone(run_at, due_at)
    correlation_id, parent_id = descent(parent, correlation_id, parent_id)
    count, texts = _texts(payloads)
    limits = _beside(count, concurrency_keys, "concurrency keys")
    like = NewJob(
        job_type, "", run_at, priority, None, None, max_attempts, due_at, correlation_id, parent_id,
        on_conflict,
    )  # fmt: skip
    if unique_keys is None and count >= COPY_ROWS:
        return await _copy(conn, like, count, texts, limits)
    keys = _beside(count, unique_keys, "unique keys")
    jobs = [
        like._replace(payload=text, unique_key=key, concurrency_key=limit)
        for text, key, limit in zip(texts, keys, limits, strict=True)
    ]
    return await _insert(conn, jobs, like) if jobs else []


def _texts(payloads: Iterable[Any]) -> tuple[int, Iterable[str]]:
    """How many there are, and their JSON texts, which are made as they are asked for.

    Payloads that are themselves made as they are asked for are kept as text alone.
    """
    if isinstance(payloads, Sized):
        held = list(payloads)  # the caller's own list may change meanwhile
        return len(held), map(payload_json, held)
    texts = [payload_json(payload) for payload in payloads]
    return len(texts), texts


def _beside(count: int, keys: Iterable[str | None] | None, what: str) -> list[str | None]:
    """One key for each payload; ValueError if the numbers differ."""
    listed: list[str | None] = [None] * count if keys is None else list(keys)
    if len(listed) != count:
        raise ValueError(f"{count} payloads but {len(listed)} {what}")
    return listed


async def _insert(conn: Connection, jobs: list[NewJob], like: NewJob) -> list[int]:
    """Add what can be added in one statement, and see to the keys that were taken."""
    in_turn = jobs if like.on_conflict == "replace" else jobs[::-1]
    keyed = {job.unique_key: job for job in in_turn if job.unique_key is not None}
    jobs = [job if job.unique_key is None else keyed[job.unique_key] for job in jobs]
    rows = await conn.fetch(
        sql.ENQUEUE_MANY,
        like.job_type,
        [job.payload for job in jobs],
        [job.unique_key for job in jobs],
        [job.concurrency_key for job in jobs],
        like.run_at,
        like.priority,
        like.max_attempts,
        like.due_at,
        like.correlation_id,
        like.parent_id,
    )
    unkeyed = iter([row["id"] for row in rows if row["unique_key"] is None])
    ids = {row["unique_key"]: row["id"] for row in rows if row["unique_key"] is not None}
    if like.on_conflict == "skip" and (taken := keyed.keys() - ids.keys()):
        found = await conn.fetch(sql.PENDING_BY_KEY, like.job_type, list(taken))
        ids |= {row["unique_key"]: row["id"] for row in found}
    # those to change, and those whose job was claimed between the two statements
    rest = sorted(keyed.keys() - ids.keys())
    ids |= zip(rest, await enqueue_each(conn, [keyed[key] for key in rest]), strict=True)
    return [next(unkeyed) if job.unique_key is None else ids[job.unique_key] for job in jobs]


async def _copy(
    conn: Connection, like: NewJob, count: int, texts: Iterable[str], limits: Sequence[str | None]
) -> list[int]:
    """COPY writes pages where INSERT writes rows (benchmark W1); ids are drawn before.

    As text and in pieces: the server reads one while the next is written, and writes its rows out
    after 64 kB of it. Of binary rows it would hold a thousand, at a price for each that grows.
    """
    draw = sql.DRAW_IDS if conn.is_in_transaction() else sql.DRAW_IDS_ALONE
    drawing = asyncio.ensure_future(conn.fetchval(draw, count))
    try:
        await asyncio.sleep(0)  # until it is sent
        # written while the server draws
        texts = list(texts)
        columns, endings = _beside_payloads(like, limits)
    finally:
        ids: list[int] = await drawing  # the connection is free again, whatever happened
    await conn.copy_to_table(
        "jobs",
        schema_name="ops",
        columns=["id", "payload", *columns],
        source=_pieces(ids, texts, endings),
        encoding="utf8",
    )
    return ids


def _beside_payloads(like: NewJob, limits: Sequence[str | None]) -> tuple[list[str], list[str]]:
    """The other columns, and how each line goes on with them.

    Where nothing is given the table's default holds.
    """
    shared = {name: getattr(like, name) for name in _SHARED}
    given = {name: _field(value) for name, value in shared.items() if value is not None}
    same = "".join(f"\t{field}" for field in given.values())
    if limits.count(None) == len(limits):
        return [*given], [f"{same}\n"] * len(limits)
    keys = (_NULL if limit is None else _field(limit) for limit in limits)
    return [*given, "concurrency_key"], [f"{same}\t{key}\n" for key in keys]


async def _pieces(
    ids: Sequence[int], texts: Sequence[str], endings: Sequence[str]
) -> AsyncIterator[bytes]:
    """A line for each job, many at a time."""
    lines: list[str] = []
    length = 0
    for job_id, text, ending in zip(ids, texts, endings, strict=True):
        # JSON has no raw tabs and line ends: its backslashes are all there is to escape
        payload = text.replace("\\", r"\\")
        lines.append(f"{job_id}\t{payload}{ending}")
        length += len(lines[-1])
        if length >= PIECE_LENGTH:
            yield "".join(lines).encode()
            lines, length = [], 0
    yield "".join(lines).encode()


def _field(value: object) -> str:
    """A value as a COPY of text reads it."""
    match value:
        case str():
            return value.translate(_ESCAPES)
        case int():
            return str(int(value))  # of an enum the number
        case datetime():
            return value.astimezone(UTC).isoformat()
        case _:
            return str(value).translate(_ESCAPES)
