"""The append-only record of what people did to the queue, and why."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncpg import Connection

_RECORD = """
INSERT INTO ops.audit (actor, action, subject, job_id, reason, before, after)
VALUES ($1, $2, $3, $4, $5, $6, $7)
"""

# $1 a job or null for all, $2 how many. The newest first.
_ENTRIES = """
SELECT at, actor, action, subject, job_id, reason, before, after
  FROM ops.audit
 WHERE ($1::bigint IS NULL OR job_id = $1)
 ORDER BY id DESC
 LIMIT $2
"""


@dataclass(frozen=True, slots=True)
class Deed:
    """Who does something, and why: ``reason`` is for people, without names of clients."""

    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One deed; ``before`` and ``after`` hold what it changed, without payloads."""

    at: datetime
    actor: str
    action: str
    subject: str
    job_id: int | None
    reason: str
    before: Any
    after: Any


async def record(
    conn: Connection,
    deed: Deed,
    action: str,
    subject: str,
    *,
    job_id: int | None = None,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> None:
    """Add an entry, in the transaction of what it tells of."""
    states = (
        None if state is None else json.dumps(state, default=str) for state in (before, after)
    )
    await conn.execute(_RECORD, deed.actor, action, subject, job_id, deed.reason, *states)


async def entries(conn: Connection, *, job_id: int | None = None, limit: int = 50) -> list[Entry]:
    """The newest entries, about one job if asked for."""
    rows = await conn.fetch(_ENTRIES, job_id, limit)
    return [
        Entry(**(dict(row) | {n: row[n] and json.loads(row[n]) for n in ("before", "after")}))
        for row in rows
    ]
