"""``dragonfly doctor``: everything the workers depend on, looked at once."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dragonfly.cli.asyncs import run_async
from dragonfly.cli.reach import reach_database
from dragonfly.cli.show import say, show_json
from dragonfly.errors import ConfigurationError
from dragonfly.ops.checks_configuration import look_around
from dragonfly.ops.doctor import Report, examine
from dragonfly.ops.findings import Severity, err
from dragonfly.postgres.database import close, connect
from dragonfly.settings import Settings, load_settings

if TYPE_CHECKING:
    from asyncpg import Connection

_MARKS = {
    Severity.OK: ("ok  ", "green"),
    Severity.WARN: ("warn", "yellow"),
    Severity.ERR: ("ERR ", "red"),
    Severity.CRIT: ("CRIT", "red"),
}


@click.command(epilog="Example:  dragonfly doctor --env prod")
@click.option("--env", type=click.Choice(["dev", "prod"]), help="Overrides SUPABASE_MODE.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(env: str | None, as_json: bool) -> None:
    """Check configuration, database, schema, queue, data and machine; log in once, change nothing.

    Ends with 0 when all is well (warnings allowed), 1 for errors, 2 when parts of the
    configuration belong to different projects, 3 when a check could not be made.
    """
    try:
        settings = load_settings(mode=env)
    except ConfigurationError as error:
        fault = err("1.1", str(error), "Correct these variables; nothing else was looked at.")
        report = Report(env or "?", (fault,))
    else:
        around = look_around(os.environ, _dotenv())
        report = run_async(examine, settings, around, lambda: _connection(settings))
    _show(report, as_json=as_json)
    raise click.exceptions.Exit(report.exit_code)


def _dotenv() -> bytes | None:
    """The file that the settings were read from, if they were."""
    path = Path(".env")
    if os.environ.get("SUPABASE_MODE") == "prod" or not path.is_file():
        return None
    return path.read_bytes()


@asynccontextmanager
async def _connection(settings: Settings) -> AsyncIterator[Connection]:
    """The one connection; a server of our own is started and migrated as the workers would."""
    async with AsyncExitStack() as stack:
        dsn = settings.database_url
        if dsn is None:
            dsn = (await stack.enter_async_context(reach_database(settings))).dsn
        # never by open_database(): its experiment with poolers needs a second login
        conn = await connect(dsn, "doctor", cached=False)
        try:
            yield conn
        finally:
            await close(conn)


def _show(report: Report, *, as_json: bool) -> None:
    if as_json:
        show_json(report.json())
        return
    for finding in report.findings:
        mark, colour = _MARKS[finding.severity]
        click.echo(f"{click.style(mark, fg=colour)}  {finding.id:<5} ", nl=False)
        say(finding.result)
        if finding.fix:
            click.echo(" " * 12, nl=False)
            say(finding.fix)
    say(report.line())
