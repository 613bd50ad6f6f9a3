"""One look over a whole file before any of its rows is kept, and then its rows in chunks."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from anyio import to_thread

from dragonfly.judgments.batches import Structure
from dragonfly.judgments.formats import Layout, recognise, without_withheld
from dragonfly.judgments.reading import open_export
from dragonfly.judgments.records import RawRow
from dragonfly.judgments.validation import decide_dates


@dataclass(frozen=True, slots=True)
class Survey:
    """What one reading of a file told: its layout, and what is kept of it with the batch."""

    layout: Layout
    structure: Structure


class _Fingerprint:
    """Passes rows through, counting them and hashing what they say."""

    def __init__(self, layout: Layout) -> None:
        self.count = 0
        self._digest = hashlib.sha256(layout.fingerprint)

    def watch(self, rows: Iterable[RawRow]) -> Iterator[RawRow]:
        for row in rows:
            self.count += 1
            # blanks, quotes and line ends are what a spreadsheet changes when it saves a file anew
            text = "\x1f".join(cell.strip() for cell in row.cells).rstrip("\x1f")
            self._digest.update(text.encode() + b"\x1e")
            yield row

    def sha256(self) -> bytes:
        return self._digest.digest()


def survey(spool: Path) -> Survey:
    """Read the whole file once. Blocking: call it in a thread.

    Raises InputRefused for everything that makes the file as a whole unfit.
    """
    with open_export(spool) as export:
        layout = recognise(export.header)
        fingerprint = _Fingerprint(layout)
        dates = decide_dates(layout, fingerprint.watch(export))
        structure = Structure(
            header=export.header,
            header_fingerprint=layout.fingerprint,
            format_id=layout.format_id,
            encoding=export.encoding,
            encoding_guessed=export.encoding_guessed,
            delimiter=export.delimiter,
            rows_total=fingerprint.count,
            content_sha256=fingerprint.sha256(),
            date_formats=dates.to_json(),
        )
    return Survey(layout, structure)


async def read_chunks(spool: Path, layout: Layout, size: int) -> AsyncGenerator[list[RawRow]]:
    """The file's rows as they may be kept, read in a thread ``size`` at a time."""
    with ExitStack() as stack:
        # opening looks through the whole file for its encoding
        export = await to_thread.run_sync(stack.enter_context, open_export(spool))
        rows = (without_withheld(row, layout) for row in export)
        while chunk := await to_thread.run_sync(lambda: list(islice(rows, size))):
            yield chunk
