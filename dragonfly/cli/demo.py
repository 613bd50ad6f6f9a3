"""``dragonfly demo``: the whole way from a file to plans, on a database of its own."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import click
from rich import box
from rich.console import Console
from rich.table import Table

from dragonfly.cli.asyncs import run_async
from dragonfly.cli.reach import reach_database
from dragonfly.cli.registry import find_workers
from dragonfly.events import Events
from dragonfly.logs import log_events, set_up
from dragonfly.ops.demo import OUTCOMES, Summary, confirm, deliver, deliver_again, summarise
from dragonfly.postgres.database import Database, close
from dragonfly.runtime.process import Mode, open_process
from dragonfly.runtime.supervisor import Supervisor
from dragonfly.settings import Settings


@click.command(epilog="Example:  dragonfly demo --verbose")
@click.option("--verbose", is_flag=True, help="Show the workers' log lines as well.")
def demo(verbose: bool) -> None:
    """Load a bundled sample export of invented judgments and plan their enforcement.

    Everything happens on an embedded PostgreSQL in a scratch folder, which is removed again.
    """
    set_up("text", "INFO" if verbose else "ERROR")
    with tempfile.TemporaryDirectory(prefix="dragonfly-demo-") as folder:
        raise click.exceptions.Exit(run_async(_demo, Path(folder)))


async def _demo(folder: Path) -> int:
    console = _console()
    settings = Settings.model_construct(
        **(Settings.model_construct().model_dump() | {"intake_root": folder / "intake"})
    )
    began = time.perf_counter()
    console.print("Starting an embedded PostgreSQL in a scratch folder ...")
    async with reach_database(settings, embedded=folder / "pg") as database:
        console.print(f"PostgreSQL {database.server_version} is up, its schema migrated.")
        conn = await database.connect("demo")
        try:
            await deliver(conn, settings.intake_root)
            console.print("Loading the bundled export and planning each judgment ...")
            code = await _drain(settings, database)
            confirmed = await confirm(conn)
            await deliver_again(conn)
            console.print(
                f"A clerk confirms {confirmed} judgments against court records and adds facts "
                "about their debtors;\nthe same file is delivered a second time ..."
            )
            code = await _drain(settings, database) or code
            _show(console, await summarise(conn), time.perf_counter() - began)
        finally:
            await close(conn)
    return code


async def _drain(settings: Settings, database: Database) -> int:
    events = Events()
    log_events(events)
    async with open_process(settings, database, events, Mode.DRAIN) as process:
        return await Supervisor(process, find_workers(["all"])).run()


def _console() -> Console:
    """Colours and lines on a terminal, plain ASCII elsewhere."""
    return Console(safe_box=True, highlight=False, width=None if sys.stdout.isatty() else 100)


def _table(console: Console, title: str, *columns: str) -> Table:
    style = box.SIMPLE if console.is_terminal else box.ASCII
    table = Table(title=title, title_justify="left", box=style, title_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column == "count" else "left")
    return table


def _show(console: Console, summary: Summary, seconds: float) -> None:
    console.print()
    rows = summary.rows
    parts = ", ".join(f"{rows[outcome]} {outcome}" for outcome in OUTCOMES)
    console.print(f"Rows: {rows['total']} in the file: {parts}.")
    console.print(f"The second delivery of the same file: {summary.second_delivery}.")
    _show_rejects(console, summary)
    plans = ", ".join(f"{count} {outcome}" for outcome, count in summary.plans.items())
    console.print(f"\nPlans: {sum(summary.plans.values())}, one for each judgment: {plans}.")
    actions = _table(console, "Actions in these plans", "action", "status", "count")
    for (action, status), count in summary.actions.items():
        actions.add_row(action.replace("_", " "), status.replace("_", " "), str(count))
    console.print(actions)
    jobs = _table(console, "Jobs by worker", "worker", "status", "count")
    for worker, status, count in summary.jobs:
        jobs.add_row(worker, status, str(count))
    console.print(jobs)
    console.print(f"Done in {seconds:.1f} s. The scratch database is removed.\n")
    console.print(
        "Where to look next:\n"
        "  dragonfly run --workers all     start the workers on a database in .dragonfly/pg\n"
        "  dragonfly intake load FILE      give them a file of your own\n"
        "  dragonfly doctor                check everything they depend on\n"
        "  README.md, docs/                your own workers, deployment, how it works"
    )


def _show_rejects(console: Console, summary: Summary) -> None:
    rejects = _table(
        console, "\nRejected rows, as Excel numbers them", "row", "cell", "reason", "what is wrong"
    )
    for reject in summary.rejects:
        rejects.add_row(str(reject.row), reject.cell or "", reject.code, reject.sentence)
    console.print(rejects)
    notes = ", ".join(f"{code} {count}" for code, count in sorted(summary.notes.items()))
    console.print(f"Noted in rows that were not rejected: {notes}.", soft_wrap=False)
