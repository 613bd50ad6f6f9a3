"""What the intake's tests share."""

from __future__ import annotations

import pytest

from tests.intake.hosts import Bench


@pytest.fixture
def bench(dsn: str) -> Bench:
    """A host on this test's database."""
    return Bench(dsn)
