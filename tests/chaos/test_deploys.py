"""An older and a newer version side by side, and the older one's end with every grace."""

from __future__ import annotations

import signal

import asyncpg

from dragonfly import enqueue_many
from dragonfly.ops.drill import history
from dragonfly.ops.drill.crew import Crew, until
from tests.chaos.newer import NEW
from tests.chaos.runs import PATIENT, all_done, held

NEWER = "tests.chaos.newer:worker"
_OPEN_OF_TYPE = "SELECT count(*) FROM ops.jobs WHERE job_type = $1 AND finished_at IS NULL"
_UNTOUCHED = """
SELECT count(*) FROM ops.jobs
 WHERE job_type = $1 AND status = 'pending' AND attempts = 0 AND errors IS NULL
"""
_STARTED = "SELECT count(*) > 0 FROM drill.history WHERE process = $1 AND step = 'start'"
_UNFINISHED = """
SELECT count(*) FILTER (WHERE step = 'start') - count(*) FILTER (WHERE step = 'end')
  FROM drill.history WHERE process = $1
"""


async def test_a_deploy_loses_no_attempt(told: asyncpg.Connection, team: Crew) -> None:
    """With no grace, a short and a long one the jobs of the old version end, at their first try."""
    newer = await team.start(NEWER, **PATIENT)
    await team.ready(told, newer)
    left = {}
    for grace in ("0", "3", "30"):
        (older,) = await team.started(told, 1, **PATIENT, DRAGONFLY_GRACE_SECONDS=grace)
        await history.put_mixed(told, 24, seconds=0.5)
        await until(told, _STARTED, str(older.pid), seconds=20)
        older.signal(signal.SIGTERM)
        assert 0 == await older.ends()
        left[grace] = await told.fetchval(_UNFINISHED, str(older.pid))
    await all_done(told)

    assert left["0"] > 0, "nothing was in flight"
    assert (0, 0) == (left["3"], left["30"])
    assert 0 == await told.fetchval("SELECT count(*) FROM ops.jobs WHERE crashes > 0")
    await team.stop()
    await held(told)


async def test_an_unknown_type_is_left_alone(told: asyncpg.Connection, team: Crew) -> None:
    """What only the newer version knows waits for it, untouched by the older one."""
    await team.started(told, 1, **PATIENT)
    await enqueue_many(told, NEW, [{}] * 20)
    await history.put_mixed(told, 40)
    for known in (history.FENCED, history.RETURNING):
        await until(told, _OPEN_OF_TYPE, known, expected=0, seconds=20)
    assert 20 == await told.fetchval(_UNTOUCHED, NEW)

    await team.ready(told, await team.start(NEWER, **PATIENT))
    await all_done(told)
    await team.stop()
    await held(told)
