"""What a process prints: JSON for machines, text for a person at a terminal."""

from __future__ import annotations

import asyncio
import os
import pty
import sys

import asyncpg

from dragonfly import enqueue
from tests.process.launch import ROOT, environment, run_to_end

ONCE = ("run", "--workers", "tests.process.scripted:worker", "--once")


async def test_lines_are_json_away_from_a_terminal(traced: str, conn: asyncpg.Connection) -> None:
    """Each line is one JSON object with level, message and time; those of jobs name the job."""
    job_id = await enqueue(conn, "script", {"do": "raise", "secret": "hunter2"})

    command = await run_to_end(traced, *ONCE)

    assert 1 == command.process.returncode
    assert len(command.lines) == len(command.output) > 3
    for line in command.lines:
        assert {"level", "message", "time"} <= line.keys()
        assert line["level"] in {"info", "warning", "error"}
    (about,) = [line for line in command.lines if line.get("event") == "JobFinished"]
    assert (job_id, "script", "warning") == (about["job_id"], about["job_type"], about["level"])
    assert "hunter2" not in command.text


async def test_debug_shows_every_job(traced: str, conn: asyncpg.Connection) -> None:
    """With --debug the claim, the start and the end of a job have lines."""
    await enqueue(conn, "script", {"do": "return"})

    command = await run_to_end(traced, *ONCE, "--debug")

    debug = [line["event"] for line in command.lines if line["level"] == "debug"]
    assert ["JobsClaimed", "JobStarted", "JobFinished"] == debug


async def test_lines_are_text_on_a_terminal(traced: str) -> None:
    """On a terminal the same lines are plain text with the time and the level."""
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "dragonfly", *ONCE, cwd=ROOT,
        env=environment(traced, PYTHONPATH=str(ROOT)), stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    shown = await asyncio.to_thread(read_all, ours)

    assert 0 == await process.wait()
    assert "{" not in shown
    assert "INFO" in shown
    assert "scripted: started as" in shown


def read_all(terminal: int) -> str:
    """Everything that was written to the terminal."""
    parts = []
    try:
        while part := os.read(terminal, 4096):
            parts.append(part)
    except OSError:  # Linux says so when the other side is closed
        pass
    os.close(terminal)
    return b"".join(parts).decode()
