"""``.env.example`` and the settings say the same."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from pydantic import SecretStr

from dragonfly.settings import Settings, load_settings
from tests.env_example import ENV_EXAMPLE, render


def test_shows_every_setting() -> None:
    """Names, order, sentences and defaults are those of the settings."""
    assert render() == ENV_EXAMPLE.read_text(encoding="utf-8")


def test_means_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copied to ``.env`` as it stands, the file changes nothing."""
    for field in Settings.model_fields.values():
        monkeypatch.delenv(str(field.validation_alias), raising=False)
    monkeypatch.chdir(tmp_path)
    before = load_settings()
    shutil.copy(ENV_EXAMPLE, tmp_path / ".env")
    assert before == load_settings()


def test_holds_no_secret() -> None:
    """Every secret is empty."""
    secrets = {
        str(field.validation_alias)
        for field in Settings.model_fields.values()
        if SecretStr in getattr(field.annotation, "__args__", (field.annotation,))
    }
    lines = ENV_EXAMPLE.read_text(encoding="utf-8").splitlines()
    shown = {name for name, _, value in (line.partition("=") for line in lines) if not value}
    assert "SUPABASE_SERVICE_ROLE_KEY_PROD" in secrets
    assert set() == secrets - shown
