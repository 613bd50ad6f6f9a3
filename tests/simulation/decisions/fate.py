"""What a seed decides of a life on the small stage."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache

from dragonfly.runtime.process import Mode
from dragonfly.settings import Settings
from tests.simulation import fate as large
from tests.simulation.fate import MINUTE, TYPES, Deed, Event, Trouble

GOOD = (Deed.RETURN, Deed.RETURN, Deed.RESULT)
ODD = (Deed.REJECT, Deed.RETRY, Deed.SNOOZE, Deed.CANCEL)
# how a time goes: as many of these as stand here to one that is good
MOODS: tuple[tuple[Deed, ...], ...] = (
    (),
    (*ODD, Deed.BUG, Deed.TRANSIENT, Deed.AWAY, Deed.CONFIGURATION, Deed.TIMEOUT, Deed.STUBBORN),
    (Deed.BUG,) * 30 + (Deed.TRANSIENT,) * 30,
    (Deed.TRANSIENT,) * 60 + (Deed.CONFIGURATION,),
    (*(Deed.BUG,) * 4, *(Deed.TIMEOUT,) * 3, Deed.TRANSIENT, Deed.SNOOZE),
    (*(Deed.AWAY,) * 6, Deed.BUG),
    (*(Deed.CONFIGURATION,) * 6, *ODD),
    (*(Deed.CONFIGURATION,) * 6, *(Deed.BUG,) * 3),
    (*(Deed.STUBBORN,) * 3, *(Deed.TIMEOUT,) * 3),
)
TROUBLES = (
    *(Trouble.REFUSED, Trouble.LOGINS, Trouble.GRANTS, Trouble.FINISHES, Trouble.LOSSY),
    *(Trouble.STOP, Trouble.STOP_TWICE, Trouble.CANCEL, Trouble.CANCEL),
)
LOSSY_RATE = 0.2


@dataclass(frozen=True, slots=True)
class Planned:
    """A job that is enqueued ``at`` seconds after the start, due ``delay`` seconds later."""

    at: float
    job_type: str
    delay: float


@cache
def _settings(grace: float, restarts: int, poll: float, heartbeat: float) -> Settings:
    """Reading them anew for each life would take longer than the life."""
    chosen = {
        "heartbeat_seconds": heartbeat,
        "lease_seconds": 3 * heartbeat,
        "backoff_scale": 1.0,
        "grace_seconds": grace,
        "worker_restarts": restarts,
        "poll_seconds": poll,
    }
    return Settings().model_copy(update=chosen)


class Fate(large.Fate):
    """The seed's answers; handlers ask the same of it as of the large one."""

    def __post_init__(self) -> None:
        self.rng = rng = random.Random(self.seed)
        draw, choice = rng.random, rng.choice
        kind = draw()
        self.mode = Mode.FOREVER if kind < 0.72 else Mode.DRAIN if kind < 0.95 else Mode.ONCE
        self.seconds = choice((20.0, MINUTE, 5 * MINUTE, 15 * MINUTE))
        self.deeds = (*GOOD[: 1 + int(3 * draw())], *choice(MOODS))
        self.error_rate = choice((0.0, 0.0, 0.0, 0.05))
        self.workers = 1 + (draw() < 0.6)
        self.slots = {"left": choice((1, 2, 3)), "right": 1}
        self.broken_lifespan = draw() < 0.03
        self.settings = _settings(
            choice((0.0, 5.0, 25.0)),
            int(4 * draw()),
            choice((MINUTE, 5 * MINUTE)),
            choice((20.0, MINUTE, MINUTE)),
        )
        late = 0.0 if self.mode is Mode.DRAIN else 0.4
        self.planned = [
            Planned(
                draw() * self.seconds if draw() < late else 0.0,
                TYPES[int((1 + self.workers) * draw())],
                choice((0.0, 0.0, 0.0, 10.0)),
            )
            for _ in range(choice((3, 6, 14) if self.mode is Mode.DRAIN else (1, 3, 6)))
        ]
        long = (1.0, 10.0, 45.0, 2 * MINUTE, 10 * MINUTE)
        self.events = [
            Event(draw() * self.seconds, choice(TROUBLES), choice(long))
            for _ in range(choice((0, 1, 1, 2)))
        ]

    def latency(self) -> float:
        """Seconds that a statement travels with its answer: mostly next to none."""
        draw = self.rng.random()
        return 0.001 + 0.02 * draw if self.quiet or draw < 0.97 else 3.0 * self.rng.random()

    def deed(self) -> Deed:
        """What a handler does now."""
        return Deed.RETURN if self.quiet else self.deeds[int(len(self.deeds) * self.rng.random())]
