"""docs/schedules.md: its example does what it says."""

from __future__ import annotations

import json
import re
import sys
import types
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from pathlib import Path

import asyncpg
import pytest

from dragonfly.cron import Cron
from dragonfly.queue import schedules as table
from tests.support import drain

TEXT = (Path(__file__).parents[2] / "docs" / "schedules.md").read_text(encoding="utf-8")
_EXAMPLE = re.compile(r"```python\n# reports\.py\n(.+?)```", re.DOTALL)
_NIGHTS = re.compile(r"^\| `([\d*/ ]+)` \| (.+) \| (.+) \|$", re.MULTILINE)
NIGHTS = (datetime(2026, 3, 8, 5, tzinfo=UTC), datetime(2026, 11, 1, 4, tzinfo=UTC))


async def test_example_schedule_ticks(
    dsn: str, conn: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The schedule that the page shows becomes a job that knows its tick's day."""
    (source,) = _EXAMPLE.findall(TEXT)
    reports = types.ModuleType("reports")
    monkeypatch.setitem(sys.modules, "reports", reports)
    exec(source, reports.__dict__)
    (schedule,) = reports.worker.schedules.values()
    now = await table.now(conn)
    (tick,), _ = schedule.cron.latest(now - timedelta(days=30), now, 1)
    await table.declare(conn, [schedule], now)
    await conn.execute("UPDATE ops.schedules SET next_tick_at = $1", tick)
    await table.tick(conn, schedule.name)
    code, _ = await drain(dsn, reports.worker)

    result = json.loads(await conn.fetchval("SELECT result FROM ops.jobs"))
    day = f"{tick.astimezone(schedule.cron.zone):%Y-%m-%d}"
    assert (0, {"court": "Kings", "day": day}) == (code, result)


@pytest.mark.parametrize("row", _NIGHTS.findall(TEXT), ids=lambda row: str(row[0]))
def test_the_table_of_nights(row: tuple[str, str, str]) -> None:
    """Each time that the page's table names is a tick of that night, and their number is right."""
    expression, *cells = row
    for midnight, cell in zip(NIGHTS, cells, strict=True):
        cron = Cron(expression, "America/New_York")
        day = midnight.astimezone(cron.zone).date()
        found = [
            time.astimezone(cron.zone)
            for time in takewhile(
                lambda time: time.astimezone(cron.zone).date() == day,  # noqa: B023
                cron.after(midnight - timedelta(seconds=1)),
            )
        ]
        if counted := re.search(r"(\d+) that day", cell):
            assert int(counted[1]) == len(found)
            continue
        named = re.findall(r"\d\d:\d\d", cell.replace("and again EST", "and 01:00 and 01:30"))
        assert named == [f"{time:%H:%M}" for time in found]


def test_the_table_is_read() -> None:
    """The five rows of the table of nights are those that the other test goes by."""
    assert 5 == len(_NIGHTS.findall(TEXT))
