"""One job as text: what a line of a file or a command may say, and why it is none if it is not."""

from __future__ import annotations

import difflib
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError, from_json

from dragonfly.errors import InputRefused, UnfitValue
from dragonfly.job import Reject
from dragonfly.queue.bulk import NewJob
from dragonfly.queue.store import OnConflict, payload_json

_WHERE = re.compile(r" at line \d+ column (\d+)$")

# raises Reject if the handler of this job type could not read this payload
Fits = Callable[[str, str], None]


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise PydanticCustomError("nul", "must not hold the character U+0000")
    return text


_JobType = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_without_nul)]
_Key = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_without_nul)]


class _Fields(BaseModel):
    """The parameters of ``ops.enqueue_job()``, and the bounds of their columns."""

    model_config = ConfigDict(extra="forbid", strict=True)

    job_type: _JobType
    payload: Any = None
    run_at: AwareDatetime | None = None
    priority: int = Field(0, ge=-32768, le=32767)
    unique_key: _Key | None = None
    concurrency_key: _Key | None = None
    max_attempts: int | None = Field(None, ge=1, le=2**31 - 1)
    due_at: AwareDatetime | None = None
    correlation_id: uuid.UUID | None = None
    parent_id: int | None = Field(None, ge=-(2**63), le=2**63 - 1)
    on_conflict: OnConflict = "skip"


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads jobs from JSON text.

    ``options`` hold for whatever does not name its own. With a ``job_type`` the text is a payload;
    without one it is an object that has the job's type and may have a payload and options.
    """

    job_type: str | None
    options: Mapping[str, Any]
    fits: Fits

    def read(self, text: bytes) -> NewJob:
        """The job; InputRefused with a sentence that holds nothing of the text's values."""
        if self.job_type is None:
            job = self._object(text)
        else:
            options = {"job_type": self.job_type, "payload": _payload(text), **self.options}
            job = NewJob(**options)
        try:
            self.fits(job.job_type, job.payload)
        except Reject as rejection:
            raise InputRefused(rejection.code, rejection.message) from None
        return job

    def _object(self, text: bytes) -> NewJob:
        try:
            fields = _Fields.model_validate_json(text)
        except ValidationError as error:
            raise InputRefused("LINE_INVALID", _sentence(error)) from None
        given = fields.model_dump(exclude_unset=True)
        return NewJob(**{**self.options, **given, "payload": _text(fields.payload)})


def _payload(text: bytes) -> str:
    try:
        return _text(from_json(text, allow_inf_nan=False))
    except ValueError as error:
        raise InputRefused("PAYLOAD_INVALID", f"not JSON: {_plain(str(error))}") from None


def _text(payload: Any) -> str:
    try:
        return payload_json(payload)
    except UnfitValue:
        raise InputRefused(
            "PAYLOAD_INVALID", "the payload holds NaN, Infinity or the character U+0000"
        ) from None


def _sentence(error: ValidationError) -> str:
    problems = error.errors(include_input=False, include_url=False, include_context=False)
    parts = [_problem(str(each["type"]), each["loc"], each["msg"]) for each in problems[:5]]
    more = f" (and {len(problems) - 5} more)" if len(problems) > 5 else ""
    return "; ".join(parts) + more


def _problem(kind: str, where: tuple[int | str, ...], what: str) -> str:
    if kind == "json_invalid":
        return f"not JSON: {_plain(what.removeprefix('Invalid JSON: '))}"
    if kind == "model_type":
        return "not an object with a job_type"
    name = str(where[0])
    if kind == "missing":
        return f"no {name}"
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(name, _Fields.model_fields, 1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(_Fields.model_fields)}"
        return f"unknown field {name[:50]!a} ({hint})"
    return f"{name}: {what}"


def _plain(reason: str) -> str:
    """A parser counts lines, too, and here each text is one."""
    return _WHERE.sub(r" at byte \1", reason)
