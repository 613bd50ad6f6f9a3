"""Looks at everything the workers depend on, logs in once, and changes nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import anyio

from dragonfly.errors import ConfigurationError
from dragonfly.ops.checks_configuration import Surroundings, check_configuration
from dragonfly.ops.checks_data import check_data
from dragonfly.ops.checks_machine import check_machine
from dragonfly.ops.checks_queue import check_queue
from dragonfly.ops.checks_reach import check_network, check_server
from dragonfly.ops.checks_schema import check_migrations, check_schema
from dragonfly.ops.findings import Finding, Severity, err, ok
from dragonfly.ops.supabase import is_local
from dragonfly.postgres.dsn import check_dsn
from dragonfly.postgres.failures import TROUBLE, describe
from dragonfly.settings import Settings

if TYPE_CHECKING:
    from asyncpg import Connection

GROUP_SECONDS = 60.0

Connect = Callable[[], AbstractAsyncContextManager["Connection"]]


@dataclass(frozen=True, slots=True)
class Report:
    """What the doctor found; ``unfinished`` when a check itself could not be made."""

    mode: str
    findings: tuple[Finding, ...]
    unfinished: bool = False

    @property
    def exit_code(self) -> int:
        """0 all is well or a warning, 1 an error, 2 a critical mismatch, 3 a check broke down."""
        found = {finding.severity for finding in self.findings}
        if Severity.CRIT in found:
            return 2
        if self.unfinished:
            return 3
        return int(Severity.ERR in found)

    def line(self) -> str:
        """The summary, in one line."""
        count = {s: sum(f.severity is s for f in self.findings) for s in Severity}
        return (
            f"doctor ({self.mode}): {count[Severity.OK]} ok, {count[Severity.WARN]} warnings, "
            f"{count[Severity.ERR]} errors, {count[Severity.CRIT]} critical"
        )

    def json(self) -> dict[str, Any]:
        return {
            "mode": self.mode,
            "exit_code": self.exit_code,
            "findings": [asdict(finding) for finding in self.findings],
        }


async def examine(settings: Settings, around: Surroundings, connect: Connect) -> Report:
    """All groups that can be looked at, in order; a ``crit`` of group 1 ends it there.

    ``connect`` logs in once; it is not called at all while the configuration or the network is
    already known to be at fault.
    """
    findings = check_configuration(settings, around)
    if any(finding.severity is Severity.CRIT for finding in findings):
        return Report(settings.mode, tuple(findings))
    findings += check_machine(settings.intake_root)
    unfinished = False
    if await _network(settings, findings):
        unfinished = await _database(settings, connect, findings)
    findings.sort(key=lambda finding: [int(part) for part in finding.id.split(".")])
    return Report(settings.mode, tuple(findings), unfinished)


async def _network(settings: Settings, findings: list[Finding]) -> bool:
    """Whether a login has a chance; a hopeless one might count towards a ban."""
    url = settings.database_url
    if any(f.id in {"1.1", "1.8", "1.9", "1.10"} and f.severity is Severity.ERR for f in findings):
        return False
    if url is None:
        return True
    found = await check_network(check_dsn(url, "the address"))
    findings += found
    return all(finding.severity is not Severity.ERR for finding in found)


async def _database(settings: Settings, connect: Connect, findings: list[Finding]) -> bool:
    """Groups 2, 3, 4 and 6 over one connection; True if one of them broke down."""
    fix = "Mend this first; what needs the database was not looked at."
    try:
        async with connect() as conn:
            findings.append(ok("2.4", "The database accepted the login."))
            return await _ask(settings, conn, findings)
    except ConfigurationError as error:
        findings.append(err("2.4", str(error), fix))
    except TROUBLE as error:
        findings.append(err("2.4", f"The database does not answer ({describe(error)}).", fix))
    return False


async def _ask(settings: Settings, conn: Connection, findings: list[Finding]) -> bool:
    url = settings.database_url
    local = url is None or is_local(check_dsn(url, "the address"))
    broken = await _group("2", lambda: check_server(conn, local=local), findings)
    before = len(findings)
    broken |= await _group("3", lambda: check_migrations(conn), findings)
    if broken or any(finding.severity is Severity.ERR for finding in findings[before:]):
        return broken
    broken |= await _group("3", lambda: check_schema(conn), findings)
    broken |= await _group("4", lambda: check_queue(conn), findings)
    broken |= await _group("6", lambda: check_data(conn), findings)
    return broken


async def _group(
    number: str, look: Callable[[], Awaitable[list[Finding]]], findings: list[Finding]
) -> bool:
    """One group's findings; True if it broke down, which is a finding too."""
    try:
        with anyio.fail_after(GROUP_SECONDS):
            findings += await look()
    except TROUBLE as error:
        findings.append(
            err(
                f"{number}.0",
                f"Group {number} could not be looked at to its end ({describe(error)}).",
                "Run the doctor again with a role that owns the tables, when the database is well.",
            )
        )
        return True
    return False
