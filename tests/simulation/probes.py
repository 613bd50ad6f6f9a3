"""When all is calm: whoever sleeps is rung, or looks by itself, whatever has happened before.

What is drawn here comes from a generator of its own: the life before it stays the same.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from typing import TYPE_CHECKING

from tests.simulation.fate import HOUR, LATENCY_MOST, TYPES, Planned
from tests.simulation.handlers import WORKERS
from tests.simulation.rows import MICRO

if TYPE_CHECKING:
    from tests.simulation.incarnation import Incarnation
    from tests.simulation.world import World

# so long after the commit a job is claimed (docs/architecture.md, "Who is rung"), and what the ring
# and the statements before the claim may travel: both workers' claims, and what the listener asks
PROMISED_SECONDS = 0.25
TRAVELS_MOST = 12
BOUND_SECONDS = PROMISED_SECONDS + TRAVELS_MOST * LATENCY_MOST
# what was asked before all was well has its answer, or its bound, by then
SETTLED_SECONDS = 20.0
REST_MOST_SECONDS = 6 * HOUR
ROUNDS = 4
OPEN_SECONDS = (0.0, 0.1, 1.0)


class Probes:
    """Clients whose jobs must be claimed at once, by workers that sleep or just fall asleep."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.server = world.server
        self.loop = world.loop
        self.rng = random.Random(f"probes of {world.fate.seed}")
        self.due: dict[int, float] = {}  # jobs to be judged
        self.shut: set[tuple[str, str]] = set()  # processes, and types that they do not claim

    async def run(self) -> None:
        """Round for round, each from rest to rest."""
        await asyncio.sleep(SETTLED_SECONDS)
        for number in range(ROUNDS):
            if not await self._until_at_rest():
                return
            await asyncio.gather(*self._clients(number), self._harm(number))
            await self.world.eventually()
            self._judge()
            await asyncio.sleep(self.rng.choice((0.0, 0.0, 0.3, 5.0, 31.0)))

    # --- rest -----------------------------------------------------------------------------------

    async def _until_at_rest(self) -> bool:
        """Wait until nothing keeps a job from being claimed at once."""
        deadline = self.loop.now + REST_MOST_SECONDS
        while not self._is_at_rest() or await self._heal():
            if self.loop.now > deadline:
                self.world.complain("a process does not come to rest although all is well")
                return False
            await asyncio.sleep(1.0)
            self.world.mend()
        return True

    def _is_at_rest(self) -> bool:
        living = self.world.living
        return len(living) == self.world.fate.processes and all(each.is_at_rest for each in living)

    async def _heal(self) -> bool:
        """A circuit closes by a job of its type, and by nothing else; False if all are closed."""
        living = self.world.living
        self.shut = {(p.name, kind) for p in living for kind in TYPES if p.watch.is_shut(kind)}
        all_shut = [kind for kind in TYPES if all((p.name, kind) in self.shut for p in living)]
        for job_type in all_shut:
            await self.server.enqueue(self._planned(job_type))
        await self.world.eventually()
        return bool(all_shut)

    # --- clients, and what befalls the listener -------------------------------------------------

    def _clients(self, number: int) -> list[Coroutine[None, None, object]]:
        """First one for each type, then such as meet workers that fall asleep."""
        if number:
            return [self._follow() for _ in range(self.rng.choice((1, 2, 3)))]
        seconds = self.rng.sample(OPEN_SECONDS, len(TYPES))
        return [self._enqueue([kind], each) for kind, each in zip(TYPES, seconds, strict=True)]

    def _planned(self, job_type: str, open_seconds: float = 0.0, delay: float = 0.0) -> Planned:
        return Planned(0.0, job_type, 0, delay, None, None, open_seconds)

    async def _enqueue(
        self, job_types: list[str], open_seconds: float, delay: float = 0.0
    ) -> list[int]:
        planned = [self._planned(each, open_seconds, delay) for each in job_types]
        made = await self.server.enqueue(*planned)
        self.due |= {job_id: self.server.job(job_id).due[0] / MICRO for job_id in made}
        return made

    async def _follow(self) -> None:
        """A client that adds a job when another one ends: just then a worker falls asleep."""
        rng = self.rng
        for _ in range(rng.choice((1, 3, 6))):
            await asyncio.sleep(rng.choice((0.0, 0.005, 0.04, 2.0)) * rng.random())
            types = rng.sample(TYPES, rng.choice((1, 2, 3)))
            made = await self._enqueue(types, rng.choice(OPEN_SECONDS), rng.choice((0.0, 0.0, 1.5)))
            if rng.random() < 0.5:
                await self._until_ended(rng.choice(made))

    async def _until_ended(self, job_id: int) -> None:
        while job_id not in self.server.ended:
            self.server.one_ended.clear()
            await self.server.one_ended.wait()

    async def _harm(self, number: int) -> None:
        """The session that listens is ended, or a process replaced; just then somebody enqueues."""
        rng, victim = self.rng, self.rng.choice(self.world.living)
        what = rng.choice(("nothing", "nothing", "cut", "stop")) if number else "nothing"
        if what == "nothing":
            return
        await asyncio.sleep(rng.choice((0.0, 2.0)) * rng.random())
        self.server.one_listens.clear()
        if what == "cut":
            victim.cut_listener()
        else:
            victim.stop("SIGTERM")
        await self.server.one_listens.wait()
        await asyncio.sleep(0.01 * rng.random())
        await self._enqueue(list(TYPES), 0.0)

    # --- the promise ----------------------------------------------------------------------------

    def _judge(self) -> None:
        for job_id, due in self.due.items():
            if (late := self._lateness(job_id, due)) > BOUND_SECONDS:
                self.world.complain(f"job {job_id} lay for {late:.3f} s, and somebody slept")
        self.due.clear()

    def _lateness(self, job_id: int, due: float) -> float:
        """From when it could be claimed until it was."""
        claimed_at = next(each.at for each in self.server.claims if each.job_id == job_id)
        kind = self.server.job(job_id).job_type
        able = [self._able_since(each, kind, claimed_at) for each in self.world.living]
        return claimed_at - max(due, min(able, default=claimed_at))

    def _able_since(self, process: Incarnation, job_type: str, until: float) -> float:
        """Since when it hears, and has a slot for this type that nothing runs in."""
        since, running = process.hears_since, 0
        if since is None or (process.name, job_type) in self.shut:
            return until
        worker = next(name for name, types in WORKERS.items() if job_type in types)
        tries = [each for each in process.watch.attempts if each.worker == worker]
        steps = [(each.started, 1) for each in tries] + [(each.ended_at, -1) for each in tries]
        for at, step in sorted(each for each in steps if each[0] < until):
            running += step
            if step < 0 and running == self.world.fate.slots[worker] - 1:
                since = max(since, at)
        return since if running < self.world.fate.slots[worker] else until
