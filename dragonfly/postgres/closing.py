"""The proof of a transaction and its COMMIT in one message.

A message is a fifth of what a short transaction costs (benchmark W2T). PostgreSQL gives a message
up at its first error, and does not run what follows: so the proof is a statement that fails where
the commit is forbidden. It is prepared once a session, for planning it costs more than running it.
"""

from __future__ import annotations

import secrets
from typing import Any, NamedTuple

import asyncpg

Argument = int | str | None


class Proof(NamedTuple):
    """A statement that fails unless its transaction may be committed, and what it is given."""

    statement: str
    args: tuple[Argument, ...] = ()

    @property
    def words(self) -> str | None:
        """The arguments as they stand in a message; None if they belong in parameters.

        Whole numbers and nulls need no quotes. A text would, and the server's log would show it
        beside each error.
        """
        words = []
        for each in self.args:
            if type(each) is int:
                words.append(str(each))
            elif each is None:
                words.append("NULL")
            else:
                return None
        return ",".join(words)


class ClosingConnection(asyncpg.Connection):
    """A connection that can close a transaction in one message; its session must be its own."""

    __slots__ = ("_names",)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._names: dict[str, str] = {}  # of the statements that are prepared

    async def commit_after(self, statement: str, words: str) -> None:
        """Commit the open transaction if this proof, with its arguments in words, succeeds.

        What either of the two raised is raised, and nothing is committed then; of a lost connection
        nobody knows.
        """
        name = self._names.get(statement) or await self.prepared(statement)
        given = f"({words})" if words else ""
        try:
            await self.execute(f"EXECUTE {name}{given};COMMIT")
        except asyncpg.InvalidSQLStatementNameError:
            self._names.clear()  # a handler's DEALLOCATE ALL: the next transaction prepares anew
            raise
        finally:
            if not self.is_closed() and not self.is_in_transaction():
                self._top_xact = None  # as asyncpg's own commit() leaves it

    async def prepared(self, statement: str) -> str:
        """The name by which this session knows the statement; it is prepared at its first use."""
        if known := self._names.get(statement):
            return known
        # nobody's else: a pooler may hand on a session with what was prepared there
        name = f"dragonfly_{secrets.token_hex(4)}"
        await self.execute(f"PREPARE {name} AS {statement}")
        self._names[statement] = name
        return name
