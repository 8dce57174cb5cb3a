"""What ``network assemble`` and ``network verify`` say about channels: whose keys, and whose loss or lie they bear."""

from __future__ import annotations

from typing import Any

import click

from dawan_node.cli.options import print_table
from dawan_node.crypto.hashing import sha256
from dawan_node.node.consortium import Channel, Consortium, Document, channel_facts, public_key_bytes
from dawan_node.node.fault_facts import ChannelFacts


def facts_of(document: Document, complete: Consortium | None) -> dict[str, Any]:
    """All of it for JSON; without ``complete`` (a template) nobody knows keys or chain ids yet."""
    channels = [_channel(document, channel, complete) for channel in document.channel]
    return {
        "network": document.network,
        "channels": channels,
        "warnings": [warning for channel in channels for warning in channel["warnings"]],
    }


def print_facts(document: Document, complete: Consortium | None) -> None:
    """The same for eyes, one block per channel, then the warnings."""
    found = facts_of(document, complete)
    click.echo(f"Network {document.network}" + ("" if complete else " (a template: keys are missing)"))
    for channel in found["channels"]:
        click.echo(f"\nChannel {channel['channel']}: n = {channel['n']}, f = {channel['f']}, q = {channel['quorum']}")
        click.echo(f"chain id {channel['chain_id'] or '-'}")
        columns = {"name": "VALIDATOR", "org": "ORGANISATION", "operator": "OPERATOR", "fingerprint": "KEY"}
        print_table(columns, [row | {"fingerprint": row["fingerprint"] or "-"} for row in channel["validators"]])
        columns = {
            "operator": "OPERATOR",
            "orgs": "RUNS THE NODES OF",
            "seats": "SEATS",
            "survives_loss": "CHANNEL SURVIVES ITS LOSS",
            "survives_lying": "SURVIVES ITS LYING",
        }
        click.echo()
        print_table(columns, channel["operators"])
    click.echo()
    for warning in found["warnings"]:
        click.echo(f"warning: {warning}")


def key_fingerprint(text: str) -> str:
    """The first 8 bytes of SHA-256 of a public key, in groups: what two people compare by telephone."""
    digest = sha256(public_key_bytes(text)).hex()[:16]
    return " ".join(digest[start : start + 4] for start in range(0, 16, 4))


def _channel(document: Document, channel: Channel, complete: Consortium | None) -> dict[str, Any]:
    facts = channel_facts(document, channel.name)
    operators = {org.id: org.operator or org.id for org in document.org}
    return {
        "channel": channel.name,
        "chain_id": "0x" + complete.genesis(channel.name).chain_id.hex() if complete else None,
        "n": facts.n,
        "f": facts.f,
        "quorum": facts.quorum,
        "crash_only": facts.crash_only,
        "validators": [
            {
                "name": node.name,
                "org": node.org,
                "operator": operators[node.org],
                "public_key": node.public_key or None,
                "fingerprint": key_fingerprint(node.public_key) if node.public_key else None,
            }
            for node in sorted(document.validator, key=lambda node: node.name)
            if node.name in channel.validators
        ],
        "operators": _operators(facts, channel, operators),
        "warnings": facts.warnings(),
    }


def _operators(facts: ChannelFacts, channel: Channel, operators: dict[str, str]) -> list[dict[str, Any]]:
    return [
        {
            "operator": each.operator,
            "orgs": sorted(org for org in channel.orgs if operators[org] == each.operator),
            "seats": each.seats,
            "survives_loss": each.survives_loss,
            "survives_lying": each.survives_lying,
            "can_stop": each.can_stop,
            "can_fork": each.can_fork,
        }
        for each in facts.operators
    ]
