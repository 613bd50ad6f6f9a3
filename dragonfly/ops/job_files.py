"""Files of jobs, one JSON value a line: read, judged line by line, and added all or none.

A file is judged as a whole before the database hears of it; what is in order waits in a temporary
file, so that neither memory nor an open transaction grows with the input.
"""

from __future__ import annotations

import difflib
import json
import re
import tempfile
import uuid
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import IO, TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError, from_json

from dragonfly.errors import InputRefused, UnfitValue
from dragonfly.job import Reject
from dragonfly.postgres.transactions import transaction
from dragonfly.queue.bulk import NewJob, enqueue_each
from dragonfly.queue.store import OnConflict, payload_json

if TYPE_CHECKING:
    from asyncpg import Connection

MOST_BAD_LINES = 20
MOST_LINE_BYTES = 16 * 2**20
# one statement carries at most so many jobs, and no more once it has so many bytes
_JOBS, _BYTES = 1000, 2**20
_IN_MEMORY = 4 * 2**20
_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_WHERE = re.compile(r" at line \d+ column (\d+)$")

Told = Callable[[int], None]
Fits = Callable[[str, str], None]


class BadLine(NamedTuple):
    """A line, counted from 1, and why it is no job: a sentence without its end."""

    number: int
    why: str


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise PydanticCustomError("nul", "must not hold the character U+0000")
    return text


def _text(longest: int) -> Any:
    return Annotated[str, Field(min_length=1, max_length=longest), AfterValidator(_without_nul)]


class JobLine(BaseModel):
    """What a line may say; the names and bounds are those of ``ops.enqueue_job()``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    job_type: _text(200)
    payload: Any = None
    run_at: AwareDatetime | None = None
    priority: int = Field(0, ge=-32768, le=32767)
    unique_key: _text(500) | None = None
    concurrency_key: _text(500) | None = None
    max_attempts: int | None = Field(None, ge=1, le=2**31 - 1)
    due_at: AwareDatetime | None = None
    correlation_id: uuid.UUID | None = None
    parent_id: int | None = Field(None, ge=-(2**63), le=2**63 - 1)
    on_conflict: OnConflict = "skip"
