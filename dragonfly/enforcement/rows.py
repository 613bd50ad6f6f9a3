"""The rows of the decision table that look at the judgment itself: 1 and 11 to 14."""

from __future__ import annotations

from dragonfly.enforcement.drafts import Deadline, Draft, Finding, fired, not_fired, to_debtor
from dragonfly.enforcement.facts import PastAction
from dragonfly.enforcement.situation import ENDED, Situation

_STOPPED_BY = {
    "restraining_notice": ("restraint_release", "garnishee"),
    "income_execution": ("officer_notice", "officer"),
    "property_execution": ("officer_notice", "officer"),
    "bank_levy": ("officer_notice", "officer"),
}


def first_letter(s: Situation) -> Finding:
    """Row 1: the demand letter comes first."""
    if not s.facts.debtors:
        return not_fired(1, "There is no debtor to write to.")
    if not s.contactable:
        return not_fired(1, "No address of a debtor is known.")
    if not s.awaits_first_letter:
        return not_fired(1, "Every debtor with an address has had the demand letter.")
    reason = "Nothing has been sent yet; executions wait for the answer."
    return fired(
        1,
        "A debtor with a known address has had no demand letter.",
        *(to_debtor("demand_letter", seq, reason) for seq in s.awaits_first_letter),
    )


def lien_renewal(s: Situation) -> Finding:
    """Row 11: a lien in its last year is renewed by a new action, CPLR 5014."""
    ends = s.clock.lien_ends
    if not s.facts.docketings or ends is None or s.facts.judgment.judgment_roll_filed is None:
        return not_fired(11, "No docketed lien with a known end exists.")
    if not s.clock.lien_near:
        return not_fired(11, "The lien is not in its last year.")
    if s.clock.small_balance:
        return not_fired(11, "The balance is too small for a renewal action.")
    rule = "The lien ends ten years after filing of the judgment roll."
    end = Deadline("LIEN_ENDS", ends, rule, s.facts.judgment.judgment_roll_filed)
    draft = Draft(
        "lien_renewal",
        "judgment",
        "The lien is in its last year; renewal needs a new action by an attorney.",
        target={"to": "court"},
        due_on=ends,
        deadlines=(end,),
    )
    return fired(11, "The lien ends within a year and the balance is worth a renewal.", draft)


def last_years(s: Situation) -> Finding:
    """Row 12: near its end a judgment goes first, and nothing slow is begun."""
    if not s.clock.life_near:
        return not_fired(12, "The judgment does not end within two years.")
    return fired(12, "The judgment ends within two years: it goes first and nothing slow is begun.")


def wind_up(s: Situation) -> Finding:
    """Row 13: paid in full or stopped by law, everything that is out is taken back."""
    why = s.must_stop
    if why is None:
        return not_fired(13, "The judgment is neither paid in full nor stopped.")
    drafts = [_stop(past, why) for past in s.open_actions if past.action_type in _STOPPED_BY]
    if s.clock.paid_in_full and s.facts.judgment.status not in ENDED:
        drafts.append(_satisfaction(s))
    if s.clock.overpaid:
        refund = "More was received than was due; the excess goes back to whoever paid it."
        drafts.append(Draft("refund", "judgment", refund, target={"to": "payer"}))
    return fired(13, f"Nothing more may be enforced: {why}.", *drafts)


def _stop(past: PastAction, why: str) -> Draft:
    action_type, to = _STOPPED_BY[past.action_type]
    target = {"to": to, "stops": past.action_type}
    key = f"{past.action_type}:{past.target_key}"
    return Draft(action_type, key, f"A paper is still out although {why}.", target=target)


def _satisfaction(s: Situation) -> Draft:
    due, paid = s.clock.satisfaction_due, s.clock.paid_off_on
    deadlines: tuple[Deadline, ...] = ()
    if due is not None and paid is not None:
        rule = "A satisfaction-piece is filed within twenty days of full payment."
        deadlines = (Deadline("SATISFACTION_DUE", due, rule, paid),)
    return Draft(
        "satisfaction_piece",
        "judgment",
        "The judgment is paid in full; the debtor is owed a satisfaction-piece.",
        target={"to": "clerk and debtor"},
        due_on=due,
        deadlines=deadlines,
    )


def small_balance(s: Situation) -> Finding:
    """Row 14: a small balance pays for letters, a subpoena and a lien, no more."""
    if not s.clock.small_balance:
        return not_fired(14, "The balance is not small.")
    return fired(14, "The balance is small: only letters, subpoena and lien are worth their cost.")
