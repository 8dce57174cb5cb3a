"""``network``: form a consortium out of what its parties bring, check it on every machine, take in others later.

Each command lives in a file of its own; a new one is a line in ``COMMANDS``.
"""

from __future__ import annotations

from typing import Final

import click

from dawan_node.cli.lazy import TableGroup

# name -> (module, attribute, line for --help). In the order of joining.
COMMANDS: Final = {
    "join-request": ("dawan_node.cli.network_request", "join_request", "Sign what this node brings to a network."),
    "assemble": ("dawan_node.cli.network_assemble", "assemble", "Put all join-requests into the agreed file."),
    "verify": ("dawan_node.cli.network_verify", "verify", "Recompute everything, and take it over."),
    "admit": ("dawan_node.cli.membership", "admit", "Propose to take in the organisation of a join-request."),
    "propose-ca": ("dawan_node.cli.membership", "propose_ca", "Propose other CA certificates of this organisation."),
    "proposals": ("dawan_node.cli.membership", "proposals", "What was proposed, and where it stands."),
    "vote": ("dawan_node.cli.membership", "vote", "Approve or refuse a proposal."),
    "enact": ("dawan_node.cli.membership", "enact", "Put a passed proposal into effect."),
    "validator-request": ("dawan_node.cli.validators", "validator_request", "Sign this home's claim to a seat."),
    "add-validator": ("dawan_node.cli.validators", "add_validator", "Propose one more validator."),
    "replace-validator": ("dawan_node.cli.validators", "replace_validator", "Propose another key for a validator."),
    "remove-validator": ("dawan_node.cli.validators", "remove_validator", "Propose that a validator votes no longer."),
    "show": ("dawan_node.cli.network_show", "show", "The public facts of this home's network."),
}


@click.group(cls=TableGroup, table=COMMANDS)
def network() -> None:
    """Put a consortium together, check it, and take in others."""
