"""``dragonfly schedule``, as processes: output, and exit codes."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import pytest
from click.testing import CliRunner

from dragonfly.cli import main
from dragonfly.cli.schedule import schedule
from dragonfly.cron import Cron
from dragonfly.queue import schedules as table
from dragonfly.schedule import Schedule
from tests.ops.test_commands import Shell, shell

NEW_YORK = ZoneInfo("America/New_York")
NIGHTLY = Schedule("nightly-report", Cron("0 6 * * 1-5", "America/New_York"), "report")

__all__ = ["shell"]  # a fixture


async def declare(conn: asyncpg.Connection, *schedules: Schedule) -> None:
    """As a process that runs now does."""
    await table.declare(conn, schedules or [NIGHTLY], await table.now(conn))


@pytest.mark.parametrize("name", ["list", "pause", "resume"])
def test_every_command_has_help_with_an_example(name: str) -> None:
    """Help shows an example that begins with dragonfly."""
    result = CliRunner().invoke(schedule, [name, "--help"])

    assert (0, True) == (result.exit_code, f"Example:  dragonfly schedule {name}" in result.output)


def test_the_group_is_listed() -> None:
    """The command line's own help names the group."""
    result = CliRunner().invoke(main.cli, ["--help"])

    assert "Look at schedules, pause or resume them." in result.output


async def test_nothing_declared(shell: Shell) -> None:
    """An empty list says where schedules come from."""
    answer = await shell.run("schedule", "list")

    assert (0, True) == (answer.code, answer.out.startswith("No process has declared a schedule"))


async def test_the_list_for_people(shell: Shell, conn: asyncpg.Connection) -> None:
    """A line has the expression in words, and the next five ticks on the schedule's own clock."""
    await declare(conn)
    answer = await shell.run("schedule", "list")

    _, line = answer.out.splitlines()
    words = "At 06:00 on Monday through Friday, 0 6 * * 1-5, America/New_York"
    assert [True] * 4 == [
        line.startswith("nightly-report"),
        words in line,
        line.endswith("on"),
        5 == line.count(" 06:00 E"),
    ]


async def test_the_list_for_scripts(shell: Shell, conn: asyncpg.Connection) -> None:
    """JSON has everything that a script may ask, with times that carry the zone's offset."""
    await declare(conn)
    (found,) = (await shell.run("schedule", "list", "--json")).json

    ticks = [datetime.fromisoformat(text) for text in found["next_ticks"]]
    assert [6] * 5 == [tick.hour for tick in ticks]
    assert all(tick.utcoffset() == tick.astimezone(NEW_YORK).utcoffset() for tick in ticks)
    assert datetime.fromisoformat(found["next_tick_at"]) == ticks[0]
    expected = {
        "name": "nightly-report",
        "cron": "0 6 * * 1-5",
        "timezone": "America/New_York",
        "words": "At 06:00 on Monday through Friday",
        "job_type": "report",
        "last_tick_at": None,
        "catch_up": "last",
        "overlap": "skip",
        "state": "on",
        "paused_by": None,
    }
    assert expected == {name: found[name] for name in expected}


@pytest.mark.parametrize(
    ("change", "state", "says"),
    [
        ("declared_at = declared_at - interval '1 day'", "undeclared", "no running process declar"),
        ("next_tick_at = now() - interval '1 day'", "overdue", "overdue since "),
        ("cron = '? * * * *'", "overdue", "not understood"),
        (
            "paused_at = now(), paused_by = 'ada', pause_reason = 'closed'",
            "paused",
            "paused by ada since",
        ),
    ],
)
async def test_what_does_not_tick(
    shell: Shell, conn: asyncpg.Connection, change: str, state: str, says: str
) -> None:
    """A schedule that will not tick is told from one that will, in words and for a script."""
    await declare(conn)
    await conn.execute(f"UPDATE ops.schedules SET {change}")
    line = (await shell.run("schedule", "list")).out.splitlines()[1]
    (found,) = (await shell.run("schedule", "list", "--json")).json

    assert (True, state) == (says in line, found["state"])
    assert (state == "overdue" and "?" not in change) == bool(found["next_ticks"])


async def test_pausing_and_resuming(shell: Shell, conn: asyncpg.Connection) -> None:
    """A pause and a resumption keep who and why; the second of each is refused with a sentence."""
    await declare(conn)
    name, options = "nightly-report", ("--reason", "court closed")
    paused = [await shell.run("schedule", "pause", name, *options) for _ in range(2)]
    kept: Any = await conn.fetchrow("SELECT paused_by, pause_reason FROM ops.schedules")
    resumed = [await shell.run("schedule", "resume", name, *options) for _ in range(2)]

    assert [0, 1, 0, 1] == [answer.code for answer in (*paused, *resumed)]
    assert "Schedule nightly-report is paused. Its jobs that wait or run go on." in paused[0].out
    assert f"is paused already, by {kept['paused_by']} since" in paused[1].err
    assert "court closed" == kept["pause_reason"]
    assert (
        "ticks again within a minute; of the ticks missed meanwhile the last is" in resumed[0].out
    )
    assert "Schedule nightly-report is not paused." in resumed[1].err
    assert await conn.fetchval("SELECT resume_reason = 'court closed' FROM ops.schedules")


async def test_a_schedule_that_does_not_exist(shell: Shell, conn: asyncpg.Connection) -> None:
    """A name that is nearly right is answered by the right one, any other by those there are."""
    await declare(conn)
    near = await shell.run("schedule", "pause", "nightly-reprot", "--reason", "x")
    far = await shell.run("schedule", "resume", "zzz", "--reason", "x", "--json")

    assert (1, 1) == (near.code, far.code)
    assert "There is no schedule 'nightly-reprot'. Did you mean nightly-report?" in near.err
    assert "There is no schedule 'zzz'. Known: nightly-report." in far.err


async def test_resuming_what_nobody_declares(shell: Shell, conn: asyncpg.Connection) -> None:
    """Whoever resumes a schedule whose code is gone is told that it will not tick."""
    await declare(conn)
    await table.pause(conn, "nightly-report", "ada", "x")
    old = await table.now(conn) - timedelta(hours=1)
    await conn.execute("UPDATE ops.schedules SET declared_at = $1", old)
    answer = await shell.run("schedule", "resume", "nightly-report", "--reason", "x")

    assert (0, True) == (answer.code, "no running process declares it" in answer.out)


async def test_acting_for_scripts(shell: Shell, conn: asyncpg.Connection) -> None:
    """With --json an action answers with the schedule as it is afterwards."""
    await declare(conn)
    answer = await shell.run("schedule", "pause", "nightly-report", "--reason", "x", "--json")

    assert ("paused", "x", []) == (
        answer.json["state"],
        answer.json["pause_reason"],
        answer.json["next_ticks"],
    )
