"""W4: how soon a lone job starts, once it is there or once it is due."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterable
from contextlib import AsyncExitStack
from typing import Any

import asyncpg

from benchmarks.bench import Bench
from benchmarks.drivers.protocol import JOB_TYPE
from benchmarks.figures import Metric
from benchmarks.peers import DRAGONFLY, Peer
from benchmarks.running import answer

P50 = Metric("W4 pick-up p50, ms", "{:,.2f}")
P99 = Metric("W4 pick-up p99, ms", "{:,.2f}")
DUE_P50 = Metric("W4S start after run_at p50, ms", "{:,.2f}")
DUE_P99 = Metric("W4S start after run_at p99, ms", "{:,.2f}")
UNHEARD_P50 = Metric("W4U start after a commit that rang nobody p50, ms", "{:,.0f}")
UNHEARD_MOST = Metric("W4U start after a commit that rang nobody, most, ms", "{:,.0f}")

PICKUP_EVERY_SECONDS = 0.02
AHEAD_SECONDS = (0.3, 1.0)
BATCH = 50
# W4U: a connection each
UNHEARD_MOST_JOBS = 40
UNHEARD_EVERY_SECONDS = (0.25, 0.45)
_ADD = "INSERT INTO ops.jobs (job_type, payload) VALUES ($1, jsonb_build_object('n', $2::integer))"


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


async def w4_unheard(bench: Bench, peer: Peer) -> None:
    """From a commit to the start of its job, inserted while nobody slept who could be rung.

    The transactions were open when the worker fell asleep, and are committed one by one; the worst
    that may befall a job if INSERTs ring only sleepers. Dragonfly alone.
    """
    if peer.name != DRAGONFLY:
        return
    count = min(UNHEARD_MOST_JOBS, bench.sizes.pickups)
    chance = random.Random(2)
    async with (
        bench.stage.copy_of(await bench.template(peer)) as database,
        AsyncExitStack() as stack,
    ):
        clients = [await asyncpg.connect(bench.stage.address(database)) for _ in range(count)]
        for number, client in enumerate(clients):
            stack.push_async_callback(client.close)
            await client.execute("BEGIN")
            await client.execute(_ADD, JOB_TYPE, number)
        committed = []
        async with bench.workers(peer, database, count=count, stamps=True) as (worker,):
            await asyncio.sleep(bench.sizes.settle_seconds)
            for client in clients:
                await asyncio.sleep(chance.uniform(*UNHEARD_EVERY_SECONDS))
                await client.execute("COMMIT")
                committed.append(time.monotonic_ns())
            stamps = (await worker.line())["stamps"]
    waits = [(start - end) / 1e6 for start, end in zip(stamps, committed, strict=True)]
    bench.figures.add(UNHEARD_P50, peer.name, percentile(waits, 0.5))
    bench.figures.add(UNHEARD_MOST, peer.name, max(waits))


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
