"""What a row of the decision table says: fired or not, why, and the papers it would draw up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from dragonfly.enforcement.assets import Asset
from dragonfly.enforcement.situation import Situation


@dataclass(frozen=True, slots=True)
class Deadline:
    """A day by which something must be done, the rule as a sentence, and the day it runs from."""

    code: str
    due_on: date
    basis: str
    computed_from: date


@dataclass(frozen=True, slots=True)
class Draft:
    """A paper as the decision table wants it, before any gate has looked at it."""

    action_type: str
    target_key: str
    reason: str
    debtor_seq: int | None = None
    target: Mapping[str, Any] = field(default_factory=dict)
    earliest_on: date | None = None
    due_on: date | None = None
    deadlines: tuple[Deadline, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """One row of the table, its answer in a sentence, and the drafts that follow from it."""

    row: int
    fired: bool
    why: str
    drafts: tuple[Draft, ...] = ()


def not_fired(row: int, why: str) -> Finding:
    return Finding(row, fired=False, why=why)


def fired(row: int, why: str, *drafts: Draft) -> Finding:
    return Finding(row, fired=True, why=why, drafts=drafts)


def to_debtor(action_type: str, seq: int, reason: str) -> Draft:
    """A paper to a debtor."""
    return Draft(action_type, f"debtor:{seq}", reason, debtor_seq=seq, target={"to": "debtor"})


def to_asset(action_type: str, asset: Asset, reason: str, **target: Any) -> Draft:
    """A paper aimed at an asset or its holder; ``intel_id`` leads to the name."""
    aimed = {"to": asset.kind, "intel_id": asset.intel_id, "confidence": asset.confidence, **target}
    return Draft(action_type, asset.target_key, reason, debtor_seq=asset.debtor_seq, target=aimed)


def to_land(s: Situation, county_fips: str, reason: str) -> Draft | None:
    """A transcript for a county, unless it is docketed there or the lien's ten years have run."""
    if s.clock.lien_ended or any(one.county_fips == county_fips for one in s.facts.docketings):
        return None
    target = {"to": "county clerk", "county_fips": county_fips}
    return Draft("real_property_lien", f"county:{county_fips}", reason, target=target)
