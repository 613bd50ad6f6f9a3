"""Everything that a seed decides: the shape of a run, its faults, and every draw on the way."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from enum import Enum
from functools import cache

from dragonfly.runtime.process import Mode
from dragonfly.settings import Settings

TYPES = ("a", "b", "c")
LATENCY_MOST = 0.0205  # seconds, once nothing bad happens any more
MINUTE, HOUR = 60.0, 3600.0


class Deed(Enum):
    """What a handler does."""

    RETURN = "returns"
    RESULT = "returns a result"
    COMPLETE = "completes in its transaction"
    WRITE = "writes in a transaction, then returns"
    BUG = "raises what nobody expects"
    TRANSIENT = "raises what passes"
    AWAY = "raises a lost connection"
    CONFIGURATION = "meets a missing table"
    TIMEOUT = "runs longer than it may"
    STUBBORN = "does not stop when it is cancelled"
    BLOCK = "blocks everything for a while"
    REJECT = "rejects"
    RETRY = "asks for a retry"
    SNOOZE = "snoozes"
    CANCEL = "cancels itself"
    KILL = "takes its process down"


GOOD = (Deed.RETURN, Deed.RESULT, Deed.COMPLETE, Deed.WRITE)
# how a time goes: the weights of deeds, beside the good ones
MOODS: tuple[dict[Deed, float], ...] = (
    {},
    dict.fromkeys(Deed, 0.3),
    {Deed.BUG: 40, Deed.TRANSIENT: 20},
    {Deed.TRANSIENT: 10, Deed.TIMEOUT: 2},
    {Deed.AWAY: 20, Deed.BUG: 2},
    {Deed.CONFIGURATION: 20, Deed.SNOOZE: 1},
    {Deed.STUBBORN: 2, Deed.TIMEOUT: 2, Deed.BLOCK: 1, Deed.SNOOZE: 1},
    {Deed.KILL: 1},
)


class Trouble(Enum):
    """What befalls the processes and the database, for some time."""

    REFUSED = "the database refuses connections"
    SILENT = "the database does not answer"
    LOGINS = "logins are refused"
    GRANTS = "statements of the queue are refused"
    FINISHES = "finishes are refused"
    LOSSY = "statements fail at random"
    KILL = "a process dies"
    FREEZE = "a process is frozen"
    SLEEP = "the machine sleeps"
    STOP = "a process is told to stop"
    STOP_TWICE = "a process is told to stop twice"
    CANCEL = "an operator cancels a job"
    PAUSE = "an operator pauses a type"
    WALL = "the machine's clock is set"


@dataclass(frozen=True)
class Event:
    """A trouble that begins ``at`` seconds after the start and lasts for ``seconds``."""

    at: float
    trouble: Trouble
    seconds: float


@dataclass(frozen=True)
class Planned:
    """A job that is enqueued ``at`` seconds after the start."""

    at: float
    job_type: str
    priority: int
    delay: float
    concurrency_key: str | None
    unique_key: str | None
    open_seconds: float  # from its INSERT to its commit


@cache
def _plain_settings() -> Settings:
    """Reading them anew for each seed would be a tenth of its time."""
    return Settings()


@dataclass
class Fate:
    """The seed's answers; ``quiet`` is the time after which nothing bad happens any more."""

    seed: int
    rng: random.Random = field(init=False)
    quiet: bool = False

    def __post_init__(self) -> None:
        self.rng = rng = random.Random(self.seed)
        self.mode = rng.choices((Mode.FOREVER, Mode.DRAIN, Mode.ONCE), (80, 16, 4))[0]
        self.processes = 1 if self.mode is not Mode.FOREVER else rng.choice((1, 1, 2))
        self.seconds = rng.choices((20.0, MINUTE, 5 * MINUTE, 15 * MINUTE), (4, 4, 3, 1))[0]
        self.mood = rng.choice(MOODS)
        self.error_rate = rng.choice((0.0, 0.0, 0.0, 0.02, 0.1))
        self.slots = {"left": rng.randint(1, 4), "right": rng.randint(1, 2)}
        self.broken_lifespan = rng.random() < 0.05
        self.settings = self._settings()
        self.jobs = self._jobs()
        self.events = self._events()

    def _settings(self) -> Settings:
        rng = self.rng
        lease = rng.choice((30.0, 60.0, 120.0))
        chosen = {
            "heartbeat_seconds": lease / 3,
            "lease_seconds": lease,
            "poll_seconds": rng.choice((5.0, 30.0, 60.0)),
            "grace_seconds": rng.choice((0.0, 5.0, 25.0)),
            "worker_restarts": rng.randint(0, 3),
            "crash_budget": rng.randint(1, 3),
            "pool_size": rng.randint(1, 3),
        }
        return _plain_settings().model_copy(update=chosen)

    def _jobs(self) -> list[Planned]:
        rng = self.rng
        late = 0.0 if self.mode is Mode.DRAIN else 0.5
        return [
            Planned(
                rng.uniform(0, self.seconds) if rng.random() < late else 0.0,
                rng.choice(TYPES),
                rng.choice((0, 0, 0, 1)),
                rng.choice((0, 0, 0, 10.0)),
                rng.choice((None, None, None, "k", "l")),
                rng.choice((None, None, None, None, "u")),
                rng.choice((0.0, 0.0, 0.0, 0.0, 0.0, 0.1, 3.0, 20.0)),
            )
            for _ in range(rng.choice((3, 10, 25)))
        ]

    def _events(self) -> list[Event]:
        rng = self.rng
        long = (1.0, 10.0, 45.0, 2 * MINUTE, *((HOUR,) if rng.random() < 0.05 else ()))
        found = [
            Event(rng.uniform(0, self.seconds), rng.choice(list(Trouble)), rng.choice(long))
            for _ in range(rng.choice((0, 1, 1, 2, 4)))
        ]
        return sorted(found, key=lambda event: event.at)

    # --- on the way -----------------------------------------------------------------------------

    def latency(self) -> float:
        """Seconds that a statement or its answer travels: mostly next to none."""
        if self.quiet or self.rng.random() < 0.98:
            return 0.0005 + 0.02 * self.rng.random() ** 6
        return self.rng.uniform(0.1, 15.0)

    def happens(self, share: float) -> bool:
        """Whether a fault of this probability happens now."""
        return not self.quiet and share > 0 and self.rng.random() < share

    def deed(self) -> Deed:
        """What a handler does now."""
        if self.quiet:
            return self.rng.choice(GOOD)
        weights = {**dict.fromkeys(GOOD, 1.0), **self.mood}
        return self.rng.choices(list(weights), list(weights.values()))[0]

    def work_seconds(self) -> float:
        """How long a handler works."""
        return self.rng.choice((0.0, 0.01, 0.3, 3.0, 20.0 if not self.quiet else 1.0))
