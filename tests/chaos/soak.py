"""The soak: two processes under a steady mixed load, and a fault every minute."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import chain, repeat
from pathlib import Path

import anyio
import asyncpg

from dragonfly.ops.drill import history
from dragonfly.ops.drill.crew import DrillBroken, until
from dragonfly.ops.drill.history import Finding
from dragonfly.postgres.failures import TROUBLE
from tests.chaos import samples
from tests.chaos.faults import BUDGET, POOL, Fault, Scene, drawn
from tests.chaos.load import BOOKS, MIX, Orders, audit
from tests.chaos.runs import crew_on, say
from tests.chaos.samples import Sample, is_well
from tests.proxy import proxy
from tests.servers import own_server

PROCESSES = 2
LOOK_SECONDS = 0.2
RECOVERY_SECONDS = 120.0
DRAIN_SECONDS = 300.0
# listen, claim, finish and heartbeat, those of the handlers, and the one that takes notes
CONNECTIONS_MOST = PROCESSES * (4 + POOL + 1)
_CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'dragonfly %'"
_COUNTS = "SELECT status, count(*) AS number FROM ops.jobs GROUP BY 1 ORDER BY 2 DESC"
_CHARGED = "SELECT count(*) FROM ops.jobs WHERE crashes > 0"


@dataclass(frozen=True)
class Plan:
    """Seconds of it all, between two faults, between two samples, and of calm that is recovery.

    ``rate`` is jobs a second; ``faults`` None: all of them, and again, in the order of chance.
    """

    seconds: float
    rate: float = 80.0
    every: float = 60.0
    sample: float = 5.0
    calm: float = 3.0
    faults: Sequence[Fault] | None = None


@dataclass(frozen=True, slots=True)
class Struck:
    """A fault: when it came, how long it lasted, and how much later all was well again."""

    at: float
    name: str
    lasted: float
    recovery: float


@dataclass
class Outcome:
    """What came of a soak."""

    struck: list[Struck] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    wrongs: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    charged: int = 0
    refused: int = 0

    @property
    def held(self) -> bool:
        """Whether nothing went wrong."""
        return not self.wrongs and all(finding.held for finding in self.findings)


async def soak(plan: Plan, folder: Path, rng: random.Random) -> Outcome:
    """Load and faults for the seconds of the plan, then a drain, then the examination."""
    outcome = Outcome()
    async with _scene(folder, rng) as scene:
        orders = Orders(scene.server.dsn, random.Random(rng.random()), plan.rate)
        async with anyio.create_task_group() as group:
            group.start_soon(orders.run)
            group.start_soon(_watch, scene, plan, outcome)
            await _strike(scene, plan, outcome)
            orders.enough()
            await _drain(scene)
            group.cancel_scope.cancel()
        outcome.refused = orders.refused
        await _close(scene, orders, outcome)
    return outcome


@asynccontextmanager
async def _scene(folder: Path, rng: random.Random) -> AsyncIterator[Scene]:
    async with (
        own_server() as server,
        proxy(server.dsn) as between,
        crew_on(between.dsn, folder) as team,
    ):
        scene = Scene(server, between, team, rng)
        async with scene.conn() as conn:
            await history.prepare(conn)
            await conn.execute(BOOKS)
            scene.pair = [await scene.enter() for _ in range(PROCESSES)]
            await team.ready(conn, *scene.pair)
        yield scene


async def _watch(scene: Scene, plan: Plan, outcome: Outcome) -> None:
    began = anyio.current_time()
    while True:
        at = anyio.current_time() - began
        outcome.samples.append(await samples.take(scene, at))
        await anyio.sleep(max(0.0, began + at + plan.sample - anyio.current_time()))


async def _strike(scene: Scene, plan: Plan, outcome: Outcome) -> None:
    began = anyio.current_time()
    end = began + plan.seconds
    faults = _faults(plan, scene.rng)
    due = began + plan.every
    while due < end:
        await anyio.sleep_until(due)
        fault = next(faults, None)
        if fault is None:
            break
        at = anyio.current_time()
        await _play(scene, fault)
        over = anyio.current_time()
        recovery = await _recovery(scene, plan.calm, over)
        struck = Struck(at - began, fault.__name__.replace("_", " "), over - at, recovery)
        say(
            f"  {struck.at:6.0f} s  {struck.name:<10} lasted {struck.lasted:5.1f} s, "
            f"well again {struck.recovery:5.1f} s later"
        )
        outcome.struck.append(struck)
        due = max(due + plan.every, anyio.current_time())
    await anyio.sleep_until(end)


async def _play(scene: Scene, fault: Fault) -> None:
    try:
        await fault(scene)
    except (DrillBroken, *TROUBLE) as error:
        scene.wrongs.append(f"{fault.__name__} could not be played to its end: {error}")


async def _drain(scene: Scene) -> None:
    try:
        async with scene.conn() as conn:
            await until(conn, history.UNENDED, expected=0, seconds=DRAIN_SECONDS)
    except (DrillBroken, *TROUBLE) as error:
        scene.wrongs.append(f"the jobs did not come to an end: {error}")


def _faults(plan: Plan, rng: random.Random) -> Iterator[Fault]:
    if plan.faults is not None:
        return iter(plan.faults)
    return chain.from_iterable(drawn(rng) for _ in repeat(None))


async def _recovery(scene: Scene, calm: float, over: float) -> float:
    """Seconds from the end of a fault until all was well, and stayed so for a while."""
    well_since: float | None = None
    conn: asyncpg.Connection | None = None
    try:
        while (now := anyio.current_time()) < over + RECOVERY_SECONDS:
            await _mourn(scene)
            try:
                conn = conn or await asyncpg.connect(scene.server.dsn)
                well = await is_well(conn, scene)
            except TROUBLE:
                conn, well = None, False
            if not well:
                well_since = None
            elif well_since is None:
                well_since = now
            elif now - well_since >= calm:
                return well_since - over
            await anyio.sleep(LOOK_SECONDS)
    finally:
        if conn is not None:
            await conn.close()
    scene.wrongs.append(f"not well again within {RECOVERY_SECONDS:g} s of a fault")
    return RECOVERY_SECONDS


async def _mourn(scene: Scene) -> None:
    """Replace whoever ended though no fault ended it, and say so."""
    for member in [each for each in scene.pair if each.code is not None]:
        scene.wrongs.append(f"a process ended with {member.code} by itself")
        await scene.replace(member)


async def _close(scene: Scene, orders: Orders, outcome: Outcome) -> None:
    """Stop everybody and examine what is left."""
    async with scene.conn() as conn:
        open_now = await conn.fetchval(_CONNECTIONS)
        if open_now > CONNECTIONS_MOST:
            scene.wrongs.append(f"{open_now} connections, of at most {CONNECTIONS_MOST}")
        await _mourn(scene)
        for member in scene.pair:
            if (code := await member.stop()) != 0:
                scene.wrongs.append(f"a process that was asked to stop ended with {code}")
        scene.wrongs += [
            f"a worker was restarted in process {number}"
            for number, member in enumerate(scene.team.members)
            if member.text.count("started as") > 1
        ]
        with anyio.move_on_after(10):
            while await conn.fetchval(_CONNECTIONS):
                await anyio.sleep(LOOK_SECONDS)
        outcome.findings = [
            *await history.examine(conn, crash_budget=BUDGET, attempts=False),
            *await audit(conn, orders.told),
        ]
        outcome.counts = {row["status"]: row["number"] for row in await conn.fetch(_COUNTS)}
        outcome.charged = await conn.fetchval(_CHARGED)
    outcome.wrongs = scene.wrongs


def report(outcome: Outcome) -> Iterator[str]:
    """What a person wants to know of it, line by line."""
    counts = ", ".join(f"{number:,} {status}" for status, number in outcome.counts.items())
    yield f"{sum(outcome.counts.values()):,} jobs of {len(MIX)} kinds: {counts}"
    yield (
        f"{outcome.charged:,} were in flight when a process died; "
        f"{outcome.refused} times the server took no order"
    )
    if outcome.struck:
        worst = max(outcome.struck, key=lambda each: each.recovery)
        times = sorted(each.recovery for each in outcome.struck)
        yield (
            f"{len(times)} faults: well again after {times[len(times) // 2]:.1f} s (median), "
            f"{worst.recovery:.1f} s at worst ({worst.name})"
        )
    yield from _used(outcome.samples)
    for finding in outcome.findings:
        yield f"  {'held' if finding.held else 'VIOLATED'}: {finding.promise} {finding.detail}"
    yield from (f"  VIOLATED: {wrong}" for wrong in outcome.wrongs)


def _used(taken: Sequence[Sample]) -> Iterator[str]:
    for name, sample in (("first", taken[0]), ("last", taken[-1])):
        yield f"memory {name}: " + ", ".join(f"{mib:.0f} MiB" for _, mib in sample.memory)
    lives: dict[int, list[tuple[float, float]]] = {}
    for sample in taken:
        for pid, mib in sample.memory:
            lives.setdefault(pid, []).append((sample.at, mib))
    longest = max(lives.values(), key=lambda life: life[-1][0] - life[0][0])
    # its first samples may show it while it starts
    (born, young), (died, old) = longest[min(2, len(longest) - 1)], longest[-1]
    yield f"the longest life of a process, {died - born:.0f} s: {young:.0f} to {old:.0f} MiB"
    most = max(sample.connections.total() for sample in taken if sample.connections)
    yield f"connections at most {most}; {CONNECTIONS_MOST} for two processes, a deploy has three"


def picture(outcome: Outcome, title: str) -> str:
    """The plot of it."""
    return samples.plot(outcome.samples, [(each.at, each.name) for each in outcome.struck], title)
