"""What happens in a process, as values: logs, metrics and tests all listen here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from dragonfly.errors import DragonflyError


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, worded for people only in ``logs.py``."""


@dataclass(frozen=True, slots=True)
class ProcessStarted(Event):
    process_id: str
    version: str
    database: str
    mode: str
    workers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ProcessStopping(Event):
    signal: str
    running_jobs: int
    grace_seconds: float


@dataclass(frozen=True, slots=True)
class ProcessStopped(Event):
    exit_code: int
    seconds: float


@dataclass(frozen=True, slots=True)
class WorkerStarted(Event):
    worker: str
    worker_id: str
    slots: int
    job_types: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WorkerStopped(Event):
    worker: str


@dataclass(frozen=True, slots=True)
class WorkerFell(Event):
    """A worker died of something that is no job's fault: a defect, or a lifespan that failed."""

    worker: str
    reason: str


@dataclass(frozen=True, slots=True)
class WorkerPaused(Event):
    """A counted failure: the worker stops claiming for ``seconds``."""

    worker: str
    failures: int
    seconds: float
    reason: str


@dataclass(frozen=True, slots=True)
class WorkerRecovered(Event):
    worker: str


@dataclass(frozen=True, slots=True)
class CrashLoopDetected(Event):
    worker: str
    failures: int
    reason: str


@dataclass(frozen=True, slots=True)
class WorkerRestarting(Event):
    worker: str
    seconds: float
    restarts: int
    allowed: int


@dataclass(frozen=True, slots=True)
class WorkerGivenUp(Event):
    worker: str
    reason: str


@dataclass(frozen=True, slots=True)
class CircuitOpened(Event):
    worker: str
    job_type: str | None
    seconds: float
    reason: str


@dataclass(frozen=True, slots=True)
class CircuitClosed(Event):
    worker: str
    job_type: str | None


@dataclass(frozen=True, slots=True)
class JobsClaimed(Event):
    worker: str
    job_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class JobStarted(Event):
    worker: str
    job_id: int
    job_type: str
    attempt: int


@dataclass(frozen=True, slots=True)
class JobFinished(Event):
    """A finish that is durable; ``outcome`` is a status, or retried, snoozed, released."""

    worker: str
    job_id: int
    job_type: str
    outcome: str
    seconds: float
    attempt: int
    error: str | None = None


@dataclass(frozen=True, slots=True)
class JobLockLost(Event):
    worker: str
    job_id: int
    job_type: str


@dataclass(frozen=True, slots=True)
class JobAbandoned(Event):
    """A handler that would not stop; its lock is left to the lease."""

    worker: str
    job_id: int
    job_type: str


@dataclass(frozen=True, slots=True)
class SolitudeSought(Event):
    """A job at its last chance waits: the process claims nothing until it is empty."""

    worker: str
    seconds: float  # at most


@dataclass(frozen=True, slots=True)
class SolitudePutOff(Event):
    """What runs did not end within ``seconds``: the process claims again, for ``pause`` seconds."""

    worker: str
    seconds: float
    pause: float


@dataclass(frozen=True, slots=True)
class JobAlone(Event):
    """A job at its last chance was claimed: nothing else is until it has ended."""

    worker: str
    job_id: int
    job_type: str


@dataclass(frozen=True, slots=True)
class JobsRescued(Event):
    returned: tuple[int, ...]
    failed: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class JobsForgotten(Event):
    """A sweep deleted jobs that ended long ago."""

    count: int


@dataclass(frozen=True, slots=True)
class JobsVacuumed(Event):
    """The table of jobs was vacuumed, in which ``dead`` rows lay."""

    dead: int
    seconds: float


@dataclass(frozen=True, slots=True)
class VacuumForbidden(Event):
    """The role may not vacuum the table of jobs: autovacuum alone cleans up."""


@dataclass(frozen=True, slots=True)
class SchedulesDeclared(Event):
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ScheduleTicked(Event):
    """A tick became a job on time."""

    schedule: str
    tick: datetime
    job_id: int


@dataclass(frozen=True, slots=True)
class ScheduleMissed(Event):
    """Ticks from ``since`` on were missed; ``caught_up`` became jobs, ``cut`` if not all could."""

    schedule: str
    since: datetime
    caught_up: int
    cut: bool


@dataclass(frozen=True, slots=True)
class ScheduleSkipped(Event):
    """A tick was left out, because the job of the one before has not ended."""

    schedule: str
    job_id: int


@dataclass(frozen=True, slots=True)
class ScheduleSuperseded(Event):
    """A process that started later declares the schedule differently."""

    schedule: str


@dataclass(frozen=True, slots=True)
class ScheduleTroubled(Event):
    """``schedule`` (None: any) cannot tick for a reason that waiting does not mend."""

    schedule: str | None
    reason: str
    seconds: float


@dataclass(frozen=True, slots=True)
class ListenerConnected(Event):
    reconnected: bool


@dataclass(frozen=True, slots=True)
class ListenerLost(Event):
    reason: str
    seconds: float


@dataclass(frozen=True, slots=True)
class ListenerUnavailable(Event):
    poll_seconds: float


@dataclass(frozen=True, slots=True)
class DatabaseAway(Event):
    worker: str
    reason: str
    seconds: float


@dataclass(frozen=True, slots=True)
class DatabaseBack(Event):
    worker: str
    seconds: float


@dataclass(frozen=True, slots=True)
class ConnectionsSilent(Event):
    """So many connections waited for answers to what the server never got, or answered in vain."""

    number: int


@dataclass(frozen=True, slots=True)
class LoopStalled(Event):
    """The event loop does not turn; its locks are renewed up to ``bound`` seconds.

    ``frames`` are places of its thread, the innermost last. Emitted from another thread, as is
    whatever else the stall guard tells.
    """

    seconds: float
    bound: float
    job_id: int | None
    job_type: str | None
    frames: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LoopTurned(Event):
    """The event loop goes on after so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class ProcessHopeless(Event):
    """The event loop was blocked for too long: the process ends now."""

    seconds: float
    culprit: str
    exit_code: int


@dataclass(frozen=True, slots=True)
class WebUnavailable(Event):
    port: int
    reason: str


@dataclass(frozen=True, slots=True)
class WebListening(Event):
    host: str
    port: int


_Kind = TypeVar("_Kind", bound=Event)


class Events:
    """A list of listeners per kind of event; emitting an event nobody wants costs a look-up."""

    def __init__(self) -> None:
        self._listeners: defaultdict[type[Event], list[Callable[[Any], None]]] = defaultdict(list)

    def on(self, kind: type[_Kind], listener: Callable[[_Kind], None]) -> None:
        """Call ``listener`` with each event of ``kind`` (or of all kinds, for ``Event``)."""
        if not issubclass(kind, Event):
            raise DragonflyError(f"{kind!r} is not a kind of event.")
        self._listeners[kind].append(listener)

    def wanted(self, kind: type[Event]) -> bool:
        return kind in self._listeners or Event in self._listeners

    def emit(self, event: Event) -> None:
        for listener in self._listeners.get(type(event), ()):
            listener(event)
        for listener in self._listeners.get(Event, ()):
            listener(event)
