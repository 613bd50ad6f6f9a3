"""Runs under faults that come at random: short in CI, long by ``python -m tests.chaos --long``."""

from __future__ import annotations

import random
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import asyncpg

from dragonfly.ops.drill import history
from dragonfly.ops.drill.crew import Crew, Member, crew, until
from tests.servers import OwnServer

ROOT = Path(__file__).parents[2]
FAULTY = "tests.chaos.faulty"
# innocents may be in flight at many a death of a run: here nobody may be failed for it
BUDGET = 100
PATIENT = {"DRAGONFLY_CRASH_BUDGET": str(BUDGET)}
SLOTS = 4
MOST_SECONDS = 1800.0
NOW = "SELECT clock_timestamp()"
_BOTH_BEAT = """
SELECT count(*) >= 2 FROM ops.worker_heartbeats
 WHERE status = 'running' AND last_heartbeat_at > clock_timestamp() - interval '1.5 seconds'
"""


@asynccontextmanager
async def crew_on(dsn: str, folder: Path) -> AsyncIterator[Crew]:
    """A crew whose members may be told to die at a named point."""
    async with crew(dsn, folder, FAULTY, ROOT) as together:
        yield together


def say(line: str) -> None:
    """What a person wants to read after a run."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def held(conn: asyncpg.Connection) -> None:
    """Every promise holds, now that every process has ended."""
    # the server needs a moment to notice that a killed client is gone
    with anyio.move_on_after(10):
        while any(not each.held for each in await history.examine(conn, crash_budget=BUDGET)):
            await anyio.sleep(0.05)
    findings = await history.examine(conn, crash_budget=BUDGET)
    assert [] == [finding for finding in findings if not finding.held]


def nobody_restarted(members: list[Member]) -> None:
    """Each process lives, and each of its workers has started once."""
    assert {None} == {member.code for member in members}
    assert {1} == {member.text.count("started as") for member in members}


async def kill_at_random(
    conn: asyncpg.Connection,
    team: Crew,
    rng: random.Random,
    *,
    jobs: int,
    every: float,
    most: int,
    seconds: float = 0.0,
) -> int:
    """Two processes work off so many jobs while one or the other is killed; how many deaths."""
    alive = await team.started(conn, 2, **PATIENT)
    await history.put_mixed(conn, jobs, seconds=seconds)
    deaths = 0
    with anyio.fail_after(MOST_SECONDS):
        while deaths < most and await conn.fetchval(history.UNENDED):
            await anyio.sleep(every * rng.uniform(0.5, 1.5))
            victim = rng.choice(alive)
            victim.kill()
            await victim.ends()
            deaths += 1
            alive[alive.index(victim)] = await team.start(**PATIENT)
            # one of the two must live for a lease, or nobody may rescue
            await until(conn, _BOTH_BEAT, seconds=60)
    await all_done(conn, seconds=MOST_SECONDS)
    await team.stop()
    return deaths


async def restart_at_random(
    server: OwnServer,
    folder: Path,
    rng: random.Random,
    *,
    jobs: int,
    times: int,
    seconds: float = 0.0,
    away: float = 0.0,
    scale: float = 0.05,
) -> None:
    """PostgreSQL crashes and comes back, so often, under two working processes."""
    conn = await asyncpg.connect(server.dsn)
    await history.prepare(conn)
    async with crew_on(server.dsn, folder) as team:
        settings = PATIENT | {"DRAGONFLY_BACKOFF_SCALE": str(scale)}
        members = await team.started(conn, 2, **settings)
        await history.put_mixed(conn, jobs, seconds=seconds)
        for share in sorted(rng.sample(range(jobs // 10, jobs * 9 // 10), times)):
            await until(conn, f"SELECT ({history.ENDED}) >= $1", share, seconds=MOST_SECONDS)
            await conn.close()
            await server.stop(rng.choice(["fast", "immediate", "immediate"]))
            await anyio.sleep(away)
            await server.start()
            conn = await asyncpg.connect(server.dsn)
        await until(conn, history.UNENDED, expected=0, seconds=MOST_SECONDS)
        nobody_restarted(members)
        await team.stop()
    await held(conn)
    await conn.close()


async def all_done(conn: asyncpg.Connection, *, seconds: float = 120) -> None:
    """Wait until every job has ended."""
    await until(conn, history.UNENDED, expected=0, seconds=seconds)


async def beats(conn: asyncpg.Connection, member: Member, number: int) -> None:
    """Wait until this process has sent so many more heartbeats."""
    newest = (
        "SELECT coalesce(max(last_heartbeat_at), '-infinity') "
        "FROM ops.worker_heartbeats WHERE pid = $1"
    )
    for _ in range(number):
        before = await conn.fetchval(newest, member.pid)
        await until(conn, f"SELECT ({newest}) > $2", member.pid, before, seconds=20)
