"""Runs what CI runs: ``python -m tests.check``; ``--fix`` first mends what a tool can mend."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.poolers import MODES, VARIABLE

ROOT = Path(__file__).parents[1]
_PYTHON = (sys.executable, "-m")
_HERE = str(Path(sys.executable).parent)

FIXES = {
    "lint": (*_PYTHON, "ruff", "check", "--fix", "--quiet", "."),
    "format": (*_PYTHON, "ruff", "format", "--quiet", "."),
    "env example": (*_PYTHON, "tests.env_example"),
}
# the tests come last, so that pytest's closing line closes the run
CHECKS = {
    "lint": (*_PYTHON, "ruff", "check", "."),
    "format": (*_PYTHON, "ruff", "format", "--check", "."),
    "types": (*_PYTHON, "mypy"),
    "layers": (shutil.which("lint-imports", path=_HERE) or "lint-imports",),
    # what claims, finishes, migrates and loads, by a role that merely owns its database
    "ordinary": (
        *(*_PYTHON, "pytest", "-q", "--numprocesses", "2", "--role", "ordinary"),
        *("tests/queue/test_claim.py", "tests/queue/test_schedules.py"),
        *("tests/runtime/test_transactions.py", "tests/intake/test_workers.py"),
    ),
}
# what a pooler might break: the statements of the queue, and all that holds a session
POOLED = ("tests/queue", "tests/runtime")
POOLED_IN_SHORT = (
    "tests/queue/test_fencing.py",
    "tests/runtime/test_transactions.py",
)


def main() -> int:
    """Run every step, also after one that failed; 1 if any did."""
    parser = argparse.ArgumentParser(prog="python -m tests.check", description=__doc__)
    parser.add_argument("--fix", action="store_true", help="format, and mend what can be mended")
    parser.add_argument(
        "--pooler",
        choices=MODES,
        help="only the tests of the queue and the runtime, through PgBouncer in this mode",
    )
    parser.add_argument("pytest", nargs="*", metavar="PATH", help="only these tests")
    asked = parser.parse_args()
    if asked.pooler:
        return int(not _passes_pooled(asked.pooler, asked.pytest or POOLED))
    if asked.fix:
        for name, command in FIXES.items():
            _run(f"fix {name}", command)
    failed = [name for name, command in CHECKS.items() if not _run(name, command)]
    if failed:
        _say(f"failed so far: {', '.join(failed)}")
    if not asked.pytest and not _is_fit_for_a_pooler():
        failed.append("pooler")
    tests_passed = _passes((*_PYTHON, "pytest", *_pytest_options(), *asked.pytest))
    if failed:
        _say(f"failed: {', '.join(failed if tests_passed else [*failed, 'tests'])}")
    return int(bool(failed) or not tests_passed)


def _is_fit_for_a_pooler() -> bool:
    """A few files in the mode that takes most away; ``--pooler`` runs them all, in either."""
    if shutil.which("pgbouncer") is None and os.environ.get("CI") != "true":
        _say("pooler       left out: PgBouncer is not installed")
        return True
    return _passes_pooled("transaction", POOLED_IN_SHORT)


def _passes_pooled(mode: str, paths: Sequence[str]) -> bool:
    _say(f"through PgBouncer in {mode} mode:")
    return _passes((*_PYTHON, "pytest", *_pytest_options(), *paths), {VARIABLE: mode})


def _pytest_options() -> list[str]:
    options = ["--numprocesses", "2"]
    if os.environ.get("CI") == "true":
        options += ["-p", "tests.no_skips"]
    return options


def _run(name: str, command: tuple[str, ...]) -> bool:
    """Run one step and print its line: its name, how it went, seconds."""
    start = time.monotonic()
    passed = _passes(command)
    _say(f"{name:<12} {'ok' if passed else 'FAILED':<7} {time.monotonic() - start:5.1f} s")
    return passed


def _passes(command: tuple[str, ...], variables: Mapping[str, str] | None = None) -> bool:
    environment = os.environ | (variables or {})
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
