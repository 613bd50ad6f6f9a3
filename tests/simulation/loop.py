"""An event loop whose time is drawn, not waited for, and whose order comes from a seed."""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import random
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from dragonfly.postgres.bounds import Watch
from dragonfly.runtime.health import Health
from dragonfly.runtime.logins import Logins

# the process in whose name code runs: a task inherits it, a callback carries it
OWNER: contextvars.ContextVar[str] = contextvars.ContextVar("OWNER", default="")
START_SECONDS = 100_000.0
# what a turn of the loop takes, so that nothing happens at quite the same time for ever
TURN_SECONDS = 1e-6
TURNS_MOST = 300_000


class NumberedTask(asyncio.Task[Any]):
    """A task with a number, by which an order can be drawn that is the same in each run."""

    number: int = 0
    owner: str = ""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], **options: Any) -> None:
        super().__init__(coroutine, **options)
        loop = options["loop"]
        loop.tasks_made += 1
        self.number = loop.tasks_made
        self.owner = OWNER.get()


class VirtualLoop(asyncio.SelectorEventLoop):
    """Jumps to the next timer when nothing is ready.

    asyncio promises no order among tasks that are ready, so theirs is drawn; everything else stays
    in the order in which it was asked for. A process can be held: none of its code runs then.
    """

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self.rng = rng
        self.now = START_SECONDS
        self.tasks_made = 0
        self.turns = 0
        self._held: dict[str, list[asyncio.Handle]] = {}
        self.set_task_factory(
            lambda _, coroutine, **more: NumberedTask(coroutine, loop=self, **more)
        )

    def time(self) -> float:
        return self.now

    def hold(self, owner: str) -> None:
        """Freeze a process, as SIGSTOP does."""
        self._held.setdefault(owner, [])

    def release(self, owner: str) -> None:
        """Let it go on; what came due meanwhile happens now."""
        self._ready.extend(self._held.pop(owner, ()))  # type: ignore[attr-defined]

    def holds(self, owner: str) -> bool:
        """Whether it is frozen."""
        return owner in self._held

    def leap(self, seconds: float) -> None:
        """Time passes in which nothing runs at all."""
        self.now += seconds

    def _run_once(self) -> None:
        self._wake()
        self.now += TURN_SECONDS
        self.turns += 1
        if self.turns > TURNS_MOST:
            raise RuntimeError("the loop spins: no run takes so many turns")
        for handle in self._drawn():
            if handle._cancelled:
                continue
            owner = handle._context.get(OWNER, "") if self._held else ""  # type: ignore[attr-defined]
            if owner in self._held:
                self._held[owner].append(handle)
            else:
                handle._run()

    def _wake(self) -> None:
        timers: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]
        while timers and timers[0]._cancelled:
            heapq.heappop(timers)
        if not self._ready:  # type: ignore[attr-defined]
            if not timers:
                raise RuntimeError("nothing will ever happen: everything waits for something else")
            self.now = max(self.now, timers[0].when())
        while timers and (timers[0].when() <= self.now or timers[0]._cancelled):
            handle = heapq.heappop(timers)
            handle._scheduled = False  # type: ignore[attr-defined]
            self._ready.append(handle)  # type: ignore[attr-defined]

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Cancelled timers leave when their time comes."""

    def _drawn(self) -> list[asyncio.Handle]:
        ready = self._ready  # type: ignore[attr-defined]
        handles = list(ready)
        ready.clear()
        if len(handles) > 1:
            tasks = [_task_of(handle) for handle in handles]
            places = [place for place, task in enumerate(tasks) if task is not None]
            if len(places) > 1:
                # in their own order first: the addresses of objects must not matter
                steps = [
                    (task.number, handles[at]) for at, task in enumerate(tasks) if task is not None
                ]
                steps.sort(key=lambda step: step[0])
                self.rng.shuffle(steps)
                for place, (_, handle) in zip(places, steps, strict=True):
                    handles[place] = handle
        return handles


def _task_of(handle: asyncio.Handle) -> NumberedTask | None:
    task = getattr(handle._callback, "__self__", None)  # type: ignore[attr-defined]
    return task if isinstance(task, NumberedTask) else None


class EachProcess:
    """Keeps the watch over answers of each process: elsewhere each has a loop of its own."""

    def __init__(self) -> None:
        self._watches: dict[str, Watch] = {}

    @property
    def watch(self) -> Watch | None:
        return self._watches.get(OWNER.get())

    @watch.setter
    def watch(self, watch: Watch) -> None:
        self._watches[OWNER.get()] = watch


@contextmanager
def virtual_time(now: Callable[[], float], wall: Callable[[], float]) -> Iterator[None]:
    """All clocks that the product may ask say ``now``; the time of day is ``wall``'s."""
    real = time.monotonic
    with ExitStack() as stack:
        for clock in ("monotonic", "perf_counter"):
            stack.enter_context(mock.patch(f"time.{clock}", now))
        stack.enter_context(mock.patch("time.time", wall))
        for function in (Health.__init__, Logins.__init__):
            # a default is bound when the module is read
            defaults = tuple(now if each is real else each for each in function.__defaults__ or ())
            stack.enter_context(mock.patch.object(function, "__defaults__", defaults))
        yield
