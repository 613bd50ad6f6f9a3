"""One life on the small stage: a supervisor as it is, what befalls it, and what is made of it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache, partial
from typing import Any
from unittest import mock

import anyio

from dragonfly.events import Event as Told
from dragonfly.events import Events
from dragonfly.job import JobStatus
from dragonfly.postgres.database import Database, Pooling
from dragonfly.runtime import loop as worker_loop
from dragonfly.runtime import supervisor
from dragonfly.runtime.logins import Logins
from dragonfly.runtime.process import Mode, Process, Stop
from dragonfly.runtime.stalls import StallGuard
from dragonfly.runtime.supervisor import Supervisor
from dragonfly.worker import Worker
from tests.simulation.decisions import kernel as stage
from tests.simulation.decisions.database import (
    Bystander,
    Claims,
    Finishes,
    Lender,
    Pulse,
    Queue,
    Server,
)
from tests.simulation.decisions.fate import LOSSY_RATE, Fate, Planned
from tests.simulation.decisions.judge import Judge
from tests.simulation.decisions.kernel import Bell, Kernel
from tests.simulation.fate import Event, Trouble
from tests.simulation.handlers import Hands
from tests.simulation.loop import virtual_time

EVENTUALLY_SECONDS = 2 * 3600.0
DATABASE = Database("postgresql://nobody@nowhere/simulated", Pooling.SESSION, "18")


class HeardStop(Stop):
    """Tells the judge of each request."""

    def __init__(self, life: Life) -> None:
        super().__init__(Bell(), Bell())  # type: ignore[arg-type]
        self._life = life

    def request(self, signal: str) -> None:
        self._life.judge.told_to_stop(signal)
        super().request(signal)


@cache
def _crew(left: int, right: int) -> tuple[Hands, list[Worker]]:
    """Declaring workers anew for each life would take as long as the life."""
    hands = Hands(None, Fate(0))  # type: ignore[arg-type]
    hands.fate.slots = {"left": left, "right": right}
    return hands, hands.workers()


class Life:
    """Everything of one seed; for its handlers it is their incarnation."""

    def __init__(self, seed: int) -> None:
        self.fate = fate = Fate(seed)
        self.broken: list[str] = []
        self.kernel = self.loop = Kernel(fate.rng)
        self.queue = Queue()
        self.server = Server(self)
        self.finishes: Finishes
        self.code: int | None = None
        self._calm = False
        events = Events()
        none: Any = None
        line: Any = self
        lender: Any = Lender()
        self.process = Process(
            fate.settings, DATABASE, lender, line, line, line, Logins(), none, events, fate.mode,
            HeardStop(self), "here", 1, "0", abandoned=Bell(),  # type: ignore[arg-type]
        )  # fmt: skip
        self.judge = self.watch = Judge(self)
        events.on(Told, self.judge.hear)
        hands, workers = _crew(fate.slots["left"], fate.slots["right"])
        hands.incarnation, hands.fate = self, fate  # type: ignore[assignment]
        self.boss = Supervisor(self.process, workers[: fate.workers], exit_now=self._leave)

    def complain(self, sentence: str) -> None:
        self.broken.append(f"{self.kernel.now - stage.START_SECONDS:.3f} s: {sentence}")

    def held_by(self, worker: str) -> Collection[int | None]:
        loop = self.boss._loops.get(worker)
        return loop.ledger.held if loop else ()

    # --- its course -----------------------------------------------------------------------------

    def live(self) -> None:
        start, last = self.kernel.now, 0.0
        for planned in self.fate.planned:
            last = max(last, planned.at)
            self._at(start + planned.at, self._enqueue, planned)
        for event in self.fate.events:
            last = max(last, event.at + event.seconds)
            self._at(start + event.at, self._befall, event)
        self._at(start + last + 0.1, self._become_calm)
        try:
            self.kernel.run(self.kernel.spawn(self._supervise()))
        finally:
            self.judge.closed = True
            self.kernel.close()

    def _at(self, when: float, call: Any, *args: Any) -> None:
        self.kernel.call_at(when, partial(call, *args))

    async def _supervise(self) -> None:
        self._end(await self.boss.run(heed_signals=False))

    def _leave(self, code: int) -> None:
        """What stands for ``os._exit``."""
        self._end(code)
        self.kernel.over = True

    def _end(self, code: int) -> None:
        if self.code is None:
            self.code = code
            self.judge.left(code)
            self.judge.closed = True

    def _enqueue(self, planned: Planned) -> None:
        self.queue.enqueue(planned, self.kernel.now)
        self.boss._ring(planned.job_type)

    def _become_calm(self) -> None:
        self._calm = self.fate.quiet = True
        server = self.server
        server.away = server.refusing_logins = False
        server.refused, server.error_rate = frozenset(), 0.0
        self._at(self.kernel.now + EVENTUALLY_SECONDS, self._give_up_on_it)
        self.look_whether_all_is_over()

    def look_whether_all_is_over(self) -> None:
        """When nothing bad happens any more, all jobs end; then so does the process."""
        if not self._calm or self.fate.mode is not Mode.FOREVER:
            return
        lost = {
            kind
            for worker in self.boss.workers
            if worker.name in self.judge.given_up
            for kind in worker.handlers
        }
        if all(not row.is_open or row.job_type in lost for row in self.queue.rows.values()):
            self._stop()

    def _stop(self) -> None:
        if not self.process.stop.claiming.is_set():
            self.process.stop.request("SIGTERM")

    def _give_up_on_it(self) -> None:
        left = [(row.id, row.status.value) for row in self.queue.rows.values() if row.is_open]
        self.complain(f"it never comes to its end; open are {left}")
        self.kernel.over = True

    # --- what befalls it ------------------------------------------------------------------------

    def _befall(self, event: Event) -> None:
        server, until = self.server, self.kernel.now + event.seconds
        match event.trouble:
            case Trouble.REFUSED:
                server.away = True
                server.cut()
                self._at(until, setattr, server, "away", False)
            case Trouble.LOGINS:
                server.refusing_logins = True
                server.cut()
                self._at(until, setattr, server, "refusing_logins", False)
            case Trouble.GRANTS | Trouble.FINISHES:
                kind = "claim" if event.trouble is Trouble.GRANTS else "finish"
                server.refused |= {kind}
                self._at(until, self._grant, kind)
            case Trouble.LOSSY:
                server.error_rate = LOSSY_RATE
                self._at(until, setattr, server, "error_rate", 0.0)
            case Trouble.CANCEL:
                self._cancel_one()
            case _:
                self.process.stop.request("SIGTERM")
                if event.trouble is Trouble.STOP_TWICE:
                    after = self.fate.rng.choice((0.0, 0.001, 1.0, 10.0))
                    self._at(self.kernel.now + after, self.process.stop.request, "SIGTERM")

    def _grant(self, kind: str) -> None:
        self.server.refused -= {kind}

    def _cancel_one(self) -> None:
        rows = [row for row in self.queue.rows.values() if row.is_open]
        if rows:
            row = self.fate.rng.choice(rows)
            if row.status is JobStatus.PROCESSING:
                self.judge.lost.add(row.id)
            self.queue.cancel(row)
            self.boss._cancelled(row.id)


# --- a seed ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a life went."""

    seed: int
    broken: tuple[str, ...]
    turns: int
    seconds: float


def play(seed: int, tell: Callable[[float, Told], object] | None = None) -> Outcome:
    """Play one seed on a stage that stands; ``tell`` hears what happens, and at which second."""
    random.seed(seed)
    life = Life(seed)
    if tell is not None:
        listen = partial(_pass_on, life.kernel, tell)
        life.process.events.on(Told, listen)
    try:
        life.live()
    except Exception as error:  # noqa: BLE001 - a life that breaks down is what we look for
        life.complain(f"it broke down: {type(error).__name__}: {error}")
    kernel = life.kernel
    return Outcome(seed, tuple(life.broken), kernel.turns, kernel.now - stage.START_SECONDS)


def _pass_on(kernel: Kernel, tell: Callable[[float, Told], object], event: Told) -> None:
    tell(kernel.now - stage.START_SECONDS, event)


async def _nothing(_self: object) -> None:
    """Nobody listens."""


@contextmanager
def standing_stage() -> Iterator[None]:
    """Put the stage in the place of asyncio, anyio, the clocks, and all that speaks SQL."""
    state = random.getstate()
    places: list[tuple[Any, str, Any]] = [
        (asyncio, "Event", Bell),
        (asyncio, "Condition", stage.Condition),
        (asyncio, "sleep", stage.sleep),
        (asyncio, "current_task", lambda: Kernel.current.task),
        (asyncio, "get_running_loop", lambda: Kernel.current),
        (anyio, "create_task_group", stage.TaskGroup),
        (anyio, "CancelScope", stage.Scope),
        (anyio, "move_on_after", stage.move_on_after),
        (anyio, "current_effective_deadline", stage.effective_deadline),
        (anyio, "CapacityLimiter", lambda _: None),
        (worker_loop, "first_of", stage.first_of),
        (worker_loop, "Claims", Claims),
        (supervisor, "first_of", stage.first_of),
        (supervisor, "Acks", Finishes),
        (supervisor, "Pulse", Pulse),
        (supervisor, "Sweeper", Bystander),
        (supervisor, "Vacuumer", Bystander),
        (supervisor, "Inspector", Bystander),
        (Supervisor, "_listen", _nothing),
        (StallGuard, "watching", lambda _: nullcontext()),
    ]
    with ExitStack() as stack:
        stack.enter_context(virtual_time(lambda: Kernel.current.now, lambda: Kernel.current.now))
        for place, name, instead in places:
            stack.enter_context(mock.patch.object(place, name, instead))
        try:
            yield
        finally:
            random.setstate(state)
