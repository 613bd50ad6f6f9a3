"""W1: what it costs to add a job, alone, in bulk, and from many connections at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import asyncpg

from benchmarks.bench import Bench
from benchmarks.drivers.protocol import JOB_TYPE
from benchmarks.figures import Metric
from benchmarks.peers import BARE, Peer
from benchmarks.running import answer, driver
from dragonfly.queue.sleepers import fall_asleep

ONES = Metric("W1 enqueue one at a time, jobs/s", "{:,.0f}", more_is_better=True)
BULK = Metric("W1 enqueue in bulk by 1,000, jobs/s", "{:,.0f}", more_is_better=True)
LISTENING = Metric("W1C enqueue by 10, a session listens, jobs/s", "{:,.0f}", more_is_better=True)
IDLING = Metric("W1C enqueue by 10, a worker idles, jobs/s", "{:,.0f}", more_is_better=True)

CONNECTIONS = 10
SILENT, RUNG = "bare without the trigger", "bare, rung each time"
_NO_TRIGGER = "ALTER TABLE ops.jobs DISABLE TRIGGER USER"


async def w1_enqueue(bench: Bench, peer: Peer) -> None:
    """Enqueue one at a time on one connection, and in bulk by 1,000."""
    ones, bulk = bench.sizes.ones // peer.slow, bench.sizes.jobs // 2 // peer.slow
    for metric, word, count in ((ONES, "ones", ones), (BULK, "fill", bulk)):
        async with bench.stage.copy_of(await bench.template(peer)) as database:
            dsn = bench.stage.address(database)
            took = await answer(peer, bench.cache, word, dsn, count=count)
        bench.figures.add(metric, peer.name, count / took["seconds"])


async def w1_crowd(bench: Bench, peer: Peer) -> None:
    """One job a transaction from ten connections of one process: the commits of a web service.

    First a plain session listens where the contestant tells of new jobs, then one of its workers
    instead. The worker takes another type, so it has nothing to do; some hear all, some look at the
    table each time. Bare has no worker, and is measured twice more: while somebody sleeps for the
    jobs, so that each commit rings, and without Dragonfly's trigger.
    """
    async with _prepared(bench, peer) as dsn, _listening(dsn, peer.channel):
        rate = await _crowd(bench, peer, dsn)
    bench.figures.add(LISTENING, peer.name, rate)
    if peer.name == BARE:
        bench.figures.add(IDLING, BARE, rate)
        async with _prepared(bench, peer) as dsn, _listening(dsn, peer.channel) as conn:
            await fall_asleep(conn, [JOB_TYPE])
            bench.figures.add(LISTENING, RUNG, await _crowd(bench, peer, dsn))
        async with _prepared(bench, peer, _NO_TRIGGER) as dsn, _listening(dsn, peer.channel):
            bench.figures.add(LISTENING, SILENT, await _crowd(bench, peer, dsn))
        return
    async with (
        _prepared(bench, peer) as dsn,
        driver(peer, bench.cache, "work", dsn, kind="other") as worker,
    ):
        await worker.line()
        await worker.go()
        await asyncio.sleep(bench.sizes.settle_seconds)
        bench.figures.add(IDLING, peer.name, await _crowd(bench, peer, dsn))


async def _crowd(bench: Bench, peer: Peer, dsn: str) -> float:
    count = bench.sizes.crowd // peer.slow
    options = {"count": count, "connections": CONNECTIONS}
    took = await answer(peer, bench.cache, "crowd", dsn, **options)
    rate: float = took["added"] / took["seconds"]
    return rate


@contextlib.asynccontextmanager
async def _prepared(bench: Bench, peer: Peer, setup: str | None = None) -> AsyncIterator[str]:
    async with bench.stage.copy_of(await bench.template(peer)) as database:
        dsn = bench.stage.address(database)
        if setup:
            conn = await asyncpg.connect(dsn)
            await conn.execute(setup)
            await conn.close()
        yield dsn


@contextlib.asynccontextmanager
async def _listening(dsn: str, channel: str) -> AsyncIterator[asyncpg.Connection]:
    conn = await asyncpg.connect(dsn)
    try:
        await conn.add_listener(channel, lambda *_: None)
        yield conn
    finally:
        await conn.close()
