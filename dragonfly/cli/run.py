"""``dragonfly run``: the supervisor."""

from __future__ import annotations

import asyncio
import os
import sys

import anyio
import click

from dragonfly.cli.asyncs import run_async
from dragonfly.cli.reach import reach_database
from dragonfly.cli.registry import find_workers
from dragonfly.events import DatabaseAway, Events
from dragonfly.logs import log_events, set_up
from dragonfly.postgres.database import close
from dragonfly.queue.migrate import require_schema
from dragonfly.runtime.process import Mode, open_process
from dragonfly.runtime.supervisor import Supervisor
from dragonfly.settings import Settings, load_settings
from dragonfly.web.health import serve
from dragonfly.worker import Worker

LEFT_SECONDS = 5.0


@click.command(
    epilog="Examples:  dragonfly run --workers all   or   dragonfly run --workers mine.jobs:worker"
)
@click.option(
    "--workers",
    "names",
    required=True,
    help="all, names separated by commas, or package.module:worker for one of your own.",
)
@click.option("--once", is_flag=True, help="Each worker claims at most one job; never wait.")
@click.option("--drain", is_flag=True, help="Stop when nothing is due any more.")
@click.option("--debug", is_flag=True, help="Show every job, and tracebacks.")
def run(names: str, once: bool, drain: bool, debug: bool) -> None:
    """Run workers until a signal, or with --once or --drain until their work is done.

    Ends with 0 when stopped or drained, 1 when every worker is in error (with --once or --drain:
    when a job failed), 70 when a handler blocked the event loop for too long, 78 when the
    configuration is wrong.
    """
    if once and drain:
        raise click.UsageError("Choose --once or --drain, not both.")
    settings = load_settings()
    set_up(settings.log_format, "DEBUG" if debug else settings.log_level)
    workers = find_workers(names.split(","))
    mode = Mode.ONCE if once else Mode.DRAIN if drain else Mode.FOREVER
    raise click.exceptions.Exit(run_async(supervise_and_leave, settings, workers, mode))


async def supervise_and_leave(settings: Settings, workers: list[Worker], mode: Mode) -> int:
    """Supervise; a task that a handler left behind and nobody can cancel does not hold the exit."""
    code = await supervise(settings, workers, mode)
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    if left and (await asyncio.wait(left, timeout=LEFT_SECONDS))[1]:
        sys.stdout.flush()
        os._exit(code)
    return code


async def supervise(settings: Settings, workers: list[Worker], mode: Mode) -> int:
    """Reach the database, refuse a schema that does not fit, and run; the exit code."""
    events = Events()
    log_events(events)

    def waiting(reason: str, seconds: float) -> None:
        events.emit(DatabaseAway("start", reason, seconds))

    # a platform that restarts the process would give up sooner than the database comes back
    patience = waiting if mode is Mode.FOREVER else None
    async with reach_database(settings, waiting=patience) as database:
        conn = await database.connect("start")
        try:
            await require_schema(conn)
        finally:
            await close(conn)
        async with open_process(settings, database, events, mode) as process:
            supervisor = Supervisor(process, workers)
            async with anyio.create_task_group() as group:
                if mode is Mode.FOREVER:
                    group.start_soon(serve, supervisor, settings, events)
                code = await supervisor.run()
                group.cancel_scope.cancel()
    return code
