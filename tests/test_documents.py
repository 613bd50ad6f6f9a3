"""README and docs name commands, settings and files that exist."""

from __future__ import annotations

import json
import re
import shlex
import sys
import types
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from dragonfly import enqueue
from dragonfly.settings import Settings
from tests import command_line
from tests.support import drain

ROOT = Path(__file__).parents[1]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
_COMMAND = re.compile(r"(?:^|`|&& |; )(?:\S*[/\\])?dragonfly ((?!\*)[^`\n]+)", re.MULTILINE)
_VARIABLE = re.compile(r"\b(?:DRAGONFLY|SUPABASE)_[A-Z_]*[A-Z]\b")
_SQL = re.compile(r"```sql\n(.+?)```", re.DOTALL)
_LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")
_EXAMPLE = re.compile(r"```python\n# greetings\.py\n(.+?)```", re.DOTALL)
_TEST = re.compile(r"```python\n# test_greetings\.py\n(.+?)```", re.DOTALL)
# read by the tests alone
_TEST_VARIABLES = {"DRAGONFLY_TEST_DSN", "DRAGONFLY_TEST_POOLER"}

documents = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


@documents
def test_commands_exist(document: Path) -> None:
    """Every dragonfly command that a document shows would be understood."""
    for words in _COMMAND.findall(document.read_text(encoding="utf-8")):
        command_line.check(shlex.split(re.split(r" (?:&&|;|#) ?", words)[0]))


@documents
def test_settings_exist(document: Path) -> None:
    """Every variable that a document names is a setting."""
    known = {str(field.validation_alias) for field in Settings.model_fields.values()}
    named = set(_VARIABLE.findall(document.read_text(encoding="utf-8")))
    assert set() == named - known - _TEST_VARIABLES


@documents
def test_links_lead_somewhere(document: Path) -> None:
    """Every relative link names a file of the project."""
    links = _LINK.findall(document.read_text(encoding="utf-8"))
    assert [] == [link for link in links if not (document.parent / link).exists()]


async def test_example_worker_runs(
    dsn: str, conn: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker that README shows does what README says."""
    (source,) = _EXAMPLE.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    greetings = types.ModuleType("greetings")
    monkeypatch.setitem(sys.modules, "greetings", greetings)
    exec(source, greetings.__dict__)
    await enqueue(conn, "greet", {"name": "Ada"})
    code, _ = await drain(dsn, greetings.worker)
    rows = await conn.fetch("SELECT status, result FROM ops.jobs ORDER BY id")
    done = [(row["status"], json.loads(row["result"])) for row in rows]
    assert (0, [("completed", {"greeted": "Ada"}), ("completed", {"stamped": "Ada"})]) == (
        code,
        done,
    )
    (test,) = _TEST.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    names: dict[str, Any] = {}
    exec(test, names)
    await names["test_a_greeting_is_stamped"](conn)


@documents
async def test_queries_run(document: Path, conn: asyncpg.Connection) -> None:
    """Every query that a document shows runs as it stands."""
    for query in _SQL.findall(document.read_text(encoding="utf-8")):
        await conn.fetch(query)
