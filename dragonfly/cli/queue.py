"""``dragonfly queue``: the queue as a whole."""

from __future__ import annotations

import re

import click

from dragonfly.cli.asking import ask
from dragonfly.cli.queue_tables import show_report
from dragonfly.cli.show import show_json
from dragonfly.ops.queue_report import look
from dragonfly.settings import load_settings

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SHORTEST, _LONGEST = 60, 7 * 86400


def _seconds(ctx: click.Context, param: click.Parameter, value: str) -> float:
    """A length of time such as 10m, 1h or 24h."""
    found = re.fullmatch(r"(\d{1,6})([smhd])", value)
    seconds = int(found[1]) * _UNITS[found[2]] if found else 0
    if not _SHORTEST <= seconds <= _LONGEST:
        raise click.BadParameter("write a time from 1m to 7d, such as 10m, 1h or 24h.")
    return float(seconds)


@click.group()
def queue() -> None:
    """See how the queue does as a whole."""


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
