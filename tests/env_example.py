"""Writes ``.env.example`` from the settings: ``python -m tests.env_example``."""

from __future__ import annotations

from pathlib import Path

from pydantic.fields import FieldInfo

from dragonfly.settings import Settings

ENV_EXAMPLE = Path(__file__).parents[1] / ".env.example"

_HEAD = """\
# Copy this file to .env and change what you need. It is read unless SUPABASE_MODE=prod is set in
# the environment itself. A line left empty means the default; the values below are the defaults.
"""


def render() -> str:
    """The whole file: each setting in the order of its declaration, its sentence above it."""
    return _HEAD + "".join(map(_entry, Settings.model_fields.values()))


def _entry(field: FieldInfo) -> str:
    default = field.default
    shown = "" if default is None else default.as_posix() if isinstance(default, Path) else default
    return f"\n# {field.description}\n{field.validation_alias}={shown}\n"


if __name__ == "__main__":
    ENV_EXAMPLE.write_text(render(), encoding="utf-8", newline="\n")
