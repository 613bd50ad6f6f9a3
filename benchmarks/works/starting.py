"""W8: how long the command and a fresh process take to be of use."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import asyncpg

from benchmarks.bench import Bench
from benchmarks.drivers.protocol import JOB_TYPE
from benchmarks.figures import Metric
from benchmarks.installing import ROOT
from benchmarks.peers import DRAGONFLY, Peer
from benchmarks.running import Broken, driver

HELP = Metric("W8 command --help, ms", "{:.0f}")
FIRST = Metric("W8 process start to first job, ms", "{:.0f}")

FLOOR = "python -c pass"
OWN_DRIVER = "dragonfly's driver"
WORKER = "benchmarks.drivers.greeter:worker"
LOOK_EVERY_SECONDS = 0.001
_ADD = "INSERT INTO ops.jobs (job_type) VALUES ($1) RETURNING id"
_IS_CLAIMED = "SELECT status <> 'pending' FROM ops.jobs WHERE id = $1"


async def w8_start(bench: Bench, peer: Peer) -> None:
    """From the start of a process until its first job runs, on a database that is ready.

    Dragonfly is its own command, ``dragonfly run`` with a worker module of a few lines, until the
    claim shows in the database; and ``dragonfly --help``. The others are their drivers, without a
    command line to parse, until the handler starts; so is Dragonfly once more. An empty Python is
    the floor of both.
    """
    async with bench.stage.copy_of(await bench.template(peer)) as database:
        dsn = bench.stage.address(database)
        for _ in range(bench.sizes.starts):
            by_driver = await _driver_start(bench, peer, dsn)
            if peer.name != DRAGONFLY:
                bench.figures.add(FIRST, peer.name, by_driver)
                continue
            bench.figures.add(FIRST, OWN_DRIVER, by_driver)
            floor = _wall_ms([sys.executable, "-c", "pass"])
            for metric in (HELP, FIRST):
                bench.figures.add(metric, FLOOR, floor)
            bench.figures.add(HELP, DRAGONFLY, _wall_ms([_script(), "--help"]))
            bench.figures.add(FIRST, DRAGONFLY, await _first_claim(dsn))


def _script() -> str:
    """The console script beside this Python."""
    return str(Path(sys.executable).with_name("dragonfly.exe" if os.name == "nt" else "dragonfly"))


def _wall_ms(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - began) * 1e3


async def _first_claim(dsn: str) -> float:
    """Milliseconds from the start of ``dragonfly run`` to its claim of the job that waits."""
    conn = await asyncpg.connect(dsn)
    job_id = await conn.fetchval(_ADD, JOB_TYPE)
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        _script(), "run", "--workers", WORKER,
        cwd=ROOT, env=_environment(dsn),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while not await conn.fetchval(_IS_CLAIMED, job_id):
            if process.returncode is not None:
                raise Broken(f"dragonfly run ended with exit code {process.returncode}")
            await asyncio.sleep(LOOK_EVERY_SECONDS)
        return (time.perf_counter() - began) * 1e3
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
        await conn.close()


def _environment(dsn: str) -> dict[str, str]:
    """This process's, without settings that somebody left in it."""
    plain = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DRAGONFLY_", "SUPABASE_"))
    }
    return {**plain, "SUPABASE_MODE": "dev", "SUPABASE_DB_URL_DEV": dsn, "PORT": "0"}


async def _driver_start(bench: Bench, peer: Peer, dsn: str) -> float:
    """Milliseconds from the start of a driver to the start of its handler."""
    await bench.fill(peer, dsn, 1, "now")
    began = time.monotonic_ns()
    async with driver(peer, bench.cache, "work", dsn) as running:
        await running.go()
        await running.line()
        started: int = (await running.line())["at"]
    return (started - began) / 1e6
