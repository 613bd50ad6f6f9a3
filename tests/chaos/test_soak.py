"""The soak in its short form: a mixed load goes on while one fault follows the other."""

from __future__ import annotations

import random
from pathlib import Path

from tests.chaos.faults import crash, kill, read_only
from tests.chaos.soak import Plan, picture, report, soak

SHORT = Plan(seconds=16, rate=40, every=4, sample=1, calm=1, faults=(kill, crash, read_only))


async def test_a_mixed_load_outlives_faults(tmp_path: Path, rng: random.Random) -> None:
    """Jobs of every kind end as they should, and the books balance, whatever breaks meanwhile."""
    outcome = await soak(SHORT, tmp_path, rng)

    assert outcome.held, "\n".join(report(outcome))
    assert ["kill", "crash", "read only"] == [each.name for each in outcome.struck]
    assert set(outcome.counts) == {"completed", "failed"}
    assert sum(outcome.counts.values()) > 100
    drawing = picture(outcome, "short")
    assert [1, 1, 1] == [drawing.count(f">{each.name}</text>") for each in outcome.struck]
