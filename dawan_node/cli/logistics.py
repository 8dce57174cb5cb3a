"""``logistics``: events and milestones from the command line, in and out, in the messages other systems exchange."""

from __future__ import annotations

from typing import Final

import click

from dawan_node.cli.lazy import TableGroup

COMMANDS: Final = {
    "import-epcis": (
        "dawan_node.cli.logistics_epcis",
        "import_epcis",
        "Read EPCIS 2.0 JSON-LD and capture its events.",
    ),
    "import-dcsa": (
        "dawan_node.cli.logistics_dcsa",
        "import_dcsa",
        "Read DCSA track and trace 3 and state its events.",
    ),
    "export-epcis": ("dawan_node.cli.logistics_export", "export_epcis", "Write captured events as EPCIS 2.0 JSON-LD."),
    "export-dcsa": ("dawan_node.cli.logistics_export", "export_dcsa", "Write a shipment's milestones as DCSA events."),
}


@click.group(cls=TableGroup, table=COMMANDS)
def logistics() -> None:
    """Events and milestones: import and export messages."""
