"""The faults of a soak: each breaks something under load, and mends it before it returns."""

from __future__ import annotations

import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import asyncpg

from dragonfly.ops.drill import history
from dragonfly.ops.drill.crew import QUICK, Crew, Member, until
from dragonfly.ops.drill.scenarios import KINDS
from dragonfly.queue import pauses
from tests.chaos.load import BLOCKING, LOAD, Order, put
from tests.proxy import Proxy
from tests.servers import OwnServer

# an innocent may be in flight at several deaths in a row; the poison dies once more often
BUDGET = 3
POOL = 6
SETTINGS = {"DRAGONFLY_CRASH_BUDGET": str(BUDGET), "DRAGONFLY_POOL_SIZE": str(POOL)}
LEASE = float(QUICK["DRAGONFLY_LEASE_SECONDS"])
WHILE_SECONDS = 2.5 * LEASE
PATIENCE_SECONDS = 180.0
_CUT = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
 WHERE application_name = 'dragonfly ' || $1
"""
_ENDED = "SELECT finished_at IS NOT NULL FROM ops.jobs WHERE id = $1"


@dataclass
class Scene:
    """Two processes at work, the network between, and the server; what went wrong with them."""

    server: OwnServer
    between: Proxy
    team: Crew
    rng: random.Random
    pair: list[Member] = field(default_factory=list)
    wrongs: list[str] = field(default_factory=list)

    async def enter(self) -> Member:
        """Start a process."""
        return await self.team.start(LOAD, **SETTINGS)

    async def replace(self, old: Member) -> None:
        """Start a process in the place of one that has ended."""
        self.pair[self.pair.index(old)] = await self.enter()

    @asynccontextmanager
    async def conn(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection past the network."""
        conn = await asyncpg.connect(self.server.dsn)
        try:
            yield conn
        finally:
            await conn.close()


async def kill(scene: Scene) -> None:
    """A process dies by kill -9, and another one is started."""
    victim = scene.rng.choice(scene.pair)
    victim.kill()
    await victim.ends()
    await scene.replace(victim)


async def freeze(scene: Scene) -> None:
    """A process is frozen for longer than its lease, and wakes up."""
    victim = scene.rng.choice(scene.pair)
    victim.signal(signal.SIGSTOP)
    await anyio.sleep(WHILE_SECONDS)
    victim.signal(signal.SIGCONT)


async def cut(scene: Scene) -> None:
    """The server ends the connections of each purpose, one purpose after the other."""
    async with scene.conn() as conn:
        for kind in scene.rng.sample(KINDS, len(KINDS)):
            await conn.execute(_CUT, kind)
            await anyio.sleep(scene.rng.uniform(0, 0.5))


async def crash(scene: Scene) -> None:
    """PostgreSQL crashes, and is back after up to three seconds."""
    await _bounce(scene, "immediate")


async def restart(scene: Scene) -> None:
    """PostgreSQL is restarted, and is back after up to three seconds."""
    await _bounce(scene, "fast")


async def _bounce(scene: Scene, mode: str) -> None:
    await scene.server.stop(mode)
    await anyio.sleep(scene.rng.uniform(0, 3))
    await scene.server.start()


async def read_only(scene: Scene) -> None:
    """PostgreSQL refuses to write for some seconds."""
    async with scene.conn() as conn:
        await conn.execute("SET default_transaction_read_only = off")
        await conn.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        await conn.execute("SELECT pg_reload_conf()")
        await anyio.sleep(WHILE_SECONDS)
        await conn.execute("ALTER SYSTEM RESET default_transaction_read_only")
        await conn.execute("SELECT pg_reload_conf()")


async def deploy(scene: Scene) -> None:
    """A new process starts, and an old one is asked to stop."""
    old = scene.rng.choice(scene.pair)
    new = await scene.enter()
    async with scene.conn() as conn:
        await scene.team.ready(conn, new)
    scene.pair[scene.pair.index(old)] = new
    code = await old.stop()
    if code != 0:
        scene.wrongs.append(f"a process that was asked to stop ended with {code}")


async def block(scene: Scene) -> None:
    """A handler blocks its event loop for longer than the lease."""
    async with scene.conn() as conn, conn.transaction():
        job_id = await put(conn, Order(BLOCKING, {"work": WHILE_SECONDS}), 1)
    async with scene.conn() as conn:
        await until(conn, _ENDED, job_id, seconds=PATIENCE_SECONDS)


async def poison(scene: Scene) -> None:
    """A job kills each process that runs it, which is started again, until it is failed."""
    async with scene.conn() as conn:
        async with conn.transaction():
            job_id = await put(conn, Order(history.POISON, {"ends": "failed"}), 1)
        with anyio.fail_after(PATIENCE_SECONDS):
            while not await conn.fetchval(_ENDED, job_id):
                for victim in [member for member in scene.pair if member.code is not None]:
                    await scene.replace(victim)
                await anyio.sleep(0.1)


async def pause(scene: Scene) -> None:
    """A type of job is paused for some seconds, and resumed."""
    async with scene.conn() as conn:
        await pauses.pause(conn, history.RETURNING, "soak", "a fault on purpose")
        await anyio.sleep(WHILE_SECONDS)
        await pauses.resume(conn, history.RETURNING)


async def silence(scene: Scene) -> None:
    """All connections of the workers fall silent at once; new ones are served, none is closed."""
    # the notes that handlers take are the examiner's instrument
    scene.between.silence(*(f"dragonfly {kind}" for kind in KINDS))


Fault = Callable[[Scene], Awaitable[None]]
FAULTS: tuple[Fault, ...] = (
    kill, freeze, cut, crash, restart, read_only, deploy, block, poison, pause, silence,
)  # fmt: skip


def drawn(rng: random.Random) -> list[Fault]:
    """All of them, in an order that chance makes."""
    return rng.sample(FAULTS, len(FAULTS))
