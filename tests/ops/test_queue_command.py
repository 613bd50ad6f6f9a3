"""``dragonfly queue stats`` as a process."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest
from click.testing import CliRunner

from dragonfly.cli.queue import queue
from tests.ops.rows import add_job
from tests.ops.test_commands import Shell


@pytest.fixture
def shell(tmp_path: Path, dsn: str) -> Shell:
    return Shell(tmp_path, dsn)


async def test_an_empty_queue(shell: Shell) -> None:
    """Without jobs the answer is short: nothing waits, the table's size, and that all is well."""
    answer = await shell.run("queue", "stats")

    lines = answer.out.splitlines()
    assert (0, "No job waits, runs or ended lately.") == (answer.code, lines[0])
    assert lines[-2].startswith("ops.jobs: ")
    assert "The queue keeps up." == lines[-1]


async def test_tables_for_people(shell: Shell, conn: asyncpg.Connection) -> None:
    """Depths and rates, then times, each with its columns; then what to do."""
    await add_job(conn, "greet", seconds=7200)
    await add_job(conn, "greet", seconds=-60)
    for seconds in range(60):
        await add_job(conn, "stamp", "completed", seconds=seconds)

    answer = await shell.run("queue", "stats", "--window", "10m")

    depths, times, words = [part.splitlines() for part in answer.out.split("\n\n")]
    assert [
        ["type", "due", "oldest", "due", "scheduled", "processing", "in/min", "done/min",
         "failed/min", "failed", "24h"],
        ["greet", "1", "2", "h", "1", "0", "0.2", "0", "0", "0"],
        ["stamp", "0", "0", "0", "6.0", "6.0", "0", "0"],
    ] == [line.split() for line in depths]  # fmt: skip
    assert 1 == len({len(line) for line in depths})
    assert ["stamp", "60"] == times[1].split()[:2]
    assert "Over the last 10 minutes: jobs a minute, and the times of jobs that ended." == words[0]
    assert words[-1].startswith("greet stands still: 1 due, the oldest for 2 hours")


async def test_json_for_scripts(shell: Shell, conn: asyncpg.Connection) -> None:
    """One object has everything, whether it is a problem or not."""
    await add_job(conn, "greet", "failed")

    answer = await shell.run("queue", "stats", "--json")

    (greet,) = answer.json["types"]
    assert (0, "greet", 1) == (answer.code, greet["job_type"], greet["failed_24h"]["count"])
    assert (3600.0, [], []) == (
        answer.json["window"],
        answer.json["pins"],
        answer.json["advice"],
    )


@pytest.mark.parametrize("window", ["0m", "59s", "8d", "1w", "h", "-1h", "1.5h", "9999999h"])
def test_a_window_that_makes_no_sense(window: str) -> None:
    """A window is from a minute to seven days; anything else is explained."""
    result = CliRunner().invoke(queue, ["stats", "--window", window])

    assert (2, True) == (result.exit_code, "such as 10m, 1h or 24h" in result.output)


def test_help_shows_an_example() -> None:
    """Help shows an example that begins with dragonfly."""
    result = CliRunner().invoke(queue, ["stats", "--help"])

    assert (0, True) == (result.exit_code, "Example:  dragonfly queue stats" in result.output)
