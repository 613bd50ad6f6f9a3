"""``dragonfly jobs``: look at jobs, cancel them, start them over."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from dragonfly.cli.asking import ask, deed
from dragonfly.cli.show import say, show_json, show_table
from dragonfly.job import JobStatus
from dragonfly.ops import interventions
from dragonfly.ops.explaining import explain
from dragonfly.queue import audit, insight
from dragonfly.queue.insight import JobDetail
from dragonfly.settings import load_settings

if TYPE_CHECKING:
    from asyncpg import Connection

# the largest bigint
JOB_ID = click.IntRange(1, 2**63 - 1)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_reason_option = click.option(
    "--reason", required=True, help="Why; kept with the job, so write no names and no amounts."
)


@click.group()
def jobs() -> None:
    """Look at jobs, cancel them, or start them over."""


@jobs.command("list", epilog="Example:  dragonfly jobs list --status failed")
@click.option("--status", type=click.Choice([status.value for status in JobStatus]))
@click.option("--type", "job_type", help="Only jobs of this type.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@_json_option
def list_jobs(status: str | None, job_type: str | None, limit: int, as_json: bool) -> None:
    """List the newest jobs."""
    rows = ask(lambda conn: insight.jobs(conn, status=status, job_type=job_type, limit=limit))
    if as_json:
        show_json([asdict(row) for row in rows])
        return
    show_table(
        ("id", "type", "status", "attempts", "run at", "finished at", "last error"),
        (
            (
                row.id,
                row.job_type,
                row.status,
                f"{row.attempts}/{row.max_attempts}",
                f"{row.run_at:%Y-%m-%d %H:%M:%S%z}",
                f"{row.finished_at:%Y-%m-%d %H:%M:%S%z}" if row.finished_at else "",
                row.last_error,
            )
            for row in rows
        ),
        "There is no such job.",
    )


@jobs.command(epilog="Example:  dragonfly jobs show 42")
@click.argument("job_id", type=JOB_ID)
@_json_option
def show(job_id: int, as_json: bool) -> None:
    """Show everything about one job, and what people did to it."""

    async def look(conn: Connection) -> tuple[JobDetail | None, list[audit.Entry]]:
        return await insight.job(conn, job_id), await audit.entries(conn, job_id=job_id)

    job, deeds = ask(look)
    if job is None:
        raise click.ClickException(f"There is no job {job_id}.")
    if as_json:
        show_json(asdict(job) | {"audit": [asdict(entry) for entry in deeds]})
        return
    for name, value in asdict(job).items():
        if value is not None and name != "errors":
            text = json.dumps(value, default=str) if isinstance(value, dict | list) else value
            say(f"{name}: {text}")
    for error in job.errors or []:
        say(f"attempt {error.get('attempt')} at {error.get('at')}: {error.get('error')}")
    for entry in reversed(deeds):
        say(f"{entry.action} at {entry.at:%Y-%m-%d %H:%M:%S%z} by {entry.actor}: {entry.reason}")


@jobs.command(epilog="Example:  dragonfly jobs why 42")
@click.argument("job_id", type=JOB_ID)
@_json_option
def why(job_id: int, as_json: bool) -> None:
    """Say what keeps a job from running: the first condition of a claim that it does not meet."""
    settings = load_settings()
    found = ask(
        lambda conn: explain(conn, job_id, settings.heartbeat_seconds, settings.crash_budget),
        settings,
    )
    if found is None:
        raise click.ClickException(f"There is no job {job_id}.")
    if as_json:
        told = {"sentence": found.sentence, "starts_in": found.starts_in}
        show_json(asdict(found.standing) | told)
    else:
        say(found.sentence)


@jobs.command(epilog='Example:  dragonfly jobs cancel 42 --reason "sent twice"')
@click.argument("job_id", type=JOB_ID)
@_reason_option
@_json_option
def cancel(job_id: int, reason: str, as_json: bool) -> None:
    """Cancel a job that waits or runs; one that runs is stopped within a heartbeat."""
    _act(
        job_id,
        lambda conn: interventions.cancel(conn, job_id, deed(reason)),
        "cannot be cancelled: it has ended",
        as_json=as_json,
    )


@jobs.command(epilog='Example:  dragonfly jobs retry 42 --reason "file was put back"')
@click.argument("job_id", type=JOB_ID)
@_reason_option
@_json_option
def retry(job_id: int, reason: str, as_json: bool) -> None:
    """Start an ended job over: due at once, with fresh attempts."""
    _act(
        job_id,
        lambda conn: interventions.retry(conn, job_id, deed(reason)),
        "cannot be retried: it has not ended, or another job with its unique key waits",
        as_json=as_json,
    )


def _act(
    job_id: int, action: Callable[[Connection], Awaitable[bool]], refusal: str, *, as_json: bool
) -> None:
    async def act(conn: Connection) -> tuple[bool, JobDetail | None]:
        return await action(conn), await insight.job(conn, job_id)

    done, job = ask(act)
    if job is None:
        raise click.ClickException(f"There is no job {job_id}.")
    if not done:
        raise click.ClickException(f"Job {job_id} is {job.status} and {refusal}.")
    if as_json:
        show_json({"id": job.id, "status": job.status})
    else:
        say(f"Job {job.id} is {job.status}.")
