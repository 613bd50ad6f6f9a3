"""Workers are found by name, and what cannot be found gets a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from dragonfly.cli.registry import find_workers
from dragonfly.errors import ConfigurationError
from dragonfly.workers import TRADE_WORKERS

_MODULE = """
from dragonfly import Job, Worker

worker = Worker("mine")
twin = Worker("mine")
idle = Worker("idle")
number = 7


@worker.job("mine")
@twin.job("mine")
async def handle(job: Job[dict]) -> None: ...
"""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with modules of somebody else, in which the command is started."""
    (tmp_path / "elsewhere.py").write_text(_MODULE)
    (tmp_path / "broken.py").write_text("from dragonfly import nothing_like_it")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))


def test_all_means_the_three_of_the_trade() -> None:
    """``all`` finds each of the trade's workers, once."""
    assert list(TRADE_WORKERS) == [worker.name for worker in find_workers(["all", "all"])]


def test_either_spelling_will_do() -> None:
    """A worker's name may be written with - or with _."""
    assert find_workers(["simplicity_ingest"]) == find_workers(["simplicity-ingest"])


def test_a_worker_of_ones_own() -> None:
    """``module:name`` finds a worker written elsewhere."""
    assert ["mine"] == [worker.name for worker in find_workers(["elsewhere:worker"])]


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ([], "Name at least one worker"),
        (["nobody"], "There is no worker 'nobody'"),
        (["elsewhere:gone"], "cannot be loaded"),
        (["nowhere:worker"], "cannot be loaded"),
        (["broken:worker"], "cannot be loaded"),
        ([":worker"], "cannot be loaded"),
        (["elsewhere:number"], "is a int, not a dragonfly.Worker"),
        (["elsewhere:idle"], "has no handlers"),
        (["elsewhere:worker", "elsewhere:twin"], "Two different workers are named 'mine'"),
    ],
)
def test_what_cannot_be_run_gets_a_sentence(names: list[str], sentence: str) -> None:
    """Each mistake in a name is told apart, without a traceback."""
    with pytest.raises(ConfigurationError, match=sentence):
        find_workers(names)
