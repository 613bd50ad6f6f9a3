"""README and docs name commands, settings and files that exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from dragonfly.settings import Settings
from tests import command_line

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
_COMMAND = re.compile(r"(?:^|`|&& |; )(?:\S*[/\\])?dragonfly ((?!\*)[^`\n]+)", re.MULTILINE)
_VARIABLE = re.compile(r"\b(?:DRAGONFLY|SUPABASE)_[A-Z_]*[A-Z]\b")
_LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")
# read by the tests alone
_TEST_VARIABLES = {"DRAGONFLY_TEST_DSN"}

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
