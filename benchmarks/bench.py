"""What a run of the benchmark holds on to: how much each work does, templates, running workers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks.figures import Figures
from benchmarks.peers import PEERS, Peer
from benchmarks.running import Driver, answer, driver
from benchmarks.stage import Stage

FILL_BULK = 10_000
FILL_DRIVERS = 2
ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much each work does; ``Sizes()`` is what counts, QUICK only shows that all works."""

    jobs: int = 100_000
    ones: int = 20_000
    crowd: int = 10_000
    transactions: int = 30_000
    pickups: int = 500
    idle_seconds: float = 60.0
    backlog: int = 1_000_000
    backlog_jobs: int = 160_000
    dead: int = 100_000
    starts: int = 3
    soak: int = 2_000_000
    soak_step: int = 100_000
    soak_waiting: int = 50_000
    # how long a worker that has just begun is left alone before it is measured
    settle_seconds: float = 2.0
    # whether a curve of W7 has all its points, or only the first and the last
    all_points: bool = True
    # whether the server waits for its disk, and how many contestants run at once: but for a trial
    # one alone, on a server as it comes
    durable: bool = True
    at_once: int = 1


QUICK = Sizes(
    jobs=2_000,
    ones=100,
    crowd=500,
    transactions=500,
    pickups=50,
    idle_seconds=2.0,
    backlog=4_000,
    backlog_jobs=2_000,
    dead=2_000,
    starts=1,
    soak=20_000,
    soak_step=2_000,
    soak_waiting=4_000,
    settle_seconds=0.5,
    all_points=False,
    durable=False,
    at_once=3,
)


@dataclass(slots=True)
class Bench:
    """The server, the installed contestants, the sizes, and the figures so far."""

    stage: Stage
    cache: Path
    sizes: Sizes
    plots: Path
    figures: Figures = field(default_factory=Figures)
    _making: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def template(self, peer: Peer, *fills: tuple[int, str], padding: int = 80) -> str:
        """The database with the contestant's tables and these (count, kind) jobs, made once.

        Contestants on the same tables share it, so that both find the very same rows.
        """
        async with self._making:
            return await self._template(PEERS[peer.tables or peer.name], fills, padding)

    async def _template(self, owner: Peer, fills: Sequence[tuple[int, str]], padding: int) -> str:
        plain = owner.name
        if plain not in self.stage.templates:
            async with self.stage.new_template(plain) as dsn:
                await answer(owner, self.cache, "create", dsn)
        if not fills:
            return plain
        name = "_".join([plain, *(f"{n}{kind}" for n, kind in fills), f"{padding}"])
        if name not in self.stage.templates:
            async with self.stage.new_template(name, plain) as dsn:
                for count, kind in fills:
                    await self.fill(owner, dsn, count, kind, padding=padding)
        return name

    async def fill(self, peer: Peer, dsn: str, count: int, kind: str, **options: Any) -> None:
        """Add jobs in large steps; those that have ended by SQL, for nobody could end so many."""
        if kind == ENDED:
            conn = await asyncpg.connect(dsn)
            await conn.execute(peer.ended.format(count=count))
            await conn.close()
            return
        options |= {"kind": kind, "bulk": FILL_BULK}
        many = FILL_DRIVERS if count > FILL_DRIVERS * FILL_BULK else 1
        parts = [(count + number) // many for number in range(many)]
        await asyncio.gather(
            *(answer(peer, self.cache, "fill", dsn, count=part, **options) for part in parts)
        )

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
