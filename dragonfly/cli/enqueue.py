"""``dragonfly enqueue``: a job from the command line."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import asyncpg
import click

from dragonfly.cli.asyncs import run_async
from dragonfly.cli.reach import reach_database
from dragonfly.cli.registry import find_workers
from dragonfly.job import Reject
from dragonfly.postgres.database import close
from dragonfly.queue.migrate import require_schema
from dragonfly.queue.store import enqueue as enqueue_job
from dragonfly.settings import Settings, load_settings

EXIT_BAD_PAYLOAD = 2


@click.command(
    epilog='Example:  dragonfly enqueue simplicity_ingest \'{"file_path": "export.csv"}\''
)
@click.argument("job_type")
@click.argument("payload", default="{}")
@click.option(
    "--run-at", type=click.DateTime(["%Y-%m-%dT%H:%M:%S%z"]), help="2026-12-01T09:00:00+0000"
)
@click.option("--priority", type=click.IntRange(-32768, 32767), default=0, show_default=True)
@click.option("--unique-key", help="At most one pending job of this type with this key.")
@click.option("--max-attempts", type=click.IntRange(1, 1000))
def enqueue(
    job_type: str,
    payload: str,
    run_at: datetime | None,
    priority: int,
    unique_key: str | None,
    max_attempts: int | None,
) -> None:
    """Add a job with a JSON payload and print its id; 2 if the payload does not fit its type."""
    options: dict[str, Any] = {
        "run_at": run_at,
        "priority": priority,
        "unique_key": unique_key,
        "max_attempts": max_attempts,
    }
    parsed = _parse(job_type, payload)
    click.echo(run_async(_enqueue, load_settings(), job_type, parsed, options))


def _parse(job_type: str, payload: str) -> Any:
    try:
        parsed = json.loads(payload)
    except json.JSONDecodeError as error:
        _refuse(f"The payload is not JSON: {error.msg} at character {error.pos + 1}.")
    for worker in find_workers(["all"]):
        handler = worker.handlers.get(job_type)
        if handler is not None:
            try:
                handler.decode(payload)
            except Reject as rejection:
                _refuse(f"{rejection.code}: {rejection.message}.")
    return parsed


def _refuse(sentence: str) -> None:
    click.echo(f"dragonfly: {sentence}", err=True)
    raise click.exceptions.Exit(EXIT_BAD_PAYLOAD)


async def _enqueue(settings: Settings, job_type: str, payload: Any, options: dict[str, Any]) -> int:
    async with reach_database(settings) as database:
        conn = await database.connect("enqueue")
        try:
            await require_schema(conn)
            return await enqueue_job(conn, job_type, payload, **options)
        except asyncpg.CheckViolationError as error:
            raise click.UsageError(f"The database refused it: {error.constraint_name}.") from error
        finally:
            await close(conn)
