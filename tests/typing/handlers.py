"""What a type checker knows of handlers; read by mypy alone, every assert_type is its test."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, TypedDict, assert_type

from asyncpg import Connection
from pydantic import BaseModel

from dragonfly import Job, RetryPolicy, Worker, enqueue, enqueue_many
from dragonfly.testing import Drained, Performed, drain, perform


class Model(BaseModel):
    name: str


@dataclass
class Data:
    count: int


class Row(TypedDict):
    amount: float


class Busy(Exception):
    """An error of the author's own."""


worker = Worker("typed")
POLICIES = {Busy: RetryPolicy(first=1), ValueError: None}


@worker.job("model", timeout=5)
async def model(job: Job[Model]) -> dict[str, str]:
    assert_type(job.payload, Model)
    assert_type(job.payload.name, str)
    assert_type(job.id, int)
    assert_type(job.correlation_id, uuid.UUID | None)
    assert_type(job.transaction(), AbstractAsyncContextManager[Connection])
    return {"name": job.payload.name}


@worker.job("data", retry=RetryPolicy(attempts=3))
async def data(job: Job[Data]) -> None:
    assert_type(job.payload, Data)
    assert_type(job.payload.count, int)


@worker.job("row", retry=POLICIES)
def row(job: Job[Row]) -> float:
    assert_type(job.payload, Row)
    assert_type(job.payload["amount"], float)
    return job.payload["amount"]


@worker.job("plain", retry={ValueError: None, OSError: RetryPolicy(cap=60)})
async def plain(its_job: Job[dict[str, Any]]) -> list[int]:
    assert_type(its_job.payload, dict[str, Any])
    return []


async def follow(conn: Connection, job: Job[Model]) -> None:
    assert_type(await enqueue(conn, "data", Data(3), parent=job), int)
    assert_type(await enqueue_many(conn, "data", [{"count": 3}], parent=job), list[int])
    assert_type(await perform(worker, "model", {"name": "Ada"}, conn=conn), Performed)
    assert_type(await drain("postgresql:///", worker), Drained)


def functions_stay_as_they_were(
    some: Job[Model], row_job: Job[Row], plain_job: Job[dict[str, Any]]
) -> None:
    """The decorator gives back the function that it was given, with the names of its arguments."""
    assert_type(row(row_job), float)
    kept: Callable[[Job[Model]], Awaitable[dict[str, str]]] = model
    assert_type(kept(some), Awaitable[dict[str, str]])
    by_name = plain(its_job=plain_job)
    by_name.close()
