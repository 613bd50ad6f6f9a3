"""``dragonfly enqueue``: a job from the command line, or a file of them."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterable
from typing import IO, TYPE_CHECKING, Any, NoReturn, get_args

import asyncpg
import click

from dragonfly.cli.asking import ask
from dragonfly.cli.progress import progress
from dragonfly.cli.registry import find_workers
from dragonfly.cli.show import say, show_json
from dragonfly.errors import InputRefused
from dragonfly.ops.job_files import MOST_BAD_LINES, BadLine, add, judge
from dragonfly.ops.job_lines import Fits, Reader
from dragonfly.queue.bulk import enqueue_each
from dragonfly.queue.store import OnConflict

if TYPE_CHECKING:
    from asyncpg import Connection

EXIT_BAD_PAYLOAD = 2
_IN_MEMORY = 4 * 2**20
_TIME = click.DateTime(["%Y-%m-%dT%H:%M:%S%z"])
# what only the server can know: numbers that jsonb cannot hold, constraints of somebody else
_REFUSALS = (
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.DataError,
    asyncpg.ProgramLimitExceededError,
    asyncpg.StatementTooComplexError,
)


@click.command(
    epilog='Example:  dragonfly enqueue simplicity_ingest \'{"file_path": "export.csv"}\''
)
@click.argument("job_type", required=False)
@click.argument("payload", required=False)
@click.option("--file", "source", type=click.File("rb"), help="One job a line; - for stdin.")
@click.option("--run-at", type=_TIME, help="2026-12-01T09:00:00+0000")
@click.option("--due-at", type=_TIME, help="When it should be done; kept with the job.")
@click.option("--priority", type=click.IntRange(-32768, 32767), default=0, show_default=True)
@click.option("--unique-key", help="At most one pending job of this type with this key.")
@click.option(
    "--on-conflict",
    type=click.Choice(get_args(OnConflict)),
    help="What becomes of the pending job that has the key: left, changed, or only moved.",
)
@click.option("--concurrency-key", help="Kept with the job.")
@click.option("--max-attempts", type=click.IntRange(1, 1000))
@click.option("--workers", "names", default="all", help="Whose payload types to check; as in run.")
@click.option("--json", "as_json", is_flag=True, help="Print the ids as a JSON list.")
def enqueue(
    job_type: str | None,
    payload: str | None,
    source: IO[bytes] | None,
    names: str,
    as_json: bool,
    **options: Any,
) -> None:
    """Add a job with a JSON payload and print its id; 2 if the payload does not fit its type.

    With --file, add one job for each line, all or none: with a JOB_TYPE each line is a payload,
    without one an object with job_type, payload and options of its own. Options given here hold
    for the lines that have none.
    """
    _require_one_source(job_type, payload, source, options)
    given = {name: value for name, value in options.items() if value is not None}
    reader = Reader(job_type, given, _fits(names))
    try:
        ids = _add_one(reader, payload or "{}") if source is None else _add_file(reader, source)
    except _REFUSALS as error:
        why = getattr(error, "constraint_name", None) or type(error).__name__
        _refuse(f"the database refused a job ({why}); nothing was enqueued.")
    except asyncpg.DeadlockDetectedError:
        raise click.ClickException(
            "Somebody else enqueues the same unique keys in another order. "
            "Nothing was enqueued; try again."
        ) from None
    if as_json:
        show_json(list(ids))
    elif ids:
        click.echo("\n".join(map(str, ids)))


def _require_one_source(
    job_type: str | None, payload: str | None, source: IO[bytes] | None, options: dict[str, Any]
) -> None:
    if source is None:
        if job_type is None:
            raise click.UsageError("Name a JOB_TYPE, or a --file with one job a line.")
    elif payload is not None:
        raise click.UsageError("Give a PAYLOAD or a --file, not both.")
    elif options["unique_key"] is not None:
        raise click.UsageError(
            "With --unique-key all lines of the file would be one job; "
            "leave JOB_TYPE out, and let each line name its job_type and unique_key."
        )


def _fits(names: str) -> Fits:
    handlers = {
        job_type: handler
        for worker in find_workers(names.split(","))
        for job_type, handler in worker.handlers.items()
    }

    def fits(job_type: str, payload: str) -> None:
        if job_type in handlers:
            handlers[job_type].decode(payload)

    return fits


def _add_one(reader: Reader, payload: str) -> Iterable[int]:
    try:
        job = reader.read(os.fsencode(payload))
    except InputRefused as refusal:
        _refuse(f"{refusal.code}: {refusal.message}.")
    return ask(lambda conn: enqueue_each(conn, [job]))


def _add_file(reader: Reader, source: IO[bytes]) -> Iterable[int]:
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as kept:
        with progress("reading", _size(source)) as told:
            bad = judge(source, reader.read, kept, told)
        if bad:
            _refuse_lines(bad)
        count = _count(kept)

        async def add_all(conn: Connection) -> Iterable[int]:
            with progress("enqueueing", count) as told:
                return await add(conn, kept, told)

        return ask(add_all)


def _size(source: IO[bytes]) -> int | None:
    """In bytes; of a pipe nobody knows it."""
    found = os.fstat(source.fileno())
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _count(kept: IO[bytes]) -> int:
    kept.seek(0)
    return sum(1 for _ in kept)


def _refuse_lines(bad: list[BadLine]) -> NoReturn:
    for line in bad:
        say(f"line {line.number}: {line.why}.", err=True)
    count = "1 bad line" if len(bad) == 1 else f"{len(bad)} bad lines"
    more = "the rest was not read; " if len(bad) == MOST_BAD_LINES else ""
    _refuse(f"{count}; {more}nothing was enqueued.")


def _refuse(sentence: str) -> NoReturn:
    say(f"dragonfly: {sentence}", err=True)
    raise click.exceptions.Exit(EXIT_BAD_PAYLOAD)
