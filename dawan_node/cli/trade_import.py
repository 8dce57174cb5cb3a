"""``trade import-ubl`` reads invoices as other systems write them, and records them as receivables.

The chain knows an invoice by its fingerprint (docs/receivable.md). The same document again is ``already`` there and
nothing is sent; another document under the same fingerprint is ``rejected`` with ``E_DUP_INVOICE``, unsent too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from dawan_node.cli.exit_codes import CommandFailed, ExitCode
from dawan_node.cli.import_record import Record, Verdict
from dawan_node.cli.import_run import Order, import_options, run_import

if TYPE_CHECKING:
    from dawan_node.cli.import_channel import ChannelView
    from dawan_node.cli.import_sources import Document
    from dawan_node.interchange.ubl import InvoiceDraft, PartyDraft


@click.command("import-ubl")
@import_options
@click.option("--buyer", help="Channel identity of the customer, for documents that no --map fits.")
@click.option(
    "--map",
    "mappings",
    metavar="IDENTIFIER=NAME",
    multiple=True,
    help="Customer's identifier in the document (0088:3456789012098) = its identity on the channel. Repeatable.",
)
@click.option("--due", "due_days", type=click.IntRange(0, 366), help="Days to assume where no due date is given.")
def import_ubl(buyer: str | None, mappings: tuple[str, ...], due_days: int | None, **options: Any) -> None:
    """Read UBL 2.1 invoices and credit notes from FILE... and record them as receivables.

    FILE may be a folder (all *.xml in it and below), a file with one document per line (.ndxml, or --lines), or - for
    standard input. Without --key nothing is sent; it says what it read and would refuse. With --key every document
    needs a --map or --buyer. Run it again after an interruption: nothing is recorded twice.

    Exit codes: 0 all recorded or there already, 1 some document was refused, 4 the chain refused one, 5 the node
    stopped answering.
    """
    order = Order(**options)
    standard = UblInvoices(identities_of(mappings), buyer or "", due_days)
    if order.sends and not (buyer or mappings):
        raise CommandFailed(
            ExitCode.USAGE,
            "who is the buyer?",
            "documents name companies, the channel knows identities",
            "Give --map 'IDENTIFIER=NAME' for each customer, or --buyer NAME.",
        )
    run_import(standard, order, "trade import-ubl")


def identities_of(mappings: Sequence[str], example: str = "0088:3456789012098=gz-buyer") -> dict[str, str]:
    """What ``--map`` says. Raises click.BadParameter."""
    pairs = [mapping.rpartition("=") for mapping in mappings]
    for identifier, equals, name in pairs:
        if not identifier or not equals or not name:
            raise click.BadParameter(f"expected IDENTIFIER=NAME, such as {example}", param_hint="--map")
    return {identifier: name for identifier, _, name in pairs}


class UblInvoices:
    """UBL 2.1 into the module ``receivable``. ``identities``: customer's identifier -> its name on the channel."""

    module: Final = "receivable"
    suffixes: Final[Sequence[str]] = (".xml",)
    #: As ``ubl.DOCUMENT_BYTES_MAX``, without importing the reader for ``--help``.
    bytes_max: Final = 8 * 1024 * 1024
    columns: Final[Mapping[str, str]] = {
        "number": "NUMBER",
        "supplier": "SUPPLIER",
        "customer": "CUSTOMER",
        "payable": "PAYABLE",
        "due_date": "DUE",
    }
    duplicate_reasons: Final = frozenset({"E_DUP_INVOICE", "E_DUP_FINANCE"})

    def __init__(self, identities: Mapping[str, str], buyer: str, due_days: int | None) -> None:
        self._identities: Final = identities
        self._buyer: Final = buyer
        self._due_days: Final = due_days

    def read(self, document: Document) -> list[Record]:
        """The one invoice of a document."""
        from dawan_node.interchange.ubl import read_document

        reading = read_document(document.data, self._due_days)
        draft = reading.draft
        record = Record(document.file, document.line, 0, _row(draft), reading.warnings, draft=draft)
        if reading.refusal is not None:
            record.refuse(str(reading.refusal.reason), reading.refusal.detail)
        return [record]

    def bind(self, records: Sequence[Record], channel: ChannelView) -> None:
        """Name the buyer, and the invoice as the chain will."""
        from dawan_node.interchange.ubl import record_invoice_args
        from dawan_node.modules.receivable.entities import Money
        from dawan_node.modules.receivable.fingerprints import invoice_id, normalised_number

        for record in records:
            draft = record.draft
            buyer = self._buyer_of(draft)
            if not buyer:
                named = draft.customer.identifier or draft.customer.name
                record.refuse(
                    "E_UNKNOWN_BUYER",
                    f"no identity of the channel is known for {named}: give --map '{named}=NAME' or --buyer NAME",
                )
                continue
            number = normalised_number(draft.number)
            assert number is not None  # the reader refuses what has none
            total = Money(draft.currency, draft.payable_minor)
            invoice = invoice_id(channel.sender.name, buyer, number, draft.issue_date, total)
            record.row |= {"buyer": buyer, "invoice": invoice}
            record.command, record.args = "record_invoice", record_invoice_args(draft, buyer)
            record.touches = frozenset({invoice})

    def look_up(self, records: Sequence[Record], channel: ChannelView) -> None:
        """Settle the invoices that are on chain."""
        from dawan_node.execution.module import key_of

        keys = [key_of(record.row["invoice"]) for record in records]
        for record, found in zip(records, channel.states(self.module, "invoice", keys), strict=True):
            if found is None:
                continue
            if found["document"] == record.row["document_sha256"]:
                record.settle(Verdict.ALREADY)
            else:
                other = found["document"] if found["document"] != "0x" else "unknown"
                record.settle(
                    Verdict.REJECTED, "E_DUP_INVOICE", f"the same invoice is recorded from another document, {other}"
                )

    def line(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A row for eyes."""
        payable = row["payable"]
        return {
            **row,
            "supplier": _party_line(row["supplier"]),
            "customer": _party_line(row["customer"]),
            "payable": f"{payable['currency']} {payable['amount']}" if payable else "-",
        }

    def _buyer_of(self, draft: InvoiceDraft) -> str:
        known = [self._identities[str(each)] for each in draft.customer.identifiers if str(each) in self._identities]
        return known[0] if known else self._buyer


def _row(draft: InvoiceDraft) -> dict[str, Any]:
    return {
        "kind": str(draft.kind),
        "number": draft.number,
        "supplier": _party(draft.supplier),
        "customer": _party(draft.customer),
        "issue_date": draft.issue_date,
        "due_date": draft.due_date,
        "payable": _money(draft, draft.payable_minor),
        "tax": _money(draft, draft.tax_minor),
        "document_sha256": "0x" + draft.document_sha256.hex(),
    }


def _party(party: PartyDraft) -> dict[str, Any]:
    return {
        "name": party.name,
        "identifiers": [{"scheme": each.scheme, "value": each.value} for each in party.identifiers],
        "country": party.country,
    }


def _money(draft: InvoiceDraft, minor: int | None) -> dict[str, str] | None:
    from dawan_node.rpc.values import to_money

    return to_money(draft.currency, minor) if draft.currency and minor is not None else None


def _party_line(party: Mapping[str, Any]) -> str:
    first = next(iter(party["identifiers"]), None)
    identifier = f" ({first['scheme']}:{first['value']})".replace("(:", "(") if first else ""
    return f"{party['name']}{identifier}"
