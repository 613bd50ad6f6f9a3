"""The enforcement decision: facts in, one plan out; the same facts always give the same plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Literal

from dragonfly.enforcement.asset_rows import ASSET_ROWS
from dragonfly.enforcement.blockers import Blocker
from dragonfly.enforcement.devices import CHEAP, DEVICES, DUTIES, EXECUTIONS, RANK, SLOW, Signature
from dragonfly.enforcement.drafts import Deadline, Draft, Finding, not_fired
from dragonfly.enforcement.facts import EnforcementFacts
from dragonfly.enforcement.interest import Account, Balance
from dragonfly.enforcement.parameters import LegalParameters
from dragonfly.enforcement.rows import (
    first_letter,
    last_years,
    lien_renewal,
    small_balance,
    wind_up,
)
from dragonfly.enforcement.situation import Situation, basis_of, digest, situation_of
from dragonfly.enforcement.target_gates import blockers_of

RULES_VERSION = "2026.11"
REPORTED_BLOCKERS = 10

Outcome = Literal["planned", "blocked", "needs_data", "no_action"]
ActionStatus = Literal["planned", "awaiting_data", "awaiting_signature", "blocked"]

_ROWS = (first_letter, *ASSET_ROWS, lien_renewal, last_years, wind_up, small_balance)


@dataclass(frozen=True, slots=True)
class Action:
    """A paper in the plan: what it rests on, who signs, what it waits for.

    ``blocked_by`` names the codes of every blocker that stands before it.
    """

    action_type: str
    target_key: str
    debtor_seq: int | None
    target: Mapping[str, Any]
    status: ActionStatus
    requires_signature_of: Signature
    statute: tuple[str, ...]
    reason: str
    blocked_by: tuple[str, ...]
    earliest_on: date | None
    due_on: date | None
    deadlines: tuple[Deadline, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """One plan for one judgment; ``blockers`` are the first ten in the order of the gates.

    ``decision_hash`` is the same as long as no fact that matters has changed, whatever the day.
    """

    outcome: Outcome
    blockers: tuple[Blocker, ...]
    actions: tuple[Action, ...]
    considered: tuple[Finding, ...]
    account: Account
    as_of: date
    basis: Mapping[str, Any]
    decision_hash: bytes
    rules_version: str = RULES_VERSION


def decide(facts: EnforcementFacts, law: LegalParameters) -> Decision:
    """Decide what to do about a judgment on ``facts.as_of``; no I/O, no clock.

    Raises LegalParameterMissing when a number the law must give is not on file for that day.
    """
    situation = situation_of(facts, law)
    blockers = blockers_of(situation)
    considered = _consider(situation)
    drafts = _select(situation, considered)
    actions = tuple(_act(draft, blockers, situation) for draft in drafts)
    basis = basis_of(situation)
    return Decision(
        outcome=_outcome(situation, actions, blockers),
        blockers=blockers[:REPORTED_BLOCKERS],
        actions=actions,
        considered=considered,
        account=situation.account,
        as_of=facts.as_of,
        basis=basis,
        decision_hash=digest(basis, RULES_VERSION),
    )


def _consider(s: Situation) -> tuple[Finding, ...]:
    stopped = s.is_over or s.clock.nothing_due
    findings = []
    for row, consider in enumerate(_ROWS, start=1):
        if stopped and consider is not wind_up:
            findings.append(not_fired(row, "Nothing more is enforced on this judgment."))
        else:
            findings.append(consider(s))
    return tuple(findings)


def _select(s: Situation, considered: tuple[Finding, ...]) -> list[Draft]:
    """The drafts worth doing, each target once per kind, in order of work."""
    out = {(past.action_type, past.target_key) for past in s.open_actions}
    chosen: dict[tuple[str, str], Draft] = {}
    for finding in considered:
        for draft in finding.drafts:
            key = (draft.action_type, draft.target_key)
            if key not in out and _worth_it(s, draft.action_type):
                chosen.setdefault(key, draft)
    drafts = (_hasten(s, draft) for draft in chosen.values())
    return sorted(drafts, key=lambda draft: (RANK[draft.action_type], draft.target_key))


def _worth_it(s: Situation, action_type: str) -> bool:
    if action_type in DUTIES:
        return True
    if s.clock.small_balance and action_type not in CHEAP:
        return False
    return not (s.clock.life_near and action_type in SLOW)


def _hasten(s: Situation, draft: Draft) -> Draft:
    """Give what is begun in a judgment's last years its end as the day to be done by."""
    ends = s.clock.life_ends
    starts = s.facts.judgment.first_enforceable_date or s.facts.judgment.known_entry
    if not s.clock.life_near or draft.due_on is not None or ends is None or starts is None:
        return draft
    rule = "A judgment is presumed paid twenty years after it could first be enforced."
    end = Deadline("JUDGMENT_ENDS", ends, rule, starts)
    return replace(draft, due_on=ends, deadlines=(*draft.deadlines, end))


def _act(draft: Draft, blockers: tuple[Blocker, ...], s: Situation) -> Action:
    device = DEVICES[draft.action_type]
    ahead = [one for one in blockers if one.holds(draft.action_type, draft.target_key)]
    earliest = draft.earliest_on
    if draft.action_type in EXECUTIONS and s.clock.cooling:
        earliest = s.clock.cooling_until
    return Action(
        action_type=draft.action_type,
        target_key=draft.target_key,
        debtor_seq=draft.debtor_seq,
        target=draft.target,
        status=_status(ahead, device.signature),
        requires_signature_of=device.signature,
        statute=device.statute,
        reason=draft.reason,
        blocked_by=tuple(dict.fromkeys(one.code for one in ahead)),
        earliest_on=earliest,
        due_on=draft.due_on,
        deadlines=draft.deadlines,
    )


def _status(ahead: list[Blocker], signature: Signature) -> ActionStatus:
    if any(not one.waits_for_data for one in ahead):
        return "blocked"
    if ahead:
        return "awaiting_data"
    return "planned" if signature == "none" else "awaiting_signature"


def _outcome(s: Situation, actions: tuple[Action, ...], blockers: tuple[Blocker, ...]) -> Outcome:
    statuses = {action.status for action in actions}
    if statuses & {"planned", "awaiting_signature"}:
        return "planned"
    if s.is_over:
        return "no_action"
    # A blocker of one target says nothing about a judgment that has nothing to do there.
    whole = [one for one in blockers if one.target_key is None]
    if "blocked" in statuses or any(not one.waits_for_data for one in whole):
        return "blocked"
    return "needs_data" if statuses or whole else "no_action"


def balance_json(account: Account) -> dict[str, Any]:
    """The balance for outgoing paper as JSON; ``higher`` beside it while the class is unknown."""
    shown = _balance(account.outgoing)
    if account.higher is not None:
        shown["higher"] = _balance(account.higher)
    return shown


def _balance(balance: Balance) -> dict[str, Any]:
    def text(value: Any) -> str | None:
        return None if value is None else str(value)

    return {
        "principal": str(balance.principal),
        "interest": text(balance.interest),
        "total": text(balance.total),
        "per_diem": text(balance.per_diem),
        "as_of": balance.as_of.isoformat(),
        "rate": text(balance.rate),
        "overpaid": str(balance.overpaid),
        "ignored_payments": [
            {"payment_id": one.payment_id, "received_on": str(one.received_on), "why": one.why}
            for one in balance.ignored
        ],
    }


def blockers_json(decision: Decision) -> list[dict[str, Any]]:
    """The blockers as a person reads them; for the plan's row and the job's result."""
    return [
        {
            "gate": one.notice.gate,
            "code": one.code,
            "text": one.text,
            "statute": one.notice.statute,
            "clear_by": one.notice.clear_by,
            "blocks": sorted(one.blocks),
            "target_key": one.target_key,
        }
        for one in decision.blockers
    ]


def actions_json(actions: tuple[Action, ...]) -> list[dict[str, Any]]:
    """The actions without their targets, so that no name can travel in a job's result."""
    return [
        {
            "action_type": one.action_type,
            "target_key": one.target_key,
            "debtor_seq": one.debtor_seq,
            "status": one.status,
            "requires_signature_of": one.requires_signature_of,
            "statute": list(one.statute),
            "reason": one.reason,
            "blocked_by": list(one.blocked_by),
            "earliest_on": None if one.earliest_on is None else one.earliest_on.isoformat(),
            "due_on": None if one.due_on is None else one.due_on.isoformat(),
        }
        for one in actions
    ]
