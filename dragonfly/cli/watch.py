"""``dragonfly watch``: the drop folder."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import click

from dragonfly.cli.asyncs import run_async
from dragonfly.cli.reach import reach_database
from dragonfly.cli.show import say, show_json
from dragonfly.errors import ConfigurationError
from dragonfly.ops.dropfolder import AlreadyWatched, DropFolder
from dragonfly.ops.watcher import EXIT_CONFIGURATION, EXIT_LOCKED, Tally, Watcher
from dragonfly.postgres.database import close
from dragonfly.queue.migrate import require_schema
from dragonfly.runtime.signals import stop_on_signals
from dragonfly.runtime.waiting import first_of
from dragonfly.settings import Settings, load_settings


@click.command(epilog="Example:  dragonfly watch --once")
@click.option("--once", is_flag=True, help="Hand over what is there now, then end.")
@click.option(
    "--interval",
    type=click.FloatRange(min=1),
    default=2.0,
    show_default=True,
    help="Seconds between two looks.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object.")
def watch(once: bool, interval: float, as_json: bool) -> None:
    """Make a job of each file that is put into the inbox of the intake folder.

    Ends with 0 when all files were accepted (or none was there), 1 when a file was rejected, 2 for
    a configuration or a database that does not work, 3 when another watcher is running.
    """

    def tell(sentence: str) -> None:
        say(sentence, err=as_json)

    try:
        tally = run_async(_watch, load_settings(), None if once else interval, tell)
    except AlreadyWatched as error:
        _end(EXIT_LOCKED, str(error), as_json=as_json)
    except ConfigurationError as error:
        _end(EXIT_CONFIGURATION, str(error), as_json=as_json)
    if as_json:
        show_json(tally.json())
    else:
        say(tally.line())
    raise click.exceptions.Exit(tally.exit_code)


def _end(code: int, sentence: str, *, as_json: bool) -> None:
    if as_json:
        show_json({"exit_code": code, "error": sentence})
    else:
        say(f"watch: {sentence}")
    raise click.exceptions.Exit(code)


async def _watch(settings: Settings, interval: float | None, tell: Callable[[str], None]) -> Tally:
    folder = DropFolder(settings.intake_root)
    folder.prepare()
    stop = asyncio.Event()
    with folder.held(), stop_on_signals(lambda _: stop.set()):
        async with reach_database(settings) as database:
            conn = await database.connect("watch")
            try:
                await require_schema(conn)
            finally:
                await close(conn)
            watcher = Watcher(
                folder,
                lambda: database.connect("watch"),
                tell,
                pause=lambda seconds: first_of(stop, seconds=seconds),
            )
            if interval is None:
                return await watcher.once()
            tell(f"Watching {str(folder.inbox)!a}; Ctrl-C ends it.")
            return await watcher.forever(interval, stop.is_set)
