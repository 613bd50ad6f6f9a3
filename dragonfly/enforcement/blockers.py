"""Every reason to wait, by code: the gate, a sentence, the statute, and what clears it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

_POLICY = "firm policy"


@dataclass(frozen=True, slots=True)
class Notice:
    """One code in words; ``waits_for_data`` means a fact is missing, not a paper or a right."""

    gate: str
    text: str
    statute: str
    clear_by: str
    waits_for_data: bool = False


@dataclass(frozen=True, slots=True)
class Blocker:
    """One reason why kinds of action must wait, worded for the person who can clear it.

    ``blocks`` are action types; with a ``target_key`` only those aimed there.
    """

    code: str
    notice: Notice
    text: str
    blocks: frozenset[str]
    target_key: str | None = None

    @property
    def waits_for_data(self) -> bool:
        return self.notice.waits_for_data

    def holds(self, action_type: str, target_key: str) -> bool:
        """True if this stands before such an action."""
        return action_type in self.blocks and self.target_key in {None, target_key}


def block(
    code: str, blocks: frozenset[str], target_key: str | None = None, **words: str
) -> Blocker:
    """A blocker in the words of the catalogue; ``words`` fill the places its text leaves open."""
    notice = CATALOGUE[code]
    return Blocker(code, notice, notice.text.format(**words), blocks, target_key)


CATALOGUE: Mapping[str, Notice] = MappingProxyType(
    {
        "DUPLICATE": Notice(
            "G1",
            "The judgment is marked as a duplicate of another.",
            _POLICY,
            "Decide which record stays and merge them.",
        ),
        "OUT_OF_STATE": Notice(
            "G1",
            "The judgment is not one of a New York court.",
            "CPLR art. 54",
            "File it in New York as a foreign judgment.",
        ),
        "COURT_UNKNOWN": Notice(
            "G1",
            "The court of the judgment is not known.",
            "CPLR 5222(a), 5230(a)",
            "Enter the court from the judgment itself.",
            waits_for_data=True,
        ),
        "COUNTY_UNKNOWN": Notice(
            "G1",
            "The county of the judgment is not known.",
            "CPLR 5018(a)",
            "Enter the county from the judgment itself.",
            waits_for_data=True,
        ),
        "NO_DEBTOR": Notice(
            "G1",
            "No judgment debtor is known.",
            "CPLR 5201",
            "Enter the debtor from the judgment itself.",
            waits_for_data=True,
        ),
        "STATUS_SATISFIED": Notice(
            "G2",
            "The judgment is satisfied.",
            "CPLR 5020",
            "Upload a court paper that says otherwise.",
        ),
        "STATUS_VACATED": Notice(
            "G2",
            "The judgment was vacated.",
            "CPLR 5015",
            "Upload the order that reinstates it.",
        ),
        "STATUS_STAYED": Notice(
            "G2",
            "A court has stayed enforcement.",
            "CPLR 2201, 5519",
            "Upload the order that lifts the stay.",
        ),
        "STATUS_DISCHARGED": Notice(
            "G2",
            "The debt was discharged in bankruptcy.",
            "11 USC 524",
            "Have an attorney confirm that the debt survived the discharge.",
        ),
        "STATUS_EXPIRED": Notice(
            "G2",
            "The judgment is recorded as expired.",
            "CPLR 211(b)",
            "Upload a court paper that says otherwise.",
        ),
        "STATUS_ON_HOLD": Notice(
            "G2",
            "A person has put the judgment on hold.",
            _POLICY,
            "Lift the hold.",
        ),
        "BANKRUPTCY_STAY": Notice(
            "G3",
            "A debtor is in bankruptcy; the automatic stay forbids every step.",
            "11 USC 362",
            "Upload the order of dismissal or of relief from the stay.",
        ),
        "BANKRUPTCY_DISCHARGED": Notice(
            "G3",
            "A debtor was discharged in bankruptcy.",
            "11 USC 524",
            "Have an attorney confirm that the debt survived the discharge.",
        ),
        "ENTRY_DATE_UNKNOWN": Notice(
            "G4",
            "The day of entry is not known, so neither interest nor the amount due can be stated.",
            "CPLR 5003, 5004, 5230(a)",
            "Enter the day of entry from the court's record.",
            waits_for_data=True,
        ),
        "ENTRY_DATE_FUTURE": Notice(
            "G4",
            "The day of entry lies after the day of this plan.",
            "CPLR 5003",
            "Correct the day of entry from the court's record.",
            waits_for_data=True,
        ),
        "RATE_UNKNOWN": Notice(
            "G4",
            "The rate of interest in force at entry is not on file.",
            "CPLR 5004",
            "Check the day of entry, or add the rate to civil.legal_parameters.",
            waits_for_data=True,
        ),
        "LIFE_ENDED": Notice(
            "G4",
            "The judgment is presumed paid: twenty years have run without a payment.",
            "CPLR 211(b)",
            "Record a payment or a signed acknowledgment made within the twenty years.",
        ),
        "AUTHORITY_REVOKED": Notice(
            "G5",
            "The creditor has withdrawn the firm's authority.",
            _POLICY,
            "Obtain a new letter of authority.",
        ),
        "ASSIGNMENT_NOT_FILED": Notice(
            "G5",
            "The assignment has not been filed with the clerk.",
            "CPLR 5019(c)",
            "File the assignment with the clerk and record the day.",
        ),
        "NO_AUTHORITY": Notice(
            "G5",
            "There is neither a letter of authority nor a filed assignment.",
            "CPLR 5019(c)",
            "Obtain the letter of authority and the fee agreement, or the assignment.",
        ),
        "DATE_SEQUENCE": Notice(
            "G6",
            "Filing, judgment and entry do not follow one another.",
            "CPLR 5011, 5016",
            "Correct the days from the court's record.",
        ),
        "NOT_VERIFIED": Notice(
            "G6",
            "Nobody has checked the judgment against the court's record.",
            _POLICY,
            "Confirm amount, days, parties and index number against the record.",
        ),
        "CONSUMER_UNKNOWN": Notice(
            "G7",
            "Whether this is consumer debt is not known, so neither is the rate of interest.",
            "CPLR 5004",
            "Classify the debt from the complaint.",
            waits_for_data=True,
        ),
        "DEBTOR_KIND_UNKNOWN": Notice(
            "G7",
            "Whether the debtor is a natural person is not known.",
            "CPLR 5004, 5222(i)",
            "Say whether the debtor is a person or a company.",
            waits_for_data=True,
        ),
        "CLASSIFICATION_CONFLICT": Notice(
            "G7",
            "Consumer debt needs a debtor who is a natural person.",
            "CPLR 5004(b)",
            "Correct the class of the debt or the kind of the debtor.",
        ),
        "DISPUTED": Notice(
            "G8",
            "The debtor disputes the debt.",
            "15 USC 1692g",
            "Send the verification of the debt and record it.",
        ),
        "CEASE_REQUEST": Notice(
            "G8",
            "The debtor asked not to be contacted.",
            "15 USC 1692c",
            "Only the debtor can lift this.",
        ),
        "ATTORNEY_REPRESENTED": Notice(
            "G8",
            "The debtor is represented by an attorney.",
            "15 USC 1692c",
            "Write to the attorney, or record that the representation ended.",
        ),
        "DECEASED": Notice(
            "G8",
            "A debtor is reported dead.",
            "CPLR 5208",
            "Identify the estate and have an attorney decide.",
        ),
        "MILITARY_ACTIVE": Notice(
            "G9",
            "A debtor is on active military duty.",
            "50 USC 3931",
            "Have an attorney decide; a default judgment may be reopened.",
        ),
        "MILITARY_UNKNOWN": Notice(
            "G9",
            "There is no recent look-up of the debtor's military status.",
            "50 USC 3931",
            "Look the status up and record the result.",
            waits_for_data=True,
        ),
        "EXEMPTION_PACKAGE_MISSING": Notice(
            "G10",
            "The exemption notice and the two claim forms for this account are not rendered.",
            "CPLR 5222-a",
            "Render the package; it is served together with the notice.",
        ),
        "EXEMPT_BELOW_FLOOR": Notice(
            "G11",
            "The account does not exceed what the law exempts, so a restraint has no effect.",
            "CPLR 5222(i), 5205(l)",
            "Bring a newer report that shows more.",
        ),
        "EXEMPT_WAGES": Notice(
            "G11",
            "The earnings leave nothing to withhold.",
            "CPLR 5231(b)",
            "Bring a newer report that shows more.",
        ),
        "EXEMPT_BENEFITS_ONLY": Notice(
            "G11",
            "The debtor lives on exempt benefits alone.",
            "CPLR 5205(l), 31 CFR 212",
            "Bring a newer report that shows other money.",
        ),
        "WAGE_FLOOR_UNKNOWN": Notice(
            "G11",
            "The minimum wage of this year is not on file.",
            "CPLR 5222(i), 5231(b)",
            "Add the minimum wage to civil.legal_parameters.",
            waits_for_data=True,
        ),
        "WAGE_UNKNOWN": Notice(
            "G11",
            "What the debtor earns there is not known.",
            "CPLR 5231(b)",
            "Ask the employer by subpoena, or enter gross and disposable pay.",
            waits_for_data=True,
        ),
        "TRANSCRIPT_MISSING": Notice(
            "G13",
            "The judgment of a lower court is not docketed with its county clerk.",
            "CPLR 5018(a), 5230(a)",
            "File a transcript with the clerk of the county of the court.",
        ),
        "ACTION_OPEN": Notice(
            "G14",
            "An equal paper to the same target is still out.",
            _POLICY,
            "Record its return, or withdraw it.",
        ),
        "SECOND_RESTRAINT": Notice(
            "G14",
            "This person was served with a restraining notice before.",
            "CPLR 5222(c)",
            "Obtain leave of court for a second notice.",
        ),
        "INCOME_EXECUTION_AHEAD": Notice(
            "G14",
            "Another income execution is running.",
            "CPLR 5231",
            "Wait for its return: they are satisfied one after the other.",
        ),
        "COOLING_OFF": Notice(
            "G15",
            "Executions wait until {day}, counted from the last letter.",
            _POLICY,
            "Wait for that day.",
        ),
        "DEMAND_FIRST": Notice(
            "G15",
            "No demand letter has gone to a debtor who can be written to.",
            _POLICY,
            "Send the demand letter and wait for the answer.",
        ),
        "MOCK_INTELLIGENCE": Notice(
            "G18a",
            "A report about this target was made up for a test.",
            "15 USC 1681b",
            "Bring a report from a named source under a permissible purpose.",
        ),
        "UNATTRIBUTED_INTELLIGENCE": Notice(
            "G18a",
            "A report about this target names no source or no permissible purpose.",
            "15 USC 1681b",
            "Bring a report from a named source under a permissible purpose.",
        ),
        "STALE_INTELLIGENCE": Notice(
            "G18",
            "The report about this target is too old for an execution.",
            _POLICY,
            "Refresh the report.",
            waits_for_data=True,
        ),
        "STALE_ADDRESS": Notice(
            "G18",
            "The last known address of the debtor is too old to route an execution.",
            _POLICY,
            "Refresh the address.",
            waits_for_data=True,
        ),
    }
)
