"""``db verify`` and ``db replay``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from dawan_node.cli.exit_codes import CommandFailed, ExitCode
from dawan_node.cli.options import home_option, load_home, output_option, print_json

_channel_option = click.option("-c", "--channel", envvar="DAWAN_CHANNEL", help="Needed where the home has several.")
_scratch_option = click.option(
    "--scratch",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Folder for the second state, about a third of the database (default: the system's temporary folder).",
)


def show_progress(height: int, last: int, seconds: float) -> None:
    """One line of progress."""
    rate = height / seconds if seconds else 0.0
    left = (last - height) / rate if rate else 0.0
    click.echo(f"block {height:,} of {last:,}, {rate:,.0f} blocks/s, {left:,.0f} s to go", err=True)


@click.command()
@_channel_option
@click.option("--no-signatures", is_flag=True, help="Leave out the signatures of transactions (certificates stay).")
@click.option(
    "--processes",
    type=click.IntRange(0, 64),
    help="Processes that check signatures beside the one that executes (default: one for each core beyond the first).",
)
@_scratch_option
@home_option
@output_option
def verify(
    channel: str | None, no_signatures: bool, processes: int | None, scratch: Path | None, home: Path, output: str
) -> None:
    """Check a channel's database from end to end; exit code 1 and the first fault if it is not right.

    Headers, certificates against the validators of their epoch, transactions and their signatures, receipts, indexes;
    every block is executed again and every result, and at the end every record of the state, compared; then the
    modules' own rules about their state.
    """
    from dawan_node.errors import StorageError
    from dawan_node.node.database.audit import audit
    from dawan_node.node.database.finding import Fault, Finding
    from dawan_node.node.database.opened import choose_channel, opened

    own = load_home(home)
    name = choose_channel(own, channel)
    result: Any = None
    try:
        with opened(own, name) as database:
            result = audit(
                database, signatures=not no_signatures, processes=processes, folder=scratch, progress=show_progress
            )
        finding = result.finding
    except StorageError as error:
        if result is not None or str(own.database(name)) not in str(error):
            raise
        finding = Finding(Fault.UNREADABLE, 0, str(error))
    if output == "json":
        facts = {} if result is None else asdict(result)
        shown = None if finding is None else {**asdict(finding), "fault": finding.fault.value}
        print_json({**facts, "channel": name, "finding": shown})
    if finding is not None:
        where = f" at height {finding.height}" if finding.height else ""
        raise CommandFailed(
            ExitCode.FAILED,
            f"{finding.fault.value}: {name} is not right{where}",
            finding.text,
            "Move data/CHANNEL away and start the node: it fetches the chain from its peers; or restore a backup.",
        )
    if output != "json":
        rate = result.blocks / result.seconds if result.seconds else 0.0
        since = f"from the state at height {result.base:,}" if result.base else "from genesis"
        if result.base:
            since += (
                f" ({result.milestones:,} older certificates and {result.nonces_below:,} older nonces are right too)"
            )
        click.echo(
            f"{name} is right: {result.blocks:,} blocks with {result.transactions:,} transactions and "
            f"{result.certificates:,} certificates executed again {since} to {result.height:,}; "
            f"{result.state_records:,} records of state and {result.invariants} rules of modules hold. "
            f"{result.seconds:.1f} s, {rate:,.0f} blocks/s, "
            f"{result.transactions / result.seconds if result.seconds else 0:,.0f} transactions/s."
        )


@click.command()
@click.option("--to", type=int, help="Height to end at (default: the head).")
@_channel_option
@_scratch_option
@home_option
@output_option
def replay(to: int | None, channel: str | None, scratch: Path | None, home: Path, output: str) -> None:
    """Execute the blocks again up to a height; prints state root and result, exit code 1 if those stored differ."""
    from dawan_node.node.database.audit import replay as run
    from dawan_node.node.database.opened import choose_channel, opened

    own = load_home(home)
    name = choose_channel(own, channel)
    with opened(own, name) as database:
        done = run(database, to, folder=scratch, progress=show_progress)
    same = done.result == done.stored
    facts = {
        "channel": name,
        "height": done.height,
        "block_hash": f"0x{done.result.block_hash.hex()}",
        "state_root": f"0x{done.result.state_root.hex()}",
        "result_hash": f"0x{done.result.hash.hex()}",
        "stored_result_hash": f"0x{done.stored.hash.hex()}",
        "blocks": done.blocks,
        "transactions": done.transactions,
        "seconds": round(done.seconds, 3),
    }
    if output == "json":
        print_json(facts)
    else:
        for key, value in facts.items():
            click.echo(f"{key.replace('_', ' '):20}{value}")
    if not same:
        raise CommandFailed(
            ExitCode.FAILED,
            f"{name} does not replay to the stored result of height {done.height}",
            "the database or the installed modules are not those that made it",
            "Run `dawan-node db verify`: it names the first block that differs.",
        )
