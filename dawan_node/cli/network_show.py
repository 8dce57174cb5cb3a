"""``network show``: the public facts of the network a home belongs to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dawan_node.cli.options import home_option, load_home, output_option, print_json, print_table


@click.command()
@home_option
@output_option
def show(home: Path, output: str) -> None:
    """Organisations, nodes with their keys, identities and channels of HOME/network.

    What was agreed on when the network was formed; what was voted since stands on the channels (`query`).
    """
    from dawan_node.node import consortium

    found = _facts(consortium.load(load_home(home).consortium_file))
    if output == "json":
        print_json(found)
        return
    click.echo(f"Network {found['network']}, created {found['created']}\n")
    print_table(
        {"id": "ORGANISATION", "en": "NAME", "zh-Hans": "", "founding": "FOUNDING", "operator": "OPERATOR"},
        [org | org["names"] for org in found["orgs"]],
    )
    click.echo()
    print_table(
        {"name": "NODE", "org": "ORGANISATION", "role": "ROLE", "addresses": "ADDRESSES", "public_key": "PUBLIC KEY"},
        found["nodes"],
    )
    click.echo()
    print_table(
        {"name": "IDENTITY", "org": "ORGANISATION", "roles": "ROLES", "public_key": "PUBLIC KEY"}, found["identities"]
    )
    click.echo()
    print_table(
        {
            "name": "CHANNEL",
            "orgs": "ORGANISATIONS",
            "validators": "VALIDATORS",
            "modules": "MODULES",
            "chain_id": "CHAIN ID",
        },
        found["channels"],
    )


def _facts(found: Any) -> dict[str, Any]:
    """The facts of a ``Consortium`` for JSON."""
    import msgspec

    from dawan_node.node.consortium_text import instant

    document = found.document
    nodes = [("validator", node) for node in document.validator] + [("observer", node) for node in document.observer]
    return {
        "network": document.network,
        "created": instant(document.created),
        "orgs": [
            {
                "id": org.id,
                "names": msgspec.to_builtins(org.names),
                "founding": org.founding,
                "operator": org.operator or org.id,
                "authorities": len(found.roots[org.id]),
            }
            for org in document.org
        ],
        "nodes": [
            {
                "name": node.name,
                "org": node.org,
                "role": role,
                "public_key": node.public_key,
                "addresses": list(node.addresses),
            }
            for role, node in nodes
        ],
        "identities": [
            {
                "name": identity.name,
                "org": identity.org,
                "roles": list(identity.roles),
                "public_key": identity.public_key,
            }
            for identity in document.identity
        ],
        "channels": [
            {
                "name": channel.name,
                "orgs": list(channel.orgs),
                "validators": list(channel.validators),
                "modules": list(channel.modules),
                "chain_id": "0x" + found.genesis(channel.name).chain_id.hex(),
            }
            for channel in document.channel
        ],
    }
