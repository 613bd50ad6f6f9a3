"""Hundreds of decided lives, the seeds that once failed, and proof that each check can fail."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from typing import Any
from unittest import mock

import pytest

from dragonfly import backoff
from dragonfly.events import WorkerRestarting
from dragonfly.queue.heartbeats import WorkerStatus
from dragonfly.runtime import health, logins, outcomes, pace, slots, stalls, supervisor
from dragonfly.runtime.health import Health
from dragonfly.runtime.ledger import Ledger
from dragonfly.runtime.loop import WorkerLoop
from dragonfly.runtime.outcomes import Ending, Verdict
from dragonfly.runtime.process import Process, Stop
from dragonfly.runtime.slots import Interruption, Slot
from dragonfly.runtime.stalls import Standstill
from dragonfly.runtime.supervisor import Supervisor
from tests.simulation.decisions.kept import KEPT
from tests.simulation.decisions.life import play, standing_stage

SECONDS = 1.5
SEEDS_LEAST, SEEDS_MOST = 200, 2000
# within so many seeds each of the breakages below must be noticed
SEEDS_TO_NOTICE = 600


def test_no_decision_breaks_a_promise() -> None:
    """Whatever a seed brings, each decision is the promised one: as many as there is time for."""
    seconds = time.perf_counter  # of ours: on the stage the clocks are the seed's
    began = seconds()
    with standing_stage():
        for seed in range(SEEDS_MOST):
            assert () == play(seed).broken, f"python -m tests.simulation --decisions --seed {seed}"
            if seed >= SEEDS_LEAST and seconds() - began > SECONDS:
                return


@pytest.mark.parametrize(("seed", "found"), KEPT.items(), ids=map(str, KEPT))
def test_a_seed_that_once_failed(seed: int, found: str) -> None:
    """What a seed found stays mended."""
    with standing_stage():
        assert () == play(seed).broken, found


def test_a_seed_is_one_life() -> None:
    """The same seed is the same life, to the last turn and second; another is not."""
    with standing_stage():
        assert play(4) == play(4)
        assert play(4).turns != play(5).turns


STEP = 5.0


def looks_at_a_standstill(seed: int) -> bool:
    """A loop that turns, stalls, and is frozen with its guard: whether the guard counts rightly."""
    rng = random.Random(seed)
    now, turns, gaps, standstill = 0.0, 0, [0.0], Standstill(STEP, 0.0)
    for _ in range(50):
        gap = rng.choice((STEP, STEP, STEP + 0.1, 1.9 * STEP, 3 * STEP, 100 * STEP))
        now += gap
        if rng.random() < 0.3:
            turns, gaps = turns + rng.choice((1, 7)), []
        else:
            gaps.append(min(gap, 2 * STEP))
        if abs(standstill.look(turns, now) - sum(gaps)) > 1e-6:
            return False
    return True


def test_a_standstill_is_measured_in_steps_of_the_guard() -> None:
    """Only time in which the guard ran and the loop did not counts, two steps for a frozen one."""
    assert all(looks_at_a_standstill(seed) for seed in range(200))


@pytest.mark.parametrize("instead", [lambda passed, _: passed, max], ids=["whole", "most"])
def test_a_standstill_counted_wrongly_is_noticed(instead: Any) -> None:
    """A frozen process taken for a stall, or a stall for less than it is, is found out."""
    with mock.patch.object(stalls, "min", instead, create=True):
        assert not all(looks_at_a_standstill(seed) for seed in range(200))


# --- deliberate breakages ---------------------------------------------------------------------

_judge, _look, _wind_down = WorkerLoop._judge, WorkerLoop._look, WorkerLoop._wind_down
_stop_if_drained = Process.stop_if_drained
_wait, _succeeded = WorkerLoop._wait, Health.succeeded
_record_success = backoff.BackoffState.record_success


def _count_an_absent_database(self: WorkerLoop, slot: Any, claim: Any, ending: Ending) -> Ending:
    if ending.verdict is Verdict.AWAY:
        ending = Ending(ending.finish, Verdict.COUNTED, ending.outcome, ending.reason)
    return _judge(self, slot, claim, ending)


def _success_counts_nothing(_self: backoff.BackoffState) -> bool:
    return False


def _success_ends_no_pause(self: backoff.BackoffState) -> bool:
    until = self.pause_until
    changed = _record_success(self)
    self.pause_until = until
    return changed


async def _restart_at_once(self: Supervisor, worker: Any, restarts: int) -> None:
    pause = supervisor.RESTART_PAUSE_SECONDS
    most = self.process.settings.worker_restarts
    self.process.events.emit(WorkerRestarting(worker.name, pause, restarts, most))
    del self._fallen[worker.name]


def _probe_at_once(self: Health, held: Any) -> str | None:
    shut = (kind for kind, each in self._circuits.items() if each.open and each.probe not in held)
    return next(shut, None)


def _forget_the_probe(_self: Health, _type: str, _id: int) -> None:
    return


def _heed_failures_alone(self: Health) -> float:
    return max(0.0, self.backoff.pause_until - self._clock())


def _heed_no_failures(self: Health) -> float:
    return max(0.0, max(self._away_until, self._own.probe_at) - self._clock())


def _drained_at_once(self: WorkerLoop, _began: int) -> bool:
    self.process.stop.request("drained")
    return True


def _drained_as_one_is(self: Process, unwritten: int) -> bool:
    self.quiet = dict.fromkeys(self.wakeups, self.settled)
    return _stop_if_drained(self, unwritten)


def _never_drained(_self: Process, _unwritten: int) -> bool:
    return False


def _go_on_after_a_stop(self: WorkerLoop) -> bool:
    return self._crash is not None or self._once_done or self.process.stop.now.is_set()


def _go_on_after_a_fall(self: WorkerLoop) -> bool:
    return self.process.stop.claiming.is_set() or self._once_done


def _hear_one_signal(self: Stop, signal: str) -> None:
    self.signal = self.signal or signal
    self.claiming.set()


async def _without_grace(self: WorkerLoop) -> None:
    for slot in self.running:
        slot.interrupt(Interruption.STOP)
    await _wind_down(self)


def _cut_off_nobody(self: Slot, cause: Interruption) -> None:
    if cause is not Interruption.STOP and self.cause is None:
        self.cause = cause
        self._scope.cancel()


def _charge(claim: Any) -> Any:
    return outcomes.released(claim)._replace(refund=False)


def _acquit(claim: Any) -> Any:
    return outcomes.released(claim)._replace(acquits=True)


def _ending_that_proves_nothing(claim: Any, error: BaseException, retries: Any) -> Ending:
    ending = outcomes.ending_of(claim, error, retries)
    finish = ending.finish and ending.finish._replace(acquits=False)
    return replace(ending, finish=finish)


async def _claim_after_a_failed_probe(self: WorkerLoop, want: int) -> None:
    job_type = self.health.probe(self.ledger.held)
    if job_type is None or not await self._probe(job_type):
        await _look(self, want)


def _tell_those_alive(self: Supervisor, reason: str | None) -> None:
    for loop in self._loops.values():
        loop.health.finishes_refused(reason)


async def _forget_who_rang(self: WorkerLoop, seconds: float | None) -> None:
    self.wakeup.clear()
    await _wait(self, seconds)


def _take_any_success_for_the_database(self: Health, job_type: str) -> None:
    self._lost_by_job, self._away_tries = False, 0
    _succeeded(self, job_type)


BREAKAGES: dict[str, tuple[Any, str, Any]] = {
    "an absent database is counted": (WorkerLoop, "_judge", _count_an_absent_database),
    "pauses without their cap": (backoff, "CAP_SECONDS", 600.0),
    "a first pause of two seconds": (backoff, "INITIAL_SECONDS", 2.0),
    "a success that resets nothing": (
        backoff.BackoffState, "record_success", _success_counts_nothing,
    ),
    "a success that ends no pause": (
        backoff.BackoffState, "record_success", _success_ends_no_pause,
    ),
    "a fall at nine failures": (backoff, "CRASH_LOOP_THRESHOLD", 9),
    "a fall at eleven failures": (backoff, "CRASH_LOOP_THRESHOLD", 11),
    "claims after a fall": (WorkerLoop, "_is_ending", _go_on_after_a_fall),
    "a short pause before a restart": (supervisor, "RESTART_PAUSE_SECONDS", 6.0),
    "a pause before a restart that nobody waits for": (
        Supervisor, "_pause_before_restart", _restart_at_once,
    ),
    "restarts without a limit": (supervisor, "RESTART_WINDOW_SECONDS", -1.0),
    "claims of a type whose circuit is open": (Health, "claimable", lambda _, types: types),
    "a probe before its time": (Health, "probe", _probe_at_once),
    "two probes at once": (Health, "probing", _forget_the_probe),
    "a probe that nobody wakes up for": (Health, "next_probe_in", lambda *_: None),
    "a circuit without its cap": (health, "CIRCUIT_CAP_SECONDS", 6000.0),
    "a bug found at the first refusal": (health, "REOPENINGS_OF_A_BUG", 1),
    "a claim after a probe that failed": (WorkerLoop, "_look", _claim_after_a_failed_probe),
    "claims while the database is away": (Health, "pause_left", _heed_failures_alone),
    "claims in the pause of a failure": (Health, "pause_left", _heed_no_failures),
    "claims whose end cannot be written": (Health, "may_claim", True),
    "a new start that does not know of refused ends": (
        Supervisor, "_finishes_refused", _tell_those_alive,
    ),
    "nobody is rung for a job": (Supervisor, "_ring", lambda *_: None),
    "a ring during a claim is not heard": (WorkerLoop, "_wait", _forget_who_rang),
    "jobs of a circuit that opened meanwhile start": (
        WorkerLoop, "_give_back_the_shut", lambda *_: None,
    ),
    "any success is taken for the database's": (
        Health, "succeeded", _take_any_success_for_the_database,
    ),
    "ten tries of a refused login": (logins, "LOGIN_TRIES", 10),
    "a refused login tried each minute": (logins, "LOGIN_PAUSE_SECONDS", 60.0),
    "jobs claimed for ten seconds ahead": (pace, "AHEAD_SECONDS", 10.0),
    "jobs that wait for their slot too long": (WorkerLoop, "give_back_the_late", lambda _: None),
    "nothing is given back at a failure": (Ledger, "give_back", lambda *_, **__: False),
    "an interrupted job is charged": (slots, "released", _charge),
    "an interrupted job is acquitted": (slots, "released", _acquit),
    "a job that is retried is acquitted of nothing": (
        slots, "ending_of", _ending_that_proves_nothing,
    ),
    "a drain that forgets what is held": (WorkerLoop, "_is_drained", _drained_at_once),
    "a drain that asks one worker": (Process, "stop_if_drained", _drained_as_one_is),
    "a drain that never ends": (Process, "stop_if_drained", _never_drained),
    "more than one job for once": (WorkerLoop, "_want", lambda self: len(self._rest)),
    "claims after a stop": (WorkerLoop, "_is_ending", _go_on_after_a_stop),
    "a second signal is not heard": (Stop, "request", _hear_one_signal),
    "a stop without its grace": (WorkerLoop, "_wind_down", _without_grace),
    "a stop that cuts off nobody": (Slot, "interrupt", _cut_off_nobody),
    "always exit with 0": (Supervisor, "_exit_code", lambda _: 0),
    "a heartbeat that is always well": (Health, "status", WorkerStatus.RUNNING),
    "a heartbeat that does not say why": (Health, "reason", None),
}  # fmt: skip


@pytest.mark.parametrize(("place", "name", "instead"), BREAKAGES.values(), ids=BREAKAGES.keys())
def test_a_breakage_is_noticed(place: Any, name: str, instead: Any) -> None:
    """A supervisor that decides one thing wrongly is found out by one of the first seeds."""
    with standing_stage(), mock.patch.object(place, name, instead):
        assert any(complaints(seed) for seed in (*KEPT, *range(SEEDS_TO_NOTICE)))


def complaints(seed: int) -> list[str]:
    """The promises that were broken; a life that breaks down has found nothing out."""
    return [each for each in play(seed).broken if "it broke down" not in each]
