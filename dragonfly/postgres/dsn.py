"""Reads a PostgreSQL address, and shows it to people without its password."""

from __future__ import annotations

from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from dragonfly.errors import ConfigurationError

_SCHEMES = ("postgres", "postgresql")
_FORM = "postgresql://USER:PASSWORD@HOST:PORT/DATABASE"


def check_dsn(dsn: str, variable: str) -> SplitResult:
    """The parts of the address; ConfigurationError names the variable and never the password."""
    try:
        parts = urlsplit(dsn.strip())
        port = parts.port
    except ValueError:
        raise ConfigurationError(
            f"{variable} cannot be read as a PostgreSQL address (host or port is malformed); "
            f"write it as {_FORM}, with special characters of the password percent-encoded."
        ) from None
    if parts.scheme not in _SCHEMES:
        raise ConfigurationError(
            f"{variable} must start with postgresql:// (as in {_FORM}); it starts otherwise."
        )
    if not (parts.hostname or "host" in parse_qs(parts.query)):
        raise ConfigurationError(f"{variable} names no host; write it as {_FORM}.")
    if port == 0 or "#" in dsn:
        raise ConfigurationError(
            f"{variable} cannot be read as a PostgreSQL address; a # or other special character "
            "of the password must be percent-encoded (# is %23)."
        )
    return parts


def shown(dsn: str) -> str:
    """Host, port and database of an address: what a log line may show."""
    parts = urlsplit(dsn)
    query = parse_qs(parts.query)
    host = parts.hostname or query.get("host", ["?"])[0]
    database = unquote(parts.path.lstrip("/")) or "postgres"
    return f"{host}{f':{parts.port}' if parts.port else ''}/{database}"
