"""Sorts what can go wrong into the classes that decide what happens to a job and to its worker."""

from __future__ import annotations

import re
from enum import StrEnum

import asyncpg

from dragonfly.errors import ConfigurationError, DragonflyError, InputRefused, TransactionAborted
from dragonfly.redaction import describe_exception, redact, storable


class Failure(StrEnum):
    """DESIGN's table of failures: who is to blame, and so who waits."""

    REJECTED = "rejected input"
    AWAY = "database away"
    TRANSIENT = "transient"
    CONFIGURATION = "configuration"
    BUG = "bug"


# what a connection or a statement may raise when no code of ours is wrong: to be caught as one.
# InternalClientError is asyncpg's word for a server's farewell that arrived between two statements
TROUBLE = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    ConfigurationError,
)
# 57014 is a cancelled statement: a timeout of ours or of the server's
_TRANSIENT_STATES = frozenset(
    {"40001", "40P01", "55P03", "57014", "25P02", "25P03", "53200", "53400"}
)
_AWAY_STATES = frozenset({"57P01", "57P02", "57P03", "57P05", "53300", "25006", "53100", "58030"})
_CONFIGURATION_STATES = frozenset({"3D000", "3F000"})
# the message is a function's own words, and may be anything
_RAISE = "exec_stmt_raise"
# the message quotes the statement, into which a handler may have written a value
_SYNTAX_ERROR = "42601"
_POOLER_REFUSALS = re.compile(
    r"tenant or user not found|no such (database|user)|password authentication", re.IGNORECASE
)


def classify(error: BaseException) -> Failure:
    """The class of an exception, looking through groups to their first leaf."""
    if isinstance(error, BaseExceptionGroup):
        return classify(error.exceptions[0])
    if isinstance(error, InputRefused):
        return Failure.REJECTED
    if isinstance(error, ConfigurationError):
        return Failure.CONFIGURATION
    if isinstance(error, TransactionAborted | TimeoutError):
        return Failure.TRANSIENT
    if isinstance(error, asyncpg.PostgresError):
        return _classify_sqlstate(error)
    if isinstance(error, asyncpg.InterfaceError):
        return Failure.AWAY if "closed" in str(error) else Failure.BUG
    if isinstance(error, ConnectionError | asyncpg.InternalClientError):
        return Failure.AWAY
    return Failure.BUG


def _classify_sqlstate(error: asyncpg.PostgresError) -> Failure:
    state = error.sqlstate or ""
    if isinstance(error, asyncpg.InvalidCachedStatementError):
        return Failure.TRANSIENT  # somebody altered a table: asyncpg has forgotten the old plan
    if is_login_refusal(error) or state in _CONFIGURATION_STATES or state == "42501":
        return Failure.CONFIGURATION
    if state.startswith("08") or state in _AWAY_STATES or _is_closed_to_logins(error):
        return Failure.AWAY
    if state in _TRANSIENT_STATES:
        return Failure.TRANSIENT
    if state.startswith("42"):
        return Failure.CONFIGURATION
    return Failure.BUG


def _is_closed_to_logins(error: asyncpg.PostgresError) -> bool:
    """True for ALLOW_CONNECTIONS false; PostgreSQL has no SQLSTATE of its own for it."""
    return error.sqlstate == "55000" and error.server_source_function == "CheckMyDatabase"


def is_login_refusal(error: BaseException) -> bool:
    """True for a refused password or user, in PostgreSQL's words or a pooler's."""
    if not isinstance(error, asyncpg.PostgresError):
        return False
    if (error.sqlstate or "").startswith("28"):
        return True
    return error.sqlstate in {"XX000", "08P01", "3D000"} and bool(
        _POOLER_REFUSALS.search(str(error))
    )


def is_connection_lost(error: BaseException) -> bool:
    """True if the connection the error came through must not be used again."""
    return isinstance(
        error,
        ConnectionError | TimeoutError | asyncpg.InterfaceError | asyncpg.InternalClientError,
    ) or (isinstance(error, asyncpg.PostgresError) and classify(error) is Failure.AWAY)


def describe(error: BaseException) -> str:
    """A sentence about an error that holds no row contents and no secrets.

    Of a database error: its SQLSTATE, class and the names of what it is about; its message only
    where PostgreSQL puts nothing but names there (SQLSTATE classes 42, 3D and 3F). Of an error of
    Dragonfly's own its sentence; of any other what ``describe_exception`` leaves.
    """
    if isinstance(error, BaseExceptionGroup):
        return describe(error.exceptions[0])
    if isinstance(error, DragonflyError) and str(error):
        return f"{type(error).__name__}: {redact(str(error))}"
    if not isinstance(error, asyncpg.PostgresError):
        return describe_exception(error)
    state = error.sqlstate or "?"
    if error.server_source_function == _RAISE:
        return f"{type(error).__name__} (SQLSTATE {state})"
    if state[:2] in {"42", "3D", "3F"} and state != _SYNTAX_ERROR:
        return f"{storable(str(error.args[0])[:500])} (SQLSTATE {state})"
    names = [
        f"{label} {value}"
        for label, value in (
            ("constraint", getattr(error, "constraint_name", None)),
            ("table", getattr(error, "table_name", None)),
            ("column", getattr(error, "column_name", None)),
        )
        if value
    ]
    return f"{type(error).__name__} (SQLSTATE {state}{''.join(', ' + name for name in names)})"
