"""``dragonfly schedule``: what ticks when, and how to pause and resume it."""

from __future__ import annotations

import difflib
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from dragonfly.cli.asking import ask, deed
from dragonfly.cli.show import say, show_json, show_table
from dragonfly.cron import Cron
from dragonfly.errors import ConfigurationError
from dragonfly.ops import interventions
from dragonfly.queue import schedules as table
from dragonfly.queue.schedules import ScheduleRow

if TYPE_CHECKING:
    from asyncpg import Connection

SHOWN_TICKS = 5
_AFTER_A_PAUSE = {
    "last": "of the ticks missed meanwhile the last is caught up",
    "all": "the ticks missed meanwhile are caught up",
    "none": "the ticks missed meanwhile are left out",
}
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_reason_option = click.option(
    "--reason", required=True, help="Why; kept with the schedule, so write no names of clients."
)


@click.group()
def schedule() -> None:
    """Look at schedules, pause or resume them; they are declared in code, by worker.schedule()."""


@schedule.command("list", epilog="Example:  dragonfly schedule list")
@_json_option
def list_schedules(as_json: bool) -> None:
    """Show every schedule with its last tick, its next five, and what keeps it from ticking."""
    views = [View.of(row) for row in ask(table.rows)]
    if as_json:
        show_json([view.as_json() for view in views])
        return
    show_table(
        ("schedule", "when", "job type", "last tick", "next ticks", "state"),
        (view.cells() for view in views),
        "No process has declared a schedule yet: see worker.schedule() in docs/schedules.md.",
    )


@schedule.command(
    epilog='Example:  dragonfly schedule pause nightly-report --reason "court closed"'
)
@click.argument("name")
@_reason_option
@_json_option
def pause(name: str, reason: str, as_json: bool) -> None:
    """Stop a schedule's ticks until it is resumed; jobs that it has enqueued go on."""
    row = _act(name, lambda conn: interventions.pause_schedule(conn, name, deed(reason)))
    if row.changed:
        _tell(row.after, "is paused. Its jobs that wait or run go on.", as_json=as_json)
        return
    raise click.ClickException(
        f"Schedule {name} is paused already, by {row.after.paused_by} since "
        f"{row.after.paused_at:%Y-%m-%d %H:%M:%S%z}: {row.after.pause_reason}."
    )


@schedule.command(
    epilog='Example:  dragonfly schedule resume nightly-report --reason "court opened"'
)
@click.argument("name")
@_reason_option
@_json_option
def resume(name: str, reason: str, as_json: bool) -> None:
    """Let a paused schedule tick again, within a minute."""
    row = _act(name, lambda conn: interventions.resume_schedule(conn, name, deed(reason)))
    if row.changed:
        ticks = f"ticks again within a minute; {_AFTER_A_PAUSE[row.after.catch_up]}."
        lost = "is resumed, but does not tick: no running process declares it."
        _tell(row.after, ticks if row.after.declared else lost, as_json=as_json)
        return
    raise click.ClickException(f"Schedule {name} is not paused.")


@dataclass(frozen=True, slots=True)
class View:
    """A schedule as people see it; ``cron`` is None if this version does not understand it."""

    row: ScheduleRow
    cron: Cron | None

    @classmethod
    def of(cls, row: ScheduleRow) -> View:
        try:
            return cls(row, Cron(row.cron, row.timezone))
        except ConfigurationError:
            return cls(row, None)

    @property
    def state(self) -> str:
        """One word for a script."""
        if self.row.paused_at is not None:
            return "paused"
        if not self.row.declared:
            return "undeclared"
        return "overdue" if self.row.overdue or self.cron is None else "on"

    def sentence(self) -> str:
        """The state for a person."""
        row = self.row
        match self.state:
            case "paused":
                since = self._shown(row.paused_at)
                lost = "" if row.declared else "; no running process declares it"
                return f"paused by {row.paused_by} since {since}: {row.pause_reason}{lost}"
            case "undeclared":
                return f"no running process declares it, since {self._shown(row.declared_at)}"
            case "overdue":
                return f"overdue since {self._shown(row.next_tick_at)}: see the log of its process"
            case _:
                return "on"

    def next_ticks(self) -> list[datetime]:
        """The next ticks in the schedule's zone; none if it does not tick."""
        if self.cron is None or self.state in {"paused", "undeclared"}:
            return []
        found = islice(self.cron.after(self.row.now), SHOWN_TICKS)
        return [moment.astimezone(self.cron.zone) for moment in found]

    def _shown(self, moment: datetime | None) -> str:
        if moment is None:
            return ""
        local = moment.astimezone(self.cron.zone) if self.cron else moment
        return f"{local:%Y-%m-%d %H:%M %Z}"

    def cells(self) -> tuple[str, ...]:
        """A line of the table; on a terminal some of its cells are taller than one line."""
        row = self.row
        when = (self.cron.words() if self.cron else "not understood", row.cron, row.timezone)
        ticks = map(self._shown, self.next_ticks())
        last = self._shown(row.last_tick_at)
        return row.name, ",\n".join(when), row.job_type, last, ",\n".join(ticks), self.sentence()

    def as_json(self) -> dict[str, Any]:
        """Everything for a script, times as ISO 8601."""
        row = asdict(self.row)
        for name in ("now", "declared", "overdue"):
            del row[name]
        times = {n: v.isoformat() for n, v in row.items() if isinstance(v, datetime)}
        words = self.cron.words() if self.cron else None
        next_ticks = [moment.isoformat() for moment in self.next_ticks()]
        return row | times | {"state": self.state, "words": words, "next_ticks": next_ticks}


@dataclass(frozen=True, slots=True)
class _Acted:
    changed: bool
    after: ScheduleRow


def _act(name: str, action: Callable[[Connection], Awaitable[bool]]) -> _Acted:
    """Do it, and find the schedule as it is then; ClickException if there is none."""

    async def act(conn: Connection) -> tuple[bool, list[ScheduleRow]]:
        return await action(conn), await table.rows(conn)

    changed, rows = ask(act)
    found = {row.name: row for row in rows}
    if name not in found:
        close = difflib.get_close_matches(name, found, 1)
        hint = f" Did you mean {close[0]}?" if close else ""
        known = f" Known: {', '.join(found)}." if found and not close else ""
        raise click.ClickException(f"There is no schedule {name!r}.{hint or known}")
    return _Acted(changed, found[name])


def _tell(row: ScheduleRow, what: str, *, as_json: bool) -> None:
    if as_json:
        show_json(View.of(row).as_json())
    else:
        say(f"Schedule {row.name} {what}")
