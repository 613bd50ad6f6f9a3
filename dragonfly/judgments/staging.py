"""The rows of a file as they were read, and what validation found of each."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import asdict
from hashlib import blake2b
from typing import TYPE_CHECKING, Any
from uuid import UUID

from dragonfly.judgments.matching import REVIEW_SENTENCES, identity_of
from dragonfly.judgments.records import Finding, JudgmentRecord, RawRow, ValidatedRow

if TYPE_CHECKING:
    from asyncpg import Connection

_UNJUDGED = """
SELECT raw.row_no, raw.line_no, raw.cells FROM civil.intake_raw_rows AS raw
 WHERE raw.batch_id = $1 AND raw.row_no > $2
   AND NOT EXISTS (SELECT FROM civil.intake_row_results AS r
                    WHERE r.batch_id = raw.batch_id AND r.row_no = raw.row_no)
 ORDER BY raw.row_no LIMIT $3
"""

_UNDECIDED = """
SELECT raw.row_no, raw.line_no, raw.cells
  FROM civil.intake_row_results AS r JOIN civil.intake_raw_rows AS raw USING (batch_id, row_no)
 WHERE r.batch_id = $1 AND r.outcome IS NULL AND r.row_no > $2
 ORDER BY r.row_no LIMIT $3
"""

_STILL_UNDECIDED = """
SELECT row_no FROM civil.intake_row_results
 WHERE batch_id = $1 AND outcome IS NULL AND row_no = ANY ($2::int[])
"""

_ANY_UNDECIDED = """
SELECT EXISTS (SELECT FROM civil.intake_row_results WHERE batch_id = $1 AND outcome IS NULL)
"""


# A row judged before keeps its verdict; a rejected row that passes now is noted as fixed.
_WRITE_VERDICTS = """
WITH judged AS (
    INSERT INTO civil.intake_row_results
           (batch_id, row_no, outcome, codes, identity_hash, content_hash)
    SELECT $1, u.row_no, CASE WHEN u.identity_hash IS NULL THEN 'rejected' END,
           string_to_array(u.codes, ','), u.identity_hash, u.content_hash
      FROM unnest($2::int[], $3::text[], $4::bytea[], $5::bytea[])
           AS u (row_no, codes, identity_hash, content_hash)
    ON CONFLICT DO NOTHING
    RETURNING row_no, outcome
), fixed AS (
    UPDATE civil.intake_rejected_rows AS x SET resolution = 'fixed', resolved_at = now()
      FROM judged
     WHERE x.batch_id = $1 AND x.row_no = judged.row_no AND judged.outcome IS NULL
       AND x.resolution = 'open'
)
INSERT INTO civil.intake_rejected_rows AS x (batch_id, row_no, line_no, codes, messages)
SELECT $1, u.row_no, u.line_no, string_to_array(u.codes, ','), u.messages::jsonb
  FROM unnest($6::int[], $7::int[], $8::text[], $9::text[]) AS u (row_no, line_no, codes, messages)
  JOIN judged USING (row_no)
ON CONFLICT (batch_id, row_no) DO UPDATE
   SET codes = excluded.codes, messages = excluded.messages, resolution = 'open',
       resolved_by = NULL, resolved_at = NULL
"""

# The planner knows nothing yet of rows written a moment ago, and would loop over them row by row.
_JOIN_BY_HASH = "SELECT set_config('enable_nestloop', 'off', true)"

# Rows of one file that name the same judgment: equal ones are loaded once, others not at all.
_MARK_TWINS = """
WITH twins AS (
    SELECT row_no, min(row_no) OVER same_judgment AS first_row_no,
           count(*) OVER same_judgment AS rows_of_judgment,
           count(*) OVER same_contents = count(*) OVER same_judgment AS agree
      FROM civil.intake_row_results
     WHERE batch_id = $1 AND identity_hash IS NOT NULL
    WINDOW same_judgment AS (PARTITION BY identity_hash),
           same_contents AS (PARTITION BY identity_hash, content_hash)
), marked AS (
    UPDATE civil.intake_row_results AS r
       SET outcome = CASE WHEN t.agree THEN 'duplicate' ELSE 'review' END,
           codes = r.codes || CASE WHEN t.agree THEN 'DUPLICATE_ROW' ELSE 'ROWS_DISAGREE' END,
           first_row_no = CASE WHEN t.row_no > t.first_row_no THEN t.first_row_no END
      FROM twins AS t
     WHERE r.batch_id = $1 AND r.row_no = t.row_no AND r.outcome IS NULL
       AND t.rows_of_judgment > 1 AND (NOT t.agree OR t.row_no > t.first_row_no)
    RETURNING r.row_no, r.outcome, r.codes
)
INSERT INTO civil.tasks (kind, batch_id, row_no, codes, detail)
SELECT 'review', $1, m.row_no, m.codes, $3::jsonb
  FROM marked AS m WHERE m.outcome = 'review' AND $2
ON CONFLICT DO NOTHING
"""

_FORGET_REJECTED = """
DELETE FROM civil.intake_row_results AS r
 USING civil.intake_rejected_rows AS x
 WHERE r.batch_id = $1 AND r.outcome = 'rejected'
   AND x.batch_id = r.batch_id AND x.row_no = r.row_no AND x.resolution = 'open'
   AND ($2::int[] IS NULL OR r.row_no = ANY ($2))
"""

_FORGET_ROWS = (
    "DELETE FROM civil.intake_row_results WHERE batch_id = $1 AND row_no = ANY ($2::int[])"
)

_FORGET_VERDICTS = """
WITH rejected AS (DELETE FROM civil.intake_rejected_rows WHERE batch_id = $1)
DELETE FROM civil.intake_row_results WHERE batch_id = $1
"""


async def store_raw(
    conn: Connection, batch_id: UUID, chunks: AsyncIterator[Sequence[RawRow]]
) -> None:
    """Copy the rows in as they are read, all of a file in one statement."""

    async def records() -> AsyncIterator[tuple[Any, ...]]:
        async for chunk in chunks:
            for row in chunk:
                yield batch_id, row.row_no, row.line_no, row.cells

    await conn.copy_records_to_table(
        "intake_raw_rows",
        schema_name="civil",
        columns=("batch_id", "row_no", "line_no", "cells"),
        records=records(),
    )


async def unjudged(conn: Connection, batch_id: UUID, after: int, limit: int) -> list[RawRow]:
    """The next rows that validation has not seen."""
    return await _read(conn, _UNJUDGED, batch_id, after, limit)


async def undecided(conn: Connection, batch_id: UUID, after: int, limit: int) -> list[RawRow]:
    """The next valid rows that are not loaded yet."""
    return await _read(conn, _UNDECIDED, batch_id, after, limit)


async def _read(
    conn: Connection, query: str, batch_id: UUID, after: int, limit: int
) -> list[RawRow]:
    rows = await conn.fetch(query, batch_id, after, limit)
    return [RawRow(row["row_no"], row["line_no"], tuple(row["cells"])) for row in rows]


async def still_undecided(conn: Connection, batch_id: UUID, row_nos: Iterable[int]) -> set[int]:
    """Which of these rows nobody else has loaded meanwhile."""
    rows = await conn.fetch(_STILL_UNDECIDED, batch_id, list(row_nos))
    return {row["row_no"] for row in rows}


async def any_undecided(conn: Connection, batch_id: UUID) -> bool:
    found: bool = await conn.fetchval(_ANY_UNDECIDED, batch_id)
    return found


async def write_verdicts(conn: Connection, batch_id: UUID, rows: Sequence[ValidatedRow]) -> None:
    """Keep what validation found; rows judged before are left as they are."""
    rejected = [row for row in rows if row.record is None]
    reasons = [[f for f in row.findings if f.severity == "reject"] for row in rejected]
    await conn.execute(
        _WRITE_VERDICTS,
        batch_id,
        [row.raw.row_no for row in rows],
        [_codes(row.findings) for row in rows],
        [None if row.record is None else identity_hash(row.record) for row in rows],
        [None if row.record is None else row.record.content_hash for row in rows],
        [row.raw.row_no for row in rejected],
        [row.raw.line_no for row in rejected],
        [_codes(findings) for findings in reasons],
        [messages(findings) for findings in reasons],
    )


async def refuse_rows(conn: Connection, batch_id: UUID, rows: Sequence[ValidatedRow]) -> None:
    """Reject rows that had been found valid."""
    await conn.execute(_FORGET_ROWS, batch_id, [row.raw.row_no for row in rows])
    await write_verdicts(conn, batch_id, rows)


async def mark_twins(conn: Connection, batch_id: UUID, *, with_tasks: bool) -> None:
    """Decide the rows that name the same judgment as another row of the file.

    Equal rows: all but the first are ``duplicate``. Otherwise all of them are ``review``, since
    nothing says which is right.
    """
    finding = Finding("ROWS_DISAGREE", REVIEW_SENTENCES["ROWS_DISAGREE"], "review")
    await conn.execute(_JOIN_BY_HASH)
    await conn.execute(_MARK_TWINS, batch_id, with_tasks, messages([finding]))


async def forget_rejected(conn: Connection, batch_id: UUID, row_nos: list[int] | None) -> None:
    """Let validation judge the open rejected rows again; None means all of them."""
    await conn.execute(_FORGET_REJECTED, batch_id, row_nos)


async def forget_verdicts(conn: Connection, batch_id: UUID) -> None:
    """Let validation judge every row again; only for a batch that has loaded nothing."""
    await conn.execute(_FORGET_VERDICTS, batch_id)


def messages(findings: Iterable[Finding]) -> str:
    """Findings as JSON text for a person's screen."""
    return json.dumps([asdict(finding) for finding in findings], ensure_ascii=False)


def identity_hash(record: JudgmentRecord) -> bytes:
    """Equal for two rows that name the same judgment."""
    parts = [part if part is not None else "\x00" for part in identity_of(record)]
    return blake2b("\x1f".join(parts).encode(), digest_size=16).digest()


def _codes(findings: Iterable[Finding]) -> str:
    return ",".join(dict.fromkeys(finding.code for finding in findings))
