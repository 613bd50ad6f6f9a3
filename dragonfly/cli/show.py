"""How commands show what they found: tables on a terminal, plain ASCII elsewhere, or JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click

from dragonfly.redaction import printable


def show_json(value: Any) -> None:
    """One line of JSON; times and identifiers as text."""
    click.echo(json.dumps(value, default=str))


def show_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    nothing: str,
    *,
    numbers: bool = False,
) -> None:
    """A table of short values; ``nothing`` is said when there is no row.

    With ``numbers`` all columns after the first are set to the right.
    """
    texts = [["" if value is None else str(value) for value in row] for row in rows]
    if not texts:
        click.echo(nothing)
    elif sys.stdout.isatty():
        _on_terminal(columns, texts, numbers=numbers)
    else:
        _plain(columns, texts, numbers=numbers)


def _on_terminal(columns: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: bool) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=box.SIMPLE, safe_box=True)
    if numbers:
        table.padding = (0, 1, 0, 0)
        for place, column in enumerate(table.columns[1:], 1):
            # a narrow terminal may break a heading, but no number
            column.justify, column.min_width = "right", max(len(row[place]) for row in rows)
    for row in rows:
        # as text: what looks like markup in an error is none
        table.add_row(*(Text(printable(cell)) for cell in row))
    Console(highlight=False).print(table)


def _plain(columns: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: bool) -> None:
    lines = [[_ascii(cell) for cell in line] for line in (columns, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [
            cell.rjust(width) if numbers and place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        click.echo("  ".join(cells).rstrip())


def say(sentence: str, *, err: bool = False) -> None:
    """A sentence that any console can show."""
    click.echo(_ascii(sentence), err=err)


def _ascii(text: str) -> str:
    line = printable(" ".join(text.split())).replace("…", "...")
    return line.encode("ascii", "backslashreplace").decode()
