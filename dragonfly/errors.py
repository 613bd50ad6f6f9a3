"""Every error Dragonfly raises on purpose.

DragonflyError
├── ConfigurationError        a setting, login or schema stops the start; exit 78
│   └── LoginRefused          the server refused the login; never hammered
├── InputRefused              a file, payload or identifier a person must mend (code and sentence)
├── JobError
│   ├── JobLost               the lock moved to another holder; nothing was written
│   └── JobMisuse             a handler used its job in a way that could lie
├── TransactionAborted        the server rolled back what the code believed committed
├── UnfitValue                a value that PostgreSQL's json or text cannot hold
└── CrashLoopError            ten counted failures in a row (also a RuntimeError)
"""

from __future__ import annotations


class DragonflyError(Exception):
    """The root; ``str()`` of it is a sentence fit for a person."""


class ConfigurationError(DragonflyError):
    """The environment does not let Dragonfly start; the sentence says what to change."""


class LoginRefused(ConfigurationError):
    """The server refused the login; poolers ban those who keep trying."""


class InputRefused(DragonflyError):
    """Input that no retry can mend: ``code`` for machines, the message for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class JobError(DragonflyError):
    """Something about one job."""


class JobLost(JobError):
    """The job's lock belongs to somebody else now; whatever was about to be written was not."""


class JobMisuse(JobError):
    """A handler asked its job for something that could not be kept."""


class TransactionAborted(DragonflyError):
    """An error was swallowed inside a transaction, so the server rolled it back."""


class UnfitValue(DragonflyError):
    """A result, progress or checkpoint that JSON or PostgreSQL cannot hold."""


class CrashLoopError(DragonflyError, RuntimeError):
    """A worker failed ten times in a row without a success between."""
