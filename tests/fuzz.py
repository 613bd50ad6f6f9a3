"""Feeds the parsers with what nobody would write: ``python -m tests.fuzz --seconds 300``.

Each target takes text or bytes and may raise only what it documents; the suite gives each a few
hundred inputs (tests/security/test_fuzz.py), this command goes on for the time it is given.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from dragonfly.errors import InputRefused
from dragonfly.job import Reject
from dragonfly.judgments.cells import clean, column_letters, has_invisible, value_of
from dragonfly.judgments.dates import DateTally, parse_date
from dragonfly.judgments.encodings import find_encoding
from dragonfly.judgments.formats import FAMILIES, recognise
from dragonfly.judgments.index_numbers import parse_index
from dragonfly.judgments.money import parse_amount
from dragonfly.judgments.names import kind_of, name_key, party, split_names
from dragonfly.judgments.reading import open_export
from dragonfly.redaction import plain_words, printable, redact
from dragonfly.workers import enforcement_engine, ingest_processor, simplicity_ingest

# no input that fits into a cell may take longer; a loaded machine takes ten times what it should
LONGEST_SECONDS = 5.0
TODAY = date(2026, 11, 25)
MARK = "Zq7canary"

_ODD = st.sampled_from(
    ["\0", "\ufeff", "\u202e", "\u200b", "\x1b[2J", "\r", "\r\n", "\n", '"', '""', ",", ";", "|",
     "\t", "'", "\\", "%", "=cmd()", "é", "ǆ", "ﬀ", "٣", "²", "Ⅷ", "𝟗", "İ", "ß", "\xa0", "\u2028",
     MARK]
)  # fmt: skip
_WORDS = st.sampled_from(
    ["$", "USD", "(", ")", "-", "1,234", ".00", "1e5", "12/31/2024", "2024-02-30", "31.12.24",
     "Jan", "25-Jan", "T12:00:00Z", "CV-", "009001", "/20", "NY", "KI", "EF2021-", "et al.",
     " and ", " & ", "d/b/a", "a/k/a", "Inc.", "LLC", "N.A.", "Estate of ", "Smith", "O'Neill",
     "John", "Jr", ", "]
)  # fmt: skip
_PARTS = st.one_of(st.text(max_size=8), _ODD, _WORDS)
CELLS = st.one_of(
    st.text(),
    st.lists(_PARTS, max_size=12).map("".join),
    # what makes a careless expression try every way there is
    st.tuples(_PARTS, st.integers(1, 3000), _PARTS).map(lambda p: (p[0] * p[1])[:20_000] + p[2]),
)
_HEADERS = st.sampled_from(sorted({h for f in FAMILIES for h in f.headers.values()}))
HEADERS = st.lists(st.one_of(_HEADERS, CELLS), max_size=30)
_LINES = st.lists(st.lists(CELLS, max_size=6).map(",".join), max_size=12).map("\n".join)
_ENCODINGS = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252", "latin-1"])
FILES = st.one_of(
    st.binary(max_size=2000),
    st.tuples(_LINES, _ENCODINGS).map(lambda p: p[0].encode(p[1], "replace")),
    st.tuples(_LINES, st.binary(max_size=4), _LINES).map(
        lambda p: p[0].encode(errors="replace") + p[1] + p[2].encode(errors="replace")
    ),
    st.tuples(
        st.sampled_from([b"PK\3\4", b"PK\3\4PK\5\6", b"\x1f\x8b", b"%PDF", b"\xff\xfe", b"<?xml"]),
        st.binary(max_size=300),
    ).map(b"".join),
)
_KEYS = st.sampled_from(
    ["file", "file_path", "store", "bucket", "path", "bytes", "expected_rows", "mode", "batch_id",
     "error_budget_pct", "judgment_id", "as_of", "only", "trigger", "dry_run", "row_nos", "action"]
)  # fmt: skip
_LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), CELLS,
    st.sampled_from([MARK, "a.csv", "drop", "supabase", "2026-01-01", 10**40, "NaN", "1e999"]),
)  # fmt: skip
PAYLOADS = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5), st.dictionaries(st.one_of(_KEYS, CELLS), inner, max_size=6)
    ),
    max_leaves=20,
).map(json.dumps)

_DECODERS = [
    handler.decode
    for worker in (simplicity_ingest.worker, ingest_processor.worker, enforcement_engine.worker)
    for handler in worker.handlers.values()
]


def decode(text: str) -> None:
    """Every payload type of the trade's workers; a refusal never repeats a value."""
    refusals = []
    for decoder in _DECODERS:
        try:
            decoder(text)
        except Reject as refusal:
            refusals.append(refusal)
    assert {"PAYLOAD_INVALID"} >= {refusal.code for refusal in refusals}
    _tell_nothing(*refusals)


def amount(text: str) -> None:
    """Dollars, positive, in cents."""
    parsed = parse_amount(text)
    assert 0 < parsed < Decimal(10) ** 12
    assert -2 == parsed.as_tuple().exponent


def index(text: str) -> None:
    """A key of parts that are found in the print."""
    assert parse_index(text).key.count("|") >= 1


def day(text: str) -> None:
    """A day up to today, in the style of its column, which one cell decides."""
    tally = DateTally()
    tally.add(text)
    column = tally.decide()
    if column is not None:
        assert date(1900, 1, 1) <= parse_date(text, column, TODAY) <= TODAY


def name(text: str) -> None:
    """Keys without blanks around them, and lists whose parts are names."""
    for each in (*split_names(text)[0], clean(text)):
        key = name_key(each)
        assert key == key.strip()
        kind_of(each)
        party(each)


def cell(text: str) -> None:
    """What is clean stays so."""
    assert clean(clean(text)) == clean(text)
    has_invisible(text)
    value_of(text)
    column_letters(len(text))


def header(names: list[str]) -> None:
    """A layout, or a refusal; columns lie within the header."""
    assert all(0 <= at < len(names) for at in recognise(names).columns.values())


def export(content: bytes) -> None:
    """Rows as often as asked, the same each time, and none of their content in a refusal."""
    with tempfile.TemporaryDirectory(prefix="dragonfly-fuzz-") as folder:
        path = Path(folder) / "a.csv"
        path.write_bytes(content)
        find_encoding(path)
        with open_export(path) as opened:
            assert list(islice(opened, 1000)) == list(islice(opened, 1000))


def words(text: str) -> None:
    """One line, without a code, however long the text."""
    told = printable(plain_words(f"{text} {MARK} {text}"))
    assert told.isprintable()
    assert MARK not in told.split()
    redact(text)


Target = tuple[Callable[[Any], None], st.SearchStrategy[Any]]
TARGETS: dict[str, Target] = {
    "payloads": (decode, PAYLOADS),
    "amounts": (amount, CELLS),
    "index numbers": (index, CELLS),
    "dates": (day, CELLS),
    "names": (name, CELLS),
    "cells": (cell, CELLS),
    "headers": (header, HEADERS),
    "exports": (export, FILES),
    "words": (words, CELLS),
}


def feed(target: Callable[[Any], None], given_input: Any) -> None:
    """One input: refused as documented or taken, in time, and nothing told of it."""
    began = time.process_time()
    # a header is told on purpose, so that a person can map it
    refused = None
    try:
        target(given_input)
    except InputRefused as refusal:
        refused = refusal
    if refused is not None and target is not header:
        _tell_nothing(refused)
    assert time.process_time() - began < LONGEST_SECONDS


def _tell_nothing(*refusals: Exception) -> None:
    assert not any(MARK in str(refusal) for refusal in refusals)


def run(target: str, examples: int, number: int | None = None) -> None:
    """Feed the target this many inputs; the first that breaks it is shrunk and raised."""
    function, inputs = TARGETS[target]

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs)
    def fuzz(value: Any) -> None:
        feed(function, value)

    (fuzz if number is None else seed(number)(fuzz))()


def main() -> int:
    """Take turns until the time is over; 1 and the seed if something broke."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0, help="begin with this one")
    asked = parser.parse_args()
    end = time.monotonic() + asked.seconds
    number, broken = asked.seed, 0
    while time.monotonic() < end and not broken:
        for target in TARGETS:
            try:
                run(target, 500, number)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
                broken += 1
                sys.stdout.write(f"{target}, --seed {number}: {type(error).__name__}: {error}\n")
                sys.stdout.write("\n".join(getattr(error, "__notes__", [])) + "\n")
        number += 1
    rounds = number - asked.seed
    sys.stdout.write(f"{rounds} rounds of {len(TARGETS)} targets, {broken} broken\n")
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
