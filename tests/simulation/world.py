"""A run: processes, their platform, clients and troubles; then quiet, and the checks."""

from __future__ import annotations

import asyncio
import math
import random
import secrets
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from typing import Any
from unittest import mock
from weakref import WeakSet

import asyncpg

from dragonfly.postgres import bounds, closing, sessions
from dragonfly.runtime import pace
from dragonfly.runtime.process import Mode, Process
from dragonfly.runtime.stalls import StallGuard
from tests.simulation.connections import Network
from tests.simulation.fate import HOUR, Event, Fate, Planned, Trouble
from tests.simulation.handlers import Attempt, End
from tests.simulation.incarnation import Incarnation
from tests.simulation.loop import EachProcess, VirtualLoop, virtual_time
from tests.simulation.probes import Probes
from tests.simulation.server import Server

EVENTUALLY_SECONDS = 6 * HOUR
PLATFORM_SECONDS = 5.0


@dataclass(eq=False)
class World:
    """Everything of one run."""

    fate: Fate
    loop: VirtualLoop = field(init=False)
    broken: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.loop = VirtualLoop(self.fate.rng)
        self.server = Server(self.loop, self.fate)
        self.server.complain = self.complain
        self.network = Network(self.server)
        self.living: list[Incarnation] = []
        self.all: list[Incarnation] = []
        self.unmended: list[Incarnation] = []  # began before all was well
        self.wall = 1.7e9
        self.trace: list[str] = []

    def complain(self, sentence: str) -> None:
        self.broken.append(f"{self.loop.now - 100_000:.3f} s: {sentence}")

    # --- the run --------------------------------------------------------------------------------

    async def live(self) -> None:
        keepers = [
            self.loop.create_task(self._keep(number)) for number in range(self.fate.processes)
        ]
        clients = [self.loop.create_task(self._enqueue(each)) for each in self.fate.jobs]
        troubles = [self.loop.create_task(self._befall(each)) for each in self.fate.events]
        await asyncio.gather(*clients, *troubles)
        self._calm()
        await self.eventually()
        await Probes(self).run()
        self.closing = True
        for incarnation in self.living:
            incarnation.stop("SIGTERM")
        await asyncio.gather(*keepers)
        for incarnation in self.all:
            await incarnation.bury()

    closing = False

    async def _keep(self, number: int) -> None:
        """The platform: a process that ends is started anew."""
        mode, life = self.fate.mode, 0
        while not self.closing:
            name = f"process-{number}.{life}"
            incarnation = Incarnation(self, name, mode, self.complain)
            self.all.append(incarnation)
            self.living.append(incarnation)
            await incarnation.over.wait()
            self.living.remove(incarnation)
            mode, life = Mode.FOREVER, life + 1
            if not self.closing:
                await asyncio.sleep(PLATFORM_SECONDS)

    async def _enqueue(self, planned: Planned) -> None:
        await asyncio.sleep(planned.at)
        await self.server.enqueue(planned)

    async def eventually(self) -> None:
        """With nothing bad happening any more, every job comes to its end."""
        deadline = self.loop.now + EVENTUALLY_SECONDS
        while left := [job for job in self.server.all() if job.status in {"pending", "processing"}]:
            if self.loop.now > deadline:
                self.complain(f"jobs that never end: {[(job.id, job.status) for job in left]}")
                return
            await asyncio.sleep(5.0)
            self.mend()

    def _calm(self) -> None:
        server = self.server
        self.fate.quiet = True
        server.refusing = server.silent = server.refusing_logins = False
        server.refused, server.error_rate = frozenset(), 0.0
        server.model.paused.clear()
        self.unmended = list(self.living)
        self.mend()

    def mend(self) -> None:
        """Whoever mended a worker deploys; it may be given up late, for what began before."""
        for incarnation in [each for each in self.unmended if each.watch.given_up]:
            self.unmended.remove(incarnation)
            incarnation.stop("SIGTERM")

    # --- troubles -------------------------------------------------------------------------------

    async def _befall(self, event: Event) -> None:
        await asyncio.sleep(event.at)
        server = self.server
        match event.trouble:
            case Trouble.REFUSED:
                server.refusing = True
                for conn in list(server.connections):
                    conn.cut()
                await asyncio.sleep(event.seconds)
                server.refusing = False
            case Trouble.SILENT:
                server.silent = True
                await asyncio.sleep(event.seconds)
                server.silent = False
            case Trouble.LOGINS:
                server.refusing_logins = True
                for conn in self.fate.rng.sample(server.connections, len(server.connections) // 2):
                    conn.cut()
                await asyncio.sleep(event.seconds)
                server.refusing_logins = False
            case Trouble.GRANTS | Trouble.FINISHES:
                kind = "claims" if event.trouble is Trouble.GRANTS else "finishes"
                server.refused |= {kind}
                await asyncio.sleep(event.seconds)
                server.refused -= {kind}
            case Trouble.LOSSY:
                server.error_rate = 0.2
                await asyncio.sleep(event.seconds)
                server.error_rate = self.fate.error_rate
            case Trouble.CANCEL:
                await self._cancel_one()
            case Trouble.PAUSE:
                job_type = self.fate.rng.choice("abc")
                server.model.paused[job_type] = None
                await asyncio.sleep(event.seconds)
                server.model.paused.pop(job_type, None)
                server.notify("ops_jobs", job_type)
            case Trouble.WALL:
                self.wall += self.fate.rng.uniform(-HOUR, HOUR)
            case _:
                await self._harm_a_process(event)

    async def _cancel_one(self) -> None:
        jobs = [job.id for job in self.server.all() if job.status in {"pending", "processing"}]
        if jobs:
            job_id = self.fate.rng.choice(jobs)
            while not self.server.cancel(job_id):
                await asyncio.sleep(0.1)

    async def _harm_a_process(self, event: Event) -> None:
        if event.trouble is Trouble.SLEEP:
            for incarnation in self.living:
                incarnation.watch.disturb()
            self.loop.leap(event.seconds)
            return
        if not self.living:
            return
        victim = self.fate.rng.choice(self.living)
        match event.trouble:
            case Trouble.KILL:
                victim.die(137)
            case Trouble.FREEZE:
                victim.freeze(event.seconds)
            case Trouble.STOP:
                victim.stop("SIGTERM")
            case _:
                victim.stop("SIGTERM")
                await asyncio.sleep(self.fate.rng.choice((0.0, 0.001, 1.0, 10.0)))
                victim.stop("SIGTERM")


# --- finally ------------------------------------------------------------------------------------


def check(world: World) -> None:
    """What must hold of the whole history, when all is over."""
    attempts: dict[int, list[Attempt]] = {}
    for incarnation in world.all:
        for attempt in incarnation.watch.attempts:
            attempts.setdefault(attempt.job_id, []).append(attempt)
    server = world.server
    pairs = [(taken.job_id, taken.token) for taken in server.claims]
    if len(pairs) != len(set(pairs)):
        world.complain("a token is in two claims of a job")
    holders: dict[int, str] = {}
    for taken in server.claims:
        if holders.setdefault(taken.token, taken.holder) != taken.holder:
            world.complain("a token is in the hands of two workers")
    for job in server.all():
        _check_job(world, job.id, attempts.get(job.id, []))


def _check_job(world: World, job_id: int, attempts: list[Attempt]) -> None:
    server, job = world.server, world.server.job(job_id)
    if server.effects[job_id] > 1:
        world.complain(f"job {job_id} took effect {server.effects[job_id]} times")
    if server.effects[job_id] and job.status != "completed":
        world.complain(f"job {job_id} took effect and is {job.status}")
    if job.token is not None or job_id in server.locked:
        world.complain(f"job {job_id} is still held")
    charged = sum(attempt.charged for attempt in attempts)
    if job.attempts > charged + 1 or job.attempts < 0:
        world.complain(f"job {job_id} has {job.attempts} attempts, {charged} of them charged")
    succeeded = server.effects[job_id] or any(each.end is End.SUCCESS for each in attempts)
    if job.status == "completed" and not succeeded:
        world.complain(f"job {job_id} is completed although no handler succeeded")
    if job.status == "failed":
        _check_failed(world, job_id, attempts)


def _check_failed(world: World, job_id: int, attempts: list[Attempt]) -> None:
    """Somebody must be to blame: its input, its handler, or the crashes of its processes."""
    job = world.server.job(job_id)
    counts = {end: sum(each.end is end for each in attempts) for end in End}
    to_blame = (
        job.error.startswith("UNREADABLE")
        or sum(each.charged for each in attempts) >= 2
        or counts[End.CONFIGURATION] >= 3
        or job.crashes > world.fate.settings.crash_budget
    )
    if not to_blame:
        world.complain(f"job {job_id} failed and nobody knows why: {job.error}")


# --- a seed -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """How a run went; ``history`` is the same whenever its seed is played."""

    seed: int
    broken: tuple[str, ...]
    turns: int
    seconds: float
    jobs: int
    history: str


def play(seed: int) -> Outcome:
    """Play one seed."""
    fate = Fate(seed)
    world = World(fate)
    state = random.getstate()
    random.seed(seed)
    try:
        with ExitStack() as stack:
            standing_in(stack, world)
            try:
                world.loop.run_until_complete(world.live())
            except Exception as error:  # noqa: BLE001 - a run that breaks down is what we look for
                world.complain(f"the run broke down: {type(error).__name__}: {error}")
            else:
                check(world)
    finally:
        random.setstate(state)
        world.loop.close()
    history = repr((world.server.claims, world.server.all(), world.server.beats, world.loop.turns))
    return Outcome(
        seed,
        tuple(world.broken),
        world.loop.turns,
        world.loop.now - 100_000,
        len(world.server.model.jobs),
        history,
    )


def standing_in(stack: ExitStack, world: World) -> None:
    """Put the simulation in the place of clocks, dice, the network, and the guard's thread."""
    rng = world.fate.rng
    stack.enter_context(virtual_time(world.loop.time, lambda: world.wall + world.loop.now))
    doubters = WeakSet[bounds.Doubter]()
    places: list[tuple[Any, str, Any]] = [
        (asyncpg, "connect", world.network.connect),
        (asyncpg, "create_pool", world.network.create_pool),
        (secrets, "randbits", rng.getrandbits),
        (secrets, "token_hex", lambda size: f"{rng.getrandbits(8 * size):x}"),
        (bounds, "_latest", EachProcess()),
        # those of an earlier world may not have been collected yet
        (bounds, "doubters", doubters),
        (sessions, "doubters", doubters),
        (Process, "rss_bytes", 0),
        (StallGuard, "watching", lambda _: nullcontext()),
        # else hardly a transaction would be begun by the commit before it
        (pace, "QUICK_SECONDS", math.inf),
        (closing, "FRESH_SECONDS", 1.0),
    ]
    for place, name, instead in places:
        stack.enter_context(mock.patch.object(place, name, instead))
