"""One start of one worker: it claims what its slots can run soon, and sees each to its end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace

import anyio

from dragonfly.errors import CrashLoopError, LoginRefused
from dragonfly.events import (
    CrashLoopDetected,
    JobAbandoned,
    JobStarted,
)
from dragonfly.job import Claim
from dragonfly.postgres.failures import TROUBLE, Failure, classify, describe
from dragonfly.queue.store import Claimed
from dragonfly.runtime.acks import Acks
from dragonfly.runtime.claims import Claims
from dragonfly.runtime.execution import WorkerDesk
from dragonfly.runtime.health import Health
from dragonfly.runtime.ledger import Ledger
from dragonfly.runtime.outcomes import Ending, Verdict, failed
from dragonfly.runtime.pace import Pace
from dragonfly.runtime.process import Mode, Process
from dragonfly.runtime.slots import Deadlines, Interruption, Rest, Slot
from dragonfly.runtime.waiting import first_of, rung_within
from dragonfly.worker import Worker

ACK_BACKLOG_MOST = 8000
# Handlers that never wait give way to nobody: after so many jobs of all slots together (each slot
# has its share) claims and flushes get their turn (benchmark W2).
JOBS_A_TURN = 128
UNCANCELLABLE_SECONDS = 5.0
# somebody else is claiming what is due: look again soon, not at once
CONTENDED_SECONDS = 0.02
AGAIN_SECONDS = 0.001


class WorkerLoop:
    """The claim loop, the slots, and what is held: at the end all finished or given back."""

    def __init__(
        self,
        process: Process,
        worker: Worker,
        number: int,
        acks: Acks,
        wakeup: asyncio.Event,
        changed: Callable[[], None],
    ) -> None:
        self.process = process
        self.worker = worker
        self.worker_id = f"{worker.worker_type}.{number}@{process.process_id}"
        self.wakeup = wakeup
        self.health = Health(
            worker.name, process.events, process.settings.backoff_scale, self._changed
        )
        self.ledger = Ledger(process, worker.name, self.worker_id, acks)
        self._notify = changed
        self._acks = acks
        self._pace = Pace(worker.concurrency)
        self._slots: list[Slot] = []
        self._deadlines = Deadlines()
        self._rest = Rest()
        self._idle = asyncio.Event()
        self._left_of_share = self._share = max(1, JOBS_A_TURN // worker.concurrency)
        self._low_water = 0
        self._at_the_head = True  # more of what was claimed last is likely to lie there
        self._tells_starts = process.events.wanted(JobStarted)
        self._closed = False
        self.wound_down = asyncio.Event()
        self._once_done = False
        self._crash: CrashLoopError | None = None
        self._claims = Claims(process, worker, self.worker_id)
        self._scope: anyio.CancelScope | None = None  # that of the claims

    # --- its life -------------------------------------------------------------------------------

    async def run(self) -> None:
        """Claim and run jobs until told to stop; CrashLoopError after ten failures in a row."""
        async with AsyncExitStack() as stack:
            self.process.solitude.join(self)
            stack.callback(self.process.solitude.forgo, self.worker.name)
            stack.callback(self.wound_down.set)
            lifespan = self.worker.lifespan
            resources = (
                await stack.enter_async_context(lifespan(self.process.settings))
                if lifespan
                else None
            )
            slots = self.worker.concurrency
            desk = WorkerDesk.of(self.process, resources, slots, self.ledger, self._pace)
            self._slots = [
                Slot(self.worker.handlers, desk, self._deadlines, self) for _ in range(slots)
            ]
            stack.callback(self._deadlines.close)
            async with anyio.create_task_group() as group:
                for slot in self._slots:
                    group.start_soon(slot.run)
                self.health.started = True
                self._notify()
                # a task of its own: an answer resumes every coroutine that waits for it
                group.start_soon(self._claim_and_wind_down)
        if self._crash is not None:
            raise self._crash

    def _changed(self) -> None:
        """The health changed: the heartbeat shows it, and the claim loop looks again."""
        self.wakeup.set()
        self._notify()

    @property
    def running(self) -> list[Slot]:
        return [slot for slot in self._slots if slot.claim is not None]

    @property
    def holds_nothing(self) -> bool:
        """No handler runs, and every end is durable."""
        return not self.ledger.held and not self.running

    @property
    def is_stuck(self) -> bool:
        """It fell, but a handler that does not stop holds it back from ending."""
        return self._crash is not None and self.wound_down.is_set() and bool(self.running)

    # --- claiming -------------------------------------------------------------------------------

    async def _claim_and_wind_down(self) -> None:
        while not self._is_ending():
            # one for each claim would be dear for a lone job (W4); what gets no answer cancels it
            with anyio.CancelScope() as self._scope:
                await self._claim_until_stopped()
        await self._wind_down()

    async def _claim_until_stopped(self) -> None:
        while not self._is_ending():
            self.wakeup.clear()  # before the look, or a ring during it would be lost
            if pause := self.health.pause_left():
                self.process.solitude.forgo(self.worker.name)
                await self._wait(pause)
            elif want := self._want():
                await self._look(want)
            else:
                await self._wait(self.process.solitude.seconds_left)

    def _is_ending(self) -> bool:
        return self.process.stop.claiming.is_set() or self._crash is not None or self._once_done

    async def _wait(self, seconds: float | None) -> None:
        if await rung_within(self.wakeup, seconds):
            self._at_the_head = True

    def _want(self) -> int:
        """How many jobs to ask for: one for each idle slot, and what will start soon."""
        if not self.process.solitude.lets(self.worker.name):
            return 0
        if self.process.mode is Mode.ONCE:
            return min(1, len(self._rest))
        if self._acks.backlog > ACK_BACKLOG_MOST or not self.health.may_claim:
            self.process.solitude.forgo(self.worker.name)
            return 0
        ahead = self._pace.ahead
        self._low_water = ahead // 2
        idle = len(self._rest)
        room = idle + ahead - len(self.ledger.waiting)
        return room if room > 0 and (idle or 2 * room >= ahead) else 0

    async def _look(self, want: int) -> None:
        began = self.process.settled
        job_type = self.health.probe(self.ledger.held)
        # after a probe all is decided anew: it may have met a database that is away, or a stop
        claimed = await (self._probe(job_type) if job_type else self._claim(want))
        if claimed is None or claimed.jobs:
            self._once_done = claimed is not None and self.process.mode is Mode.ONCE
            # the slots start what came before the next claim is prepared (benchmark W4)
            await asyncio.sleep(0)
            return
        if self.process.mode is Mode.ONCE:
            self._once_done = True
        elif self.process.mode is Mode.DRAIN and self._is_drained(began):
            return
        await self.process.lender.give_back()  # an idle process needs no connection at hand
        self.process.sleepers.lie_down(self.worker)
        try:
            await self._wait(self._sleep_seconds(claimed))
        finally:
            self.process.sleepers.get_up(self.worker)

    def _sleep_seconds(self, claimed: Claimed) -> float:
        waits = [self.process.settings.poll_seconds]
        if claimed.due_in is not None:
            # due long since: others are claiming it; due just now: it became so during the look
            others = claimed.due_in < -CONTENDED_SECONDS
            waits.append(CONTENDED_SECONDS if others else max(claimed.due_in, AGAIN_SECONDS))
        probe = self.health.next_probe_in(self.ledger.held)
        if probe is not None:
            waits.append(probe)
        return min(waits)

    def _is_drained(self, began: int) -> bool:
        """Nothing was due when ``began`` finishes had been settled; is that so in every worker?"""
        if self.ledger.held:
            return False
        self.process.quiet[self.worker.name] = began
        return self.process.stop_if_drained(self._acks.backlog)

    async def _probe(self, job_type: str) -> Claimed | None:
        """One job of a type whose circuit may be closed again; None if there is none."""
        claimed = await self._claim(1, [job_type])
        if claimed is None:
            return None
        if not claimed.jobs:
            self.health.probe_found_nothing(job_type)
            return None
        self.health.probing(job_type, claimed.jobs[0].id)
        return claimed

    async def _claim(self, want: int, job_types: list[str] | None = None) -> Claimed | None:
        """Claim and hand to the slots; None if the database, or the process, did not let us."""
        types = job_types or self.health.claimable(list(self.worker.handlers))
        try:
            head, scope = self._at_the_head, self._scope
            claimed = await self._claims.take(types, want, head=head, scope=scope)
        except TROUBLE as error:
            self._claim_failed(error)
            return None
        self.health.database_answered()
        if claimed is None:
            return None
        self._at_the_head = len(claimed.jobs) >= want
        self._accept(claimed.jobs)
        if job_types is None:
            self._give_back_the_shut(claimed.jobs)
        return claimed

    def _claim_failed(self, error: Exception) -> None:
        match classify(error):
            case Failure.CONFIGURATION:
                self.health.misconfigured(describe(error), login=isinstance(error, LoginRefused))
            case Failure.BUG if not isinstance(error, OSError):
                raise error
            case _:  # a socket or a name that is gone is as far away as a refused connection
                self.health.database_away(describe(error))

    def _accept(self, claims: list[Claim]) -> None:
        if not claims:
            return
        held = self.ledger.held
        if again := [held[claim.id] for claim in claims if claim.id in held]:
            self.lose(again)  # the lock ran out meanwhile: the new one counts
        self.process.quiet.pop(self.worker.name, None)  # a drain waits for these again
        self.ledger.accept(claims)
        self._pace.took(claims)
        if self._is_ending() or self.health.pause_left():
            self.ledger.give_back()
        if self.ledger.waiting:
            self._idle.clear()
            self._rest.rouse(len(self.ledger.waiting))

    def _give_back_the_shut(self, claims: list[Claim]) -> None:
        """A circuit may have opened while the claim travelled: its type is not to be started."""
        if shut := self.health.open_circuits(self.worker.handlers):
            for job_type in shut.keys() & {claim.job_type for claim in claims}:
                self.ledger.give_back(job_type)

    # --- running --------------------------------------------------------------------------------

    def next(self) -> Claim | None:
        """The next job for a slot; None now and then, so that claims and flushes get on."""
        if not self._left_of_share or not self.ledger.waiting:
            return None
        self._left_of_share -= 1
        claim = self.ledger.waiting.popleft()
        if len(self.ledger.waiting) == self._low_water:
            self.wakeup.set()
        if self._tells_starts:
            event = JobStarted(self.worker.name, claim.id, claim.job_type, claim.attempt)
            self.process.events.emit(event)
        return claim

    async def more(self) -> bool:
        """Wait until there is work for a slot; False when the worker closes."""
        self._left_of_share = self._share
        if self.ledger.waiting:
            await asyncio.sleep(0)
        while not self.ledger.waiting:
            if self._closed:
                return False
            if len(self._rest) + 1 == len(self._slots):
                self._idle.set()
                self.process.solitude.idled()
            self.wakeup.set()
            await self._rest.until_roused()
        return True

    def completed(self, claim: Claim, seconds: float, *, committed: bool) -> None:
        """A handler succeeded, and there is no more than that to write."""
        self._pace.ran(seconds)
        self.health.succeeded(claim.job_type)
        self.ledger.complete(claim, seconds, committed=committed)

    def ended(self, slot: Slot, claim: Claim, ending: Ending, seconds: float) -> None:
        """A handler is done: judge the worker by it, and pass the finish on."""
        self._pace.ran(seconds)
        self.ledger.conclude(claim, self._judge(slot, claim, ending), seconds)

    def _judge(self, slot: Slot, claim: Claim, ending: Ending) -> Ending:
        reason = ending.reason or ""
        match ending.verdict:
            case Verdict.SUCCESS:
                self.health.succeeded(claim.job_type)
            case Verdict.CONFIGURATION:
                return self._configuration_failed(slot, claim, ending, reason)
            case Verdict.AWAY:
                ending = self._connection_lost(ending, reason)
            case Verdict.COUNTED:
                self._counted(slot, reason)
        if ending.verdict is not Verdict.SUCCESS:
            self.health.probe_inconclusive(claim.job_type, claim.id)
        return ending

    def _connection_lost(self, ending: Ending, reason: str) -> Ending:
        """Should this very job break connections, the others must get their turn before it."""
        pause = self.health.database_away(reason, by_job=True)
        self.ledger.give_back()
        return replace(ending, finish=ending.finish and ending.finish._replace(delay=pause))

    def _counted(self, slot: Slot, reason: str) -> None:
        # the slot's clock is perf_counter, on every platform the same as monotonic or finer
        age = time.perf_counter() - slot.started
        if not self.health.failed(time.monotonic() - age, reason):
            return
        self.ledger.give_back()
        if self.health.backoff.crash_looping and self._crash is None:
            failures = self.health.backoff.consecutive_failures
            self.process.events.emit(CrashLoopDetected(self.worker.name, failures, reason))
            self.health.crash = (
                f"Crash loop detected: {self.worker.name} failed {failures} times in a row; "
                f"the last time: {reason}"
            )
            self._crash = CrashLoopError(self.health.crash)

    def _configuration_failed(
        self, slot: Slot, claim: Claim, ending: Ending, reason: str
    ) -> Ending:
        pause = self.health.circuit_pause(claim.job_type)
        if self.health.opened(claim.job_type, claim.id, reason):
            self.ledger.give_back(claim.job_type)
            finish = ending.finish and ending.finish._replace(delay=pause)
            return Ending(finish, ending.verdict, ending.outcome, reason)
        self._counted(slot, reason)
        return Ending(failed(claim, reason), Verdict.COUNTED, "failed", reason)

    def give_back_the_late(self) -> None:
        """Return what waited a heartbeat for a slot, and claim no more until one is free."""
        if self.ledger.give_back(waiting_longer_than=self.process.settings.heartbeat_seconds):
            self._pace.forget()

    def lose(self, claims: Sequence[Claim]) -> None:
        """These claims are no longer good: stop working on their jobs.

        Where a job was claimed anew meanwhile, the new claim stands.
        """
        tokens = {(claim.id, claim.lock_token) for claim in claims}
        for slot in self.running:
            if slot.claim is not None and (slot.claim.id, slot.claim.lock_token) in tokens:
                slot.interrupt(Interruption.LOST)
        self.ledger.lose(tokens)

    # --- stopping -------------------------------------------------------------------------------

    async def _wind_down(self) -> None:
        """Let what runs finish within the grace, then cancel it; give back what waits."""
        stop = self.process.stop
        if self._crash is None:
            await first_of(self._idle, stop.claiming)
        self.ledger.give_back()
        if not self._idle.is_set():
            await first_of(self._idle, stop.now, seconds=self.process.settings.grace_seconds)
        for slot in self.running:
            slot.interrupt(Interruption.STOP)
        if not self._idle.is_set():
            await first_of(self._idle, seconds=UNCANCELLABLE_SECONDS)
        self._abandon()
        self._closed = True
        self.wound_down.set()
        self._rest.rouse(len(self._rest))
        await self._claims.close()

    def _abandon(self) -> None:
        for slot in self.running:
            if slot.claim is not None:
                claim = slot.claim
                self.process.abandoned.set()
                self.process.events.emit(JobAbandoned(self.worker.name, claim.id, claim.job_type))
