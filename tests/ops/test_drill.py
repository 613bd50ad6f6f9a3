"""``dragonfly drill``: its checker sees what is broken, and it touches nothing of the user."""

from __future__ import annotations

import signal
from pathlib import Path

import asyncpg
import psutil
import pytest
from click.testing import CliRunner

from dragonfly import enqueue
from dragonfly.cli.drill import drill
from dragonfly.errors import ConfigurationError
from dragonfly.ops.drill import history
from dragonfly.ops.drill import scenarios as module
from dragonfly.ops.drill.crew import Crew, DrillBroken
from dragonfly.ops.drill.history import Finding
from dragonfly.ops.drill.scenarios import PREFIX, Scenario, play, scratch
from dragonfly.postgres.database import Database, Pooling, open_database
from tests.ops.test_commands import Shell
from tests.process.launch import dragonfly
from tests.roles import administrator
from tests.servers import own_server
from tests.support import until

# a run in which all went well: a fenced job, one that returned, one that died above its budget,
# one that gave way to another with its unique key, one that failed and killed nobody
_WELL = """
INSERT INTO ops.jobs (id, job_type, status, payload, attempts, crashes, finished_at, errors)
OVERRIDING SYSTEM VALUE VALUES
    (1, 'drill', 'completed', '{}', 1, 0, now(), NULL),
    (2, 'drill_return', 'completed', '{}', 1, 1, now(), '[{"error": "crashed"}]'),
    (3, 'drill_poison', 'failed', '{"ends": "failed"}', 0, 2, now(), '[{}, {}]'),
    (4, 'drill', 'cancelled', '{}', 0, 0, now(), NULL),
    (5, 'drill', 'failed', '{"ends": "failed"}', 1, 0, now(), '[{}]');
UPDATE ops.jobs SET unique_key = 'a', last_error = 'superseded: another one waits' WHERE id = 4;
INSERT INTO drill.effects (job_id, token) VALUES (1, 11);
INSERT INTO drill.history (job_id, token, process, step) VALUES
    (1, 11, 'a', 'start'), (1, 11, 'a', 'effect'), (1, 11, 'a', 'end'),
    (2, 21, 'a', 'start'), (2, 22, 'b', 'start'), (2, 22, 'b', 'effect'), (2, 22, 'b', 'end'),
    (3, 31, 'b', 'start'), (3, 32, 'b', 'start');
"""
_LEFT = "SELECT count(*) FROM pg_database WHERE starts_with(datname, $1)"
_AT_WORK = """
SELECT count(*) > 0 FROM pg_stat_activity
 WHERE starts_with(datname, $1) AND application_name = 'dragonfly heartbeat'
"""
_STEP = "INSERT INTO drill.history (job_id, token, process, step) VALUES"
BREAKS = {
    "a job left pending": (
        "UPDATE ops.jobs SET status = 'pending', finished_at = NULL WHERE id = 2",
        {"every job ended as it should"},
    ),
    "a job ended otherwise": (
        "UPDATE ops.jobs SET status = 'cancelled' WHERE id = 2",
        {"every job ended as it should"},
    ),
    "a job that gave way to nobody": (
        "UPDATE ops.jobs SET last_error = NULL WHERE id = 4",
        {"every job ended as it should"},
    ),
    "an innocent failed for crashes": (
        "UPDATE ops.jobs SET crashes = 2 WHERE id = 5",
        {"crashes stay within their budget, with evidence"},
    ),
    "an effect twice": (
        "INSERT INTO drill.effects (job_id, token) VALUES (1, 11)",
        {"fenced effects exactly once"},
    ),
    "an effect lost": ("TRUNCATE drill.effects", {"fenced effects exactly once"}),
    "an end without a run": (
        "DELETE FROM drill.history WHERE job_id = 2",
        {"a job that ended by returning ran"},
    ),
    "two starts of one claim": (
        f"{_STEP} (1, 11, 'a', 'start')",
        {"one start, one process for each claim of a job"},
    ),
    "one token in two processes": (
        f"{_STEP} (3, 11, 'b', 'start')",
        {"no token in two claims"},
    ),
    "a stranger's effect": (
        "UPDATE drill.effects SET token = 12",
        {"no effect without a claim that started"},
    ),
    "two ends": (f"{_STEP} (1, 11, 'a', 'end')", {"no second end"}),
    "a job held by nobody": (
        """UPDATE ops.jobs SET status = 'processing', finished_at = NULL, lock_token = 1,
                  locked_until = now() WHERE id = 2""",
        {"every job ended as it should", "no job is held by nobody"},
    ),
    "a budget not kept": (
        "UPDATE ops.jobs SET crashes = 3 WHERE id = 3",
        {"crashes stay within their budget, with evidence"},
    ),
    "no evidence": (
        "UPDATE ops.jobs SET errors = '[{}]' WHERE id = 3",
        {"crashes stay within their budget, with evidence"},
    ),
    "an attempt lost": (
        "UPDATE ops.jobs SET attempts = 2 WHERE id = 2",
        {"no attempt is lost"},
    ),
}


@pytest.fixture
def dsn(direct: str) -> str:
    """The address of who may create databases, as the drill must."""
    return administrator(direct)


@pytest.fixture
async def well(conn: asyncpg.Connection) -> asyncpg.Connection:
    """A connection to the history of a run without faults."""
    await history.prepare(conn)
    await conn.execute(_WELL)
    return conn


async def broken(conn: asyncpg.Connection) -> set[str]:
    """The promises that were not kept."""
    findings = await history.examine(conn, crash_budget=1)
    return {finding.promise for finding in findings if not finding.held}


async def test_a_run_without_faults(well: asyncpg.Connection) -> None:
    """Crashes, rescues and a poison job that was stopped break no promise."""
    assert set() == await broken(well)


@pytest.mark.parametrize("what", BREAKS)
async def test_each_promise_can_break(well: asyncpg.Connection, what: str) -> None:
    """Each promise is found broken when it is, and no other."""
    statement, promises = BREAKS[what]
    await well.execute(statement)

    assert promises == await broken(well)


async def test_a_connection_that_is_left(well: asyncpg.Connection, dsn: str) -> None:
    """A session of a process that has ended is found by its name."""
    left = await asyncpg.connect(dsn, server_settings={"application_name": "dragonfly claim"})
    found = await broken(well)
    await left.close()

    assert {"no connection is left"} == found


# --- the command ----------------------------------------------------------------------------------


async def test_the_command(dsn: str, conn: asyncpg.Connection, tmp_path: Path) -> None:
    """A table in ASCII, code 0, and neither the jobs of the user nor a database left behind."""
    mine = await enqueue(conn, "drill", {"mine": True})
    answer = await Shell(tmp_path, dsn).run("drill", "--scenario", "kill9")

    assert 0 == answer.code, answer.out
    assert answer.out.isascii()
    assert ["Every promise held."] == answer.out.splitlines()[-1:]
    assert "fenced effects exactly once" in answer.out
    rows = await conn.fetch("SELECT id, status, attempts FROM ops.jobs")
    assert [(mine, "pending", 0)] == [tuple(row) for row in rows]
    # another run of the tests may have one just now
    await until(conn, _LEFT, PREFIX, expected=0, seconds=60)


def test_a_broken_promise(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is shown with what breaks it, the other scenarios are still played, the code is 1."""

    async def twice(conn: asyncpg.Connection, _: Crew) -> tuple[list[Finding], None]:
        """Something happens twice."""
        await conn.execute(_WELL + BREAKS["an effect twice"][0])
        return await history.examine(conn, crash_budget=1), None

    async def stuck(_conn: asyncpg.Connection, _: Crew) -> tuple[list[Finding], None]:
        """Something does not end."""
        raise DrillBroken("What the drill waits for did not happen.")

    mine: dict[str, Scenario] = {"kill9": twice, "poison": stuck}
    monkeypatch.setattr(module, "SCENARIOS", mine)
    monkeypatch.setenv("SUPABASE_DB_URL_DEV", server)
    options = [part for name in mine for part in ("--scenario", name)]
    answer = CliRunner().invoke(drill, options)

    assert 1 == answer.exit_code
    assert "fenced effects exactly once" in answer.output
    assert "NO    1 break it, such as 1" in answer.output
    assert "What the drill waits for did not happen." in answer.output
    assert answer.output.endswith("Violated in: kill9, poison.\n")


async def test_json_for_scripts(dsn: str, tmp_path: Path) -> None:
    """One array has a scenario's findings, seconds and recovery, and whether it held."""
    answer = await Shell(tmp_path, dsn).run("drill", "--scenario", "terminate", "--json")

    (result,) = answer.json
    assert (0, "terminate", True, None) == (
        answer.code,
        result["scenario"],
        result["held"],
        result["recovery"],
    )
    assert {"promise": "no process ended", "held": True, "detail": ""} in result["findings"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_drill_that_is_stopped(
    dsn: str, conn: asyncpg.Connection, number: signal.Signals
) -> None:
    """It takes its processes and its database with it."""
    async with dragonfly("drill", "--scenario", "poison", dsn=dsn) as playing:
        await until(conn, _AT_WORK, PREFIX, seconds=60)
        crew = psutil.Process(playing.process.pid).children(recursive=True)
        playing.signal(number)
        code = await playing.ends(60)

    assert (130, "Stopped.") == (code, playing.text.splitlines()[-1])
    assert [] == [each for each in crew if each.is_running()]
    await until(conn, _LEFT, PREFIX, expected=0, seconds=60)


async def test_prod_must_be_named(dsn: str, tmp_path: Path) -> None:
    """In prod it wants to be told so on its command line."""
    shell = Shell(tmp_path, dsn)
    answer = await shell.run("drill", SUPABASE_MODE="prod")

    assert 78 == answer.code
    assert "write --env prod" in answer.err


async def test_a_pooler_is_refused() -> None:
    """Behind a transaction pooler no scratch database can be reached."""
    database = Database("postgresql://localhost/x", Pooling.TRANSACTION, "18")
    with pytest.raises(ConfigurationError, match="transaction pooler"):
        async with scratch(database):
            raise AssertionError


async def test_who_may_not_create_a_database_is_told(tmp_path: Path) -> None:
    """It falls back to no other database, and says what would let it run."""
    async with own_server() as server:
        admin = await asyncpg.connect(server.dsn)
        await admin.execute("CREATE ROLE plain LOGIN")
        await admin.close()
        database = await open_database(server.dsn.replace("postgres:", "plain:", 1), "the server")
        with pytest.raises(ConfigurationError, match="CREATEDB"):
            async with scratch(database):
                raise AssertionError


async def test_poison(dsn: str, tmp_path: Path) -> None:
    """A job that kills its process ends with its evidence; its neighbours all complete."""
    (result,) = [result async for result in play(dsn, tmp_path, ["poison"])]

    assert [] == [finding for finding in result.findings if not finding.held]
    assert "the evidence names memory, heartbeat and progress" in {
        finding.promise for finding in result.findings
    }


async def test_silence(dsn: str, tmp_path: Path) -> None:
    """A network that goes silent without closing anything costs seconds, and no job."""
    (result,) = [result async for result in play(dsn, tmp_path, ["silence"])]

    assert [] == [finding for finding in result.findings if not finding.held]
