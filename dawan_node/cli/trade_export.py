"""``trade export-ubl``: recorded invoices as UBL 2.1 documents.

The chain has the facts of an invoice and the hash of its document, so what is written is a copy of the facts that says
so (``interchange.ubl_writer``). Imported again it finds the invoice recorded.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dawan_node.cli.connect import channel_of, channel_option, connected, rpc_options
from dawan_node.cli.exit_codes import CommandFailed, ExitCode
from dawan_node.cli.export_target import Target, out_option

if TYPE_CHECKING:
    from dawan_node.cli.import_channel import ChannelView


@click.command("export-ubl")
@click.option("--party", help="Every invoice of this identity.")
@click.option("--side", type=click.Choice(["seller", "buyer"]), default="seller", show_default=True)
@click.option("--state", help="Only in this state, such as CONFIRMED.")
@click.option("--invoice", "invoices", multiple=True, help="One invoice by its identifier. Repeatable.")
@out_option
@channel_option
@rpc_options
def export_ubl(
    party: str | None,
    side: str,
    state: str | None,
    invoices: tuple[str, ...],
    out: Path | None,
    channel: str | None,
    rpc: str | None,
    home: Path,
) -> None:
    """Write recorded invoices as UBL 2.1, one document per invoice.

    They are copies of the facts on chain: number, dates, parties, amounts, and the hash of the document that was
    imported, whose own bytes the chain does not have.
    """
    if bool(party) == bool(invoices):
        raise CommandFailed(ExitCode.USAGE, "which invoices?", "none is named", "Give --party NAME, or --invoice ID.")
    from dawan_node.cli.import_channel import ChannelView
    from dawan_node.interchange.ubl_writer import write_invoice

    target = Target(out, ".xml")
    with connected(rpc, home) as client:
        view = ChannelView(client, channel_of(client, channel, "receivable"))
        if party:
            params = {"party": party, "side": side} | ({"state": state} if state else {})
            found = view.query("receivable", "invoices", params)
        else:
            found = (_one(view, invoice) for invoice in invoices)
        for each in found:
            target.put(each["invoice"], write_invoice(each, view.name))
    target.report("invoices", "They are copies of the facts on chain, not the documents that were imported.")


def _one(view: ChannelView, invoice: str) -> dict[str, Any]:
    for found in view.query("receivable", "invoice", {"invoice": invoice}):
        return found
    raise CommandFailed(ExitCode.FAILED, f"{invoice} is not recorded", "there is no such invoice", "Check its name.")
