"""Guards a process against handlers that block its event loop, from a thread of its own.

While the loop does not turn nobody would renew the locks of held jobs, and they would run twice.
So the guard renews them, up to a bound, and tells who blocks the loop; beyond the bound it ends the
process. It lives on an event loop and, during a stall, a connection of its own.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field

import anyio

from dragonfly.errors import LoginRefused
from dragonfly.events import Event, LoopStalled, LoopTurned, ProcessHopeless
from dragonfly.job import Claim
from dragonfly.postgres.failures import TROUBLE
from dragonfly.postgres.line import Line
from dragonfly.queue import store
from dragonfly.queue.heartbeats import WorkerStatus
from dragonfly.runtime.heartbeat import Pulse
from dragonfly.runtime.loop import WorkerLoop
from dragonfly.runtime.outcomes import FRAMES_MOST, place
from dragonfly.runtime.process import QUEUE_SESSION, STATEMENT_SECONDS, Process
from dragonfly.runtime.slots import Slot

# sysexits' EX_SOFTWARE: the platform starts the process again, as after any failure
EXIT_HOPELESS = 70
STEPS_A_LEASE = 12
# a loop that stands still for a third of the lease: its last renewal is at most 7/12 of one old
STEPS_OF_A_STALL = 4
STEPS_BETWEEN_RENEWALS = 3
ENDING_SECONDS = 5.0
TELLING_SECONDS = 1.0
JOIN_SECONDS = 5.0

Crew = Callable[[], list[tuple[Pulse, WorkerLoop]]]


class Standstill:
    """How long the loop has not turned, in seconds of the guard's own steps.

    When the guard did not run either, the whole process was frozen (SIGSTOP, a sleeping laptop) and
    no handler is to blame: such a time counts as two steps, however long it was.
    """

    def __init__(self, step: float, now: float) -> None:
        self.seconds = 0.0
        self._step = step
        self._turns = 0
        self._looked = now

    def look(self, turns: int, now: float) -> float:
        """The guard is awake; the loop has made so many turns by now."""
        passed, self._looked = now - self._looked, now
        if turns != self._turns:
            self._turns, self.seconds = turns, 0.0
        else:
            self.seconds += min(passed, 2 * self._step)
        return self.seconds


@dataclass(frozen=True, slots=True)
class Culprit:
    """What the loop's thread does: its frames, the innermost last, and the job it does it for."""

    frames: tuple[str, ...]
    claim: Claim | None

    @property
    def sentence(self) -> str:
        who = (
            f"job {self.claim.id} ({self.claim.job_type})"
            if self.claim
            else "code in no handler's own task"
        )
        where = dict.fromkeys((self.frames[0], self.frames[-1])) if self.frames else ("?",)
        return f"{who} at {', calling '.join(where)}"


@dataclass(slots=True)
class Stall:
    """A time in which the loop did not turn; cancelling its scope ends the guard's work for it."""

    culprit: Culprit
    told: bool = False
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)


class StallGuard:
    """Watches one event loop; ``crew`` are the living workers, asked from the guard's thread."""

    def __init__(
        self, process: Process, crew: Crew, exit_now: Callable[[int], None] = os._exit
    ) -> None:
        settings = process.settings
        self._process = process
        self._crew = crew
        self._exit_now = exit_now
        self._step = settings.lease_seconds / STEPS_A_LEASE
        self._bound = max(settings.stall_seconds, settings.lease_seconds)
        self._turns = 0
        self._over = asyncio.Event()  # waited for on the guard's loop

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Guard the running loop while the block does."""
        self._loop, self._thread_id = asyncio.get_running_loop(), threading.get_ident()
        own = asyncio.new_event_loop()
        thread = threading.Thread(target=self._run, args=(own,), name="stall guard", daemon=True)
        self._turn()
        thread.start()
        try:
            yield
        finally:
            self._timer.cancel()
            with suppress(RuntimeError):  # closed already
                own.call_soon_threadsafe(self._over.set)
            thread.join(JOIN_SECONDS)

    def _turn(self) -> None:
        self._turns += 1
        self._timer = self._loop.call_later(self._step, self._turn)

    # --- in the guard's thread ------------------------------------------------------------------

    def _run(self, own: asyncio.AbstractEventLoop) -> None:
        with asyncio.Runner(loop_factory=lambda: own) as runner:
            runner.run(self._watch())

    async def _watch(self) -> None:
        standstill = Standstill(self._step, time.monotonic())
        stall: Stall | None = None
        async with anyio.create_task_group() as group:
            while not await self._is_over_after(self._step):
                before = standstill.seconds
                seconds = standstill.look(self._turns, time.monotonic())
                if stall is not None and seconds < before:
                    stall.scope.cancel()
                    if stall.told:
                        self._tell(LoopTurned(before))
                    stall = None
                elif stall is None and seconds >= STEPS_OF_A_STALL * self._step:
                    stall = Stall(self._find_culprit())
                    group.start_soon(self._stand_in, stall, seconds)
                elif stall is not None and seconds >= self._bound:
                    stall.scope.cancel()
                    await self._end(seconds)
                    return
            group.cancel_scope.cancel()

    async def _is_over_after(self, seconds: float) -> bool:
        with anyio.move_on_after(seconds):
            await self._over.wait()
        return self._over.is_set()

    async def _stand_in(self, stall: Stall, seconds: float) -> None:
        """Renew and beat for the workers until the stall is over."""
        turns = self._turns
        reason = f"the event loop is blocked: {stall.culprit.sentence}"
        with stall.scope:
            async with self._line() as line:
                welcome = await self._beat(line, WorkerStatus.DEGRADED, reason)
                stall.told = True  # after it, for the locks come first
                self._tell(self._stalled(stall.culprit, seconds))
                while welcome:
                    await asyncio.sleep(STEPS_BETWEEN_RENEWALS * self._step)
                    if self._turns != turns:
                        break
                    welcome = await self._beat(line, WorkerStatus.DEGRADED, reason)

    @asynccontextmanager
    async def _line(self) -> AsyncIterator[Line]:
        """A connection for one stall."""
        process = self._process
        patience = min(STATEMENT_SECONDS, process.settings.lease_seconds / 4)
        line = Line(lambda: process.database.connect("stall", QUEUE_SESSION), patience)
        try:
            yield line
        finally:
            await line.aclose()

    async def _beat(self, line: Line, status: WorkerStatus, reason: str) -> bool:
        """Once for every worker; False if the login is refused, which must not be repeated."""
        if self._process.logins.shut:
            return False
        try:
            async with line.use() as conn:
                for pulse, loop in self._crew():
                    await pulse.stand_in(conn, loop, status, reason)
        except LoginRefused:
            return False
        except TROUBLE:
            pass  # the next beat tries again
        return True

    def _stalled(self, culprit: Culprit, seconds: float) -> LoopStalled:
        claim = culprit.claim
        return LoopStalled(
            seconds,
            self._bound,
            claim.id if claim else None,
            claim.job_type if claim else None,
            culprit.frames,
        )

    def _find_culprit(self) -> Culprit:
        """Places only: no values, no source lines."""
        innermost = sys._current_frames().get(self._thread_id)  # noqa: SLF001 - there is no other way
        task = asyncio.current_task(self._loop)
        slots = (slot for _, loop in self._crew() for slot in loop.running)
        claim = next((slot.claim for slot in slots if slot.task is task), None)
        stack = traceback.walk_stack(innermost) if innermost else ()
        ours = itertools.takewhile(
            lambda item: claim is None or item[0].f_code is not Slot._execute.__code__,  # noqa: SLF001
            stack,
        )
        frames = [
            place(frame.f_code.co_filename, line, frame.f_code.co_name) for frame, line in ours
        ]
        return Culprit(tuple(reversed(frames[:FRAMES_MOST])), claim)

    async def _end(self, seconds: float) -> None:
        """Leave evidence against the job that blocks, give back the others, and go."""
        culprit = self._find_culprit()
        reason = f"ended, because the event loop was blocked: {culprit.sentence}"
        with anyio.move_on_after(ENDING_SECONDS):
            async with self._line() as line:
                with suppress(*TROUBLE):
                    await self._testify(line, culprit, seconds)
                await self._beat(line, WorkerStatus.ERROR, reason)
        self._tell(ProcessHopeless(seconds, culprit.sentence, EXIT_HOPELESS))
        self._exit_now(EXIT_HOPELESS)

    async def _testify(self, line: Line, culprit: Culprit, seconds: float) -> None:
        if culprit.claim is None:
            return  # a rescue charges all that is held, and claims each of them alone
        verdict = f"blocked the event loop for {seconds:.0f} s; its process was ended"
        async with line.use() as conn:
            await store.accuse(conn, culprit.claim, verdict, "\n".join(culprit.frames))
            # so of the jobs that will have to be rescued only the culprit is charged
            ends = [end for _, loop in self._crew() for end in loop.ledger.last_ends()]
            others = [end for end in ends if end.job_id != culprit.claim.id]
            if others:
                await store.finish(conn, others)

    def _tell(self, event: Event) -> None:
        """Emit beside the guard: a loop that is blocked by its log would block the guard, too."""
        teller = threading.Thread(target=self._process.events.emit, args=(event,), daemon=True)
        teller.start()
        teller.join(TELLING_SECONDS)
