"""Group 3: does the schema hold what the code uses, and is it closed to everybody else?"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections import defaultdict
from typing import TYPE_CHECKING

import asyncpg

import dragonfly
from dragonfly.errors import ConfigurationError
from dragonfly.ops.findings import Finding, err, ok, warn
from dragonfly.postgres.failures import describe
from dragonfly.queue.migrate import schema_state

if TYPE_CHECKING:
    from asyncpg import Connection

SOON_DAYS, VERY_SOON_DAYS = 60, 31
_WITH_SQL = ("queue", "judgments", "enforcement", "workers", "ops")
_STATEMENT = re.compile(r"\s*(?:--[^\n]*\n\s*)*(?:SELECT|WITH|INSERT|UPDATE|DELETE)\s")

_NO_RLS = """
SELECT n.nspname || '.' || c.relname AS name
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname IN ('ops', 'civil') AND c.relkind IN ('r', 'p') AND NOT c.relrowsecurity
 ORDER BY 1 LIMIT 50
"""
# tables and functions on which the web's roles, or everybody, hold any right; a function without
# a list of rights may be called by everybody
_OPEN = """
WITH things AS (
    SELECT 'table ' || n.nspname || '.' || c.relname AS name, c.relacl AS acl
      FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname IN ('ops', 'civil') AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
    UNION ALL
    SELECT 'column ' || n.nspname || '.' || c.relname || '.' || a.attname, a.attacl
      FROM pg_catalog.pg_attribute a
      JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname IN ('ops', 'civil') AND a.attacl IS NOT NULL
    UNION ALL
    SELECT 'function ' || n.nspname || '.' || p.proname,
           coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner))
      FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
     WHERE n.nspname IN ('ops', 'civil')
)
SELECT DISTINCT things.name || ' to ' || coalesce(r.rolname, 'everybody') AS name
  FROM things CROSS JOIN LATERAL pg_catalog.aclexplode(things.acl) AS granted
  LEFT JOIN pg_catalog.pg_roles r ON r.oid = granted.grantee
 WHERE granted.grantee = 0 OR r.rolname IN ('anon', 'authenticated')
 ORDER BY 1 LIMIT 50
"""
_LOOSE_FUNCTIONS = """
SELECT n.nspname || '.' || p.proname AS name
  FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
 WHERE n.nspname IN ('ops', 'civil') AND p.prosecdef
   AND NOT EXISTS (SELECT FROM unnest(p.proconfig) AS setting WHERE setting LIKE 'search\\_path=%')
 ORDER BY 1 LIMIT 50
"""
_UNPROVEN = """
SELECT c.conrelid::regclass::text || '.' || c.conname AS name
  FROM pg_catalog.pg_constraint c JOIN pg_catalog.pg_namespace n ON n.oid = c.connamespace
 WHERE n.nspname IN ('ops', 'civil') AND NOT c.convalidated
 ORDER BY 1 LIMIT 50
"""
# the last day for which each parameter of the law has a value, if that day is near or past
_LAW_ENDS = """
SELECT name || CASE WHEN region = '' THEN '' ELSE ' (' || region || ')' END AS name,
       ends - today AS days, ends
  FROM (SELECT name, region, max(coalesce(effective_to, 'infinity')) AS ends,
               (clock_timestamp() AT TIME ZONE 'America/New_York')::date AS today
          FROM civil.legal_parameters
         GROUP BY name, region
        HAVING max(coalesce(effective_to, 'infinity')) < 'infinity') AS last
 WHERE ends - today <= $1
 ORDER BY ends, 1 LIMIT 50
"""


async def check_migrations(conn: Connection) -> list[Finding]:
    """Check 3.1; with an error among them the schema is not worth a closer look."""
    try:
        state = await schema_state(conn)
    except ConfigurationError as error:
        return [err("3.1", str(error), "Move that table away, or use another database.")]
    sentence = state.sentence()
    if sentence:
        told, _, fix = sentence.rpartition(". ")
        return [err("3.1", f"{told}.", fix)]
    if state.unknown:
        return [
            warn(
                "3.1",
                f"The database has newer migrations: {', '.join(state.unknown)}.",
                "Deploy the newer Dragonfly here as well.",
            )
        ]
    return [ok("3.1", "All migrations are applied, and unchanged.")]


async def check_schema(conn: Connection) -> list[Finding]:
    """Checks 3.2 to 3.12."""
    return [
        *await _statements(conn),
        *await _named(
            conn, "3.4", _NO_RLS, "Row-level security is off on", "Row-level security is on.",
            "Run: ALTER TABLE … ENABLE ROW LEVEL SECURITY.",
        ),
        *await _named(
            conn, "3.5", _OPEN, "Rights are granted that nobody but the workers should have:",
            "anon, authenticated and everybody have no rights.",
            "REVOKE them; Supabase grants them anew when a schema is exposed to its API.",
        ),
        *await _named(
            conn, "3.6", _LOOSE_FUNCTIONS, "These functions run as their owner on any search_path:",
            "Functions that run as their owner fix their search_path.",
            "Run: ALTER FUNCTION … SET search_path = ''.",
        ),
        *await _named(
            conn, "3.9", _UNPROVEN, "These constraints were never proved for the rows there are:",
            "All constraints hold for all rows.",
            "Run: ALTER TABLE … VALIDATE CONSTRAINT ….",
        ),
        *await _law(conn),
    ]  # fmt: skip


async def _named(
    conn: Connection, check: str, query: str, bad: str, good: str, fix: str
) -> list[Finding]:
    """A query that names what is wrong, and should name nothing."""
    names = [row["name"] for row in await conn.fetch(query)]
    return [err(check, f"{bad} {', '.join(names)}.", fix)] if names else [ok(check, good)]


def statements() -> dict[str, str]:
    """Every statement of the code, by where it stands."""
    found = {}
    for package in _WITH_SQL:
        folder = [f"{path}/{package}" for path in dragonfly.__path__]
        for module in pkgutil.iter_modules(folder, f"dragonfly.{package}."):
            for name, value in vars(importlib.import_module(module.name)).items():
                if isinstance(value, str) and name.isupper() and _STATEMENT.match(value):
                    found[f"{module.name}.{name}"] = value
    return found


async def _statements(conn: Connection) -> list[Finding]:
    """Let the server read every statement, run none: it knows which columns are there."""
    all_of_them = statements()
    try:
        await _read(conn, *all_of_them.values())
    except asyncpg.PostgresError:
        faults: defaultdict[str, list[str]] = defaultdict(list)
        for where, statement in all_of_them.items():
            try:
                await _read(conn, statement)
            except asyncpg.PostgresError as error:
                faults[describe(error)].append(where)
        return [
            err(
                "3.2",
                f"{fault}, needed by {', '.join(places[:3])}.",
                "Find out who changed the schema, and put back what is missing.",
            )
            for fault, places in faults.items()
        ]
    return [ok("3.2", f"The tables fit all {len(all_of_them)} statements of the code.")]


async def _read(conn: Connection, *statements: str) -> None:
    """PREPARE in the simple protocol: one round trip, and nothing is left behind a pooler."""
    script = "".join(
        f"PREPARE dragonfly_doctor AS {statement.strip().removesuffix(';')}\n;"
        "DEALLOCATE dragonfly_doctor;"
        for statement in statements
    )
    await conn.execute(script)


async def _law(conn: Connection) -> list[Finding]:
    """Check 3.12: without the number in force, what depends on it is blocked."""
    findings = []
    for row in await conn.fetch(_LAW_ENDS, SOON_DAYS):
        report = err if row["days"] <= VERY_SOON_DAYS else warn
        findings.append(
            report(
                "3.12",
                f"Legal parameter {row['name']} has no value after {row['ends']}.",
                "Add the next value, with its source, to civil.legal_parameters.",
            )
        )
    return findings or [ok("3.12", f"Every legal parameter has a value for {SOON_DAYS} days.")]
