"""What is already kept about the judgments and plaintiffs that a chunk of rows names."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from dragonfly.judgments.batches import Batch
from dragonfly.judgments.matching import Facts, Identity, Known, Matcher
from dragonfly.judgments.records import JudgmentRecord

if TYPE_CHECKING:
    from asyncpg import Connection, Record

_KNOWN = """
SELECT j.judgment_id, j.plaintiff_id, j.state, j.index_key, j.court_id, j.county_fips,
       j.judgment_number, j.source_reference, j.caption, j.filing_date, j.judgment_date,
       j.entry_date, j.amount_awarded, j.debt_class, j.case_type, j.vendor_status, j.content_hash,
       j.source_system, j.verified_by IS NOT NULL AS verified,
       p.plaintiff_key, p.debtor_keys, p.debtor_addresses
  FROM civil.judgments AS j
 CROSS JOIN LATERAL (
       SELECT max(name_key) FILTER (WHERE role = 'creditor') AS plaintiff_key,
              array_agg(name_key ORDER BY seq) FILTER (WHERE role = 'debtor') AS debtor_keys,
              array_agg(address ORDER BY seq) FILTER (WHERE role = 'debtor') AS debtor_addresses
         FROM civil.judgment_parties WHERE judgment_id = j.judgment_id) AS p
 WHERE j.index_key = ANY ($1::text[])
    OR j.source_system = $2 AND j.source_reference = ANY ($3::text[])
"""

_PLAINTIFFS = """
SELECT name_key, array_agg(DISTINCT coalesce(merged_into, plaintiff_id)) AS plaintiff_ids
  FROM civil.plaintiffs WHERE name_key = ANY ($1::text[]) GROUP BY name_key
"""

_SEEN = """
SELECT judgment_id, min(row_no) AS row_no FROM civil.intake_row_results
 WHERE batch_id = $1 AND judgment_id = ANY ($2::uuid[])
   AND outcome IN ('loaded', 'updated', 'unchanged')
 GROUP BY judgment_id
"""


def new_id() -> UUID:
    """A uuid that sorts by time (RFC 9562, version 7), so that new keys share index pages."""
    milliseconds = time.time_ns() // 1_000_000
    rest = secrets.randbits(74)
    return UUID(
        int=milliseconds << 80 | 7 << 76 | rest >> 62 << 64 | 2 << 62 | rest & (1 << 62) - 1
    )


async def matcher_for(conn: Connection, batch: Batch, records: Sequence[JudgmentRecord]) -> Matcher:
    """A matcher that knows everything these rows could mean."""
    references = [r.source_reference for r in records if r.source_reference is not None]
    index_keys = list({record.index_key for record in records})
    known = [
        _known(row) for row in await conn.fetch(_KNOWN, index_keys, batch.source_system, references)
    ]
    name_keys = list({record.plaintiff.name_key for record in records})
    plaintiffs = {
        row["name_key"]: tuple(row["plaintiff_ids"])
        for row in await conn.fetch(_PLAINTIFFS, name_keys)
    }
    judgment_ids = [judgment.judgment_id for judgment in known]
    seen = {
        row["judgment_id"]: row["row_no"]
        for row in await conn.fetch(_SEEN, batch.batch_id, judgment_ids)
    }
    return Matcher(batch.source_system, known, plaintiffs, seen, new_id)


def _known(row: Record) -> Known:
    keys = row["debtor_keys"] or []
    addresses = zip(keys, row["debtor_addresses"] or [], strict=True)
    facts = Facts(
        court_id=row["court_id"],
        county_fips=row["county_fips"],
        judgment_number=row["judgment_number"],
        source_reference=row["source_reference"],
        caption=row["caption"],
        filing_date=row["filing_date"],
        judgment_date=row["judgment_date"],
        entry_date=row["entry_date"],
        amount=row["amount_awarded"],
        debt_class=row["debt_class"],
        case_type=row["case_type"],
        vendor_status=row["vendor_status"],
        debtor_addresses=tuple(sorted((key, text) for key, text in addresses if text is not None)),
    )
    return Known(
        judgment_id=row["judgment_id"],
        plaintiff_id=row["plaintiff_id"],
        identity=Identity(
            row["state"], row["index_key"], facts.court_id, facts.county_fips, facts.judgment_number
        ),
        plaintiff_key=row["plaintiff_key"] or "",
        debtor_keys=frozenset(keys),
        facts=facts,
        content_hash=row["content_hash"],
        source_system=row["source_system"],
        verified=row["verified"],
    )
