"""``python -m dragonfly`` that dies by SIGKILL at a named point, or whose clock is wrong.

It wraps the real functions and calls them; nothing of this is in the product. ``CHAOS_POINT`` is
the name of a point and at which passage to die (``after claim:2``), ``CHAOS_CLOCK`` the seconds
that the clocks of Python are wrong by, or ``stepping``.
"""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Any

from dragonfly.cli.main import main
from dragonfly.ops.drill.worker import Notes
from dragonfly.postgres.closing import ClosingConnection
from dragonfly.queue import heartbeats, store
from dragonfly.queue.store import Claimed, ClaimedSuspect
from dragonfly.runtime.heartbeat import Pulse
from dragonfly.runtime.loop import WorkerLoop

Call = Callable[..., Awaitable[Any]]
STEP_SECONDS = 3600.0


class Death:
    """Comes at the so-manieth passage of its point."""

    def __init__(self, passages: int) -> None:
        self._left = passages

    def passed(self) -> None:
        """The point is reached."""
        if self.comes():
            self.strike()

    def comes(self) -> bool:
        """The point is near; whether this passage is the last."""
        self._left -= 1
        return self._left == 0

    def strike(self) -> None:
        """Die at once."""
        os.kill(os.getpid(), signal.SIGKILL)

    def before(self, owner: Any, name: str, when: Callable[..., bool] = lambda *_: True) -> None:
        """The point lies before a call whose arguments fit."""
        real: Call = getattr(owner, name)

        async def wrapped(*args: Any, **options: Any) -> Any:
            if when(*args):
                self.passed()
            return await real(*args, **options)

        setattr(owner, name, wrapped)

    def after(self, owner: Any, name: str, when: Callable[[Any], bool] = lambda _: True) -> None:
        """The point lies after a call whose answer fits."""
        real: Call = getattr(owner, name)

        async def wrapped(*args: Any, **options: Any) -> Any:
            answer = await real(*args, **options)
            if when(answer):
                self.passed()
            return answer

        setattr(owner, name, wrapped)


def _has_jobs(answer: Any) -> bool:
    match answer:
        case Claimed():
            return bool(answer.jobs)
        case ClaimedSuspect():
            return answer.job is not None
        case _:
            return bool(answer)


def _step(wanted: str) -> Callable[..., bool]:
    return lambda _notes, _job, step: step == wanted


def _after_claim(death: Death) -> None:
    for name in ("claim", "claim_head", "claim_suspect"):
        death.after(store, name, _has_jobs)


def _inside_finish(death: Death) -> None:
    real = ClosingConnection.commit_after

    async def wrapped(
        conn: ClosingConnection, statement: str, words: str, *, begin_next: bool
    ) -> None:
        if not death.comes():
            return await real(conn, statement, words, begin_next=begin_next)
        # the same message without its commit
        await conn.execute(f"EXECUTE {await conn.prepared(statement)}({words})")
        return death.strike()

    setattr(ClosingConnection, "commit_after", wrapped)  # noqa: B010 - as the others are laid


# name → how it is laid; the comment says what is committed when it strikes
POINTS: dict[str, Callable[[Death], None]] = {
    # the claim
    "after claim": _after_claim,
    # the claim; the handler runs
    "mid-handler": lambda death: death.before(Notes, "note", _step("effect")),
    # the claim; the effect is written, not committed
    "after effect": lambda death: death.before(ClosingConnection, "commit_after"),
    # the claim; effect and finish are written, not committed
    "inside finish": _inside_finish,
    # effect and finish
    "after commit": lambda death: death.before(Notes, "note", _step("end")),
    # nothing of the flush
    "before flush": lambda death: death.before(store, "complete"),
    # the flush, of which the process does not hear
    "after flush": lambda death: death.after(store, "complete"),
    # the renewal, and not the heartbeat's row
    "in heartbeat": lambda death: death.before(heartbeats, "beat"),
    # the stop has begun: claimed jobs are not yet given back
    "in drain": lambda death: death.before(WorkerLoop, "_wind_down"),
    # everything but the last word
    "at the last word": lambda death: death.before(Pulse, "last_word"),
}


def set_clocks(wrong: str) -> None:
    """Let ``time.time`` be wrong by seconds, or jump an hour to and fro with every look."""
    real = time.time
    if wrong == "stepping":
        steps = itertools.cycle([STEP_SECONDS, 0.0, -STEP_SECONDS])
        time.time = lambda: real() + next(steps)
    else:
        time.time = lambda: real() + float(wrong)


if __name__ == "__main__":
    if point := os.environ.get("CHAOS_POINT"):
        name, _, passages = point.partition(":")
        POINTS[name](Death(int(passages)))
    if wrong := os.environ.get("CHAOS_CLOCK"):
        set_clocks(wrong)
    main()
