"""Whether a worker may claim, of which job types, and what its heartbeat says about it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, field

from dragonfly.backoff import BackoffState, pause_seconds
from dragonfly.events import (
    CircuitClosed,
    CircuitOpened,
    DatabaseAway,
    DatabaseBack,
    Events,
    WorkerPaused,
    WorkerRecovered,
)
from dragonfly.queue.heartbeats import WorkerStatus
from dragonfly.runtime.logins import LOGIN_PAUSE_SECONDS, LOGIN_TRIES

CIRCUIT_SECONDS = 30.0
CIRCUIT_CAP_SECONDS = 300.0
REOPENINGS_OF_A_BUG = 3


@dataclass(slots=True)
class Circuit:
    """Open while something outside the job is missing: a table, a column, a permission."""

    reason: str = ""
    probe_at: float = 0.0
    openings: int = 0
    open: bool = False
    probe: int | None = None  # the job that tries whether it may close
    succeeded: bool = False
    opened_by: Counter[int] = field(default_factory=Counter)

    def pause(self, scale: float) -> float:
        return min(CIRCUIT_SECONDS * 2.0 ** min(self.openings, 10), CIRCUIT_CAP_SECONDS) * scale


class Health:
    """The state of one start of one worker. Times are monotonic seconds."""

    def __init__(
        self,
        worker: str,
        events: Events,
        scale: float,
        changed: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.worker = worker
        self.backoff = BackoffState(scale)
        self.started = False
        self._events = events
        self._scale = scale
        self._changed = changed
        self._clock = clock
        self._circuits: dict[str, Circuit] = {}
        self._own = Circuit()
        self._unwritable: str | None = None  # why no finish can be written
        self._away_since: float | None = None
        self._away_tries = 0
        self._away_until = 0.0
        self._lost_by_job = False
        self._reason: str | None = None
        self._logins = 0
        self.crash: str | None = None  # why it fell

    @property
    def status(self) -> WorkerStatus:
        if not self.started:
            return WorkerStatus.STARTING
        if self.crash is not None:
            return WorkerStatus.ERROR
        return WorkerStatus.DEGRADED if self.reason else WorkerStatus.RUNNING

    @property
    def reason(self) -> str | None:
        """A sentence, or None while all is well."""
        if self.crash is not None:
            return self.crash
        if self._away_since is not None or self._own.open or self.backoff.consecutive_failures:
            return self._reason
        if self._unwritable is not None:
            return self._unwritable
        circuits = (f"{kind}: {c.reason}" for kind, c in self._circuits.items() if c.open)
        return next(circuits, None)

    def pause_left(self) -> float:
        """Seconds until the worker may claim again; 0 if it may now."""
        until = max(self.backoff.pause_until, self._away_until, self._own.probe_at)
        return max(0.0, until - self._clock())

    def claimable(self, job_types: list[str]) -> list[str]:
        """The types whose circuit is closed."""
        if not self._circuits:
            return job_types
        return [kind for kind in job_types if not self._is_open(kind)]

    def _is_open(self, job_type: str) -> bool:
        circuit = self._circuits.get(job_type)
        return circuit is not None and circuit.open

    def open_circuits(self, job_types: Iterable[str]) -> dict[str, str]:
        """The types that are not claimed for now, each with the reason."""
        if self._own.open:
            return dict.fromkeys(job_types, self._reason or "")
        return {kind: c.reason for kind, c in self._circuits.items() if c.open}

    def probe(self, held: Container[int]) -> str | None:
        """A type whose pause is over, of which one job may be tried.

        A probe counts while its job is ``held``: one that was given back unstarted proves nothing.
        """
        now = self._clock()
        for job_type, circuit in self._circuits.items():
            if circuit.open and circuit.probe not in held and circuit.probe_at <= now:
                return job_type
        return None

    def probing(self, job_type: str, job_id: int) -> None:
        """This job tries whether the circuit may close."""
        self._circuits[job_type].probe = job_id

    def probe_found_nothing(self, job_type: str) -> None:
        circuit = self._circuits[job_type]
        circuit.probe = None
        circuit.probe_at = self._clock() + circuit.pause(self._scale)

    def probe_inconclusive(self, job_type: str, job_id: int) -> None:
        """The probing job ended for reasons of its own: try another."""
        circuit = self._circuits.get(job_type)
        if circuit is not None and circuit.probe == job_id:
            circuit.probe = None
            self._changed()

    def next_probe_in(self, held: Container[int]) -> float | None:
        """Seconds until a probe may be tried; None if no circuit waits for one."""
        waits = [c.probe_at for c in self._circuits.values() if c.open and c.probe not in held]
        return max(0.0, min(waits) - self._clock()) if waits else None

    def circuit_pause(self, job_type: str) -> float:
        """How long the circuit of this type would stay open if it opened now."""
        return self._circuits.get(job_type, Circuit()).pause(self._scale)

    def succeeded(self, job_type: str) -> None:
        """A job completed: every count starts again, and a pause ends at once."""
        circuit = self._circuits.get(job_type)
        if circuit is not None:
            circuit.succeeded = True
            self._close(job_type, circuit)
        # while the database is away, a job that needed none proves nothing about it
        if self._lost_by_job and self._away_since is None:
            self._lost_by_job, self._away_tries = False, 0
        if self.backoff.record_success():
            self._events.emit(WorkerRecovered(self.worker))
            self._changed()

    def _close(self, job_type: str, circuit: Circuit) -> None:
        if circuit.open:
            circuit.open, circuit.probe, circuit.openings = False, None, 0
            self._events.emit(CircuitClosed(self.worker, job_type))
            self._changed()

    def failed(self, claimed_at: float, reason: str) -> bool:
        """A counted failure; True if it was counted (and not in flight with one that was)."""
        pause = self.backoff.record_failure(claimed_at=claimed_at, now=self._clock())
        if pause is None:
            return False
        self._reason = reason
        failures = self.backoff.consecutive_failures
        self._events.emit(WorkerPaused(self.worker, failures, pause, reason))
        self._changed()
        return True

    def opened(self, job_type: str, job_id: int, reason: str) -> bool:
        """The configuration is wrong for this type. False: it is this job that is wrong, a bug."""
        circuit = self._circuits.setdefault(job_type, Circuit())
        if circuit.open and circuit.probe != job_id:
            return True  # it was in flight with the one that opened the circuit
        circuit.probe = None
        circuit.opened_by[job_id] += 1
        if circuit.succeeded and circuit.opened_by[job_id] >= REOPENINGS_OF_A_BUG:
            self._close(job_type, circuit)
            return False
        pause = circuit.pause(self._scale)
        circuit.open, circuit.reason = True, reason
        circuit.probe_at = self._clock() + pause
        circuit.openings += 1
        self._events.emit(CircuitOpened(self.worker, job_type, pause, reason))
        self._changed()
        return True

    def database_away(self, reason: str, *, by_job: bool = False) -> float:
        """The pause in seconds; it grows while the database stays away and is never counted.

        After a loss ``by_job`` it grows until a job completes: it may have been that job's doing.
        """
        now = self._clock()
        self._lost_by_job = self._lost_by_job or by_job
        if self._away_since is None:
            self._away_since = now
        if self._away_until > now:
            return self._away_until - now
        self._away_tries += 1
        pause = pause_seconds(self._away_tries, self._scale)
        self._away_until = now + pause
        self._reason = reason
        self._events.emit(DatabaseAway(self.worker, reason, pause))
        self._changed()
        return pause

    def misconfigured(self, reason: str, *, login: bool) -> None:
        """Dragonfly's own SQL, or its login, is refused: the whole worker waits and probes."""
        self._logins = self._logins + 1 if login else 0
        pause = self._own.pause(self._scale)
        if login:
            pause = LOGIN_PAUSE_SECONDS if self._logins >= LOGIN_TRIES else pause
        self._own.open, self._own.probe_at = True, self._clock() + pause
        self._own.openings += 1
        self._reason = reason
        self._events.emit(CircuitOpened(self.worker, None, pause, reason))
        self._changed()

    @property
    def may_claim(self) -> bool:
        """False while the end of no job could be written."""
        return self._unwritable is None

    def finishes_refused(self, reason: str | None) -> None:
        """Nothing that ends can be written for this reason (None: it can): take nothing more."""
        if reason == self._unwritable:
            return
        before, self._unwritable = self._unwritable, reason
        if reason is None:
            self._events.emit(CircuitClosed(self.worker, None))
        elif before is None:
            self._events.emit(CircuitOpened(self.worker, None, self._scale, reason))
        self._changed()

    def database_answered(self) -> None:
        """A statement of ours went through."""
        if self._away_since is None and not self._own.open:
            return
        if self._away_since is not None:
            self._events.emit(DatabaseBack(self.worker, self._clock() - self._away_since))
        if self._own.open:
            self._events.emit(CircuitClosed(self.worker, None))
        self._away_since, self._away_until = None, 0.0
        self._away_tries = self._away_tries if self._lost_by_job else 0
        self._own, self._logins = Circuit(), 0
        self._changed()
