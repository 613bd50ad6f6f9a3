"""Writes one chunk of valid rows: plaintiffs, judgments, parties, contacts, outcomes, tasks.

Everything is set-based; keys are drawn here so that one COPY per table is enough.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg

from dragonfly.judgments.batches import Batch
from dragonfly.judgments.lookup import matcher_for
from dragonfly.judgments.matching import REVIEW_SENTENCES, Decision, needs_review
from dragonfly.judgments.records import Finding, JudgmentRecord, Party, ValidatedRow
from dragonfly.judgments.staging import messages, refuse_rows

if TYPE_CHECKING:
    from asyncpg import Connection

ValidRow = tuple[ValidatedRow, JudgmentRecord]

_MOST_REFUSED = 5

# Two files may name the same new plaintiff or judgment: chunks are decided one at a time.
_LOCK = "SELECT pg_advisory_xact_lock(5277240124)"

_UPDATE_JUDGMENTS = """
UPDATE civil.judgments AS j
   SET court_id = u.court_id, county_fips = u.county_fips, judgment_number = u.judgment_number,
       source_reference = u.source_reference, caption = u.caption, filing_date = u.filing_date,
       judgment_date = u.judgment_date, entry_date = u.entry_date,
       entry_date_quality = CASE WHEN j.entry_date IS DISTINCT FROM u.entry_date THEN 'vendor'
                                 ELSE j.entry_date_quality END,
       amount_awarded = u.amount, debt_class = u.debt_class, case_type = u.case_type,
       vendor_status = u.vendor_status, content_hash = u.content_hash, last_batch_id = $1,
       version = j.version + 1, updated_at = now()
  FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::date[],
              $9::date[], $10::date[], $11::numeric[], $12::text[], $13::text[], $14::text[],
              $15::bytea[])
       AS u (judgment_id, court_id, county_fips, judgment_number, source_reference, caption,
             filing_date, judgment_date, entry_date, amount, debt_class, case_type, vendor_status,
             content_hash)
 WHERE j.judgment_id = u.judgment_id
"""

_UPDATE_ADDRESSES = """
UPDATE civil.judgment_parties AS p SET address = u.address
  FROM unnest($1::uuid[], $2::text[], $3::text[]) AS u (judgment_id, name_key, address)
 WHERE p.judgment_id = u.judgment_id AND p.role = 'debtor' AND p.name_key = u.name_key
   AND p.address IS DISTINCT FROM u.address
"""

_ADD_CONTACTS = """
INSERT INTO civil.plaintiff_contacts (plaintiff_id, kind, value_norm, raw, is_primary, batch_id)
SELECT c.plaintiff_id, c.kind, c.value_norm, c.raw,
       c.value_norm IS NOT NULL AND c.place = 1
       AND NOT EXISTS (SELECT FROM civil.plaintiff_contacts AS k
                        WHERE k.plaintiff_id = c.plaintiff_id AND k.kind = c.kind AND k.is_primary),
       $1
  FROM (SELECT u.*, row_number() OVER (PARTITION BY u.plaintiff_id, u.kind
                                       ORDER BY u.value_norm IS NULL, u.ordinal) AS place
          FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[])
               WITH ORDINALITY AS u (plaintiff_id, kind, value_norm, raw, ordinal)) AS c
ON CONFLICT DO NOTHING
"""

_WRITE_OUTCOMES = """
UPDATE civil.intake_row_results AS r
   SET outcome = u.outcome,
       codes = CASE WHEN u.code IS NULL THEN r.codes ELSE r.codes || u.code END,
       judgment_id = u.judgment_id,
       changed_fields = string_to_array(u.changed_fields, ','),
       first_row_no = u.first_row_no
  FROM unnest($2::int[], $3::text[], $4::text[], $5::uuid[], $6::text[], $7::int[])
       AS u (row_no, outcome, code, judgment_id, changed_fields, first_row_no)
 WHERE r.batch_id = $1 AND r.row_no = u.row_no
"""

_JUDGMENT_COLUMNS = (
    "judgment_id", "plaintiff_id", "court_id", "court_raw", "county_fips", "state", "index_raw",
    "index_display", "index_key", "index_parsed", "judgment_number", "caption", "filing_date",
    "judgment_date", "entry_date", "entry_date_quality", "amount_awarded", "debt_class",
    "debtor_is_natural_person", "status", "hold_reason", "case_type", "vendor_status",
    "source_system", "source_reference", "first_batch_id", "last_batch_id", "content_hash",
)  # fmt: skip


async def load_chunk(conn: Connection, batch: Batch, rows: Sequence[ValidRow]) -> list[UUID]:
    """Decide and write these rows; return the judgments that were loaded or updated.

    A dry run decides and writes only the outcomes. A row that the database refuses is found by
    halving and rejected alone; when there are more than a few, the schema is at fault and the error
    is raised. Call within a transaction: a lock keeps other files' chunks out until its end.
    """
    await conn.execute(_LOCK)
    refused: list[ValidatedRow] = []
    judgment_ids = await _load_or_halve(conn, batch, rows, refused)
    if refused:
        await refuse_rows(conn, batch.batch_id, refused)
    return judgment_ids


async def _load_or_halve(
    conn: Connection, batch: Batch, rows: Sequence[ValidRow], refused: list[ValidatedRow]
) -> list[UUID]:
    try:
        async with conn.transaction():
            return await _load(conn, batch, rows)
    except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
        if len(refused) == _MOST_REFUSED:
            raise
        if len(rows) == 1:
            refused.append(_refusal(rows[0][0], error))
            return []
    middle = len(rows) // 2
    first = await _load_or_halve(conn, batch, rows[:middle], refused)
    return first + await _load_or_halve(conn, batch, rows[middle:], refused)


def _refusal(row: ValidatedRow, error: Exception) -> ValidatedRow:
    rule = getattr(error, "constraint_name", None) or type(error).__name__
    sentence = f"The database's rule {rule} does not let this row in; correct the row."
    return ValidatedRow(row.raw, None, (*row.findings, Finding("NOT_STORABLE", sentence, "reject")))


async def _load(conn: Connection, batch: Batch, rows: Sequence[ValidRow]) -> list[UUID]:
    matcher = await matcher_for(conn, batch, [record for _, record in rows])
    decisions = [matcher.decide(row, record) for row, record in rows]
    await _write_outcomes(conn, batch, decisions)
    if batch.mode == "dry_run":
        return []
    await _add_plaintiffs(conn, batch, matcher.new_plaintiffs)
    await _add_judgments(conn, batch, [d for d in decisions if d.is_new])
    await _update_judgments(conn, batch, [d for d in decisions if d.outcome == "updated"])
    await _add_contacts(conn, batch, decisions)
    await _add_reviews(conn, batch, [d for d in decisions if d.outcome == "review"])
    return [
        decision.judgment_id
        for decision in decisions
        if decision.judgment_id is not None and decision.outcome in ("loaded", "updated")
    ]


async def _copy(
    conn: Connection, table: str, columns: Sequence[str], records: list[tuple[Any, ...]]
) -> None:
    if records:
        await conn.copy_records_to_table(
            table, schema_name="civil", columns=columns, records=records
        )


async def _add_plaintiffs(conn: Connection, batch: Batch, named: Mapping[UUID, Party]) -> None:
    """Plaintiffs named for the first time, each with a call for somebody to make."""
    columns = (
        "plaintiff_id", "kind", "name_display", "name_key", "address", "source_system",
        "created_batch_id",
    )  # fmt: skip
    plaintiffs = [
        (key, p.kind, p.name_display, p.name_key, p.address, batch.source_system, batch.batch_id)
        for key, p in named.items()
    ]
    await _copy(conn, "plaintiffs", columns, plaintiffs)
    await _copy(conn, "tasks", ("kind", "plaintiff_id"), [("call", key) for key in named])


async def _add_judgments(conn: Connection, batch: Batch, new: Sequence[Decision]) -> None:
    await _copy(conn, "judgments", _JUDGMENT_COLUMNS, [_judgment(batch, d) for d in new])
    await _copy(
        conn,
        "judgment_parties",
        ("judgment_id", "seq", "role", "kind", "name_display", "name_key", "address"),
        [party for decision in new for party in _parties(decision)],
    )


def _judgment(batch: Batch, decision: Decision) -> tuple[Any, ...]:
    record = decision.record
    status, hold_reason = _standing(decision.row, record)
    return (
        decision.judgment_id, decision.plaintiff_id, record.court_id, record.court_raw,
        record.county_fips, record.state, record.index_raw, record.index_display,
        record.index_key, record.index_parsed, record.judgment_number, record.caption,
        record.filing_date, record.judgment_date, record.entry_date,
        "unknown" if record.entry_date is None else "vendor", record.amount, record.debt_class,
        natural_person(record.debtors), status, hold_reason, record.case_type,
        record.vendor_status, batch.source_system, record.source_reference, batch.batch_id,
        batch.batch_id, record.content_hash,
    )  # fmt: skip


def _standing(row: ValidatedRow, record: JudgmentRecord) -> tuple[str, str | None]:
    """The status of a new judgment, and why it is on hold if it is."""
    if record.state != "NY":
        return "out_of_state", None
    if needs_review(row):
        codes = dict.fromkeys(f.code for f in row.findings if f.severity == "review")
        return "on_hold", f"Look at the row it came from: {', '.join(codes)}."
    return "imported", None


def natural_person(debtors: Sequence[Party]) -> bool | None:
    """Whether the debtors are people: None unless all their names say the same."""
    kinds = {party.kind for party in debtors}
    if kinds == {"person"}:
        return True
    return False if kinds and kinds <= {"company", "government"} else None


def _parties(decision: Decision) -> list[tuple[Any, ...]]:
    record = decision.record
    everyone = [("creditor", record.plaintiff), *(("debtor", party) for party in record.debtors)]
    return [
        (decision.judgment_id, seq, role, p.kind, p.name_display, p.name_key, p.address)
        for seq, (role, p) in enumerate(everyone)
    ]


async def _update_judgments(conn: Connection, batch: Batch, updates: Sequence[Decision]) -> None:
    if not updates:
        return
    ids = [decision.judgment_id for decision in updates]
    columns = [list(column) for column in zip(*(d.facts[:-1] for d in updates), strict=True)]
    hashes = [decision.record.content_hash for decision in updates]
    await conn.execute(_UPDATE_JUDGMENTS, batch.batch_id, ids, *columns, hashes)
    addresses = [
        (decision.judgment_id, name_key, address)
        for decision in updates
        for name_key, address in decision.facts.debtor_addresses
    ]
    if addresses:
        await conn.execute(_UPDATE_ADDRESSES, *map(list, zip(*addresses, strict=True)))


async def _add_contacts(conn: Connection, batch: Batch, decisions: Sequence[Decision]) -> None:
    """How to reach the plaintiffs of the rows that were accepted."""
    contacts = dict.fromkeys(
        (decision.plaintiff_id, contact.kind, contact.value, contact.raw)
        for decision in decisions
        if decision.is_new or decision.outcome in ("updated", "unchanged")
        for contact in decision.record.contacts
    )
    if contacts:
        columns = map(list, zip(*contacts, strict=True))
        await conn.execute(_ADD_CONTACTS, batch.batch_id, *columns)


async def _add_reviews(conn: Connection, batch: Batch, reviews: Sequence[Decision]) -> None:
    columns = ("kind", "judgment_id", "batch_id", "row_no", "codes", "detail")
    await _copy(conn, "tasks", columns, [_review_task(batch, decision) for decision in reviews])


def _review_task(batch: Batch, decision: Decision) -> tuple[Any, ...]:
    findings = [finding for finding in decision.row.findings if finding.severity == "review"]
    if decision.code is not None:
        findings.insert(0, Finding(decision.code, REVIEW_SENTENCES[decision.code], "review"))
    codes = list(dict.fromkeys(finding.code for finding in findings))
    row_no = decision.row.raw.row_no
    return "review", decision.judgment_id, batch.batch_id, row_no, codes, messages(findings)


async def _write_outcomes(conn: Connection, batch: Batch, decisions: Sequence[Decision]) -> None:
    await conn.execute(
        _WRITE_OUTCOMES,
        batch.batch_id,
        [d.row.raw.row_no for d in decisions],
        [d.outcome for d in decisions],
        [d.code for d in decisions],
        # a dry run makes nothing that could be pointed at
        [None if d.is_new and batch.mode == "dry_run" else d.judgment_id for d in decisions],
        [",".join(d.changed_fields) or None for d in decisions],
        [d.first_row_no for d in decisions],
    )
