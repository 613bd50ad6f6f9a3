"""One process of the simulation: a supervisor as it is, from its start to its exit or its death."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from dragonfly.events import Event, Events
from dragonfly.postgres.database import Database, Pooling
from dragonfly.runtime.process import Mode, Process, open_process
from dragonfly.runtime.supervisor import Supervisor
from tests.simulation.connections import IDLE_IN_TRANSACTION_SECONDS
from tests.simulation.handlers import WORKERS, Hands
from tests.simulation.loop import OWNER, NumberedTask
from tests.simulation.watch import Watch

if TYPE_CHECKING:
    from tests.simulation.connections import Connection
    from tests.simulation.world import World

DATABASE = Database("postgresql://nobody@nowhere/simulated", Pooling.SESSION, "18")
# beyond the grace: handlers that do not stop, finishes, last words, resources, and a claim under
# way, each with the bound that the product gives it
STOP_SECONDS = 30.0
DRAIN_LOOK_SECONDS = 45.0


class Incarnation:
    """Runs until its supervisor ends, or until it dies."""

    def __init__(
        self, world: World, name: str, mode: Mode, complain: Callable[[str], None]
    ) -> None:
        self.world = world
        self.loop = world.loop
        self.name = name
        self.mode = mode
        self.code: int | None = None
        self.over = asyncio.Event()
        self.process: Process | None = None
        self.watch = Watch(world.loop, world.fate.settings, complain)
        self._complain = complain
        self._told_at: float | None = None
        self._left_shut = False  # a drain ended with jobs of a type that could not be claimed
        self._early: list[str] = []  # signals that came before there was a process
        self.task = world.loop.create_task(self._live())

    # --- its life -------------------------------------------------------------------------------

    async def _live(self) -> None:
        OWNER.set(self.name)
        try:
            await self._supervise()
        except Exception as error:  # noqa: BLE001 - no run may raise, whatever befalls it
            if not self.over.is_set():
                self._complain(f"the supervisor raised {type(error).__name__}: {error}")
                self.over.set()

    async def _supervise(self) -> None:
        events = Events()
        events.on(Event, self.watch.hear)
        settings = self.world.fate.settings
        workers = Hands(self, self.world.fate).workers()
        async with open_process(settings, DATABASE, events, self.mode) as process:
            self.process = process
            for signal in self._early:
                process.stop.request(signal)
            watching = self.loop.create_task(self._watch_the_drain(process))
            boss = Supervisor(process, workers, exit_now=self._leave)
            code = await boss.run(heed_signals=False)
            watching.cancel()
        self._finish(code)

    def _leave(self, code: int) -> None:
        """What stands for ``os._exit``: what is open is cut, and nothing runs any more."""
        if self.over.is_set():
            return  # it died long ago, and is being buried
        self._finish(code)
        self._vanish()

    def _finish(self, code: int) -> None:
        if self.over.is_set():
            return
        self.code = code
        self._check_its_end(code)
        self.watch.closed = True
        self.over.set()

    def _check_its_end(self, code: int) -> None:
        stopped = self.process is not None and self.process.stop.signal is not None
        if self._left_shut and code != 1:
            self._complain(f"a drain that left jobs behind exits with {code}")
        if self.mode is Mode.FOREVER:
            expected = 0 if stopped else 1
            if code != expected:
                self._complain(f"a process exits with {code}, not {expected}")
        if self._told_at is not None and not self.watch.disturbed:
            bound = self.world.fate.settings.grace_seconds + STOP_SECONDS
            if (took := self.loop.now - self._told_at) > bound:
                self._complain(f"a stop took {took:.1f} s, more than {bound:g} s")

    async def _watch_the_drain(self, process: Process) -> None:
        await process.stop.claiming.wait()
        if process.stop.signal != "drained" or self.watch.disturbed:
            return
        server = self.world.server
        long_due = server.now - int(DRAIN_LOOK_SECONDS * 1e6)
        for job in server.all():
            shut = self.watch.is_shut(job.job_type)
            mine = job.process == process.process_id and job.status == "processing"
            if mine:
                self._complain(f"a drain ends while job {job.id} is held")
            if job.status != "pending" or job.due[0] >= long_due:
                continue
            self._left_shut |= shut
            if not shut and job.job_type not in server.model.paused:
                self._complain(f"a drain ends while job {job.id} is due")

    # --- whether it can be rung -----------------------------------------------------------------

    @property
    def hears_since(self) -> float | None:
        """When its listener subscribed; None while it has none, is frozen, or is to stop."""
        stopping = self.process is None or self.process.stop.claiming.is_set()
        if stopping or self.loop.holds(self.name):
            return None
        return max((conn.listens_since or 0.0 for conn in self._connections()), default=0.0) or None

    @property
    def is_at_rest(self) -> bool:
        """All its workers sleep: none is paused, falls, or waits for a restart, nor will any."""
        if self.process is None or self.mode is not Mode.FOREVER or self.hears_since is None:
            return False
        process = self.process
        return process.sleepers._asleep.keys() == WORKERS.keys() and not process.logins.shut

    # --- what befalls it ------------------------------------------------------------------------

    def stop(self, name: str) -> None:
        """A signal."""
        if self.over.is_set():
            return
        self._told_at = self._told_at or self.loop.now
        if self.process is None:
            self._early.append(name)
        else:
            self.process.stop.request(name)

    def cut_listener(self) -> None:
        """The server ends the session by which it listens."""
        for conn in self._connections():
            if conn.listens_since is not None:
                conn.cut()

    def die(self, code: int) -> None:
        """No last word: its code stops where it is, its connections are cut, now or later."""
        if self.over.is_set():
            return
        self.watch.closed = True
        self.code = code
        self._vanish()
        self.over.set()

    def _vanish(self) -> None:
        self.world.network.dead.add(self.name)
        self.loop.hold(self.name)
        for conn in self._connections():
            conn.arrive_or_not()
            late = self.world.fate.happens(0.5) and conn.is_in_transaction()
            if late:  # a server may take its time to notice
                seconds = self.world.fate.rng.uniform(0, IDLE_IN_TRANSACTION_SECONDS)
                # in nobody's name: this is the server's own doing
                self.loop.call_later(seconds, conn.cut, context=contextvars.Context())
            else:
                conn.cut()

    def freeze(self, seconds: float) -> None:
        """As SIGSTOP and SIGCONT; the server ends what idles in a transaction for too long."""
        if self.over.is_set():
            return
        self.watch.disturb()
        self.loop.hold(self.name)
        # in nobody's name: what is done in its own is held, too
        nobody = contextvars.Context()
        for conn in self._connections():
            if conn.is_in_transaction() and seconds > IDLE_IN_TRANSACTION_SECONDS:
                self.loop.call_later(IDLE_IN_TRANSACTION_SECONDS, conn.cut, context=nobody)
        self.loop.call_later(seconds, self._thaw, context=nobody)

    def _thaw(self) -> None:
        if self.name not in self.world.network.dead:
            self.loop.release(self.name)

    def _connections(self) -> list[Connection]:
        return [conn for conn in self.world.server.connections if conn.owner == self.name]

    # --- what is left of it ---------------------------------------------------------------------

    async def bury(self) -> None:
        """Let the tasks of a dead process end, unheard; nothing of an orderly one may be left."""
        if self.name in self.world.network.dead:
            self.loop.release(self.name)
            self.task.cancel()
        with suppress(BaseException):
            await self.task
        left = [task for task in asyncio.all_tasks() if _owner(task) == self.name]
        if left and self.name not in self.world.network.dead:
            self._complain(f"{self.name} leaves {len(left)} tasks behind")
        if self._connections() and self.name not in self.world.network.dead:
            self._complain(f"{self.name} leaves connections behind")
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)


def _owner(task: asyncio.Task[object]) -> str:
    return task.owner if isinstance(task, NumberedTask) else ""
