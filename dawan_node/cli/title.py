"""``title``: bills of lading from the command line, in and out, as carriers and other platforms write them."""

from __future__ import annotations

from typing import Final

import click

from dawan_node.cli.lazy import TableGroup

COMMANDS: Final = {
    "import-pint": (
        "dawan_node.cli.title_import",
        "import_pint",
        "Read PINT 3.0 envelopes, or DCSA documents to draft.",
    ),
    "export-pint": (
        "dawan_node.cli.title_export",
        "export_pint",
        "Write a title as PINT 3.0, as far as the chain has it.",
    ),
}


@click.group(cls=TableGroup, table=COMMANDS)
def title() -> None:
    """Bills of lading: import and export envelopes."""
