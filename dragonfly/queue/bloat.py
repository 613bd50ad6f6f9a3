"""How large ``ops.jobs`` has grown, how much of it is dead, and who keeps vacuum from removing it.

Each finish leaves a dead row behind. Vacuum removes what no snapshot can need any more, so one old
transaction anywhere in the database, a prepared transaction, or a replication slot whose standby
reports its snapshots (``hot_standby_feedback``) keeps all that died since.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncpg import Connection

MOST_PINS = 20


@dataclass(frozen=True, slots=True)
class Size:
    """The table and what belongs to it; sizes in bytes, and ``dead`` as last counted."""

    total_bytes: int
    table_bytes: int
    index_bytes: int
    toast_bytes: int
    live: int
    dead: int
    last_vacuum: datetime | None
    last_autovacuum: datetime | None

    @property
    def dead_share(self) -> float:
        """Dead rows among all, from 0 to 1."""
        return self.dead / max(self.live + self.dead, 1)


@dataclass(frozen=True, slots=True)
class Pin:
    """Something whose snapshot holds the horizon of vacuum back.

    ``kind`` is ``session``, ``prepared transaction`` or ``replication slot``; ``name`` the
    application, the transaction's identifier, or the slot. ``transactions`` is its age in
    transactions begun since, ``seconds`` since it began (of an inactive slot: since it was left),
    None where the server does not tell. ``hidden``: of another role, whose state and times this
    role may not see.
    """

    kind: str
    name: str
    pid: int | None
    backend: str | None
    state: str | None
    wait: str | None
    verb: str | None
    seconds: float | None
    transactions: int
    hidden: bool


@dataclass(frozen=True, slots=True)
class Bloat:
    """The table, and what holds vacuum back in this database, the oldest first."""

    size: Size
    pins: tuple[Pin, ...]
    sees_all: bool


_SIZE = """
SELECT pg_total_relation_size(c.oid) AS total_bytes,
       pg_table_size(c.oid) - coalesce(pg_total_relation_size(nullif(c.reltoastrelid, 0)), 0)
           AS table_bytes,
       pg_indexes_size(c.oid) AS index_bytes,
       coalesce(pg_total_relation_size(nullif(c.reltoastrelid, 0)), 0) AS toast_bytes,
       coalesce(s.n_live_tup, 0) AS live, coalesce(s.n_dead_tup, 0) AS dead,
       s.last_vacuum, s.last_autovacuum
  FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_stat_all_tables s ON s.relid = c.oid
 WHERE c.oid = 'ops.jobs'::regclass
"""

# Only what holds rows of this database: its own sessions and those of standbys, but no
# vacuum, which needs none, and no slot's catalog_xmin, which holds system tables alone.
# verb: of a query no more than its first word, and only a word of SQL; more may be somebody's data.
# to_jsonb: PostgreSQL 17 and newer know since when a slot is inactive.
_PINS = """
SELECT 'session' AS kind, coalesce(a.application_name, '') AS name, a.pid,
       a.backend_type AS backend, a.state, a.wait_event_type || ': ' || a.wait_event AS wait,
       upper(substring(a.query FROM '(?i)^\\s*(select|with|insert|update|delete|merge|copy|fetch|'
                                    'execute|call|do|begin|commit|lock|create|alter|drop|reindex|'
                                    'vacuum|analyze|refresh|cluster)\\M')) AS verb,
       extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS seconds,
       greatest(age(a.backend_xid), age(a.backend_xmin)) AS transactions,
       a.query IS NOT DISTINCT FROM '<insufficient privilege>' AS hidden
  FROM pg_catalog.pg_stat_activity a
 WHERE (a.backend_xid IS NOT NULL OR a.backend_xmin IS NOT NULL)
   AND (a.datname = current_database() OR a.datname IS NULL)
   AND a.pid <> pg_backend_pid() AND a.leader_pid IS NULL
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_progress_vacuum v WHERE v.pid = a.pid)
UNION ALL
SELECT 'prepared transaction', p.gid, NULL, NULL, NULL, NULL, NULL,
       extract(epoch FROM clock_timestamp() - p.prepared)::float8, age(p.transaction), false
  FROM pg_catalog.pg_prepared_xacts p
 WHERE p.database = current_database()
UNION ALL
SELECT 'replication slot', s.slot_name, s.active_pid, s.slot_type,
       CASE WHEN s.active THEN 'active' ELSE 'inactive' END, NULL, NULL,
       extract(epoch FROM clock_timestamp()
               - (to_jsonb(s) ->> 'inactive_since')::timestamptz)::float8, age(s.xmin), false
  FROM pg_catalog.pg_replication_slots s
 WHERE s.xmin IS NOT NULL
 ORDER BY transactions DESC, seconds DESC NULLS LAST
 LIMIT $1
"""

_SEES_ALL = "SELECT pg_has_role('pg_read_all_stats', 'USAGE')"


async def bloat(conn: Connection) -> Bloat:
    """Size, dead rows and what pins them; reads statistics only, no row of the table."""
    (size,) = await conn.fetch(_SIZE)
    pins = await conn.fetch(_PINS, MOST_PINS)
    sees_all = await conn.fetchval(_SEES_ALL)
    return Bloat(Size(*size), tuple(Pin(*row) for row in pins), bool(sees_all))
