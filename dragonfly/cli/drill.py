"""``dragonfly drill``: faults on purpose, on a scratch database; do the guarantees hold?"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import anyio
import click

from dragonfly.cli.asyncs import run_async
from dragonfly.cli.reach import reach_database
from dragonfly.cli.show import say, show_json, show_table
from dragonfly.errors import ConfigurationError
from dragonfly.ops.drill.scenarios import SCENARIOS, Result, play, scenarios, scratch
from dragonfly.runtime.signals import stop_on_signals
from dragonfly.settings import Settings, load_settings


@click.command(epilog="Example:  dragonfly drill --scenario kill9 --scenario zombie")
@click.option(
    "--scenario",
    "names",
    type=click.Choice(list(SCENARIOS)),
    multiple=True,
    help="Only this one; may be repeated.",
)
@click.option("--env", type=click.Choice(["dev", "prod"]), help="Overrides SUPABASE_MODE.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def drill(names: Sequence[str], env: str | None, as_json: bool) -> None:
    """Kill, freeze, cut off and silence real workers, and check that no job is lost or done twice.

    It makes a database of its own on the server of the settings (without one, on an embedded
    PostgreSQL in a scratch folder), uses no other, and drops it again. Less than a minute; in
    prod only with --env prod. Ends with 0 if all held, 1 if not, 78 when the configuration is
    wrong.
    """
    settings = load_settings(mode=env)
    if settings.mode == "prod" and env is None:
        raise ConfigurationError(
            "SUPABASE_MODE is prod, and a drill puts load on the server; "
            "write --env prod to play it there, or --env dev."
        )
    results = run_async(_drill, settings, names or scenarios(), as_json)
    if as_json:
        show_json([result.json() for result in results])
    else:
        _show_verdict(results)
    raise click.exceptions.Exit(int(not all(result.held for result in results)))


async def _drill(settings: Settings, names: Sequence[str], quiet: bool) -> list[Result]:
    """Play, and leave nothing behind when a signal ends it before its time."""
    results: list[Result] = []
    async with anyio.create_task_group() as group:
        with stop_on_signals(lambda _: group.cancel_scope.cancel()):
            await _play(settings, names, quiet, results)
    if group.cancel_scope.cancel_called:
        raise click.Abort
    return results


async def _play(
    settings: Settings, names: Sequence[str], quiet: bool, results: list[Result]
) -> None:
    with tempfile.TemporaryDirectory(prefix="dragonfly-drill-") as name:
        folder = Path(name)
        async with reach_database(settings, embedded=folder / "pg") as database:
            if not quiet:
                say(f"{database}; the drill uses a scratch database of its own.")
            async with scratch(database) as dsn:
                async for result in play(dsn, folder, dict.fromkeys(names)):
                    results.append(result)
                    if not quiet:
                        _show(result)


def _show(result: Result) -> None:
    click.echo()
    recovery = "" if result.recovery is None else f", jobs free again after {result.recovery:.1f} s"
    say(f"{result.scenario}: {result.sentence} ({result.seconds:.1f} s{recovery})")
    show_table(
        ("promise", "held", "detail"),
        ((each.promise, "yes" if each.held else "NO", each.detail) for each in result.findings),
        "Nothing was checked.",
    )


def _show_verdict(results: Sequence[Result]) -> None:
    broken = [result.scenario for result in results if not result.held]
    click.echo()
    say(f"Violated in: {', '.join(broken)}." if broken else "Every promise held.")
