"""Files of jobs, one JSON value a line: judged line by line, and added all or none.

A file is judged to its end before the database hears of it; what is in order waits in a temporary
file, so that neither memory nor the time of the transaction grows with a slow or long input.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, NamedTuple

from pydantic import TypeAdapter
from pydantic_core import to_json

from dragonfly.errors import InputRefused
from dragonfly.postgres.transactions import transaction
from dragonfly.queue.bulk import NewJob, enqueue_each

if TYPE_CHECKING:
    from asyncpg import Connection

MOST_BAD_LINES = 20
MOST_LINE_BYTES = 16 * 2**20
# a statement carries at most so many jobs, and no more of them once it has so many bytes
_JOBS, _BYTES = 1000, 2**20
_BOM, _UTF16 = b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")
_NOT_UTF8 = "NOT_UTF8"
_KEPT = TypeAdapter(NewJob)

# is told of progress: bytes read, or jobs added, since it was told last
Told = Callable[[int], object]


class BadLine(NamedTuple):
    """A line, counted from 1, and why it is no job."""

    number: int
    why: str


def judge(
    source: IO[bytes], read: Callable[[bytes], NewJob], kept: IO[bytes], told: Told
) -> list[BadLine]:
    """Put the jobs of all lines into ``kept``; or return the first bad lines, at most 20.

    ``read`` makes a job of a line, or raises InputRefused. Blank lines are passed over.
    """
    bad: list[BadLine] = []
    for number, line in _lines(source, told):
        try:
            job = _read(number, line, read)
        except InputRefused as refusal:
            bad.append(BadLine(number, refusal.message))
            if len(bad) == MOST_BAD_LINES or refusal.code == _NOT_UTF8:
                break
        else:
            if not bad:
                kept.write(to_json(job) + b"\n")
    return bad


async def add(conn: Connection, kept: IO[bytes], told: Told) -> array[int]:
    """Enqueue what ``judge`` kept, in one transaction and in its order; the ids."""
    ids = array("q")
    kept.seek(0)
    async with transaction(conn):
        for jobs in _batches(kept):
            ids.extend(await enqueue_each(conn, jobs))
            told(len(jobs))
    return ids


def _lines(source: IO[bytes], told: Told) -> Iterator[tuple[int, bytes]]:
    """Numbered lines that are not blank; of one that is too long, a little more than its limit."""
    number = 0
    while line := source.readline(MOST_LINE_BYTES + 1):
        number += 1
        told(len(line))
        rest = line
        while len(rest) > MOST_LINE_BYTES and not rest.endswith(b"\n"):
            rest = source.readline(MOST_LINE_BYTES + 1)
            told(len(rest))
        if number == 1:
            line = line.removeprefix(_BOM)
        if line.strip():
            yield number, line


def _read(number: int, line: bytes, read: Callable[[bytes], NewJob]) -> NewJob:
    if number == 1 and line.startswith(_UTF16):
        raise InputRefused(_NOT_UTF8, "the file is UTF-16; save it as UTF-8")
    if len(line.rstrip()) > MOST_LINE_BYTES:
        raise InputRefused("TOO_LONG", f"longer than {MOST_LINE_BYTES // 2**20} MiB")
    return read(line.strip())


def _batches(kept: IO[bytes]) -> Iterator[list[NewJob]]:
    jobs: list[NewJob] = []
    size = 0
    for line in kept:
        jobs.append(_KEPT.validate_json(line))
        size += len(line)
        if len(jobs) == _JOBS or size >= _BYTES:
            yield jobs
            jobs, size = [], 0
    if jobs:
        yield jobs
