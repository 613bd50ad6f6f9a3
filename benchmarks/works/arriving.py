"""W4: how soon a lone job starts, once it is there or once it is due."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterable
from typing import Any

from benchmarks.bench import Bench
from benchmarks.figures import Metric
from benchmarks.peers import Peer
from benchmarks.running import answer

P50 = Metric("W4 pick-up p50, ms", "{:,.2f}")
P99 = Metric("W4 pick-up p99, ms", "{:,.2f}")
DUE_P50 = Metric("W4S start after run_at p50, ms", "{:,.2f}")
DUE_P99 = Metric("W4S start after run_at p99, ms", "{:,.2f}")

PICKUP_EVERY_SECONDS = 0.02
AHEAD_SECONDS = (0.3, 1.0)
BATCH = 50


async def w4_pickup(bench: Bench, peer: Peer) -> None:
    """From the return of the enqueue call in one process to the handler's start in another."""
    ring = {"count": bench.sizes.pickups, "every": PICKUP_EVERY_SECONDS}
    told, stamps = await _told_and_started(bench, peer, "ring", ring)
    waits = ((start - end) / 1e6 for start, end in zip(stamps, told["returned"], strict=True))
    _keep(bench, peer, waits, P50, P99)


async def w4_scheduled(bench: Bench, peer: Peer) -> None:
    """From a job's run_at, 0.3 to 1 s after it was added, to its handler's start.

    The jobs are added in batches, and nothing is added while one is due, for every wake-up would
    be a look at the queue. Whoever finds due jobs by polling alone polls ten times a second, or as
    often as it can: more than anybody lets it idle.
    """
    count = bench.sizes.pickups
    plan = {"count": count, "batch": BATCH, "offsets": offsets(count)}
    told, stamps = await _told_and_started(bench, peer, "plan", plan, timely=True)
    # run_at is wall time, the stamps are monotonic, and both are clocks of this machine
    skew = time.time_ns() - time.monotonic_ns()
    waits = (
        (start + skew) / 1e6 - due * 1e3 for start, due in zip(stamps, told["due"], strict=True)
    )
    _keep(bench, peer, waits, DUE_P50, DUE_P99)


def offsets(count: int) -> list[float]:
    """Seconds from a batch's begin to each job's run_at, whole milliseconds, the same for all."""
    chance = random.Random(1)
    return [round(chance.uniform(*AHEAD_SECONDS), 3) for _ in range(count)]


def percentile(values: Iterable[float], part: float) -> float:
    """The value below which ``part`` of the values lie, one of them."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(len(ranked) * part))]


async def _told_and_started(
    bench: Bench, peer: Peer, word: str, options: dict[str, Any], **work: Any
) -> tuple[dict[str, list[float]], list[int]]:
    """What the enqueuing driver says, and when each job started (monotonic, ns)."""
    async with bench.stage.copy_of(await bench.template(peer)) as database:
        dsn = bench.stage.address(database)
        count = options["count"]
        async with bench.workers(peer, database, count=count, stamps=True, **work) as (worker,):
            await asyncio.sleep(bench.sizes.settle_seconds)
            told = await answer(peer, bench.cache, word, dsn, **options)
            return told, (await worker.line())["stamps"]


def _keep(bench: Bench, peer: Peer, waits: Iterable[float], p50: Metric, p99: Metric) -> None:
    known = list(waits)
    bench.figures.add(p50, peer.name, percentile(known, 0.5))
    bench.figures.add(p99, peer.name, percentile(known, 0.99))
