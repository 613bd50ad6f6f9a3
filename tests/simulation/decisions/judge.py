"""What must hold of each decision: a second, smaller account of what the supervisor may do."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dragonfly import events as told
from dragonfly.job import Claim, Finish, JobStatus
from dragonfly.queue.heartbeats import WorkerStatus
from dragonfly.queue.store import Claimed
from dragonfly.runtime.health import Health
from dragonfly.runtime.process import Mode
from tests.simulation.fate import Deed
from tests.simulation.handlers import TIMEOUT_SECONDS, Attempt, End
from tests.simulation.watch import (
    CIRCUIT_CAP_SECONDS,
    CIRCUIT_SECONDS,
    NEXT_TO_NOTHING,
    Circuit,
    Start,
    Watch,
)

if TYPE_CHECKING:
    from tests.simulation.decisions.database import Row
    from tests.simulation.decisions.life import Life

# what is told of ends that cannot be written says so, and of nothing else
UNWRITABLE_SECONDS = 1.0
# how late a look may be that is owed at once: others may be under way, at the latency of a seed
LATE_SECONDS = 1.0
AHEAD_SECONDS = 0.1
# however short the jobs before: a mean is moved half the way to a run that is longer
MEAN_OVER_LAST = 2.0
IGNORED = frozenset({told.JobStarted, told.JobsClaimed})
REFUSALS_OF_A_BUG = 3
# a claim that is under way, and the one after it
UNHEARD_SECONDS = 10.0
# a claim or two under way, each with a login before it
UNDER_WAY_SECONDS = 15.0
LONGEST_RETRY_SECONDS = 15 * 60 * 1.2


@dataclass(slots=True)
class Desk:
    """What one start of a worker may ask for, and by when it must."""

    away: bool = False
    away_until: float = 0.0
    own: bool = False  # the circuit of its own statements is open
    own_until: float = 0.0
    owed_since: float = math.inf  # a pause was over then, and no claim has been asked for
    last: float = 0.0  # when a claim was answered, or a handler ended
    probes: dict[str, int] = field(default_factory=dict)
    claimed: int = 0
    ran: float = math.inf  # how long the last job took
    fell_at: float = math.inf


class Judge(Watch):
    """Hears all that the process tells, and all that it asks of the database."""

    def __init__(self, life: Life) -> None:
        super().__init__(life.kernel, life.fate.settings, life.complain)
        self._life = life
        self._kernel = life.kernel
        self._desks: dict[str, Desk] = {}
        self._ends: dict[int, Attempt] = {}  # by job: its last attempt
        self.finishes_tell = False  # what is told comes from the finishes, not from the claims
        self.unwritable = False
        self.writable_since = 0.0
        self.settled_at = 0.0
        self.unhappy = False
        self.fell = False
        self.stopped_at = self.hurried_at = math.inf
        self.drained = False
        self.lost: set[int] = set()
        self._refusals: Counter[int] = Counter()  # by job: how often its configuration was wrong
        self._fallen: set[str] = set()

    # --- what the process tells -----------------------------------------------------------------

    def hear(self, event: told.Event) -> None:
        super().hear(event)
        if not self.closed and type(event) not in IGNORED:
            self._follow(event)

    def _follow(self, event: told.Event) -> None:
        now = self._kernel.now
        match event:
            case told.WorkerStarted():
                self._desks[event.worker] = Desk(last=now)
                self._fallen.discard(event.worker)
            case told.WorkerPaused() | told.WorkerRecovered():
                self._owe(event.worker)
            case told.DatabaseAway():
                desk = self._desks[event.worker]
                desk.away, desk.away_until = True, now + event.seconds
                self._owe(event.worker)
            case told.DatabaseBack():
                desk = self._desks[event.worker]
                desk.away, desk.away_until = False, 0.0
                self._owe(event.worker)
            case told.CircuitOpened(job_type=None) | told.CircuitClosed(job_type=None):
                self._whole_worker(event)
            case told.CircuitClosed(job_type=str(kind)):
                desk = self._desks[event.worker]
                desk.last = now
                desk.probes.pop(kind, None)  # what tried it is a job like any other now
            case told.CrashLoopDetected():
                self.fell, self._desks[event.worker].fell_at = True, now
                self._fallen.add(event.worker)
            case told.WorkerFell():
                self.fell = True
                self._fallen.add(event.worker)
            case told.WorkerGivenUp():
                self._kernel.call_at(now, self._life.look_whether_all_is_over)
            case told.JobFinished():
                last = self._ends.get(event.job_id)
                refused = last is not None and last.end is End.CONFIGURATION
                self.unhappy |= event.outcome in {"failed", "retried"} or refused
            case told.JobAbandoned():
                deed = self._ends[event.job_id].deed
                self._broken(deed is not Deed.STUBBORN, f"job {event.job_id} is not cut off")
            case told.JobLockLost():
                self._desks[event.worker].last = now
                self.settled(event.job_id)

    def _whole_worker(self, event: told.CircuitOpened | told.CircuitClosed) -> None:
        opened = isinstance(event, told.CircuitOpened)
        seconds = event.seconds if isinstance(event, told.CircuitOpened) else 0.0
        if self.finishes_tell or seconds == UNWRITABLE_SECONDS:
            self.unwritable, self.writable_since = opened, self._kernel.now
            return
        desk = self._desks[event.worker]
        desk.own = opened
        desk.own_until = self._kernel.now + seconds if opened else 0.0
        self._owe(event.worker)

    def _blocked_until(self, worker: str) -> float:
        desk = self._desks[worker]
        return max(self._starts[worker].paused_until, desk.away_until, desk.own_until)

    def _owe(self, worker: str) -> None:
        """As soon as its pauses are over, the worker looks."""
        self._desks[worker].owed_since = max(self._kernel.now, self._blocked_until(worker))

    # --- what it asks ---------------------------------------------------------------------------

    def asked(self, worker: str, types: Sequence[str], limit: int) -> str | None:
        """A claim begins; the type that it probes, if it does."""
        desk, start, now = self._desks[worker], self._starts[worker], self._kernel.now
        if self._life.process.stop.claiming.is_set():
            self._complain(f"{worker} claims after it was told to stop")
        if start.crashed:
            self._complain(f"{worker} claims after its fall")
        if now < self._blocked_until(worker) - NEXT_TO_NOTHING:
            self._complain(f"{worker} claims in a pause")
        if self.unwritable:
            self._complain(f"{worker} claims although no end can be written")
        if self._life.fate.mode is Mode.ONCE and desk.claimed + limit > 1:
            self._complain(f"{worker} claims more than one job")
        slots = self._life.fate.slots[worker]
        if limit > slots * (1 + MEAN_OVER_LAST * AHEAD_SECONDS / max(desk.ran, 1e-6)):
            self._complain(f"{worker} claims {limit} jobs after one of {desk.ran:g} s")
        self.shown(worker, self._life.boss._loops[worker].health)
        self._in_time(worker, desk.owed_since)
        desk.owed_since = math.inf
        if not start.circuits:
            return None
        shut = {kind for kind, each in start.circuits.items() if kind and each.open}
        if len(types) == 1 and types[0] in shut:
            self._judge_a_probe(worker, types[0], limit)
            return types[0]
        if shut.intersection(types):
            self._complain(f"{worker} claims {types} while the circuits of {shut} are open")
        return None

    def _in_time(self, worker: str, since: float) -> None:
        late = self._kernel.now - max(since, self._desks[worker].last, self.writable_since)
        if late > LATE_SECONDS:
            self._complain(f"{worker} looks {late:.1f} s after its pause was over")

    def _judge_a_probe(self, worker: str, job_type: str, limit: int) -> None:
        circuit = self._circuit(worker, job_type)
        early = self._kernel.now < circuit.probe_at - NEXT_TO_NOTHING
        self._broken(early, f"{worker} probes {job_type} before its time")
        self._broken(limit != 1, f"{worker} probes {job_type} with {limit} jobs")
        probe = self._desks[worker].probes.get(job_type)
        held = self._life.held_by(worker)
        self._broken(probe in held, f"{worker} probes {job_type} twice at once")
        self._in_time(worker, max(circuit.probe_at, self._blocked_until(worker)))

    def _circuit(self, worker: str, job_type: str) -> Circuit:
        return self._starts[worker].circuits[job_type]

    def answered(self, worker: str, claimed: Claimed, probed: str | None) -> None:
        """The claim travels back with these jobs."""
        desk, now = self._desks[worker], self._kernel.now
        if probed is None:
            self._waited_for_nothing(worker, claimed)
        desk.last, desk.claimed = now, desk.claimed + len(claimed.jobs)
        if probed is None:
            return
        if claimed.jobs:
            desk.probes[probed] = claimed.jobs[0].id
        elif (circuit := self._starts[worker].circuits.get(probed)) is not None:
            pause = CIRCUIT_SECONDS * 2.0**circuit.openings
            circuit.probe_at = now + min(pause, CIRCUIT_CAP_SECONDS)

    def _waited_for_nothing(self, worker: str, claimed: Claimed) -> None:
        """Whatever came when it was due rang for the worker, which had a slot or gets one."""
        free = max(self._desks[worker].last, self._blocked_until(worker), self.writable_since)
        for claim in claimed.jobs:
            rung = self._life.queue.rows[claim.id].rung
            late = 0.0 if rung is None else self._kernel.now - max(rung, free)
            self._broken(late > UNHEARD_SECONDS, f"job {claim.id} rang, and waited {late:.1f} s")

    # --- what its heartbeat shows ---------------------------------------------------------------

    def shown(self, worker: str, health: Health) -> None:
        """Its row says what is the case, and why."""
        start, desk = self._starts[worker], self._desks[worker]
        troubled = start.failures > 0 or desk.away or desk.own or self.unwritable
        if start.circuits and not troubled:
            troubled = any(circuit.open for kind, circuit in start.circuits.items() if kind)
        expected = WorkerStatus.DEGRADED if troubled else WorkerStatus.RUNNING
        if start.crashed:
            expected = WorkerStatus.ERROR
        if health.started and health.status is not expected:
            self._complain(f"{worker} shows {health.status}, not {expected}")
        if troubled and not health.reason:
            self._complain(f"{worker} does not say why")

    def waiting(self, worker: str, claims: Iterable[Claim]) -> None:
        """What is left waiting for a slot right after a heartbeat came since the one before."""
        before = self._kernel.now - self._settings.heartbeat_seconds
        late = [claim.id for claim in claims if self._life.queue.rows[claim.id].claimed < before]
        self._broken(bool(late), f"{worker} lets {late} wait for longer than a heartbeat")

    def last_word(self, worker: str, status: WorkerStatus) -> None:
        """The row of a start that is over tells whether it fell."""
        expected = WorkerStatus.ERROR if worker in self._fallen else WorkerStatus.STOPPED
        if not self.closed and status is not expected:
            self._complain(f"{worker} leaves as {status}, not as {expected}")

    # --- handlers and what is written of them ---------------------------------------------------

    def begun(self, attempt: Attempt) -> None:
        super().begun(attempt)
        self._ends[attempt.job_id] = attempt
        self._life.queue.rows[attempt.job_id].started = True

    def ended(self, attempt: Attempt) -> None:
        super().ended(attempt)
        if not self.closed:
            desk = self._desks[attempt.worker]
            desk.last = self._kernel.now
            desk.ran = desk.last - attempt.started
            self._refusals[attempt.job_id] += attempt.end is End.CONFIGURATION
            if desk.probes.get(attempt.job_type) == attempt.job_id:
                del desk.probes[attempt.job_type]
            self._cut_off_in_time(attempt, desk)

    def _cut_off_in_time(self, attempt: Attempt, desk: Desk) -> None:
        now, grace = self._kernel.now, self._settings.grace_seconds
        stop = min(self.stopped_at + grace, self.hurried_at, desk.fell_at + grace)
        if attempt.deed is not Deed.STUBBORN:
            outlived = now > stop + UNDER_WAY_SECONDS
            self._broken(outlived, f"job {attempt.job_id} outlived the grace")
        late = attempt.job_type == "a" and now >= attempt.started + TIMEOUT_SECONDS
        if attempt.end is End.CUT_OFF and not late and attempt.job_id not in self.lost:
            early = now < stop - NEXT_TO_NOTHING
            self._broken(early, f"job {attempt.job_id} was cut off within the grace")

    def finished(self, finish: Finish) -> None:
        """The table of failures once more: what the end of an attempt writes."""
        row = self._life.queue.rows[finish.job_id]
        if self.closed or row.token != finish.lock_token:
            return  # it was lost: whatever is written now, the fence refuses
        if not self._fits(finish, row):
            what = self._ends[row.id] if row.started else "nothing"
            self._complain(f"after {what} is written: {finish}")

    def _fits(self, finish: Finish, row: Row) -> bool:
        status, refund, delay = finish.status, finish.refund, finish.delay
        back = status is JobStatus.PENDING and refund and not finish.acquits
        put_off = status is JobStatus.PENDING and refund and finish.acquits
        if not row.started:
            return back and delay is None
        attempt = self._ends[row.id]
        late = self._kernel.now >= attempt.started + TIMEOUT_SECONDS and row.job_type == "a"
        again = status is JobStatus.PENDING and not refund and delay is not None
        again = again and finish.acquits and 0 < (delay or 0) <= LONGEST_RETRY_SECONDS
        charged = again or (status is JobStatus.FAILED and not refund)
        match attempt.end:
            case End.SUCCESS:
                return status is JobStatus.COMPLETED
            case End.COUNTED:
                return charged
            case End.CUT_OFF:
                return charged if late else back and delay is None
            case End.CONFIGURATION:
                bug = status is JobStatus.FAILED and self._refusals[row.id] >= REFUSALS_OF_A_BUG
                return (back and (delay or 0) > 0) or bug
            case End.AWAY:
                return back and delay is not None and delay > 0
        return {
            Deed.REJECT: status is JobStatus.FAILED,
            Deed.CANCEL: status is JobStatus.CANCELLED,
            Deed.SNOOZE: put_off and delay is not None,
            Deed.RETRY: charged,
        }[attempt.deed]

    # --- the end --------------------------------------------------------------------------------

    def settled(self, job_id: int) -> None:
        """The end of a job is durable; a probe that was given back makes room for the next."""
        self.settled_at = now = self._kernel.now
        for desk in self._desks.values():
            if job_id in desk.probes.values():
                desk.last = now

    def told_to_stop(self, signal: str) -> None:
        """The process hears a signal, or decides to stop by itself."""
        if self.closed:
            return
        if self.stopped_at < math.inf:
            self.hurried_at = min(self.hurried_at, self._kernel.now)
        elif signal == "drained":
            self.drained = True
            self._nothing_is_left()
        else:
            self.stopped_at = self._kernel.now

    def _nothing_is_left(self) -> None:
        life = self._life
        for worker in self._starts:
            self._broken(bool(life.held_by(worker)), f"a drain ends while {worker} holds jobs")
        living = {kind for name in life.process.wakeups for kind in self._types(name)}
        for row in life.queue.rows.values():
            due = row.status is JobStatus.PENDING and row.due <= self.settled_at
            if due and row.job_type in living and not self.is_shut(row.job_type):
                self._complain(f"a drain ends while job {row.id} is due")

    def _types(self, worker: str) -> tuple[str, ...]:
        start: Start | None = self._starts.get(worker)
        return start.job_types if start else ()

    def left(self, code: int) -> None:
        """The process has ended."""
        if self._life.fate.mode is Mode.FOREVER:
            expected = int(self._life.process.stop.signal is None)
        else:
            held = any(self._life.held_by(worker) for worker in self._starts)
            expected = int(self.unhappy or self.fell or held)
        self._broken(code != expected, f"the process exits with {code}, not {expected}")
        stop = min(self.stopped_at + self._settings.grace_seconds, self.hurried_at)
        late = self._kernel.now > stop + 2 * UNDER_WAY_SECONDS
        self._broken(late, "the process outlived its stop")
