"""``dawan-node`` (alias ``dawan``): finds the command, loads its file, and turns failures into one line.

``--help`` must answer at once, so this file imports nothing but click: each command lives in a file of its own that
is imported when the command runs. Packages with channel modules may add command groups through the entry point group
``dawan_node.cli``; they are looked up only when a name is not in the table, or for the list in ``--help``.

Exit codes: see ``dawan_node.cli.exit_codes``. A failure that an operator can act on is one line on standard error:
what happened, why, and what to do next.
"""

from __future__ import annotations

import os
import sys
from typing import IO, Any, Final

import click

from dawan_node.cli.exit_codes import ExitCode, exit_code_of
from dawan_node.cli.lazy import TableGroup
from dawan_node.errors import DawanError, OperatorError

ENTRY_POINTS: Final = "dawan_node.cli"

# name -> (module, attribute, line for --help). In the order of a node's life.
COMMANDS: Final = {
    "init": ("dawan_node.cli.init", "init", "Make this party's keys and folders."),
    "network": ("dawan_node.cli.network", "network", "Put a consortium together and check it."),
    "run": ("dawan_node.cli.run", "run", "Run the node."),
    "status": ("dawan_node.cli.status", "status", "Is it healthy, and if not, whose fault is it?"),
    "doctor": ("dawan_node.cli.doctor", "doctor", "Clock, ports, links, disk, certificates, keys: what is wrong?"),
    "tx": ("dawan_node.cli.tx", "tx", "Build, sign, submit and follow transactions."),
    "channel": ("dawan_node.cli.channel", "channel", "Channels, their members, and who may do what."),
    "module": ("dawan_node.cli.module", "module", "Write, check and describe channel modules."),
    "query": ("dawan_node.cli.query", "query", "Read blocks, transactions, state, events and members."),
    "proof": ("dawan_node.cli.proof", "proof", "Fetch what one channel proves to another."),
    "keys": ("dawan_node.cli.keys", "keys", "Make, list, import, export, rotate, back up and examine keys."),
    "cert": ("dawan_node.cli.cert", "cert", "Request, issue, install, renew, revoke and show certificates."),
    "db": ("dawan_node.cli.db", "db", "Look into, check, copy and compare databases of a stopped node."),
    "backup": ("dawan_node.cli.backup", "backup", "Copies of the ledgers: made while the node runs, and restored."),
    "trade": ("dawan_node.cli.trade", "trade", "Receivables: import invoices."),
    "refdata": ("dawan_node.cli.refdata", "refdata", "Code tables and banking calendars: load and enact."),
    "devnet": ("dawan_node.cli.devnet", "devnet", "A whole consortium on this machine."),
    "version": ("dawan_node.cli.version", "version", "Versions of the program and what it stands on."),
}


class RootGroup(TableGroup):
    """The root command. Subcommands come from the table, then from entry points."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The table's names in its order, then the others by name."""
        return [*COMMANDS, *sorted(name for name in _entry_points() if name not in COMMANDS)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's file. None for an unknown name."""
        if cmd_name in COMMANDS or cmd_name not in (others := _entry_points()):
            return super().get_command(ctx, cmd_name)
        command = others[cmd_name].load()
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in ``--help``, without importing any command."""
        rows = [
            (name, COMMANDS[name][2] if name in COMMANDS else "From an installed module package.")
            for name in self.list_commands(ctx)
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; every failure the node raises on purpose becomes one line and an exit code."""
        try:
            return super().invoke(ctx)
        except DawanError as error:
            raise Failure(error) from error


class Failure(click.ClickException):
    """An error of the node on its way to the terminal."""

    def __init__(self, error: DawanError) -> None:
        if isinstance(error, OperatorError):
            text = f"{error.what}: {error.why}. Next: {error.fix}"
        else:
            text = f"{type(error).__name__}: {error}"
        # Text of peers and files may hold control characters; none may move the cursor or start a second line.
        super().__init__("".join(character if character.isprintable() else " " for character in text))
        self.exit_code = exit_code_of(error)  # type: ignore[misc]  # click's own classes have one each

    def show(self, file: IO[Any] | None = None) -> None:
        """One line on standard error."""
        click.echo(f"error: {self.message}", file=file, err=file is None)


@click.group(
    cls=RootGroup, table=COMMANDS, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
def cli() -> None:
    """A node of the Dawan District Blockchain Alliance.

    First steps: `dawan-node devnet up` starts four nodes on this machine. To take part in a real consortium:
    `init`, `network join-request`, `network verify --from`, `run`.
    """


def main() -> None:
    """The console script."""
    # Nothing this program creates is for other users of the machine, whatever the shell's umask says.
    os.umask(0o077)
    if not __debug__:
        click.echo("error: python -O removes the node's own checks. Next: start it without -O.", err=True)
        sys.exit(ExitCode.FAILED)
    cli.main(prog_name="dawan-node")


def _entry_points() -> dict[str, Any]:
    from importlib.metadata import entry_points

    return {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}
