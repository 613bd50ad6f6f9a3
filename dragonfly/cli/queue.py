"""``dragonfly queue``: the queue as a whole, and how to pause a type of jobs."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from dragonfly.cli.asking import ask, deed
from dragonfly.cli.queue_tables import show_report
from dragonfly.cli.show import say, show_json
from dragonfly.ops import interventions
from dragonfly.ops.queue_report import look
from dragonfly.queue import pauses
from dragonfly.queue.pauses import Pause
from dragonfly.settings import load_settings

if TYPE_CHECKING:
    from asyncpg import Connection

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SHORTEST, _LONGEST = 60, 7 * 86400


def _seconds(ctx: click.Context, param: click.Parameter, value: str) -> float:
    """A length of time such as 10m, 1h or 24h."""
    found = re.fullmatch(r"(\d{1,6})([smhd])", value)
    seconds = int(found[1]) * _UNITS[found[2]] if found else 0
    if not _SHORTEST <= seconds <= _LONGEST:
        raise click.BadParameter("write a time from 1m to 7d, such as 10m, 1h or 24h.")
    return float(seconds)


def _moment(ctx: click.Context, param: click.Parameter, value: str | None) -> datetime | None:
    """A time with its zone, or a length of time from now such as 30m."""
    if value is None:
        return None
    if found := re.fullmatch(r"(\d{1,6})([smhd])", value):
        return datetime.now(UTC) + timedelta(seconds=int(found[1]) * _UNITS[found[2]])
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise click.BadParameter("write 30m, 2h or 3d from now, or 2026-12-01T09:00+00:00.")
    if moment <= datetime.now(UTC):
        raise click.BadParameter(f"{value} is over already.")
    return moment


_reason_option = click.option(
    "--reason", required=True, help="Why; kept in ops.audit, so write no names and no amounts."
)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def queue() -> None:
    """See how the queue does as a whole; pause and resume a type of jobs."""


@queue.command(
    epilog='Example:  dragonfly queue pause simplicity_ingest --for 2h --reason "bank closed"'
)
@click.argument("job_type")
@_reason_option
@click.option(
    "--until",
    "--for",
    "until",
    metavar="TIME",
    callback=_moment,
    help="Resume by itself: 30m, 2h, or 2026-12-01T09:00+00:00. Without it: until resumed.",
)
@_json_option
def pause(job_type: str, reason: str, until: datetime | None, as_json: bool) -> None:
    """Let no worker claim jobs of a type; those that run go on, and new ones may be added."""
    done, found = _act(
        job_type, lambda conn: interventions.pause_type(conn, job_type, deed(reason), until)
    )
    if not done and found:
        raise click.ClickException(f"{job_type} is paused already, {_words(found)}.")
    if as_json:
        show_json(asdict(found) if found else None)
    else:
        say(f"{job_type} is paused. Its jobs that run go on.")


@queue.command(epilog='Example:  dragonfly queue resume simplicity_ingest --reason "bank open"')
@click.argument("job_type")
@_reason_option
@_json_option
def resume(job_type: str, reason: str, as_json: bool) -> None:
    """Let workers claim a paused type again, at once."""
    done, _ = _act(job_type, lambda conn: interventions.resume_type(conn, job_type, deed(reason)))
    if not done:
        raise click.ClickException(f"{job_type} is not paused.")
    if as_json:
        show_json({"job_type": job_type, "paused": False})
    else:
        say(f"{job_type} is claimed again.")


def _act(
    job_type: str, action: Callable[[Connection], Awaitable[bool]]
) -> tuple[bool, Pause | None]:
    async def act(conn: Connection) -> tuple[bool, Pause | None]:
        done = await action(conn)
        found = {pause.job_type: pause for pause in await pauses.paused(conn)}
        return done, found.get(job_type)

    return ask(act)


def _words(found: Pause) -> str:
    until = f" until {found.until:%Y-%m-%d %H:%M:%S%z}" if found.until else ""
    return (
        f"by {found.paused_by} since {found.paused_at:%Y-%m-%d %H:%M:%S%z}{until}: {found.reason}"
    )


@queue.command(epilog="Example:  dragonfly queue stats --window 10m")
@click.option(
    "--window",
    metavar="TIME",
    callback=_seconds,
    default="1h",
    show_default=True,
    help="What rates are over: 1m to 7d.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; times in seconds.")
def stats(window: float, as_json: bool) -> None:
    """Show what waits, whether the workers keep up, and what bloats the table.

    Cheap on a table of any size: it looks at a bounded number of jobs, and says so where that
    limits what it can tell.
    """
    settings = load_settings()
    report = ask(lambda conn: look(conn, window, settings.heartbeat_seconds), settings)
    if as_json:
        show_json(report.json())
    else:
        show_report(report)
