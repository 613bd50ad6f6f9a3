"""One file's way through the intake: registered, staged, validated, loaded, accounted for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from dragonfly.errors import InputRefused

if TYPE_CHECKING:
    from asyncpg import Connection

Mode = Literal["load", "dry_run"]

DEFAULT_BUDGET = Decimal(10)
FINISHED = frozenset({"completed", "completed_with_rejects", "dry_run"})
UNDER_WAY = frozenset({"received", "staged", "validated", "loading"})


@dataclass(frozen=True, slots=True)
class Order:
    """A file that lies in the spool, and what is asked for.

    ``error_budget_pct`` is the percentage of rows that may be rejected before nothing is loaded.
    """

    source_system: str
    file_name: str
    byte_size: int
    file_sha256: bytes
    storage_path: str | None = None
    source_reference: str | None = None
    mode: Mode = "load"
    error_budget_pct: Decimal = DEFAULT_BUDGET
    expected_rows: int | None = None
    requested_by: str | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """A row of ``civil.intake_batches``, as the intake needs it."""

    batch_id: UUID
    source_system: str
    mode: Mode
    status: str
    file_sha256: bytes
    header: tuple[str, ...] | None
    date_formats: str | None
    as_of: date
    error_budget_pct: Decimal
    expected_rows: int | None
    rows_total: int | None
    reject_code: str | None
    reject_detail: str | None
    duplicate_of: UUID | None
    validated_at: datetime | None

    @property
    def finished(self) -> bool:
        """Its rows are accounted for; nothing is left to do."""
        return self.status in FINISHED or self.status == "duplicate"

    def refusal(self) -> InputRefused | None:
        """Why the file was rejected as a whole, if it was."""
        if self.status != "rejected":
            return None
        return InputRefused(self.reject_code or "REJECTED", self.reject_detail or "")


@dataclass(frozen=True, slots=True)
class Structure:
    """What a first reading of a file told; ``date_formats`` is JSON text."""

    header: tuple[str, ...]
    header_fingerprint: bytes
    format_id: str
    encoding: str
    encoding_guessed: bool
    delimiter: str
    rows_total: int
    content_sha256: bytes
    date_formats: str


# the courts' day, by the database's clock
_TODAY = "SELECT (clock_timestamp() AT TIME ZONE 'America/New_York')::date"

_SAME_FILE = """
SELECT batch_id, status FROM civil.intake_batches
 WHERE source_system = $1 AND file_sha256 = $2 AND mode = $3
   AND (status = ANY ($4::text[])
        OR mode = 'load' AND status IN ('completed', 'completed_with_rejects'))
 ORDER BY created_at LIMIT 1
"""

_LOADED_FILE = """
SELECT batch_id FROM civil.intake_batches
 WHERE source_system = $1 AND file_sha256 = $2 AND mode = 'load'
   AND status NOT IN ('rejected', 'failed', 'rolled_back', 'duplicate')
"""

_REGISTER = """
INSERT INTO civil.intake_batches
       (source_system, file_name, storage_path, byte_size, file_sha256, source_reference, mode,
        error_budget_pct, expected_rows, requested_by, as_of)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT DO NOTHING
RETURNING batch_id
"""

_REGISTER_DUPLICATE = """
INSERT INTO civil.intake_batches
       (source_system, file_name, storage_path, byte_size, file_sha256, source_reference, mode,
        error_budget_pct, expected_rows, requested_by, as_of, status, duplicate_of, format_id,
        rows_total, rows_duplicate, rows_loaded, rows_updated, rows_unchanged, rows_rejected,
        rows_review, completed_at)
SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 'duplicate', first.batch_id, first.format_id,
       first.rows_total, first.rows_total, 0, 0, 0, 0, 0, clock_timestamp()
  FROM civil.intake_batches AS first WHERE first.batch_id = $12
RETURNING batch_id
"""

_REGISTER_REUSED = """
INSERT INTO civil.intake_batches
       (source_system, file_name, storage_path, byte_size, file_sha256, source_reference, mode,
        error_budget_pct, expected_rows, requested_by, as_of, status, reject_code, reject_detail,
        completed_at)
SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 'rejected', 'SOURCE_REF_REUSED', $12,
       clock_timestamp()
 WHERE EXISTS (SELECT FROM civil.intake_batches AS taken
                WHERE taken.source_system = $1 AND taken.source_reference = $6
                  AND taken.mode = 'load'
                  AND taken.status NOT IN ('rejected', 'failed', 'rolled_back', 'duplicate'))
RETURNING batch_id
"""

_HOLD = """
SELECT batch_id, source_system, mode, status, file_sha256, header, date_formats, as_of,
       error_budget_pct, expected_rows, rows_total, reject_code, reject_detail,
       duplicate_of, validated_at
  FROM civil.intake_batches WHERE batch_id = $1 FOR UPDATE
"""

_REJECT = """
UPDATE civil.intake_batches
   SET status = 'rejected', reject_code = $2, reject_detail = $3, completed_at = clock_timestamp()
 WHERE batch_id = $1
"""

_MARK_STAGED = """
UPDATE civil.intake_batches
   SET status = 'staged', staged_at = clock_timestamp(), header = $2, header_fingerprint = $3,
       format_id = $4, encoding = $5, encoding_guessed = $6, delimiter = $7, rows_total = $8,
       content_sha256 = $9, date_formats = $10::jsonb
 WHERE batch_id = $1
"""

# two copies of one file, saved twice, may arrive at the same moment
_LOCK_CONTENT = "SELECT pg_advisory_xact_lock(hashtextextended($1 || encode($2, 'hex'), 0))"

_SAME_CONTENT = """
SELECT batch_id FROM civil.intake_batches
 WHERE source_system = $1 AND content_sha256 = $2 AND batch_id <> $3 AND mode = 'load'
   AND status NOT IN ('rejected', 'failed', 'rolled_back', 'duplicate')
 ORDER BY created_at LIMIT 1
"""

_MARK_DUPLICATE = """
UPDATE civil.intake_batches
   SET status = 'duplicate', duplicate_of = $2, rows_duplicate = rows_total, rows_loaded = 0,
       rows_updated = 0, rows_unchanged = 0, rows_rejected = 0, rows_review = 0,
       completed_at = clock_timestamp()
 WHERE batch_id = $1
"""

_MARK_VALIDATED = """
UPDATE civil.intake_batches
   SET status = 'validated', validated_at = coalesce(validated_at, clock_timestamp())
 WHERE batch_id = $1
"""

_MARK_LOADING = "UPDATE civil.intake_batches SET status = 'loading' WHERE batch_id = $1"

# back to where validation begins; the budget of the whole file stays judged
_REOPEN = """
UPDATE civil.intake_batches
   SET status = 'staged', completed_at = NULL,
       as_of = (clock_timestamp() AT TIME ZONE 'America/New_York')::date
 WHERE batch_id = $1
"""

_MAKE_REAL = """
UPDATE civil.intake_batches
   SET mode = 'load', status = 'staged', validated_at = NULL, completed_at = NULL,
       as_of = (clock_timestamp() AT TIME ZONE 'America/New_York')::date
 WHERE batch_id = $1
"""

_FINISH = """
UPDATE civil.intake_batches AS b
   SET status = CASE WHEN b.mode = 'dry_run' THEN 'dry_run'
                     WHEN n.rejected > 0 THEN 'completed_with_rejects'
                     ELSE 'completed' END,
       rows_loaded = n.loaded, rows_updated = n.updated, rows_unchanged = n.unchanged,
       rows_duplicate = n.duplicate, rows_rejected = n.rejected, rows_review = n.review,
       completed_at = clock_timestamp()
  FROM (SELECT count(*) FILTER (WHERE outcome = 'loaded') AS loaded,
               count(*) FILTER (WHERE outcome = 'updated') AS updated,
               count(*) FILTER (WHERE outcome = 'unchanged') AS unchanged,
               count(*) FILTER (WHERE outcome = 'duplicate') AS duplicate,
               count(*) FILTER (WHERE outcome = 'rejected') AS rejected,
               count(*) FILTER (WHERE outcome = 'review') AS review
          FROM civil.intake_row_results WHERE batch_id = $1) AS n
 WHERE b.batch_id = $1
"""

_COUNT_REJECTED = """
UPDATE civil.intake_batches AS b
   SET rows_rejected = (SELECT count(*) FROM civil.intake_row_results AS r
                         WHERE r.batch_id = b.batch_id AND r.outcome = 'rejected')
 WHERE b.batch_id = $1
RETURNING b.rows_rejected
"""

_SUMMARY = """
SELECT b.batch_id, b.status, b.format_id, b.duplicate_of, b.encoding,
       b.rows_total, b.rows_loaded, b.rows_updated, b.rows_unchanged, b.rows_duplicate,
       b.rows_rejected, b.rows_review,
       extract(epoch FROM b.completed_at - b.created_at)::float8 AS seconds,
       (SELECT coalesce(json_object_agg(c.code, c.rows ORDER BY c.code), '{}')::text
          FROM (SELECT code, count(*) AS rows
                  FROM civil.intake_row_results AS r, unnest(r.codes) AS code
                 WHERE r.batch_id = b.batch_id GROUP BY code) AS c) AS codes,
       (SELECT coalesce(json_agg(f.bad ORDER BY f.row_no), '[]')::text
          FROM (SELECT x.row_no,
                       json_build_object('line', x.line_no, 'cell', x.messages -> 0 ->> 'cell',
                                         'code', x.codes[1]) AS bad
                  FROM civil.intake_rejected_rows AS x
                 WHERE x.batch_id = b.batch_id AND x.resolution <> 'fixed'
                 ORDER BY x.row_no LIMIT 5) AS f) AS first_bad_rows
  FROM civil.intake_batches AS b WHERE b.batch_id = $1
"""


async def register(conn: Connection, order: Order) -> Batch:
    """The batch of this file: a new one, or one begun earlier that is to be gone on with.

    Its status says which: ``received`` or further; ``duplicate`` of a file already loaded;
    ``rejected`` because its reference names another file.
    """
    given = (
        order.source_system, order.file_name, order.storage_path, order.byte_size,
        order.file_sha256, order.source_reference, order.mode, order.error_budget_pct,
        order.expected_rows, order.requested_by, await conn.fetchval(_TODAY),
    )  # fmt: skip
    while True:
        same = await conn.fetchrow(
            _SAME_FILE, order.source_system, order.file_sha256, order.mode, list(UNDER_WAY)
        )
        if same is not None and same["status"] in FINISHED:
            batch_id = await conn.fetchval(_REGISTER_DUPLICATE, *given, same["batch_id"])
        elif same is not None:
            batch_id = same["batch_id"]
        else:
            batch_id = await conn.fetchval(_REGISTER, *given)
        # a conflict with a batch that has just come or gone is settled by looking again
        batch_id = batch_id or await conn.fetchval(_REGISTER_REUSED, *given, _reused(order))
        batch = await hold(conn, batch_id) if batch_id is not None else None
        if batch is not None:
            return batch


def _reused(order: Order) -> str:
    return (
        f"The reference {order.source_reference!r} already names another file of "
        f"{order.source_system}; give this file a reference of its own."
    )


async def hold(conn: Connection, batch_id: UUID) -> Batch | None:
    """Read a batch and keep others from moving it on until the transaction ends."""
    row = await conn.fetchrow(_HOLD, batch_id)
    if row is None:
        return None
    header = None if row["header"] is None else tuple(row["header"])
    return Batch(**(dict(row) | {"header": header}))


async def reject(conn: Connection, batch_id: UUID, refusal: InputRefused) -> None:
    """Nothing of the file is loaded; the code and sentence stay with it."""
    await conn.execute(_REJECT, batch_id, refusal.code, refusal.message)


async def mark_staged(conn: Connection, batch_id: UUID, found: Structure) -> None:
    await conn.execute(
        _MARK_STAGED, batch_id, list(found.header), found.header_fingerprint, found.format_id,
        found.encoding, found.encoding_guessed, found.delimiter, found.rows_total,
        found.content_sha256, found.date_formats,
    )  # fmt: skip


async def same_content(conn: Connection, batch: Batch, content_sha256: bytes) -> UUID | None:
    """The earlier batch with the very rows of this one, in a file saved anew."""
    await conn.execute(_LOCK_CONTENT, batch.source_system, content_sha256)
    earlier: UUID | None = await conn.fetchval(
        _SAME_CONTENT, batch.source_system, content_sha256, batch.batch_id
    )
    return earlier


async def mark_duplicate(conn: Connection, batch_id: UUID, first: UUID) -> None:
    await conn.execute(_MARK_DUPLICATE, batch_id, first)


async def mark_validated(conn: Connection, batch_id: UUID) -> None:
    await conn.execute(_MARK_VALIDATED, batch_id)


async def mark_loading(conn: Connection, batch_id: UUID) -> None:
    await conn.execute(_MARK_LOADING, batch_id)


async def reopen(conn: Connection, batch_id: UUID) -> None:
    """Let a loaded batch go through validation again, for rows that are to be judged anew."""
    await conn.execute(_REOPEN, batch_id)


async def make_real(conn: Connection, batch: Batch) -> None:
    """Turn a dry run into a load, or into the duplicate of one that came before it."""
    first: UUID | None = await conn.fetchval(_LOADED_FILE, batch.source_system, batch.file_sha256)
    if first is None:
        await conn.execute(_MAKE_REAL, batch.batch_id)
    else:
        await mark_duplicate(conn, batch.batch_id, first)


async def finish(conn: Connection, batch_id: UUID) -> None:
    """Count the outcomes and close the batch; the database refuses counts that do not add up."""
    await conn.execute(_FINISH, batch_id)


async def over_budget(conn: Connection, batch: Batch) -> InputRefused | None:
    """Why the file has too many bad rows, if it has; exactly the budget is still within it.

    There is no limit in absolute numbers: fifty bad rows condemn a file of nine hundred, which
    the percentage does as well, but not one of a million.
    """
    rejected: int = await conn.fetchval(_COUNT_REJECTED, batch.batch_id)
    total = batch.rows_total or 0
    if rejected == total:
        return InputRefused(
            "OVER_ERROR_BUDGET",
            f"All {total:,} rows of the file were rejected, so nothing was loaded; "
            "correct the rows listed for this batch and load the file again.",
        )
    if rejected * 100 > batch.error_budget_pct * total:
        share = Decimal(rejected * 100) / total
        return InputRefused(
            "OVER_ERROR_BUDGET",
            f"{rejected:,} of {total:,} rows ({share:.2f} %) were rejected and the budget is "
            f"{batch.error_budget_pct.normalize():f} %, so nothing was loaded; correct the rows "
            "listed for this batch and load the file again.",
        )
    return None


async def summary(conn: Connection, batch_id: UUID, *, again: bool = False) -> dict[str, Any]:
    """The result of an intake job: counts, codes and addresses, never contents.

    With ``again`` the batch had been loaded before this job looked, so all its rows are duplicates.
    """
    row = (await conn.fetch(_SUMMARY, batch_id))[0]
    total = row["rows_total"]
    names = ("loaded", "updated", "unchanged", "duplicate", "rejected", "review")
    counts = {name: row[f"rows_{name}"] for name in names}
    if again:
        counts = dict.fromkeys(names, 0) | {"duplicate": total}
    duplicate_of = batch_id if again else row["duplicate_of"]
    return {
        "batch_id": str(row["batch_id"]),
        "outcome": "duplicate" if again else row["status"],
        "format_id": row["format_id"],
        "rows": {"total": total} | counts,
        "codes": {} if again else json.loads(row["codes"]),
        "duplicate_of": None if duplicate_of is None else str(duplicate_of),
        "encoding": row["encoding"],
        "first_bad_rows": [] if again else json.loads(row["first_bad_rows"]),
        "seconds": round(row["seconds"], 3),
    }
