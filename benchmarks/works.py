"""The works: each takes one contestant through one round and keeps its figures."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks.figures import Figures, Metric
from benchmarks.peers import PEERS, Peer
from benchmarks.running import Broken, Driver, answer, driver
from benchmarks.stage import Stage

RUN_SECONDS = 300.0
SETTLE_SECONDS = 2.0
REPORTS = 100
PICKUP_EVERY_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much each work does."""

    jobs: int = 100_000
    ones: int = 1_000
    pickups: int = 500
    idle_seconds: float = 30.0
    backlog: int = 500_000
    backlog_jobs: int = 20_000


@dataclass(slots=True)
class Bench:
    """What a run of the benchmark holds on to."""

    stage: Stage
    cache: Path
    sizes: Sizes
    figures: Figures = field(default_factory=Figures)

    async def template(self, peer: Peer, *fills: tuple[int, str], padding: int = 80) -> str:
        """The database with the contestant's tables and these (count, kind) jobs, made once."""
        parts = [peer.name, *(f"{n}{kind}" for n, kind in fills), f"{padding}"]
        name = "_".join(parts)
        if name not in self.stage.templates:
            await self.stage.admin.execute(f'CREATE DATABASE "{name}"')
            dsn = self.stage.address(name)
            await answer(peer, self.cache, "create", dsn)
            for n, kind in fills:
                await answer(peer, self.cache, "fill", dsn, count=n, kind=kind, padding=padding)
            await self.stage.vacuum(name)
            self.stage.templates.add(name)
        return name

    @contextlib.asynccontextmanager
    async def workers(
        self, peer: Peer, database: str, processes: int = 1, **options: Any
    ) -> AsyncIterator[list[Driver]]:
        """Drivers that have begun to work, all at the same moment."""
        dsn = self.stage.address(database)
        async with contextlib.AsyncExitStack() as stack:
            drivers = [
                await stack.enter_async_context(driver(peer, self.cache, "work", dsn, **options))
                for _ in range(processes)
            ]
            for running in drivers:
                await running.line()
            for running in drivers:
                await running.go()
            yield drivers


@dataclass(frozen=True, slots=True)
class Drained:
    """One drain: jobs a second, and what each job cost."""

    rate: float
    worker_us: float
    server_us: float
    wal_bytes: float


async def drain(
    bench: Bench,
    peer: Peer,
    jobs: int,
    processes: int = 1,
    *,
    padding: int = 80,
    **options: Any,
) -> Drained:
    """From the first job's start until the database has no unfinished job, the last one durable."""
    template = await bench.template(peer, (jobs, "now"), padding=padding)
    step = max(1, jobs // REPORTS)
    async with bench.stage.copy_of(template) as database:
        wal, server = await bench.stage.wal_bytes(), bench.stage.cpu_seconds()
        async with bench.workers(peer, database, processes, step=step, **options) as drivers:
            before = sum(running.cpu_seconds() for running in drivers)
            first, last = await _first_to_last(bench, peer, database, drivers, jobs)
            worker = sum(running.cpu_seconds() for running in drivers) - before
            # while the sessions live: one that is just ending could be missed
            server = bench.stage.cpu_seconds() - server
            wal = await bench.stage.wal_bytes() - wal
    return Drained(jobs / (last - first), worker / jobs * 1e6, server / jobs * 1e6, wal / jobs)


async def _first_to_last(
    bench: Bench, peer: Peer, database: str, drivers: list[Driver], jobs: int
) -> tuple[float, float]:
    """Seconds on the monotonic clock at the first start and at the last finish."""
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
    conn = await asyncpg.connect(bench.stage.address(database))
    try:
        done = asyncio.create_task(finished.wait())
        await asyncio.wait([done, *listeners], return_when=asyncio.FIRST_COMPLETED)
        for listener in listeners:
            if listener.done():
                listener.result()
        await done
        while await conn.fetchval(peer.unfinished):
            await asyncio.sleep(0.002)
        return min(firsts) / 1e9, time.monotonic()
    finally:
        for task in (*listeners, done):
            task.cancel()
        await conn.close()


async def w1_enqueue(bench: Bench, peer: Peer) -> None:
    """Enqueue one at a time on one connection, and in bulk by 1,000."""
    bulk = bench.sizes.jobs // 2 // peer.slow
    for metric, word, count in ((ONES, "ones", bench.sizes.ones), (BULK, "fill", bulk)):
        async with bench.stage.copy_of(await bench.template(peer)) as database:
            dsn = bench.stage.address(database)
            took = await answer(peer, bench.cache, word, dsn, count=count)
        bench.figures.add(metric, peer.name, count / took["seconds"])


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


async def w3_two(bench: Bench, peer: Peer) -> None:
    """Two processes, twice the jobs."""
    jobs = 2 * bench.sizes.jobs // peer.slow
    bench.figures.add(TWO, peer.name, (await drain(bench, peer, jobs, processes=2)).rate)


async def w4_pickup(bench: Bench, peer: Peer) -> None:
    """From the return of the enqueue call in one process to the handler's start in another."""
    count = bench.sizes.pickups
    async with bench.stage.copy_of(await bench.template(peer)) as database:
        dsn = bench.stage.address(database)
        async with bench.workers(peer, database, count=count, stamps=True) as (worker,):
            await asyncio.sleep(SETTLE_SECONDS)
            ring = {"count": count, "every": PICKUP_EVERY_SECONDS}
            returned = (await answer(peer, bench.cache, "ring", dsn, **ring))["returned"]
            stamps = (await worker.line())["stamps"]
    waits = sorted((start - end) / 1e6 for start, end in zip(stamps, returned, strict=True))
    bench.figures.add(P50, peer.name, waits[len(waits) // 2])
    bench.figures.add(P99, peer.name, waits[int(len(waits) * 0.99)])


async def w5_idle(bench: Bench, peer: Peer) -> None:
    """A worker with nothing to do: processor time, memory, transactions."""
    async with (
        bench.stage.copy_of(await bench.template(peer)) as database,
        bench.workers(peer, database) as (worker,),
    ):
        await asyncio.sleep(2 * SETTLE_SECONDS)
        cpu, ended = worker.cpu_seconds(), await bench.stage.transactions(database)
        await asyncio.sleep(bench.sizes.idle_seconds)
        cpu = worker.cpu_seconds() - cpu
        ended = await bench.stage.transactions(database) - ended
        memory = worker.resident_bytes() / 2**20
    bench.figures.add(IDLE_CPU, peer.name, cpu)
    bench.figures.add(IDLE_MEMORY, peer.name, memory)
    bench.figures.add(IDLE_TRANSACTIONS, peer.name, ended)


async def w6_backlog(bench: Bench, peer: Peer) -> None:
    """The rate of starts on the first jobs with many more in the table; none of the slow ones."""
    if peer.slow > 1:
        return
    jobs, backlog = bench.sizes.backlog_jobs, bench.sizes.backlog
    fills = {
        NO_BACKLOG: [(jobs, "now")],
        LATER_IN_FRONT: [(backlog, "later"), (jobs, "now")],
        OTHER_IN_FRONT: [(backlog, "other"), (jobs, "now")],
        MORE_BEHIND: [(jobs + backlog, "now")],
    }
    for metric, fill in fills.items():
        bench.figures.add(metric, peer.name, await start_rate(bench, peer, jobs, fill))


async def start_rate(bench: Bench, peer: Peer, jobs: int, fills: list[tuple[int, str]]) -> float:
    """Jobs a second over the second half of the first ``jobs`` starts, whatever lies behind them.

    A claim starts up to 2,000 jobs in one burst; half the jobs is a whole number of bursts.
    """
    template = await bench.template(peer, *fills)
    half = jobs // 2
    async with (
        bench.stage.copy_of(template) as database,
        bench.workers(peer, database, step=half) as (worker,),
    ):
        _, middle, end = [await worker.line() for _ in range(3)]
    seconds: float = (end["at"] - middle["at"]) / 1e9
    return half / seconds


ONES = Metric("W1 enqueue one at a time, jobs/s", "{:,.0f}", more_is_better=True)
BULK = Metric("W1 enqueue in bulk by 1,000, jobs/s", "{:,.0f}", more_is_better=True)
DRAIN = Metric("W2 drain, one process, jobs/s", "{:,.0f}", more_is_better=True)
WORKER = Metric("W2 worker's processor time a job, µs", "{:.1f}")
SERVER = Metric("W2 server's processor time a job, µs", "{:.1f}")
WAL = Metric("W2 write-ahead log a job, bytes", "{:,.0f}")
UNTOUCHED = Metric("W2 drain, nothing tuned, jobs/s", "{:,.0f}", more_is_better=True)
TWO = Metric("W3 drain, two processes, jobs/s", "{:,.0f}", more_is_better=True)
P50 = Metric("W4 pick-up p50, ms", "{:.2f}")
P99 = Metric("W4 pick-up p99, ms", "{:.2f}")
IDLE_CPU = Metric("W5 idle, processor seconds", "{:.2f}")
IDLE_MEMORY = Metric("W5 idle, resident MiB", "{:.0f}")
IDLE_TRANSACTIONS = Metric("W5 idle, transactions", "{:.0f}")
NO_BACKLOG = Metric("W6 starts, nothing else in the table, jobs/s", "{:,.0f}", True)
LATER_IN_FRONT = Metric("W6 starts, scheduled ones in front, jobs/s", "{:,.0f}", True)
OTHER_IN_FRONT = Metric("W6 starts, another type in front, jobs/s", "{:,.0f}", True)
MORE_BEHIND = Metric("W6 starts, more of the same behind, jobs/s", "{:,.0f}", True)

Work = Callable[[Bench, Peer], Awaitable[None]]
WORKS: dict[str, tuple[Work, ...]] = {
    "W1": (w1_enqueue,),
    "W2": (w2_drain,),
    "W2D": (w2_untouched,),
    "W3": (w3_two,),
    "W4": (w4_pickup,),
    "W5": (w5_idle,),
    "W6": (w6_backlog,),
}


async def attempt(bench: Bench, work: Work, peer: Peer) -> str | None:
    """Do one work once; the sentence that says why it failed, or None."""
    try:
        async with asyncio.timeout(RUN_SECONDS):
            await work(bench, peer)
    except Broken as broken:
        return f"{work.__name__}: {broken}"
    except TimeoutError:
        return f"{work.__name__}: {peer.name} took more than {RUN_SECONDS:.0f} s"
    return None


async def run(
    bench: Bench, names: list[str], works: list[str], rounds: int, tell: Callable[[str], None]
) -> None:
    """Each round takes every contestant through every work, so that drift hits all alike.

    Idling costs next to nothing, so all idle at the same time, each in a database of its own.
    """
    broken: set[tuple[Work, str]] = set()
    for number in range(rounds):
        for work in (each for name in works for each in WORKS[name]):
            peers = [PEERS[name] for name in names if (work, name) not in broken]
            began = time.monotonic()
            if work is w5_idle:
                for peer in peers:
                    await bench.template(peer)
                told = await asyncio.gather(*(attempt(bench, work, peer) for peer in peers))
            else:
                told = [await attempt(bench, work, peer) for peer in peers]
            for peer, sentence in zip(peers, told, strict=True):
                if sentence:
                    broken.add((work, peer.name))
                    tell(sentence)
            took = time.monotonic() - began
            tell(f"round {number + 1}: {work.__name__} {took:.0f} s, load {bench.stage.load():.1f}")
