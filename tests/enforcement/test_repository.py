"""Facts out of a real PostgreSQL and plans into it."""

from __future__ import annotations

import json
from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from dragonfly.enforcement.assets import target_key
from dragonfly.enforcement.repository import (
    StoredPlan,
    load_facts,
    lock_judgment,
    today_in_new_york,
)
from tests.enforcement.cases import AS_OF
from tests.enforcement.rows_in_postgres import (
    add_intelligence,
    add_judgment,
    add_payment,
    plan,
)

BANK = {"name": "First Example Bank", "balance": "6000.00", "county_fips": "36047"}


async def column(conn: asyncpg.Connection, sql: str, *args: Any) -> list[Any]:
    return [row[0] for row in await conn.fetch(sql, *args)]


async def test_the_facts_are_read_as_they_stand(conn: asyncpg.Connection) -> None:
    """Each table around the judgment reaches the decision, dates and cents intact."""
    judgment_id = await add_judgment(conn, debtor_kind="person", rate_source="judgment",
                                     contract_rate="0.1200", costs="120.50")  # fmt: skip
    intel_id = await add_intelligence(conn, judgment_id, "bank", BANK)
    payment_id = await add_payment(conn, judgment_id, "2500.10")
    await conn.execute(
        "insert into civil.docketings values ($1, '36029', '2025-01-02', 't-1')", judgment_id
    )
    await conn.execute(
        "insert into civil.assignments (judgment_id, from_party, to_party, executed_on, filed_on) "
        "values ($1, 'a', 'b', '2025-01-02', '2025-02-03')",
        judgment_id,
    )
    facts = await load_facts(conn, judgment_id, AS_OF)

    assert facts is not None
    judgment, (report,), (paid,) = facts.judgment, facts.intelligence, facts.payments
    assert (Decimal("20120.50"), date(2024, 3, 1)) == (judgment.original_total, judgment.entry_date)
    assert (True, Decimal("0.1200")) == (judgment.contract_rate_in_judgment, judgment.contract_rate)
    assert judgment.court is not None
    assert ("supreme", False) == (judgment.court.court_type, judgment.court.needs_transcript)
    assert ("loa", True) == (judgment.authorization_status, judgment.verified)
    assert [(0, False), (1, True)] == [(one.seq, one.has_address) for one in facts.parties]
    assert (str(payment_id), date(2024, 9, 1), Decimal("2500.10")) == (
        paid.payment_id,
        paid.received_on,
        paid.amount,
    )
    assert (str(intel_id), BANK, "high", True) == (
        report.intel_id,
        report.value,
        report.wage_region,
        report.in_new_york_city,
    )
    assert [("36029", date(2025, 1, 2))] == [
        (one.county_fips, one.docketed_on) for one in facts.docketings
    ]
    assert [date(2025, 2, 3)] == [one.filed_on for one in facts.assignments]


async def test_a_reversed_payment_never_was(conn: asyncpg.Connection) -> None:
    """Neither the payment nor the entry that reverses it counts."""
    judgment_id = await add_judgment(conn)
    bounced = await add_payment(conn, judgment_id, "100.00")
    reversal = await add_payment(conn, judgment_id, "100.00")
    kept = await add_payment(conn, judgment_id, "7.00")
    await conn.execute(
        "update civil.judgment_payments set reversed_by = $2 where payment_id = $1",
        bounced,
        reversal,
    )
    facts = await load_facts(conn, judgment_id, AS_OF)

    assert facts is not None
    assert [str(kept)] == [one.payment_id for one in facts.payments]


async def test_a_superseded_report_is_not_read(conn: asyncpg.Connection) -> None:
    """Only the report that stands counts."""
    judgment_id = await add_judgment(conn)
    old = await add_intelligence(conn, judgment_id, "bank", BANK)
    new = await add_intelligence(conn, judgment_id, "bank", {**BANK, "balance": "1.00"})
    await conn.execute(
        "update civil.debtor_intelligence set superseded_by = $2 where intel_id = $1", old, new
    )
    facts = await load_facts(conn, judgment_id, AS_OF)

    assert facts is not None
    assert [str(new)] == [one.intel_id for one in facts.intelligence]


async def test_an_unknown_judgment_has_no_facts_and_no_lock(conn: asyncpg.Connection) -> None:
    """Nothing is made up for an id that is nobody's."""
    async with conn.transaction():
        assert (None, False) == (
            await load_facts(conn, uuid4(), AS_OF),
            await lock_judgment(conn, uuid4()),
        )


async def test_the_day_is_new_yorks(conn: asyncpg.Connection) -> None:
    """A plan is made for the day it is in New York, by the database's clock."""
    await conn.execute("set time zone 'Pacific/Kiritimati'")
    expected = await conn.fetchval("select (now() at time zone 'America/New_York')::date")

    assert expected == await today_in_new_york(conn)


async def test_a_plan_is_stored_with_its_actions_and_reasons(conn: asyncpg.Connection) -> None:
    """The row says why; the target has its name, which the decision never saw."""
    judgment_id = await add_judgment(conn)
    await add_intelligence(conn, judgment_id, "bank", BANK)
    stored = await plan(conn, judgment_id)

    row = await conn.fetchrow("select * from civil.enforcement_plans")
    assert row is not None
    assert (stored.plan_id, 1, "planned", AS_OF) == (
        row["plan_id"],
        row["plan_no"],
        row["outcome"],
        row["as_of"],
    )
    assert ["DEMAND_FIRST"] == [one["code"] for one in json.loads(row["blockers"])]
    assert [1, 6] == [one["row"] for one in json.loads(row["considered"]) if one["fired"]]
    actions = await conn.fetch(
        "select action_type, status, target ->> 'name' as name, requires_signature_of, statute, "
        "balance_snapshot ->> 'total' as total from civil.enforcement_actions "
        "order by action_type"
    )
    total = json.loads(row["balance"])["total"]
    assert [
        ("demand_letter", "planned", "Debtor of the Test", "none", ["15 USC 1692g"], total),
        ("information_subpoena", "awaiting_signature", "First Example Bank", "attorney",
         ["CPLR 5223", "CPLR 5224(a)(3)"], total),
        ("property_execution", "blocked", "First Example Bank", "attorney",
         ["CPLR 5230", "CPLR 5232"], total),
        ("restraining_notice", "awaiting_signature", "First Example Bank", "attorney",
         ["CPLR 5222"], total),
    ] == [tuple(one) for one in actions]  # fmt: skip


async def test_unchanged_facts_write_nothing(conn: asyncpg.Connection) -> None:
    """The same plan stands, its rows untouched, on another day too."""
    judgment_id = await add_judgment(conn)
    first = await plan(conn, judgment_id)
    before = await column(conn, "select xmin::text from civil.enforcement_actions order by 1")
    second = await plan(conn, judgment_id, AS_OF + timedelta(days=1))

    assert (True, False) == (first.changed, second.changed)
    assert first.plan_id == second.plan_id
    after = await column(conn, "select xmin::text from civil.enforcement_actions order by 1")
    assert before == after


async def test_a_changed_fact_supersedes_the_plan_and_its_unsigned_actions(
    conn: asyncpg.Connection,
) -> None:
    """The old plan names its successor; what never left the house is cancelled."""
    judgment_id = await add_judgment(conn)
    first = await plan(conn, judgment_id)
    await add_intelligence(conn, judgment_id, "bank", BANK)
    second = await plan(conn, judgment_id)

    rows = await conn.fetch(
        "select plan_id, superseded_by from civil.enforcement_plans order by plan_no"
    )
    assert [(first.plan_id, second.plan_id), (second.plan_id, None)] == [tuple(r) for r in rows]
    old = await column(
        conn, "select status from civil.enforcement_actions where plan_id = $1", first.plan_id
    )
    assert {"cancelled"} == set(old)


async def test_facts_that_return_to_an_older_state_give_a_third_plan(
    conn: asyncpg.Connection,
) -> None:
    """From A to B and back to A again: the hash comes again, the plan is a new one."""
    judgment_id = await add_judgment(conn)
    hold = "update civil.judgments set dispute_since = $2 where judgment_id = $1"
    await plan(conn, judgment_id)
    await conn.execute(hold, judgment_id, await conn.fetchval("select now()"))
    await plan(conn, judgment_id)
    await conn.execute(hold, judgment_id, None)
    third = await plan(conn, judgment_id)

    hashes = await column(
        conn, "select decision_hash from civil.enforcement_plans order by plan_no"
    )
    assert (True, True) == (third.changed, hashes[0] == hashes[2] != hashes[1])


async def test_a_paper_that_left_the_house_survives_its_plan(conn: asyncpg.Connection) -> None:
    """A signed subpoena stays, and the new plan does not plan it again."""
    judgment_id = await add_judgment(conn)
    await plan(conn, judgment_id)
    await conn.execute(
        "update civil.enforcement_actions set status = 'served', signed_by = 'attorney', "
        "signed_at = now(), served_on = '2026-11-20' where action_type = 'information_subpoena'"
    )
    await plan(conn, judgment_id)

    rows = await conn.fetch(
        "select action_type, status from civil.enforcement_actions where status <> 'cancelled' "
        "order by action_type"
    )
    assert [
        ("asset_search", "planned"),
        ("demand_letter", "planned"),
        ("information_subpoena", "served"),
    ] == [tuple(row) for row in rows]


async def test_no_paper_leaves_the_house_unsigned(conn: asyncpg.Connection) -> None:
    """G12: the table itself refuses an issued subpoena that nobody signed."""
    await plan(conn, await add_judgment(conn))

    with pytest.raises(asyncpg.CheckViolationError) as caught:
        await conn.execute(
            "update civil.enforcement_actions set status = 'issued' "
            "where action_type = 'information_subpoena'"
        )
    assert "leaves_the_house_signed" == caught.value.constraint_name


async def test_deadlines_are_stored_and_go_with_their_cancelled_actions(
    conn: asyncpg.Connection,
) -> None:
    """A deadline bounds nobody once its paper is withdrawn from the plan."""
    judgment_id = await add_judgment(conn)
    payment = await add_payment(conn, judgment_id, "30000.00")
    await plan(conn, judgment_id)
    stored = await conn.fetch("select code, due_on from civil.enforcement_deadlines")
    reversal = await add_payment(conn, judgment_id, "30000.00")
    await conn.execute(
        "update civil.judgment_payments set reversed_by = $2 where payment_id = $1",
        payment,
        reversal,
    )
    await plan(conn, judgment_id)

    assert [("SATISFACTION_DUE", date(2024, 9, 23))] == [tuple(row) for row in stored]
    assert [] == await column(conn, "select code from civil.enforcement_deadlines")


async def test_a_plan_for_an_earlier_day_does_not_replace_a_later_one(
    conn: asyncpg.Connection,
) -> None:
    """A job that was late in the queue does not turn the clock back."""
    judgment_id = await add_judgment(conn)
    await plan(conn, judgment_id)
    earlier = await plan(conn, judgment_id, date(2024, 2, 1))

    assert StoredPlan(None, changed=False) == earlier
    assert [AS_OF] == await column(conn, "select as_of from civil.enforcement_plans")


OPERATORS_QUERIES = {
    "deadlines": """
        select d.due_on - date '2024-09-13' as days, d.code, a.action_type, j.index_raw,
               a.target ->> 'name' as name
          from civil.enforcement_deadlines d
          join civil.enforcement_actions a using (action_id)
          join civil.judgments j using (judgment_id)
         where d.met_on is null and d.due_on <= date '2024-09-13' + 30 order by 1""",
    "blocked dollars": """
        select g ->> 'code' as gate, count(distinct p.judgment_id) as n, sum(j.original_total)
          from civil.enforcement_plans p
          join civil.judgments j using (judgment_id), jsonb_array_elements(p.blockers) g
         where p.superseded_by is null group by 1 order by 3 desc nulls last, 1""",
    "must be empty": """
        select a.action_id from civil.enforcement_actions a
          join civil.judgments j using (judgment_id)
         where a.status in ('signed', 'issued', 'served')
           and j.status in ('satisfied', 'vacated', 'stayed', 'bankruptcy_stay', 'discharged')""",
}


async def test_the_operators_questions_are_answered_by_these_tables(
    conn: asyncpg.Connection,
) -> None:
    """Deadlines, dollars by blocker, and what must never be found."""
    paid_up = await add_judgment(conn)
    await add_payment(conn, paid_up, "30000.00")
    await plan(conn, paid_up)
    for n in range(2):
        name = f"2002/202{n}"
        await plan(
            conn, await add_judgment(conn, index_raw=name, index_key=name, debt_class="unknown")
        )
    answers = {
        title: [tuple(row) for row in await conn.fetch(sql)]
        for title, sql in OPERATORS_QUERIES.items()
    }

    assert {
        "deadlines": [(10, "SATISFACTION_DUE", "satisfaction_piece", "1001/2024", None)],
        "blocked dollars": [
            ("CONSUMER_UNKNOWN", 2, Decimal("40000.00")),
            ("DEMAND_FIRST", 2, Decimal("40000.00")),
        ],
        "must be empty": [],
    } == answers


async def test_the_tables_of_enforcement_are_closed_to_others(conn: asyncpg.Connection) -> None:
    """Row-level security is on for every table of the schema."""
    without = await column(
        conn,
        "select relname from pg_catalog.pg_class where relnamespace = 'civil'::regnamespace "
        "and relkind = 'r' and not relrowsecurity",
    )

    assert [] == without


async def test_an_answer_of_nothing_closes_the_target(conn: asyncpg.Connection) -> None:
    """A returned subpoena that says none reaches the decision as such."""
    judgment_id = await add_judgment(conn)
    await add_intelligence(conn, judgment_id, "bank", BANK)
    await plan(conn, judgment_id)
    await conn.execute(
        "update civil.enforcement_actions set status = 'returned_unsatisfied', "
        "signed_by = 'attorney', signed_at = now(), issued_on = '2026-10-01', "
        "ended_on = '2026-10-20', result = '{\"answer\": \"none\"}' "
        "where action_type = 'information_subpoena'"
    )
    facts = await load_facts(conn, judgment_id, AS_OF)

    assert facts is not None
    assert [(True, date(2026, 10, 1), date(2026, 10, 20))] == [
        (past.answered_none, past.issued_on, past.ended_on) for past in facts.past_actions
    ]
    assert [target_key(facts.intelligence[0])] == [past.target_key for past in facts.past_actions]


async def test_a_rendered_package_reaches_the_decision(conn: asyncpg.Connection) -> None:
    """G10 is cleared by the document's row."""
    judgment_id = await add_judgment(conn)
    await conn.execute(
        "insert into civil.enforcement_documents (judgment_id, target_key, template, "
        "template_version, input_hash, sha256, storage_path) "
        "values ($1, 'bank:1', 'cplr_5222a_package', '1', '\\x00', sha256('x'), 'p')",
        judgment_id,
    )
    facts = await load_facts(conn, judgment_id, AS_OF)

    assert facts is not None
    assert frozenset({"bank:1"}) == facts.packages
