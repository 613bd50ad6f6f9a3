"""jobs why, queue pause and resume, audit: as processes, and what they keep."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest
from click.testing import CliRunner

from dragonfly.cli.audit import audit
from dragonfly.cli.jobs import jobs
from dragonfly.cli.queue import queue
from dragonfly.ops.explaining import explain
from dragonfly.queue import store
from tests.ops.rows import add_heartbeat, add_job
from tests.ops.test_commands import Shell

REASON = ("--reason", "court closed")


@pytest.fixture
def shell(tmp_path: Path, dsn: str) -> Shell:
    return Shell(tmp_path, dsn)


@pytest.mark.parametrize(
    ("command", "words"),
    [(jobs, ["why"]), (queue, ["pause"]), (queue, ["resume"]), (audit, [])],
    ids=["why", "pause", "resume", "audit"],
)
def test_help_shows_an_example(command: object, words: list[str]) -> None:
    """Help shows an example that begins with dragonfly."""
    result = CliRunner().invoke(command, [*words, "--help"])  # type: ignore[arg-type]

    assert (0, True) == (result.exit_code, "Example:  dragonfly " in result.output)


async def test_pausing_and_resuming(shell: Shell, conn: asyncpg.Connection) -> None:
    """A pause tells until when, why shows it, stats shows it, and both deeds are recorded."""
    job_id = str(await add_job(conn, "greet"))
    unreasoned = await shell.run("queue", "pause", "greet")
    paused = await shell.run("queue", "pause", "greet", "--for", "2h", *REASON, "--json")
    again = await shell.run("queue", "pause", "greet", *REASON)
    why = await shell.run("jobs", "why", job_id)
    stats = await shell.run("queue", "stats")
    resumed = await shell.run("queue", "resume", "greet", "--reason", "open again")
    twice = await shell.run("queue", "resume", "greet", "--reason", "open again")
    record = (await shell.run("audit", "--json")).json

    assert [2, 0, 1, 0, 0, 0, 1] == [
        answer.code for answer in (unreasoned, paused, again, why, stats, resumed, twice)
    ]
    left = datetime.fromisoformat(paused.json["until"]) - datetime.now(UTC)
    assert timedelta(minutes=118) < left < timedelta(minutes=121)
    assert "greet is paused already, by " in again.err
    assert "Jobs of type greet are paused until " in why.out
    assert "court closed. To let them run: dragonfly queue resume greet." in why.out
    assert "greet is paused until " in stats.out
    assert [("resume type", "open again"), ("pause type", "court closed")] == [
        (entry["action"], entry["reason"]) for entry in record
    ]


@pytest.mark.parametrize("until", ["yesterday", "2h30", "2026-01-01T00:00", "2001-01-01T00:00Z"])
def test_a_time_that_makes_no_sense(until: str) -> None:
    """A wrong time for a pause is told with the forms that are right, before anything is asked."""
    result = CliRunner().invoke(queue, ["pause", "greet", *REASON, "--until", until])

    assert 2 == result.exit_code
    assert "Invalid value for" in result.output


async def test_deeds_about_a_job(shell: Shell, conn: asyncpg.Connection) -> None:
    """What was done to a job, by whom and why, stands in its own page and in the record."""
    job_id = str(await add_job(conn, "greet"))
    await shell.run("jobs", "cancel", job_id, "--reason", "sent twice")
    await shell.run("jobs", "retry", job_id, "--reason", "was right")
    shown = await shell.run("jobs", "show", job_id)
    table = await shell.run("audit", "--job", job_id)
    record = (await shell.run("jobs", "show", job_id, "--json")).json["audit"]

    assert [("retry job", "cancelled", "pending"), ("cancel job", "pending", "cancelled")] == [
        (entry["action"], entry["before"]["status"], entry["after"]["status"]) for entry in record
    ]
    assert ["sent twice", "was right"] == [
        line.rpartition(": ")[2] for line in shown.out.splitlines() if " job at " in line
    ]
    assert 3 == len(table.out.splitlines())


async def test_nothing_was_done(shell: Shell) -> None:
    """An empty record says so, and an unknown job is an error."""
    record = await shell.run("audit")
    unknown = await shell.run("jobs", "why", "999999")

    assert (0, True) == (record.code, record.out.startswith("Nobody has paused"))
    assert (1, True) == (unknown.code, "There is no job 999999." in unknown.err)


async def test_why_in_words_and_json(shell: Shell, conn: asyncpg.Connection) -> None:
    """Each cause is one sentence that says what to do, and a JSON object for scripts."""
    job_id = str(await add_job(conn, "greet"))
    nobody = await shell.run("jobs", "why", job_id)
    await add_heartbeat(conn, "greet", seconds=7200.0)
    gone = await shell.run("jobs", "why", job_id)
    await add_heartbeat(conn, "greet")
    ready = await shell.run("jobs", "why", job_id)
    as_json = (await shell.run("jobs", "why", job_id, "--json")).json

    assert "No worker has ever taken greet jobs here" in nobody.out
    assert "the last one spoke 2 hours ago. See: dragonfly workers." in gone.out
    assert "Nothing keeps it: it is the next" in ready.out
    assert ("next", 0, 0.0) == (as_json["cause"], as_json["ahead"], as_json["starts_in"])


async def test_the_expected_start(conn: asyncpg.Connection) -> None:
    """What waits its turn is told when it starts at the pace of the last ten minutes."""
    await add_heartbeat(conn, "greet")
    await conn.execute(
        "INSERT INTO ops.jobs (job_type, status, created_at, run_at, finished_at, locked_at,"
        " locked_by) SELECT 'greet', 'completed', clock_timestamp() - interval '20 minutes',"
        " clock_timestamp() - interval '20 minutes', clock_timestamp() - interval '1 minute',"
        " clock_timestamp() - interval '1 minute', 'x' FROM generate_series(1, 600)"
    )
    ids = [await store.enqueue(conn, "greet", {}) for _ in range(31)]

    found = await explain(conn, ids[-1], 10.0, 3)

    assert found is not None
    assert 30 == found.standing.ahead
    assert 29 <= (found.starts_in or 0) <= 31
    assert "30 jobs come before it; at the pace of the last 10 minutes it starts" in found.sentence


async def test_sentences_of_other_causes(conn: asyncpg.Connection) -> None:
    """A busy key, a suspect, a later time, an end and a holder are told as they are."""
    await add_heartbeat(conn, "greet")
    columns = "status, lock_token, locked_by, locked_at, locked_until"
    held = "'processing', 1, 'w@p', clock_timestamp(), clock_timestamp() + interval '1 minute'"
    running = await conn.fetchval(
        f"INSERT INTO ops.jobs (job_type, concurrency_key, {columns})"
        f" VALUES ('greet', 'k', {held}) RETURNING id"
    )
    insert = "INSERT INTO ops.jobs (job_type, concurrency_key, crashes, run_at) VALUES"
    busy, first, second, later = [
        await conn.fetchval(f"{insert} ('greet', {more}) RETURNING id")
        for more in (
            "'k', 0, now()",
            "NULL, 1, now()",
            "NULL, 1, now()",
            "NULL, 0, now() + interval '3 hours'",
        )
    ]
    ended = await add_job(conn, "greet", "failed", error="FILE_TYPE: a PDF")

    async def told(job_id: int) -> str:
        found = await explain(conn, job_id, 10.0, 3)
        assert found is not None
        return found.sentence

    assert f"Its key 'k' is busy (at most 1 at once): job {running} runs on w@p." == await told(
        busy
    )
    assert "Nothing keeps it" in await told(first)
    assert (await told(second)).endswith("one such job at a time; 1 job comes before it.")
    until = "until an attempt of its own ends, "
    assert until in await told(second)
    await conn.execute("UPDATE ops.jobs SET crashes = 2 WHERE id = $1", second)
    assert until not in await told(second)
    assert (await told(later)).endswith("UTC, in 3 hours.")
    assert ": FILE_TYPE: a PDF. To run it again: dragonfly jobs retry." in await told(ended)
    assert (await told(running)).startswith("It runs on w@p, whose lock was renewed ")
