"""Who sleeps, as the trigger of ``ops.jobs`` sees it: it rings for no other.

A sleeper's session holds shared advisory locks: one that all sleepers hold, and one for each type
of jobs it takes (migration 0011). What an INSERT asks before a sleeper has them is answered no:
such a transaction may commit without a ring, so whoever falls asleep looks once more when those
that were writing then have ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncpg import Connection

# of any sleeper; and the salt of the types' hashes, so that other locks of the database miss ours
_LOCK = 5277240125

# $1 job types. Locks of a session are counted: each type takes that of any sleeper once more.
FALL_ASLEEP = f"""
SELECT pg_advisory_lock_shared({_LOCK}),
       pg_advisory_lock_shared(hashtextextended(job_type, {_LOCK}))
  FROM unnest($1::text[]) AS taken (job_type)
"""  # noqa: S608 - made of constants, like all below

WAKE_UP = f"""
SELECT pg_advisory_unlock_shared({_LOCK}),
       pg_advisory_unlock_shared(hashtextextended(job_type, {_LOCK}))
  FROM unnest($1::text[]) AS taken (job_type)
"""  # noqa: S608

# Transactions that write, or have written, to the table: of claims and finishes, too.
WRITERS = """
SELECT l.virtualtransaction
  FROM pg_locks l
 WHERE l.locktype = 'relation' AND l.relation = 'ops.jobs'::regclass
   AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
   AND l.mode = 'RowExclusiveLock' AND l.granted
"""


async def fall_asleep(conn: Connection, job_types: Sequence[str]) -> frozenset[str]:
    """Be rung from now on for jobs of these types.

    Returns the transactions that may yet commit one without a ring: look when they are over.
    """
    await conn.fetch(FALL_ASLEEP, job_types)
    return await writers(conn)


async def wake_up(conn: Connection, job_types: Sequence[str]) -> None:
    """Be rung for these no more; each ``fall_asleep`` wants one."""
    await conn.fetch(WAKE_UP, job_types)


async def writers(conn: Connection) -> frozenset[str]:
    """The transactions that write to the table, as the server names them; it repeats no name."""
    return frozenset(row[0] for row in await conn.fetch(WRITERS))
