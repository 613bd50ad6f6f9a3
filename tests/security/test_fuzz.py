"""Every parser of what comes from outside, fed with what nobody would write."""

from __future__ import annotations

import pytest

from tests import fuzz


@pytest.mark.parametrize("target", fuzz.TARGETS)
def test_a_parser_refuses_only_as_documented(target: str) -> None:
    """No other exception, no value in a refusal, no input that takes long; the same each run."""
    # an export is a file, and takes its time
    fuzz.run(target, 40 if target == "exports" else 150, number=1)
