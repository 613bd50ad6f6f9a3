"""Numbered SQL files, each applied once and whole in one transaction, and never changed after."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

import asyncpg

from dragonfly import __version__
from dragonfly.errors import ConfigurationError
from dragonfly.postgres.bounds import answering
from dragonfly.postgres.database import PROBING_SECONDS
from dragonfly.postgres.transactions import transaction

if TYPE_CHECKING:
    from asyncpg import Connection

_HEADER = re.compile(
    r"-- (?P<number>\d{4}) (?P<name>\w+): .+\r?\n-- serves: (?P<serves>\d+\.\d+\.\d+)\r?\n"
)
# one number for all versions of Dragonfly, so that any two migrators queue up behind each other
_LOCK = "SELECT pg_advisory_xact_lock(5277240123)"
_BOOKKEEPING = """
CREATE SCHEMA IF NOT EXISTS ops;
CREATE TABLE IF NOT EXISTS ops.migrations (
    number     integer PRIMARY KEY,
    name       text NOT NULL,
    checksum   text NOT NULL,
    serves     text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
"""
_HAS_BOOKKEEPING = "SELECT to_regclass('ops.migrations') IS NOT NULL"
_APPLIED = "SELECT number, name, checksum, serves FROM ops.migrations ORDER BY number"
_RECORD = "INSERT INTO ops.migrations (number, name, checksum, serves) VALUES ($1, $2, $3, $4)"
_FOREIGN = """
SELECT c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = 'ops' AND c.relname IN ('jobs', 'worker_heartbeats')
   AND c.relkind IN ('r', 'p', 'v', 'm')
 ORDER BY c.relname LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file; ``serves`` is the oldest version of Dragonfly that still works on its schema."""

    number: int
    name: str
    serves: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()

    @property
    def label(self) -> str:
        return f"{self.number:04d} {self.name}"


@dataclass(frozen=True, slots=True)
class SchemaState:
    """What the database has against what this version of Dragonfly ships."""

    missing: tuple[Migration, ...]
    changed: tuple[Migration, ...]
    unknown: tuple[str, ...]
    excluded_by: str | None

    def sentence(self) -> str | None:
        """Why this version cannot run on the schema; None if it can."""
        if self.missing:
            names = ", ".join(migration.label for migration in self.missing)
            return f"The database lacks these migrations: {names}. Run: dragonfly migrate"
        if self.changed:
            names = ", ".join(migration.label for migration in self.changed)
            return (
                f"These migrations were changed after they were applied: {names}. "
                "Install the version of Dragonfly that applied them, or restore the files."
            )
        if self.excluded_by:
            return (
                f"The database was migrated by {self.excluded_by}, which Dragonfly {__version__} "
                "cannot work with. Install a newer Dragonfly."
            )
        return None


def migrations() -> tuple[Migration, ...]:
    """The files of this version, in order."""
    folder = resources.files("dragonfly.queue") / "migrations"
    found = [
        _read(entry.name, entry.read_text(encoding="utf-8"))
        for entry in folder.iterdir()
        if entry.name.endswith(".sql")
    ]
    return tuple(sorted(found, key=lambda migration: migration.number))


def _read(file_name: str, text: str) -> Migration:
    text = text.replace("\r\n", "\n")
    header = _HEADER.match(text)
    if header is None or not file_name.startswith(f"{header['number']}_{header['name']}."):
        raise ConfigurationError(
            f"Migration {file_name} must begin with `-- NNNN name: …` and `-- serves: X.Y.Z`."
        )
    return Migration(int(header["number"]), header["name"], header["serves"], text)


async def migrate(conn: Connection) -> list[Migration]:
    """Apply what is missing, and return it.

    Two migrators at once are safe: the second waits and finds nothing to do. Raises
    ConfigurationError, and touches nothing, if an ``ops.jobs`` of somebody else is there.
    """
    applied = []
    for migration in migrations():
        async with transaction(conn):
            await conn.execute(_LOCK)
            if await _apply(conn, migration):
                applied.append(migration)
    return applied


async def _apply(conn: Connection, migration: Migration) -> bool:
    if not await conn.fetchval(_HAS_BOOKKEEPING):
        await _refuse_foreign_tables(conn)
    await conn.execute(_BOOKKEEPING)
    rows = {row["number"]: row["checksum"] for row in await conn.fetch(_APPLIED)}
    if migration.number in rows:
        if rows[migration.number] != migration.checksum:
            state = SchemaState((), (migration,), (), None)
            raise ConfigurationError(state.sentence())
        return False
    await conn.execute(
        _RECORD, migration.number, migration.name, migration.checksum, migration.serves
    )
    try:
        await conn.execute(migration.sql)
    except (asyncpg.FeatureNotSupportedError, asyncpg.DependentObjectsStillExistError) as error:
        if error.detail is None:
            raise  # nothing stands in the way: the server cannot do it
        raise ConfigurationError(
            f"Migration {migration.label} was not applied, and nothing is changed: {error.detail}. "
            "Drop what stands in its way, run dragonfly migrate again, and create it anew."
        ) from error
    return True


async def _refuse_foreign_tables(conn: Connection) -> None:
    foreign = await conn.fetchval(_FOREIGN)
    if foreign:
        raise ConfigurationError(
            f"The table ops.{foreign} exists but was not made by Dragonfly; it is left untouched. "
            "Rename or move it (ALTER TABLE … SET SCHEMA …), or use another database."
        )


async def schema_state(conn: Connection) -> SchemaState:
    """Compare the database with the files; reads only."""
    ours = {migration.number: migration for migration in migrations()}
    if not await conn.fetchval(_HAS_BOOKKEEPING):
        await _refuse_foreign_tables(conn)
        return SchemaState(tuple(ours.values()), (), (), None)
    rows = await conn.fetch(_APPLIED)
    applied = {row["number"]: row for row in rows}
    return SchemaState(
        missing=tuple(m for number, m in ours.items() if number not in applied),
        changed=tuple(
            m
            for number, m in ours.items()
            if number in applied and applied[number]["checksum"] != m.checksum
        ),
        unknown=tuple(
            f"{row['number']:04d} {row['name']}" for row in rows if row["number"] not in ours
        ),
        excluded_by=next(
            (
                f"{row['number']:04d} {row['name']}"
                for row in rows
                if _version(row["serves"]) > _version(__version__)
            ),
            None,
        ),
    )


async def require_schema(conn: Connection) -> None:
    """ConfigurationError with the sentence, unless this version can run on the schema.

    ConnectionResetError if the connection, which is closed then, falls silent.
    """
    with answering(conn, PROBING_SECONDS):
        sentence = (await schema_state(conn)).sentence()
    if sentence:
        raise ConfigurationError(sentence)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))
