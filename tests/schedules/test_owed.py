"""Which of the ticks that came due become jobs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from dragonfly.cron import Cron
from dragonfly.schedule import CatchUp, Owed, owed

HOURLY = Cron("0 * * * *")
SIX = datetime(2026, 11, 24, 6, tzinfo=UTC)
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)


def answer(
    catch_up: CatchUp,
    now: datetime,
    *,
    cron: Cron = HOURLY,
    last: datetime | None = None,
    resumed: datetime | None = None,
) -> Owed:
    """What is owed at ``now`` by a schedule whose next tick was at six."""
    return owed(cron, catch_up, next_tick=SIX, last_tick=last, resumed=resumed, now=now)


@pytest.mark.parametrize("catch_up", ["last", "all", "none"])
def test_a_tick_on_time(catch_up: CatchUp) -> None:
    """A tick up to a minute late is on time, whatever is done about missed ones."""
    assert Owed((SIX,), late=False, cut=False) == answer(catch_up, SIX)
    assert Owed((SIX,), late=False, cut=False) == answer(catch_up, SIX + 60 * SECOND)


def test_missed_ticks() -> None:
    """Of three missed ticks the last is caught up, or all in their order, or none."""
    now = SIX + 2 * HOUR + 90 * SECOND

    assert Owed((SIX + 2 * HOUR,), late=True, cut=False) == answer("last", now)
    assert Owed((SIX, SIX + HOUR, SIX + 2 * HOUR), late=True, cut=False) == answer("all", now)
    assert Owed((), late=True, cut=False) == answer("none", now)


def test_one_on_time_after_missed_ones() -> None:
    """Where none is caught up, the tick of this minute is not among the missed."""
    assert Owed((SIX + HOUR,), late=True, cut=False) == answer("none", SIX + HOUR + SECOND)


def test_a_tick_during_a_pause_is_missed() -> None:
    """A tick before the resumption was missed, however short the time since."""
    now, resumed = SIX + 20 * SECOND, SIX + 10 * SECOND

    assert () == answer("none", now, resumed=resumed).ticks
    assert (SIX,) == answer("last", now, resumed=resumed).ticks
    assert (SIX,) == answer("none", now, resumed=SIX - SECOND).ticks


def test_at_most_a_thousand() -> None:
    """Of two thousand missed ticks the newest thousand are caught up, and the cut is told."""
    now = SIX + 2000 * HOUR
    due = answer("all", now)

    assert (1000, now - 999 * HOUR, now, True) == (
        len(due.ticks),
        due.ticks[0],
        due.ticks[-1],
        due.cut,
    )


def test_no_tick_twice() -> None:
    """A tick that became a job does not come again when another expression has the same time."""
    assert () == answer("all", SIX + SECOND, last=SIX).ticks
    assert () == answer("all", SIX + SECOND, last=SIX + HOUR).ticks
    assert (SIX + HOUR,) == answer("all", SIX + HOUR, last=SIX).ticks


def test_a_next_tick_that_is_none_of_the_expressions() -> None:
    """A time that the zone's new rules have moved is passed over."""
    assert () == answer("all", SIX + SECOND, cron=Cron("30 * * * *")).ticks
