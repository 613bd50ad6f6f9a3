"""The examples of a document: files, and commands with what they print."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
_FILE = re.compile(r"```(?:python|toml)\n# (\S+\.(?:py|toml))\n(.*?)```", re.DOTALL)
_SHELL = re.compile(r"```sh\n(.*?)```(?:\n\n```text\n(.*?)```)?", re.DOTALL)
_TIME = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?\+00:?00")
_SECONDS = re.compile(r"\d+\.\d+s\b")


@dataclass(frozen=True, slots=True)
class Step:
    """Commands, one a line, and the lines that the last of them prints, or None."""

    commands: tuple[str, ...]
    output: tuple[str, ...] | None


def read(name: str) -> str:
    """The text of a document."""
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def write_files(text: str, folder: Path) -> list[str]:
    """Write the files that a document shows into a folder; their names."""
    names = []
    for name, source in _FILE.findall(text):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
        names.append(name)
    return names


def steps(text: str) -> list[Step]:
    """The blocks of commands of a document, in their order."""
    return [
        Step(tuple(commands.splitlines()), tuple(output.splitlines()) if output else None)
        for commands, output in _SHELL.findall(text)
    ]


def argv(command: str) -> list[str]:
    """The command's words, with this environment's Python."""
    program, *words = shlex.split(command)
    programs = {"dragonfly": [sys.executable, "-m", "dragonfly"], "python": [sys.executable]}
    return [*programs[program], *words]


def environment(**changes: str) -> dict[str, str]:
    """This process's environment without its settings; this project can be imported."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DRAGONFLY_", "SUPABASE_", "PYTEST_")) and name != "PORT"
    }
    return kept | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"} | changes


def run(command: str, folder: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """A command as a person would type it in the folder, after its end."""
    return subprocess.run(
        argv(command),
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def comparable(lines: list[str] | tuple[str, ...]) -> list[str]:
    """The lines without times; a table's columns may be wider where a time is."""
    return [
        " ".join(_SECONDS.sub("1.0s", _TIME.sub("TIME", line)).split())
        for line in lines
        if line.strip()
    ]


def shows(expected: tuple[str, ...], printed: str) -> bool:
    """Whether the output is what the document shows; a line ``...`` stands for any lines."""
    wanted, there = comparable(expected), comparable(printed.splitlines())
    pattern = "".join(
        r"(?:.*\n)*?" if line == "..." else re.escape(line) + r"\n" for line in wanted
    )
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in there)) is not None
