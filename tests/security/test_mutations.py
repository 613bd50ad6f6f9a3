"""The list of safeguards to remove names what there is, and who would notice."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.mutations.catalogue import MUTATIONS, Mutation

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: one.name)
def test_the_safeguard_and_its_tests_exist(mutation: Mutation) -> None:
    """A safeguard that moved, or a test that was renamed, takes its line along."""
    text = (ROOT / "dragonfly" / mutation.file).read_text(encoding="utf-8")
    assert mutation.old in text
    for test in mutation.tests:
        file, _, name = test.partition("::")
        assert re.search(rf"def {name}", Path(ROOT / file).read_text(encoding="utf-8"))
