"""Who is measured: how each is installed, started and asked whether all its jobs are finished."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

NODE = "node@22.23.3"
_PSYCOPG = "psycopg[binary]==3.3.9"
_UVLOOP = "uvloop==0.23.0; sys_platform != 'win32'"


class Home(Enum):
    """Where a contestant's packages live."""

    OURS = auto()
    PYTHON = auto()
    NODE = auto()


@dataclass(frozen=True, slots=True)
class Peer:
    """One contestant; ``unfinished`` is a query that is true while a job of the work is left.

    ``channel`` is where it says that a job of the work has arrived.
    Slow ones drain a ``slow``-th of the jobs that the others do, and without settings of the user's
    an ``untouched``-th; 0 stands for those that poll then, a job or so each time. ``tables`` names
    the contestant whose tables it uses, if they are not its own. ``ended`` is SQL that adds
    ``{count}`` finished jobs, where they stay in the table that claims read.
    """

    name: str
    home: Home
    driver: str
    packages: tuple[str, ...]
    channel: str
    unfinished: str
    slow: int = 1
    untouched: int = 50
    tables: str | None = None
    ended: str = ""


DRAGONFLY = "dragonfly"
BARE = "bare"
# the newest first: they are finished last, and the whole table is looked through only once
_OPS_JOBS = """
SELECT CASE WHEN EXISTS (SELECT FROM (SELECT status FROM ops.jobs ORDER BY id DESC LIMIT 1000) AS j
                          WHERE status IN ('pending', 'processing')) THEN true
            ELSE EXISTS (SELECT FROM ops.jobs WHERE status IN ('pending', 'processing')) END
"""
_OPS_ENDED = """
INSERT INTO ops.jobs (job_type, payload, status, attempts, locked_by, locked_at, finished_at)
SELECT 'bench', jsonb_build_object('n', n, 'padding', repeat('x', 80)), 'completed', 1, 'bench',
       now(), now()
  FROM generate_series(1, {count}) AS n
"""
_PG_BOSS_ENDED = """
INSERT INTO pgboss.job (name, data, state, started_on, completed_on, policy)
SELECT queue.name, jsonb_build_object('n', n, 'padding', repeat('x', 80)), 'completed',
       now(), now(), queue.policy
  FROM pgboss.queue, generate_series(1, {count}) AS n
 WHERE queue.name = 'bench'
"""

PEERS = {
    peer.name: peer
    for peer in (
        Peer(
            DRAGONFLY,
            Home.OURS,
            "dragonfly",
            (),
            "ops_jobs",
            _OPS_JOBS,
            untouched=1,
            ended=_OPS_ENDED,
        ),
        Peer(
            BARE,
            Home.OURS,
            "bare",
            (),
            "ops_jobs",
            _OPS_JOBS,
            untouched=0,
            tables=DRAGONFLY,
            ended=_OPS_ENDED,
        ),
        Peer(
            "graphile-worker",
            Home.NODE,
            "graphile.mjs",
            ("graphile-worker@0.18.0",),
            "jobs:insert",
            "SELECT EXISTS (SELECT FROM graphile_worker._private_jobs)",
            untouched=10,
        ),
        Peer(
            "pg-boss",
            Home.NODE,
            "pgboss.mjs",
            ("pg-boss@12.38.0",),
            "pgboss_454650302e472074f72063fd",
            "SELECT EXISTS (SELECT FROM pgboss.job WHERE name = 'bench' AND state < 'completed')",
            untouched=0,
            ended=_PG_BOSS_ENDED,
        ),
        Peer(
            "pgqueuer",
            Home.PYTHON,
            "pgqueuer",
            ("pgqueuer==1.6.0", "asyncpg==0.32.0", _UVLOOP),
            "ch_pgqueuer",
            "SELECT EXISTS (SELECT FROM pgqueuer)",
            untouched=10,
        ),
        Peer(
            "chancy",
            Home.PYTHON,
            "chancy",
            ("chancy==0.26.0", _PSYCOPG, _UVLOOP),
            "chancy_events",
            "SELECT EXISTS (SELECT FROM chancy_jobs"
            " WHERE state IN ('pending', 'running', 'retrying'))",
            slow=5,
        ),
        Peer(
            "saq",
            Home.PYTHON,
            "saq",
            ("saq[postgres]==0.26.4", _PSYCOPG, _UVLOOP),
            "saq:bench",
            "SELECT EXISTS (SELECT FROM saq_jobs WHERE status IN ('new', 'queued', 'active'))",
            slow=10,
        ),
        Peer(
            "procrastinate",
            Home.PYTHON,
            "procrastinate",
            ("procrastinate==3.10.0", _PSYCOPG, _UVLOOP),
            "procrastinate_any_queue_v1",
            "SELECT EXISTS (SELECT FROM procrastinate_jobs WHERE status IN ('todo', 'doing'))",
            slow=10,
        ),
    )
}
