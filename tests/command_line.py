"""Reads a ``dragonfly`` command as the command line would, without running it."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import click

from dragonfly.cli.main import cli


def check(words: Sequence[str]) -> None:
    """Raise click.UsageError or ImportError if ``dragonfly WORDS`` names what does not exist.

    Values are not checked: documents write FILE or ID in their place.
    """
    command: click.Command = cli
    context: click.Context | None = None
    name, arguments = "dragonfly", list(words)
    while isinstance(command, click.Group):
        context = command.make_context(name, arguments, parent=context)
        rest = [*context._protected_args, *context.args]
        _, found, arguments = command.resolve_command(context, rest)
        assert found is not None
        name, command = found.name or "", found
    with contextlib.suppress(click.exceptions.Exit):  # --help
        try:
            command.make_context(name, arguments, parent=context)
        except click.MissingParameter:
            if arguments:  # a command alone is only its name
                raise
        except click.BadParameter:
            return
