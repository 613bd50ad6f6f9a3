"""Mistakes that a type checker finds: an ignore that mypy does not need is an error as well."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from dragonfly import Job, RetryPolicy, Worker, enqueue
from dragonfly.testing import perform


class Model(BaseModel):
    name: str


worker = Worker("mistaken")


@worker.job("nope")
async def nope(job: Job[Model]) -> None:
    _ = job.payload.nope  # type: ignore[attr-defined]
    job.complete({}, {})  # type: ignore[call-arg]
    await job.progress("half", 50)  # type: ignore[arg-type]
    job.id = 7  # type: ignore[misc]


@worker.job("number")  # type: ignore[type-var]
async def number(job: int) -> None: ...


@worker.job("nothing")  # type: ignore[type-var]
async def nothing() -> None: ...


@worker.job("two")  # type: ignore[type-var]
async def two(job: Job[Model], more: str) -> None: ...


@worker.job("policies", retry={"ValueError": None})  # type: ignore[type-var]
async def policies(job: Job[Model]) -> None: ...


@worker.job("classes", retry={int: RetryPolicy()})  # type: ignore[type-var]
async def classes(job: Job[Model]) -> None: ...


@worker.job("numbers", retry={ValueError: 3})  # type: ignore[dict-item]
async def numbers(job: Job[Model]) -> None: ...


async def follow(conn: Any, job: Job[Model]) -> None:
    await enqueue(conn, "nope", {}, parent=job.id)  # type: ignore[arg-type]
    await perform("nope", {}, conn=conn)  # type: ignore[call-arg, arg-type]
    nope(job.payload)  # type: ignore[arg-type, unused-coroutine]
