"""How far ahead a worker claims."""

from __future__ import annotations

import pytest

from dragonfly.job import Claim
from dragonfly.runtime.pace import AHEAD_LETTERS, AHEAD_MOST, Pace


def claims(letters: int, count: int = 10) -> list[Claim]:
    """As many claims with payloads of that length."""
    return [Claim(n, "any", "x" * letters, 1, 8, 0, 1, None, None) for n in range(count)]


def test_nothing_is_claimed_ahead_before_something_is_known() -> None:
    """A worker that has run no job takes one for each slot only."""
    pace = Pace(10)
    pace.took(claims(10))

    assert 0 == pace.ahead


@pytest.mark.parametrize(("seconds", "ahead"), [(2.0, 0), (0.1, 10), (0.01, 100), (1e-6, 4000)])
def test_only_what_starts_soon_is_claimed_ahead(seconds: float, ahead: int) -> None:
    """Ten slots claim what they can start within a tenth of a second, and never more than 4000."""
    pace = Pace(10)
    pace.took(claims(10))
    pace.ran(seconds)

    assert 4000 == AHEAD_MOST
    assert ahead == pace.ahead


def test_large_payloads_are_not_piled_up() -> None:
    """What lies ahead stays within sixteen million letters, at once when payloads grow."""
    pace = Pace(10)
    pace.ran(1e-6)
    pace.took(claims(10))
    small = pace.ahead
    pace.took(claims(1_000_000))

    assert AHEAD_MOST == small
    assert pace.ahead * 1_000_000 <= AHEAD_LETTERS
    assert 0 < pace.ahead


def test_small_payloads_are_trusted_again_step_by_step() -> None:
    """After large payloads it takes several claims of small ones until it is far ahead again."""
    pace = Pace(10)
    pace.ran(1e-6)
    pace.took(claims(1_000_000))
    large = pace.ahead
    pace.took(claims(10))
    after_one = pace.ahead
    for _ in range(30):
        pace.took(claims(10))

    assert large < after_one < AHEAD_MOST
    assert AHEAD_MOST == pace.ahead
