"""Who the tests are in the database: its superuser, or one who merely owns it.

With ``pytest --role ordinary`` each database is owned, migrated and used by a role that has no
attribute but LOGIN, as a careful firm's workers would be; what only an administrator may do goes
through ``administrator()``.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

import asyncpg

ATTRIBUTES = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"


# the address of the server as its superuser, set by conftest
_server = ""


def serve(server: str) -> None:
    """Remember whose the server is."""
    globals()["_server"] = server


def new() -> tuple[str, str]:
    """Name and password of a role that does not exist yet; roles belong to the whole server."""
    return f"dragonfly_test_{secrets.token_hex(4)}", secrets.token_hex(16)


def administrator(dsn: str) -> str:
    """The same database, logged in to as the server's superuser."""
    return with_login(dsn, urlsplit(_server).netloc.rpartition("@")[0])


@asynccontextmanager
async def administering(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A superuser's connection to the database while the block runs."""
    conn = await asyncpg.connect(administrator(dsn))
    try:
        yield conn
    finally:
        await conn.close()


def with_login(dsn: str, login: str) -> str:
    """The same database, logged in to as NAME:PASSWORD."""
    parts = urlsplit(dsn)
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{login}@{place}" if login else place))
