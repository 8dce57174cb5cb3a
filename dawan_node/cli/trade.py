"""``trade``: receivables from the command line. ``import-ubl`` reads invoices as other systems write them.

Without ``--key`` nothing is sent: the command says what it read and which documents it would refuse. With a key it
records each acceptable invoice on the channel and waits until it is final. Importing a file twice does no harm: the
chain knows the invoice by its fingerprint and refuses the second with ``E_DUP_INVOICE``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from dawan_node.cli.connect import channel_option, connected, passphrase_file_of_command, rpc_options
from dawan_node.cli.exit_codes import CommandFailed, ExitCode
from dawan_node.cli.options import output_option, print_json, print_table

if TYPE_CHECKING:
    from dawan_node.crypto.signatures import PrivateKey
    from dawan_node.interchange.ubl import InvoiceDraft, PartyDraft, Reading

#: How long one invoice may take to become final before the command gives up on knowing.
_TIMEOUT_MS: Final = 10_000
# Formats C: the wait ended, the transaction may still commit.
_WAIT_TIMED_OUT: Final = 1100
# How to read what a module's reasons mean.
_EXPLAIN: Final = '`dawan-node query rpc module_describe \'["trade", "receivable"]\'`'
_COLUMNS: Final = {
    "file": "FILE",
    "number": "NUMBER",
    "supplier": "SUPPLIER",
    "customer": "CUSTOMER",
    "payable": "PAYABLE",
    "due_date": "DUE",
    "verdict": "VERDICT",
}


@click.group()
def trade() -> None:
    """Receivables: import invoices."""


@trade.command("import-ubl")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option(
    "--key",
    help="Record the invoices, signed by this key: a name in --home, or a key file. Without it nothing is sent.",
)
@click.option("--dry-run", is_flag=True, help="Send nothing, even with a key.")
@click.option("--buyer", help="Channel identity of the customer, for documents that no --map fits.")
@click.option(
    "--map",
    "mappings",
    metavar="IDENTIFIER=NAME",
    multiple=True,
    help="Customer's identifier in the document (0088:3456789012098) = its identity on the channel. Repeatable.",
)
@click.option("--due", "due_days", type=click.IntRange(0, 366), help="Days to assume where no due date is given.")
@channel_option
@rpc_options
@output_option
def import_ubl(
    files: tuple[Path, ...],
    key: str | None,
    dry_run: bool,
    buyer: str | None,
    mappings: tuple[str, ...],
    due_days: int | None,
    channel: str | None,
    rpc: str | None,
    home: Path,
    output: str,
) -> None:
    """Read UBL 2.1 invoices and credit notes from FILE... and record them as receivables.

    FILE may be a folder: all *.xml in it. Without --key nothing is sent; it says what it read and would refuse.
    With --key every document needs a --map or --buyer.

    Exit codes: 0 all taken, 1 some document was refused, 4 the chain refused one, 5 one may still commit.
    """
    identities = _identities(mappings)
    entries = [_read(file, due_days) for file in _documents(files)]
    if key is not None and not dry_run:
        from dawan_node.cli.sending import signing_key

        _find_buyers(entries, identities, buyer)
        private = signing_key(key, home, passphrase_file_of_command())
        with connected(rpc, home, submits=True) as client:
            _record(client, channel or "trade", private, entries)
    rows = [entry.row() for entry in entries]
    if output == "json":
        print_json(rows)
    else:
        print_table(_COLUMNS, [_line(row) for row in rows])
        for row in rows:
            for remark in filter(None, (row["detail"], *row["warnings"])):
                click.echo(f"  {row['file']}: {remark}")
    if key is None or dry_run:
        click.echo("Nothing was sent: --key NAME records what is acceptable.", err=True)
    _finish(entries)


@dataclass(slots=True)
class Entry:
    """One document on its way: what was read, for which buyer, and what became of it."""

    file: Path
    reading: Reading
    buyer: str = ""
    verdict: str = "acceptable"
    reason: str = ""
    detail: str = ""
    answer: dict[str, Any] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        """The entry as ``-o json`` shows it."""
        draft = self.reading.draft
        row: dict[str, Any] = {
            "file": self.file.name,
            "kind": str(draft.kind),
            "number": draft.number,
            "supplier": _party(draft.supplier),
            "customer": _party(draft.customer),
            "issue_date": draft.issue_date,
            "due_date": draft.due_date,
            "payable": _money(draft, draft.payable_minor),
            "tax": _money(draft, draft.tax_minor),
            "document_sha256": "0x" + draft.document_sha256.hex(),
            "warnings": list(self.reading.warnings),
            "verdict": self.verdict,
            "reason": self.reason,
            "detail": self.detail,
        }
        if self.buyer:
            row["buyer"] = self.buyer
        return row | self.answer


def _documents(paths: tuple[Path, ...]) -> list[Path]:
    """The files named, and the ``*.xml`` of folders named."""
    found: list[Path] = []
    for path in paths:
        found += sorted(path.glob("*.xml")) if path.is_dir() else [path]
    if not found:
        raise CommandFailed(ExitCode.USAGE, "nothing to import", "there is no .xml file there", "Name invoice files.")
    return found


def _read(file: Path, due_days: int | None) -> Entry:
    from dawan_node.interchange.ubl import DOCUMENT_BYTES_MAX, read_document

    try:
        with file.open("rb") as stream:
            # One byte more than allowed, so that the reader sees that it is too large.
            data = stream.read(DOCUMENT_BYTES_MAX + 1)
    except OSError as error:
        raise CommandFailed(
            ExitCode.FAILED, f"{file} cannot be read", error.strerror or str(error), "Check name and permissions."
        ) from None
    entry = Entry(file, read_document(data, due_days))
    if entry.reading.refusal is not None:
        entry.verdict = "refused"
        entry.reason, entry.detail = str(entry.reading.refusal.reason), entry.reading.refusal.detail
    return entry


def _identities(mappings: tuple[str, ...]) -> dict[str, str]:
    pairs = [mapping.rpartition("=") for mapping in mappings]
    for identifier, equals, name in pairs:
        if not identifier or not equals or not name:
            raise click.BadParameter(
                "expected IDENTIFIER=NAME, such as 0088:3456789012098=gz-buyer", param_hint="--map"
            )
    return {identifier: name for identifier, _, name in pairs}


def _find_buyers(entries: list[Entry], identities: Mapping[str, str], default: str | None) -> None:
    """Name the buyer of every acceptable document. Raises CommandFailed before anything is sent."""
    for entry in entries:
        if entry.verdict == "refused":
            continue
        customer = entry.reading.draft.customer
        known = [identities[str(each)] for each in customer.identifiers if str(each) in identities]
        entry.buyer = known[0] if known else default or ""
        if not entry.buyer:
            named = customer.identifier or customer.name
            raise CommandFailed(
                ExitCode.USAGE,
                f"{entry.file.name}: who is the buyer?",
                f"no identity of the channel is known for {named}",
                f"Give --map '{named}=NAME' or --buyer NAME.",
            )


def _record(client: Any, channel: str, key: PrivateKey, entries: list[Entry]) -> None:
    """Record the acceptable documents one by one; a refusal by the chain is the entry's verdict, not an error."""
    from dawan_node.interchange.ubl import record_invoice_args
    from dawan_node.rpc.client import RpcError

    for entry in entries:
        if entry.verdict == "refused":
            continue
        args = record_invoice_args(entry.reading.draft, entry.buyer)
        try:
            answer = client.send(channel, key, "receivable", "record_invoice", args, timeout_ms=_TIMEOUT_MS)
        except RpcError as error:
            entry.verdict = "unknown" if error.code == _WAIT_TIMED_OUT else "rejected"
            entry.reason, entry.detail = error.reason, error.message
            entry.answer = {name: error.data[name] for name in ("tx_id",) if name in error.data}
            continue
        receipt = answer["receipt"]
        entry.answer = {"tx_id": answer["tx_id"], "height": receipt["height"]}
        entry.verdict = "recorded" if receipt["code"] == 0 else "rejected"
        entry.reason = receipt["reason"]


def _finish(entries: list[Entry]) -> None:
    """End with the exit code that the worst entry asks for."""
    counted = Counter(entry.verdict for entry in entries)
    for verdict, code, fix in (
        ("unknown", ExitCode.TIMED_OUT, "Import the same files again: what was recorded is refused as a duplicate."),
        ("rejected", ExitCode.REJECTED, f"See the reasons; {_EXPLAIN} explains them."),
        ("refused", ExitCode.FAILED, "See the reasons above; the other documents are not affected."),
    ):
        if counted[verdict]:
            reasons = dict.fromkeys(entry.reason for entry in entries if entry.verdict == verdict)
            raise CommandFailed(code, f"{counted[verdict]} of {len(entries)} {verdict}", ", ".join(reasons), fix)


def _party(party: PartyDraft) -> dict[str, Any]:
    return {
        "name": party.name,
        "identifiers": [{"scheme": each.scheme, "value": each.value} for each in party.identifiers],
        "country": party.country,
    }


def _money(draft: InvoiceDraft, minor: int | None) -> dict[str, str] | None:
    from dawan_node.rpc.values import to_money

    return to_money(draft.currency, minor) if draft.currency and minor is not None else None


def _line(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row for eyes: one text per column."""
    payable = row["payable"]
    return {
        **row,
        "supplier": _party_line(row["supplier"]),
        "customer": _party_line(row["customer"]),
        "payable": f"{payable['currency']} {payable['amount']}" if payable else "-",
        "verdict": " ".join(filter(None, (row["verdict"], row["reason"]))),
    }


def _party_line(party: Mapping[str, Any]) -> str:
    first = next(iter(party["identifiers"]), None)
    identifier = f" ({first['scheme']}:{first['value']})".replace("(:", "(") if first else ""
    return f"{party['name']}{identifier}"
