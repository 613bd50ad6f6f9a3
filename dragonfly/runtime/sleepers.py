"""The workers of a process that sleep until they are rung, and what the server knows of them.

A worker goes to sleep at once, and looks at the queue again as soon as the server knows: what came
in between is found then.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from dragonfly.queue.sleepers import fall_asleep, wake_up, writers
from dragonfly.worker import Worker

if TYPE_CHECKING:
    from asyncpg import Connection

# a worker that works for longer is rung no more: short jobs would have it come and go each time
AWAKE_SECONDS = 1.0
# how often to look while a transaction is open that asked before the server knew (bound: 250 ms)
UNHEARD_SECONDS = 0.2


class Sleepers:
    """Workers come and go at any time; the listener tells the server of it when it can."""

    def __init__(self, wakeups: Mapping[str, asyncio.Event]) -> None:
        self._wakeups = wakeups
        self._asleep: dict[str, tuple[str, ...]] = {}  # workers, and the types they take
        self._woke_at: dict[str, float] = {}
        self._known: dict[str, tuple[str, ...]] = {}  # to the server: it rings for these
        self._too_busy: set[str] = set()  # it need not ring for these any more
        self._unheard: frozenset[str] = frozenset()  # transactions that may commit without a ring
        self._unsure: set[str] = set()  # who fell asleep while they were open
        self.changed = asyncio.Event()

    def lie_down(self, worker: Worker) -> None:
        """Be rung for jobs of the worker's types, until it gets up."""
        self._asleep[worker.name] = tuple(worker.handlers)
        self._too_busy.discard(worker.name)
        if worker.name not in self._known:
            self.changed.set()

    def get_up(self, worker: Worker) -> None:
        """Look by itself from now on."""
        del self._asleep[worker.name]
        self._woke_at[worker.name] = time.monotonic()

    def rung(self, worker: Worker) -> None:
        """Somebody rang for it: in vain, if it has been busy for long."""
        if worker.name in self._asleep or worker.name not in self._known:
            return
        if time.monotonic() - self._woke_at[worker.name] > AWAKE_SECONDS:
            self._too_busy.add(worker.name)
            self.changed.set()

    @property
    def seconds_left(self) -> float | None:
        """When to ``settle`` even if nothing has changed."""
        return UNHEARD_SECONDS if self._unheard else None

    async def settle(self, conn: Connection) -> bool:
        """Tell the server who sleeps, and let those look who may have missed a ring.

        False if there was nothing to say.
        """
        self.changed.clear()
        # whoever lies down from here on is new again
        gone = [self._known.pop(name) for name in self._too_busy & self._known.keys()]
        self._too_busy.clear()
        new = {name: types for name, types in self._asleep.items() if name not in self._known}
        if not (gone or new or self._unheard):
            return False
        for job_types in gone:
            await wake_up(conn, job_types)
        unheard = self._unheard & await writers(conn) if self._unheard else self._unheard
        ended = unheard != self._unheard
        if new:
            unheard |= await fall_asleep(conn, [each for types in new.values() for each in types])
            self._known |= new
        look = new.keys() | (self._unsure if ended else set())
        self._unsure = self._unsure | new.keys() if unheard else set()
        self._unheard = unheard
        for name in look & self._wakeups.keys():
            self._wakeups[name].set()
        return True

    def forget(self) -> None:
        """The session is over, and with it what the server knew."""
        self._known.clear()
        self._too_busy.clear()
        self._unsure.clear()
        self._unheard = frozenset()
