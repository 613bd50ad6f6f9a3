"""Whose turn it is after a job ran alone in its process."""

from __future__ import annotations

import asyncio

import pytest

from dragonfly import Worker
from dragonfly.events import Events
from dragonfly.job import Claim
from dragonfly.queue.fragments import ANY_CRASHES
from dragonfly.runtime.solitude import Solitude
from dragonfly.settings import Settings

SETTINGS = Settings()
LAST, MOST = SETTINGS.crash_budget, ANY_CRASHES[1]
ALONE = Claim(1, "any", "{}", 1, 8, LAST, 77, None, None)


class Held:
    """A start of a worker that holds nothing, and has nothing to give back."""

    holds_nothing = True

    def __init__(self, name: str) -> None:
        self.worker = Worker(name)
        self.wound_down = asyncio.Event()
        self.ledger = self

    def give_back(self) -> bool:
        return False


@pytest.fixture
def solitude() -> Solitude:
    """Of a process with two workers, in which the first has just run a job alone."""
    shared = Solitude(SETTINGS, Events(), lambda: None, seeks=True)
    for name in ("first", "second"):
        shared.join(Held(name))
    shared.took("first", ALONE)
    shared.stirred([ALONE])
    return shared


def most_crashes(solitude: Solitude, worker: str, *, idle: bool) -> int:
    """How many crashes a job may have that this worker takes now."""
    return solitude.crashes_for(worker, idle=idle)[1]


def test_nobody_claims_beside_it() -> None:
    """While it runs, and until its end is durable, no worker of the process claims."""
    shared = Solitude(SETTINGS, Events(), lambda: None, seeks=True)
    for name in ("first", "second"):
        shared.join(Held(name))
    shared.took("first", ALONE)
    during = [shared.lets("first"), shared.lets("second")]
    shared.stirred([ALONE._replace(lock_token=78)])  # the end of another
    meanwhile = [shared.lets("first"), shared.lets("second")]
    shared.stirred([ALONE])

    assert [False] * 4 == during + meanwhile
    assert [True] * 2 == [shared.lets("first"), shared.lets("second")]


def test_the_other_workers_go_before_the_next_one(solitude: Solitude) -> None:
    """The next job at its last chance waits until each other worker has had its turn."""
    before = most_crashes(solitude, "first", idle=True)
    solitude.lets("second")

    assert LAST - 1 == before
    assert MOST == most_crashes(solitude, "first", idle=True)


def test_ordinary_jobs_go_before_the_next_one(solitude: Solitude) -> None:
    """As long as it rests, a worker that has other jobs takes none at its last chance."""
    solitude.lets("second")

    assert LAST - 1 == most_crashes(solitude, "first", idle=False)


def test_a_process_that_is_to_end_by_itself_never_seeks() -> None:
    """With --drain and --once nobody falls silent for such a job."""
    shared = Solitude(SETTINGS, Events(), lambda: None, seeks=False)
    shared.join(Held("first"))
    shared.seek("first")

    assert shared.lets("first")
    assert not shared.is_kept
