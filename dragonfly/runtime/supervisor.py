"""Keeps the workers of one process alive: one task group each, restarts, and the end of it all."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass

import anyio

from dragonfly import __version__
from dragonfly.errors import ConfigurationError, CrashLoopError
from dragonfly.events import (
    ListenerUnavailable,
    ProcessStarted,
    ProcessStopped,
    ProcessStopping,
    WorkerFell,
    WorkerGivenUp,
    WorkerRestarting,
    WorkerStarted,
    WorkerStopped,
)
from dragonfly.postgres.database import Pooling, connect
from dragonfly.postgres.failures import describe
from dragonfly.queue.heartbeats import WorkerStatus
from dragonfly.runtime.acks import Acks
from dragonfly.runtime.garbage import seldom_collected
from dragonfly.runtime.heartbeat import Pulse, Rescuer
from dragonfly.runtime.inspector import Inspector
from dragonfly.runtime.listener import Listener
from dragonfly.runtime.logins import Logins
from dragonfly.runtime.loop import UNCANCELLABLE_SECONDS, WorkerLoop
from dragonfly.runtime.process import Mode, Process
from dragonfly.runtime.signals import stop_on_signals
from dragonfly.runtime.stalls import StallGuard
from dragonfly.runtime.sweeper import Sweeper
from dragonfly.runtime.ticker import Ticker
from dragonfly.runtime.vacuumer import Vacuumer
from dragonfly.runtime.waiting import first_of
from dragonfly.worker import Worker

RESTART_PAUSE_SECONDS = 60.0
RESTART_WINDOW_SECONDS = 3600.0
SETTLE_SECONDS = 5.0
# how long a worker's lifespan may take to close after its last job
CLOSING_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class WorkerView:
    """How a worker is, for the health pages."""

    name: str
    status: WorkerStatus
    reason: str | None
    running_jobs: int


class Supervisor:
    """Runs workers until a signal, the end of the work, or the death of the last of them."""

    def __init__(
        self,
        process: Process,
        workers: Iterable[Worker],
        exit_now: Callable[[int], None] = os._exit,
    ) -> None:
        self.process = process
        self.workers = tuple(workers)
        self._acks = Acks(
            process.finishes,
            process.settings.backoff_scale,
            bounded=process.database.pooling is Pooling.SESSION,
            refused=self._finishes_refused,
        )
        self._rescuer = Rescuer(process)
        self._loops: dict[str, WorkerLoop] = {}
        self._pulses: dict[str, Pulse] = {}
        self._fallen: dict[str, str] = {}
        self._given_up: set[str] = set()
        self._unwritable: str | None = None  # why no finish can be written
        self._exit_now = exit_now
        self._started_at = time.monotonic()
        self._refuse_doubles()
        self._ticker = Ticker(process, self.workers)

    def _refuse_doubles(self) -> None:
        owners: dict[str, str] = {}
        for worker in self.workers:
            for job_type in worker.handlers:
                if job_type in owners:
                    raise ConfigurationError(
                        f"Both {owners[job_type]} and {worker.name} take {job_type!r} jobs; "
                        "one process can run only one of them."
                    )
                owners[job_type] = worker.name

    async def run(self, *, heed_signals: bool = True) -> int:
        """Run until the end; the exit code of the process."""
        self._announce()
        process = self.process
        for worker in self.workers:
            process.wakeups[worker.name] = asyncio.Event()
        guard = StallGuard(process, self._crew, self._exit_now)
        heeding = stop_on_signals(process.stop.request) if heed_signals else nullcontext()
        with heeding, guard.watching(), seldom_collected():
            async with anyio.create_task_group() as services:
                services.start_soon(self._acks.run)
                services.start_soon(self._listen)
                services.start_soon(Inspector(process).run)
                services.start_soon(process.lender.end_unused)
                if process.mode is Mode.FOREVER:
                    services.start_soon(Sweeper(process, self.workers).run)
                    services.start_soon(Vacuumer(process).run)
                    services.start_soon(self._ticker.run)
                services.start_soon(self._ring_at_stop)
                services.start_soon(self._leave_the_unstoppable)
                async with anyio.create_task_group() as alive:
                    for worker in self.workers:
                        alive.start_soon(self._keep, worker)
                if not any(loop.ledger.held for loop in self._loops.values()):
                    await self._acks.drained(SETTLE_SECONDS)
                services.cancel_scope.cancel()
        return self._ended()

    def view(self) -> list[WorkerView]:
        """The workers as they are now."""
        return [self._view(worker) for worker in self.workers]

    def _view(self, worker: Worker) -> WorkerView:
        if worker.name in self._fallen:
            return WorkerView(worker.name, WorkerStatus.ERROR, self._fallen[worker.name], 0)
        loop = self._loops.get(worker.name)
        if loop is None:
            return WorkerView(worker.name, WorkerStatus.STARTING, None, 0)
        return WorkerView(worker.name, loop.health.status, loop.health.reason, len(loop.running))

    def _crew(self) -> list[tuple[Pulse, WorkerLoop]]:
        """Every worker's last start, for the guard's thread."""
        loops = self._loops.copy()
        return [(pulse, loops[name]) for name, pulse in self._pulses.copy().items()]

    # --- one worker -----------------------------------------------------------------------------

    async def _keep(self, worker: Worker) -> None:
        """Run a worker, and start it again after a fall, while its budget of restarts lasts."""
        restarts: deque[float] = deque()
        settings = self.process.settings
        number = 0
        while not self.process.stop.claiming.is_set():
            number += 1
            error = await self._live(worker, number)
            if error is None:
                break
            self._fallen[worker.name] = reason = _reason(error)
            if self.process.mode is not Mode.FOREVER:
                self._given_up.add(worker.name)
                break
            now = time.monotonic()
            while restarts and now - restarts[0] > RESTART_WINDOW_SECONDS:
                restarts.popleft()
            if len(restarts) >= settings.worker_restarts:
                self._given_up.add(worker.name)
                self.process.events.emit(WorkerGivenUp(worker.name, reason))
                break
            restarts.append(now)
            await self._pause_before_restart(worker, len(restarts))
        del self.process.wakeups[worker.name]
        self.process.ring()

    async def _pause_before_restart(self, worker: Worker, restarts: int) -> None:
        settings = self.process.settings
        pause = RESTART_PAUSE_SECONDS * settings.backoff_scale
        self.process.events.emit(
            WorkerRestarting(worker.name, pause, restarts, settings.worker_restarts)
        )
        await first_of(self.process.stop.claiming, seconds=pause)
        if not self.process.stop.claiming.is_set():
            del self._fallen[worker.name]

    async def _live(self, worker: Worker, number: int) -> Exception | None:
        """One start of a worker, from its first heartbeat to its last; what it died of."""
        pulse = Pulse(self.process, self._rescuer)
        wakeup = self.process.wakeups[worker.name]
        loop = WorkerLoop(self.process, worker, number, self._acks, wakeup, pulse.nudge)
        self._loops[worker.name], self._pulses[worker.name] = loop, pulse
        self.process.events.emit(
            WorkerStarted(worker.name, loop.worker_id, worker.concurrency, tuple(worker.handlers))
        )
        loop.health.finishes_refused(self._unwritable)
        error: Exception | None = None
        async with anyio.create_task_group() as group:
            group.start_soon(pulse.run, loop)
            try:
                await loop.run()
            except* CrashLoopError as crashes:
                error = _leaf(crashes)
            except* Exception as failures:  # noqa: BLE001 - whatever it died of, the others go on
                error = _leaf(failures)
                self.process.events.emit(WorkerFell(worker.name, describe(error)))
            await loop.ledger.settled_within(SETTLE_SECONDS)
            group.cancel_scope.cancel()
        if error is not None:
            await pulse.last_word(loop, WorkerStatus.ERROR, _reason(error))
        else:
            await pulse.last_word(loop, WorkerStatus.STOPPED, None)
            self.process.events.emit(WorkerStopped(worker.name))
        return error

    # --- the process ----------------------------------------------------------------------------

    def _announce(self) -> None:
        process = self.process
        self.process.events.emit(
            ProcessStarted(
                process.process_id,
                __version__,
                str(process.database),
                process.settings.mode,
                tuple(worker.name for worker in self.workers),
            )
        )

    async def _listen(self) -> None:
        settings, database = self.process.settings, self.process.database
        if settings.listen_url is not None:
            dsn, own = settings.listen_url.get_secret_value(), Logins()
            # an address of its own has a login of its own
            listener = self._listener(lambda: own.open(lambda: connect(dsn, "listen")))
        elif database.pooling is Pooling.TRANSACTION:
            self.process.events.emit(ListenerUnavailable(settings.poll_seconds))
            return
        else:
            listener = self._listener(lambda: self.process.connect("listen"))
        await listener.run()

    def _listener(self, open_connection: Callable[[], object]) -> Listener:
        return Listener(
            open_connection,  # type: ignore[arg-type]
            self.process.events,
            self._ring,
            self._cancelled,
            self.process.sessions,
            self.process.sleepers,
            self.process.settings.backoff_scale,
        )

    def _ring(self, job_type: str | None) -> None:
        if job_type is None:
            self.process.ring()
            return
        for worker in self.workers:
            if job_type in worker.handlers:
                self.process.sleepers.rung(worker)  # it may have been given up meanwhile
                if worker.name in self.process.wakeups:
                    self.process.wakeups[worker.name].set()

    def _cancelled(self, job_id: int) -> None:
        for loop in self._loops.values():
            if claim := loop.ledger.held.get(job_id):
                loop.lose([claim])

    def _finishes_refused(self, reason: str | None) -> None:
        self._unwritable = reason
        for loop in self._loops.values():
            loop.health.finishes_refused(reason)

    async def _ring_at_stop(self) -> None:
        stop = self.process.stop
        await stop.claiming.wait()
        self.process.ring()
        self._nudge()  # who is killed before it has ended has said that it was asked to
        if stop.signal != "drained":
            running = sum(len(loop.running) for loop in self._loops.values())
            self.process.events.emit(
                ProcessStopping(stop.signal or "", running, self.process.settings.grace_seconds)
            )
        await stop.now.wait()
        self._nudge()

    def _nudge(self) -> None:
        for pulse in self._pulses.values():
            pulse.nudge()

    async def _leave_the_unstoppable(self) -> None:
        """A handler that survives its cancellation keeps its lock: leave; the lease decides.

        So must a process whose workers do not finish opening or closing their resources. All are
        waited for at once: how long it takes does not grow with their number.
        """
        stop, abandoned = self.process.stop.claiming, self.process.abandoned
        await first_of(stop, abandoned)
        while not (stop.is_set() or self._is_hopeless()):
            await first_of(stop, seconds=1)
        began = time.monotonic()
        grace = self.process.settings.grace_seconds + UNCANCELLABLE_SECONDS
        for loop in list(self._loops.values()):
            seconds = (grace if loop.health.started else 0) + SETTLE_SECONDS
            passed = time.monotonic() - began
            await first_of(loop.wound_down, seconds=max(0.0, seconds - passed))
        if all(loop.wound_down.is_set() and not loop.running for loop in self._loops.values()):
            await asyncio.sleep(CLOSING_SECONDS)
        await self._acks.drained(SETTLE_SECONDS)
        async with anyio.create_task_group() as group:
            for name in [name for name in self._pulses if name not in self._fallen]:
                group.start_soon(self._say_farewell, name)
        code = self._ended()
        sys.stdout.flush()
        self._exit_now(code)

    async def _say_farewell(self, name: str) -> None:
        loop = self._loops[name]
        status = WorkerStatus.ERROR if loop.health.crash else WorkerStatus.STOPPED
        await self._pulses[name].last_word(loop, status, _farewell(loop))

    def _is_hopeless(self) -> bool:
        """Every worker was given up, or fell with a handler that holds it back from ending."""
        return all(name in self._given_up or loop.is_stuck for name, loop in self._loops.items())

    def _ended(self) -> int:
        code = self._exit_code()
        self.process.events.emit(ProcessStopped(code, time.monotonic() - self._started_at))
        return code

    def _exit_code(self) -> int:
        if self.process.mode is not Mode.FOREVER:
            ledgers = [loop.ledger for loop in self._loops.values()]
            # what is still held has an end that could not be written
            unhappy = any(ledger.unhappy or ledger.held for ledger in ledgers)
            return int(unhappy or bool(self._fallen))
        all_fell = len(self._fallen) == len(self.workers) or self._is_hopeless()
        return int(all_fell and self.process.stop.signal is None)


def _reason(error: Exception) -> str:
    """What a fallen worker's row says: a crash loop words itself, anything else is redacted."""
    return str(error) if isinstance(error, CrashLoopError) else describe(error)


def _farewell(loop: WorkerLoop) -> str | None:
    """What the last word of a worker says that is left behind: evidence for a rescue."""
    stop, left = loop.process.stop, len(loop.running)
    said = [loop.health.crash, stop.phase] if left else [loop.health.crash]
    if left:
        handlers = "a handler that" if left == 1 else f"{left} handlers that"
        said.append(f"left by {handlers} did not end when cancelled")
    return "; ".join(filter(None, said)) or None


def _leaf(group: BaseExceptionGroup[Exception]) -> Exception:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error if isinstance(error, Exception) else RuntimeError(type(error).__name__)
