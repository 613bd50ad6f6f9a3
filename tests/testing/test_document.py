"""docs/testing.md: its tests pass, and what it shows of a failure is what a failure shows."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import asyncpg
import pytest

from dragonfly.testing import assert_enqueued, perform
from tests import documents

TEXT = documents.read("testing.md")
FAILURE = re.compile(r"```text\n(expected .+?)\n```", re.DOTALL)


@pytest.mark.timeout(250)  # a run of pytest of its own
def test_the_examples_pass(server: str, tmp_path: Path) -> None:
    """The files of the page, in an empty folder, are a test suite that passes."""
    names = documents.write_files(TEXT, tmp_path)
    env = documents.environment(DRAGONFLY_TEST_DSN=server)
    done = documents.run("python -m pytest -q -p no:cacheprovider", tmp_path, env)

    assert {"greetings.py", "conftest.py", "test_handlers.py", "test_queue.py"} < set(names)
    assert "5 passed" in done.stdout, done.stdout + done.stderr


async def test_the_failure_that_is_shown(
    conn: asyncpg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page's message of assert_enqueued is the one that is raised."""
    documents.write_files(TEXT, tmp_path)
    greetings = types.ModuleType("greetings")
    monkeypatch.setitem(sys.modules, "greetings", greetings)
    exec((tmp_path / "greetings.py").read_text(encoding="utf-8"), greetings.__dict__)
    await perform(greetings.worker, "greet", {"name": "Ada"}, conn=conn)

    with pytest.raises(AssertionError) as error:
        await assert_enqueued(conn, "stamp", {"name": "Bob"})

    assert FAILURE.findall(TEXT) == [str(error.value)]
