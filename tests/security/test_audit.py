"""The audit of pinned versions tells a flaw from a service that gives no answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import audit


def test_a_flaw_is_told_by_its_package_and_cure() -> None:
    """One line for each known vulnerability, with the version that mends it."""
    flaw = {"id": "PYSEC-1", "fix_versions": ["1.2"], "aliases": [], "description": "…"}
    answer = {"dependencies": [
        {"name": "sound", "version": "1.0", "vulns": []},
        {"name": "ill", "version": "1.1", "vulns": [flaw, flaw | {"fix_versions": []}]},
        {"name": "unknown", "skip_reason": "not found"},
    ], "fixes": []}  # fmt: skip

    assert ["ill 1.1: PYSEC-1, fixed in 1.2", "ill 1.1: PYSEC-1, fixed in no version yet"] == (
        audit.vulnerable(json.dumps(answer))
    )


ILL = """
{"dependencies": [{"name": "x", "version": "1", "vulns": [{"id": "P", "fix_versions": []}]}]}
"""
SKIPPED = '{"dependencies": [{"name": "x", "skip_reason": "not found"}]}'


@pytest.mark.parametrize("answer", ["", "ERROR: no route", "[]", "{}", SKIPPED])
def test_no_answer_is_no_flaw(answer: str) -> None:
    """Without the service nothing is known, and nothing is claimed."""
    assert audit.vulnerable(answer) is None


@pytest.mark.parametrize(
    ("script", "code", "says"),
    [
        ("echo 'cannot connect' >&2; exit 1", 0, "not to be reached"),
        ("""echo '{"dependencies": [{"name": "x", "vulns": []}]}'""", 0, "0 known"),
        (f"echo '{ILL}'; exit 1", 1, "x 1: P"),
    ],
)  # fmt: skip
def test_only_a_flaw_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], script: str, code: int, says: str
) -> None:
    """The step fails for a known vulnerability and for nothing else."""
    program = tmp_path / "pip-audit"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)

    assert code == audit.main([str(program)])
    assert says in capsys.readouterr().out
