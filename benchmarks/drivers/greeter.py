"""The worker module of W8, as small as a user's first one; it alone is no driver."""

from __future__ import annotations

from dragonfly import Job, Worker

worker = Worker("greeter")


@worker.job("bench")
async def greet(job: Job[dict[str, str]]) -> None:
    """Do nothing."""
