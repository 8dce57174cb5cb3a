"""``trade``: receivables from the command line, in and out, in the documents that other systems write."""

from __future__ import annotations

from typing import Final

import click

from dawan_node.cli.lazy import TableGroup

COMMANDS: Final = {
    "import-ubl": ("dawan_node.cli.trade_import", "import_ubl", "Read UBL 2.1 invoices and record them."),
    "export-ubl": ("dawan_node.cli.trade_export", "export_ubl", "Write recorded invoices as UBL 2.1."),
}


@click.group(cls=TableGroup, table=COMMANDS)
def trade() -> None:
    """Receivables: import and export invoices."""
