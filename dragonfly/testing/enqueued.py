"""Which jobs were added: an assertion that says what was there instead."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from dragonfly.queue.store import payload_json

if TYPE_CHECKING:
    from asyncpg import Connection

MOST_SHOWN = 5
VALUE_LETTERS = 60

_PENDING = """
SELECT id, job_type, payload, unique_key, priority, run_at, max_attempts, parent_id, correlation_id
  FROM ops.jobs
 WHERE status = 'pending'
 ORDER BY id
"""
_AFTER = """
SELECT id, job_type, payload, unique_key, priority, run_at, max_attempts, parent_id, correlation_id
  FROM ops.jobs
 WHERE id > $1
 ORDER BY id
"""


@dataclass(frozen=True, slots=True)
class EnqueuedJob:
    """A job as it was added; ``payload`` is what JSON makes of it."""

    id: int
    job_type: str
    payload: Any
    unique_key: str | None
    priority: int
    run_at: datetime
    max_attempts: int
    parent_id: int | None
    correlation_id: UUID | None


async def assert_enqueued(
    conn: Connection,
    job_type: str,
    payload: Any = None,
    *,
    unique_key: str | None = None,
    count: int | None = None,
) -> list[EnqueuedJob]:
    """Assert that jobs of this type are pending, and return them.

    ``payload`` is what theirs must at least contain: a mapping, also within mappings, a pydantic
    model, or any JSON value. Without ``count`` one is enough; with it there must be exactly so
    many, and none with 0. The AssertionError names the differences of those that are there.
    """
    wanted = None if payload is None else json.loads(payload_json(payload))
    pending = [_read(row) for row in await conn.fetch(_PENDING)]
    of_type = [job for job in pending if job.job_type == job_type]
    differences = {job.id: list(_differences(job, wanted, unique_key)) for job in of_type}
    found = [job for job in of_type if not differences[job.id]]
    if (len(found) >= 1) if count is None else (len(found) == count):
        return found
    asked = _asked(job_type, wanted, unique_key, count)
    others = Counter(job.job_type for job in pending if job.job_type != job_type)
    raise AssertionError("\n".join(_report(asked, len(found), differences, others)))


async def enqueued_after(conn: Connection, job_id: int) -> tuple[EnqueuedJob, ...]:
    """All jobs that were added after this one, whatever became of them."""
    return tuple(_read(row) for row in await conn.fetch(_AFTER, job_id))


def _read(row: Any) -> EnqueuedJob:
    return EnqueuedJob(**(dict(row) | {"payload": json.loads(row["payload"])}))


def _differences(job: EnqueuedJob, wanted: Any, unique_key: str | None) -> Iterator[str]:
    if unique_key is not None and job.unique_key != unique_key:
        yield f"its unique key is {_short(job.unique_key)}, not {_short(unique_key)}"
    if wanted is not None:
        yield from _lacks(job.payload, wanted, "")


def _lacks(there: Any, wanted: Any, path: str) -> Iterator[str]:
    """What keeps ``wanted`` from being contained in ``there``."""
    if isinstance(wanted, Mapping) and isinstance(there, Mapping):
        for key, value in wanted.items():
            step = f"{path}.{key}" if path else str(key)
            if key in there:
                yield from _lacks(there[key], value, step)
            else:
                yield f"{step} is missing"
    elif there != wanted or isinstance(there, bool) is not isinstance(wanted, bool):
        yield f"{path or 'the payload'} is {_short(there)}, not {_short(wanted)}"


def _asked(job_type: str, wanted: Any, unique_key: str | None, count: int | None) -> str:
    number = {None: "a", 0: "no"}.get(count, str(count))
    asked = f"{number} pending {job_type!r} job{'s' if count not in {None, 1} else ''}"
    if wanted is not None:
        asked += f" with payload {_short(wanted)}"
    if unique_key is not None:
        asked += f" with unique key {_short(unique_key)}"
    return asked


def _report(
    asked: str, found: int, differences: Mapping[int, Sequence[str]], others: Counter[str]
) -> Iterator[str]:
    yield f"expected {asked}, found {found or 'none'}"
    for job_id, reasons in list(differences.items())[:MOST_SHOWN]:
        yield f"  job {job_id}: {'; '.join(reasons[:MOST_SHOWN]) or 'is one'}"
    if (more := len(differences) - MOST_SHOWN) > 0:
        yield f"  and {more} more of this type"
    kinds = ", ".join(f"{count} {kind!r}" for kind, count in sorted(others.items()))
    yield f"  other pending jobs: {kinds or 'none'}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= VALUE_LETTERS else f"{text[: VALUE_LETTERS - 1]}…"
