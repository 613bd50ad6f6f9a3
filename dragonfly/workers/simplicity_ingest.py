"""The worker that loads Simplicity's exports."""

from __future__ import annotations

from dragonfly.job import Job
from dragonfly.worker import Worker
from dragonfly.workers.intake import FileRequest, run_file
from dragonfly.workers.sources import open_sources

worker = Worker("simplicity-ingest", concurrency=2, lifespan=open_sources)


@worker.job("simplicity_ingest", timeout=3600)
async def ingest(job: Job[FileRequest]) -> None:
    """Load one export; the same file again is a success that says ``duplicate``."""
    await run_file(job, job.payload, "simplicity")
