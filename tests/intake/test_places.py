"""Which paths a job may name."""

from __future__ import annotations

from pathlib import Path

import pytest

from dragonfly.job import Reject
from dragonfly.workers.places import object_parts, relative_parts

ROOT = Path("/srv/firm/intake")


@pytest.mark.parametrize(
    ("written", "parts"),
    [
        ("a.csv", ("a.csv",)),
        ("2026/week 12 (late).csv", ("2026", "week 12 (late).csv")),
        ("file://2026/a.csv", ("2026", "a.csv")),
        ("file:///srv/firm/intake/2026/a.csv", ("2026", "a.csv")),
        ("Peña.csv", ("Peña.csv",)),
    ],
)
def test_paths_below_the_root(written: str, parts: tuple[str, ...]) -> None:
    """A relative path and a file address below the root name the same file."""
    assert relative_parts(written, ROOT) == parts


NOT_ALLOWED = [
    "../a.csv",
    "2026/../../etc/passwd",
    "/etc/passwd",
    "/srv/firm/intake/a.csv",
    "file:///etc/passwd",
    "file:///srv/firm/intake2/a.csv",
    "file:///srv/firm/intake/../secret.csv",
    "file://../a.csv",
    "C:\\x.csv",
    "C:/x.csv",
    "file:///C:/x.csv",
    "folder\\a.csv",
    "\\\\host\\share\\a.csv",
    "file%2e%2e/a.csv",
    "%2e%2e/a.csv",
    "./a.csv",
    "a//b.csv",
    "a.csv/",
    "a\x00.csv",
    "a.csv:stream",
    "http://example.org/a.csv",
]


@pytest.mark.parametrize("written", NOT_ALLOWED)
def test_every_other_way_out_is_refused(written: str) -> None:
    """Nothing absolute, no way upwards, no second spelling of either."""
    with pytest.raises(Reject) as rejected:
        relative_parts(written, ROOT)

    assert rejected.value.code == "PATH_NOT_ALLOWED"


@pytest.mark.parametrize("written", ["../a.csv", "/a.csv", "a//b", "x/%2e%2e/y", "a\\b", "."])
def test_object_names_keep_to_the_same_rule(written: str) -> None:
    """An object's path cannot leave its bucket either."""
    with pytest.raises(Reject):
        object_parts(written)
