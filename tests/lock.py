"""Pins what ``pyproject.toml`` asks for, with hashes, for every platform: ``python -m tests.lock``.

Keeps the versions that are pinned already; ``python -m tests.lock --upgrade`` takes the newest.
It needs uv on the path.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

_COMPILE = (
    *("uv", "pip", "compile", "pyproject.toml", "--quiet", "--universal"),
    *("--python-version", "3.11", "--generate-hashes", "--no-annotate"),
    # whoever installs decides from where
    *("--no-emit-index-url", "--no-emit-find-links"),
    *("--custom-compile-command", "python -m tests.lock"),
)


def main(options: list[str]) -> None:
    """Pin the project, then its tests on top of the same versions."""
    for what in (
        ("--output-file", "requirements.txt"),
        ("--extra", "test", "--constraints", "requirements.txt",
         "--output-file", "requirements-test.txt"),
    ):  # fmt: skip
        subprocess.run([*_COMPILE, *options, *what], cwd=ROOT, check=True)


if __name__ == "__main__":
    main(sys.argv[1:])
