"""What the numbers of the queue mean, and what to do about it."""

from __future__ import annotations

from typing import Any

import anyio
import asyncpg
import pytest

from dragonfly.ops import queue_report
from dragonfly.ops.queue_report import Report, look
from dragonfly.queue.bloat import Bloat, Pin, Size
from dragonfly.queue.stats import Count, Depth, Flow, Flows, Spread
from tests.ops.rows import add_job
from tests.queue.rows import another
from tests.roles import administering

WINDOW = 600.0
NONE = Spread(None, None, None)
PIN = Pin("session", "report", 42, "client backend", "idle in transaction", None, "SELECT", 7200.0,
          5000, False)  # fmt: skip


def sentences(due: Count, oldest: float, *, enqueued: int = 0, done: int = 0) -> list[str]:
    """The advice about one type, of which so many came and ended in ten minutes."""
    depth = Depth("greet", due, Count(0), Count(0), oldest, None)
    flow = Flow("greet", enqueued, WINDOW, done, 0, WINDOW, Count(0), 0, NONE, NONE, NONE, ())
    return Report(WINDOW, (depth,), Flows(1, (flow,)), bloated(0)).advice()


def bloated(dead: int, *pins: Pin, live: int = 100_000) -> Bloat:
    """A table with so many dead rows."""
    return Bloat(Size(10, 5, 4, 1, live, dead, None, None), pins, sees_all=True)


def swollen(dead: int, *changes: dict[str, Any]) -> list[str]:
    """The advice about it, if these hold vacuum back."""
    pins = [Pin(**{name: getattr(PIN, name) for name in PIN.__slots__} | one) for one in changes]
    return Report(WINDOW, (), Flows(0, ()), bloated(dead, *pins)).advice()


@pytest.mark.parametrize(
    ("due", "oldest", "enqueued", "done", "told"),
    [
        (Count(500), 59, 900, 10, None),
        (Count(0), 0, 900, 10, None),
        (Count(50), 100, 0, 0, "stands still: 50 due, the oldest for 100 s, and none ended in 10"),
        (Count(600), 100, 100, 600, ("is late: 600 due, the oldest for 100 s; at 60 a minute they "
                                     "take 10 minutes.")),
        (Count(600), 100, 800, 600, "10 minutes. More come than end: give its worker more slots"),
        (Count(600, exact=False), 4000, 0, 600, "they take at least 10 minutes."),
        (Count(6), 100, 600, 600, "though at 60 a minute they would take 6 s; see whether its"),
    ],
)  # fmt: skip
def test_lateness(due: Count, oldest: float, enqueued: int, done: int, told: str | None) -> None:
    """A type is late when a job is due for a minute; told is how long, and whether it grows."""
    found = sentences(due, oldest, enqueued=enqueued, done=done)

    if told is None:
        assert [] == found
    else:
        (sentence,) = found
        assert told in sentence
        assert ("More come" in sentence) == (enqueued > done)


@pytest.mark.parametrize(
    ("pin", "told"),
    [
        ({}, ("Session 42 (report, idle in transaction, SELECT, for 2 hours) keeps vacuum from "
              "removing dead rows: let its owner end the transaction, or: "
              "SELECT pg_terminate_backend(42).")),
        ({"state": "active", "wait": "Lock: relation"},
         ("(report, active, SELECT, waits for Lock: relation, for 2 hours) keeps vacuum from "
          "removing dead rows: wait for its query, or cancel it: SELECT pg_cancel_backend(42).")),
        ({"backend": "walsender", "state": "active"}, "end the long query on its standby"),
        ({"kind": "prepared transaction", "name": "o'k", "pid": None},
         "COMMIT PREPARED 'o''k' or ROLLBACK PREPARED 'o''k'."),
        ({"kind": "replication slot", "name": "s1", "state": "inactive", "seconds": None},
         ("Replication slot 's1' (inactive, for 5,000 transactions) keeps vacuum from removing "
          "dead rows: bring its standby back, or, if it is gone for good: "
          "SELECT pg_drop_replication_slot('s1').")),
        ({"kind": "replication slot", "name": "s1", "state": "active", "seconds": None},
         "end the long query on its standby"),
    ],
)  # fmt: skip
def test_what_holds_vacuum_back(pin: dict[str, Any], told: str) -> None:
    """Each kind of holder is named, with the statement that ends it."""
    (sentence,) = swollen(20_000, pin)

    assert told in sentence


@pytest.mark.parametrize(
    ("dead", "pin"),
    [
        (9_999, {}),
        (20_000, {"seconds": 59.0}),
        (20_000, {"transactions": 9}),
        (20_000, {"seconds": None, "transactions": 999}),
    ],
)
def test_what_does_not_matter_is_not_told(dead: int, pin: dict[str, Any]) -> None:
    """Few dead rows, or a young snapshot, are no problem."""
    assert [] == swollen(dead, pin)


def test_hidden_sessions_ask_for_the_right_to_see() -> None:
    """Of another role's session is said that more is hidden, and what would show it."""
    hidden = {"hidden": True, "state": None, "verb": None, "seconds": None}

    told, right = swollen(20_000, hidden)

    assert "Session 42 (report, state hidden, for 5,000 transactions)" in told
    assert "pg_read_all_stats" in right


def test_at_most_three_are_named() -> None:
    """More than three holders are counted."""
    found = swollen(20_000, *[{"pid": n} for n in range(5)])

    assert (4, "2 more do the same; see --json.") == (len(found), found[-1])


def test_dead_rows_that_nothing_holds() -> None:
    """If nothing holds vacuum back and a quarter is dead, it does not come often enough."""
    (told,) = swollen(40_000)

    assert "29% of the rows are dead and nothing holds vacuum back: run VACUUM ops.jobs" in told
    assert [] == swollen(20_000)


async def test_a_look_at_everything(conn: asyncpg.Connection, dsn: str) -> None:
    """One look has depths, flows and the table, and its JSON is one object with rates a minute."""
    await add_job(conn, "greet", seconds=100)
    for seconds in range(60):
        await add_job(conn, "greet", "completed", seconds=seconds)

    async with administering(dsn) as administrator:  # who sees all sessions
        told = (await look(administrator, WINDOW, 10)).json()

    (greet,) = told["types"]
    rates = [greet[f"{what}_per_minute"] for what in ("enqueued", "completed", "failed")]
    assert [6.1, 6.0, 0.0] == pytest.approx(rates)
    assert ({"count": 1, "exact": True}, 61) == (greet["due"], told["looked_at"])
    assert ("frontier" in greet, True) == (False, told["sees_all_sessions"])
    assert told["table"]["total_bytes"] > 0
    (sentence,) = told["advice"]
    assert sentence.startswith("greet is late: 1 due, the oldest for 100 s, though at 6 a minute")


async def test_what_cannot_be_answered_in_time(
    conn: asyncpg.Connection, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each question is bounded: of a locked table is said that it does not answer."""
    monkeypatch.setattr(queue_report, "SECONDS", 0.1)
    async with another(dsn) as other, other.transaction():
        await other.execute("LOCK TABLE ops.jobs IN ACCESS EXCLUSIVE MODE")
        with anyio.fail_after(3):
            report = await look(conn, WINDOW, 10)

    assert (None, None, None) == (report.depths, report.flows, report.bloat)
    (sentence,) = report.advice()
    assert "No answer within 0.1 s about: depths, rates and times, table." in sentence
    assert [] == report.json()["types"]


async def test_bounds_end_with_the_question(conn: asyncpg.Connection) -> None:
    """The session's own settings are as before: behind a pooler it is somebody else's, too."""
    before = await conn.fetchval("SHOW statement_timeout")

    await look(conn, WINDOW, 10)

    assert before == await conn.fetchval("SHOW statement_timeout")
