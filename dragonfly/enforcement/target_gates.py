"""The gates before enforcement, G10 to G18a: what holds single papers and single targets back."""

from __future__ import annotations

from collections.abc import Iterator

from dragonfly.enforcement.assets import Asset
from dragonfly.enforcement.blockers import Blocker, block
from dragonfly.enforcement.devices import CONTACTS, EVERYTHING, EXECUTIONS, LIENS, RESTRAINTS
from dragonfly.enforcement.gates import IDENTITY_GATES, JUDGMENT_GATES, Gate
from dragonfly.enforcement.situation import Situation

_INCOME_EXECUTION = frozenset({"income_execution"})


def exemption_package(s: Situation) -> Iterator[Blocker]:
    """G10: a bank restraint on a natural person is void without the papers of CPLR 5222-a."""
    for asset in s.assets:
        needs = asset.kind == "bank" and asset.natural_person
        if needs and asset.target_key not in s.facts.packages:
            yield block("EXEMPTION_PACKAGE_MISSING", RESTRAINTS, asset.target_key)


def exempt_assets(s: Situation) -> Iterator[Blocker]:
    """G11: no levy on what is exempt, and none before it can be counted."""
    for asset in s.assets:
        code = _exempt_code(asset)
        if code is not None:
            held = _INCOME_EXECUTION if code == "WAGE_UNKNOWN" else EXECUTIONS | RESTRAINTS
            yield block(code, held, asset.target_key)


def _exempt_code(asset: Asset) -> str | None:
    if asset.reach == "benefits_only":
        return "EXEMPT_BENEFITS_ONLY"
    if asset.reach == "floor_unknown":
        return "WAGE_FLOOR_UNKNOWN"
    if asset.reach == "nothing":
        return "EXEMPT_WAGES" if asset.kind == "employer" else "EXEMPT_BELOW_FLOOR"
    return "WAGE_UNKNOWN" if asset.kind == "employer" and asset.reach == "unknown" else None


def transcript(s: Situation) -> Iterator[Blocker]:
    """G13: a lower court's judgment reaches land and the sheriff only through the county clerk.

    In New York City a marshal executes a Civil Court judgment without it; and docketing in the
    court's own county is itself the missing step, so only the liens of other counties wait.
    """
    court, county = s.facts.judgment.court, s.facts.judgment.county_fips
    docketed = {docketing.county_fips for docketing in s.facts.docketings}
    if court is None or not court.needs_transcript or county is None or county in docketed:
        return
    if not court.has_marshals:
        yield block("TRANSCRIPT_MISSING", EXECUTIONS | {"lien_renewal"})
    for asset in s.assets:
        if asset.kind == "real_property":
            if asset.county_fips != county:
                yield block("TRANSCRIPT_MISSING", LIENS, asset.target_key)
        elif court.has_marshals and not asset.in_new_york_city:
            yield block("TRANSCRIPT_MISSING", EXECUTIONS, asset.target_key)


def equal_actions(s: Situation) -> Iterator[Blocker]:
    """G14: nothing equal is out; one restraint on a person; one income execution at a time.

    A letter is never returned, so it is never out.
    """
    for past in s.facts.past_actions:
        if past.is_open and past.action_type not in CONTACTS:
            yield block("ACTION_OPEN", frozenset({past.action_type}), past.target_key)
        elif past.action_type == "restraining_notice" and past.issued_on is not None:
            yield block("SECOND_RESTRAINT", RESTRAINTS, past.target_key)
    running = {
        past.debtor_seq: past.target_key
        for past in s.open_actions
        if past.action_type == "income_execution"
    }
    for asset in s.assets:
        ahead = running.get(asset.debtor_seq) if asset.kind == "employer" else None
        if ahead is not None and ahead != asset.target_key:
            yield block("INCOME_EXECUTION_AHEAD", _INCOME_EXECUTION, asset.target_key)


def cooling_off(s: Situation) -> Iterator[Blocker]:
    """G15: first the letter, then a pause, then executions."""
    if s.clock.cooling and s.clock.cooling_until is not None:
        yield block("COOLING_OFF", EXECUTIONS, day=s.clock.cooling_until.isoformat())
    elif s.awaits_first_letter and not s.contact_held:
        yield block("DEMAND_FIRST", EXECUTIONS)


def invented_intelligence(s: Situation) -> Iterator[Blocker]:
    """G18a: nothing is built on an invented or unattributed report."""
    usable = {asset.target_key for asset in s.assets}
    for why, key in s.refused:
        if key not in usable:
            yield block(f"{why.upper()}_INTELLIGENCE", EVERYTHING, key)


def old_intelligence(s: Situation) -> Iterator[Blocker]:
    """G18: an execution needs a fresh report of its target and a fresh address."""
    for asset in s.assets:
        if asset.stale:
            yield block("STALE_INTELLIGENCE", EXECUTIONS, asset.target_key)
    if s.clock.address_stale:
        yield block("STALE_ADDRESS", _INCOME_EXECUTION)


GATES: tuple[Gate, ...] = (
    *JUDGMENT_GATES,
    exemption_package,
    exempt_assets,
    transcript,
    equal_actions,
    cooling_off,
    invented_intelligence,
    old_intelligence,
)


def blockers_of(situation: Situation) -> tuple[Blocker, ...]:
    """Every blocker in the order of the gates; of a judgment that is over, only why it is."""
    gates = IDENTITY_GATES if situation.is_over else GATES
    return tuple(blocker for gate in gates for blocker in gate(situation))
