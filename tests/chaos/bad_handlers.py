"""Handlers that break every rule, by what their payload says; run by real processes."""

from __future__ import annotations

import asyncio
import ctypes
import sys
import time

import psutil

from dragonfly import Job, Worker
from dragonfly.job import RetryPolicy
from tests.process.scripted import swallow, trace, wait_for_release

Payload = dict[str, object]

worker = Worker("bad", concurrency=4)
BAD = "tests.chaos.bad_handlers:worker"


@worker.job("bad", retry=RetryPolicy(first=0.01))
async def bad(job: Job[Payload]) -> object:
    """Do what the payload says."""
    await trace(job, "start")
    match job.payload["do"]:
        case "block":
            block(job)
        case "block in a task":
            await asyncio.create_task(block_later(job))
        case "wait":
            await wait_for_release(job)
        case "return":
            return 1
        case "segfault":
            ctypes.string_at(0)
        case "fill memory":
            fill_memory()
        case "child exits":
            async with asyncio.TaskGroup() as group:
                group.create_task(leave())
        case "straggle":
            STRAGGLERS.append(asyncio.create_task(swallow()))
    await trace(job, "end")
    return None


STRAGGLERS: list[asyncio.Task[None]] = []


async def leave() -> None:
    """A task of its own in which asyncio lets SystemExit through to the loop."""
    sys.exit(5)


def fill_memory() -> None:
    """Ask for more than the process may have, as a leak does in the end."""
    import resource  # Windows has none

    used = psutil.Process().memory_info().vms
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + 64 * 2**20, before[1]))
    hoard = []
    try:
        while True:
            hoard.append(bytearray(2**20))
    finally:
        hoard.clear()
        resource.setrlimit(resource.RLIMIT_AS, before)


async def block_later(job: Job[Payload]) -> None:
    """The same in a task that nobody knows the job of."""
    block(job)


def block(job: Job[Payload]) -> None:
    """What every author of an async handler writes once."""
    time.sleep(float(str(job.payload["seconds"])))
