"""``refdata``: code tables and banking calendars from files to the chain. ``load`` writes an edition and proposes it.

A load that was interrupted is started again with the same file: it finds the open edition by the file's SHA-256 and
goes on after the last row that is on chain. Nothing counts before the organisations voted; ``enact`` then puts it in
force.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from dawan_node.cli.connect import channel_of, channel_option, connected, passphrase_file_of_command, rpc_options
from dawan_node.cli.exit_codes import CommandFailed, ExitCode

if TYPE_CHECKING:
    from dawan_node.interchange.refdata_csv import TableReading
    from dawan_node.rpc.client import Client

_MODULE: Final = "refdata"
#: How long one transaction may take to become final before the command gives up on knowing.
_TIMEOUT_MS: Final = 20_000
#: Editions asked for at a time.
_PAGE: Final = 200


@click.group()
def refdata() -> None:
    """Code tables and banking calendars: load them, put them in force."""


@refdata.command()
@click.argument("table")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--title", help="What people call this edition, such as 'HS 2022'. Default: the file's name.")
@click.option("--base", type=click.IntRange(0), default=0, help="Version it amends. Default: it is a complete table.")
@click.option("--effective", metavar="DATE", help="Propose it from this date on (YYYY-MM-DD), once it is written.")
@click.option("--key", help="An org_admin's key: a name in --home, or a key file. Without it nothing is sent.")
@channel_option
@rpc_options
def load(
    table: str,
    file: Path,
    title: str | None,
    base: int,
    effective: str | None,
    key: str | None,
    channel: str | None,
    rpc: str | None,
    home: Path,
) -> None:
    """Write the rows of FILE (CSV) as the next edition of TABLE.

    Without --key it only reads the file and says what it would write. Run it again with the same file after an
    interruption: it goes on where it stopped.
    """
    from dawan_node.interchange.refdata_csv import FILE_BYTES_MAX, batches, read_table
    from dawan_node.modules.refdata.loading import digest_of

    with file.open("rb") as stream:
        # One byte more than allowed, so that the reader sees that it is too large.
        reading = read_table(table, stream.read(FILE_BYTES_MAX + 1))
    if reading.refusal:
        raise CommandFailed(
            ExitCode.FAILED, f"{file.name} is no table {table}", reading.refusal, "Correct the file; nothing was sent."
        )
    digest = "0x" + digest_of(reading.rows).hex()
    parts = sum(1 for _ in batches(reading.rows))
    click.echo(f"{file.name}: {len(reading.rows)} rows in {parts} transactions, digest {digest}")
    if key is None:
        click.echo("Nothing was sent: --key NAME writes it.", err=True)
        return
    from dawan_node.cli.sending import signing_key

    private = signing_key(key, home, passphrase_file_of_command())
    with connected(rpc, home, submits=True) as client:
        place = channel_of(client, channel)
        version = _write(client, place, private, table, reading, title or file.stem, base)
        _require_digest(client, place, table, version, digest)
        click.echo(f"{table} {version} is on channel {place} and sealed.")
        if effective is None:
            click.echo("Nothing was proposed: --effective DATE with the same file does it.", err=True)
            return
        name = f"{table.replace('_', '-')}-{version}"
        args = {"id": name, "table": table, "version": version, "effective_from": effective}
        _send(client, place, private, "propose_edition", args)
    click.echo(f"It is proposed as {name}. Next: the organisations vote, then one of them enacts it:")
    click.echo(f"  dawan-node network vote {name} --approve -c {place} --key NAME")
    click.echo(f"  dawan-node refdata enact {name} -c {place} --key NAME")


@refdata.command()
@click.argument("proposal")
@click.option("--key", required=True, help="An org_admin's key: a name in --home, or a key file.")
@channel_option
@rpc_options
def enact(proposal: str, key: str, channel: str | None, rpc: str | None, home: Path) -> None:
    """Put a change of tables or parameters in force that enough organisations approved."""
    from dawan_node.cli.sending import signing_key

    private = signing_key(key, home, passphrase_file_of_command())
    with connected(rpc, home, submits=True) as client:
        place = channel_of(client, channel)
        receipt = _send(client, place, private, "enact", {"proposal": proposal})
    click.echo(f"{proposal} was carried out on {place} at height {receipt['height']}.")


def _write(client: Client, channel: str, private: Any, table: str, reading: TableReading, title: str, base: int) -> int:
    """The version that holds the file's rows, written as far as it was not yet, and sealed."""
    from dawan_node.interchange.refdata_csv import as_sent, batches

    editions = _editions(client, channel, table)
    newest = editions[-1] if editions else None
    source = "0x" + reading.source.hex()
    begun = newest is not None and newest["source"] == source and newest["state"] in ("open", "sealed")
    if newest is None or not begun:
        version, written = len(editions) + 1, ""
        args = {"table": table, "version": version, "title": title, "source": reading.source, "base": base}
        _send(client, channel, private, "open_edition", args)
    elif newest["base"] != base:
        raise CommandFailed(
            ExitCode.REJECTED,
            f"{table} {newest['version']} was begun with this file on another base",
            f"it amends {newest['base']}, not {base}",
            "Give the same --base, or discard that edition: dawan-node tx send refdata discard_edition.",
        )
    else:
        version, written = newest["version"], newest["last_code"]
        click.echo(f"{table} {version} has {newest['rows']} of these rows already.", err=True)
        if newest["state"] == "sealed":
            return int(version)
    rows = [row for row in reading.rows if row.code > written]
    for batch in batches(rows):
        args = {"table": table, "version": version, "rows": [as_sent(row) for row in batch]}
        _send(client, channel, private, "write_rows", args)
        click.echo(f"  {batch[0].code} to {batch[-1].code}", err=True)
    _send(client, channel, private, "seal_edition", {"table": table, "version": version})
    return int(version)


def _require_digest(client: Client, channel: str, table: str, version: int, digest: str) -> None:
    """What is on chain must be what is in the file: a voter checks the same digest. Raises CommandFailed."""
    (edition,) = [each for each in _editions(client, channel, table) if each["version"] == version]
    if edition["digest"] != digest:
        raise CommandFailed(
            ExitCode.FAILED,
            f"{table} {version} does not hold the rows of the file",
            f"its digest is {edition['digest']}",
            "Do not vote for it; discard it: dawan-node tx send refdata discard_edition.",
        )


def _editions(client: Client, channel: str, table: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        page = client.module_query(channel, _MODULE, "editions", {"table": table}, limit=_PAGE, cursor=cursor)
        found += page["items"]
        cursor = page["cursor"]
        if cursor is None:
            return found


def _send(client: Client, channel: str, private: Any, command: str, args: Mapping[str, Any]) -> dict[str, Any]:
    """One transaction, final; its receipt. Raises CommandFailed when the chain said no."""
    from dawan_node.cli.sending import changed_nothing

    verdict = client.send(channel, private, _MODULE, command, args, timeout_ms=_TIMEOUT_MS)
    receipt: dict[str, Any] | None = verdict.get("receipt")
    if receipt is None or receipt["code"] != 0:
        raise changed_nothing(
            f"{_MODULE}.{command} on channel {channel}",
            verdict,
            "",
            f'`dawan-node query rpc module_describe \'["{channel}", "{_MODULE}"]\'` explains the reason.',
        )
    return receipt
