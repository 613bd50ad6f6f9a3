"""What the tests of faults share with those of real processes."""

from __future__ import annotations

from tests.process.conftest import traced

__all__ = ["traced"]
