"""The gates before enforcement, G1 to G9: what holds the whole judgment back."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dragonfly.enforcement.blockers import CATALOGUE, Blocker, block
from dragonfly.enforcement.devices import (
    CONTACTS,
    EVERYTHING,
    EXECUTIONS,
    LEAVES_THE_HOUSE,
    LIENS,
    RESTRAINTS,
)
from dragonfly.enforcement.situation import Situation

Gate = Callable[[Situation], Iterator[Blocker]]


def identity(s: Situation) -> Iterator[Blocker]:
    """G1: one judgment of a known New York court against somebody."""
    judgment = s.facts.judgment
    if judgment.status == "duplicate":
        yield block("DUPLICATE", EVERYTHING)
    if judgment.state != "NY" or judgment.status == "out_of_state":
        yield block("OUT_OF_STATE", EVERYTHING)
    else:
        if judgment.court is None:
            yield block("COURT_UNKNOWN", LEAVES_THE_HOUSE)
        if judgment.county_fips is None:
            yield block("COUNTY_UNKNOWN", LEAVES_THE_HOUSE)
    if not s.facts.debtors:
        yield block("NO_DEBTOR", EVERYTHING)


def status(s: Situation) -> Iterator[Blocker]:
    """G2: the judgment still stands and nobody has stopped it."""
    code = f"STATUS_{s.facts.judgment.status.upper()}"
    if code in CATALOGUE:
        yield block(code, EVERYTHING)


def bankruptcy(s: Situation) -> Iterator[Blocker]:
    """G3: no bankruptcy of any debtor."""
    if s.bankruptcy == "open":
        yield block("BANKRUPTCY_STAY", EVERYTHING)
    if s.bankruptcy == "discharged":
        yield block("BANKRUPTCY_DISCHARGED", EVERYTHING)


def time(s: Situation) -> Iterator[Blocker]:
    """G4: entry is known and the twenty years have not run."""
    held = EXECUTIONS | LIENS | RESTRAINTS
    if s.facts.judgment.known_entry is None:
        yield block("ENTRY_DATE_UNKNOWN", held)
    elif s.clock.entry_in_future:
        yield block("ENTRY_DATE_FUTURE", held)
    elif not s.clock.rate_known:
        yield block("RATE_UNKNOWN", held)
    if s.clock.life_ended:
        yield block("LIFE_ENDED", held)


def authority(s: Situation) -> Iterator[Blocker]:
    """G5: the firm may act for the creditor; in doubt it may not."""
    standing = s.facts.judgment.authorization_status
    assigned = any(one.filed_on is not None for one in s.facts.assignments)
    if standing == "revoked":
        yield block("AUTHORITY_REVOKED", EVERYTHING)
    elif standing == "assignment" and not assigned:
        yield block("ASSIGNMENT_NOT_FILED", EVERYTHING)
    elif standing == "none" and not assigned:
        yield block("NO_AUTHORITY", EVERYTHING)


def entry_data(s: Situation) -> Iterator[Blocker]:
    """G6: a person has held amount, days, parties and index number against the court's record."""
    judgment = s.facts.judgment
    days = [judgment.filing_date, judgment.judgment_date, judgment.entry_date]
    known = [day for day in days if day is not None]
    if known != sorted(known):
        yield block("DATE_SEQUENCE", LEAVES_THE_HOUSE)
    if not judgment.verified:
        yield block("NOT_VERIFIED", LEAVES_THE_HOUSE)


def classification(s: Situation) -> Iterator[Blocker]:
    """G7: consumer debt or not, person or not; the rate and the exemptions hang on it."""
    judgment, held = s.facts.judgment, EXECUTIONS | RESTRAINTS
    if judgment.debt_class == "unknown":
        yield block("CONSUMER_UNKNOWN", held)
    if judgment.debtor_is_natural_person is None:
        yield block("DEBTOR_KIND_UNKNOWN", held)
    if judgment.debt_class == "consumer" and judgment.debtor_is_natural_person is False:
        yield block("CLASSIFICATION_CONFLICT", held)


def holds(s: Situation) -> Iterator[Blocker]:
    """G8: nobody said to leave the debtor alone; process may go on if counsel agrees."""
    judgment = s.facts.judgment
    stops = (
        (judgment.disputed, "DISPUTED"),
        (judgment.cease_requested, "CEASE_REQUEST"),
        (judgment.attorney_represented, "ATTORNEY_REPRESENTED"),
        (s.deceased, "DECEASED"),
    )
    for told, code in stops:
        if told:
            yield block(code, CONTACTS)


def military(s: Situation) -> Iterator[Blocker]:
    """G9: a natural person is not on active duty, by a recent look-up."""
    if s.military == "active":
        yield block("MILITARY_ACTIVE", EXECUTIONS)
    if s.military == "unknown":
        yield block("MILITARY_UNKNOWN", EXECUTIONS)


IDENTITY_GATES: tuple[Gate, ...] = (identity, status, bankruptcy)
JUDGMENT_GATES: tuple[Gate, ...] = (
    *IDENTITY_GATES,
    time,
    authority,
    entry_data,
    classification,
    holds,
    military,
)
