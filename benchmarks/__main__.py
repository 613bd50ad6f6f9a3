"""``python -m benchmarks``: drain rate and pick-up latency beside a bare loop, in one run.

One embedded server for all, default settings; rounds are interleaved, figures are medians; only
the ratios count, for absolute figures move with the machine.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import asyncpg
import click

from benchmarks.contestants import CONTESTANTS, JOB_TYPE
from dragonfly.postgres.embedded import embedded_server
from dragonfly.queue.migrate import migrate
from dragonfly.queue.store import enqueue, enqueue_many

PICKUP_EVERY_SECONDS = 0.02


@click.command()
@click.option("--jobs", default=100_000, show_default=True, help="Jobs to drain in each round.")
@click.option("--pickups", default=500, show_default=True, help="Lone jobs in each round.")
@click.option("--rounds", default=5, show_default=True)
def main(jobs: int, pickups: int, rounds: int) -> None:
    """Measure Dragonfly beside a bare asyncpg claim-and-finish loop."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    click.echo(f"load before: {load:.2f} on {os.cpu_count()} processors (should be near 0)")
    with (
        tempfile.TemporaryDirectory(prefix="dragonfly-bench-") as folder,
        embedded_server(Path(folder) / "pg") as dsn,
    ):
        asyncio.run(_compare(dsn, jobs, pickups, rounds))


async def _compare(dsn: str, jobs: int, pickups: int, rounds: int) -> None:
    conn = await asyncpg.connect(dsn)
    await migrate(conn)
    rates: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
    waits: dict[str, list[tuple[float, float]]] = {name: [] for name in CONTESTANTS}
    for _ in range(rounds):
        for name in CONTESTANTS:
            rates[name].append(await _drain(conn, dsn, name, jobs))
            waits[name].append(await _pickup(conn, dsn, name, pickups))
    await conn.close()
    _report(f"drain of {jobs:,} jobs, jobs/s", rates, "{:,.0f}")
    _report("pick-up p50, ms", {n: [p50 for p50, _ in w] for n, w in waits.items()}, "{:.2f}")
    _report("pick-up p99, ms", {n: [p99 for _, p99 in w] for n, w in waits.items()}, "{:.2f}")


async def _prepare(conn: asyncpg.Connection) -> None:
    await conn.execute("TRUNCATE ops.jobs, ops.worker_heartbeats")


async def _drain(conn: asyncpg.Connection, dsn: str, name: str, jobs: int) -> float:
    """Jobs a second, from the first one's start to the last one's durable finish."""
    await _prepare(conn)
    await enqueue_many(conn, JOB_TYPE, [{"n": n, "padding": "x" * 80} for n in range(jobs)])
    await conn.execute("VACUUM ANALYZE ops.jobs")
    await conn.execute("CHECKPOINT")
    contestant = await _start(name, "drain", dsn, jobs)
    answer = await _line(contestant)
    await contestant.wait()
    finished = await conn.fetchval("SELECT count(*) FROM ops.jobs WHERE status = 'completed'")
    if finished != jobs:
        raise RuntimeError(f"{name} finished {finished} of {jobs} jobs")
    return jobs / ((int(answer["last"]) - int(answer["first"])) / 1e9)


async def _pickup(
    conn: asyncpg.Connection, dsn: str, name: str, count: int
) -> tuple[float, float]:
    """Milliseconds from the return of enqueue() to the handler's start: p50 and p99."""
    await _prepare(conn)
    contestant = await _start(name, "pickup", dsn, count)
    await _line(contestant)
    returned: dict[str, int] = {}
    for n in range(count):
        due = time.monotonic() + PICKUP_EVERY_SECONDS
        await enqueue(conn, JOB_TYPE, {"n": n})
        returned[str(n)] = time.monotonic_ns()
        await asyncio.sleep(max(0.0, due - time.monotonic()))
    started = (await _line(contestant))["started"]
    await contestant.wait()
    waits = sorted((started[n] - stamp) / 1e6 for n, stamp in returned.items())
    return waits[len(waits) // 2], waits[int(len(waits) * 0.99)]


async def _start(name: str, work: str, dsn: str, count: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.contestants",
        name,
        work,
        dsn,
        str(count),
        stdout=subprocess.PIPE,
        limit=2**24,
    )


async def _line(process: asyncio.subprocess.Process) -> dict[str, Any]:
    if process.stdout is None:
        raise RuntimeError("the contestant has no output")
    line = await process.stdout.readline()
    if not line:
        raise RuntimeError("the contestant ended without an answer")
    answer: dict[str, Any] = json.loads(line)
    return answer


def _report(title: str, figures: dict[str, Sequence[float]] | Any, form: str) -> None:
    click.echo(f"\n{title}")
    floor = statistics.median(figures["bare loop"])
    for name, values in figures.items():
        median = statistics.median(values)
        span = f"{form.format(min(values))} .. {form.format(max(values))}"
        ratio = median / floor
        click.echo(f"  {name:<12} median {form.format(median):>10}   {span:<24} ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
