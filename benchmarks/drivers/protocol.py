"""What every driver answers: ``driver COMMAND DSN OPTIONS``, JSON lines on standard output.

``create`` lays the tables; ``fill`` adds many jobs by 1,000 and ``ones`` one by one, and both say
the seconds they took; ``ring`` adds one every so often and says when each call returned; ``work``
says that it is ready, waits for a line, and works until its standard input closes. Times are
nanoseconds of the monotonic clock, which all processes of a machine share. Standard library only,
for it runs in each rival's own environment.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

JOB_TYPE = "bench"
OTHER_TYPE = "bench_other"
BULK = 1000

Payload = dict[str, Any]
Handle = Callable[[Payload], None]


@dataclass(frozen=True, slots=True)
class Options:
    """One command's parameters; ``padding`` is in bytes, ``every`` in seconds."""

    count: int = 0
    # whether the contestant runs with its best settings or untouched
    tuned: bool = True
    slots: int | None = None
    padding: int = 80
    # now, later (a day ahead), or other (of a type that no worker takes)
    kind: str = "now"
    step: int = 1
    stamps: bool = False
    every: float = 0.02


class Contestant(Protocol):
    """A job queue through its public functions."""

    async def open(self, dsn: str, options: Options) -> None:
        """Connect."""

    async def create(self) -> None:
        """Lay the tables in an empty database."""

    async def add(self, payload: Payload) -> None:
        """Enqueue one job in a transaction of its own."""

    async def add_many(self, payloads: Sequence[Payload], kind: str) -> None:
        """Enqueue many jobs the fastest public way."""

    async def work(self, handle: Handle) -> None:
        """Work for ever, calling ``handle`` with the decoded payload of each job."""


def say(**values: Any) -> None:
    """One line for the process that measures."""
    sys.stdout.write(f"{json.dumps(values)}\n")
    sys.stdout.flush()


def run(contestant: Contestant) -> None:
    """Carry out the command on the command line."""
    command, dsn, options = sys.argv[1:]
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_carry_out(contestant, command, dsn, Options(**json.loads(options))))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


async def _carry_out(contestant: Contestant, command: str, dsn: str, options: Options) -> None:
    commands: dict[str, Callable[[Contestant, Options], Awaitable[None]]] = {
        "create": _create,
        "fill": _fill,
        "ones": _ones,
        "ring": _ring,
        "work": _work,
    }
    await contestant.open(dsn, options)
    await commands[command](contestant, options)
    # pools and listeners of some rivals take seconds to close, and nothing is lost here
    os._exit(0)


async def _create(contestant: Contestant, options: Options) -> None:
    await contestant.create()
    say(created=True)


async def _fill(contestant: Contestant, options: Options) -> None:
    payloads = [_payload(n, options) for n in range(options.count)]
    start = time.monotonic()
    for first in range(0, options.count, BULK):
        await contestant.add_many(payloads[first : first + BULK], options.kind)
    say(seconds=time.monotonic() - start)


async def _ones(contestant: Contestant, options: Options) -> None:
    # the first call opens the connection and plans the statement
    await contestant.add(_payload(0, options))
    start = time.monotonic()
    for n in range(options.count):
        await contestant.add(_payload(n, options))
    say(seconds=time.monotonic() - start)


async def _ring(contestant: Contestant, options: Options) -> None:
    returned: list[int] = []
    for n in range(options.count):
        due = time.monotonic() + options.every
        await contestant.add(_payload(n, options))
        returned.append(time.monotonic_ns())
        await asyncio.sleep(max(0.0, due - time.monotonic()))
    say(returned=returned)


async def _work(contestant: Contestant, options: Options) -> None:
    say(ready=os.getpid())
    sys.stdin.readline()
    threading.Thread(target=_end_with_input, daemon=True).start()
    await contestant.work(_stamping(options.count) if options.stamps else _counting(options.step))


def _payload(n: int, options: Options) -> Payload:
    return {"n": n, "padding": "x" * options.padding}


def _counting(step: int) -> Handle:
    """Say when the first job and each ``step``-th one started."""
    started = 0

    def handle(payload: Payload) -> None:
        nonlocal started
        started += 1
        if started == 1 or not started % step:
            say(started=started, at=time.monotonic_ns(), n=payload["n"])

    return handle


def _stamping(count: int) -> Handle:
    """Keep when each job started, and say it after the last."""
    stamps: dict[int, int] = {}

    def handle(payload: Payload) -> None:
        stamps.setdefault(payload["n"], time.monotonic_ns())
        if len(stamps) == count:
            say(stamps=[stamps[n] for n in range(count)])

    return handle


def _end_with_input() -> None:
    sys.stdin.read()
    os._exit(0)
