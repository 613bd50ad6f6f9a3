"""What every driver answers: ``driver COMMAND DSN OPTIONS``, JSON lines on standard output.

``create`` lays the tables; ``fill`` adds many jobs in bulk, ``ones`` one by one and ``crowd`` one
by one from several connections, and all say the seconds they took; ``ring`` adds one every so often
and says when each call returned; ``plan`` adds batches of jobs that become due later and says when.
``work`` says that it is ready, waits for a line, and works until its standard input closes. Times
are nanoseconds of the monotonic clock, which all processes of a machine share, but for ``due``,
which is seconds of wall time. Standard library only, for it runs in each rival's own environment.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

JOB_TYPE = "bench"
OTHER_TYPE = "bench_other"
THIRD_TYPE = "bench_third"
# the table that jobs of W2T write to, and what they write
EFFECTS = "CREATE TABLE public.effects (n bigint)"
EFFECT = "INSERT INTO public.effects (n) VALUES ($1)"
# a planned batch ends when its last job has been due for so long
BATCH_REST_SECONDS = 0.1

Payload = dict[str, Any]
Handle = Callable[[Payload], None]
Add = Callable[[Payload], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Options:
    """One command's parameters; ``padding`` is in bytes, ``every`` and ``offsets`` in seconds."""

    count: int = 0
    # whether the contestant runs with its best settings or untouched
    tuned: bool = True
    slots: int | None = None
    padding: int = 80
    # now, later (a day ahead), or other (of another type); a worker of kind other takes that type
    kind: str = "now"
    bulk: int = 1000
    step: int = 1
    stamps: bool = False
    every: float = 0.02
    connections: int = 0
    # when the jobs of each batch are due, counted from the batch's begin
    offsets: list[float] = field(default_factory=list)
    batch: int = 1
    # whether due times matter: then even those that find them only by polling look often
    timely: bool = False
    # Dragonfly's alone: workers in the process, seconds that completed jobs stay
    workers: int = 1
    keep_seconds: float | None = None
    # Dragonfly's and bare's: how many jobs at once write in a transaction that finishes them
    transactions: int = 0

    @property
    def job_type(self) -> str:
        """What is added, or taken."""
        return OTHER_TYPE if self.kind == "other" else JOB_TYPE


class Contestant(Protocol):
    """A job queue through its public functions."""

    async def open(self, dsn: str, options: Options) -> None:
        """Connect."""

    async def create(self) -> None:
        """Lay the tables in an empty database."""

    async def add(self, payload: Payload) -> None:
        """Enqueue one job in a transaction of its own."""

    async def add_at(self, payload: Payload, run_at: float) -> None:
        """Enqueue one job that is due at ``run_at``, in seconds of wall time."""

    async def lanes(self, count: int) -> Sequence[Add]:
        """So many ways to enqueue one job, each with a connection of its own."""

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
        "crowd": _crowd,
        "ring": _ring,
        "plan": _plan,
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
    for first in range(0, options.count, options.bulk):
        await contestant.add_many(payloads[first : first + options.bulk], options.kind)
    say(seconds=time.monotonic() - start)


async def _ones(contestant: Contestant, options: Options) -> None:
    # the first call opens the connection and plans the statement
    await contestant.add(_payload(0, options))
    start = time.monotonic()
    for n in range(options.count):
        await contestant.add(_payload(n, options))
    say(seconds=time.monotonic() - start)


async def _crowd(contestant: Contestant, options: Options) -> None:
    lanes = await contestant.lanes(options.connections)
    each = options.count // len(lanes)

    async def add(lane: Add, count: int) -> None:
        for n in range(count):
            await lane(_payload(n, options))

    await asyncio.gather(*(add(lane, 1) for lane in lanes))
    start = time.monotonic()
    await asyncio.gather(*(add(lane, each) for lane in lanes))
    say(seconds=time.monotonic() - start, added=each * len(lanes))


async def _ring(contestant: Contestant, options: Options) -> None:
    returned: list[int] = []
    for n in range(options.count):
        due = time.monotonic() + options.every
        await contestant.add(_payload(n, options))
        returned.append(time.monotonic_ns())
        await asyncio.sleep(max(0.0, due - time.monotonic()))
    say(returned=returned)


async def _plan(contestant: Contestant, options: Options) -> None:
    due: list[float] = []
    for first in range(0, len(options.offsets), options.batch):
        # whole milliseconds: all contestants can keep those, but for SAQ
        begin = round(time.time(), 3)
        times = [begin + offset for offset in options.offsets[first : first + options.batch]]
        for n, run_at in enumerate(times, first):
            await contestant.add_at(_payload(n, options), run_at)
        due += times
        await asyncio.sleep(max(times) + BATCH_REST_SECONDS - time.time())
    say(due=due)


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
