"""Which judgment a row speaks of, and what it may change there. Pure.

A row that names its court, county and judgment number is matched by identity alone. One that leaves
any of them out is matched only if exactly one known judgment could be meant and all parties agree;
whatever is left unclear goes to a person, and nothing is overwritten.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Literal, NamedTuple
from uuid import UUID

from dragonfly.judgments.records import JudgmentRecord, Party, ValidatedRow

Outcome = Literal["loaded", "updated", "unchanged", "duplicate", "rejected", "review"]

REVIEW_SENTENCES: Mapping[str, str] = {
    "IDENTITY_CONFLICT": "This index number of this court is already kept with another plaintiff "
    "or debtor; compare the row with that judgment and correct whichever is wrong.",
    "IDENTITY_AMBIGUOUS": "The row could mean more than one judgment, or one with other parties, "
    "because it does not name its court, county or judgment number; add them and load it again.",
    "SOURCE_REF_MOVED": "The vendor's reference in this row belongs to another judgment; find out "
    "which of the two it is.",
    "VERIFIED_FIELDS": "A person has verified this judgment and the row differs from it; nothing "
    "was changed: compare both with the court's record.",
    "ROWS_DISAGREE": "Another row of this file names the same judgment with other contents; "
    "neither was loaded: keep the right one.",
    "PLAINTIFF_AMBIGUOUS": "Several plaintiffs have this name; choose one of them.",
    "HELD_FIELDS": "The row asks for a person's look and differs from the judgment kept; nothing "
    "was changed.",
}


class Identity(NamedTuple):
    """What makes a judgment this one; None is unknown, and unknown only equals unknown."""

    state: str
    index_key: str
    court_id: str | None
    county_fips: str | None
    judgment_number: str | None

    def could_be(self, other: Identity) -> bool:
        """Nothing that both sides know tells them apart."""
        return self[:2] == other[:2] and all(
            mine is None or theirs is None or mine == theirs
            for mine, theirs in zip(self[2:], other[2:], strict=True)
        )


class Facts(NamedTuple):
    """What a vendor's file may say and change of a judgment. ``amount`` is dollars."""

    court_id: str | None
    county_fips: str | None
    judgment_number: str | None
    source_reference: str | None
    caption: str | None
    filing_date: date | None
    judgment_date: date | None
    entry_date: date | None
    amount: Decimal
    debt_class: str
    case_type: str | None
    vendor_status: str | None
    debtor_addresses: tuple[tuple[str, str], ...]

    def merged_with(self, news: Facts) -> Facts:
        """These facts where ``news`` knows nothing, otherwise ``news``."""
        said = {
            name: value
            for name, value in news._asdict().items()
            if value is not None and value != "unknown"
        }
        addresses = dict(self.debtor_addresses) | dict(news.debtor_addresses)
        said["debtor_addresses"] = tuple(sorted(addresses.items()))
        return self._replace(**said)

    def changed(self, later: Facts) -> tuple[str, ...]:
        """The names of the fields in which ``later`` differs."""
        return tuple(
            name for name, old, new in zip(self._fields, self, later, strict=True) if old != new
        )


@dataclass(frozen=True, slots=True)
class Known:
    """A judgment already kept, or one that an earlier row of the same file has just made."""

    judgment_id: UUID
    plaintiff_id: UUID
    identity: Identity
    plaintiff_key: str
    debtor_keys: frozenset[str]
    facts: Facts
    content_hash: bytes | None
    source_system: str
    verified: bool

    def agrees_with(self, record: JudgmentRecord) -> bool:
        """Plaintiff and debtors are the same by their match keys."""
        return self.plaintiff_key == record.plaintiff.name_key and self.debtor_keys == debtor_keys(
            record
        )


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of one valid row.

    ``code`` is the reason of a review or duplicate; ``facts`` are those of the judgment afterwards.
    ``judgment_id`` and ``plaintiff_id`` are the ones meant, new ones if ``is_new``.
    """

    row: ValidatedRow
    record: JudgmentRecord
    outcome: Outcome
    facts: Facts
    code: str | None = None
    judgment_id: UUID | None = None
    plaintiff_id: UUID | None = None
    is_new: bool = False
    changed_fields: tuple[str, ...] = ()
    first_row_no: int | None = None


def identity_of(record: JudgmentRecord) -> Identity:
    return Identity(
        record.state,
        record.index_key,
        record.court_id,
        record.county_fips,
        record.judgment_number,
    )


def debtor_keys(record: JudgmentRecord) -> frozenset[str]:
    return frozenset(party.name_key for party in record.debtors)


def facts_of(record: JudgmentRecord) -> Facts:
    """What the row says."""
    return Facts(
        court_id=record.court_id,
        county_fips=record.county_fips,
        judgment_number=record.judgment_number,
        source_reference=record.source_reference,
        caption=record.caption,
        filing_date=record.filing_date,
        judgment_date=record.judgment_date,
        entry_date=record.entry_date,
        amount=record.amount,
        debt_class=record.debt_class,
        case_type=record.case_type,
        vendor_status=record.vendor_status,
        debtor_addresses=tuple(
            sorted((party.name_key, party.address) for party in record.debtors if party.address)
        ),
    )


class Matcher:
    """Decides rows in file order; each decision is known to the rows after it.

    ``plaintiffs`` maps a name key to the plaintiffs who bear it; ``seen`` maps a judgment to the
    row of this file that named it first. ``new_plaintiffs`` are those named for the first time.
    """

    def __init__(
        self,
        source_system: str,
        known: Iterable[Known],
        plaintiffs: Mapping[str, tuple[UUID, ...]],
        seen: Mapping[UUID, int],
        new_id: Callable[[], UUID],
    ) -> None:
        self._source_system = source_system
        self._by_index: defaultdict[tuple[str, str], list[Known]] = defaultdict(list)
        self._by_reference: dict[str, Known] = {}
        self._plaintiffs = dict(plaintiffs)
        self._seen = dict(seen)
        self._new_id = new_id
        self.new_plaintiffs: dict[UUID, Party] = {}
        for judgment in known:
            self._learn(judgment)

    def decide(self, row: ValidatedRow, record: JudgmentRecord) -> Decision:
        """What becomes of this row, given all decided before it."""
        match, conflict = self._find(record)
        if conflict is None and self._reference_moved(record, match):
            conflict = "SOURCE_REF_MOVED"
        if conflict is not None:
            meant = match.judgment_id if match is not None else None
            return Decision(row, record, "review", facts_of(record), conflict, meant)
        decision = self._make(row, record) if match is None else self._change(row, record, match)
        if decision.judgment_id is not None and decision.code is None:
            self._seen.setdefault(decision.judgment_id, row.raw.row_no)
        return decision

    def _find(self, record: JudgmentRecord) -> tuple[Known | None, str | None]:
        """The judgment meant, if one is; and the code of what stands against it."""
        wanted = identity_of(record)
        same_index = self._by_index[wanted[:2]]
        for judgment in same_index:
            if judgment.identity == wanted:
                return judgment, None if judgment.agrees_with(record) else "IDENTITY_CONFLICT"
        candidates = [
            judgment
            for judgment in same_index
            if judgment.identity.could_be(wanted) and not _known_apart(judgment, record)
        ]
        if not candidates:
            return None, None
        if len(candidates) > 1:
            return None, "IDENTITY_AMBIGUOUS"
        if candidates[0].agrees_with(record):
            return candidates[0], None
        same_court = (
            record.court_id is not None and record.court_id == candidates[0].identity.court_id
        )
        return candidates[0], "IDENTITY_CONFLICT" if same_court else "IDENTITY_AMBIGUOUS"

    def _reference_moved(self, record: JudgmentRecord, match: Known | None) -> bool:
        if record.source_reference is None:
            return False
        holder = self._by_reference.get(record.source_reference)
        return holder is not None and (match is None or holder.judgment_id != match.judgment_id)

    def _make(self, row: ValidatedRow, record: JudgmentRecord) -> Decision:
        facts = facts_of(record)
        owners = self._plaintiffs.get(record.plaintiff.name_key, ())
        if len(owners) > 1:
            return Decision(row, record, "review", facts, "PLAINTIFF_AMBIGUOUS")
        plaintiff_id = owners[0] if owners else self._new_plaintiff(record.plaintiff)
        judgment = Known(
            self._new_id(),
            plaintiff_id,
            identity_of(record),
            record.plaintiff.name_key,
            debtor_keys(record),
            facts,
            record.content_hash,
            self._source_system,
            verified=False,
        )
        self._learn(judgment)
        return Decision(
            row,
            record,
            "review" if needs_review(row) else "loaded",
            facts,
            judgment_id=judgment.judgment_id,
            plaintiff_id=plaintiff_id,
            is_new=True,
        )

    def _new_plaintiff(self, party: Party) -> UUID:
        plaintiff_id = self._new_id()
        self._plaintiffs[party.name_key] = (plaintiff_id,)
        self.new_plaintiffs[plaintiff_id] = party
        return plaintiff_id

    def _change(self, row: ValidatedRow, record: JudgmentRecord, match: Known) -> Decision:
        news = facts_of(record)
        if match.source_system != self._source_system:
            # a vendor's reference is a name in that vendor's own books
            news = news._replace(source_reference=None)
        merged = match.facts.merged_with(news)
        changed = match.facts.changed(merged)
        decision = Decision(
            row,
            record,
            "unchanged",
            merged,
            judgment_id=match.judgment_id,
            plaintiff_id=match.plaintiff_id,
            changed_fields=changed,
        )
        first_row_no = self._seen.get(match.judgment_id)
        if first_row_no is not None:
            if match.facts.amount != record.amount:
                return replace(decision, outcome="review", code="ROWS_DISAGREE")
            return replace(
                decision, outcome="duplicate", code="DUPLICATE_ROW", first_row_no=first_row_no
            )
        if match.content_hash == record.content_hash or not changed:
            return replace(decision, changed_fields=())
        if match.verified or needs_review(row):
            code = "VERIFIED_FIELDS" if match.verified else "HELD_FIELDS"
            return replace(decision, outcome="review", code=code)
        self._relearn(match, merged, record.content_hash)
        return replace(decision, outcome="updated")

    def _learn(self, judgment: Known) -> None:
        self._by_index[judgment.identity[:2]].append(judgment)
        reference = judgment.facts.source_reference
        if judgment.source_system == self._source_system and reference is not None:
            self._by_reference[reference] = judgment

    def _relearn(self, old: Known, facts: Facts, content_hash: bytes) -> None:
        self._by_index[old.identity[:2]].remove(old)
        if self._by_reference.get(old.facts.source_reference or "") is old:
            del self._by_reference[old.facts.source_reference or ""]
        identity = Identity(
            *old.identity[:2], facts.court_id, facts.county_fips, facts.judgment_number
        )
        self._learn(replace(old, identity=identity, facts=facts, content_hash=content_hash))


def needs_review(row: ValidatedRow) -> bool:
    """Validation asks for a person's look."""
    return any(finding.severity == "review" for finding in row.findings)


def _known_apart(judgment: Known, record: JudgmentRecord) -> bool:
    """The row names its court, the judgment does not, and the parties differ: another case."""
    return (
        record.court_id is not None
        and judgment.identity.court_id is None
        and not judgment.agrees_with(record)
    )
