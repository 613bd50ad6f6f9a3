"""Each promise of docs/guarantees.md is one sentence, held by tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENT = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
_TABLE = re.compile(r"^\| promise \| held by \|\n\|---\|---\|\n((?:\|.+\|\n)+)", re.MULTILINE)
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
ROWS = [
    tuple(cell.strip() for cell in row.strip("|").split("|"))
    for table in _TABLE.findall(DOCUMENT)
    for row in table.splitlines()
]
SUBJECTS = [
    "No job is lost",
    "Nothing happens twice",
    "A job that kills its process is found out",
    "A handler harms its own job only",
    "A deployment loses no attempt",
    "A database in trouble costs no job and no restart",
    "Clocks of workers do not matter",
    "No secret leaves",
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row[0])[:40])
def test_each_promise_is_held(row: tuple[str, ...]) -> None:
    """A row is one sentence and the tests that hold it, each of which is there."""
    promise, holders = row
    named = _TEST.findall(holders)
    assert re.fullmatch(r"[A-Z](?:[^.]|\.(?=\w))*\.", promise), "not one sentence"
    assert named
    assert "" == re.sub(r"[\s,]", "", _TEST.sub("", holders))
    assert [] == [f"{path}::{name}" for path, name in named if name not in _tests_of(path)]


def test_each_subject_has_promises() -> None:
    """Every subject of the document has its table."""
    parts = dict(
        zip(*[iter(re.split(r"^## (.+)\n", DOCUMENT, flags=re.MULTILINE)[1:])] * 2, strict=True)
    )
    assert SUBJECTS == [subject for subject in parts if _TABLE.search(parts[subject])]


def _tests_of(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in tree.body if isinstance(node, functions)}
