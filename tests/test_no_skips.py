"""In CI a test that did not run is a failure."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.check import ROOT

_RUNS = "def test_one(): pass\n"
_SKIPS = "import pytest\ndef test_one(): pytest.skip('no server')\n"
_MODULE_SKIPS = "import pytest\npytest.importorskip('no_such_module')\ndef test_one(): pass\n"


@pytest.mark.parametrize(
    ("source", "workers", "code"),
    [(_RUNS, 0, 0), (_SKIPS, 0, 1), (_SKIPS, 1, 1), (_MODULE_SKIPS, 0, 1)],
)
def test_skip_fails_the_run(tmp_path: Path, source: str, workers: int, code: int) -> None:
    """A skipped test or module makes pytest end with 1, in xdist's processes too."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_runs.py").write_text(_RUNS)
    (tmp_path / "test_sample.py").write_text(source)
    options = ["-p", "tests.no_skips", "-p", "no:cacheprovider", "-c", str(tmp_path / "pytest.ini")]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "-n", str(workers), str(tmp_path)],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert code == run.returncode, run.stdout
    assert bool(code) == ("skipped, which is a failure here" in run.stdout)
