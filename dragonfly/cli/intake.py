"""``dragonfly intake``: load a file, see what became of files, get rejected rows back."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TextIO
from uuid import UUID

import click

from dragonfly.cli.asking import ask
from dragonfly.cli.show import say, show_json, show_table
from dragonfly.errors import ConfigurationError, InputRefused
from dragonfly.ops.batches import batches as newest_batches
from dragonfly.ops.batches import write_rejects
from dragonfly.ops.dropfolder import own_name
from dragonfly.ops.filing import Filed, StillChanging, enqueue_file, file_by_content, loaded_as
from dragonfly.settings import load_settings

if TYPE_CHECKING:
    from asyncpg import Connection

_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def intake() -> None:
    """Load files, see what became of them, and get rejected rows back for correction."""


@intake.command(epilog="Example:  dragonfly intake load export.csv --dry-run")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--dry-run", is_flag=True, help="Read and judge every row, load none.")
@click.option("--source-reference", help="A name of your own for the file, used once.")
@_json_option
def load(file: Path, dry_run: bool, source_reference: str | None, as_json: bool) -> None:
    """Keep a copy of FILE in the intake folder and enqueue the job that loads it.

    The simplicity-ingest worker does the rest; a file loaded before is recognised by its content.
    """
    settings = load_settings()
    filed = _keep(settings.intake_root.absolute(), file)

    async def hand_over(conn: Connection) -> tuple[int, UUID | None]:
        known = await loaded_as(conn, filed)
        mode = "dry_run" if dry_run else None
        job = await enqueue_file(conn, filed, mode=mode, source_reference=source_reference)
        return job, known

    job_id, known = ask(hand_over, settings)
    if as_json:
        show_json({"job_id": job_id, "already_loaded_as": known, **asdict(filed)})
        return
    verb = "judge" if dry_run else "load"
    say(f"Job {job_id} will {verb} the file; see: dragonfly jobs show {job_id}")
    if known is not None:
        say(f"The same content was loaded before, as batch {known}; nothing is loaded twice.")


def _keep(root: Path, file: Path) -> Filed:
    try:
        return file_by_content(root, file)
    except InputRefused as refusal:
        raise click.ClickException(f"{refusal.code}: {refusal.message}") from refusal
    except StillChanging:
        raise click.ClickException(
            f"{str(file)!a} changes while it is read; close it and try again."
        ) from None
    except OSError as error:
        raise ConfigurationError(
            f"The intake folder or the file cannot be used ({error.strerror}); "
            "set DRAGONFLY_INTAKE_ROOT to a folder in which this user may write."
        ) from error


@intake.command(epilog="Example:  dragonfly intake batches --limit 5")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@_json_option
def batches(limit: int, as_json: bool) -> None:
    """List the newest files and what became of their rows."""
    rows = ask(lambda conn: newest_batches(conn, limit))
    if as_json:
        show_json([asdict(row) for row in rows])
        return
    counts = ("total", "loaded", "updated", "unchanged", "duplicate", "rejected", "review")
    show_table(
        ("batch", "file", "status", *counts, "created at", "why"),
        (
            (
                row.batch_id,
                own_name(row.file_name),
                row.status,
                *(getattr(row, f"rows_{name}") for name in counts),
                f"{row.created_at:%Y-%m-%d %H:%M}",
                row.reject_code or (f"same as {row.duplicate_of}" if row.duplicate_of else ""),
            )
            for row in rows
        ),
        "No file has been loaded. Begin with: dragonfly intake load FILE",
    )


@intake.command(epilog="Example:  dragonfly intake rejects BATCH --csv rejects.csv")
@click.argument("batch", type=click.UUID)
@click.option(
    "--csv", "out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="Target."
)
@click.option("--force", is_flag=True, help="Overwrite the target.")
def rejects(batch: UUID, out: Path, force: bool) -> None:
    """Write the rejected rows of BATCH as CSV, each with its reason in front.

    Correct them there and load the file: rows that were loaded before are recognised.
    """
    if out.exists() and not force:
        raise click.ClickException(f"{str(out)!a} exists; name another file, or add --force.")
    half = out.with_name(f".{out.name}.partial")
    try:
        # utf-8-sig: without the mark Excel takes it for the machine's old encoding
        with half.open("w", encoding="utf-8-sig", newline="") as target:
            count = ask(partial(_write, batch=batch, target=target))
        half.replace(out)
    except InputRefused as refusal:
        raise click.ClickException(refusal.message) from refusal
    finally:
        half.unlink(missing_ok=True)
    say(f"{count} rejected rows were written to {str(out)!a}.")


async def _write(conn: Connection, *, batch: UUID, target: TextIO) -> int:
    return await write_rejects(conn, batch, target)
