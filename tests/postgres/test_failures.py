"""Failures are sorted by who must act, and described without what they hold."""

from __future__ import annotations

import asyncpg
import pytest

from dragonfly.errors import ConfigurationError, InputRefused, TransactionAborted
from dragonfly.postgres.failures import (
    Failure,
    classify,
    describe,
    is_connection_lost,
    is_login_refusal,
)
from tests.support import allow_logins, forbid_logins


def _server_error(kind: type[asyncpg.PostgresError], message: str = "m") -> asyncpg.PostgresError:
    return kind(message)


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (InputRefused("X", "y"), Failure.REJECTED),
        (ConfigurationError("y"), Failure.CONFIGURATION),
        (asyncpg.UndefinedTableError("relation x"), Failure.CONFIGURATION),
        (asyncpg.UndefinedColumnError("column x"), Failure.CONFIGURATION),
        (asyncpg.InsufficientPrivilegeError("denied"), Failure.CONFIGURATION),
        (asyncpg.InvalidPasswordError("no"), Failure.CONFIGURATION),
        (asyncpg.InternalServerError("Tenant or user not found"), Failure.CONFIGURATION),
        (asyncpg.AdminShutdownError("bye"), Failure.AWAY),
        (asyncpg.CannotConnectNowError("starting"), Failure.AWAY),
        (asyncpg.TooManyConnectionsError("full"), Failure.AWAY),
        (asyncpg.ConnectionDoesNotExistError("gone"), Failure.AWAY),
        (asyncpg.InterfaceError("connection is closed"), Failure.AWAY),
        (asyncpg.ReadOnlySQLTransactionError("standby"), Failure.AWAY),
        (asyncpg.DiskFullError("full"), Failure.AWAY),
        (ConnectionRefusedError(), Failure.AWAY),
        (asyncpg.SerializationError("again"), Failure.TRANSIENT),
        (asyncpg.DeadlockDetectedError("again"), Failure.TRANSIENT),
        (asyncpg.LockNotAvailableError("busy"), Failure.TRANSIENT),
        (asyncpg.InFailedSQLTransactionError("aborted"), Failure.TRANSIENT),
        (TransactionAborted("y"), Failure.TRANSIENT),
        (TimeoutError(), Failure.TRANSIENT),
        (asyncpg.UniqueViolationError("dup"), Failure.BUG),
        (asyncpg.InterfaceError("wrong use"), Failure.BUG),
        (ValueError("y"), Failure.BUG),
        (OSError("no space"), Failure.BUG),
        (ExceptionGroup("g", [asyncpg.DeadlockDetectedError("again")]), Failure.TRANSIENT),
    ],
)
def test_each_failure_has_one_class(error: BaseException, failure: Failure) -> None:
    """The class decides who waits: the job, the worker, or a person."""
    assert failure == classify(error)


async def test_a_database_closed_to_logins_is_away(dsn: str, conn: asyncpg.Connection) -> None:
    """ALLOW_CONNECTIONS false, as in maintenance, is waited for; its SQLSTATE alone is a bug's."""
    with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError) as unused:
        await conn.fetchval("SELECT lastval()")
    await forbid_logins(dsn)
    with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError) as closed:
        await asyncpg.connect(dsn)
    await allow_logins(dsn)

    assert [Failure.AWAY, Failure.BUG] == [classify(closed.value), classify(unused.value)]


def test_a_refused_login_is_known_by_its_words() -> None:
    """Poolers refuse logins with codes of their own."""
    assert is_login_refusal(asyncpg.InvalidPasswordError("no"))
    assert is_login_refusal(asyncpg.InternalServerError("FATAL: Tenant or user not found"))
    assert not is_login_refusal(asyncpg.InternalServerError("something else"))
    assert not is_login_refusal(ConnectionRefusedError())


def test_a_lost_connection_is_not_used_again() -> None:
    """Time-outs and closed sockets cost the connection, a constraint does not."""
    assert is_connection_lost(TimeoutError())
    assert is_connection_lost(asyncpg.AdminShutdownError("bye"))
    assert not is_connection_lost(asyncpg.UniqueViolationError("dup"))


def test_database_errors_are_described_without_values() -> None:
    """Of a violated constraint its name is told, not the row."""
    error = asyncpg.UniqueViolationError("Key (name)=(Ada Lovelace) already exists.")
    error.constraint_name = "people_name"

    assert "UniqueViolationError (SQLSTATE 23505, constraint people_name)" == describe(error)


def test_a_missing_table_is_named() -> None:
    """Where PostgreSQL's message holds only names, it is told whole."""
    error = asyncpg.UndefinedTableError('relation "greetings" does not exist')

    assert 'relation "greetings" does not exist (SQLSTATE 42P01)' == describe(error)
