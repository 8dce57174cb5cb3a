"""``backup``: copies of a node's ledgers, made while it runs or not, proven to the byte, and restored."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from dawan_node.cli.exit_codes import CommandFailed, ExitCode
from dawan_node.cli.options import home_option, load_home, output_option, print_json, print_table

if TYPE_CHECKING:
    from dawan_node.node.backups.manifest import Manifest
    from dawan_node.node.config import Config
    from dawan_node.node.home import Home

_POLL_S: Final = 0.1
_ANSWER_BYTES_MAX: Final = 64 * 1024


@click.group()
def backup() -> None:
    """Make, list, check and restore copies of this node's ledgers."""


@backup.command()
@click.option("--name", help="Name of the folder in HOME/backups (default: the time, as 20261127-063000).")
@home_option
@output_option
def create(name: str | None, home: Path, output: str) -> None:
    """Back up every ledger of the home into HOME/backups; a running node does it itself, beside its work."""
    from dawan_node.errors import OperatorError
    from dawan_node.node.database.opened import stopped

    own = load_home(home)
    try:
        with stopped(own):
            folder = _create_here(own, name)
    except OperatorError as error:
        if " runs" not in error.what:
            raise
        folder = _ask_node(own, name)
    _report(folder, output)


def _create_here(own: Home, name: str | None) -> Path:
    """From the databases of a stopped node, whose lock the caller holds."""
    from contextlib import ExitStack
    from datetime import UTC, datetime

    from dawan_node.errors import OperatorError
    from dawan_node.node import consortium as consortium_file
    from dawan_node.node.backups.making import About, Pace, check_name, check_space, name_for
    from dawan_node.node.backups.making import create as make
    from dawan_node.node.config import load
    from dawan_node.node.database.opened import channels_of, directory_bytes
    from dawan_node.storage.leveldb import LevelDBStore

    now = datetime.now(UTC)
    target = check_name(own, name or name_for(now))
    channels = channels_of(own)
    if not channels:
        raise OperatorError("there is nothing to back up", f"{own.data} has no ledger", "Run the node first.")
    check_space(own, sum(directory_bytes(own.database(channel)) for channel in channels))
    section = load(own.config_file).node
    about = About(consortium_file.load(own.consortium_file).network, section.name, section.org)
    with ExitStack() as stack:
        stores = {}
        for channel in channels:
            stores[channel] = LevelDBStore.open(own.database(channel))
            stack.callback(stores[channel].close)
        snapshots = {channel: store.snapshot for channel, store in stores.items()}
        # Nobody is in the way here, so nothing need be held back.
        make(own, target, about, snapshots, Pace(bytes_per_s=2**40), now)
    return target


def _ask_node(own: Home, name: str | None) -> Path:
    """Let the running node do it, and wait."""
    from dawan_node.node.backups.live import token_file
    from dawan_node.node.backups.making import backup_folder
    from dawan_node.node.config import load

    config = load(own.config_file)
    try:
        token = token_file(own).read_text(encoding="ascii")
    except OSError as error:
        raise CommandFailed(
            ExitCode.UNREACHABLE,
            "the running node cannot be asked",
            f"{token_file(own)}: {error.strerror}",
            "Run this as the node's own user; if the node is starting, wait until it has.",
        ) from None
    given = {"token": token} | ({} if name is None else {"name": name})
    started = _post(config, "backup", given)
    said = time.monotonic()
    while True:
        status = _post(config, "backup-status", {"token": token})
        if status.get("state") == "done":
            return backup_folder(own) / str(started["name"])
        if status.get("state") != "running":
            failure = status.get("error") or {"what": "the backup failed", "why": "the node says nothing", "fix": ""}
            raise CommandFailed(
                ExitCode.FAILED, str(failure["what"]), str(failure["why"]), str(failure["fix"] or "See its log.")
            )
        if time.monotonic() - said >= 2.0:
            said = time.monotonic()
            click.echo(f"{int(status['bytes']) >> 20:,} MiB written ...", err=True)
        time.sleep(_POLL_S)


def _post(config: Config, action: str, argument: dict[str, Any]) -> dict[str, Any]:
    """The answer of the node's operations port. Raises CommandFailed."""
    import urllib.error
    import urllib.request

    from dawan_node.node.config import local_host, parse_address

    host, port = parse_address(config.ops.listen)
    host = local_host(host)
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}/admin/{action}"
    request = urllib.request.Request(
        url, data=json.dumps(argument).encode(), headers={"Content-Type": "application/json"}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            found = json.loads(answer.read(_ANSWER_BYTES_MAX))
    except urllib.error.HTTPError as error:
        raise CommandFailed(ExitCode.FAILED, "the node refused the backup", *_reasons(error)) from None
    except (OSError, ValueError) as error:
        raise CommandFailed(
            ExitCode.UNREACHABLE, f"no answer from {url}", str(error), "Is [ops] listen in node.toml right?"
        ) from None
    if not isinstance(found, dict):
        raise CommandFailed(ExitCode.UNREACHABLE, f"no answer from {url}", "what came is none", "Is it this node?")
    return found


def _reasons(error: Any) -> tuple[str, str]:
    try:
        body = json.loads(error.read(_ANSWER_BYTES_MAX))["error"]
        return str(body["message"]), str((body.get("data") or {}).get("hint") or "See the node's log.")
    except (OSError, ValueError, KeyError, TypeError):
        return str(error), "See the node's log."


def _report(folder: Path, output: str) -> None:
    from dawan_node.node.backups.manifest import read_manifest

    manifest = read_manifest(folder)
    if output == "json":
        print_json({"folder": str(folder), **_plain(manifest)})
        return
    heights = ", ".join(f"{channel.channel} at height {channel.height:,}" for channel in manifest.channels)
    size = sum(entry.bytes for entry in manifest.files)
    click.echo(f"{folder}: {heights}; {len(manifest.files)} files, {size / 2**20:,.1f} MiB.")
    click.echo("Not in it: " + "; ".join(manifest.left_out) + ".")
    click.echo(f"Next: carry it to another machine; `dawan-node backup verify {folder}` proves it whole there.")


@backup.command(name="list")
@home_option
@output_option
def list_(home: Path, output: str) -> None:
    """The backups in HOME/backups. Their files are not read: that is `backup verify`."""
    from dawan_node.node.backups.making import list_backups
    from dawan_node.node.database.finding import FileRefused

    rows = []
    for name, found in list_backups(load_home(home)):
        row: dict[str, Any] = {"name": name, "created": "-", "network": "-", "node": "-", "heights": "-", "mib": "-"}
        if isinstance(found, FileRefused):
            row["trouble"] = f"{found.code}: {found.why}"
        else:
            row |= {"created": found.created, "network": found.network, "node": found.node, "trouble": "-"}
            row["heights"] = ", ".join(f"{channel.channel} {channel.height}" for channel in found.channels)
            row["mib"] = f"{sum(entry.bytes for entry in found.files) / 2**20:,.1f}"
        rows.append(row)
    if output == "json":
        print_json(rows)
    else:
        columns = ("name", "created", "network", "node", "heights", "mib", "trouble")
        print_table({column: column.upper() for column in columns}, rows)


_FOLDER: Final = click.Path(path_type=Path, file_okay=False)


@backup.command()
@click.argument("folder", type=_FOLDER)
@click.option("--deep", is_flag=True, help="Also put each ledger together and do what `db verify` does: slow.")
@click.option(
    "--scratch",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Folder for that, twice the size of the largest ledger (default: the system's temporary folder).",
)
@output_option
def verify(folder: Path, deep: bool, scratch: Path | None, output: str) -> None:
    """Read every byte of the backup in FOLDER and compare; exit code 1 if one is not as it was written."""
    from dawan_node.node.backups.manifest import check_files, read_manifest

    manifest = read_manifest(folder)
    count = sum(1 for _ in check_files(folder, manifest))
    executed = _verify_deep(folder, manifest, scratch) if deep else {}
    if output == "json":
        deep_facts = {"blocks_executed": executed} if deep else {}
        print_json({"folder": str(folder), "files_checked": count, **deep_facts, **_plain(manifest)})
        return
    heights = ", ".join(f"{channel.channel} at height {channel.height:,}" for channel in manifest.channels)
    click.echo(f"{folder} is whole: {count} files of network {manifest.network}, {heights}.")
    for channel, blocks in executed.items():
        click.echo(f"{channel} is right: {blocks:,} blocks executed again.")


def _verify_deep(folder: Path, manifest: Manifest, scratch: Path | None) -> dict[str, int]:
    """Blocks executed again by channel. Raises CommandFailed at the first ledger that is not right."""
    from dawan_node.cli.db_verify import show_progress
    from dawan_node.node.backups.deep import verify_ledgers

    executed: dict[str, int] = {}
    for channel, result in verify_ledgers(folder, manifest, scratch, show_progress):
        if result.finding is not None:
            raise CommandFailed(
                ExitCode.FAILED,
                f"{result.finding.fault.value}: the ledger of {channel} was not right when it was backed up",
                result.finding.text,
                "Use another backup; and run `dawan-node db verify` on the node that this one is of.",
            )
        executed[channel] = result.blocks
    return executed


@backup.command()
@click.argument("folder", type=_FOLDER)
@home_option
@output_option
def restore(folder: Path, home: Path, output: str) -> None:
    """Put the ledgers of the backup in FOLDER into a home that `init` made; the node then observes.

    It may vote again only with the new key of that home, once the organisations have put it in the place of the old
    one: the commands for that are printed.
    """
    from dawan_node.node.backups.restoring import restore as run
    from dawan_node.node.backups.steps import steps_to_vote
    from dawan_node.node.config import load

    own = load_home(home)
    section = load(own.config_file).node
    done = run(folder, own, section, lambda line: click.echo(line, err=True))
    steps = steps_to_vote(own, home, done.manifest, section.name, section.org)
    if output == "json":
        print_json({"home": str(home), "has_log": done.has_log, "steps": steps, **_plain(done.manifest)})
        return
    heights = ", ".join(f"{channel.channel} at height {channel.height:,}" for channel in done.manifest.channels)
    click.echo(f"{home} holds {heights}, as of {done.manifest.created}. It observes; it signs nothing.")
    click.echo("What follows, in this order:")
    for number, step in enumerate(steps, start=1):
        click.echo(f"{number}. {step}")


def _plain(manifest: Manifest) -> dict[str, Any]:
    import msgspec

    plain: dict[str, Any] = msgspec.to_builtins(manifest)
    return plain
