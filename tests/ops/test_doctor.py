"""The doctor before a real database: what it finds, what it leaves out, how it ends."""

from __future__ import annotations

import contextlib
import shutil
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from pydantic import SecretStr

from dragonfly.errors import LoginRefused
from dragonfly.ops.checks_configuration import Surroundings
from dragonfly.ops.checks_data import check_data
from dragonfly.ops.checks_machine import check_machine
from dragonfly.ops.checks_queue import check_queue
from dragonfly.ops.checks_reach import check_network, check_server
from dragonfly.ops.checks_schema import check_migrations, check_schema, statements
from dragonfly.ops.doctor import Report, examine
from dragonfly.ops.findings import Finding, Severity, crit, err, ok, warn
from dragonfly.postgres.database import connect
from tests.ops.drops import Drop, export
from tests.ops.rows import add_heartbeat, add_job
from tests.roles import administering
from tests.roles import administrator as administrator_of
from tests.support import drain, settings

REF = "abcdefghijklmnopqrst"


@pytest.fixture(autouse=True)
async def everlasting_law(conn: asyncpg.Connection) -> None:
    """No parameter of the law ends, so that no test depends on the day it is run."""
    await conn.execute("UPDATE civil.legal_parameters SET effective_to = NULL "
                       "WHERE effective_to > '2025-12-31'")  # fmt: skip


def faults(findings: list[Finding]) -> list[tuple[str, Severity]]:
    return [(each.id, each.severity) for each in findings if each.severity is not Severity.OK]


def told(findings: list[Finding], check: str) -> str:
    """What all findings of a check say."""
    return " ".join(each.result for each in findings if each.id == check)


class Logins:
    """Counts how often the doctor logs in."""

    def __init__(self, dsn: str, role: str | None = None) -> None:
        self.dsn = dsn
        self.role = role
        self.count = 0

    @contextlib.asynccontextmanager
    async def connect(self) -> AsyncIterator[asyncpg.Connection]:
        self.count += 1
        conn = await connect(self.dsn, "doctor", cached=False)
        try:
            if self.role:
                await conn.execute(f"SET ROLE {self.role}")
            yield conn
        finally:
            await conn.close()


async def visit(dsn: str, *, role: str | None = None, **changes: Any) -> tuple[Report, Logins]:
    logins = Logins(dsn, role)
    given = {"db_url_dev": SecretStr(dsn)} | changes
    return await examine(settings(**given), Surroundings({}), logins.connect), logins


async def test_a_sound_installation_is_well(
    dsn: str, conn: asyncpg.Connection, tmp_path: Path
) -> None:
    """With workers alive and a schema that fits, nothing is to be mended; one login was enough."""
    for worker_type in ("simplicity_ingest", "ingest_processor", "enforcement_engine"):
        await add_heartbeat(conn, worker_type)

    report, logins = await visit(dsn, intake_root=tmp_path)

    assert [] == faults(list(report.findings))
    assert (0, 1) == (report.exit_code, logins.count)
    assert {"1", "2", "3", "4", "6", "7"} == {each.id.partition(".")[0] for each in report.findings}


@pytest.mark.parametrize(
    ("findings", "unfinished", "code"),
    [
        ([ok("1.1", "")], False, 0),
        ([ok("1.1", ""), warn("1.2", "", "")], False, 0),
        ([warn("1.2", "", ""), err("2.1", "", "")], False, 1),
        ([err("2.1", "", ""), crit("1.5", "", "")], True, 2),
        ([err("3.0", "", "")], True, 3),
    ],
)
def test_exit_codes(findings: list[Finding], unfinished: bool, code: int) -> None:
    """Warnings are allowed, errors are 1, a critical mismatch 2, a broken check 3."""
    assert code == Report("dev", tuple(findings), unfinished).exit_code


async def test_a_critical_mismatch_ends_the_visit(dsn: str) -> None:
    """Parts of different projects: nothing else is looked at, and nobody logs in."""
    report, logins = await visit(dsn, db_url_prod=SecretStr(dsn))

    assert (2, 0) == (report.exit_code, logins.count)
    assert {"1"} == {each.id.partition(".")[0] for each in report.findings}


async def test_a_port_that_is_shut_is_never_logged_in_to(dsn: str) -> None:
    """When nothing listens, the port is the finding; the rest of the machine is still looked at."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"postgresql://u:p@127.0.0.1:{nobody.getsockname()[1]}/d"
        report, logins = await visit(dsn, db_url_dev=SecretStr(url))

    assert ([("2.2", Severity.ERR)], 0) == (faults(list(report.findings)), logins.count)
    assert "7.1" in {each.id for each in report.findings}
    assert 1 == report.exit_code


async def test_a_refused_login_is_tried_once(dsn: str) -> None:
    """A refused login is one finding after one try: poolers ban those who go on."""
    tries = 0

    @contextlib.asynccontextmanager
    async def refuse() -> AsyncIterator[asyncpg.Connection]:
        nonlocal tries
        tries += 1
        if tries:
            raise LoginRefused("host/db refused the login")
        yield await asyncpg.connect(dsn)

    report = await examine(settings(db_url_dev=SecretStr(dsn)), Surroundings({}), refuse)

    assert ([("2.4", Severity.ERR)], 1, 1) == (
        faults(list(report.findings)),
        tries,
        report.exit_code,
    )


async def test_a_check_that_breaks_down_is_told(dsn: str) -> None:
    """A role that may not read ends with 3, and the sentence says what it lacked."""
    name = f"reader_{urlsplit(dsn).path[-6:]}"
    async with administering(dsn) as administrator:
        await administrator.execute(f"CREATE ROLE {name}")
        try:
            report, _ = await visit(administrator_of(dsn), role=name)
        finally:
            await administrator.execute(f"DROP ROLE {name}")

    assert 3 == report.exit_code
    assert "permission denied" in told(list(report.findings), "3.0")


async def test_an_unknown_host_is_named(dsn: str) -> None:
    """A name without address is the finding."""
    findings = await check_network(urlsplit("postgresql://u:p@no-such-host.invalid/d"))

    assert [("2.1", Severity.ERR)] == faults(findings)


async def test_the_server_is_looked_over(conn: asyncpg.Connection) -> None:
    """Version, writes, round trip, clock and connections of a healthy server are well."""
    findings = await check_server(conn, local=True)

    assert [] == faults(findings)
    assert ["2.5", "2.6", "2.7", "2.10"] == [each.id for each in findings]


async def test_an_unencrypted_connection_over_a_network_is_an_error(
    conn: asyncpg.Connection,
) -> None:
    """What leaves the machine must be encrypted."""
    assert [("2.3", Severity.ERR)] == faults(await check_server(conn, local=False))


async def test_a_read_only_server_is_an_error(conn: asyncpg.Connection) -> None:
    """A server that takes no writes cannot hold a queue."""
    await conn.execute("SET default_transaction_read_only = on")

    assert [("2.5", Severity.ERR)] == faults(await check_server(conn, local=True))


@pytest.mark.parametrize(
    ("offset", "expected"),
    [(1.5, []), (-5, [("2.7", Severity.WARN)]), (30, [("2.7", Severity.ERR)])],
)
async def test_a_wrong_clock(
    conn: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    offset: float,
    expected: list[tuple[str, Severity]],
) -> None:
    """A clock that is off by over 2 s is a warning, by over 10 s an error."""
    true_time = time.time
    monkeypatch.setattr(time, "time", lambda: true_time() + offset)

    findings = [f for f in await check_server(conn, local=True) if f.id == "2.7"]

    assert expected == faults(findings)


async def test_missing_migrations_end_the_look_at_the_database(
    server: str, dsn: str, conn: asyncpg.Connection
) -> None:
    """Without its migrations the database is one finding, with the command that mends it."""
    await conn.execute("DELETE FROM ops.migrations WHERE number = 3")

    report, _ = await visit(dsn)

    (missing,) = [each for each in report.findings if each.id == "3.1"]
    assert (Severity.ERR, True, "Run: dragonfly migrate") == (
        missing.severity,
        "0003 enforcement" in missing.result,
        missing.fix,
    )
    assert [] == [each for each in report.findings if each.id.startswith(("4", "6"))]


async def test_migrations_of_a_newer_version_are_a_warning(conn: asyncpg.Connection) -> None:
    """An older process beside a newer schema is told, not refused."""
    await conn.execute(
        "INSERT INTO ops.migrations (number, name, checksum, serves) "
        "VALUES (9000, 'future', 'x', '0.1.0')"
    )

    assert [("3.1", Severity.WARN)] == faults(await check_migrations(conn))


def test_statements_are_found_in_the_code() -> None:
    """The comparison is made from the code's own statements, not from a list kept by hand."""
    found = statements()

    assert {
        "dragonfly.queue.claiming.CLAIM",
        "dragonfly.queue.insight._WORKERS",
        "dragonfly.judgments.batches._REGISTER",
        "dragonfly.ops.smoke._COUNTS",
    } <= found.keys()
    assert {"ops.jobs", "civil.judgments", "civil.enforcement_plans"} == {
        table
        for table in ("ops.jobs", "civil.judgments", "civil.enforcement_plans")
        if any(table in sql for sql in found.values())
    }


@pytest.mark.parametrize(
    ("change", "check", "names"),
    [
        ("ALTER TABLE ops.jobs RENAME crashes TO crash_count", "3.2", "crashes"),
        ("DROP TABLE civil.docketings", "3.2", "civil.docketings"),
        ("ALTER TABLE civil.judgments DISABLE ROW LEVEL SECURITY", "3.4", "civil.judgments"),
        ("GRANT SELECT ON civil.plaintiffs TO public", "3.5", "civil.plaintiffs to everybody"),
        ("GRANT SELECT (payload) ON ops.jobs TO public", "3.5", "ops.jobs.payload"),
        ("GRANT EXECUTE ON FUNCTION ops.enqueue_job TO public", "3.5", "ops.enqueue_job"),
        ("ALTER FUNCTION ops.enqueue_job RESET search_path", "3.6", "ops.enqueue_job"),
        (
            "ALTER TABLE ops.jobs ADD CONSTRAINT late CHECK (id > 0) NOT VALID",
            "3.9",
            "ops.jobs.late",
        ),
    ],
)
async def test_a_changed_schema_is_found(
    conn: asyncpg.Connection, change: str, check: str, names: str
) -> None:
    """A column gone, security switched off, a right given away: each is an error with its name."""
    await conn.execute(change)

    findings = await check_schema(conn)

    assert {(check, Severity.ERR)} == set(faults(findings))
    assert names in told(findings, check)


async def test_rights_of_the_web_roles_are_found(conn: asyncpg.Connection, dsn: str) -> None:
    """What anon or authenticated may touch is an error."""
    made = [
        role
        for role in ("anon", "authenticated")
        if not await conn.fetchval("SELECT count(*) FROM pg_roles WHERE rolname = $1", role)
    ]
    async with administering(dsn) as administrator:
        for role in made:
            await administrator.execute(f"CREATE ROLE {role}")
        try:
            await conn.execute("GRANT SELECT ON civil.judgments TO anon")
            findings = await check_schema(conn)
            await conn.execute("REVOKE ALL ON civil.judgments FROM anon")
            again = await check_schema(conn)
        finally:
            for role in made:
                await administrator.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")

    assert "table civil.judgments to anon" in told(findings, "3.5")
    assert ([("3.5", Severity.ERR)], []) == (faults(findings), faults(again))


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        (61, []),
        (60, [Severity.WARN]),
        (32, [Severity.WARN]),
        (31, [Severity.ERR]),
        (-1, [Severity.ERR]),
    ],
)
async def test_law_that_ends(conn: asyncpg.Connection, days: int, expected: list[Severity]) -> None:
    """A parameter without a value from a near day on is told two months ahead, then an error."""
    await conn.execute(
        "UPDATE civil.legal_parameters SET effective_to = "
        "(clock_timestamp() AT TIME ZONE 'America/New_York')::date + $1::integer "
        "WHERE name = 'lien_life_years'",
        days,
    )

    findings = [each for each in await check_schema(conn) if each.id == "3.12" and each.fix]

    assert expected == [each.severity for each in findings]
    assert all("lien_life_years" in each.result for each in findings)


TRADE = ("simplicity_ingest", "ingest_processor", "enforcement_engine")


@pytest.mark.parametrize(
    ("status", "seconds", "expected"),
    [
        ("running", 1, []),
        ("starting", 1, []),
        ("running", 91, [("4.1", Severity.WARN)]),
        ("running", 301, [("4.1", Severity.ERR)]),
        ("stopped", 301, [("4.1", Severity.WARN)]),
        ("error", 1, [("4.1", Severity.ERR)]),
        ("degraded", 1, [("4.8", Severity.WARN)]),
    ],
)
async def test_heartbeats(
    conn: asyncpg.Connection, status: str, seconds: float, expected: list[tuple[str, Severity]]
) -> None:
    """A worker that fell silent is an error after five minutes; one that said goodbye is not."""
    for worker_type in TRADE[1:]:
        await add_heartbeat(conn, worker_type)
    await add_heartbeat(conn, TRADE[0], "error", seconds=4000.0)
    await add_heartbeat(conn, TRADE[0], status, seconds=float(seconds), reason="because")

    assert expected == faults(await check_queue(conn))


async def test_a_worker_never_seen_is_a_warning(conn: asyncpg.Connection) -> None:
    """The firm's three workers are expected; any other is looked at when it has spoken."""
    await add_heartbeat(conn, "other", "error", reason="because")

    findings = await check_queue(conn)

    assert [("4.1", Severity.WARN)] * 3 + [("4.1", Severity.ERR)] == faults(findings)


Prepare = Callable[[asyncpg.Connection], Any]


@pytest.mark.parametrize(
    ("prepare", "expected", "says"),
    [
        (lambda c: add_heartbeat(c, "z", version="0.0.9"), ("4.2", Severity.WARN), "0.0.9"),
        (
            lambda c: add_job(c, "intake", "processing", seconds=700),
            ("4.3", Severity.ERR),
            "12 minutes",
        ),
        (lambda c: add_job(c, "intake", seconds=1500), ("4.3", Severity.WARN), "25 minutes"),
        (
            lambda c: add_job(c, "unheard_of", seconds=1),
            ("4.3", Severity.WARN),
            "Jobs of type unheard_of are left pending (1): no worker takes them",
        ),
        (
            lambda c: add_job(c, "intake", "failed", error="FILE_TYPE: no"),
            ("4.4", Severity.WARN),
            "FILE_TYPE",
        ),
    ],
)
async def test_queue_troubles(
    conn: asyncpg.Connection, prepare: Prepare, expected: tuple[str, Severity], says: str
) -> None:
    """Mixed versions, stuck and late jobs, types nobody takes and dead letters are told."""
    for worker_type in TRADE:
        await add_heartbeat(conn, worker_type, job_types=["intake", worker_type])
    await prepare(conn)

    findings = await check_queue(conn)

    assert [expected] == faults(findings)
    assert says in told(findings, expected[0])


async def test_batches_are_looked_over(conn: asyncpg.Connection, tmp_path: Path, dsn: str) -> None:
    """A real load adds up; a batch stuck halfway and a batch with a lost row are told."""
    drop = Drop(tmp_path / "intake", dsn)
    drop.put("export.csv", export())
    await drop.once()
    from dragonfly.workers.simplicity_ingest import worker

    await drain(dsn, worker, intake_root=drop.root)
    sound = await check_data(conn)
    await conn.execute("DELETE FROM civil.intake_row_results")
    lost = await check_data(conn)
    await conn.execute("UPDATE civil.intake_batches SET status = 'loading', created_at = now() "
                       "- interval '31 minutes'")  # fmt: skip
    stuck = await check_data(conn)

    assert ([], [("6.2", Severity.ERR)], [("6.1", Severity.WARN)]) == tuple(
        map(faults, (sound, lost, stuck))
    )


def test_the_machine_is_looked_over(tmp_path: Path) -> None:
    """Python, time zones, room and the intake folder are well, and nothing is made there."""
    root = tmp_path / "not" / "yet"

    findings = check_machine(root)

    assert [] == faults(findings)
    assert not root.parent.exists()


@pytest.mark.parametrize(
    ("free", "expected"), [(999_000_000, Severity.WARN), (199_000_000, Severity.ERR)]
)
def test_little_room_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, expected: Severity
) -> None:
    """Less than 1 GB free is a warning, less than 200 MB an error."""
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=free))

    assert [("7.3", expected)] * 2 == faults(check_machine(tmp_path))


def test_an_intake_folder_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    """The intake root must be a folder."""
    (tmp_path / "intake").write_text("")

    assert [("7.6", Severity.ERR)] == faults(check_machine(tmp_path / "intake"))
