"""How long the server may take for its answers: a half-open connection never gives one.

All that wait in one event loop share a timer: one each would cost a tenth of a short transaction
(benchmark W2T).
"""

from __future__ import annotations

import asyncio
import math
import threading
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Protocol
from weakref import WeakSet

import anyio
import asyncpg

if TYPE_CHECKING:
    from asyncpg import Connection


class Doubter(Protocol):
    """Who hears of a connection that did not answer."""

    def gave_up(self, conn: Connection) -> None:
        """It was closed for that."""


doubters: WeakSet[Doubter] = WeakSet()


class Bounded(Protocol):
    """Who waits for answers of ``conn``, if it has one yet, until ``due`` by the loop's clock."""

    due: float

    @property
    def conn(self) -> Connection | None:
        """Where it waits."""

    def give_up(self) -> None:
        """No answer came in time."""


class answering:  # noqa: N801 - it reads as what it does
    """Expect answers within a bound.

    The connection is closed where none comes, and ConnectionResetError says so.
    """

    __slots__ = ("_late", "_seconds", "_watch", "conn", "due")

    def __init__(self, conn: Connection, seconds: float) -> None:
        self.conn = conn
        self._seconds = seconds
        self._late = False

    def __enter__(self) -> None:
        self._watch = watch = watch_of_loop()
        self.due = watch.loop.time() + self._seconds
        watch.add(self)

    def give_up(self) -> None:
        """Close it; whoever waits is told by that."""
        self._late = True
        for doubter in doubters:
            doubter.gave_up(self.conn)
        with suppress(asyncpg.InterfaceError):
            self.conn.terminate()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None:
        self._watch.drop(self)
        if self._late and isinstance(error, Exception):
            said = f"the connection did not answer in {self._seconds:g} s"
            raise ConnectionResetError(said) from error


class Watch:
    """What waits for answers in one event loop."""

    __slots__ = ("_looks_at", "_timer", "loop", "waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.waiting: set[Bounded] = set()
        self._looks_at = math.inf
        self._timer: asyncio.TimerHandle | None = None

    def add(self, one: Bounded) -> None:
        """Let it give up when it is due, unless it is dropped before."""
        self.waiting.add(one)
        if one.due < self._looks_at:
            self._look_at(one.due)

    def drop(self, one: Bounded) -> None:
        """It waits no more."""
        self.waiting.discard(one)

    def _look_at(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()  # left alone, each look of it would set another
        self._looks_at = when
        self._timer = self.loop.call_at(when, self._look)

    def _look(self) -> None:
        now = self.loop.time()
        late = [each for each in self.waiting if each.due <= now]
        self.waiting.difference_update(late)
        self._looks_at, self._timer = math.inf, None
        if self.waiting:
            self._look_at(min(each.due for each in self.waiting))
        for one in late:
            one.give_up()


_latest = threading.local()  # each thread has one event loop at a time


def watch_of_loop() -> Watch:
    """That of the running event loop."""
    loop = asyncio.get_running_loop()
    watch: Watch | None = getattr(_latest, "watch", None)
    if watch is None or watch.loop is not loop:
        watch = _latest.watch = Watch(loop)
    return watch


def unanswered() -> list[Connection]:
    """The connections at which somebody waits for an answer now, within a bound."""
    return [each.conn for each in watch_of_loop().waiting if each.conn is not None]


@cache
def scope_class() -> type[anyio.CancelScope]:
    """The class behind ``anyio.CancelScope()``, which asks anew at each call which loop runs."""
    return type(anyio.CancelScope())
