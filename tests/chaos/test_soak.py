"""The soak in its short form, and whether its books show what is broken."""

from __future__ import annotations

import random
from pathlib import Path
from xml.etree import ElementTree as ET

import asyncpg
import pytest

from tests.chaos.faults import crash, kill, read_only
from tests.chaos.load import BOOKS, audit
from tests.chaos.soak import Plan, picture, report, soak
from tests.chaos.timeline import Panel, timeline

# the third fault strikes in time even if to recover from the first takes as long as it may
SHORT = Plan(seconds=22, rate=40, every=4, sample=1, calm=1, faults=(kill, crash, read_only))
SVG = "{http://www.w3.org/2000/svg}"
# what a run leaves in which all went well: two jobs of one key, one that was tried twice, one that
# failed, and one that gave way to another
_WELL = """
INSERT INTO ops.jobs (id, job_type, status, payload, attempts, concurrency_key, unique_key,
                      finished_at)
OVERRIDING SYSTEM VALUE VALUES
    (1, 'drill', 'completed', '{"amount": 10}', 1, 'a', NULL, now()),
    (2, 'drill', 'completed', '{"amount": 20}', 1, 'a', NULL, now()),
    (3, 'drill_repeated', 'completed', '{"amount": 30, "attempts": 2}', 2, NULL, NULL, now()),
    (4, 'drill_refused', 'failed', '{"amount": 40, "ends": "failed"}', 1, NULL, NULL, now()),
    (5, 'drill', 'cancelled', '{"amount": 50}', 0, NULL, 'b', now() - interval '1 s'),
    (6, 'drill', 'completed', '{"amount": 60}', 1, NULL, 'b', now());
INSERT INTO drill.orders SELECT id, (payload ->> 'amount')::integer FROM ops.jobs;
INSERT INTO drill.ledger VALUES (1, 10), (2, 20), (3, 30), (6, 60);
INSERT INTO drill.effects VALUES (1, 11), (2, 21);
INSERT INTO drill.history (at, job_id, token, process, step)
SELECT now() + make_interval(secs => at), job_id, token, 'a', step
  FROM (VALUES (1, 1, 11, 'start'), (2, 1, 11, 'effect'), (3, 2, 21, 'start'),
               (4, 2, 21, 'effect')) AS told (at, job_id, token, step);
"""
BREAKS = {
    "a job lost": (
        "DELETE FROM ops.jobs WHERE id = 4",
        {"every job that was confirmed is there", "one job for each order, and no other"},
    ),
    "a job that nobody ordered": (
        "DELETE FROM drill.orders WHERE job_id = 4",
        {"one job for each order, and no other"},
    ),
    "an entry twice": (
        "INSERT INTO drill.ledger VALUES (1, 10)",
        {"the ledger adds up to the orders"},
    ),
    "an entry lost": ("DELETE FROM drill.ledger", {"the ledger adds up to the orders"}),
    "an entry of a job that failed": (
        "INSERT INTO drill.ledger VALUES (4, 40)",
        {"the ledger adds up to the orders"},
    ),
    "a way given to nobody": (
        "UPDATE ops.jobs SET unique_key = 'c' WHERE id = 6",
        {"a job gives way only to one that is carried out"},
    ),
    "an attempt too many": (
        "UPDATE ops.jobs SET attempts = 3 WHERE id = 3",
        {"no attempt is lost, and none is had twice"},
    ),
    "a key shared": (
        "UPDATE drill.history SET at = at - interval '1.5 s' WHERE token = 21 AND step = 'start'",
        {"one job at a time of a concurrency key"},
    ),
}


@pytest.mark.parametrize("broken", BREAKS)
async def test_the_books_show_what_is_broken(told: asyncpg.Connection, broken: str) -> None:
    """Nothing is found after a run that went well, and whatever is broken is found."""
    await told.execute(BOOKS)
    await told.execute(_WELL)
    assert set() == await _found(told)

    statement, expected = BREAKS[broken]
    await told.execute(statement)
    assert expected == await _found(told)


async def _found(conn: asyncpg.Connection) -> set[str]:
    return {each.promise for each in await audit(conn, {1, 2, 3, 4, 5, 6}) if not each.held}


async def test_a_mixed_load_outlives_faults(tmp_path: Path, rng: random.Random) -> None:
    """Jobs of every kind end as they should, and the books balance, whatever breaks meanwhile."""
    outcome = await soak(SHORT, tmp_path, rng)

    assert outcome.held, "\n".join(report(outcome))
    assert ["kill", "crash", "read only"] == [each.name for each in outcome.struck]
    assert outcome.counts["completed"] > 100
    assert outcome.counts["failed"] > 0
    drawing = picture(outcome, "short")
    assert [1, 1, 1] == [drawing.count(f">{each.name}</text>") for each in outcome.struck]


def test_a_line_is_broken_where_nothing_was_measured() -> None:
    """A gap in the measurements is a gap in the drawing, and a fault has a tick and a name."""
    points = [(0.0, 1.0), (5.0, 2.0), (10.0, None), (15.0, 3.0), (20.0, 4.0)]
    drawing = ET.fromstring(timeline("t", 20, [Panel("p", {"line": points})], [(10, "<cut>")]))

    lines = [each.attrib["points"].split() for each in drawing.iter(f"{SVG}polyline")]
    assert [2, 2] == [len(line) for line in lines]
    (tick,) = [each for each in drawing.iter(f"{SVG}line") if each.get("class") == "fault"]
    (name,) = [each for each in drawing.iter(f"{SVG}text") if each.text == "<cut>"]
    before, after = (float(each.split(",")[0]) for each in (lines[0][1], lines[1][0]))
    assert before < float(tick.attrib["x1"]) < after
    assert name.attrib["transform"].startswith(f"translate({float(tick.attrib['x1']) + 3:.1f} ")
