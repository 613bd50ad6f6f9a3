"""Addresses are read once, and never shown with their password."""

from __future__ import annotations

import pytest

from dragonfly.errors import ConfigurationError
from dragonfly.postgres.dsn import check_dsn, shown


@pytest.mark.parametrize(
    "dsn",
    [
        "mysql://u:hunter2@h/db",
        "postgresql://u:hunter2@h:port/db",
        "postgresql://u:hun#ter2@h/db",
        "postgresql://u:hunter2@[::1/db",
        "postgresql:///db",
        "hunter2",
        "",
    ],
)
def test_what_cannot_be_read_gets_a_sentence(dsn: str) -> None:
    """An address that cannot be read names the variable and the form, never the password."""
    with pytest.raises(ConfigurationError) as caught:
        check_dsn(dsn, "SUPABASE_DB_URL_DEV")

    assert "SUPABASE_DB_URL_DEV" in str(caught.value)
    assert "ter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("dsn", "text"),
    [
        ("postgresql://u:p@db.example:6543/postgres", "db.example:6543/postgres"),
        ("postgresql://u:p@db.example", "db.example/postgres"),
        ("postgresql://postgres:@/x?host=/tmp/pg", "/tmp/pg/x"),
    ],
)
def test_only_host_and_database_are_shown(dsn: str, text: str) -> None:
    """A log line shows where, not who or with what."""
    assert text == shown(dsn)
