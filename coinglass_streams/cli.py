"""The command's entry: finds the subcommand, and turns every expected failure into one line and an exit status."""

import importlib
import keyword
import os
import signal
import sys
from typing import NoReturn

import click

from schemas.errors import StreamsError

PROGRAM = "coinglass-streams"

#: Subcommand -> one line of help. The modules are imported when called: a worker does not load the simulator.
SUBCOMMANDS = {
    "demo": "Kafka, a simulated feed, producer, worker and dashboard in one terminal.",
    "kafka": "An embedded Apache Kafka of one node or three, in the foreground.",
    "simulate": "A WebSocket server that speaks CoinGlass's protocol.",
    "produce": "The feed to the raw topics.",
    "process": "A worker: the raw topics to aggregates, tables and web views.",
    "replay": "Raw topics or exported files through the worker's own pipeline, for backtests.",
    "export": "Raw topics to files.",
    "import": "Exported files to raw topics.",
    "topics": "Create and describe the topics.",
    "schemas": "Check and register the schemas.",
    "doctor": "What is wrong with this setup, and what to do.",
}


class Subcommands(click.Group):
    """A group whose subcommands are modules of `coinglass_streams.commands`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the README."""
        del ctx
        return list(SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the subcommand's module; its command bears the subcommand's name."""
        del ctx
        if cmd_name not in SUBCOMMANDS:
            return None
        name = f"{cmd_name}_" if keyword.iskeyword(cmd_name) else cmd_name
        module = importlib.import_module(f"coinglass_streams.commands.{name}")
        command = getattr(module, name)
        assert isinstance(command, click.Command)
        command.help = command.help or SUBCOMMANDS[cmd_name]
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the subcommands without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(SUBCOMMANDS.items()))


@click.command(cls=Subcommands, no_args_is_help=False)
@click.version_option(package_name="coinglass-streams")
def root() -> None:
    """CoinGlass liquidations and futures trades as exact windowed aggregates, on Kafka and Faust."""


def main() -> NoReturn:
    """Run the command line and exit: 0 done, 1 failed, 2 bad usage."""
    # Until a subcommand listens there is nothing to drain; and what is importing might catch an exception.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))
    try:
        status = root.main(prog_name=PROGRAM, standalone_mode=False) or 0
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else PROGRAM
        _fail(f"{where}: {error.format_message().rstrip('.')}; see '{where} --help'", 2)
    except click.ClickException as error:
        _fail(f"{PROGRAM}: {error.format_message()}", 1)
    except (KeyboardInterrupt, click.Abort):
        status = 0  # a signal before there was anything to drain
    except StreamsError as error:
        _fail(f"{PROGRAM}: {error}", error.exit_status)
    sys.exit(status)


def _fail(line: str, status: int) -> NoReturn:
    click.echo(" ".join(line.split()), err=True)
    sys.exit(status)
