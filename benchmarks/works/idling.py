"""W5: what a worker with nothing to do costs."""

from __future__ import annotations

import asyncio

from benchmarks.bench import Bench
from benchmarks.figures import Metric
from benchmarks.peers import DRAGONFLY, Peer

CPU = Metric("W5 idle, processor time, % of one", "{:.3f}")
MEMORY = Metric("W5 idle, resident MiB", "{:.0f}")
TRANSACTIONS = Metric("W5 idle, transactions a second", "{:.2f}")

DRAGONFLY_WORKERS = 3


async def w5_idle(bench: Bench, peer: Peer) -> None:
    """One process with nothing to do; Dragonfly's has three workers, each of one type."""
    seconds = bench.sizes.idle_seconds
    workers = DRAGONFLY_WORKERS if peer.name == DRAGONFLY else 1
    async with (
        bench.stage.copy_of(await bench.template(peer)) as database,
        bench.workers(peer, database, workers=workers) as (worker,),
    ):
        await asyncio.sleep(2 * bench.sizes.settle_seconds)
        cpu, ended = worker.cpu_seconds(), await bench.stage.transactions(database)
        await asyncio.sleep(seconds)
        cpu = worker.cpu_seconds() - cpu
        ended = await bench.stage.transactions(database) - ended
        memory = worker.resident_bytes() / 2**20
    bench.figures.add(CPU, peer.name, 100 * cpu / seconds)
    bench.figures.add(MEMORY, peer.name, memory)
    bench.figures.add(TRANSACTIONS, peer.name, ended / seconds)
