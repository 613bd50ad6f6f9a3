"""How things stand during a soak: memory, connections, the queue; and whether all is well."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import anyio
import asyncpg
import psutil

from dragonfly.postgres.failures import TROUBLE
from tests.chaos.faults import Scene
from tests.chaos.timeline import Panel, timeline

MIB = 2**20
# a job that is due for longer waits for something
PROMPT_SECONDS = 1.0
BEAT_SECONDS = 1.5
_CONNECTIONS = """
SELECT substr(application_name, 11) AS purpose, count(*) AS number FROM pg_stat_activity
 WHERE application_name LIKE 'dragonfly %' GROUP BY 1
"""
_QUEUE = """
SELECT count(*) FILTER (WHERE finished_at IS NOT NULL) AS ended,
       count(*) FILTER (WHERE status = 'pending' AND run_at <= clock_timestamp()) AS due,
       count(*) FILTER (WHERE status = 'processing') AS held,
       coalesce(extract(epoch FROM clock_timestamp() - min(run_at) FILTER (
           WHERE status = 'pending' AND run_at <= clock_timestamp())), 0)::float8 AS oldest
  FROM ops.jobs
"""
# $1 the processes that live: each beats, they hold all that is held, and nothing waits
_WELL = f"""
WITH crew AS (
    SELECT worker_id, pid, status, last_heartbeat_at
      FROM ops.worker_heartbeats WHERE pid = ANY ($1)
)
SELECT cardinality($1::int[]) = (
           SELECT count(DISTINCT pid) FROM crew WHERE status = 'running'
              AND last_heartbeat_at > clock_timestamp() - interval '{BEAT_SECONDS} seconds')
   AND NOT EXISTS (SELECT FROM ops.jobs j WHERE j.status = 'processing'
                      AND j.locked_by NOT IN (SELECT worker_id FROM crew))
   AND NOT EXISTS (SELECT FROM ops.jobs j WHERE j.status = 'pending'
                      AND j.run_at < clock_timestamp() - interval '{PROMPT_SECONDS} seconds')
"""


@dataclass(frozen=True, slots=True)
class Sample:
    """One moment, ``at`` seconds; MiB by process id, connections by purpose.

    What only the server knows is None while it is away.
    """

    at: float
    memory: tuple[tuple[int, float], ...]
    connections: Counter[str] | None = None
    ended: int | None = None
    due: int | None = None
    held: int | None = None
    oldest: float | None = None


async def take(scene: Scene, at: float) -> Sample:
    """Look at the processes and the server."""
    memory = tuple((member.pid, _resident(member.pid)) for member in scene.pair)
    try:
        with anyio.fail_after(10):
            async with scene.conn() as conn:
                rows = await conn.fetch(_CONNECTIONS)
                queue = await conn.fetchrow(_QUEUE)
    except TROUBLE:
        return Sample(at, memory)
    assert queue is not None
    return Sample(at, memory, Counter({r["purpose"]: r["number"] for r in rows}), *queue)


def _resident(pid: int) -> float:
    try:
        return float(psutil.Process(pid).memory_info().rss) / MIB
    except psutil.NoSuchProcess:
        return 0.0


async def is_well(conn: asyncpg.Connection, scene: Scene) -> bool:
    """Whether nothing waits, and the living, all of whom beat, hold whatever is held."""
    return bool(await conn.fetchval(_WELL, [member.pid for member in scene.pair]))


def plot(samples: Sequence[Sample], faults: Sequence[tuple[float, str]], title: str) -> str:
    """All of it over time."""
    purposes = sorted({name for each in samples for name in each.connections or ()})
    connections = {"all": _connections(samples, *purposes)} | {
        purpose: _connections(samples, purpose) for purpose in purposes
    }
    panels = [
        Panel("resident memory, MiB (a new process begins a new line)", _memory(samples)),
        Panel("connections, by purpose", connections),
        Panel(
            "jobs",
            {
                "due and waiting": [(s.at, s.due) for s in samples],
                "held": [(s.at, s.held) for s in samples],
            },
        ),
        Panel("seconds that the oldest due job waits", {"": [(s.at, s.oldest) for s in samples]}),
        Panel("jobs ended a second", {"": _rates(samples)}),
    ]
    return timeline(title, samples[-1].at, panels, faults)


def _connections(samples: Sequence[Sample], *purposes: str) -> list[tuple[float, float | None]]:
    return [
        (s.at, None if s.connections is None else sum(s.connections[each] for each in purposes))
        for s in samples
    ]


def _memory(samples: Sequence[Sample]) -> dict[str, list[tuple[float, float | None]]]:
    lines: dict[str, list[tuple[float, float | None]]] = {}
    for place in range(len(samples[0].memory)):
        points = lines.setdefault(f"process {place + 1}", [])
        before = None
        for sample in samples:
            pid, resident = sample.memory[place]
            if pid != before:
                points.append((sample.at, None))
            points.append((sample.at, resident or None))
            before = pid
    return lines


def _rates(samples: Sequence[Sample]) -> list[tuple[float, float | None]]:
    return [
        (
            after.at,
            None
            if before.ended is None or after.ended is None
            else (after.ended - before.ended) / (after.at - before.at),
        )
        for before, after in pairwise(samples)
    ]
