"""Unique secrets, planted wherever one could stand, are looked for wherever one could come out."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import anyio.to_thread
import asyncpg
import pytest

from dragonfly import enqueue
from tests.process.launch import dragonfly, run_to_end
from tests.roles import with_login
from tests.security.leaky import EXPORT, JOBS, SECRETS, VARIABLE
from tests.servers import free_port
from tests.support import until

WORKERS = "tests.security.leaky:worker,simplicity-ingest,ingest-processor"
# what people put into a job is theirs to see; all else about it is ours
KEPT = """
SELECT jsonb_pretty(to_jsonb(j) - 'payload' - 'result' - 'checkpoint') FROM ops.jobs j
 UNION ALL SELECT jsonb_pretty(to_jsonb(h)) FROM ops.worker_heartbeats h
"""


@pytest.fixture
async def secret_dsn(dsn: str, conn: asyncpg.Connection) -> str:
    """This test's database, its address with a password that the server does not ask for."""
    user = await conn.fetchval("SELECT current_user")
    return with_login(dsn, f"{user}:{SECRETS['password']}")


def leaks(said: dict[str, str]) -> dict[str, list[str]]:
    """Which secrets stand where."""
    found = {place: [s for s in SECRETS.values() if s in text] for place, text in said.items()}
    return {place: secrets for place, secrets in found.items() if secrets}


async def plant(conn: asyncpg.Connection, folder: Path) -> dict[str, str]:
    """Enqueue a job for each way to leak, and an export full of secrets; the environment."""
    (folder / "export.csv").write_text(EXPORT)
    for job_type, payload in JOBS.items():
        await enqueue(conn, job_type, payload, max_attempts=1)
    await enqueue(conn, "simplicity_ingest", {"file_path": "export.csv"})
    address = f"https://files.example/{SECRETS['address']}.csv?token={SECRETS['address']}"
    await enqueue(conn, "simplicity_ingest", {"file_path": address})
    await enqueue(conn, "simplicity_ingest", {"file_path": {SECRETS["key"]: 1}})
    return {
        VARIABLE: SECRETS["variable"],
        "DRAGONFLY_INTAKE_ROOT": str(folder),
        "DRAGONFLY_LOG_LEVEL": "INFO",
    }


COMMANDS = (("doctor",), ("jobs", "list"), ("workers", "--json"), ("intake", "batches", "--json"))


@pytest.mark.parametrize(
    ("more", "commands"), [((), COMMANDS), (("--debug",), ())], ids=["plain", "debug"]
)
async def test_no_secret_leaves_a_run(
    secret_dsn: str,
    conn: asyncpg.Connection,
    tmp_path: Path,
    more: tuple[str, ...],
    commands: tuple[tuple[str, ...], ...],
) -> None:
    """Not into output, errors of jobs, heartbeats or commands, with or without --debug."""
    env = await plant(conn, tmp_path)
    run = await run_to_end(secret_dsn, "run", "--workers", WORKERS, "--drain", *more, env=env)
    said = {"run": run.text}
    for words in commands:
        said[" ".join(words)] = (await run_to_end(secret_dsn, *words, env=env)).text
    said["kept"] = "\n".join(row[0] for row in await conn.fetch(KEPT))
    unmarked = await conn.fetch(
        "SELECT job_type FROM ops.jobs WHERE last_error IS NULL AND status <> 'completed'"
    )

    assert {} == leaks(said)
    assert [] == unmarked, run.text
    for word in ("LookupError", "PAYLOAD_INVALID", "RESULT_INVALID", "OVER_ERROR_BUDGET"):
        assert word in said["kept"]
    for word in ("library: cannot open", "asyncio: Task exception", "ended: KeyError"):
        assert word in said["run"]


async def test_a_payload_is_shown_to_who_asks_for_the_job(
    secret_dsn: str, conn: asyncpg.Connection
) -> None:
    """jobs show prints payload and result, which are its user's data, and nothing else of it."""
    job_id = await enqueue(conn, "message", JOBS["message"])

    shown = json.loads((await run_to_end(secret_dsn, "jobs", "show", str(job_id), "--json")).text)
    listed = (await run_to_end(secret_dsn, "jobs", "list", "--json")).text

    assert JOBS["message"] == shown.pop("payload")
    assert {} == leaks({"show": json.dumps(shown), "list": listed})


async def test_no_secret_is_on_the_health_pages(secret_dsn: str, conn: asyncpg.Connection) -> None:
    """The reason why a worker fell stands there, on its row and in the log, without its values."""
    env = {VARIABLE: SECRETS["variable"], "PORT": str(port := free_port())}
    names = "tests.security.leaky:worker,tests.security.leaky:fallen"
    async with dragonfly("run", "--workers", names, dsn=secret_dsn, env=env) as process:
        await process.says("health pages on")
        await until(
            conn, "SELECT EXISTS (SELECT FROM ops.worker_heartbeats WHERE reason IS NOT NULL)"
        )
        page = await anyio.to_thread.run_sync(_get, f"http://127.0.0.1:{port}/health/ready")
        process.signal()
        await process.ends()
    kept = "\n".join(row[0] for row in await conn.fetch(KEPT))

    assert {} == leaks({"page": page, "log": process.text, "kept": kept})
    assert "RuntimeError: cannot open ***" in page


def _get(address: str) -> str:
    with urllib.request.urlopen(address, timeout=10) as answer:
        return str(answer.read(), "utf-8")


@pytest.mark.parametrize(
    "words",
    [("--debug", "run", "--workers", "simplicity-ingest", "--drain"), ("doctor",)],
    ids=["run", "doctor"],
)
async def test_no_command_shows_the_password(words: tuple[str, ...]) -> None:
    """Of an address that nobody answers no password is told; nor with --debug and its traceback."""
    dsn = with_login(f"postgresql://127.0.0.1:{free_port()}/x", f"ada:{SECRETS['password']}")

    command = await run_to_end(dsn, *words)

    assert {} == leaks({words[0]: command.text})
    assert 0 != command.process.returncode


async def test_an_error_nobody_foresaw_is_a_sentence(
    secret_dsn: str, conn: asyncpg.Connection
) -> None:
    """Without --debug one line names its kind; with it Python's traceback follows."""
    await conn.execute("ALTER TABLE ops.jobs RENAME COLUMN last_error TO gone")

    plain = await run_to_end(secret_dsn, "jobs", "list")
    debug = await run_to_end(secret_dsn, "--debug", "jobs", "list")

    assert (1, 1) == (plain.process.returncode, debug.process.returncode)
    assert 1 == len(plain.output)
    assert "(SQLSTATE 42703)" in plain.text
    assert "Traceback" in debug.text
    assert {} == leaks({"plain": plain.text, "debug": debug.text})
