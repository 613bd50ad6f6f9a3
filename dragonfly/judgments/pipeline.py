"""A file's way from the spool to the judgments, in steps that can each be begun again.

``received`` → staged (its rows are kept as read) → ``validated`` (each row judged, the error budget
kept) → ``loading`` (chunk by chunk) → completed. Every step asks the batch's status under its lock,
so a job that was killed, or a second job with the same file, goes on where the first one stopped.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from anyio import to_thread

from dragonfly.errors import InputRefused
from dragonfly.judgments import batches, staging
from dragonfly.judgments.batches import Batch, Order
from dragonfly.judgments.formats import Layout, recognise
from dragonfly.judgments.loading import ValidRow, load_chunk
from dragonfly.judgments.records import RawRow, ValidatedRow
from dragonfly.judgments.surveying import Survey, read_chunks, survey
from dragonfly.judgments.validation import DateDecisions, validate

if TYPE_CHECKING:
    from asyncpg import Connection

CHUNK = 2_000


@dataclass(frozen=True, slots=True)
class Host:
    """What the pipeline is lent by whoever runs it.

    ``remember`` is called in the transaction that registers the batch, ``follow_up`` in the one
    that loads judgments, with their ids; ``complete`` in the last one, with the job's result.
    """

    transaction: Callable[[], AbstractAsyncContextManager[Connection]]
    remember: Callable[[UUID], Awaitable[None]]
    progress: Callable[[float, str], Awaitable[None]]
    follow_up: Callable[[Connection, Sequence[UUID]], Awaitable[None]]
    complete: Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Examiner:
    """Judges the rows of one file, always alike."""

    layout: Layout
    header: tuple[str, ...]
    dates: DateDecisions
    today: date

    def examine(self, rows: Sequence[RawRow]) -> list[ValidatedRow]:
        return [validate(row, self.layout, self.header, self.dates, self.today) for row in rows]


async def load_file(host: Host, order: Order, spool: Path) -> None:
    """Take a spooled file through all steps and complete the host's job.

    Raises InputRefused when the file as a whole cannot be loaded; that is kept with its batch.
    """
    async with host.transaction() as conn:
        batch = await batches.register(conn, order)
        await host.remember(batch.batch_id)
        if batch.status == "duplicate":
            host.complete(await batches.summary(conn, batch.batch_id))
            return
    await resume(host, batch.batch_id, spool)


async def resume(host: Host, batch_id: UUID, spool: Path | None = None) -> None:
    """Go on with a batch wherever it stands; the spool is needed only while it is ``received``.

    Raises InputRefused (UNKNOWN_BATCH, BATCH_NOT_STAGED, or what its file was rejected for).
    """
    batch = await _look(host, batch_id)
    if batch.status == "received":
        if spool is None:
            raise InputRefused(
                "BATCH_NOT_STAGED",
                f"Batch {batch_id} holds no rows yet; send its file again.",
            )
        await _stage(host, batch, spool)
        batch = await _look(host, batch_id)
    if batch.status == "staged":
        await _validate(host, batch)
        batch = await _look(host, batch_id)
    if batch.status in ("validated", "loading") and await _load(host, batch):
        return
    async with host.transaction() as conn:
        batch = await _hold(conn, batch_id)
        host.complete(await batches.summary(conn, batch_id, again=batch.status != "duplicate"))


async def retry_rejected(host: Host, batch_id: UUID, row_nos: list[int] | None = None) -> None:
    """Judge a loaded batch's open rejected rows by today's rules, and load what passes."""
    async with host.transaction() as conn:
        batch = await _hold(conn, batch_id)
        if batch.status not in {"completed", "completed_with_rejects"} | batches.UNDER_WAY:
            raise InputRefused(
                "BATCH_NOT_LOADED",
                f"Batch {batch_id} was never loaded (it is {batch.status}), so there is nothing to "
                "add to it; send the corrected file again.",
            )
        if batch.finished:
            await staging.forget_rejected(conn, batch_id, row_nos)
            await batches.reopen(conn, batch_id)
        await host.remember(batch_id)
    await resume(host, batch_id)


async def promote(host: Host, batch_id: UUID) -> None:
    """Load what a dry run only tried."""
    async with host.transaction() as conn:
        batch = await _hold(conn, batch_id)
        if batch.mode == "dry_run":
            await staging.forget_verdicts(conn, batch_id)
            await batches.make_real(conn, batch)
        await host.remember(batch_id)
    await resume(host, batch_id)


async def _look(host: Host, batch_id: UUID) -> Batch:
    async with host.transaction() as conn:
        return await _hold(conn, batch_id)


async def _hold(conn: Connection, batch_id: UUID) -> Batch:
    batch = await batches.hold(conn, batch_id)
    if batch is None:
        raise InputRefused("UNKNOWN_BATCH", f"There is no batch {batch_id}; check the id.")
    refusal = batch.refusal()
    if refusal is not None:
        raise refusal
    return batch


async def _stage(host: Host, batch: Batch, spool: Path) -> None:
    """Keep the file's rows as read, or reject the file for its structure."""
    try:
        found = await to_thread.run_sync(survey, spool)
        _expect_rows(batch, found)
        async with host.transaction() as conn:
            batch = await _hold(conn, batch.batch_id)
            if batch.status == "received":
                await _keep_rows(conn, batch, spool, found)
    except InputRefused as refusal:
        async with host.transaction() as conn:
            await batches.reject(conn, batch.batch_id, refusal)
        raise
    await host.progress(10, f"{found.structure.rows_total:,} rows read")


def _expect_rows(batch: Batch, found: Survey) -> None:
    total = found.structure.rows_total
    if batch.expected_rows is not None and batch.expected_rows != total:
        raise InputRefused(
            "ROW_COUNT",
            f"The file has {total:,} rows but {batch.expected_rows:,} were announced; "
            "check that it was exported and copied whole.",
        )


async def _keep_rows(conn: Connection, batch: Batch, spool: Path, found: Survey) -> None:
    await batches.mark_staged(conn, batch.batch_id, found.structure)
    first = None
    if batch.mode == "load":
        first = await batches.same_content(conn, batch, found.structure.content_sha256)
    if first is None:
        async with aclosing(read_chunks(spool, found.layout, CHUNK)) as chunks:
            await staging.store_raw(conn, batch.batch_id, chunks)
    else:
        await batches.mark_duplicate(conn, batch.batch_id, first)


async def _validate(host: Host, batch: Batch) -> None:
    """Judge every row that has no verdict yet; then the file as a whole."""
    examiner = _examiner(batch)
    after, total = 0, batch.rows_total or 1
    while True:
        async with host.transaction() as conn:
            rows = await staging.unjudged(conn, batch.batch_id, after, CHUNK)
        if not rows:
            break
        judged = await to_thread.run_sync(examiner.examine, rows)
        async with host.transaction() as conn:
            await staging.write_verdicts(conn, batch.batch_id, judged)
        after = rows[-1].row_no
        await host.progress(10 + 40 * after / total, f"{after:,} of {total:,} rows checked")
    await _close_validation(host, batch.batch_id)


async def _close_validation(host: Host, batch_id: UUID) -> None:
    async with host.transaction() as conn:
        batch = await _hold(conn, batch_id)
        if batch.status != "staged":
            return
        # rows added to a loaded file are few by nature: its budget was judged when it was whole
        refusal = None if batch.validated_at else await batches.over_budget(conn, batch)
        if refusal is None:
            await staging.mark_twins(conn, batch_id, with_tasks=batch.mode == "load")
            await batches.mark_validated(conn, batch_id)
        else:
            await batches.reject(conn, batch_id, refusal)
    if refusal is not None:
        raise refusal


async def _load(host: Host, batch: Batch) -> bool:
    """Load what is valid, chunk by chunk; True if the host's job was completed with the last."""
    examiner = _examiner(batch)
    after, total = 0, batch.rows_total or 1
    while True:
        async with host.transaction() as conn:
            rows = await staging.undecided(conn, batch.batch_id, after, CHUNK)
        judged = await to_thread.run_sync(examiner.examine, rows)
        async with host.transaction() as conn:
            batch = await _hold(conn, batch.batch_id)
            if batch.finished:
                return False
            await batches.mark_loading(conn, batch.batch_id)
            loaded = await _load_judged(conn, batch, judged)
            await host.follow_up(conn, loaded)
            if not await staging.any_undecided(conn, batch.batch_id):
                await batches.finish(conn, batch.batch_id)
                host.complete(await batches.summary(conn, batch.batch_id))
                return True
        after = rows[-1].row_no if rows else 0
        await host.progress(50 + 50 * after / total, f"{after:,} of {total:,} rows loaded")


async def _load_judged(
    conn: Connection, batch: Batch, judged: Sequence[ValidatedRow]
) -> list[UUID]:
    """Load those of the rows that nobody else has decided since they were read."""
    open_rows = await staging.still_undecided(
        conn, batch.batch_id, [row.raw.row_no for row in judged]
    )
    mine = [row for row in judged if row.raw.row_no in open_rows]
    # the rules may have become stricter since the row was found valid
    fallen = [row for row in mine if row.record is None]
    if fallen:
        await staging.refuse_rows(conn, batch.batch_id, fallen)
    valid: list[ValidRow] = [(row, row.record) for row in mine if row.record is not None]
    return await load_chunk(conn, batch, valid) if valid else []


def _examiner(batch: Batch) -> Examiner:
    header = batch.header or ()
    layout = recognise(header)
    return Examiner(
        layout, header, DateDecisions.from_json(batch.date_formats or "{}"), batch.as_of
    )
