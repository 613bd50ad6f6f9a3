"""A few hundred lives of the supervisor, the seeds that once failed, and proof that it can fail."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from unittest import mock

import pytest

from dragonfly import backoff
from dragonfly.queue.heartbeats import Beat
from dragonfly.queue.sleepers import fall_asleep
from dragonfly.runtime import sleepers, slots, supervisor
from dragonfly.runtime.heartbeat import Rescuer
from dragonfly.runtime.ledger import Ledger
from dragonfly.runtime.loop import WorkerLoop
from dragonfly.runtime.outcomes import Ending, Verdict, released
from dragonfly.runtime.process import Process
from dragonfly.runtime.sleepers import Sleepers
from dragonfly.runtime.solitude import Solitude
from tests.simulation.kept import KEPT, unmended
from tests.simulation.world import play

SECONDS = 10.0
SEEDS_LEAST, SEEDS_MOST = 60, 400
# within so many seeds each of the breakages below must be noticed
SEEDS_TO_NOTICE = 100


def test_what_befalls_the_supervisor_breaks_no_promise() -> None:
    """Whatever a seed brings, no promise is broken: as many seeds as ten seconds hold."""
    began = time.perf_counter()
    for seed in range(SEEDS_MOST):
        assert () == play(seed).broken, f"python -m tests.simulation --seed {seed}"
        if seed >= SEEDS_LEAST and time.perf_counter() - began > SECONDS:
            return


def complaints(seed: int) -> list[str]:
    """The promises that were broken; a simulation that breaks down has found nothing out."""
    return [each for each in play(seed).broken if "the run broke down" not in each]


@pytest.mark.parametrize("seed", KEPT)
def test_a_seed_that_once_failed(seed: int) -> None:
    """What a seed found stays mended, and it would find it again."""
    flaw, found = KEPT[seed]
    assert () == play(seed).broken, found
    with unmended(flaw):
        assert complaints(seed), f"blind to: {found}"


def test_a_seed_is_one_life() -> None:
    """The same seed is the same life, to the last claim and turn of the loop; another is not."""
    assert play(4).history == play(4).history
    assert play(4).history != play(5).history


# --- deliberate breakages ---------------------------------------------------------------------

_judge = WorkerLoop._judge


def _count_an_absent_database(self: WorkerLoop, slot: Any, claim: Any, ending: Ending) -> Ending:
    if ending.verdict is Verdict.AWAY:
        ending = Ending(ending.finish, Verdict.COUNTED, ending.outcome, ending.reason)
    return _judge(self, slot, claim, ending)


def _stop_at_once(self: Process, _unwritten: int) -> bool:
    self.stop.request("drained")
    return True


def _keep_all(_self: Ledger, *_args: Any, **_options: Any) -> bool:
    return False


def _drained(self: WorkerLoop, _began: int) -> bool:
    return _stop_at_once(self.process, 0)


def _charge(claim: Any) -> Any:
    return released(claim)._replace(refund=False)


_settle = Sleepers.settle


async def _settle_without_a_second_look(self: Sleepers, conn: Any) -> bool:
    wakeups = self._wakeups
    self._wakeups = {name: wakeup for name, wakeup in wakeups.items() if name in self._known}
    try:
        return await _settle(self, conn)
    finally:
        self._wakeups = wakeups


async def _note_no_writers(conn: Any, job_types: Any) -> frozenset[str]:
    await fall_asleep(conn, job_types)
    return frozenset()


async def _rescue_at_once(self: Rescuer, conn: Any, beat: Beat) -> None:
    if beat.lapsed:
        await self._rescue(conn, beat.at + timedelta(hours=1))


@pytest.mark.parametrize(
    ("place", "name", "instead"),
    [
        (WorkerLoop, "_judge", _count_an_absent_database),
        (supervisor, "RESTART_WINDOW_SECONDS", -1.0),
        (WorkerLoop, "_is_drained", _drained),
        (backoff, "CAP_SECONDS", 600.0),
        (Ledger, "give_back", _keep_all),
        (slots, "released", _charge),
        (supervisor.Supervisor, "_exit_code", lambda _: 0),
        (Rescuer, "renewed", _rescue_at_once),
        (Solitude, "is_empty", property(lambda _: True)),
        (Solitude, "lets", lambda *_: True),
        (Sleepers, "settle", _settle_without_a_second_look),
        (Sleepers, "forget", lambda _: None),
        (sleepers, "fall_asleep", _note_no_writers),
    ],
    ids=[
        "an absent database is counted",
        "restarts without a limit",
        "a drain that forgets what is held",
        "pauses without their cap",
        "nothing is given back at a failure",
        "an interrupted job is charged",
        "always exit with 0",
        "a rescue by whoever has just come",
        "a last chance beside what runs",
        "claims beside a last chance",
        "a sleeper that does not look again",
        "a lost session that still sleeps",
        "a sleeper that forgets who was writing",
    ],
)
def test_a_breakage_is_noticed(
    place: Any, name: str, instead: Callable[..., Any] | property | float
) -> None:
    """A supervisor that does one thing wrong is found out by one of the first seeds."""
    with mock.patch.object(place, name, instead):
        assert any(complaints(seed) for seed in range(SEEDS_TO_NOTICE))
