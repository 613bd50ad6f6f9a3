"""W2 and W3: jobs enqueued beforehand, until the last one is durably finished."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import asyncpg

from benchmarks.bench import Bench
from benchmarks.drivers.protocol import EFFECTS
from benchmarks.figures import Metric
from benchmarks.peers import BARE, DRAGONFLY, Peer
from benchmarks.running import Driver

DRAIN = Metric("W2 drain, one process, jobs/s", "{:,.0f}", more_is_better=True)
WORKER = Metric("W2 worker's processor time a job, µs", "{:.1f}")
SERVER = Metric("W2 server's processor time a job, µs", "{:.1f}")
WAL = Metric("W2 write-ahead log a job, bytes", "{:,.0f}")
UNTOUCHED = Metric("W2D drain, nothing tuned, jobs/s", "{:,.0f}", more_is_better=True)
TRANSACTIONS = Metric("W2T drain, a transaction each, jobs/s", "{:,.0f}", more_is_better=True)
EACH_WORKER = Metric("W2T worker's processor time a job, µs", "{:.1f}")
EACH_SERVER = Metric("W2T server's processor time a job, µs", "{:.1f}")
TWO = Metric("W3 drain, two processes, jobs/s", "{:,.0f}", more_is_better=True)
TWO_WORKERS = Metric("W3 workers' processor time a job, µs", "{:.1f}")
TWO_SERVER = Metric("W3 server's processor time a job, µs", "{:.1f}")
SHARE = Metric("W3 share of who did less, %", "{:.0f}", more_is_better=True)

REPORTS = 100
TRANSACTION_SLOTS = 10
CHECK_EVERY_SECONDS = 0.002


@dataclass(frozen=True, slots=True)
class Drained:
    """One drain: jobs a second, what each job cost, and each process's part of the jobs."""

    rate: float
    worker_us: float
    server_us: float
    wal_bytes: float
    shares: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Span:
    """Seconds of the monotonic clock at the first start and the last finish; starts by process."""

    first: float
    last: float
    started: tuple[int, ...]


async def drain(
    bench: Bench,
    peer: Peer,
    jobs: int,
    processes: int = 1,
    *,
    padding: int = 80,
    setup: str | None = None,
    **options: Any,
) -> Drained:
    """From the first job's start until the database has no unfinished job, the last one durable."""
    template = await bench.template(peer, (jobs, "now"), padding=padding)
    step = max(1, jobs // REPORTS)
    async with bench.stage.copy_of(template) as database:
        if setup:
            await _execute(bench, database, setup)
        wal, server = await bench.stage.wal_bytes(), bench.stage.cpu_seconds()
        async with bench.workers(peer, database, processes, step=step, **options) as drivers:
            before = sum(running.cpu_seconds() for running in drivers)
            span = await _first_to_last(bench, peer, database, drivers, jobs)
            worker = sum(running.cpu_seconds() for running in drivers) - before
            # while the sessions live: one that is just ending could be missed
            server = bench.stage.cpu_seconds() - server
            wal = await bench.stage.wal_bytes() - wal
    return Drained(
        jobs / (span.last - span.first),
        worker / jobs * 1e6,
        server / jobs * 1e6,
        wal / jobs,
        tuple(many / sum(span.started) for many in span.started),
    )


async def _execute(bench: Bench, database: str, sql: str) -> None:
    conn = await asyncpg.connect(bench.stage.address(database))
    await conn.execute(sql)
    await conn.close()


async def _first_to_last(
    bench: Bench, peer: Peer, database: str, drivers: list[Driver], jobs: int
) -> Span:
    """Wait for the last starts to be told of, then ask until no job is left unfinished."""
    step = max(1, jobs // REPORTS)
    started = [0] * len(drivers)
    firsts: list[int] = []

    async def listen(index: int) -> None:
        while sum(started) < jobs - (step - 1) * len(drivers):
            line = await drivers[index].line()
            if not started[index]:
                firsts.append(line["at"])
            started[index] = line["started"]
        finished.set()

    finished = asyncio.Event()
    listeners = [asyncio.create_task(listen(index)) for index in range(len(drivers))]
    done = asyncio.create_task(finished.wait())
    try:
        await asyncio.wait([done, *listeners], return_when=asyncio.FIRST_COMPLETED)
        for listener in listeners:
            if listener.done():
                listener.result()
        await done
        return Span(min(firsts) / 1e9, await last_finish(bench, peer, database), tuple(started))
    finally:
        for task in (*listeners, done):
            task.cancel()


async def last_finish(bench: Bench, peer: Peer, database: str) -> float:
    """The moment at which no job was left unfinished, on the monotonic clock, in seconds.

    It is when the question was put, not when the answer came: looking through the table takes
    longer with those contestants that keep what they finished.
    """
    conn = await asyncpg.connect(bench.stage.address(database))
    try:
        while True:
            asked = time.monotonic()
            if not await conn.fetchval(peer.unfinished):
                return asked
            await asyncio.sleep(CHECK_EVERY_SECONDS)
    finally:
        await conn.close()


async def w2_drain(bench: Bench, peer: Peer) -> None:
    """One process, its best setting."""
    drained = await drain(bench, peer, bench.sizes.jobs // peer.slow)
    bench.figures.add(DRAIN, peer.name, drained.rate)
    bench.figures.add(WORKER, peer.name, drained.worker_us)
    bench.figures.add(SERVER, peer.name, drained.server_us)
    bench.figures.add(WAL, peer.name, drained.wal_bytes)


async def w2_untouched(bench: Bench, peer: Peer) -> None:
    """One process as it comes, nothing set by the user."""
    if not peer.untouched:
        return
    jobs = max(REPORTS, bench.sizes.jobs // peer.untouched)
    bench.figures.add(UNTOUCHED, peer.name, (await drain(bench, peer, jobs, tuned=False)).rate)


async def w2_transactions(bench: Bench, peer: Peer) -> None:
    """Each job writes one row and is finished by the same commit; ten at a time, no rivals.

    Bare has ten connections, each with its part of the jobs, which are claimed before the clock
    starts: BEGIN, INSERT, the finishing UPDATE, COMMIT.
    """
    if peer.name not in {DRAGONFLY, BARE}:
        return
    jobs = bench.sizes.transactions
    drained = await drain(bench, peer, jobs, setup=EFFECTS, transactions=TRANSACTION_SLOTS)
    bench.figures.add(TRANSACTIONS, peer.name, drained.rate)
    bench.figures.add(EACH_WORKER, peer.name, drained.worker_us)
    bench.figures.add(EACH_SERVER, peer.name, drained.server_us)


async def w3_two(bench: Bench, peer: Peer) -> None:
    """Two processes, twice the jobs."""
    jobs = 2 * bench.sizes.jobs // peer.slow
    drained = await drain(bench, peer, jobs, processes=2)
    bench.figures.add(TWO, peer.name, drained.rate)
    bench.figures.add(TWO_WORKERS, peer.name, drained.worker_us)
    bench.figures.add(TWO_SERVER, peer.name, drained.server_us)
    bench.figures.add(SHARE, peer.name, 100 * min(drained.shares))
