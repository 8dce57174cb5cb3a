"""``refdata``: code tables and banking calendars from files to the chain. ``load`` writes an edition and proposes it.

A load that was interrupted is started again with the same file: it finds the open edition by the file's SHA-256 and
goes on after the last row that is on chain. A node that does not answer is waited for (``--patience``), and what was
sent is sent again, the same bytes. Nothing counts before the organisations voted; ``enact`` then puts it in force.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from dawan_node.cli.connect import channel_of, channel_option, connected, passphrase_file_of_command, rpc_options
from dawan_node.cli.exit_codes import CommandFailed, ExitCode
from dawan_node.cli.import_delivery import Patience, deliver, patience_option

if TYPE_CHECKING:
    from dawan_node.interchange.refdata_csv import TableReading
    from dawan_node.rpc.client import Client

_MODULE: Final = "refdata"
#: How long ``enact``, one transaction that somebody waits for, may take to become final.
_ENACT_S: Final = 20
#: How long a transaction may wait for its block; longer than anybody is patient.
_VALID_FOR_MS: Final = 600_000
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
@patience_option
@channel_option
@rpc_options
def load(
    table: str,
    file: Path,
    title: str | None,
    base: int,
    effective: str | None,
    key: str | None,
    patience: int,
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
    waiting = Patience(patience, lambda text: click.echo(text, err=True))
    with connected(rpc, home, submits=True) as client:
        desk = _Desk(client, waiting.ask(lambda: channel_of(client, channel)), private, waiting)
        version = _write(desk, table, reading, title or file.stem, base)
        _require_digest(desk, table, version, digest)
        click.echo(f"{table} {version} is on channel {desk.channel} and sealed.")
        if effective is None:
            click.echo("Nothing was proposed: --effective DATE with the same file does it.", err=True)
            return
        name = f"{table.replace('_', '-')}-{version}"
        args = {"id": name, "table": table, "version": version, "effective_from": effective}
        desk.send("propose_edition", args)
    click.echo(f"It is proposed as {name}. Next: the organisations vote, then one of them enacts it:")
    click.echo(f"  dawan-node network vote {name} --approve -c {desk.channel} --key NAME")
    click.echo(f"  dawan-node refdata enact {name} -c {desk.channel} --key NAME")


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
        desk = _Desk(client, channel_of(client, channel), private, Patience(_ENACT_S))
        height = desk.send("enact", {"proposal": proposal})
    click.echo(f"{proposal} was carried out on {desk.channel} at height {height}.")


class _Desk:
    """Who writes to which channel, and how long an answer is waited for."""

    def __init__(self, client: Client, channel: str, key: Any, patience: Patience) -> None:
        self.channel: Final = channel
        self._client: Final = client
        self._key: Final = key
        self._patience: Final = patience
        found = patience.ask(lambda: client.channel_get(channel))
        self._chain_id: Final = bytes.fromhex(found["chain_id"][2:])

    def send(self, command: str, args: Mapping[str, Any]) -> int:
        """One transaction, final; its height. Raises CommandFailed when the chain said no, or nobody answered."""
        from dawan_node.cli.sending import changed_nothing
        from dawan_node.rpc.client import build_body, sign_transaction

        until_ms = time.time_ns() // 1_000_000 + _VALID_FOR_MS
        body = build_body(self._chain_id, _MODULE, command, args, valid_until_ms=until_ms)
        (answer,) = deliver(self._client, self.channel, [sign_transaction(self._key, body)], self._patience)
        if not answer.known:
            raise CommandFailed(
                ExitCode.TIMED_OUT,
                "the node stopped answering",
                f"{command} had no answer for {self._patience.seconds:g} s ({answer.reason}: {answer.message})",
                "Run the same command again: it goes on after the last row that is on chain.",
            )
        if answer.code:
            raise changed_nothing(
                f"{_MODULE}.{command} on channel {self.channel}",
                {"receipt": {"reason": answer.reason}},
                answer.message,
                f'`dawan-node query rpc module_describe \'["{self.channel}", "{_MODULE}"]\'` explains the reason.',
            )
        return int(answer.shown["height"])

    def editions(self, table: str) -> list[dict[str, Any]]:
        """Every edition of a table, the oldest first."""
        found: list[dict[str, Any]] = []
        cursor = None
        while True:
            ask = partial(
                self._client.module_query, self.channel, _MODULE, "editions", {"table": table}, limit=_PAGE,
                cursor=cursor,
            )  # fmt: skip
            page = self._patience.ask(ask)
            found += page["items"]
            cursor = page["cursor"]
            if cursor is None:
                return found


def _write(desk: _Desk, table: str, reading: TableReading, title: str, base: int) -> int:
    """The version that holds the file's rows, written as far as it was not yet, and sealed."""
    from dawan_node.interchange.refdata_csv import as_sent, batches

    editions = desk.editions(table)
    newest = editions[-1] if editions else None
    source = "0x" + reading.source.hex()
    begun = newest is not None and newest["source"] == source and newest["state"] in ("open", "sealed")
    if newest is None or not begun:
        version, written = len(editions) + 1, ""
        args = {"table": table, "version": version, "title": title, "source": reading.source, "base": base}
        desk.send("open_edition", args)
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
        desk.send("write_rows", args)
        click.echo(f"  {batch[0].code} to {batch[-1].code}", err=True)
    desk.send("seal_edition", {"table": table, "version": version})
    return int(version)


def _require_digest(desk: _Desk, table: str, version: int, digest: str) -> None:
    """What is on chain must be what is in the file: a voter checks the same digest. Raises CommandFailed."""
    (edition,) = [each for each in desk.editions(table) if each["version"] == version]
    if edition["digest"] != digest:
        raise CommandFailed(
            ExitCode.FAILED,
            f"{table} {version} does not hold the rows of the file",
            f"its digest is {edition['digest']}",
            "Do not vote for it; discard it: dawan-node tx send refdata discard_edition.",
        )
