"""Handlers that put secrets wherever a careless handler might; run by real processes."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field

from dragonfly import Job, Worker
from dragonfly.settings import Settings

# what must be seen nowhere: a key, and names as the trade's rows have them
SECRETS = {
    where: f"Zq{number}{where}9canary"
    for number, where in enumerate(
        ("password", "payload", "variable", "address", "cell", "key", "tag", "resource")
    )
} | {"person": "Quagmire"}
VARIABLE = "LEAKY_API_VALUE"

Payload = dict[str, str]
worker = Worker("leaky", concurrency=30)


@asynccontextmanager
async def unreachable(_: Settings) -> AsyncIterator[None]:
    """Resources whose address holds a secret, and cannot be opened."""
    if VARIABLE in os.environ:
        raise RuntimeError(f"cannot open {SECRETS['resource']} of {os.environ[VARIABLE]}")
    yield


fallen = Worker("fallen", lifespan=unreachable)


@fallen.job("unreachable")
async def never(job: Job[Payload]) -> None:
    """Nobody gets here."""


@worker.job("message")
async def message(job: Job[Payload]) -> None:
    """Raise what the payload and the environment say, with it in a local variable."""
    found = {"name": job.payload["person"], "value": os.environ[VARIABLE]}
    raise LookupError(f"no judgment of {found['name']}, key {found['value']}: {found}")


@worker.job("cause")
async def cause(job: Job[Payload]) -> None:
    """Raise an error in the handling of another, with a note."""
    try:
        await message(job)
    except LookupError as error:
        error.add_note(job.payload["payload"])
        raise ExceptionGroup(job.payload["payload"], [error]) from error


@worker.job("request")
async def request(job: Job[Payload]) -> None:
    """Fail as an HTTP client does, with the address in the message."""
    url = f"https://ada:{SECRETS['password']}@hooks.example/{SECRETS['address']}?token=x"
    raise RuntimeError(f"Client error '404 Not Found' for url {url} (see {url})")


@worker.job("duplicate")
async def duplicate(job: Job[Payload]) -> None:
    """Violate a constraint: the DETAIL of the error is the row."""
    async with job.transaction() as tx:
        await tx.execute("CREATE TEMP TABLE person (name text UNIQUE) ON COMMIT DROP")
        for _ in range(2):
            await tx.execute("INSERT INTO person VALUES ($1)", job.payload["person"])


@worker.job("statement")
async def statement(job: Job[Payload]) -> None:
    """Write a value into a statement, which then is none."""
    async with job.transaction() as tx:
        await tx.execute(f"SELECT * FROM x WHERE name = '{job.payload['person']}'s'")


@worker.job("function")
async def function(job: Job[Payload]) -> None:
    """Call a function that words its error itself, under a code of the server's."""
    async with job.transaction() as tx:
        await tx.execute(
            f"DO $$ begin raise 'no {job.payload['person']}' using errcode = '42501',"
            f" detail = '{job.payload['person']}', hint = '{job.payload['person']}'; end $$"
        )


@worker.job("argument")
async def argument(job: Job[Payload]) -> None:
    """Pass a value of the wrong type: the driver repeats it."""
    async with job.transaction() as tx:
        await tx.execute("SELECT $1::integer", job.payload["person"])


@worker.job("result")
async def result(job: Job[Payload]) -> object:
    """Return what no column can hold."""
    return {"of": job.payload["person"], "rate": float("nan"), "left": {job.payload["payload"]}}


@worker.job("stored")
async def stored(job: Job[Payload]) -> object:
    """Return what JSON can hold, and jsonb cannot."""
    return {"of": job.payload["person"] + "\0"}


@worker.job("thread")
def thread(job: Job[Payload]) -> None:
    """Leave a thread behind that ends in an error."""
    known: dict[str, int] = {}
    other = threading.Thread(target=lambda: known[SECRETS["payload"]])
    other.start()
    other.join()


@worker.job("task")
async def task(job: Job[Payload]) -> None:
    """Leave a task behind whose error nobody asks for."""

    async def fail() -> None:
        raise ValueError(job.payload["payload"])

    left = asyncio.ensure_future(fail())
    await asyncio.wait([left])
    del left
    gc.collect()


@worker.job("library")
async def library(job: Job[Payload]) -> None:
    """Use a library that logs what it was given."""
    log = logging.getLogger("library")
    log.warning("cannot open %r", job.payload["payload"])
    log.error("no login with password=%s", SECRETS["password"])


class Circle(BaseModel):
    """One of two shapes."""

    kind: Literal["circle"]


class Square(BaseModel):
    """The other."""

    kind: Literal["square"]


def _refuse(value: str) -> str:
    raise ValueError(f"{value} is no county")


class Strict(BaseModel, extra="forbid"):
    """A payload type that has much to object to."""

    count: int
    limits: dict[str, int]
    shape: Annotated[Circle | Square, Field(discriminator="kind")]
    county: Annotated[str, AfterValidator(_refuse)]


@worker.job("strict")
async def strict(job: Job[Strict]) -> None:
    """Its payload never fits."""


PERSON = SECRETS["person"]
KEYS = {"person": PERSON, "payload": SECRETS["payload"]}
JOBS: dict[str, object] = {
    **dict.fromkeys(
        ("message", "cause", "request", "duplicate", "statement", "function", "argument", "result",
         "stored", "thread", "task", "library"), KEYS),
    "strict": {
        "count": SECRETS["payload"],
        "limits": {SECRETS["key"]: "many"},
        "shape": {"kind": SECRETS["tag"]},
        "county": PERSON,
        SECRETS["key"]: 1,
    },
}  # fmt: skip
HEADER = "Case Number,Plaintiff,Defendant,Judgment Amount,Filing Date,County"
CELL = SECRETS["cell"]
# every column holds the secret once, and one row is broken altogether
ROWS = [
    f"{CELL},Ada Bank,{PERSON},12.00,01/02/2024,Kings",
    f"CV-1-20/KI,{CELL} {PERSON},Bob,12.00,01/02/2024,Kings",
    f"CV-2-20/KI,Ada Bank,{CELL},-{CELL},01/02/2024,Kings",
    f"CV-3-20/KI,Ada Bank,{PERSON},{CELL},01/02/2024,Kings",
    f"CV-4-20/KI,Ada Bank,{PERSON},12.00,{CELL},Kings",
    f"CV-5-20/KI,Ada Bank,{PERSON},12.00,01/02/2024,{CELL}",
    f'CV-6-20/KI,"Ada Bank"{CELL},{PERSON},12.00,01/02/2024,Kings',
    f"CV-7-20/KI,Ada Bank,{PERSON},12.00,01/02/2024,Kings,{CELL}",
]
EXPORT = "\n".join([HEADER, *ROWS, ""])
