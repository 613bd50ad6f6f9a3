"""Ticks the schedules of a process: sleeps until one is due, and lets the queue enqueue its job."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from dragonfly.errors import ConfigurationError, DragonflyError, LoginRefused
from dragonfly.events import (
    ScheduleMissed,
    SchedulesDeclared,
    ScheduleSkipped,
    ScheduleSuperseded,
    ScheduleTicked,
    ScheduleTroubled,
)
from dragonfly.postgres.failures import TROUBLE, Failure, classify, describe
from dragonfly.queue import schedules as table
from dragonfly.queue.schedules import Seen, Tick
from dragonfly.runtime.process import Process
from dragonfly.schedule import Schedule
from dragonfly.worker import Worker

if TYPE_CHECKING:
    from asyncpg import Connection

# so soon a resumed schedule is noticed, and so seldom an idle process asks
LOOK_EVERY_SECONDS = 60.0
# until a look at a tick that another process has taken and may die with
AGAIN_SECONDS = 1.0
AWAY_SECONDS = 10.0
SHORTEST_SECONDS = 0.01


def schedules_of(workers: Iterable[Worker]) -> tuple[Schedule, ...]:
    """The schedules of these workers by name; ConfigurationError if two workers share one."""
    owners: dict[str, str] = {}
    found: list[Schedule] = []
    for worker in workers:
        for name, schedule in worker.schedules.items():
            if name in owners:
                raise ConfigurationError(
                    f"Both {owners[name]} and {worker.name} declare the schedule {name!r}; "
                    "rename one of them."
                )
            owners[name] = worker.name
            found.append(schedule)
    return tuple(sorted(found, key=lambda schedule: schedule.name))


class Ticker:
    """Every process may tick what it declares: a tick that one takes, the others pass over."""

    def __init__(self, process: Process, workers: Iterable[Worker]) -> None:
        self._process = process
        self._schedules = schedules_of(workers)
        self._started: datetime | None = None
        self._foreign: set[str] = set()

    async def run(self) -> None:
        """Tick until cancelled; with no schedule declared, end at once."""
        if not self._schedules:
            return
        while True:
            pause = await self._turn()
            await asyncio.sleep(max(pause, SHORTEST_SECONDS))

    async def _turn(self) -> float:
        """Look once, and tick what is due; seconds until the next turn."""
        scale = self._process.settings.backoff_scale
        pause = LOOK_EVERY_SECONDS * scale
        try:
            async with self._process.heartbeats.use() as conn:
                seen = await self._look(conn)
            for each in seen:
                if each.due_in is not None:
                    due_in = each.due_in if each.due_in > 0 else await self._tick(each.name)
                    pause = min(pause, due_in)
        except TROUBLE as error:
            # the claim loop meets the same database and tells about it
            return AWAY_SECONDS * scale if _passes(error) else self._tell(None, error)
        return pause

    async def _look(self, conn: Connection) -> list[Seen]:
        if self._started is None:
            started = await table.now(conn)
            await table.declare(conn, self._schedules, started)
            self._started = started
            names = tuple(schedule.name for schedule in self._schedules)
            self._process.events.emit(SchedulesDeclared(names))
        seen = await table.look(conn, self._schedules, self._started)
        missing = {each.name for each in seen if each.to_declare}
        if missing:
            mine = [schedule for schedule in self._schedules if schedule.name in missing]
            await table.declare(conn, mine, self._started)
            seen = await table.look(conn, self._schedules, self._started)
        self._note_foreign({each.name for each in seen if each.foreign_definition})
        return seen

    def _note_foreign(self, names: set[str]) -> None:
        for name in sorted(names - self._foreign):
            self._process.events.emit(ScheduleSuperseded(name))
        self._foreign = names

    async def _tick(self, name: str) -> float:
        try:
            async with self._process.heartbeats.use() as conn:
                tick = await table.tick(conn, name)
        except TROUBLE as error:
            if _passes(error):
                raise
            return self._tell(name, error)
        if tick is None:
            return AGAIN_SECONDS * self._process.settings.backoff_scale
        self._tell_of(name, tick)
        return tick.next_in

    def _tell_of(self, name: str, tick: Tick) -> None:
        emit = self._process.events.emit
        if tick.running_job is not None:
            emit(ScheduleSkipped(name, tick.running_job))
        elif tick.late:
            emit(ScheduleMissed(name, tick.since, len(tick.job_ids), tick.cut))
        else:
            for moment, job_id in zip(tick.ticks, tick.job_ids, strict=False):
                emit(ScheduleTicked(name, moment, job_id))

    def _tell(self, name: str | None, error: Exception) -> float:
        pause = LOOK_EVERY_SECONDS * self._process.settings.backoff_scale
        reason = str(error) if isinstance(error, DragonflyError) else describe(error)
        self._process.events.emit(ScheduleTroubled(name, reason, pause))
        return pause


def _passes(error: Exception) -> bool:
    """Whether waiting is all that can be done about it here."""
    return isinstance(error, OSError | LoginRefused) or classify(error) in {
        Failure.AWAY,
        Failure.TRANSIENT,
    }
