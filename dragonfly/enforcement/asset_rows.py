"""The rows of the decision table that aim at assets: 2 to 10."""

from __future__ import annotations

from dataclasses import replace

from dragonfly.enforcement.assets import Asset
from dragonfly.enforcement.drafts import (
    Draft,
    Finding,
    fired,
    not_fired,
    to_asset,
    to_debtor,
    to_land,
)
from dragonfly.enforcement.situation import Situation

_GARNISHEES = frozenset({"employer", "bank", "business_interest"})


def _sure(s: Situation, kind: str) -> list[Asset]:
    """Open assets of a kind whose report is trusted enough to act on."""
    limit = s.clock.confidence_threshold
    return [one for one in s.open_assets if one.kind == kind and one.confidence >= limit]


def _reachable(assets: list[Asset]) -> list[Asset]:
    return [one for one in assets if one.reach not in {"nothing", "benefits_only"}]


def nothing_known(s: Situation) -> Finding:
    """Row 2: without any lead, search and ask the debtor."""
    if s.open_assets:
        return not_fired(2, "An employer, account or property is already known.")
    if s.benefits_only:
        return not_fired(2, "The debtor is known to live on exempt benefits.")
    if not s.facts.debtors:
        return not_fired(2, "There is no debtor to search for or to ask.")
    why = "No employer, account or property is known, so no third party can be believed to owe."
    drafts = []
    for debtor in s.facts.debtors:
        drafts.append(to_debtor("asset_search", debtor.seq, "Nothing is known of any asset."))
        drafts.append(
            to_debtor("information_subpoena", debtor.seq, "The debtor must say what there is.")
        )
    return fired(2, why, *drafts)


def weak_leads(s: Situation) -> Finding:
    """Row 3: a weak lead is asked, never levied."""
    limit = s.clock.confidence_threshold
    weak = [one for one in s.open_assets if one.kind in _GARNISHEES and one.confidence < limit]
    if not weak:
        return not_fired(3, "No lead is below the confidence for an execution.")
    reason = "The report makes it reasonable to believe that this source knows."
    return fired(
        3,
        f"A lead has a confidence below {limit}: the source is asked first.",
        *(to_asset("information_subpoena", one, reason) for one in weak),
    )


def wages(s: Situation) -> Finding:
    """Row 4: a trusted employer whose wages leave something to withhold."""
    sure = _reachable(_sure(s, "employer"))
    if not sure:
        return not_fired(4, "No trusted employer pays more than the law exempts.")
    best: dict[int | None, Asset] = {}
    for one in sorted(sure, key=lambda a: (a.amount or 0, a.confidence, a.target_key)):
        best[one.debtor_seq] = one
    drafts: list[Draft] = []
    for one in best.values():
        yields = None if one.amount is None else str(one.amount)
        officer = _officer(s, one)
        reason = "A trusted employer is known; income executions are satisfied one at a time."
        drafts.append(
            to_asset("income_execution", one, reason, officer=officer, yield_per_period=yields)
        )
        if one.amount is None:
            ask = "The employer must say what it pays, so that the withholding can be foreseen."
            drafts.append(to_asset("information_subpoena", one, ask))
    return fired(4, "A trusted employer is known whose wages can be withheld.", *drafts)


def _officer(s: Situation, asset: Asset) -> str:
    court = s.facts.judgment.court
    marshal = court is not None and court.has_marshals and asset.in_new_york_city
    return "city marshal or sheriff" if marshal else "sheriff"


def persons_bank(s: Situation) -> Finding:
    """Row 5: a person's account is restrained with the exemption package, levied on the answer."""
    accounts = [one for one in _reachable(_sure(s, "bank")) if one.natural_person]
    if not accounts:
        return not_fired(5, "No trusted account of a natural person holds more than the floor.")
    reason = "A trusted account of a natural person is known; it is restrained before any levy."
    return fired(
        5,
        "A trusted account of a natural person is known.",
        *_restraints(s, accounts, reason),
        *_levies(s, accounts, "The account is known to exceed what the law exempts."),
    )


def companys_bank(s: Situation) -> Finding:
    """Row 6: a company's account is restrained and asked at once: no wage floor."""
    accounts = [one for one in _reachable(_sure(s, "bank")) if not one.natural_person]
    if not accounts:
        return not_fired(6, "No trusted account of a company is known.")
    reason = "A trusted account of a company is known; notice and subpoena go together."
    return fired(
        6,
        "A trusted account of a company is known.",
        *_restraints(s, accounts, reason),
        *(to_asset("information_subpoena", one, reason) for one in accounts),
        *_levies(s, accounts, "The account is known to hold money."),
    )


def _restraints(s: Situation, holders: list[Asset], reason: str) -> list[Draft]:
    cap = None if s.restraint_cap is None else str(s.restraint_cap)
    return [to_asset("restraining_notice", one, reason, cap=cap) for one in holders]


def _levies(s: Situation, accounts: list[Asset], reason: str) -> list[Draft]:
    return [
        to_asset(
            "property_execution", one, reason, officer=_officer(s, one), reachable=str(one.amount)
        )
        for one in accounts
        if one.reach == "yields"
    ]


def land(s: Situation) -> Finding:
    """Row 7: a lien wherever the debtor verifiably owns land; a sale is for an attorney."""
    owned = [one for one in s.open_assets if one.kind == "real_property" and one.county_fips]
    if not owned:
        return not_fired(7, "No real property in a New York county is known.")
    verified = {one.county_fips for one in owned if one.verified and one.county_fips}
    if not verified:
        return not_fired(7, "The owner of the known property is not verified.")
    reason = "The debtor owns land in this county: docketing there is cheap and lasts."
    drafts = [draft for county in sorted(verified) if (draft := to_land(s, county, reason))]
    if not drafts:
        return not_fired(7, "It is docketed where the land is, or the lien's ten years have run.")
    return fired(7, "The debtor is verified to own land in a New York county.", *drafts)


def receivables(s: Situation) -> Finding:
    """Row 8: whoever owes the debtor money is restrained and asked."""
    owing = _sure(s, "business_interest")
    if not owing:
        return not_fired(8, "Nobody else is known to owe the debtor money.")
    reason = "This garnishee is believed to owe the debtor money."
    return fired(
        8,
        "Somebody is known to owe the debtor money.",
        *_restraints(s, owing, reason),
        *(to_asset("information_subpoena", one, reason) for one in owing),
    )


def exempt_only(s: Situation) -> Finding:
    """Row 9: where only exempt money is known, wait on a lien and offer a settlement."""
    counted = [one for one in s.open_assets if one.kind in {"employer", "bank"}]
    if not s.benefits_only and (not counted or _reachable(counted)):
        return not_fired(9, "It is not so that all known income and accounts are exempt.")
    drafts: list[Draft] = []
    county = s.facts.judgment.county_fips
    if county and (lien := to_land(s, county, "Exempt money cannot be levied; a lien waits.")):
        drafts.append(lien)
    for debtor in s.facts.debtors:
        offer = "Everything known is exempt; only an agreement brings money now."
        drafts.append(to_debtor("settlement_offer", debtor.seq, offer))
        search = to_debtor("asset_search", debtor.seq, "Look again in a year.")
        drafts.append(replace(search, earliest_on=s.recheck_on))
    return fired(9, "Only exempt income or accounts are known.", *drafts)


def closed_targets(s: Situation) -> Finding:
    """Row 10: whoever answered that there is nothing is left alone for a year."""
    if all(not one.closed for one in s.assets):
        return not_fired(10, "No target has lately answered that there is nothing.")
    return fired(10, "A target answered that there is nothing; it waits for a year or a new fact.")


ASSET_ROWS = (
    nothing_known, weak_leads, wages, persons_bank, companys_bank, land, receivables, exempt_only,
    closed_targets,
)  # fmt: skip
