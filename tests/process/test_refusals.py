"""What stops a start: one sentence, exit code 78, no traceback, no password."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest

from dragonfly.testing.databases import database_dsn
from tests.process.launch import Dragonfly, run_to_end
from tests.servers import free_port, own_server

SCRIPTED = "tests.process.scripted:worker"


def refused(command: Dragonfly, *words: str) -> None:
    """It ended with 78, in one sentence that holds these words."""
    assert 78 == command.process.returncode, command.text
    said = [line for line in command.output if not line.startswith("{")]
    assert 1 == len(said), command.text
    assert said[0].startswith("dragonfly: ")
    for word in words:
        assert word in said[0]
    assert "Traceback" not in command.text


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nobody", ("There is no worker 'nobody'", "all, simplicity-ingest")),
        ("no.such.module:worker", ("'no.such.module:worker' cannot be loaded",)),
        ("tests.process.scripted:nothing", ("cannot be loaded", "nothing")),
        ("tests.process.scripted:SLOTS", ("is a int, not a dragonfly.Worker",)),
    ],
)
async def test_an_unknown_worker(dsn: str, name: str, words: tuple[str, ...]) -> None:
    """A worker that cannot be found is named, and so is what would do."""
    refused(await run_to_end(dsn, "run", "--workers", name), *words)


async def test_two_workers_of_one_job_type(dsn: str, tmp_path: Path) -> None:
    """Two workers that take the same job type cannot run in one process."""
    (tmp_path / "double.py").write_text(
        "from dragonfly import Job, Worker\n"
        "one, two = Worker('one'), Worker('two')\n"
        "@one.job('same')\n@two.job('same')\nasync def same(job: Job[dict]) -> None: ...\n"
    )

    command = await run_to_end(dsn, "run", "--workers", "double:one,double:two", cwd=tmp_path)

    refused(command, "Both one and two take 'same' jobs")


async def test_an_unmigrated_schema(server: str) -> None:
    """A database without the schema is refused with the command that mends it."""
    admin = await asyncpg.connect(server)
    await admin.execute("CREATE DATABASE dragonfly_empty")
    try:
        command = await run_to_end(
            database_dsn(server, "dragonfly_empty"), "run", "--workers", SCRIPTED
        )
    finally:
        await admin.execute("DROP DATABASE dragonfly_empty WITH (FORCE)")
        await admin.close()

    refused(command, "dragonfly migrate")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("mysql://u:hunter2@localhost/x", ("must start with postgresql://",)),
        ("postgresql://u:hunter2@localhost:port/x", ("SUPABASE_DB_URL_DEV", "malformed")),
        ("postgresql://u:hun#ter2@localhost/x", ("percent-encoded",)),
        ("postgresql://u:hunter2@/x", ("names no host",)),
    ],
)
async def test_a_malformed_address(address: str, words: tuple[str, ...]) -> None:
    """An address that cannot be read is refused without showing its password."""
    command = await run_to_end(address, "run", "--workers", SCRIPTED)

    refused(command, *words)
    assert "hunter2" not in command.text
    assert "ter2" not in command.text


async def test_no_address_in_prod(tmp_path: Path) -> None:
    """prod without an address is refused before anything is tried."""
    command = await run_to_end(
        None, "run", "--workers", SCRIPTED, cwd=tmp_path, env={"SUPABASE_MODE": "prod"}
    )

    refused(command, "SUPABASE_DB_URL_PROD is not set")


async def test_a_setting_out_of_bounds(dsn: str) -> None:
    """A lease shorter than three heartbeats is refused with the names of both settings."""
    command = await run_to_end(
        dsn,
        "run",
        "--workers",
        SCRIPTED,
        env={"DRAGONFLY_LEASE_SECONDS": "1", "DRAGONFLY_HEARTBEAT_SECONDS": "1"},
    )

    refused(command, "DRAGONFLY_LEASE_SECONDS", "DRAGONFLY_HEARTBEAT_SECONDS")


async def test_a_refused_login_and_a_missing_database() -> None:
    """A wrong password is tried once; neither it nor the wrong database shows the password."""
    port = free_port()
    async with own_server(migrated=False) as server:
        await server.stop()
        server.listen_on(port)
        await server.start()
        admin = await asyncpg.connect(server.dsn)
        await admin.execute("CREATE ROLE runner LOGIN PASSWORD 'right-one'")
        await admin.close()
        wrong = await run_to_end(
            f"postgresql://runner:hunter2@127.0.0.1:{port}/postgres", "run", "--workers", SCRIPTED
        )
        missing = await run_to_end(
            f"postgresql://runner:right-one@127.0.0.1:{port}/nowhere", "run", "--workers", SCRIPTED
        )
        tries = server.log().count('password authentication failed for user "runner"')

    refused(wrong, "refused the login")
    refused(missing, f"127.0.0.1:{port}/nowhere does not exist")
    assert 1 == tries
    assert "hunter2" not in wrong.text
    assert "right-one" not in missing.text
