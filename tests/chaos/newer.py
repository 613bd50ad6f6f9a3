"""The drill's worker one version on: it takes one more type of job, and has a schedule."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel

from dragonfly import Job, Worker
from dragonfly.ops.drill import history
from dragonfly.ops.drill.worker import fenced, returning, take_notes

NEW = "drill_new"
# both nights of a clock change are Sundays of these months
NIGHTS = "30 1-2 * 3,11 SUN"
ZONE = "America/New_York"

worker = Worker("drill-newer", concurrency=4, lifespan=take_notes)
for job_type, handler in ((history.FENCED, fenced), (history.RETURNING, returning), (NEW, fenced)):
    worker.job(job_type)(handler)

sexton = Worker("sexton")


class Tick(BaseModel):
    """Which tick a job is for."""

    tick_at: datetime


@sexton.job("toll")
async def toll(_: Job[Tick]) -> None:
    """Nothing but the job itself counts."""


sexton.schedule("nights", NIGHTS, "toll", timezone=ZONE, catch_up="all")
