"""Group 1 of the doctor: addresses, keys and the .env, without asking anyone."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from pydantic import SecretStr

from dragonfly.ops.checks_configuration import Surroundings, check_configuration
from dragonfly.ops.findings import Finding, Severity
from tests.support import settings

NOW = 1_800_000_000.0
REF, OTHER = "abcdefghijklmnopqrst", "zyxwvutsrqponmlkjihg"
DIRECT = f"postgresql://postgres:pw@db.{REF}.supabase.co:5432/postgres?sslmode=require"
POOLER = "aws-0-us-east-1.pooler.supabase.com"
SECRET = "hush-hush"


def key(**claims: Any) -> SecretStr:
    """A JWT with these claims; by default a service role key of the project, valid for years."""
    said = {"role": "service_role", "ref": REF, "exp": NOW + 10**8} | claims
    body = base64.urlsafe_b64encode(json.dumps(said).encode()).decode().rstrip("=")
    return SecretStr(f"eyJhbGciOiJIUzI1NiJ9.{body}.{SECRET}")


def look(
    *, environment: dict[str, str] | None = None, dotenv: bytes | None = None, **changes: Any
) -> list[Finding]:
    """The findings in prod, where everything is set and fits, but for the changes."""
    given: dict[str, Any] = {
        "mode": "prod",
        "db_url_prod": SecretStr(DIRECT),
        "db_url_dev": None,
        "url_dev": None,
        "url_prod": f"https://{REF}.supabase.co",
        "service_role_key_prod": key(),
    } | changes
    for name in ("db_url_prod", "db_url_dev"):
        if isinstance(given[name], str):
            given[name] = SecretStr(given[name])
    return check_configuration(settings(**given), Surroundings(environment or {}, dotenv, NOW))


def faults(findings: list[Finding]) -> list[tuple[str, Severity]]:
    return [(each.id, each.severity) for each in findings if each.severity is not Severity.OK]


def test_all_is_well() -> None:
    """A configuration whose parts fit has nothing to mend."""
    assert [] == faults(look(dotenv=b"SUPABASE_MODE=prod\n"))


def test_nothing_set_in_dev_is_well() -> None:
    """In dev, nothing need be set."""
    assert [] == faults(look(mode="dev"))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"db_url_prod": None}, [("1.1", Severity.ERR)]),
        ({"service_role_key_prod": None}, [("1.1", Severity.ERR)]),
        ({"url_prod": None}, [("1.1", Severity.ERR)]),
        ({"url_prod": None, "service_role_key_prod": None}, [("1.1", Severity.WARN)]),
    ],
)
def test_required_variables(changes: dict[str, Any], expected: list[tuple[str, Severity]]) -> None:
    """Prod needs a database; an API address needs its key, and a key its address."""
    assert expected == faults(look(**changes))


@pytest.mark.parametrize(
    ("dotenv", "expected"),
    [
        (b"\xef\xbb\xbfPORT=1\n", [("1.2", Severity.WARN)]),
        (b"PORT=1\r\nA=2\r\n", [("1.2", Severity.WARN)]),
        (b'PORT="1\n', [("1.2", Severity.ERR)]),
        (b'PORT=1"\n', [("1.2", Severity.ERR)]),
        (b"PORT='1'  # a comment\nexport A=b\n# it's one\n", []),
    ],
)
def test_env_file(dotenv: bytes, expected: list[tuple[str, Severity]]) -> None:
    """A byte order mark, foreign line ends and quotes without a partner are found in .env."""
    assert expected == faults(look(dotenv=dotenv))


def test_a_fault_in_env_names_line_and_variable() -> None:
    """The finding names the line and the variable, never the value."""
    (found,) = [f for f in look(dotenv=f'A=1\nPORT="{SECRET}\n'.encode()) if f.fix]

    assert (True, False) == (
        "line 2" in found.result and "PORT" in found.result,
        SECRET in str(found),
    )


@pytest.mark.parametrize("value", ["'8000'", '"8000"', " 8000", "8000 ", "8000\r"])
def test_quotes_in_the_environment(value: str) -> None:
    """In the environment itself, quotes and blanks are part of the value."""
    assert [("1.2", Severity.ERR)] == faults(look(environment={"PORT": value, "HOME": value}))


def test_two_names_for_one_thing() -> None:
    """Another name with another value is told; with the same value it is not."""
    assert [("1.3", Severity.WARN)] == faults(
        look(environment={"DATABASE_URL": "postgresql://x/y"})
    )
    assert [] == faults(look(environment={"DATABASE_URL": DIRECT}))


@pytest.mark.parametrize(
    "changes",
    [
        {"db_url_dev": DIRECT},
        {"db_url_dev": f"postgresql://postgres.{REF}:other@{POOLER}:5432/postgres"},
        {"url_dev": f"https://{REF}.supabase.co/"},
    ],
)
def test_dev_and_prod_are_apart(changes: dict[str, Any]) -> None:
    """Dev variables that reach what prod uses are critical."""
    assert [("1.4", Severity.CRIT)] == faults(look(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"url_prod": f"https://{OTHER}.supabase.co"},
        {"service_role_key_prod": key(ref=OTHER)},
        {"db_url_prod": DIRECT.replace(REF, OTHER)},
        {"db_url_prod": f"postgresql://postgres.{OTHER}:pw@{POOLER}/postgres?sslmode=require"},
    ],
)
def test_one_project(changes: dict[str, Any]) -> None:
    """Address, URL and key of different projects are critical, and the finding names them."""
    findings = look(**changes)

    assert [("1.5", Severity.CRIT)] == faults(findings)
    told = next(each.result for each in findings if each.id == "1.5")
    assert (True, True) == (REF in told, OTHER in told)


@pytest.mark.parametrize(
    ("secret", "expected"),
    [
        (key(role="anon"), [("1.6", Severity.ERR)]),
        (key(exp=NOW - 1), [("1.6", Severity.ERR)]),
        (key(exp=NOW + 29 * 86400), [("1.6", Severity.WARN)]),
        (SecretStr("sb_publishable_x"), [("1.6", Severity.ERR)]),
        (SecretStr("sb_secret_x"), []),
        (SecretStr("not.a.key"), [("1.6", Severity.ERR)]),
        (SecretStr(SECRET), [("1.6", Severity.ERR)]),
    ],
)
def test_key_kinds(secret: SecretStr, expected: list[tuple[str, Severity]]) -> None:
    """Only a living service role key will do."""
    assert expected == faults(look(service_role_key_prod=secret))


def test_powerful_addresses() -> None:
    """An administrator's address beside the workers, or in their place, is told."""
    environment = {"SUPABASE_MIGRATION_DB_URL": "postgresql://x"}
    as_admin = DIRECT.replace("postgres:pw", "supabase_admin:pw")

    assert [("1.7", Severity.WARN)] == faults(look(environment=environment))
    assert [("1.7", Severity.WARN)] == faults(look(db_url_prod=as_admin))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (DIRECT.partition("?")[0], [("1.8", Severity.WARN)]),
        ("mysql://x:y@h/z", [("1.8", Severity.ERR)]),
        (f"postgresql://u:p#q@db.{REF}.supabase.co/z", [("1.8", Severity.ERR)]),
        ("postgresql://u:p@localhost:5433/z", []),
        ("postgresql:///z?host=/tmp/pg", []),
        (f"postgresql://postgres.{REF}:p@{POOLER}:5432/z?sslmode=require", []),
        (
            f"postgresql://postgres.{REF}:p@{POOLER}:6543/z?sslmode=require",
            [("1.9", Severity.WARN)],
        ),
        (
            f"postgresql://postgres.{REF}:p@{POOLER}:5433/z?sslmode=require",
            [("1.9", Severity.ERR)],
        ),
        (
            f"postgresql://postgres:p@{POOLER}:5432/z?sslmode=require",
            [("1.10", Severity.ERR)],
        ),
    ],
)
def test_addresses(url: str, expected: list[tuple[str, Severity]]) -> None:
    """What an address tells: encryption, direct or pooler, and the pooler's own kind of user."""
    assert expected == faults(look(db_url_prod=url))


@pytest.mark.parametrize(
    ("host", "port", "kind"),
    [
        (f"db.{REF}.supabase.co", 5432, "direct"),
        (POOLER, 5432, "session pooler"),
        (POOLER, 6543, "transaction pooler"),
        ("db.example.org", 5432, "server outside Supabase"),
    ],
)
def test_truth_table_of_ports(host: str, port: int, kind: str) -> None:
    """Port 5432 of a pooler host is no direct connection."""
    url = f"postgresql://postgres.{REF}:p@{host}:{port}/z?sslmode=require"
    listen = SecretStr(DIRECT)

    told = [f.result for f in look(db_url_prod=url, listen_url=listen) if f.id == "1.9"]

    assert [f"SUPABASE_DB_URL_PROD is a {kind}."] == told


def test_no_secret_is_told() -> None:
    """No finding holds a password or a key, whatever is wrong."""
    environment = {"DATABASE_URL": f"postgresql://u:{SECRET}@h/d", "PORT": f"'{SECRET}'"}
    everything = []
    for url in (DIRECT.replace(":pw@", f":{SECRET}@"), f"postgresql://u:{SECRET}#@h/d"):
        for kind in (key(), key(role="anon"), SecretStr(SECRET)):
            everything += look(
                environment=environment,
                dotenv=f'X="{SECRET}\n'.encode(),
                db_url_prod=url,
                service_role_key_prod=kind,
            )

    assert [] == [each for each in everything if SECRET in f"{each.result} {each.fix}"]
