"""``db info``, ``db compact``, ``db diff`` and ``db plan``."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from dawan_node.cli.exit_codes import CommandFailed, ExitCode
from dawan_node.cli.options import home_option, load_home, output_option, print_json, print_table

if TYPE_CHECKING:
    from dawan_node.node.database.contents import Contents
    from dawan_node.rpc.client import Client

_channel_option = click.option("-c", "--channel", envvar="DAWAN_CHANNEL", help="Needed where the home has several.")
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def human(size: int) -> str:
    """Bytes in a unit a person reads."""
    power = min((max(size, 1).bit_length() - 1) // 10, len(_UNITS) - 1)
    return f"{size} B" if not power else f"{size / 1024**power:,.1f} {_UNITS[power]}"


@click.command()
@_channel_option
@home_option
@output_option
def info(channel: str | None, home: Path, output: str) -> None:
    """Sizes by kind of record, heights, versions, and what is kept. Reads the whole database."""
    from dawan_node.node.database.contents import contents
    from dawan_node.node.database.opened import channels_of, choose_channel, opened

    own = load_home(home)
    names = [choose_channel(own, channel)] if channel or len(channels_of(own)) < 2 else channels_of(own)
    found = []
    for name in names:
        with opened(own, name) as database:
            found.append(contents(database, lambda records: click.echo(f"{records:,} records ...", err=True)))
    if output == "json":
        print_json([_plain(each) for each in found])
        return
    for each in found:
        _show(each)


def _show(found: Contents) -> None:
    logical = sum(kind.bytes for kind in found.kinds)
    when = datetime.fromtimestamp(found.timestamp_ms / 1000, UTC)
    click.echo(f"{found.channel}: height {found.height:,} of {when:%Y-%m-%d %H:%M:%S} UTC, epoch {found.epoch}")
    click.echo(f"  chain id      0x{found.chain_id.hex()}")
    click.echo(f"  head          0x{found.block_hash.hex()}")
    click.echo(f"  state root    0x{found.state_root.hex()}")
    click.echo(f"  schema        {found.schema_version}")
    bodies = f"{found.first_body:,} to {found.height:,}" if found.first_body else "none"
    click.echo(f"  transactions  {found.transactions:,}, those of blocks {bodies} are kept")
    click.echo(f"  state         at heights {found.history_from:,} to {found.height:,}")
    each = f", {found.disk_bytes // found.transactions:,} bytes per transaction" if found.transactions else ""
    click.echo(f"  disk          {human(found.disk_bytes)} in files, {human(logical)} in records{each}\n")
    rows = [
        {
            "name": kind.name,
            "records": f"{kind.records:,}",
            "bytes": human(kind.bytes),
            "share": f"{100 * kind.bytes // max(1, logical)} %",
            "each": f"{kind.bytes // max(1, found.transactions):,}" if found.transactions else "-",
        }
        for kind in found.kinds
    ]
    columns = {"name": "KIND", "records": "RECORDS", "bytes": "SIZE", "share": "SHARE", "each": "BYTES PER TRANSACTION"}
    print_table(columns, rows)
    click.echo()


def _plain(found: Contents) -> dict[str, Any]:
    return {name: f"0x{value.hex()}" if isinstance(value, bytes) else value for name, value in asdict(found).items()}


@click.command()
@_channel_option
@home_option
def compact(channel: str | None, home: Path) -> None:
    """Rewrite the database without what was deleted or replaced. Needs as much free disk as it takes now."""
    import shutil

    from dawan_node.errors import OperatorError
    from dawan_node.node.database.opened import choose_channel, directory_bytes, opened

    own = load_home(home)
    with opened(own, choose_channel(own, channel)) as database:
        before = directory_bytes(database.path)
        free = shutil.disk_usage(database.path).free
        if free < before:
            raise OperatorError(
                "there is not enough free disk to compact",
                f"{human(free)} are free, and the database of {human(before)} is written anew",
                "Free some, or move the home to a larger disk.",
            )
        database.kv.compact()
        after = directory_bytes(database.path)
    click.echo(f"{human(before)} before, {human(after)} now.")


@click.command()
@click.argument("peer", metavar="PEER")
@_channel_option
@click.option("--rpc", metavar="URL", help="This node's JSON-RPC, if it runs; else its database is opened.")
@home_option
@output_option
def diff(peer: str, channel: str | None, rpc: str | None, home: Path, output: str) -> None:
    """Compare with the chain of PEER, the URL of its JSON-RPC; the first difference is named, exit code 1."""
    from dawan_node.cli.connect import connected
    from dawan_node.node.database.difference import Side, compare
    from dawan_node.node.database.opened import choose_channel, opened
    from dawan_node.node.database.sides import RpcSide, StoredSide

    with ExitStack() as stack:
        theirs_client: Client = stack.enter_context(connected(peer, home))
        ours: Side
        if rpc is not None:
            client = stack.enter_context(connected(rpc, home))
            name = channel or _only_channel(client)
            ours = RpcSide(client, name)
        else:
            own = load_home(home)
            name = choose_channel(own, channel)
            ours = StoredSide(stack.enter_context(opened(own, name)))
        theirs = RpcSide(theirs_client, name)
        found = compare(ours, theirs)
    facts = {"channel": name, "ours": ours.height, "theirs": theirs.height, **asdict(found)}
    if output == "json":
        print_json(facts)
    elif found.height is None:
        click.echo(f"{name}: {found.text}; here {ours.height:,}, there {theirs.height:,}.")
    if found.height is not None:
        raise CommandFailed(
            ExitCode.FAILED,
            f"{name} differs from height {found.height} on",
            found.text,
            "Run `dawan-node db verify` here and let the peer do so: the one that fails is wrong. Keep both databases.",
        )


def _only_channel(client: Client) -> str:
    from dawan_node.cli.connect import channel_of

    return channel_of(client, None)


@click.command()
@click.option("--tps", type=float, required=True, help="Transactions per second, on average over day and night.")
@click.option("--years", type=float, default=1.0, show_default=True)
@click.option("--block-ms", type=int, default=1_000, show_default=True, help="Time between blocks under load.")
@click.option("--history", type=int, help="Blocks whose state is kept (default: [storage] history of node.toml).")
@click.option("--retain", type=int, help="Days whose transactions are kept, 0 keeps all (default: as set).")
@_channel_option
@home_option
@output_option
def plan(
    tps: float,
    years: float,
    block_ms: int,
    history: int | None,
    retain: int | None,
    channel: str | None,
    home: Path,
    output: str,
) -> None:
    """Disk that one channel takes after --years, from what a transaction takes here or, on a new home, elsewhere."""
    from dawan_node.node.config import StorageSection, load
    from dawan_node.node.database.contents import DEFAULT, contents, forecast, weights
    from dawan_node.node.database.opened import channels_of, choose_channel, opened

    if tps <= 0 or years <= 0 or block_ms < 1:
        raise CommandFailed(ExitCode.USAGE, "--tps, --years, --block-ms", "each is more than 0", "Correct it.")
    settings, measured = StorageSection(), DEFAULT
    if (home / "node.toml").exists():
        own = load_home(home)
        settings = load(own.config_file).storage
        if channels_of(own):
            with opened(own, choose_channel(own, channel)) as database:
                measured = weights(contents(database))
    kept_history = settings.history if history is None else history
    kept_days = settings.retain.days if retain is None else retain
    result = forecast(
        measured,
        tps_milli=round(tps * 1000),
        years_milli=round(years * 1000),
        block_ms=block_ms,
        history=kept_history,
        retain_days=kept_days,
    )
    if output == "json":
        print_json({"measured": asdict(measured), **asdict(result)})
        return
    days = f"{kept_days} days" if kept_days else "for ever"
    click.echo(
        f"{tps:g} transactions/s for {years:g} years, history {kept_history:,} blocks, transactions kept {days}.\n"
        f"Bytes per transaction are those of {measured.source}.\n"
    )
    words = {
        "bodies": "transactions, receipts, index",
        "state": "state and its tree",
        "blocks": "headers and certificates",
        "history": "history",
        "other": "log, nonces, compaction",
        "total": "TOTAL",
    }
    print_table(
        {"what": "WHAT", "size": "DISK"}, [{"what": words[k], "size": human(v)} for k, v in asdict(result).items()]
    )
