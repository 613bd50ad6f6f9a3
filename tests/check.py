"""Runs what CI runs: ``python -m tests.check``; ``--fix`` first mends what a tool can mend."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
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
    "layers": (shutil.which("lint-imports", path=_HERE) or "lint-imports",),
    # what claims, finishes, migrates and loads, by a role that merely owns its database
    "ordinary": (
        *(*_PYTHON, "pytest", "-q", "--numprocesses", "2", "--role", "ordinary"),
        *("tests/queue/test_claim.py", "tests/queue/test_schedules.py"),
        *("tests/runtime/test_transactions.py", "tests/intake/test_workers.py"),
    ),
}
# the longest of them keeps one processor busy, so it runs beside the others
TYPES = (*_PYTHON, "mypy")
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
    with ThreadPoolExecutor(1) as beside:
        types = beside.submit(_keeps_to_its_types)
        failed = [name for name, command in CHECKS.items() if not _run(name, command)]
        if not asked.pytest and not _is_fit_for_a_pooler():
            failed.append("pooler")
        said, passed = types.result()
    _say(said)
    if not passed:
        failed.append("types")
    if failed:
        _say(f"failed so far: {', '.join(failed)}")
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


def _keeps_to_its_types() -> tuple[str, bool]:
    """What mypy said, and its line; kept until nobody else is talking."""
    start = time.monotonic()
    done = subprocess.run(TYPES, cwd=ROOT, capture_output=True, text=True, check=False)
    passed = done.returncode == 0
    return f"{done.stdout}{done.stderr}{_line('types', passed, start)}", passed


def _run(name: str, command: tuple[str, ...]) -> bool:
    """Run one step and print its line."""
    start = time.monotonic()
    passed = _passes(command)
    _say(_line(name, passed, start))
    return passed


def _line(name: str, passed: bool, start: float) -> str:
    """The step's name, how it went, seconds."""
    return f"{name:<12} {'ok' if passed else 'FAILED':<7} {time.monotonic() - start:5.1f} s"


def _passes(command: tuple[str, ...], variables: Mapping[str, str] | None = None) -> bool:
    environment = os.environ | (variables or {})
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
