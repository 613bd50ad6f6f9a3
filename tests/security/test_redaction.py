"""What may be told of a text: words for people stay, what could be somebody's data goes."""

from __future__ import annotations

import socket

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragonfly.errors import ConfigurationError
from dragonfly.postgres.failures import describe
from dragonfly.redaction import plain_words, printable, redact


@pytest.mark.parametrize(
    "secret",
    [
        "postgresql://me:hunter2@db/x",
        "postgresql://me:hun@ter2/x@db/x",
        "https://hooks.example/T0KEN/hunter2",
        "https://store.example?sig=hunter2&x=1",
        "eyJhbGciOi.J9.abc",
        "sb_secret_abcdef",
        "password=hunter2",
        "SUPABASE_SERVICE_ROLE_TOKEN: hunter2",
        "Authorization: Bearer hunter2",
        "ada@example.com",
        "'Ada Lovelace'",
        '"Ada\'s hunter2"',
        "'Ada\\'s \"hunter2\"'",
        "'Rory O'Brien'",
        "`hunter2`",
        "'hunter2 that nobody closes",
        "123-45-6789",
        "4111111111111111",
    ],
)
@pytest.mark.parametrize(
    "around", ["it broke at {} again", "it doesn't fit {}", "can't: {}; won't"]
)
def test_redaction_leaves_no_secret(secret: str, around: str) -> None:
    """Passwords, keys, paths of addresses, quoted values, e-mails and long numbers do not pass."""
    shown = redact(around.format(secret))

    assert secret not in shown
    for word in ("hunter2", "ter2", "Lovelace", "Brien"):
        assert word not in shown
    assert "***" in shown


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("no judgment of Ada Lovelace", "no judgment of *** ***"),
        ("Ada", "***"),
        ("CV-009001-20NY/KI is unknown", "*** is unknown"),
        ("key 7f3a9c2b refused", "key *** refused"),
        ("owes 12,500.00 dollars", "owes *** dollars"),
        ("list index out of range", "list index out of range"),
        ("Server disconnected after 3 s", "Server disconnected after 3 s"),
        ("Expecting value: line 1 column 1 (char 0)", "Expecting value: line 1 column 1 (char 0)"),
        ("'NoneType' object has no attribute 'x'", "'***' object has no attribute '***'"),
        ("add() missing 1 required positional argument: 'b'",
         "add() missing 1 required positional argument: '***'"),
    ],
)  # fmt: skip
def test_of_an_exception_plain_words_are_told(said: str, told: str) -> None:
    """Names, codes and amounts are hidden wherever they stand, the sentence around them is not."""
    assert f"ValueError: {told}" == describe(ValueError(said))


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (FileNotFoundError(2, "No such file", "/home/ada/Lovelace.csv"),
         "FileNotFoundError: No such file or directory"),
        (OSError(111, "Connect call failed ('10.0.0.7', 5432)"),
         "ConnectionRefusedError: Connection refused"),
        (socket.gaierror(-2, "Name or service not known"),
         "gaierror: the host's name cannot be resolved"),
        (KeyError("Ada Lovelace"), "KeyError: '***'"),
        (ValueError(), "ValueError"),
        (ConfigurationError("Set SUPABASE_URL_PROD; https://ada:hunter2@x is none."),
         "ConfigurationError: Set SUPABASE_URL_PROD; https://ada:***@x is none."),
        (ExceptionGroup("g", [ValueError("Ada")]), "ValueError: ***"),
    ],
)  # fmt: skip
def test_an_error_is_told_by_its_kind(error: Exception, told: str) -> None:
    """The system's errors lose the file or address they are about; ours keep their sentence."""
    assert told == describe(error)


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("DO $$ begin raise 'no access for Ada' using errcode = '42501'; end $$",
         "InsufficientPrivilegeError (SQLSTATE 42501)"),
        ("DO $$ begin raise 'no' using errcode = '23505', constraint = 'Ada'; end $$",
         "UniqueViolationError (SQLSTATE 23505)"),
        ("SELECT 'Ada' Lovelace 'x'", "PostgresSyntaxError (SQLSTATE 42601)"),
        ("SELECT 'Ada'::integer", "InvalidTextRepresentationError (SQLSTATE 22P02)"),
        ("SELECT * FROM public.nothing",
         'relation "public.nothing" does not exist (SQLSTATE 42P01)'),
    ],
)  # fmt: skip
async def test_a_database_error_is_told_without_values(
    conn: asyncpg.Connection, statement: str, told: str
) -> None:
    """What a function raised and what a syntax error quotes is anybody's text; a missing table's
    name is not."""
    with pytest.raises(asyncpg.PostgresError) as caught:
        await conn.execute(statement)

    assert told == describe(caught.value)


@given(st.text())
def test_what_is_printed_is_one_line(text: str) -> None:
    """No control character, no mark of direction and no line break reaches a terminal."""
    assert printable(text).isprintable()


@given(st.text(), st.text(alphabet="abcdefghijklmnop0123456789ABC", min_size=8))
def test_what_holds_a_capital_or_a_digit_among_letters_is_hidden(around: str, code: str) -> None:
    """Whatever stands around it, a code is not told."""
    mixed = f"q7{code}"

    assert mixed not in plain_words(f"{around} {mixed} {around}")
