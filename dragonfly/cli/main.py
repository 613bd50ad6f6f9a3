"""The command line: finds the command, and turns errors into one sentence and an exit code."""

from __future__ import annotations

import importlib
import sys

import click

from dragonfly import __version__
from dragonfly.errors import ConfigurationError, DragonflyError
from dragonfly.redaction import printable

EXIT_CONFIGURATION = 78

# name → module and object, imported only when asked for: --help must not pay for asyncpg
_COMMANDS = {
    "demo": (
        "dragonfly.cli.demo",
        "demo",
        "Load a bundled sample export and show what comes of it.",
    ),
    "run": ("dragonfly.cli.run", "run", "Run the workers."),
    "enqueue": ("dragonfly.cli.enqueue", "enqueue", "Add a job and print its id."),
    "jobs": ("dragonfly.cli.jobs", "jobs", "Look at jobs, see why one waits, retry or cancel."),
    "schedule": (
        "dragonfly.cli.schedule",
        "schedule",
        "Look at schedules, pause or resume them.",
    ),
    "queue": ("dragonfly.cli.queue", "queue", "See how the queue does; pause a type of jobs."),
    "workers": ("dragonfly.cli.workers", "workers", "Show the workers' heartbeats."),
    "audit": ("dragonfly.cli.audit", "audit", "Show what people did, and why."),
    "intake": ("dragonfly.cli.intake", "intake", "Load files, see batches, export rejected rows."),
    "watch": ("dragonfly.cli.watch", "watch", "Watch the drop folder for new files."),
    "migrate": ("dragonfly.cli.migrate", "migrate", "Bring the database's schema up to date."),
    "doctor": ("dragonfly.cli.doctor", "doctor", "Check everything the workers depend on."),
    "drill": (
        "dragonfly.cli.drill",
        "drill",
        "Break things on purpose on a scratch database.",
    ),
    "smoke": ("dragonfly.cli.smoke", "smoke", "Quick read-only checks of the firm's data."),
}


class Commands(click.Group):
    """Sub-commands that are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, attribute, _ = _COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, sentence) for name, (_, _, sentence) in _COMMANDS.items()])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="dragonfly %(version)s")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def cli(debug: bool) -> None:
    """Postgres job supervisor, and the workers of a judgment-enforcement firm.

    Try it without any set-up:  dragonfly demo
    """


def main() -> None:
    """The ``dragonfly`` command."""
    try:
        code = cli.main(standalone_mode=False)
    except click.exceptions.Exit as exit_:
        code = exit_.exit_code
    except click.Abort:
        _say("Stopped.")
        code = 130
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except DragonflyError as error:
        if "--debug" in sys.argv:
            raise
        _say(f"dragonfly: {error}")
        code = EXIT_CONFIGURATION if isinstance(error, ConfigurationError) else 1
    except KeyboardInterrupt:
        code = 130
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        _say(f"dragonfly: {_described(error)}; with --debug a traceback tells where.")
        code = 1
    sys.exit(code if isinstance(code, int) else 0)


def _say(sentence: str) -> None:
    click.echo(printable(sentence).encode("ascii", "replace").decode(), err=True)


def _described(error: Exception) -> str:
    from dragonfly.postgres.failures import describe

    return describe(error)
