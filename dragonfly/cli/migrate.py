"""``dragonfly migrate``: the schema, brought up to date."""

from __future__ import annotations

import click

from dragonfly.cli.asyncs import run_async
from dragonfly.cli.reach import reach_database
from dragonfly.postgres.database import close
from dragonfly.queue.migrate import migrate as apply_migrations
from dragonfly.settings import Settings, load_settings


@click.command(epilog="Example:  dragonfly migrate --env prod")
@click.option("--env", type=click.Choice(["dev", "prod"]), help="Overrides SUPABASE_MODE.")
def migrate(env: str | None) -> None:
    """Apply the migrations that the database lacks; safe to run at any time, and twice at once."""
    run_async(_migrate, load_settings(mode=env))


async def _migrate(settings: Settings) -> None:
    async with reach_database(settings) as database:
        conn = await database.connect("migrate")
        try:
            applied = await apply_migrations(conn)
        finally:
            await close(conn)
    for migration in applied:
        click.echo(f"applied {migration.label}")
    click.echo(f"{database.shown}: the schema is up to date.")
