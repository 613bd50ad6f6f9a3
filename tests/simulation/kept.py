"""Seeds that found something, each with the mended line taken away again; the suite plays all.

A seed is a life only together with the draws of ``fate.py`` and with every statement that the
product says: a change of either may leave it blind. So each is also played unmended, and must find
it still; else look for a seed that does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any
from unittest import mock

from dragonfly.runtime.health import Health
from dragonfly.runtime.loop import WorkerLoop

_succeeded = Health.succeeded


def _leave_the_shut(_self: WorkerLoop, _claims: Any) -> None:
    """It gives nothing back."""


def _succeed_while_away(self: Health, job_type: str) -> None:
    since, self._away_since = self._away_since, None
    try:
        _succeeded(self, job_type)
    finally:
        self._away_since = since


class Flaw(Enum):
    """What was wrong once: place, name, and how it was."""

    SHUT = (WorkerLoop, "_give_back_the_shut", _leave_the_shut)
    AWAY = (Health, "succeeded", _succeed_while_away)


@contextmanager
def unmended(flaw: Flaw) -> Iterator[None]:
    """Let it be as it was while the block runs."""
    place, name, instead = flaw.value
    with mock.patch.object(place, name, instead):
        yield


KEPT: dict[int, tuple[Flaw, str]] = {
    183: (
        Flaw.SHUT,
        "a claim that travelled while a circuit opened brought jobs of its type, and they started",
    ),
    275: (Flaw.SHUT, "the same with a circuit that opens among the first jobs"),
    179: (
        Flaw.AWAY,
        "a job that needed no database made the pauses of an absent one start again at a second",
    ),
    125: (Flaw.AWAY, "the same, in a database that is away again and again"),
}
