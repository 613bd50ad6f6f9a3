"""``kill -9`` at each named point of a job's way: nothing is lost, nothing happens twice."""

from __future__ import annotations

import random
import signal
from datetime import datetime

import anyio
import asyncpg

from dragonfly.ops.drill import history
from dragonfly.ops.drill.crew import Crew, Member
from dragonfly.ops.drill.scenarios import RECOVERY_SECONDS
from tests.chaos.faulty import POINTS
from tests.chaos.runs import NOW, PATIENT, all_done, held, kill_at_random, say

ROUND = 40
AT_A_STOP = {"in drain", "at the last word"}
_PENDING = "SELECT count(*) FROM ops.jobs WHERE status = 'pending'"
_STARTED = "SELECT EXISTS (SELECT FROM drill.history WHERE process = $1)"
# $1 the process, $2 when it died; how long its jobs stayed held after that
_RECOVERY = """
SELECT extract(epoch FROM max((each.error ->> 'at')::timestamptz) - $2)::float8
  FROM ops.jobs j CROSS JOIN jsonb_array_elements(j.errors) AS each (error)
 WHERE split_part(each.error -> 'detail' ->> 'locked_by', ':', 2) = $1
"""


async def test_death_at_each_point(
    told: asyncpg.Connection, team: Crew, rng: random.Random
) -> None:
    """Whatever was committed at the death stays, the rest runs again, within a lease and a beat."""
    (survivor,) = await team.started(told, 1, **PATIENT)
    victims = {
        point: await team.start(**PATIENT, CHAOS_POINT=_laid(point, rng)) for point in POINTS
    }
    await team.ready(told, *victims.values())
    died_at: dict[str, datetime] = {}
    with anyio.fail_after(60):
        while len(died_at) < len(victims):
            if await told.fetchval(_PENDING) < ROUND:
                await history.put_mixed(told, ROUND, seconds=0.1)
            for point in AT_A_STOP:
                if await told.fetchval(_STARTED, str(victims[point].pid)):
                    victims[point].signal(signal.SIGTERM)
            for point, victim in victims.items():
                if victim.code is not None:
                    died_at.setdefault(point, await told.fetchval(NOW))
            await anyio.sleep(0.02)
    await all_done(told)
    await _is_as_promised(told, team, survivor, victims, died_at)


async def _is_as_promised(
    conn: asyncpg.Connection,
    team: Crew,
    survivor: Member,
    victims: dict[str, Member],
    died_at: dict[str, datetime],
) -> None:
    assert survivor.code is None
    assert {-signal.SIGKILL} == {victim.code for victim in victims.values()}
    await team.stop()
    late, rescued = [], set()
    for point, victim in victims.items():
        seconds = await conn.fetchval(_RECOVERY, str(victim.pid), died_at[point])
        say(f"{point:<18} {'nothing to rescue' if seconds is None else f'{seconds:.1f} s'}")
        if seconds is not None:
            rescued.add(point)
            late += [point] if seconds > RECOVERY_SECONDS else []
    await held(conn)
    assert [] == late
    # a death that must leave a job behind did
    assert {"after claim", "mid-handler", "after effect", "inside finish"} <= rescued


def _laid(point: str, rng: random.Random) -> str:
    """A point and the passage at which to die there; the third beat comes when jobs are held."""
    if point in AT_A_STOP:
        return f"{point}:1"
    return f"{point}:{3 if point == 'in heartbeat' else rng.randint(1, 2)}"


async def test_deaths_at_random(told: asyncpg.Connection, team: Crew, rng: random.Random) -> None:
    """Two processes finish their jobs although one or the other is killed again and again."""
    deaths = await kill_at_random(told, team, rng, jobs=300, every=0.5, most=3, seconds=0.05)

    say(f"{deaths} deaths")
    assert deaths >= 2
    await held(told)
