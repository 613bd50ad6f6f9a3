"""The operators' commands, as processes: output, and exit codes."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from click.testing import CliRunner

from dragonfly.cli.doctor import doctor
from dragonfly.cli.intake import intake
from dragonfly.cli.jobs import jobs
from dragonfly.cli.smoke import smoke
from dragonfly.cli.watch import watch
from dragonfly.cli.workers import workers
from dragonfly.ops.dropfolder import DropFolder
from dragonfly.settings import Settings
from dragonfly.workers.simplicity_ingest import worker
from tests.ops.drops import export
from tests.ops.rows import add_heartbeat, add_job
from tests.support import drain

_OURS = {str(field.validation_alias) for field in Settings.model_fields.values()}


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out.splitlines()[-1])


@dataclass(frozen=True)
class Shell:
    """A folder and a database in which to run commands."""

    folder: Path
    dsn: str

    @property
    def intake(self) -> Path:
        return self.folder / "intake"

    @property
    def environment(self) -> dict[str, str]:
        env = {name: value for name, value in os.environ.items() if name not in _OURS}
        return env | {
            "SUPABASE_DB_URL_DEV": self.dsn,
            "DRAGONFLY_INTAKE_ROOT": str(self.intake),
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }

    async def run(self, *words: str, **environment: str) -> Answer:
        return await self.feed(b"", *words, **environment)

    async def feed(self, stdin: bytes, /, *words: str, **environment: str) -> Answer:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "dragonfly", *words,
            cwd=self.folder, env=self.environment | environment, stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate(stdin)
        assert process.returncode is not None
        return Answer(process.returncode, out.decode("ascii"), err.decode("ascii"))


@pytest.fixture
def shell(tmp_path: Path, dsn: str) -> Shell:
    return Shell(tmp_path, dsn)


@pytest.mark.parametrize(
    "command",
    [
        (doctor, []),
        (watch, []),
        (workers, []),
        (smoke, ["plaintiffs"]),
        *[(jobs, [name]) for name in ("list", "show", "cancel", "retry")],
        *[(intake, [name]) for name in ("load", "batches", "rejects")],
    ],
    ids=lambda command: " ".join([command[0].name, *command[1]]),
)
def test_every_command_has_help_with_an_example(command: Any) -> None:
    """Help shows an example that begins with dragonfly."""
    group, words = command
    result = CliRunner().invoke(group, [*words, "--help"])

    assert (0, True) == (result.exit_code, "Example:  dragonfly " in result.output)


async def test_watch_accepts_and_rejects(shell: Shell, conn: asyncpg.Connection) -> None:
    """A run with a rejected file ends with 1, and its last line is the summary."""
    folder = DropFolder(shell.intake)
    folder.prepare()
    (folder.inbox / "Zoë.csv").write_bytes(export())
    (folder.inbox / "b.csv").write_bytes(b"%PDF-1.7")

    answer = await shell.run("watch", "--once")

    assert (1, "watch: 1 accepted, 1 rejected, 0 waiting") == (
        answer.code,
        answer.out.splitlines()[-1],
    )
    assert 1 == await conn.fetchval("SELECT count(*) FROM ops.jobs")


async def test_watch_summary_as_json(shell: Shell) -> None:
    """With --json, stdout is the summary alone."""
    answer = await shell.run("watch", "--once", "--json")

    assert (0, 1) == (answer.code, len(answer.out.splitlines()))
    expected = {"accepted": 0, "rejected": 0, "waiting": 0, "away": False, "exit_code": 0}
    assert expected == answer.json


async def test_watch_beside_another_watcher(shell: Shell) -> None:
    """While another watcher holds the folder, the command ends with 3 and says so."""
    folder = DropFolder(shell.intake)
    folder.prepare()
    with folder.held():
        answer = await shell.run("watch", "--once")

    assert (3, True) == (answer.code, "Another watcher" in answer.out.splitlines()[-1])


@pytest.mark.parametrize(
    "environment",
    [
        {"SUPABASE_DB_URL_DEV": "postgresql://u:hush@127.0.0.1:1/d"},
        {"SUPABASE_DB_URL_DEV": "mysql://u:hush@h/d"},
        {"DRAGONFLY_POOL_SIZE": "many"},
        {"DRAGONFLY_INTAKE_ROOT": "/dev/null/x"},
    ],
)
async def test_watch_with_a_wrong_configuration(shell: Shell, environment: dict[str, str]) -> None:
    """What must be configured otherwise ends with 2, moves nothing and shows no password."""
    folder = DropFolder(shell.intake)
    folder.prepare()
    (folder.inbox / "a.csv").write_bytes(export())

    answer = await shell.run("watch", "--once", **environment)

    assert (2, False) == (answer.code, "hush" in answer.out + answer.err)
    assert ["a.csv"] == [path.name for path in folder.inbox.iterdir()]


async def test_watch_refuses_an_unmigrated_database(shell: Shell, server: str) -> None:
    """A database without our schema is a configuration fault with the command that mends it."""
    empty = urlunsplit(urlsplit(server)._replace(path="/template1"))

    answer = await shell.run("watch", "--once", SUPABASE_DB_URL_DEV=empty)

    assert (2, True) == (answer.code, "dragonfly migrate" in answer.out)


async def test_watch_ends_politely(shell: Shell) -> None:
    """SIGTERM ends the endless watcher with its summary and 0."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "dragonfly", "watch", "--interval", "1",
        cwd=shell.folder,
        env=os.environ | {
            "SUPABASE_DB_URL_DEV": shell.dsn, "DRAGONFLY_INTAKE_ROOT": str(shell.intake),
            "PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONUNBUFFERED": "1",
        },
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    first = await process.stdout.readline()
    process.terminate()
    rest = await process.stdout.read()

    assert (True, 0) == (first.startswith(b"Watching"), await process.wait())
    assert b"watch: 0 accepted, 0 rejected, 0 waiting\n" == rest


async def test_doctor_in_words_and_json(shell: Shell, conn: asyncpg.Connection) -> None:
    """The two forms tell the same findings and end with the same code."""
    await conn.execute("ALTER TABLE civil.judgments DISABLE ROW LEVEL SECURITY")

    words = await shell.run("doctor")
    told = await shell.run("doctor", "--json")

    assert (1, 1, 1) == (words.code, told.code, told.json["exit_code"])
    errors = [each["id"] for each in told.json["findings"] if each["severity"] == "err"]
    assert "3.4" in errors
    assert "civil.judgments" in words.out


async def test_doctor_names_variables_that_do_not_fit(shell: Shell) -> None:
    """A setting out of bounds is a finding that names the variable, and 1."""
    answer = await shell.run("doctor", "--json", DRAGONFLY_POOL_SIZE="0")

    (finding,) = answer.json["findings"]
    assert (1, True) == (answer.code, finding["result"].startswith("DRAGONFLY_POOL_SIZE:"))


async def test_doctor_of_the_other_environment(shell: Shell) -> None:
    """--env prod looks at prod's variables: both on one database is critical, and 2."""
    answer = await shell.run("doctor", "--env", "prod", SUPABASE_DB_URL_PROD=shell.dsn)

    assert (2, True) == (answer.code, "CRIT  1.4" in answer.out)


@pytest.mark.parametrize(
    ("words", "environment", "code"),
    [
        ([], {}, 0),
        (["--expect-min-plaintiffs", "1"], {}, 1),
        ([], {"SUPABASE_DB_URL_DEV": "postgresql://u:hush@127.0.0.1:1/d"}, 2),
    ],
)
async def test_smoke_codes(
    shell: Shell, words: list[str], environment: dict[str, str], code: int
) -> None:
    """0 all holds, 1 an assertion fails, 2 nothing can be asked; always one line."""
    answer = await shell.run("smoke", "plaintiffs", *words, **environment)
    as_json = await shell.run("smoke", "plaintiffs", "--json", *words, **environment)

    assert (code, code, code) == (answer.code, as_json.code, as_json.json["exit_code"])
    assert (1, "") == (len(answer.out.splitlines()), answer.err)
    assert "hush" not in answer.out + as_json.out


async def test_smoke_of_an_empty_prod(shell: Shell) -> None:
    """An empty prod database ends with 3."""
    answer = await shell.run("smoke", "plaintiffs", "--env", "prod", SUPABASE_DB_URL_PROD=shell.dsn)

    assert (3, True) == (answer.code, "EMPTY" in answer.out)


async def test_workers(shell: Shell, conn: asyncpg.Connection) -> None:
    """Heartbeats are a table for people and an array for scripts."""
    nobody = await shell.run("workers")
    await add_heartbeat(conn, "simplicity_ingest", "degraded", reason="the database is away")
    await conn.execute("UPDATE ops.worker_heartbeats SET rss_bytes = 128 * 1024 * 1024")
    table = await shell.run("workers")
    array = (await shell.run("workers", "--json")).json

    assert "dragonfly run --workers all" in nobody.out
    assert (0, 2) == (table.code, len(table.out.splitlines()))
    assert "the database is away" in table.out
    assert "128 MB" in table.out
    assert [("simplicity_ingest", "degraded", True)] == [
        (each["worker_type"], each["status"], each["alive"]) for each in array
    ]


async def test_jobs_are_listed_and_shown(shell: Shell, conn: asyncpg.Connection) -> None:
    """A list can be narrowed; one job shows its payload and errors; an unknown id is an error."""
    failed = await add_job(conn, "x", "failed", error="FILE_TYPE: a PDF")
    await add_job(conn, "x")

    listed = (await shell.run("jobs", "list", "--status", "failed", "--type", "x", "--json")).json
    table = await shell.run("jobs", "list")
    shown = await shell.run("jobs", "show", str(failed))
    as_json = (await shell.run("jobs", "show", str(failed), "--json")).json
    unknown = await shell.run("jobs", "show", "999999")

    assert [failed] == [each["id"] for each in listed]
    assert 3 == len(table.out.splitlines())
    assert "last_error: FILE_TYPE: a PDF" in shown.out
    assert ({}, "failed") == (as_json["payload"], as_json["status"])
    assert (1, True) == (unknown.code, "no job 999999" in unknown.err)


async def test_jobs_are_cancelled_and_retried(shell: Shell, conn: asyncpg.Connection) -> None:
    """Both actions need a reason, keep it with the job, and refuse what cannot be."""
    job_id = str(await add_job(conn, "x"))

    unreasoned = await shell.run("jobs", "cancel", job_id)
    cancelled = await shell.run("jobs", "cancel", job_id, "--reason", "sent twice")
    again = await shell.run("jobs", "cancel", job_id, "--reason", "sent twice")
    retried = await shell.run("jobs", "retry", job_id, "--reason", "was right", "--json")
    waiting = await shell.run("jobs", "retry", job_id, "--reason", "was right")
    shown = (await shell.run("jobs", "show", job_id, "--json")).json

    assert (2, 0, 1, 0, 1) == (
        unreasoned.code,
        cancelled.code,
        again.code,
        retried.code,
        waiting.code,
    )
    assert ("pending", "cancelled: sent twice") == (shown["status"], shown["last_error"])
    assert ["retried: was right"] == [each["error"] for each in shown["errors"]]


async def test_a_file_is_loaded_from_anywhere(shell: Shell, conn: asyncpg.Connection) -> None:
    """The command keeps a copy where the job finds it; the worker loads it; batches show it."""
    (shell.folder / "my export.csv").write_bytes(export())

    dry = (await shell.run("intake", "load", "my export.csv", "--dry-run", "--json")).json
    first = (await shell.run("intake", "load", "my export.csv", "--json")).json
    code, _ = await drain(shell.dsn, worker, intake_root=shell.intake)
    second = await shell.run("intake", "load", "my export.csv")
    listed = (await shell.run("intake", "batches", "--json")).json
    table = await shell.run("intake", "batches")

    assert (0, True) == (code, dry["job_id"] != first["job_id"])
    assert export() == (shell.intake / first["path"]).read_bytes()
    assert "loaded before" in second.out
    assert {("my export.csv", 1)} == {(each["file_name"], each["rows_total"]) for each in listed}
    assert 1 == await conn.fetchval("SELECT count(*) FROM civil.judgments")
    assert "my export.csv" in table.out


async def test_a_file_that_is_no_export_is_not_enqueued(
    shell: Shell, conn: asyncpg.Connection
) -> None:
    """What its first bytes give away is refused before any job is made."""
    (shell.folder / "a.csv").write_bytes(b"%PDF-1.7")

    answer = await shell.run("intake", "load", "a.csv")

    assert (1, True) == (answer.code, "FILE_TYPE" in answer.err)
    assert 0 == await conn.fetchval("SELECT count(*) FROM ops.jobs")


async def test_rejects_never_overwrite(shell: Shell, conn: asyncpg.Connection) -> None:
    """The target must be new, and an unknown batch leaves nothing behind."""
    (shell.folder / "there.csv").write_text("mine")
    unknown = "00000000-0000-0000-0000-000000000001"

    taken = await shell.run("intake", "rejects", unknown, "--csv", "there.csv")
    none = await shell.run("intake", "rejects", unknown, "--csv", "new.csv")

    assert (1, 1) == (taken.code, none.code)
    assert "mine" == (shell.folder / "there.csv").read_text()
    assert ["there.csv"] == [path.name for path in shell.folder.iterdir()]
    assert "There is no batch" in none.err
