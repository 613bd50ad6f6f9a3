"""The worker for files of any source, and for batches that were staged before."""

from __future__ import annotations

from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from dragonfly.errors import InputRefused
from dragonfly.job import Job, Reject
from dragonfly.judgments.pipeline import promote, resume, retry_rejected
from dragonfly.worker import Worker
from dragonfly.workers.intake import LARGEST_INTEGER, FileRequest, host_of, run_file
from dragonfly.workers.sources import open_sources

worker = Worker("ingest-processor", concurrency=2, lifespan=open_sources)


class IntakeRequest(FileRequest):
    """A file and the system it came from."""

    source_system: Literal["simplicity", "jbi", "manual", "csv_upload", "api", "foil"]


class BatchRequest(BaseModel):
    """What to do with a batch: load it (a dry run too), or judge its rejected rows again.

    ``row_nos`` limits ``retry_rejected`` to some rows; None means all that are open.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    batch_id: UUID
    action: Literal["load", "retry_rejected"] = "load"
    row_nos: list[Annotated[int, Field(ge=1, le=LARGEST_INTEGER)]] | None = Field(
        default=None, min_length=1
    )
    requested_by: Annotated[str, StringConstraints(max_length=200)] | None = None

    @model_validator(mode="after")
    def _rows_are_retried(self) -> Self:
        if self.row_nos is not None and self.action != "retry_rejected":
            raise ValueError("row_nos is given only with action retry_rejected")
        return self


@worker.job("intake", timeout=3600)
async def intake(job: Job[IntakeRequest]) -> None:
    """Load one file; the same file again is a success that says ``duplicate``."""
    await run_file(job, job.payload, job.payload.source_system)


@worker.job("ingest", timeout=3600)
async def ingest(job: Job[BatchRequest]) -> None:
    """Go on with a batch whose rows are kept; its file is never read again."""
    host, request = host_of(job), job.payload
    begun = job.last_checkpoint is not None
    try:
        if begun:
            await resume(host, request.batch_id)
        elif request.action == "load":
            await promote(host, request.batch_id)
        else:
            await retry_rejected(host, request.batch_id, request.row_nos)
    except InputRefused as refusal:
        raise Reject(refusal.code, refusal.message) from None
