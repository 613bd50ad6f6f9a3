"""``dragonfly audit``: what people did, and why."""

from __future__ import annotations

from dataclasses import asdict

import click

from dragonfly.cli.asking import ask
from dragonfly.cli.show import show_json, show_table
from dragonfly.queue.audit import entries


@click.command(epilog="Example:  dragonfly audit --job 42")
@click.option("--job", "job_id", type=click.IntRange(1, 2**63 - 1), help="Only about this job.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def audit(job_id: int | None, limit: int, as_json: bool) -> None:
    """Show who paused, resumed, retried or cancelled what, and why; the newest first."""
    found = ask(lambda conn: entries(conn, job_id=job_id, limit=limit))
    if as_json:
        show_json([asdict(entry) for entry in found])
        return
    show_table(
        ("at", "who", "did", "to", "job", "reason"),
        (
            (
                f"{entry.at:%Y-%m-%d %H:%M:%S%z}",
                entry.actor,
                entry.action,
                entry.subject,
                entry.job_id,
                entry.reason,
            )
            for entry in found
        ),
        "Nobody has paused, resumed, retried or cancelled anything yet.",
    )
