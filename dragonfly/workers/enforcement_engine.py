"""The enforcement engine: one job reads one judgment, decides, and stores its plan."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from dragonfly.enforcement.decision import (
    Decision,
    actions_json,
    balance_json,
    blockers_json,
    decide,
)
from dragonfly.enforcement.repository import (
    StoredPlan,
    load_facts,
    load_parameters,
    lock_judgment,
    store_plan,
    today_in_new_york,
)
from dragonfly.job import Job, Reject
from dragonfly.worker import Worker

if TYPE_CHECKING:
    from asyncpg import Connection

worker = Worker("enforcement-engine", concurrency=8)

_OLDEST_DAY = date(1963, 9, 1)  # the first day of the CPLR


class EnforcementAction(BaseModel):
    """What to plan: ``only`` narrows the answer to some devices, never the plan that is stored.

    ``as_of`` is a day in New York, today if absent; ``dry_run`` decides and stores nothing.
    """

    model_config = ConfigDict(extra="forbid")

    judgment_id: UUID
    trigger: (
        Literal[
            "import",
            "intel_changed",
            "payment",
            "return_received",
            "deadline",
            "operator",
            "nightly",
        ]
        | None
    ) = None
    as_of: date | None = Field(default=None, ge=_OLDEST_DAY)
    only: (
        list[
            Literal[
                "information_subpoena",
                "restraining_notice",
                "property_execution",
                "bank_levy",
                "income_execution",
                "real_property_lien",
                "demand_letter",
                "asset_search",
                "settlement_offer",
            ]
        ]
        | None
    ) = None
    dry_run: bool = False
    requested_by: str | None = Field(default=None, max_length=200)


@worker.job("enforcement_action", timeout=60)
async def plan_enforcement(job: Job[EnforcementAction]) -> dict[str, Any]:
    """Plan one judgment in one transaction; it plans, it never sends.

    Rejects UNKNOWN_JUDGMENT, and AS_OF_IN_FUTURE for a plan of a later day that would be stored.
    """
    async with job.transaction() as conn:
        result = await _plan(conn, job.payload, job.id)
        job.complete(result)
    return result


async def _plan(conn: Connection, asked: EnforcementAction, job_id: int) -> dict[str, Any]:
    today = await today_in_new_york(conn)
    as_of = asked.as_of or today
    if as_of > today and not asked.dry_run:
        raise Reject(
            "AS_OF_IN_FUTURE",
            f"A plan as of {as_of.isoformat()} cannot be stored before that day; use dry_run.",
        )
    known = asked.dry_run or await lock_judgment(conn, asked.judgment_id)
    facts = await load_facts(conn, asked.judgment_id, as_of) if known else None
    if facts is None:
        raise Reject(
            "UNKNOWN_JUDGMENT",
            f"There is no judgment {asked.judgment_id}; check the id against civil.judgments.",
        )
    decision = decide(facts, await load_parameters(conn))
    if asked.dry_run:
        return _result(decision, StoredPlan(None, changed=False), asked)
    stored = await store_plan(
        conn, asked.judgment_id, decision, requested_by=asked.requested_by, job_id=job_id
    )
    return _result(decision, stored, asked)


def _result(decision: Decision, stored: StoredPlan, asked: EnforcementAction) -> dict[str, Any]:
    """JSON for the job's row: amounts as strings, no names."""
    shown = tuple(
        action
        for action in decision.actions
        if asked.only is None or action.action_type in asked.only
    )
    return {
        "plan_id": None if stored.plan_id is None else str(stored.plan_id),
        "outcome": decision.outcome,
        "blockers": [
            {key: one[key] for key in ("code", "text", "statute", "clear_by")}
            for one in blockers_json(decision)
        ],
        "actions": actions_json(shown),
        "balance": balance_json(decision.account),
        "changed": stored.changed,
    }
