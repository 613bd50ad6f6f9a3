"""A process that is frozen beyond its lease, and wakes up when others have finished its jobs."""

from __future__ import annotations

import signal

import asyncpg

from dragonfly import enqueue_many
from dragonfly.ops.drill import history
from dragonfly.ops.drill.crew import Crew, until
from dragonfly.ops.drill.worker import HOLD_LOCK
from tests.chaos.runs import PATIENT, all_done, beats, held

_STEPS = "SELECT count(*) FROM drill.history WHERE step = $1"
_EFFECTS_OF = """
SELECT count(*) FROM drill.effects e JOIN drill.history h USING (job_id, token)
 WHERE h.process = $1 AND h.step = 'start'
"""
_OPEN = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
   AND application_name = 'dragonfly jobs' AND xact_start IS NOT NULL
"""


async def test_a_zombie_writes_nothing(told: asyncpg.Connection, team: Crew) -> None:
    """Neither its open transactions nor its finishes change what another process has done."""
    await told.execute("SELECT pg_advisory_lock($1)", HOLD_LOCK)
    await enqueue_many(told, history.FENCED, [{"hold": True}] * 3)
    await enqueue_many(told, history.RETURNING, [{"seconds": 1.5, "result": 1}])
    (sleeper,) = await team.started(told, 1, **PATIENT)
    await until(told, _STEPS, "start", expected=4, seconds=20)
    await until(told, _STEPS, "effect", expected=3, seconds=20)
    sleeper.signal(signal.SIGSTOP)

    (survivor,) = await team.started(told, 1, **PATIENT)
    await told.execute("SELECT pg_advisory_unlock($1)", HOLD_LOCK)
    await all_done(told)
    before = await told.fetch("SELECT * FROM ops.jobs ORDER BY id")
    sleeper.signal(signal.SIGCONT)
    await beats(told, sleeper, 2)
    await until(told, _OPEN, expected=0, seconds=20)

    assert before == await told.fetch("SELECT * FROM ops.jobs ORDER BY id")
    assert 0 == await told.fetchval(_EFFECTS_OF, str(sleeper.pid))
    assert 3 == await told.fetchval(_EFFECTS_OF, str(survivor.pid))
    assert "taken away or cancelled" in sleeper.text
    await team.stop()
    await held(told)
