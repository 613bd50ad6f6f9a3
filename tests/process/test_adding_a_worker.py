"""docs/adding-a-worker.md, done: its files in an empty folder, its commands, what they print."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from pathlib import Path

import asyncpg
import pytest

from tests import documents
from tests.documents import Step
from tests.support import until

TEXT = documents.read("adding-a-worker.md")
FOREVER = "dragonfly run --workers letters.worker:worker"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files of the page."""
    documents.write_files(TEXT, tmp_path)
    return tmp_path


@pytest.mark.timeout(400)  # a dozen processes, one after the other
async def test_the_page_does_what_it_says(
    dsn: str, conn: asyncpg.Connection, server: str, folder: Path
) -> None:
    """Each command of the page ends as told and prints what stands below it."""
    env = documents.environment(
        SUPABASE_DB_URL_DEV=dsn, DRAGONFLY_TEST_DSN=server, DRAGONFLY_BACKOFF_SCALE="0.01"
    )
    for step in documents.steps(TEXT):
        if step.commands == (FOREVER,):
            await _run_until_it_ticks(conn, folder, env)
        else:
            await asyncio.to_thread(_take, step, folder, env)


def test_the_page_is_read() -> None:
    """The steps and the files that the other test goes by are those of the page."""
    steps = documents.steps(TEXT)

    assert 11 == sum(len(step.commands) for step in steps)
    assert 5 == sum(step.output is not None for step in steps)
    assert (FOREVER,) in [step.commands for step in steps]


def _take(step: Step, folder: Path, env: dict[str, str]) -> None:
    for command in step.commands:
        done = documents.run(command, folder, env)
        # two letters fail, and a drain says so
        assert int(command.endswith("--drain")) == done.returncode, done.stdout + done.stderr
    if step.output is not None:
        assert documents.shows(step.output, done.stdout), f"{command} printed:\n{done.stdout}"


async def _run_until_it_ticks(conn: asyncpg.Connection, folder: Path, env: dict[str, str]) -> None:
    """Run the supervisor until its schedule stands in the table, then press Ctrl-C."""
    process = subprocess.Popen(
        documents.argv(FOREVER),
        cwd=folder,
        env=env | {"PORT": "0"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
    )
    try:
        await until(conn, "SELECT count(*) FROM ops.schedules", expected=1, seconds=60)
        os.kill(process.pid, signal.SIGINT)
        assert 0 == await asyncio.to_thread(process.wait, 60)
    finally:
        process.kill()
        process.wait()
