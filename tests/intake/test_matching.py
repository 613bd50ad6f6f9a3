"""Which judgment a row means when it does not say everything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from itertools import count
from uuid import UUID

import pytest

from dragonfly.judgments.lookup import new_id
from dragonfly.judgments.matching import (
    REVIEW_SENTENCES,
    Decision,
    Known,
    Matcher,
    debtor_keys,
    facts_of,
    identity_of,
)
from dragonfly.judgments.records import Finding, JudgmentRecord, Party, RawRow, ValidatedRow

RECORD = JudgmentRecord(
    source_reference=None,
    index_raw="12345/2020",
    index_display="12345/2020",
    index_key="|12345|2020|",
    index_parsed=True,
    judgment_number=None,
    court_id="supreme:kings",
    court_raw="Supreme Court",
    county_fips="36047",
    state="NY",
    caption=None,
    filing_date=None,
    judgment_date=None,
    entry_date=None,
    amount=Decimal("100.00"),
    debt_class="unknown",
    case_type=None,
    vendor_status=None,
    plaintiff=Party("Harbor Lending LLC", "harbor lending llc", "company"),
    contacts=(),
    debtors=(Party("Jane Roe", "jane roe", "person"),),
    content_hash=b"first",
)
NO_COURT = replace(RECORD, court_id=None, content_hash=b"no court")
OTHER_DEBTOR = {"debtors": (Party("Ann Poe", "ann poe", "person"),), "content_hash": b"other"}


def known(record: JudgmentRecord, number: int = 1, **changes: object) -> Known:
    """The judgment that this record has become."""
    judgment = Known(
        UUID(int=number),
        UUID(int=100),
        identity_of(record),
        record.plaintiff.name_key,
        debtor_keys(record),
        facts_of(record),
        record.content_hash,
        "simplicity",
        verified=False,
    )
    return replace(judgment, **changes)  # type: ignore[arg-type]


def decide(
    record: JudgmentRecord,
    *judgments: Known,
    plaintiffs: Mapping[str, tuple[UUID, ...]] | None = None,
    severity: str | None = None,
) -> Decision:
    """The decision about one row."""
    matcher = Matcher("simplicity", judgments, plaintiffs or {}, {}, new_id)
    return matcher.decide(validated(record, severity=severity), record)


def validated(record: JudgmentRecord, row_no: int = 1, severity: str | None = None) -> ValidatedRow:
    findings = () if severity is None else (Finding("AMOUNT_LARGE", "Large.", severity),)  # type: ignore[arg-type]
    return ValidatedRow(RawRow(row_no, row_no + 1, ()), record, findings)


def test_a_row_without_court_and_without_candidates_is_loaded() -> None:
    """A file without a court column loads a judgment whose court is unknown."""
    decision = decide(NO_COURT)

    assert (decision.outcome, decision.is_new) == ("loaded", True)
    assert decision.facts.court_id is None


def test_a_row_without_court_finds_the_one_judgment_of_the_same_parties() -> None:
    """One candidate whose plaintiff and debtors agree is the judgment meant."""
    decision = decide(NO_COURT, known(RECORD))

    assert (decision.outcome, decision.judgment_id) == ("unchanged", UUID(int=1))


@pytest.mark.parametrize("missing", ["court_id", "county_fips", "judgment_number"])
def test_what_a_row_leaves_out_is_not_erased(missing: str) -> None:
    """Whichever part of the identity is unknown to the row stays as it is kept."""
    full = replace(RECORD, judgment_number="J-1")
    row = replace(full, amount=Decimal("90.00"), content_hash=b"new", **{missing: None})  # type: ignore[arg-type]

    decision = decide(row, known(full))

    assert decision.outcome == "updated"
    assert decision.changed_fields == ("amount",)
    assert getattr(decision.facts, missing) == getattr(full, missing)


def test_a_row_that_knows_the_court_fills_it_in() -> None:
    """A judgment kept without its court gets it from a later row with the same parties."""
    decision = decide(RECORD, known(NO_COURT))

    assert decision.outcome == "updated"
    assert decision.changed_fields == ("court_id",)
    assert decision.facts.court_id == "supreme:kings"


def test_a_row_with_its_court_is_not_taken_for_another_case_of_unknown_court() -> None:
    """The same index number with other parties may be a case of another court."""
    decision = decide(replace(RECORD, **OTHER_DEBTOR), known(NO_COURT))  # type: ignore[arg-type]

    assert (decision.outcome, decision.is_new) == ("loaded", True)


def test_a_row_without_court_and_with_other_parties_is_reviewed() -> None:
    """Nobody can tell whether it is the same case."""
    decision = decide(replace(NO_COURT, **OTHER_DEBTOR), known(RECORD))  # type: ignore[arg-type]

    assert (decision.outcome, decision.code) == ("review", "IDENTITY_AMBIGUOUS")


def test_two_candidates_are_reviewed() -> None:
    """A row without court could be either of two judgments, even if the parties agree."""
    civil = replace(RECORD, court_id="nyc_civil:kings")

    decision = decide(NO_COURT, known(RECORD, 1), known(civil, 2))

    assert (decision.outcome, decision.code) == ("review", "IDENTITY_AMBIGUOUS")
    assert decision.judgment_id is None


def test_the_same_unknown_is_the_same_judgment() -> None:
    """A row without court is the judgment kept without court, though another court has one too."""
    decision = decide(NO_COURT, known(NO_COURT, 1), known(RECORD, 2))

    assert (decision.outcome, decision.judgment_id) == ("unchanged", UUID(int=1))


@pytest.mark.parametrize(
    "part",
    [{"court_id": "supreme:queens"}, {"county_fips": "36081"}, {"state": "CA"}],
)
def test_what_both_sides_know_tells_them_apart(part: dict[str, str]) -> None:
    """Another court, county or state is another judgment."""
    assert decide(replace(RECORD, **part), known(RECORD)).is_new  # type: ignore[arg-type]


def test_another_judgment_number_is_another_judgment() -> None:
    """One case may have several judgments."""
    kept = known(replace(RECORD, judgment_number="J-1"))

    assert decide(replace(RECORD, judgment_number="J-2"), kept).is_new


@pytest.mark.parametrize("number", [None, "J-2"])
def test_other_parties_under_one_index_of_one_court_are_a_conflict(number: str | None) -> None:
    """The same court does not give one number to two cases."""
    row = replace(RECORD, judgment_number=number, **OTHER_DEBTOR)  # type: ignore[arg-type]
    kept = known(replace(RECORD, judgment_number=None if number else "J-1"))

    decision = decide(row, kept)

    assert (decision.outcome, decision.code) == ("review", "IDENTITY_CONFLICT")


def test_a_reference_that_moved_is_reviewed() -> None:
    """The vendor's reference names another judgment than the row does."""
    row = replace(RECORD, source_reference="L-1", content_hash=b"new")
    holder = known(replace(RECORD, index_key="|9|2019|", source_reference="L-1"), 7)

    decision = decide(row, holder)

    assert (decision.outcome, decision.code) == ("review", "SOURCE_REF_MOVED")


def test_a_reference_means_something_only_in_its_own_source() -> None:
    """Another vendor's equal reference is no conflict, and is not taken over."""
    row = replace(RECORD, source_reference="L-1", amount=Decimal(1), content_hash=b"new")
    kept = known(replace(RECORD, source_reference="F-9"), source_system="foil")

    decision = decide(row, kept)

    assert decision.outcome == "updated"
    assert decision.changed_fields == ("amount",)
    assert decision.facts.source_reference == "F-9"


def test_two_plaintiffs_of_one_name_are_reviewed() -> None:
    """A person says which of them is meant."""
    plaintiffs = {"harbor lending llc": (UUID(int=1), UUID(int=2))}

    decision = decide(RECORD, plaintiffs=plaintiffs)

    assert (decision.outcome, decision.code) == ("review", "PLAINTIFF_AMBIGUOUS")
    assert not decision.is_new


def test_a_known_plaintiff_is_not_made_again() -> None:
    """One plaintiff of this name is the plaintiff."""
    matcher = Matcher("simplicity", [], {"harbor lending llc": (UUID(int=5),)}, {}, new_id)

    decision = matcher.decide(validated(RECORD), RECORD)

    assert decision.plaintiff_id == UUID(int=5)
    assert matcher.new_plaintiffs == {}


def test_a_row_to_be_looked_at_changes_nothing() -> None:
    """Validation's doubt keeps a change from being written."""
    row = replace(RECORD, amount=Decimal(99), content_hash=b"new")

    decision = decide(row, known(RECORD), severity="review")

    assert (decision.outcome, decision.code) == ("review", "HELD_FIELDS")


def test_later_rows_know_what_earlier_rows_made() -> None:
    """A row without court after its twin with court is a duplicate, or a disagreement."""
    matcher = Matcher("simplicity", [], {}, {}, counting())
    first = matcher.decide(validated(RECORD, 1), RECORD)

    same = matcher.decide(validated(NO_COURT, 2), NO_COURT)
    dearer = replace(NO_COURT, amount=Decimal(5))
    disagreeing = matcher.decide(validated(dearer, 3), dearer)

    assert (same.outcome, same.first_row_no) == ("duplicate", 1)
    assert same.judgment_id == first.judgment_id
    assert (disagreeing.outcome, disagreeing.code) == ("review", "ROWS_DISAGREE")


def test_an_updated_judgment_is_known_by_its_new_identity() -> None:
    """After a row has filled in the court, the next one meets it there."""
    matcher = Matcher("simplicity", [known(NO_COURT)], {}, {}, new_id)
    matcher.decide(validated(RECORD, 1), RECORD)
    dearer = replace(RECORD, amount=Decimal(5), content_hash=b"dearer")

    decision = matcher.decide(validated(dearer, 2), dearer)

    assert (decision.outcome, decision.judgment_id) == ("review", UUID(int=1))


def test_every_reason_for_a_review_has_its_sentence() -> None:
    """Whoever opens the task reads what to do."""
    assert all(text.endswith(".") for text in REVIEW_SENTENCES.values())


def test_new_ids_sort_by_time() -> None:
    """Keys drawn later are larger once the clock has moved, and are RFC 9562 version 7."""
    ids = [new_id() for _ in range(50)]

    assert {(one.version, one.variant) for one in ids} == {(7, "specified in RFC 4122")}
    assert [one.int >> 80 for one in ids] == sorted(one.int >> 80 for one in ids)
    assert len(set(ids)) == 50


class _Counting:
    def __init__(self) -> None:
        self._numbers: Iterator[int] = count(1)

    def __call__(self) -> UUID:
        return UUID(int=next(self._numbers))


def counting() -> _Counting:
    return _Counting()
