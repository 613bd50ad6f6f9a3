"""Handlers that break every rule, by what their payload says; run by real processes."""

from __future__ import annotations

import time

from dragonfly import Job, Worker
from dragonfly.job import RetryPolicy
from tests.process.scripted import trace, wait_for_release

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
        case "wait":
            await wait_for_release(job)
    await trace(job, "end")
    return None


def block(job: Job[Payload]) -> None:
    """What every author of an async handler writes once."""
    time.sleep(float(str(job.payload["seconds"])))
