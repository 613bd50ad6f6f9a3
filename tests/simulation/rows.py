"""What the simulated tables hold, and what their statements answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar

from dragonfly.job import Claim
from tests.queue.model import ModelJob

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
MICRO = 1_000_000
MAX_ATTEMPTS = 8


class Row(tuple[Any, ...]):
    """A record: its values in order, or one by its name."""

    __slots__ = ()
    names: ClassVar[tuple[str, ...]] = ()

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(self.names.index(key) if isinstance(key, str) else key)


def rows_of(*names: str) -> Callable[..., Row]:
    """A maker of rows with these columns."""
    kind: type[Row] = type("Row", (Row,), {"names": names})
    return lambda *values: kind(values)


ID_ROW = rows_of("id")
END_ROW = rows_of("id", "status")
CLAIM_ROW = rows_of(*Claim._fields)
EMPTY_CLAIM_ROW = rows_of(*Claim._fields, "due_in", "suspects_wait", "keyed_wait")
SUSPECT_ROW = rows_of(*Claim._fields, "last_chance_waits")
TOKEN_ROW = rows_of("id", "lock_token")
BEAT_ROW = rows_of("last_heartbeat_at", "lapsed")
KEY_ROW = rows_of("key", "due_in", "reached", "ours")
VALUE_ROW = rows_of("value")
LITTER_ROW = rows_of("dead", "live", "vacuums", "may_vacuum")
SESSION_ROW = rows_of("pid", "idle", "quiet")


@dataclass(frozen=True)
class Stored(ModelJob):
    """What the table holds beside the model's columns."""

    locked_by: str | None = None
    error: str = ""


@dataclass(frozen=True)
class Taken:
    """A claim that was committed."""

    at: float
    job_id: int
    token: int
    holder: str


@dataclass
class Work:
    """What a transaction has locked, and what its commit will do."""

    locks: set[int] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)
    writes: list[Callable[[], object]] = field(default_factory=list)
    failed: bool = False
