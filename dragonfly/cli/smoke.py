"""``dragonfly smoke``: quick read-only checks of the firm's data."""

from __future__ import annotations

from contextlib import AsyncExitStack

import click

from dragonfly.cli.asyncs import run_async
from dragonfly.cli.reach import reach_database
from dragonfly.cli.show import say, show_json
from dragonfly.errors import ConfigurationError
from dragonfly.ops.smoke import Smoke
from dragonfly.ops.smoke import smoke as look
from dragonfly.postgres.database import close
from dragonfly.postgres.failures import TROUBLE, describe
from dragonfly.settings import Settings, load_settings

EXIT_CANNOT_QUERY = 2


@click.group()
def smoke() -> None:
    """Quick read-only checks, safe on prod."""


@smoke.command(epilog="Example:  dragonfly smoke plaintiffs --env prod --expect-min-plaintiffs 100")
@click.option("--env", type=click.Choice(["dev", "prod"]), help="Overrides SUPABASE_MODE.")
@click.option("--expect-min-plaintiffs", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def plaintiffs(env: str | None, expect_min_plaintiffs: int, as_json: bool) -> None:
    """Count plaintiffs and judgments, and assert what must hold between them.

    Ends with 0 when all holds, 1 when an assertion fails, 2 when the tables cannot be read, 3 when
    the prod database is empty.
    """
    try:
        settings = load_settings(mode=env)
        found = run_async(_look, settings, expect_min_plaintiffs)
    except TROUBLE as error:
        reason = str(error) if isinstance(error, ConfigurationError) else describe(error)
        _end(f"the tables cannot be read: {reason}", as_json=as_json)
    if as_json:
        show_json(found.json())
    else:
        say(found.line())
    raise click.exceptions.Exit(found.exit_code)


def _end(sentence: str, *, as_json: bool) -> None:
    if as_json:
        show_json({"exit_code": EXIT_CANNOT_QUERY, "error": sentence})
    else:
        say(f"smoke plaintiffs: {sentence}")
    raise click.exceptions.Exit(EXIT_CANNOT_QUERY)


async def _look(settings: Settings, expect_min_plaintiffs: int) -> Smoke:
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(reach_database(settings))
        conn = await database.connect("smoke")
        stack.push_async_callback(close, conn)
        return await look(conn, settings.mode, settings.database_url, expect_min_plaintiffs)
