"""``dragonfly workers``: the heartbeat table."""

from __future__ import annotations

from dataclasses import asdict

import click

from dragonfly.cli.asking import ask
from dragonfly.cli.show import show_json, show_table
from dragonfly.ops.findings import age
from dragonfly.queue import insight


@click.command(epilog="Example:  dragonfly workers --json")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
def workers(as_json: bool, limit: int) -> None:
    """Show each start of a worker with its last heartbeat, the newest first."""
    rows = ask(lambda conn: insight.workers(conn, limit))
    if as_json:
        show_json([asdict(row) | {"alive": row.alive} for row in rows])
        return
    show_table(
        (
            "worker",
            "status",
            "heartbeat",
            "running",
            "memory",
            "failures",
            "version",
            "worker id",
            "reason",
        ),
        (
            (
                row.worker_type,
                row.status,
                f"{age(row.age)} ago",
                row.running_jobs,
                None if row.rss_bytes is None else f"{row.rss_bytes / 2**20:.0f} MB",
                row.consecutive_failures,
                row.version,
                row.worker_id,
                row.reason,
            )
            for row in rows
        ),
        "No worker has sent a heartbeat. Start them: dragonfly run --workers all",
    )
