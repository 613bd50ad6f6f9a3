"""Asks whether a pinned version has a known vulnerability: ``python -m tests.audit [PIP_AUDIT]``.

Ends with 1 if one has. Where the service that knows is not to be reached, it says so and ends
with 0: that a mirror answers no such question is nothing that a change of ours could mend.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LONGEST_SECONDS = 120
# what is pinned is audited as it stands; nothing is resolved or installed
_OPTIONS = (
    *("--requirement", "requirements.txt", "--require-hashes", "--disable-pip"),
    *("--format", "json", "--progress-spinner", "off", "--timeout", "10"),
)


def main(arguments: list[str]) -> int:
    """Run pip-audit, and tell what it found in a line each."""
    program = arguments[0] if arguments else shutil.which("pip-audit")
    if program is None:
        return _say("audit: skipped, as pip-audit is not installed")
    try:
        done = subprocess.run(
            (program, *_OPTIONS),
            cwd=ROOT,
            check=False,
            capture_output=True,
            text=True,
            timeout=LONGEST_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return _say(f"audit: skipped, as pip-audit gave no answer ({type(error).__name__})")
    found = vulnerable(done.stdout)
    if found is None:
        return _say("audit: skipped, as the vulnerability service is not to be reached from here")
    for line in found:
        _say(f"audit: {line}")
    _say(f"audit: {len(found)} known vulnerabilities in requirements.txt")
    return int(bool(found))


def vulnerable(answer: str) -> list[str] | None:
    """A line for each vulnerability of pip-audit's JSON; None if nothing was looked up.

    A mirror that has the packages and not what is known of them answers "not found" for each.
    """
    try:
        packages: list[dict[str, Any]] = json.loads(answer)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return None
    if not any("vulns" in package for package in packages):
        return None
    return [
        f"{package['name']} {package['version']}: {flaw['id']}, "
        f"fixed in {', '.join(flaw['fix_versions']) or 'no version yet'}"
        for package in packages
        for flaw in package.get("vulns", ())
    ]


def _say(line: str) -> int:
    sys.stdout.write(f"{line}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
