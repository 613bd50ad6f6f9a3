"""Group 2: is the database to be had, and is it one that the workers can use?"""

from __future__ import annotations

import socket
import statistics
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import SplitResult

import anyio

from dragonfly.ops.findings import Finding, err, ok, warn

if TYPE_CHECKING:
    from asyncpg import Connection

OLDEST, NEWEST = 15, 18
TCP_SECONDS = 5.0
SLOW_ROUND_TRIP_SECONDS = 0.150
SKEW_WARNING_SECONDS, SKEW_ERROR_SECONDS = 2.0, 10.0
CROWDED = 0.8
_FAMILIES: dict[int, str] = {socket.AF_INET: "IPv4", socket.AF_INET6: "IPv6"}

_SERVER = """
SELECT current_setting('server_version_num')::integer AS version,
       current_setting('server_version') AS shown,
       pg_is_in_recovery() AS standby,
       current_setting('default_transaction_read_only')::boolean AS read_only
"""
_NOW = "SELECT extract(epoch FROM clock_timestamp())::float8"
_CONNECTIONS = """
SELECT coalesce(nullif(application_name, ''), '(no name)') AS name, count(*) AS count
  FROM pg_catalog.pg_stat_activity
 WHERE backend_type = 'client backend'
 GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 50
"""
_LIMIT = """
SELECT current_setting('max_connections')::integer
       - current_setting('superuser_reserved_connections')::integer
"""


async def check_network(parts: SplitResult) -> list[Finding]:
    """Checks 2.1 and 2.2: the host has an address, and its port opens. No login."""
    host, port = parts.hostname, parts.port or 5432
    if host is None:
        return []
    try:
        found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return [
            err("2.1", f"The name {host} has no address.", "Check the host's spelling and the DNS.")
        ]
    findings = list(_addresses(host, {family for family, *_ in found}))
    if any(finding.fix for finding in findings):
        return findings
    try:
        with anyio.fail_after(TCP_SECONDS):
            await (await anyio.connect_tcp(host, port)).aclose()
    except OSError as error:
        findings.append(
            err(
                "2.2",
                f"Port {port} of {host} does not open ({type(error).__name__}).",
                "Check port, firewall, and whether the project is paused.",
            )
        )
    else:
        findings.append(ok("2.2", f"Port {port} of {host} opens."))
    return findings


def _addresses(host: str, families: set[int]) -> Iterator[Finding]:
    if families == {socket.AF_INET6} and not _ipv6_leads_out():
        yield err(
            "2.1",
            f"{host} has only an IPv6 address, and this machine has no way there.",
            "Use the session pooler's address, which has IPv4, or turn on outbound IPv6.",
        )
    else:
        names = " and ".join(name for f, name in _FAMILIES.items() if f in families)
        yield ok("2.1", f"{host} has an {names} address.")


def _ipv6_leads_out() -> bool:
    """Whether there is a route; connecting a datagram socket sends nothing."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("2001:db8::1", 9))
        except OSError:
            return False
    return True


async def check_server(conn: Connection, *, local: bool) -> list[Finding]:
    """Checks 2.3 to 2.10, over the one connection of the doctor."""
    return [
        *_encryption(conn, local=local),
        *await _server(conn),
        *await _round_trip(conn),
        *await _clock(conn),
        *await _crowd(conn),
    ]


def _encryption(conn: Connection, *, local: bool) -> Iterator[Finding]:
    transport = conn._transport  # type: ignore[attr-defined]  # noqa: SLF001 - asyncpg does not say
    tls = transport.get_extra_info("ssl_object")
    if tls is not None:
        yield ok("2.3", f"The connection is encrypted ({tls.version()}).")
    elif not local:
        yield err(
            "2.3",
            "The connection is not encrypted.",
            "Add sslmode=require to the address, and turn on TLS at the server.",
        )


async def _server(conn: Connection) -> list[Finding]:
    (row,) = await conn.fetch(_SERVER)
    major = row["version"] // 10000
    findings = []
    if not OLDEST <= major <= NEWEST:
        findings.append(
            warn(
                "2.5",
                f"PostgreSQL {row['shown']} is outside the tested versions {OLDEST} to {NEWEST}.",
                "Use a tested version, or run the tests against this one.",
            )
        )
    if row["standby"] or row["read_only"]:
        what = "a standby" if row["standby"] else "set to read-only"
        findings.append(
            err(
                "2.5",
                f"The server is {what}: no job can be claimed.",
                "Use the primary's address; a project that is over its disk quota is read-only.",
            )
        )
    return findings or [ok("2.5", f"PostgreSQL {row['shown']}, which accepts writes.")]


async def _round_trip(conn: Connection) -> list[Finding]:
    times = []
    for _ in range(5):
        start = time.perf_counter()
        await conn.execute("SELECT 1")
        times.append(time.perf_counter() - start)
    middle = statistics.median(times)
    told = f"A round trip takes {middle * 1000:.0f} ms."
    if middle > SLOW_ROUND_TRIP_SECONDS:
        return [warn("2.6", told, "Run the workers in the region of the database.")]
    return [ok("2.6", told)]


async def _clock(conn: Connection) -> list[Finding]:
    before = time.time()
    theirs: float = await conn.fetchval(_NOW)
    after = time.time()
    # within a round trip nobody can tell; beyond it the difference is real
    skew = max(before - theirs, theirs - after, 0.0)
    told = f"This machine's clock differs from the database's by {skew:.1f} s."
    fix = "Let the system set its clock from the network (NTP)."
    if skew > SKEW_ERROR_SECONDS:
        return [err("2.7", told, fix)]
    if skew > SKEW_WARNING_SECONDS:
        return [warn("2.7", told, fix)]
    return [ok("2.7", "This machine's clock agrees with the database's.")]


async def _crowd(conn: Connection) -> list[Finding]:
    users = {row["name"]: row["count"] for row in await conn.fetch(_CONNECTIONS)}
    limit: int = await conn.fetchval(_LIMIT)
    used = sum(users.values())
    most = ", ".join(f"{name} {count}" for name, count in list(users.items())[:5])
    told = f"{used} of {limit} connections are in use ({most})."
    if used > CROWDED * limit:
        return [
            warn("2.10", told, "Lower DRAGONFLY_POOL_SIZE, end idle clients, or raise the limit.")
        ]
    return [ok("2.10", told)]
