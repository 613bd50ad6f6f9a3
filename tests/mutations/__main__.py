"""Takes one safeguard at a time away and shows which test notices: ``python -m tests.mutations``.

Each mutation changes a copy of the package; only the tests it names are run on it, and at least one
of them must fail. A survivor is a promise that nobody holds: the command ends with 1.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from dragonfly.postgres.embedded import embedded_server, quick_folder
from tests.mutations.catalogue import MUTATIONS, Mutation

ROOT = Path(__file__).parents[2]
LONGEST_SECONDS = 300
# what a mutation uses that the file lacks
_EXTRA = {"next(_TOKENS)": "\nimport itertools\n_TOKENS = itertools.count(1)\n"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """``killer`` is the test that failed, or None."""

    mutation: Mutation
    killer: str | None
    seconds: float


def judge(mutation: Mutation, server: str) -> Verdict:
    """Run the tests on a changed copy; one that does not end counts as failed."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="dragonfly-mutant-") as folder:
        copy = Path(folder)
        for name in ("dragonfly", "tests"):
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        mutation.apply(copy / "dragonfly")
        if extra := _EXTRA.get(mutation.new):
            with (copy / "dragonfly" / mutation.file).open("a", encoding="utf-8") as file:
                file.write(extra)
        killer = _failing(copy, mutation.tests, server)
    return Verdict(mutation, killer, time.monotonic() - began)


def _failing(copy: Path, tests: tuple[str, ...], server: str) -> str | None:
    command = (sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests)
    env = os.environ | {
        "PYTHONPATH": str(copy),
        "PYTHONDONTWRITEBYTECODE": "1",
        "DRAGONFLY_TEST_DSN": server,
    }
    try:
        done = subprocess.run(
            command,
            check=False,
            cwd=copy,
            env=env,
            capture_output=True,
            text=True,
            timeout=LONGEST_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return "no end"
    if done.returncode == 0:
        return None
    found = re.search(r"^FAILED (.+?)(?: - .*)?$", done.stdout, re.MULTILINE)
    if found is None:
        # an error of collection proves nothing
        raise RuntimeError(f"no test failed, but pytest did:\n{done.stdout[-4000:]}")
    return found[1]


def main() -> int:
    """Judge each, print a line for each as it comes; 1 if one survives."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__)
    parser.add_argument("words", nargs="*", help="only mutations whose name holds one of these")
    words = parser.parse_args().words
    chosen = [m for m in MUTATIONS if not words or any(word in m.name for word in words)]
    survivors = 0
    with (
        # one server for all: starting it takes longer than most of the tests
        tempfile.TemporaryDirectory(prefix="dragonfly-mutants-", dir=quick_folder()) as folder,
        embedded_server(Path(folder) / "pg") as server,
    ):
        for mutation in chosen:
            verdict = judge(mutation, server)
            survivors += verdict.killer is None
            told = verdict.killer or "SURVIVES"
            sys.stdout.write(f"{mutation.name:<48} {told:<90} {verdict.seconds:6.1f} s\n")
            sys.stdout.flush()
    sys.stdout.write(f"{len(chosen)} mutations, {survivors} survive\n")
    return int(survivors > 0)


if __name__ == "__main__":
    sys.exit(main())
