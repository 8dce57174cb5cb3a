"""``db prune``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from dawan_node.cli.db_read import human
from dawan_node.cli.exit_codes import CommandFailed, ExitCode
from dawan_node.cli.options import home_option, load_home

_channel_option = click.option("-c", "--channel", envvar="DAWAN_CHANNEL", help="Needed where the home has several.")


@click.command()
@_channel_option
@click.option("--blocks", type=int, help="Keep the newest so many blocks (default: as [storage] retain says).")
@click.option("--days", type=int, help="Keep all blocks of the last so many days (default: as [storage] retain says).")
@home_option
def prune(channel: str | None, blocks: int | None, days: int | None, home: Path) -> None:
    """Remove old blocks of a stopped node: bodies, receipts and their indexes. The state and every proof of it stay.

    What is younger than a transaction may live, and what a newcomer needs after the oldest snapshot offered here, is
    never removed. It may be interrupted and run again.
    """
    from dawan_node.node.config import load
    from dawan_node.node.database.opened import choose_channel, directory_bytes, opened
    from dawan_node.node.keeping import RETAIN_BLOCKS_MIN, Keeping
    from dawan_node.node.pruning import oldest_wanted
    from dawan_node.storage.channel_store import ChannelStore

    own = load_home(home)
    name = choose_channel(own, channel)
    settings = load(own.config_file).storage.keeping(name, own.channel_folder(name))
    kept_blocks = (settings.retain_blocks if days is None else 0) if blocks is None else blocks
    kept_days = (settings.retain_days if blocks is None else 0) if days is None else days
    if kept_blocks < 0 or kept_days < 0 or 0 < kept_blocks < RETAIN_BLOCKS_MIN:
        why = f"peers and proofs need the newest {RETAIN_BLOCKS_MIN:,} blocks"
        raise CommandFailed(ExitCode.USAGE, f"--blocks {kept_blocks}, --days {kept_days}", why, "Keep more.")
    if not kept_blocks and not kept_days:
        raise CommandFailed(
            ExitCode.USAGE,
            "nothing says what to keep",
            "[storage] retain of node.toml keeps everything",
            "Give --blocks or --days.",
        )
    keeping = Keeping(settings.folder, kept_blocks, kept_days, retain_blocks_min=RETAIN_BLOCKS_MIN)
    with opened(own, name) as database:
        before = directory_bytes(database.path)
        store = ChannelStore.over(database.kv, database.genesis.chain_id)
        first = store.blocks.kept().oldest
        lifetime_ms = database.executor.configuration(store.state).param("tx_lifetime_ms_max")
        wanted = oldest_wanted(keeping, store.blocks, lifetime_ms, keeping.snapshots.heights())
        is_terminal = sys.stderr.isatty()
        while store.retention.step(wanted):
            if is_terminal:
                click.echo(f"\r{store.blocks.kept().oldest - 1:,} of {wanted - 1:,}", nl=False, err=True)
        oldest, height = store.blocks.kept().oldest, store.head.height
    removed = oldest - first
    click.echo(f"{removed:,} blocks removed; those from {oldest:,} to {height:,} are kept.")
    if removed:
        click.echo(f"The files take {human(before)} until they are rewritten: dawan-node db compact --channel {name}")
