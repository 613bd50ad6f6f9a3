"""Clocks of workers that are wrong, jump, or change to summer time: the database's decides."""

from __future__ import annotations

import ast
import json
from collections import Counter
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path

import asyncpg

import dragonfly
from dragonfly.cron import Cron
from dragonfly.ops.drill import history
from dragonfly.ops.drill.crew import Crew, until
from dragonfly.ops.drill.scenarios import RECOVERY_SECONDS
from tests.chaos.newer import NIGHTS, ZONE
from tests.chaos.runs import NOW, PATIENT, all_done, held

CLOCKS = ("3600", "-3600", "stepping")
SINCE = datetime(2025, 3, 1, tzinfo=UTC)
_CLOCK_CALLS = {"time.time", "datetime.now", "datetime.utcnow", "datetime.today", "date.today"}
_WIND_BACK = "UPDATE ops.schedules SET next_tick_at = $1, last_tick_at = NULL"
_CAUGHT_UP = "SELECT next_tick_at > clock_timestamp() FROM ops.schedules"


async def test_wrong_clocks_change_nothing(told: asyncpg.Connection, team: Crew) -> None:
    """An hour ahead, an hour behind, jumping: a dead one's jobs are free in time all the same."""
    members = [await team.start(**PATIENT, CHAOS_CLOCK=clock) for clock in CLOCKS]
    await team.ready(told, *members)
    await history.put_mixed(told, 200, seconds=0.05)
    await until(told, f"SELECT ({history.ENDED}) >= 60", seconds=30)
    died_at = await told.fetchval(NOW)
    members[0].kill()
    await all_done(told)

    recovery = await history.recovery_seconds(told, died_at)
    assert recovery is not None
    assert recovery <= RECOVERY_SECONDS
    await team.stop()
    await held(told)


async def test_nights_of_a_clock_change(told: asyncpg.Connection, team: Crew) -> None:
    """Three processes with wrong clocks make one job for each tick, also in these two nights."""
    members = [
        await team.start("tests.chaos.newer:sexton", **PATIENT, CHAOS_CLOCK=clock)
        for clock in CLOCKS
    ]
    await team.ready(told, *members)
    cron = Cron(NIGHTS, ZONE)
    await until(told, "SELECT count(*) FROM ops.schedules", expected=1, seconds=20)
    await told.execute(_WIND_BACK, cron.next_after(SINCE))
    await team.stop()

    members = [
        await team.start("tests.chaos.newer:sexton", **PATIENT, CHAOS_CLOCK=clock)
        for clock in CLOCKS
    ]
    await team.ready(told, *members)
    await until(told, _CAUGHT_UP, seconds=30)
    await all_done(told)
    await team.stop()
    now = await told.fetchval(NOW)
    rows = await told.fetch("SELECT payload FROM ops.jobs")
    ticks = [datetime.fromisoformat(json.loads(row["payload"])["tick_at"]) for row in rows]

    assert sorted(ticks) == list(takewhile(lambda tick: tick <= now, cron.after(SINCE)))
    days = Counter(tick.date().isoformat() for tick in ticks)
    assert (2, 2) == (days["2025-03-09"], days["2025-11-02"])
    await held(told)


def test_no_clock_of_the_machine_is_read() -> None:
    """Neither the queue nor the runtime asks the machine what time it is."""
    package = Path(dragonfly.__file__).parent
    found = [
        f"{path.relative_to(package)}:{node.lineno}"
        for folder in ("queue", "runtime", "postgres")
        for path in (package / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and ast.unparse(node) in _CLOCK_CALLS
    ]
    assert [] == found
