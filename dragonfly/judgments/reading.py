"""Reading an export lazily, row by row, strictly: nothing is shifted, merged or repaired."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Final

from dragonfly.errors import InputRefused
from dragonfly.judgments.cells import clean
from dragonfly.judgments.encodings import Encoding, find_encoding, refuse_other_types
from dragonfly.judgments.records import RawRow

MAX_ROWS: Final = 1_000_000
MAX_COLUMNS: Final = 200
MAX_CELL: Final = 64 * 1024
"""Characters of one cell; a longer one is cut to one more, so that validation rejects its row."""

_MAX_LINE: Final = 1 << 20
_DELIMITERS: Final = (",", ";", "\t", "|")
_SAMPLE: Final = 200


class Export:
    """An opened file: its header, and its rows as often as they are asked for.

    ``header`` has an empty text for each column without a name, those at its end included.

    ``row_no`` of a row is its row in Excel less one (a blank line uses up a number and gives no
    row); ``line_no`` is the physical line, which a line break inside a cell moves on.
    Iterating refuses UNTERMINATED_QUOTE and TOO_MANY_ROWS.
    """

    def __init__(self, path: Path, encoding: Encoding, stack: ExitStack) -> None:
        self._path = path
        self._stack = stack
        self.encoding = encoding.name
        self.encoding_guessed = encoding.guessed
        self.encoding_samples = encoding.samples
        self.delimiter = self._vote()
        self.header = self._header()

    def __iter__(self) -> Iterator[RawRow]:
        rows = self._rows()
        next(rows)
        for count, row in enumerate(rows, start=1):
            if count > MAX_ROWS:
                raise InputRefused(
                    "TOO_MANY_ROWS", f"The file has more than {MAX_ROWS:,} rows; split it."
                )
            yield row

    def _rows(self) -> Iterator[RawRow]:
        """Records that hold something, the header first."""
        for number, (line, cells) in enumerate(_Records(self._open(), self.delimiter)):
            if any(map(str.strip, cells)):
                yield RawRow(number, line, tuple(cells))

    def _open(self) -> io.TextIOWrapper:
        return self._stack.enter_context(
            self._path.open(encoding=self.encoding, errors="strict", newline="")
        )

    def _header(self) -> tuple[str, ...]:
        start = list(islice(self._rows(), 2))
        if len(start) < 2:
            raise InputRefused(
                "EMPTY_FILE", "The file has a header at most and no rows; export it again."
            )
        header = tuple(clean(cell) for cell in start[0].cells)
        named = sum(map(bool, header))
        if named > MAX_COLUMNS:
            raise InputRefused(
                "TOO_MANY_COLUMNS",
                f"The file has {named} columns and at most {MAX_COLUMNS} are read; export only the"
                " judgment's columns.",
            )
        return header

    def _vote(self) -> str:
        """The delimiter with which most of the first records have as many cells as the header."""
        return max(_DELIMITERS, key=self._agreement)

    def _agreement(self, delimiter: str) -> tuple[float, int]:
        widths: list[int] = []
        # what a wrong delimiter makes of the quotes says nothing; the rows are read strictly later
        with suppress(InputRefused):
            for _, cells in islice(_Records(self._open(), delimiter), _SAMPLE):
                if any(cells):
                    widths.append(len(cells))
        if not widths or widths[0] < 2:
            return (0.0, 0)
        return (Counter(widths)[widths[0]] / len(widths), widths[0])


@contextmanager
def open_export(path: Path) -> Iterator[Export]:
    """Open a local CSV whose bytes no longer change.

    Refusals: EMPTY_FILE, FILE_TOO_LARGE, FILE_TYPE, NUL_BYTES, ENCODING_MIXED, ENCODING_UNKNOWN,
    TOO_MANY_COLUMNS, UNTERMINATED_QUOTE. A file that cannot be opened raises OSError.
    """
    refuse_other_types(path)
    encoding = find_encoding(path)
    with ExitStack() as stack:
        yield Export(path, encoding, stack)


class _LineTooLongError(Exception):
    """A physical line of more characters than are ever held."""


class _Lines:
    """Physical lines for the csv module, counted, with those of the present record kept."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text
        self.count = 0
        self.ended = False
        self.record: list[str] = []

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._text.readline(_MAX_LINE)
        if not line:
            self.ended = True
            raise StopIteration
        self.count += 1
        self.record.append(line)
        if len(line) == _MAX_LINE and not line.endswith(("\n", "\r")):
            raise _LineTooLongError
        return line

    def rest_of_line(self) -> Iterator[str]:
        """What a line too long to be held still has, piece by piece."""
        while piece := self._text.readline(_MAX_LINE):
            yield piece
            if piece.endswith(("\n", "\r")):
                return


class _Records:
    """Logical records with the line each starts on; one that is broken becomes a single cell."""

    def __init__(self, text: io.TextIOWrapper, delimiter: str) -> None:
        self._lines = _Lines(text)
        self._delimiter = delimiter
        self._reader = csv.reader(self._lines, delimiter=delimiter, strict=True)

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        lines = self._lines
        while True:
            start = lines.count + 1
            lines.record.clear()
            try:
                cells = next(self._reader)
            except StopIteration:
                return
            except _LineTooLongError:
                cells = self._skip_oversized(start)
            except csv.Error:
                cells = self._mend_position(start)
            if sum(map(len, lines.record)) > MAX_CELL:
                cells = [cell[: MAX_CELL + 1] for cell in cells]
            yield start, cells

    def _mend_position(self, start: int) -> list[str]:
        """A quote that is not closed properly is one broken line, or the end of all certainty."""
        if self._lines.ended:
            raise _unterminated(start)
        if sum(map(len, self._lines.record)) > csv.field_size_limit():
            return self._skip_oversized(start)
        if self._lines.count > start:
            raise _unterminated(start)
        return ["".join(self._lines.record)]

    def _skip_oversized(self, start: int) -> list[str]:
        """Go on to the end of the record without holding it."""
        lines = self._lines
        quotes = _Quotes(self._delimiter)
        for line in lines.record:
            quotes.feed(line)
        kept = "".join(lines.record)[: MAX_CELL + 1]
        if not quotes.line_ended:
            self._follow_line(quotes)
        while quotes.open:
            lines.record.clear()
            try:
                quotes.feed(next(lines))
            except _LineTooLongError:
                quotes.feed(lines.record[-1])
                self._follow_line(quotes)
            except StopIteration:
                raise _unterminated(start) from None
        if quotes.broken and lines.count > start:
            raise _unterminated(start)
        return [kept]

    def _follow_line(self, quotes: _Quotes) -> None:
        for piece in self._lines.rest_of_line():
            quotes.feed(piece)


class _Quotes:
    """Follows quotation marks through a record as the csv module would, holding nothing."""

    def __init__(self, delimiter: str) -> None:
        self._delimiter = delimiter
        self._at_start = True
        self._just_closed = False
        self.open = False
        self.broken = False
        self.line_ended = False

    def feed(self, piece: str) -> None:
        """Go through one more piece of the record."""
        at = 0
        while at < len(piece):
            if self.open:
                closing = piece.find('"', at)
                if closing < 0:
                    break
                self.open, self._just_closed = False, True
                at = closing + 1
            elif piece[at] == '"' and (self._at_start or self._just_closed):
                self.open, self._at_start = True, False
                at += 1
            else:
                if self._just_closed and piece[at] not in (self._delimiter, "\r", "\n"):
                    self.broken = True
                self._just_closed = False
                following = piece.find(self._delimiter, at)
                self._at_start = following >= 0
                at = following + 1 if following >= 0 else len(piece)
        self.line_ended = piece.endswith(("\n", "\r"))


def _unterminated(line: int) -> InputRefused:
    return InputRefused(
        "UNTERMINATED_QUOTE",
        f"The quotation mark opened in the record of line {line} is not closed; close it, or double"
        ' each " that belongs to the text.',
    )
