"""What a check found: one sentence about what is, one about what to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """``crit`` is a mismatch that would touch the wrong data: run nothing until it is mended."""

    OK = "ok"
    WARN = "warn"
    ERR = "err"
    CRIT = "crit"


@dataclass(frozen=True, slots=True)
class Finding:
    """``id`` is the number of the check; ``fix`` is empty exactly when all is well."""

    id: str
    severity: Severity
    result: str
    fix: str = ""


def ok(check: str, result: str) -> Finding:
    return Finding(check, Severity.OK, result)


def warn(check: str, result: str, fix: str) -> Finding:
    return Finding(check, Severity.WARN, result, fix)


def err(check: str, result: str, fix: str) -> Finding:
    return Finding(check, Severity.ERR, result, fix)


def crit(check: str, result: str, fix: str) -> Finding:
    return Finding(check, Severity.CRIT, result, fix)


def age(seconds: float) -> str:
    """A duration as a person says it, from seconds."""
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
