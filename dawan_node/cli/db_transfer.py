"""``db export`` and ``db import``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from dawan_node.cli.db_read import human
from dawan_node.cli.options import home_option, load_home, output_option, print_json

_channel_option = click.option("-c", "--channel", envvar="DAWAN_CHANNEL", help="Needed where the home has several.")


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--from", "first", type=int, help="First height (default 1).")
@click.option("--to", "last", type=int, help="Last height (default: the head).")
@_channel_option
@home_option
@output_option
def export(file: Path, first: int | None, last: int | None, channel: str | None, home: Path, output: str) -> None:
    """Write blocks with transactions and certificates into the new FILE, which proves itself."""
    from dawan_node.node.database.opened import choose_channel, opened
    from dawan_node.node.database.transfer import export as run

    own = load_home(home)
    with opened(own, choose_channel(own, channel)) as database:
        done = run(database, file, first, last)
    if output == "json":
        print_json(asdict(done))
    else:
        click.echo(
            f"{file}: blocks {done.first:,} to {done.last:,}, {done.transactions:,} transactions, {human(done.bytes)}, "
            f"SHA-256 of its content {done.sha256}"
        )


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@_channel_option
@home_option
@output_option
def import_(file: Path, channel: str | None, home: Path, output: str) -> None:
    """Take in the blocks of FILE that follow this home's chain. All of it is checked before anything is written."""
    from dawan_node.node.config import load
    from dawan_node.node.database.transfer import import_blocks

    own = load_home(home)
    history = load(own.config_file).storage.history

    def progress(phase: str, height: int, last: int) -> None:
        click.echo(f"{phase} up to block {height:,} of {last:,}", err=True)

    done = import_blocks(own, channel, file, history=history, progress=progress)
    if output == "json":
        print_json(asdict(done))
        return
    there = f"{done.skipped:,} blocks were there already; " if done.skipped else ""
    if done.last < done.first:
        click.echo(f"Nothing to do: {there}the chain ends at height {done.height:,}.")
    else:
        click.echo(
            f"{there}blocks {done.first:,} to {done.last:,} with {done.transactions:,} transactions are in; "
            f"the chain ends at height {done.height:,}."
        )
