"""What the two intake workers share: how a job names a file, and running the pipeline for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from dragonfly.errors import InputRefused
from dragonfly.job import Job, Reject, Snooze
from dragonfly.judgments.batches import DEFAULT_BUDGET, Order
from dragonfly.judgments.pipeline import Host, load_file, resume
from dragonfly.queue.bulk import enqueue_many
from dragonfly.workers.places import object_parts, relative_parts
from dragonfly.workers.sources import NotThereYet, Sources, Spooled

if TYPE_CHECKING:
    from asyncpg import Connection

# how long an upload may take to appear after its job
UPLOAD_GRACE = timedelta(minutes=3)
_LOOK_AGAIN = timedelta(seconds=20)
_NOW = "SELECT clock_timestamp()"

# what a column of type integer holds
LARGEST_INTEGER = 2**31 - 1

Path512 = Annotated[str, StringConstraints(min_length=1, max_length=512)]
Reference = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=120)]


class FileRef(BaseModel):
    """A file by its store; ``sha256`` and ``bytes``, when given, must be those of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    store: Literal["drop", "supabase"]
    bucket: Literal["intake", "imports", "simplicity"] | None = None
    path: Path512
    sha256: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")] | None = None
    bytes: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _storage_needs_a_bucket(self) -> Self:
        if (self.store == "supabase") != (self.bucket is not None):
            raise ValueError("bucket is given exactly when store is supabase")
        return self


class FileRequest(BaseModel):
    """A file to load: ``file``, or the older ``file_path`` below the intake folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: FileRef | None = None
    file_path: Path512 | None = None
    source_reference: Reference | None = None
    expected_rows: int | None = Field(default=None, ge=1, le=LARGEST_INTEGER)
    mode: Literal["load", "dry_run"] = "load"
    error_budget_pct: Decimal = Field(DEFAULT_BUDGET, ge=0, le=100, max_digits=5, decimal_places=2)
    requested_by: Annotated[str, StringConstraints(max_length=200)] | None = None

    @model_validator(mode="after")
    def _one_file(self) -> Self:
        if (self.file is None) == (self.file_path is None):
            raise ValueError("give either file or file_path")
        return self

    def reference(self) -> FileRef:
        """The file, however it was named."""
        return self.file or FileRef(store="drop", path=self.file_path or "")


async def run_file(job: Job[Any], request: FileRequest, source_system: str) -> None:
    """Load the file a job names, or go on with it, and complete the job."""
    batch_id = (job.last_checkpoint or {}).get("batch_id")
    try:
        if batch_id is not None:
            try:
                return await resume(host_of(job), UUID(batch_id))
            except InputRefused as refusal:
                if refusal.code != "BATCH_NOT_STAGED":
                    raise
        async with _spooled(job, request.reference()) as spooled:
            order = _order(request, source_system, spooled)
            await load_file(host_of(job), order, spooled.path)
    except InputRefused as refusal:
        raise Reject(refusal.code, refusal.message) from None


def host_of(job: Job[Any]) -> Host:
    """Lends the pipeline the job's transactions; follow-up jobs go into the loading one."""

    async def remember(batch_id: UUID) -> None:
        await job.checkpoint({"batch_id": str(batch_id)})

    async def follow_up(conn: Connection, judgment_ids: Sequence[UUID]) -> None:
        keys = [str(judgment_id) for judgment_id in judgment_ids]
        await enqueue_many(
            conn,
            "enforcement_action",
            [{"judgment_id": key, "trigger": "import"} for key in keys],
            unique_keys=keys,
            parent=job,
        )

    return Host(job.transaction, remember, job.progress, follow_up, job.complete)


@asynccontextmanager
async def _spooled(job: Job[Any], file: FileRef) -> AsyncIterator[Spooled]:
    sources: Sources = job.resources
    if file.store == "drop":
        copy = sources.from_drop(relative_parts(file.path, sources.root))
    else:
        copy = sources.from_storage(file.bucket or "", "/".join(object_parts(file.path)))
    try:
        async with copy as spooled:
            _expect_same(file, spooled)
            yield spooled
    except NotThereYet:
        await _wait_for_upload(job, file)


def _expect_same(file: FileRef, spooled: Spooled) -> None:
    if file.sha256 not in (None, spooled.sha256.hex()) or file.bytes not in (None, spooled.size):
        raise Reject(
            "FILE_CHANGED",
            "The file is not the one the job was made for (its size or sha256 differs); "
            "enqueue a job for the file as it is now.",
        )


async def _wait_for_upload(job: Job[Any], file: FileRef) -> None:
    """Look again until the grace is over, by the database's clock; then the file is missing."""
    async with job.transaction() as conn:
        now: datetime = await conn.fetchval(_NOW)
        waiting = job.last_checkpoint or {}
        since = datetime.fromisoformat(waiting.get("missing_since", now.isoformat()))
        if now - since < UPLOAD_GRACE:
            await job.checkpoint({"missing_since": since.isoformat()})
    if now - since < UPLOAD_GRACE:
        raise Snooze(after=_LOOK_AGAIN)
    raise Reject(
        "FILE_NOT_FOUND",
        f"Supabase Storage has no object {file.path} in bucket {file.bucket}; "
        "upload it and enqueue the job again.",
    )


def _order(request: FileRequest, source_system: str, spooled: Spooled) -> Order:
    file = request.reference()
    return Order(
        source_system=source_system,
        file_name=file.path.rsplit("/", 1)[-1],
        storage_path=file.path if file.bucket is None else f"{file.bucket}/{file.path}",
        byte_size=spooled.size,
        file_sha256=spooled.sha256,
        source_reference=request.source_reference,
        mode=request.mode,
        error_budget_pct=request.error_budget_pct,
        expected_rows=request.expected_rows,
        requested_by=request.requested_by,
    )
