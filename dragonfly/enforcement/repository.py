"""A judgment's facts out of Postgres, and its plan into it, inside the caller's transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from dragonfly.enforcement.decision import Decision, balance_json, blockers_json
from dragonfly.enforcement.facts import (
    Assignment,
    Court,
    Docketing,
    EnforcementFacts,
    Intelligence,
    Judgment,
    Party,
    PastAction,
    Payment,
)
from dragonfly.enforcement.parameters import LegalParameter, LegalParameters
from dragonfly.enforcement.situation import canonical_json

if TYPE_CHECKING:
    from asyncpg import Connection, Record

# Whoever changes a payment, a report or an action of the judgment waits here, or we wait for them.
_LOCK_JUDGMENT = "select true from civil.judgments where judgment_id = $1 for update"
_LOCK_UNSIGNED_ACTIONS = """
select count(*) from (
    select from civil.enforcement_actions
     where judgment_id = $1
       and status in ('planned', 'awaiting_data', 'awaiting_signature', 'blocked')
     order by action_id
       for update
) as locked
"""

_TODAY = "select (clock_timestamp() at time zone 'America/New_York')::date"

_PARAMETERS = """
select name, region, value, effective_from, effective_to, source from civil.legal_parameters
"""

_JUDGMENT = """
select j.judgment_id, j.original_total, j.status, j.state, j.court_id, c.court_type,
       c.needs_transcript, j.county_fips, j.filing_date, j.judgment_date, j.entry_date,
       j.entry_date_quality, j.judgment_roll_filed, j.first_enforceable_date, j.debt_class,
       j.debtor_is_natural_person, j.contract_rate, j.rate_source = 'judgment' as rate_in_judgment,
       j.verified_at is not null as verified, p.authorization_status,
       j.dispute_since is not null as disputed, j.cease_since is not null as cease_requested,
       j.attorney_represented is true as attorney_represented
  from civil.judgments j
  join civil.plaintiffs p using (plaintiff_id)
  left join civil.courts c using (court_id)
 where j.judgment_id = $1
"""

# Everything that hangs on the judgment, one JSON list each; amounts travel as text to stay exact.
_AROUND = """
select
  (select coalesce(jsonb_agg(jsonb_build_object(
            'seq', seq, 'role', role, 'kind', kind,
            'has_address', coalesce(btrim(address), '') <> '') order by seq), '[]')
     from civil.judgment_parties where judgment_id = $1) as parties,
  -- a reversed payment and the entry that reverses it cancel each other
  (select coalesce(jsonb_agg(jsonb_build_object(
            'payment_id', payment_id::text, 'received_on', received_on,
            'amount', amount::text) order by received_on, payment_id), '[]')
     from civil.judgment_payments paid
    where judgment_id = $1 and reversed_by is null
      and not exists (select from civil.judgment_payments undone
                       where undone.reversed_by = paid.payment_id)) as payments,
  (select coalesce(jsonb_agg(jsonb_build_object(
            'intel_id', intel_id, 'kind', kind, 'value', value, 'source', source,
            'obtained_on', (obtained_at at time zone 'America/New_York')::date,
            'debtor_seq', debtor_seq, 'valid_until', valid_until, 'confidence', confidence,
            'verified', verified_at is not null, 'permissible_purpose', permissible_purpose,
            'is_mock', is_mock, 'wage_region', county.wage_region,
            'in_new_york_city', county.is_nyc) order by obtained_at, intel_id), '[]')
     from civil.debtor_intelligence
     left join civil.counties county on county.county_fips = value ->> 'county_fips'
    where judgment_id = $1 and superseded_by is null) as intelligence,
  (select coalesce(jsonb_agg(jsonb_build_object(
            'county_fips', county_fips, 'docketed_on', docketed_on) order by county_fips), '[]')
     from civil.docketings where judgment_id = $1) as docketings,
  (select coalesce(jsonb_agg(jsonb_build_object(
            'executed_on', executed_on, 'filed_on', filed_on) order by assignment_id), '[]')
     from civil.assignments where judgment_id = $1) as assignments,
  (select coalesce(jsonb_agg(jsonb_build_object(
            'action_type', action_type, 'target_key', target_key, 'status', status,
            'issued_on', coalesce(issued_on, served_on,
                                  (signed_at at time zone 'America/New_York')::date),
            'ended_on', ended_on, 'debtor_seq', debtor_seq,
            'answered_none', coalesce(result ->> 'answer' = 'none', false))
            order by action_type, target_key, action_id), '[]')
     from civil.enforcement_actions
    where judgment_id = $1
      and status in ('signed', 'issued', 'served', 'returned_satisfied', 'returned_unsatisfied',
                     'expired')) as past_actions,
  (select coalesce(jsonb_agg(distinct target_key), '[]')
     from civil.enforcement_documents
    where judgment_id = $1 and template = 'cplr_5222a_package'
      and superseded_by is null) as packages
"""

_CURRENT_PLAN = """
select plan_id, plan_no, decision_hash, as_of
  from civil.enforcement_plans
 where judgment_id = $1 and superseded_by is null
"""

_SUPERSEDE_PLAN = """
update civil.enforcement_plans set superseded_by = $2, superseded_at = clock_timestamp()
 where plan_id = $1
"""

# What never left the house goes with its plan; its deadlines bound nobody yet.
_CANCEL_UNSIGNED = """
with cancelled as (
    update civil.enforcement_actions
       set status = 'cancelled', ended_on = $2, updated_at = clock_timestamp()
     where judgment_id = $1
       and status in ('planned', 'awaiting_data', 'awaiting_signature', 'blocked')
    returning action_id
)
delete from civil.enforcement_deadlines where action_id in (select action_id from cancelled)
"""

_INSERT_PLAN = """
insert into civil.enforcement_plans
    (plan_id, judgment_id, plan_no, as_of, decision_inputs, decision_hash, rules_version, outcome,
     blockers, considered, balance, requested_by, job_id)
values ($1, $2, $3, $4, $5::jsonb, $6, $7, $8, $9::jsonb, $10::jsonb, $11::jsonb, $12, $13)
"""

# The target gets its name here, so that the decision itself never handles one.
_INSERT_ACTIONS = """
insert into civil.enforcement_actions
    (action_id, plan_id, judgment_id, debtor_seq, action_type, target, target_key, status,
     requires_signature_of, reason, blocked_by, statute, balance_as_of, balance_snapshot,
     earliest_on, due_on)
select a.action_id, $2, $1, a.debtor_seq, a.action_type,
       a.target || jsonb_strip_nulls(jsonb_build_object(
           'name', coalesce(i.value ->> 'name', p.name_display))),
       a.target_key, a.status, a.requires_signature_of, a.reason, a.blocked_by, a.statute,
       $4, $5::jsonb, a.earliest_on, a.due_on
  from jsonb_to_recordset($3::jsonb) as a (
         action_id uuid, debtor_seq smallint, action_type text, target jsonb, target_key text,
         status text, requires_signature_of text, reason text, blocked_by text[], statute text[],
         earliest_on date, due_on date)
  left join civil.debtor_intelligence i on i.intel_id = (a.target ->> 'intel_id')::uuid
  left join civil.judgment_parties p
    on p.judgment_id = $1 and p.seq = a.debtor_seq and a.target ->> 'to' = 'debtor'
"""

_INSERT_DEADLINES = """
insert into civil.enforcement_deadlines (action_id, code, due_on, basis, computed_from)
select action_id, code, due_on, basis, computed_from
  from jsonb_to_recordset($1::jsonb) as d (
         action_id uuid, code text, due_on date, basis text, computed_from date)
"""


@dataclass(frozen=True, slots=True)
class StoredPlan:
    """Which plan now stands; ``plan_id`` is None if a plan for a later day already does."""

    plan_id: UUID | None
    changed: bool


async def today_in_new_york(conn: Connection) -> date:
    """The day it is in New York by the database's clock."""
    day: date = await conn.fetchval(_TODAY)
    return day


async def load_parameters(conn: Connection) -> LegalParameters:
    """Every legal parameter on file."""
    return LegalParameters.of(LegalParameter(*row) for row in await conn.fetch(_PARAMETERS))


async def lock_judgment(conn: Connection, judgment_id: UUID) -> bool:
    """Hold the judgment and its unsigned actions until the transaction ends; False if unknown.

    Lock before ``load_facts``: only a later statement sees what the wait was for.
    """
    if not await conn.fetchval(_LOCK_JUDGMENT, judgment_id):
        return False
    await conn.fetchval(_LOCK_UNSIGNED_ACTIONS, judgment_id)
    return True


async def load_facts(conn: Connection, judgment_id: UUID, as_of: date) -> EnforcementFacts | None:
    """What is known of a judgment, to be decided for a day; None if there is no such judgment."""
    row = await conn.fetchrow(_JUDGMENT, judgment_id)
    if row is None:
        return None
    (around,) = await conn.fetch(_AROUND, judgment_id)
    lists = {name: json.loads(text) for name, text in around.items()}
    return EnforcementFacts(
        judgment=_judgment(row),
        as_of=as_of,
        parties=tuple(Party(**one) for one in lists["parties"]),
        payments=tuple(_payment(one) for one in lists["payments"]),
        intelligence=tuple(
            Intelligence(**_dated(one, "obtained_on", "valid_until"))
            for one in lists["intelligence"]
        ),
        docketings=tuple(Docketing(**_dated(one, "docketed_on")) for one in lists["docketings"]),
        assignments=tuple(
            Assignment(**_dated(one, "executed_on", "filed_on")) for one in lists["assignments"]
        ),
        past_actions=tuple(
            PastAction(**_dated(one, "issued_on", "ended_on")) for one in lists["past_actions"]
        ),
        packages=frozenset(lists["packages"]),
    )


def _judgment(row: Record) -> Judgment:
    fields = dict(row)
    court_id, court_type = fields.pop("court_id"), fields.pop("court_type")
    needs_transcript = fields.pop("needs_transcript")
    fields["judgment_id"] = str(fields["judgment_id"])
    fields["contract_rate_in_judgment"] = fields.pop("rate_in_judgment") is True
    fields["court"] = court_id and Court(court_id, court_type, needs_transcript)
    return Judgment(**fields)


def _payment(one: Mapping[str, Any]) -> Payment:
    received_on = date.fromisoformat(one["received_on"])
    return Payment(one["payment_id"], received_on, Decimal(one["amount"]))


def _dated(one: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The JSON object with its named texts read as dates."""
    days = {name: one[name] and date.fromisoformat(one[name]) for name in names}
    return {**one, **days}


async def store_plan(
    conn: Connection,
    judgment_id: UUID,
    decision: Decision,
    *,
    requested_by: str | None = None,
    job_id: int | None = None,
) -> StoredPlan:
    """Make a decision the judgment's current plan; the same facts as before write nothing.

    Call it under ``lock_judgment`` in the transaction that read the facts. The plan before it is
    superseded, its unsigned actions are cancelled; a plan for a later day is left alone.
    """
    current = await conn.fetchrow(_CURRENT_PLAN, judgment_id)
    if current is not None and current["decision_hash"] == decision.decision_hash:
        return StoredPlan(current["plan_id"], changed=False)
    if current is not None and current["as_of"] > decision.as_of:
        return StoredPlan(None, changed=False)
    plan_id, plan_no = uuid4(), 1
    if current is not None:
        plan_no = current["plan_no"] + 1
        await conn.execute(_SUPERSEDE_PLAN, current["plan_id"], plan_id)
        await conn.execute(_CANCEL_UNSIGNED, judgment_id, decision.as_of)
    new = (plan_id, judgment_id, plan_no)
    await conn.execute(_INSERT_PLAN, *new, *_columns(decision), requested_by, job_id)
    await _insert_actions(conn, judgment_id, plan_id, decision)
    return StoredPlan(plan_id, changed=True)


def _columns(decision: Decision) -> tuple[Any, ...]:
    considered = [{"row": f.row, "fired": f.fired, "why": f.why} for f in decision.considered]
    return (
        decision.as_of,
        canonical_json(decision.basis),
        decision.decision_hash,
        decision.rules_version,
        decision.outcome,
        json.dumps(blockers_json(decision)),
        json.dumps(considered),
        json.dumps(balance_json(decision.account)),
    )


async def _insert_actions(
    conn: Connection, judgment_id: UUID, plan_id: UUID, decision: Decision
) -> None:
    actions, deadlines = [], []
    for one in decision.actions:
        action_id = str(uuid4())
        actions.append(
            {
                "action_id": action_id,
                "debtor_seq": one.debtor_seq,
                "action_type": one.action_type,
                "target": dict(one.target),
                "target_key": one.target_key,
                "status": one.status,
                "requires_signature_of": one.requires_signature_of,
                "reason": one.reason,
                "blocked_by": one.blocked_by,
                "statute": one.statute,
                "earliest_on": one.earliest_on,
                "due_on": one.due_on,
            }
        )
        deadlines += [
            {
                "action_id": action_id,
                "code": day.code,
                "due_on": day.due_on,
                "basis": day.basis,
                "computed_from": day.computed_from,
            }
            for day in one.deadlines
        ]
    if actions:
        snapshot = json.dumps(balance_json(decision.account))
        rows = canonical_json(actions)
        await conn.execute(_INSERT_ACTIONS, judgment_id, plan_id, rows, decision.as_of, snapshot)
    if deadlines:
        await conn.execute(_INSERT_DEADLINES, canonical_json(deadlines))
