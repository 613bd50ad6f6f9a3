"""The pauses after failures, by the numbers of the seed page."""

from __future__ import annotations

import pytest

from dragonfly.backoff import BackoffState, pause_seconds
from dragonfly.job import RetryPolicy


def _middle(low: float, high: float) -> float:
    return (low + high) / 2


def test_pauses_double_from_one_second_to_sixty() -> None:
    """Without jitter the pauses are 1, 2, 4, 8, 16, 32 and then always 60 seconds."""
    pauses = [pause_seconds(n, draw=_middle) for n in (1, 2, 3, 4, 5, 6, 7, 8, 10, 1000)]

    assert [1, 2, 4, 8, 16, 32, 60, 60, 60, 60] == pauses


@pytest.mark.parametrize("failures", [1, 4, 7, 10])
def test_jitter_is_a_tenth_either_way(failures: int) -> None:
    """The pause is drawn between 90 % and 110 % of the plain one, the cap included."""
    plain = min(2.0 ** (failures - 1), 60.0)

    assert pytest.approx(0.9 * plain) == pause_seconds(failures, draw=lambda low, _: low)
    assert pytest.approx(1.1 * plain) == pause_seconds(failures, draw=lambda _, high: high)
    drawn = [pause_seconds(failures) for _ in range(300)]
    assert 0.9 * plain <= min(drawn) < plain < max(drawn) <= 1.1 * plain


def test_the_scale_shortens_every_pause() -> None:
    """DRAGONFLY_BACKOFF_SCALE multiplies the pause."""
    assert pytest.approx(0.6) == pause_seconds(9, 0.01, _middle)


def test_ten_failures_in_a_row_are_a_crash_loop() -> None:
    """Nine failures are none yet, the tenth is."""
    state = BackoffState(draw=_middle)
    for second in range(9):
        state.record_failure(claimed_at=second, now=second + 0.5)
    assert not state.crash_looping

    state.record_failure(claimed_at=9, now=9.5)

    assert state.crash_looping


def test_failures_in_flight_together_count_once() -> None:
    """A failure of a job claimed before the last counted one adds nothing and pauses nothing."""
    state = BackoffState(draw=_middle)

    assert 1.0 == state.record_failure(claimed_at=10.0, now=12.0)
    assert None is state.record_failure(claimed_at=11.9, now=12.5)
    assert (1, 13.0) == (state.consecutive_failures, state.pause_until)
    assert 2.0 == state.record_failure(claimed_at=13.0, now=14.0)


def test_a_success_resets_the_count_and_ends_the_pause() -> None:
    """After a success the next failure pauses for one second again."""
    state = BackoffState(draw=_middle)
    for second in (1, 2, 3):
        state.record_failure(claimed_at=second, now=second + 0.5)

    assert state.record_success()
    assert not state.record_success()
    assert (0, 0.0) == (state.consecutive_failures, state.pause_until)
    assert 1.0 == state.record_failure(claimed_at=4, now=5)


def test_a_jobs_own_retry_delay() -> None:
    """A job waits 5, 10, 20 … seconds ±20 %, at most 15 minutes."""
    policy = RetryPolicy()
    for attempt, plain in ((1, 5), (2, 10), (3, 20), (8, 640), (9, 900), (40, 900)):
        drawn = [policy.delay(attempt) for _ in range(200)]
        assert 0.8 * plain <= min(drawn) < plain < max(drawn) <= 1.2 * plain
