"""The demonstration: what a newcomer sees first, to the last figure."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What ``dragonfly demo`` prints, run as a user would in an empty folder."""
    return _demo(tmp_path_factory.mktemp("empty"))


def _demo(folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "dragonfly", "demo"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (0, "") == (done.returncode, done.stderr), done.stdout
    assert [] == list(folder.iterdir())
    return done.stdout


def _counts(table: str) -> dict[str, int]:
    """The last column of a printed table by its first ones."""
    rows = re.findall(r"^\| ([a-z][\w ]+\S) +\| ([a-z ]+\S) +\| +(\d+) \|$", table, re.MULTILINE)
    return {f"{first.strip()}: {second.strip()}": int(count) for first, second, count in rows}


def test_every_row_is_accounted_for(shown: str) -> None:
    """Of the bundled export's rows each has one outcome, and they add up."""
    assert (
        "Rows: 420 in the file: 393 loaded, 0 updated, 0 unchanged, 1 duplicate, "
        "20 rejected, 6 review." in shown
    )


def test_rejects_name_row_cell_and_reason(shown: str) -> None:
    """Each rejected row is shown with the row and cell that Excel shows, and a reason."""
    rejects = re.findall(r"^\| (\d+) +\| ([A-Z]+\d+)? +\| ([A-Z_]+) +\|", shown, re.MULTILINE)

    assert 20 == len(rejects)
    assert ("177", "F177", "AMOUNT_MISSING") in rejects
    assert all(
        not cell or cell.lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ") == row for row, cell, _ in rejects
    )


def test_the_second_delivery_is_a_duplicate(shown: str) -> None:
    """The same file by another door loads nothing."""
    assert "The second delivery of the same file: duplicate." in shown


def test_each_judgment_has_one_plan(shown: str) -> None:
    """As many plans stand as judgments were loaded, whatever their outcome."""
    found = re.search(r"Plans: 393, one for each judgment: (.+)\.", shown)

    assert found is not None
    outcomes = {name: int(count) for count, name in re.findall(r"(\d+) (\w+)", found[1])}
    assert 393 == sum(outcomes.values())
    assert {"blocked", "planned"} <= outcomes.keys()
    assert 263 <= outcomes["blocked"]


def test_actions_by_kind(shown: str) -> None:
    """What is unconfirmed is blocked; what the clerk confirmed leads to papers that await a hand.

    How many liens are due for renewal depends on the day, so only the kinds are fixed.
    """
    actions = {k: n for k, n in _counts(shown).items() if "completed" not in k}

    assert {
        "information subpoena: blocked",
        "asset search: blocked",
        "information subpoena: awaiting signature",
        "asset search: planned",
        "income execution: awaiting signature",
        "property execution: awaiting signature",
        "restraining notice: awaiting signature",
    } <= actions.keys()
    assert actions["asset search: blocked"] >= 263


def test_jobs_by_worker(shown: str) -> None:
    """All three workers worked, and no job failed."""
    assert {
        "enforcement_engine: completed": 523,
        "ingest_processor: completed": 1,
        "simplicity_ingest: completed": 1,
    } == {k: n for k, n in _counts(shown).items() if "completed" in k}


def test_it_is_plain_ascii_away_from_a_terminal(shown: str) -> None:
    """What a pipe receives is ASCII, and tells where to look next."""
    assert shown.isascii()
    assert "dragonfly run --workers all" in shown


def test_it_runs_twice(shown: str, tmp_path: Path) -> None:
    """A second run says the same, but for the seconds it took."""
    again = _demo(tmp_path)

    assert re.sub(r"[\d.]+ s\.", "", shown) == re.sub(r"[\d.]+ s\.", "", again)
