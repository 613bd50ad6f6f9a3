"""Files that start, deploy and install Dragonfly name what exists."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from dragonfly.settings import Settings
from dragonfly.workers import TRADE_WORKERS
from tests import command_line

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
RAILWAY: dict[str, Any] = tomllib.loads((ROOT / "railway.toml").read_text("utf-8"))
TASKS: list[dict[str, Any]] = json.loads((ROOT / ".vscode/tasks.json").read_text("utf-8"))["tasks"]
# what a stop may take beyond the grace, at worst: a last claim, cancelling, giving back, closing
STOP_SECONDS = 30


def test_tasks_keep_their_names() -> None:
    """The editor's tasks are called as the firm's page calls them."""
    expected = ["Workers: Run", "Watcher: Once", "Doctor All", "Tests: All"]
    assert expected == [task["label"] for task in TASKS]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: str(task["label"]))
def test_task_runs_a_command_that_exists(task: dict[str, Any]) -> None:
    """Each task starts the project's own Python on a module, with arguments it knows."""
    assert "${workspaceFolder}/.venv/bin/python" == task["command"]
    assert r"${workspaceFolder}\.venv\Scripts\python.exe" == task["windows"]["command"]
    flag, module, *words = task["args"]
    assert "-m" == flag
    if module == "dragonfly":
        command_line.check(words)
    else:
        assert (ROOT / module.replace(".", "/")).with_suffix(".py").is_file()


def test_procfile_knows_every_worker() -> None:
    """One line runs all workers; one comment for each runs it alone."""
    lines = re.findall(r"^(?:# )?([\w-]+): dragonfly (.+)$", _text("Procfile"), re.MULTILINE)
    assert ["worker", *TRADE_WORKERS] == [name for name, _ in lines]
    named = ["all", *TRADE_WORKERS]
    assert [["run", "--workers", name] for name in named] == [shlex.split(c) for _, c in lines]


def test_railway_runs_commands_that_exist() -> None:
    """The pre-deploy and start commands are commands of ours, and the start is an exec."""
    (before,) = RAILWAY["deploy"]["preDeployCommand"]
    program, *words = shlex.split(before)
    command_line.check(words)
    shell, option, script = shlex.split(RAILWAY["deploy"]["startCommand"])
    replaced, started, *arguments = shlex.split(script)
    command_line.check(arguments)
    found = [program, shell, option, replaced, started]
    assert ["dragonfly", "/bin/sh", "-c", "exec", "dragonfly"] == found


def test_railway_waits_for_the_drain() -> None:
    """Times are numbers, and Railway kills only what should long have stopped."""
    times = ("healthcheckTimeout", "drainingSeconds", "overlapSeconds")
    assert [int] * 3 == [type(RAILWAY["deploy"][name]) for name in times]
    grace = Settings.model_fields["grace_seconds"].default
    assert RAILWAY["deploy"]["drainingSeconds"] >= grace + STOP_SECONDS


@pytest.mark.parametrize(
    ("file", "extras"), [("requirements.txt", []), ("requirements-test.txt", ["test"])]
)
def test_every_dependency_is_pinned(file: str, extras: list[str]) -> None:
    """What pyproject.toml asks for is pinned, with hashes, to versions that it allows."""
    wanted = [*PROJECT["dependencies"]]
    for extra in extras:
        wanted += PROJECT["optional-dependencies"][extra]
    pins = _pins(file)
    for requirement in map(Requirement, wanted):
        assert requirement.specifier.contains(pins[requirement.name])


def test_tests_run_what_is_deployed() -> None:
    """The versions under test are those that Railway installs."""
    assert _pins("requirements.txt").items() <= _pins("requirements-test.txt").items()


@pytest.mark.parametrize("file", ["requirements.txt", "requirements-test.txt"])
def test_pins_name_no_server(file: str) -> None:
    """Whoever installs decides from where."""
    assert [] == re.findall(r"^\s*-+(?!-|hash=)\S+|\S+://\S+", _text(file), re.MULTILINE)


def _pins(file: str) -> dict[str, str]:
    """Versions by name; each pin must carry a hash."""
    pinned = re.findall(
        r"^([a-z0-9-]+)==([^\s;]+)(?: ; [^\\\n]+)? \\\n\s+--hash=sha256:[0-9a-f]{64}",
        _text(file),
        re.MULTILINE,
    )
    assert len(pinned) == len(re.findall(r"^\w", _text(file), re.MULTILINE))
    return dict(pinned)


def _text(file: str) -> str:
    return (ROOT / file).read_text(encoding="utf-8")
