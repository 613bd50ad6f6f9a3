"""What must hold at every moment of a process's life, judged from what it tells."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import singledispatchmethod
from typing import Protocol

from dragonfly import events as told
from dragonfly.settings import Settings
from tests.simulation.handlers import Attempt, End

CAP_SECONDS, JITTER, THRESHOLD = 60.0, 0.1, 10
CIRCUIT_SECONDS, CIRCUIT_CAP_SECONDS, LOGIN_SECONDS = 30.0, 300.0, 1200.0
OWN_SECONDS = (30.0, 60.0, 120.0, 240.0, 300.0)
RESTART_SECONDS, WINDOW_SECONDS = 60.0, 3600.0
NEXT_TO_NOTHING = 1e-4


class Clock(Protocol):
    """Whoever knows what time it is there."""

    now: float


def pause_of(failures: int) -> float:
    """The documented pause after so many failures in a row, without its jitter."""
    return float(min(2.0 ** (failures - 1), CAP_SECONDS))


@dataclass
class Circuit:
    """As the process tells of it."""

    openings: int = 0
    open: bool = False
    probe_at: float = 0.0
    running: set[int] = field(default_factory=set)  # started since it opened


@dataclass
class Start:
    """One start of a worker."""

    job_types: tuple[str, ...]
    failures: int = 0
    counted_at: float = float("-inf")
    # what the next WorkerPaused must say; none must come if it is None
    expected: int | None = None
    may_count: bool = False
    paused_until: float = 0.0
    crashed: bool = False
    away_tries: int = 0
    circuits: dict[str | None, Circuit] = field(default_factory=dict)


class Watch:
    """Follows the workers of one process; ``complain`` hears each broken promise."""

    def __init__(self, loop: Clock, settings: Settings, complain: Callable[[str], None]) -> None:
        self.attempts: list[Attempt] = []
        self.disturbed = False  # time has leapt: how long something took proves nothing
        self.closed = False
        self.given_up: set[str] = set()
        self.exit_code: int | None = None
        self._running: list[Attempt] = []
        self._loop = loop
        self._settings = settings
        self._complain = complain
        self._starts: dict[str, Start] = {}
        self._restarts: dict[str, deque[float]] = {}
        self._restart_at: dict[str, float] = {}

    def disturb(self) -> None:
        """The process was frozen, or its time leapt."""
        self.disturbed = True

    def hear(self, event: told.Event) -> None:
        """Judge an event of the process, unless the process is dead by now."""
        if not self.closed:
            _JUDGED.dispatch(type(event))(self, event)

    def _broken(self, condition: bool, sentence: str) -> None:
        if condition:
            self._complain(sentence)

    def is_shut(self, job_type: str) -> bool:
        """Whether a circuit, or the fall of its worker, keeps this type from being claimed."""
        circuits = [start.circuits.get(job_type) for start in self._starts.values()]
        fell = [start.crashed and job_type in start.job_types for start in self._starts.values()]
        return any(fell) or any(circuit is not None and circuit.open for circuit in circuits)

    # --- what handlers tell ---------------------------------------------------------------------

    def begun(self, attempt: Attempt) -> None:
        if not self.closed:
            wrong = attempt.alone and bool(self._running)
            self._broken(wrong, f"job {attempt.job_id} is at its last chance and not alone")
            self.attempts.append(attempt)
            self._running.append(attempt)

    def ended(self, attempt: Attempt) -> None:
        """Just before the worker hears of it: what it must make of it."""
        start = self._starts.get(attempt.worker)
        if self.closed or start is None:
            return
        self._running.remove(attempt)
        self._nothing_is_owed(attempt.worker, start)
        for circuit in start.circuits.values():
            circuit.running.discard(attempt.job_id)
        match attempt.end:
            case End.SUCCESS:
                start.failures = 0
            case End.COUNTED if start.crashed:
                start.may_count = True
            case End.COUNTED:
                gap = attempt.started - start.counted_at
                start.may_count = abs(gap) <= NEXT_TO_NOTHING
                if gap > NEXT_TO_NOTHING:
                    start.expected = start.failures + 1
            case End.CUT_OFF | End.CONFIGURATION:
                start.may_count = True

    def _nothing_is_owed(self, worker: str, start: Start) -> None:
        self._broken(start.expected is not None, f"{worker} did not count a failure")
        start.expected, start.may_count = None, False

    # --- what the process tells -----------------------------------------------------------------

    @singledispatchmethod
    def _judge(self, event: told.Event) -> None:
        """Of most events nothing follows."""

    @_judge.register
    def _(self, event: told.WorkerStarted) -> None:
        worker = event.worker
        self._broken(worker in self.given_up, f"{worker} was started after it was given up")
        due = self._restart_at.pop(worker, None)
        if due is not None and not self.disturbed:
            late = abs(self._loop.now - due) > 1
            self._broken(late, f"{worker} was not restarted after its pause")
        self._starts[worker] = Start(event.job_types)

    @_judge.register
    def _(self, event: told.WorkerPaused) -> None:
        start = self._starts[event.worker]
        allowed = {start.expected} if start.expected else set()
        if start.may_count:
            allowed.add(start.failures + 1)
        self._broken(
            event.failures not in allowed,
            f"{event.worker} counts {event.failures} failures, not {sorted(allowed)}",
        )
        self._near(event.worker, event.seconds, pause_of(event.failures))
        start.failures, start.counted_at = event.failures, self._loop.now
        start.expected, start.may_count = None, False
        start.paused_until = self._loop.now + event.seconds

    def _near(self, worker: str, seconds: float, plain: float) -> None:
        fits = plain * (1 - JITTER) - 1e-9 <= seconds <= plain * (1 + JITTER) + 1e-9
        self._broken(not fits, f"{worker} pauses for {seconds:g} s where {plain:g} s are due")

    @_judge.register
    def _(self, event: told.WorkerRecovered) -> None:
        start = self._starts[event.worker]
        start.paused_until = 0.0
        self._broken(start.failures != 0, f"{event.worker} recovered without a success")

    @_judge.register
    def _(self, event: told.CrashLoopDetected) -> None:
        start = self._starts[event.worker]
        start.crashed = True
        wrong = event.failures != THRESHOLD or start.failures != THRESHOLD
        self._broken(wrong, f"{event.worker} fell after {event.failures} failures")

    @_judge.register
    def _(self, event: told.JobStarted) -> None:
        worker, start, now = event.worker, self._starts[event.worker], self._loop.now
        early = now < start.paused_until - NEXT_TO_NOTHING
        self._broken(early, f"{worker} started job {event.job_id} in its pause")
        fell = start.failures >= THRESHOLD
        self._broken(fell, f"{worker} started job {event.job_id} after its fall")
        circuit = start.circuits.get(event.job_type)
        if circuit is not None and circuit.open:
            early = now < circuit.probe_at - NEXT_TO_NOTHING
            self._broken(early, f"{worker} started {event.job_type} while its circuit was open")
            self._broken(bool(circuit.running), f"{worker} probes {event.job_type} twice at once")
            circuit.running.add(event.job_id)

    # --- the database and the configuration -----------------------------------------------------

    @_judge.register
    def _(self, event: told.DatabaseAway) -> None:
        start = self._starts[event.worker]
        start.away_tries += 1
        most = CAP_SECONDS * (1 + JITTER)
        least = pause_of(start.away_tries) * (1 - JITTER)
        fits = least - 1e-9 <= event.seconds <= most + 1e-9
        self._broken(not fits, f"{event.worker} waits {event.seconds:g} s for a database away")

    @_judge.register
    def _(self, event: told.DatabaseBack) -> None:
        self._starts[event.worker].away_tries = 0

    @_judge.register
    def _(self, event: told.CircuitOpened) -> None:
        circuit = self._starts[event.worker].circuits.setdefault(event.job_type, Circuit())
        plain = min(CIRCUIT_SECONDS * 2.0**circuit.openings, CIRCUIT_CAP_SECONDS)
        # the worker's own is told of for claims and for finishes alike, which open and close apart
        allowed = {plain} if event.job_type else {*OWN_SECONDS, LOGIN_SECONDS, 1.0}
        self._broken(
            event.seconds not in allowed,
            f"the circuit of {event.job_type} opens for {event.seconds:g} s, not {plain:g}",
        )
        if event.seconds != 1.0:
            circuit.openings += 1
        circuit.open, circuit.probe_at = True, self._loop.now + event.seconds
        circuit.running.clear()

    @_judge.register
    def _(self, event: told.CircuitClosed) -> None:
        circuits = self._starts[event.worker].circuits
        if event.job_type is None:
            circuits.pop(None, None)
            return
        self._broken(
            event.job_type not in circuits,
            f"a circuit of {event.job_type} closes that never opened",
        )
        circuits.pop(event.job_type, None)

    # --- restarts and the end -------------------------------------------------------------------

    def _recent(self, worker: str) -> deque[float]:
        """When it was restarted in the last hour."""
        restarts = self._restarts.setdefault(worker, deque())
        while restarts and self._loop.now - restarts[0] > WINDOW_SECONDS:
            restarts.popleft()
        return restarts

    @_judge.register
    def _(self, event: told.WorkerRestarting) -> None:
        recent, most = self._recent(event.worker), self._settings.worker_restarts
        self._broken(len(recent) >= most, f"{event.worker} is restarted more than {most} times")
        self._broken(event.seconds != RESTART_SECONDS, f"{event.worker} is restarted too soon")
        recent.append(self._loop.now)
        self._restart_at[event.worker] = self._loop.now + event.seconds

    @_judge.register
    def _(self, event: told.WorkerGivenUp) -> None:
        few = len(self._recent(event.worker)) < self._settings.worker_restarts
        self._broken(few, f"{event.worker} was given up with restarts left")
        self.given_up.add(event.worker)

    @_judge.register
    def _(self, event: told.ProcessStopped) -> None:
        self.exit_code = event.exit_code
        for worker, start in self._starts.items():
            self._nothing_is_owed(worker, start)


# looked up once: as a method it would be bound anew for each event
_JUDGED = Watch.__dict__["_judge"].dispatcher
