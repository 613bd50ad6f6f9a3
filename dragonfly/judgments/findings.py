"""One row under examination: its cells by field, and what was found wrong with them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Final, TypeVar

from dragonfly.errors import InputRefused
from dragonfly.judgments.cells import clean, column_letters, value_of
from dragonfly.judgments.dates import DateColumn
from dragonfly.judgments.formats import Layout, normalise_header
from dragonfly.judgments.reading import MAX_CELL
from dragonfly.judgments.records import Finding, RawRow, Severity

T = TypeVar("T")

_TOTAL: Final = re.compile(r"(?:grand |sub ?)?totals?:?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class DateDecisions:
    """What only the whole file can tell: how each column prints dates, which columns are all blank.

    ``columns`` is by field; ``all_blank`` names required fields without a value in any row.
    """

    columns: Mapping[str, DateColumn]
    all_blank: frozenset[str] = frozenset()

    def notes(self) -> dict[str, str]:
        """What to tell about the columns' dates, such as ``date_order=assumed_mdy``, by field."""
        return {
            field: f"date_order={'assumed_' if column.assumed else ''}{column.style}"
            for field, column in self.columns.items()
        }

    def to_json(self) -> str:
        """JSON text from which ``from_json`` makes the same decisions."""
        columns = {field: asdict(column) for field, column in self.columns.items()}
        return json.dumps({"columns": columns, "all_blank": sorted(self.all_blank)})

    @classmethod
    def from_json(cls, text: str) -> DateDecisions:
        kept = json.loads(text)
        columns = {field: DateColumn(**column) for field, column in kept["columns"].items()}
        return cls(columns, frozenset(kept["all_blank"]))


class ExaminedRow:
    """One row on its way: its cells by field, and the findings so far."""

    __slots__ = ("_header", "_layout", "_raw", "cells", "dates", "findings", "today")

    def __init__(
        self,
        raw: RawRow,
        layout: Layout,
        header: Sequence[str],
        dates: DateDecisions,
        today: date,
    ) -> None:
        self._raw = raw
        self._layout = layout
        self._header = header
        self.cells = raw.cells
        self.dates = dates
        self.today = today
        self.findings: list[Finding] = []

    def has(self, field: str) -> bool:
        return field in self._layout.columns

    def cell(self, field: str) -> str:
        position = self._layout.columns.get(field)
        return "" if position is None else self.cells[position]

    def text(self, field: str) -> str | None:
        """What the cell says, or None where it is blank or stands for nothing."""
        position = self._layout.columns.get(field)
        return None if position is None else value_of(self.cells[position])

    def find(
        self, severity: Severity, code: str, message: str, field: str | int | None = None
    ) -> None:
        """Note something about the row, or about the cell of a field or position."""
        position = self._layout.columns.get(field) if isinstance(field, str) else field
        column = cell = None
        if position is not None:
            column = self._header[position] if position < len(self._header) else None
            cell = f"{column_letters(position)}{self._raw.row_no + 1}"
        self.findings.append(Finding(code, message, severity, column or None, cell))

    def parse(self, field: str, parser: Callable[[str], T]) -> T | None:
        """What the parser makes of the cell; its refusal rejects the row."""
        text = self.text(field)
        if text is None:
            return None
        try:
            return parser(text)
        except InputRefused as refusal:
            self.find("reject", refusal.code, refusal.message, field)
            return None

    def missing(self, field: str, code: str, what: str) -> None:
        """Reject the row because a field without which there is no judgment says nothing."""
        if field in self.dates.all_blank:
            code, why = "ALL_BLANK", f"The column of {what} is blank in every row; export it again."
        elif clean(self.cell(field)):
            why = (
                f"The cell holds a word for nothing where {what} should stand; write the true value"
                " (if that word is somebody's name, write the full name)."
            )
        else:
            why = f"There is no {what.removeprefix('the ')}; fill it in from the court's record."
        self.find("reject", code, why, field)

    def warn_of_unnamed_columns(self) -> None:
        """Note cells that say something under a column without a name: they are not read."""
        for position, name in enumerate(self._header):
            if not name and position < len(self.cells) and self.cells[position].strip():
                self.find(
                    "warning",
                    "UNNAMED_COLUMN",
                    "The cell's column has no name, so the cell is not read; name the column.",
                    position,
                )

    def is_unreadable(self) -> bool:
        """Whether the row is no judgment at all; the one finding that says so is noted."""
        self._find_oversized()
        if self.findings:
            return True
        filled = [cell.strip() for cell in self.cells if cell.strip()]
        if filled and _TOTAL.fullmatch(filled[0]):
            self.find(
                "reject",
                "NO_INDEX_NUMBER",
                "This looks like a total row, not a judgment; leave it out of the file.",
                "index_number",
            )
        elif self._repeats_header():
            self.find(
                "reject",
                "HEADER_REPEATED",
                "The header stands here once more, as in files put together; leave this row out.",
            )
        else:
            self._find_field_count()
        return bool(self.findings)

    def _find_oversized(self) -> None:
        for position, cell in enumerate(self.cells):
            if len(cell) > MAX_CELL:
                alone = len(self.cells) == 1
                self.find(
                    "reject",
                    "CELL_TOO_LARGE",
                    f"A cell has more than {MAX_CELL:,} characters; shorten it.",
                    None if alone else position,
                )

    def _repeats_header(self) -> bool:
        key = self._layout.header_key
        first = self.cells[0]
        return normalise_header(first) == key[0] and key == tuple(
            normalise_header(cell) for cell in self.cells[: len(key)]
        )

    def _find_field_count(self) -> None:
        """Cells are never shifted; blank ones behind the last named column do not matter."""
        expected, got = len(self._header), len(self.cells)
        extra = [i for i in range(expected, got) if self.cells[i].strip()]
        if extra or got < len(self._layout.header_key):
            quotes = got == 1 and '"' in self.cells[0]
            hint = (
                'a quotation mark inside the text must be doubled ("")'
                if quotes
                else "a comma inside a value needs quotation marks around the value"
            )
            self.find(
                "reject",
                "FIELD_COUNT",
                f"The row has {got} fields where the header has {expected}: expected {expected} got"
                f" {got}; {hint}.",
            )
