"""Judgments written straight into the test's database, and their plans."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import asyncpg

from dragonfly.enforcement.decision import Decision, decide
from dragonfly.enforcement.repository import (
    StoredPlan,
    load_facts,
    load_parameters,
    lock_judgment,
    store_plan,
)
from tests.enforcement.cases import AS_OF

_COURTS = """
insert into civil.courts (court_id, name, court_type, needs_transcript)
values ('test_supreme', 'Supreme Court', 'supreme', false),
       ('test_district', 'District Court', 'district', true)
on conflict do nothing
"""
_PLAINTIFF = """
insert into civil.plaintiffs (name_display, name_key, source_system, authorization_status)
values ('Creditor of the Test', 'creditor of the test', 'test', $1)
returning plaintiff_id
"""
_PARTIES = """
insert into civil.judgment_parties (judgment_id, seq, role, kind, name_display, name_key, address)
values ($1, 0, 'creditor', 'company', 'Creditor of the Test', 'creditor of the test', null),
       ($1, 1, 'debtor', $2, 'Debtor of the Test', 'debtor of the test', '1 Test Street')
"""
_INTELLIGENCE = """
insert into civil.debtor_intelligence
    (judgment_id, debtor_seq, kind, value, source, obtained_at, confidence, permissible_purpose,
     verified_by, verified_at, is_mock)
values ($1, 1, $2, $3::jsonb, 'county clerk', now() - interval '10 days', 90,
        '15 USC 1681b(a)(3)(A)', 'paralegal', now(), $4)
returning intel_id
"""

CLEAR: dict[str, Any] = {
    "court_id": "test_supreme",
    "county_fips": "36047",
    "index_raw": "1001/2024",
    "index_display": "1001/2024",
    "index_key": "|1001|2024|",
    "index_parsed": True,
    "filing_date": "2023-02-01",
    "judgment_date": "2024-02-20",
    "entry_date": "2024-03-01",
    "entry_date_quality": "court_record",
    "judgment_roll_filed": "2024-03-01",
    "first_enforceable_date": "2024-03-01",
    "amount_awarded": "20000.00",
    "debt_class": "non_consumer",
    "debtor_is_natural_person": False,
    "status": "verified",
    "verified_by": "paralegal",
    "verified_at": datetime(2026, 1, 2, tzinfo=UTC).isoformat(),
    "source_system": "test",
}


async def add_judgment(
    conn: asyncpg.Connection,
    *,
    authorization_status: str = "loa",
    debtor_kind: str = "company",
    **changes: Any,
) -> UUID:
    """A verified commercial judgment against a company, or what ``changes`` make of it."""
    await conn.execute(_COURTS)
    plaintiff_id = await conn.fetchval(_PLAINTIFF, authorization_status)
    row = {**CLEAR, **changes, "plaintiff_id": str(plaintiff_id)}
    names = ", ".join(row)
    judgment_id: UUID = await conn.fetchval(
        f"insert into civil.judgments ({names}) select {names} "
        "from jsonb_populate_record(null::civil.judgments, $1::jsonb) returning judgment_id",
        json.dumps(row),
    )
    await conn.execute(_PARTIES, judgment_id, debtor_kind)
    return judgment_id


async def add_intelligence(
    conn: asyncpg.Connection,
    judgment_id: UUID,
    kind: str,
    value: dict[str, Any],
    *,
    is_mock: bool = False,
) -> UUID:
    """A fresh, attributed report about the debtor."""
    intel_id: UUID = await conn.fetchval(
        _INTELLIGENCE, judgment_id, kind, json.dumps(value), is_mock
    )
    return intel_id


async def add_payment(conn: asyncpg.Connection, judgment_id: UUID, amount: str) -> int:
    """Money received on 1 September 2024."""
    payment_id: int = await conn.fetchval(
        "insert into civil.judgment_payments (judgment_id, received_on, amount, source) "
        "values ($1, '2024-09-01', $2::text::numeric, 'check') returning payment_id",
        judgment_id,
        amount,
    )
    return payment_id


async def decided(conn: asyncpg.Connection, judgment_id: UUID, as_of: date = AS_OF) -> Decision:
    facts = await load_facts(conn, judgment_id, as_of)
    assert facts is not None
    return decide(facts, await load_parameters(conn))


async def plan(conn: asyncpg.Connection, judgment_id: UUID, as_of: date = AS_OF) -> StoredPlan:
    """Lock, read, decide and store in one transaction, as the engine does."""
    async with conn.transaction():
        assert await lock_judgment(conn, judgment_id)
        return await store_plan(conn, judgment_id, await decided(conn, judgment_id, as_of))
