"""A stage for coroutines that is a hundred lines instead of asyncio and anyio.

It has what the supervisor, its workers and their slots wait with: events, sleeps, deadlines, cancel
scopes (level-triggered, as anyio's) and task groups. The order among tasks that are ready is drawn.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import random
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from types import TracebackType, coroutine
from typing import Any

START_SECONDS = 100_000.0
TURN_SECONDS = 1e-6
TURNS_MOST = 20_000
CLOSINGS = 5


class Bell:
    """What stands for ``asyncio.Event``."""

    __slots__ = ("_is_set", "waiters")

    def __init__(self) -> None:
        self._is_set = False
        self.waiters: list[Task] = []

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        if self.waiters:
            for task in tuple(self.waiters):
                Kernel.current.wake(task)

    def clear(self) -> None:
        self._is_set = False

    async def wait(self) -> bool:
        if not self._is_set:
            await park(self)
        return True


class Condition:
    """What stands for ``asyncio.Condition``: nobody else runs between two waits anyway."""

    def __init__(self) -> None:
        self._bell = Bell()

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, *_: object) -> None:
        return None

    async def wait_for(self, holds: Callable[[], bool]) -> None:
        while not holds():
            await park(self._bell)

    def notify_all(self) -> None:
        bell, self._bell = self._bell, Bell()
        bell.set()


@coroutine
def park(*bells: Bell) -> Generator[tuple[Bell, ...], None, None]:
    """Wait for one of them; for a turn only, if there is none."""
    yield bells


class Task:
    """A coroutine that runs; ``scope`` is the innermost it is in."""

    __slots__ = ("alarm", "bells", "coroutine", "firm", "fresh", "group", "scope")

    def __init__(
        self, life: Coroutine[Any, Any, Any], scope: Scope | None, group: TaskGroup | None
    ) -> None:
        self.coroutine = life
        self.scope = scope
        self.group = group
        self.bells: tuple[Bell, ...] = ()  # those it waits for
        self.alarm = 0  # the number of the timer that it sleeps until
        self.fresh = True  # whatever befalls it, it begins
        self.firm = False  # it waits for its children, whom a cancellation reaches by itself

    def cancelling(self) -> int:
        """How many cancellations it has had but those of scopes; nobody has others here."""
        return 0


class Timer:
    """A callback that has its time, and may be cancelled before."""

    __slots__ = ("_when", "call")

    def __init__(self, when: float, call: Callable[[], object]) -> None:
        self._when = when
        self.call: Callable[[], object] | None = call

    def when(self) -> float:
        return self._when

    def cancel(self) -> None:
        self.call = None


class Scope:
    """What stands for ``anyio.CancelScope``."""

    __slots__ = ("_over", "_timer", "cancel_called", "cancelled_caught", "deadline", "parent",
                 "shield", "task")  # fmt: skip

    def __init__(self, *, deadline: float = math.inf, shield: bool = False) -> None:
        self.deadline = deadline
        self.shield = shield
        self.parent: Scope | None = None
        self.cancel_called = self.cancelled_caught = self._over = False
        self._timer: Timer | None = None

    def __enter__(self) -> Scope:
        kernel = Kernel.current
        task = self.task = kernel.task
        self.parent, task.scope = task.scope, self
        if self.deadline < math.inf:
            self._timer = kernel.call_at(self.deadline, self.cancel)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> bool:
        self._over, self.task.scope = True, self.parent
        if self._timer is not None:
            self._timer.call = None
        if self.cancel_called:
            Kernel.current.cancelled -= 1
            if kind is asyncio.CancelledError and not is_cancelled(self.parent):
                self.cancelled_caught = True
        return self.cancelled_caught

    def cancel(self) -> None:
        if not self.cancel_called and not self._over:
            self.cancel_called = True
            Kernel.current.cancelled += 1
            Kernel.current.wake_the_cancelled()


def is_cancelled(scope: Scope | None) -> bool:
    """Whether code in this scope may wait for nothing any more."""
    while scope is not None:
        if scope.cancel_called:
            return True
        if scope.shield:
            return False
        scope = scope.parent
    return False


class TaskGroup:
    """What stands for ``anyio.create_task_group()``."""

    def __init__(self) -> None:
        self.cancel_scope = Scope()
        self.errors: list[BaseException] = []
        self.children = 0
        self.empty = Bell()

    async def __aenter__(self) -> TaskGroup:
        self.cancel_scope.__enter__()
        return self

    def start_soon(self, function: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> None:
        self.children += 1
        Kernel.current.spawn(function(*args), self.cancel_scope, self)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if error is not None:
            self.fail(error)
        task = Kernel.current.task
        while self.children and not isinstance(error, GeneratorExit):
            task.firm = True
            await park(self.empty)
        task.firm = False
        handled = self.cancel_scope.__exit__(kind, error, trace)
        if self.errors:
            raise BaseExceptionGroup("unhandled errors in a TaskGroup", self.errors)
        return handled

    def fail(self, error: BaseException) -> None:
        if not isinstance(error, asyncio.CancelledError):
            self.errors.append(error)
        self.cancel_scope.cancel()

    def left(self, error: BaseException | None) -> None:
        """A child is over."""
        self.children -= 1
        if error is not None and not isinstance(error, asyncio.CancelledError):
            self.fail(error)
        if not self.children:
            self.empty.set()


class Kernel:
    """Runs tasks one step at a time; time jumps to the next timer when nobody is ready."""

    current: Kernel
    task: Task

    def __init__(self, rng: random.Random) -> None:
        self.now = START_SECONDS
        self.turns = 0
        self.over = False
        self.cancelled = 0  # scopes that are, and have not been left: mostly none
        self._random = rng.random
        self._tasks: dict[Task, None] = {}
        self._ready: list[Task] = []
        self._timers: list[tuple[float, int, Timer | Task]] = []
        self._numbers = 0
        Kernel.current = self

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, call: Callable[[], object]) -> Timer:
        timer = Timer(when, call)
        self._numbers += 1
        heapq.heappush(self._timers, (when, self._numbers, timer))
        return timer

    def spawn(
        self,
        life: Coroutine[Any, Any, Any],
        scope: Scope | None = None,
        group: TaskGroup | None = None,
    ) -> Task:
        task = Task(life, scope, group)
        self._tasks[task] = None
        self._ready.append(task)
        return task

    def wake(self, task: Task) -> None:
        if task.bells or task.alarm:
            for bell in task.bells:
                bell.waiters.remove(task)
            task.bells, task.alarm = (), 0
            self._ready.append(task)

    def wake_the_cancelled(self) -> None:
        for task in self._tasks:
            if not task.firm and is_cancelled(task.scope):
                self.wake(task)

    def run(self, until: Task) -> None:
        """Play until this task is over, or until somebody says that all is."""
        ready, tasks, timers = self._ready, self._tasks, self._timers
        while until in tasks and not self.over:
            if not ready or (timers and timers[0][0] <= self.now):
                self._fire()
            self.now += TURN_SECONDS
            self.turns += 1
            if self.turns > TURNS_MOST:
                raise RuntimeError("it spins: no life takes so many turns")
            at = int(self._random() * len(ready)) if len(ready) > 1 else 0
            self._step(ready.pop(at))

    def _fire(self) -> None:
        """Everything that is due by now; by the next timer, if nobody is ready."""
        timers, ready = self._timers, self._ready
        while timers and (timers[0][0] <= self.now or not ready):
            when, number, timer = heapq.heappop(timers)
            if isinstance(timer, Task):
                if timer.alarm == number:
                    self.now, timer.alarm = max(self.now, when), 0
                    ready.append(timer)
            elif timer.call is not None:
                self.now = max(self.now, when)
                timer.call()
        if not ready:
            raise RuntimeError("nothing will ever happen: everything waits for something else")

    def _step(self, task: Task) -> None:
        self.task = task
        try:
            if self.cancelled and not (task.firm or task.fresh) and is_cancelled(task.scope):
                bells = task.coroutine.throw(asyncio.CancelledError())
            else:
                task.fresh = False
                bells = task.coroutine.send(None)
        except StopIteration:
            self._end(task, None)
        except BaseException as error:  # noqa: BLE001 - it goes to whoever waits for the task
            self._end(task, error)
        else:
            if not bells or (self.cancelled and not task.firm and is_cancelled(task.scope)):
                self._ready.append(task)
                return
            if type(bells) is float:
                self._numbers += 1
                task.alarm = self._numbers
                heapq.heappush(self._timers, (self.now + bells, self._numbers, task))
                return
            task.bells = bells
            for bell in bells:
                bell.waiters.append(task)

    def _end(self, task: Task, error: BaseException | None) -> None:
        del self._tasks[task]
        if task.group is not None:
            task.group.left(error)
        elif error is not None and not isinstance(error, asyncio.CancelledError):
            raise error

    def close(self) -> None:
        """Close what still runs; a slot survives it once, as it survives any error of a handler."""
        for task in self._tasks:
            for _ in range(CLOSINGS):
                with suppress(BaseException):
                    task.coroutine.close()


# --- what asyncio and anyio offer as functions ----------------------------------------------------


@coroutine
def sleep(seconds: float, _result: object = None) -> Generator[object, None, None]:
    yield seconds if seconds > 0 else ()


def move_on_after(seconds: float | None, *, shield: bool = False) -> Scope:
    deadline = math.inf if seconds is None else Kernel.current.now + seconds
    return Scope(deadline=deadline, shield=shield)


async def first_of(*bells: Bell, seconds: float | None = None) -> None:
    """What stands for the product's own, which needs a task for each event."""
    if not any(bell.is_set() for bell in bells):
        with move_on_after(seconds):
            await park(*bells)


def effective_deadline() -> float:
    return -math.inf if is_cancelled(Kernel.current.task.scope) else math.inf
