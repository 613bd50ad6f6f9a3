"""What type checkers make of the public names, and that they are allowed to look."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import dragonfly

ROOT = Path(__file__).parents[1]


def test_a_type_checker_infers_payloads_and_finds_mistakes() -> None:
    """mypy: handlers.py asserts what is inferred, mistakes.py ignores what must be found."""
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "tests/typing/handlers.py", "tests/typing/mistakes.py"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )

    assert (0, "") == (checked.returncode, checked.stderr), checked.stdout


def test_the_package_says_that_it_is_typed() -> None:
    """py.typed lies in the package, all of which goes into the wheel."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]

    assert (Path(dragonfly.__file__).parent / "py.typed").is_file()
    assert {"packages": ["dragonfly"]} == wheel
