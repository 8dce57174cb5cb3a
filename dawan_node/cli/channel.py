"""``channel``: the channels of a node, their members, and who may do what on them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dawan_node.cli.connect import channel_of, channel_option, connected, rpc_options
from dawan_node.cli.options import output_option, print_json, print_table, write_private_file
from dawan_node.errors import ConfigError

if TYPE_CHECKING:
    from dawan_node.execution.module import Module
    from dawan_node.node.access import Table


@click.group()
def channel() -> None:
    """Channels, their members, and who may do what."""


@channel.command("list")
@rpc_options
@output_option
def list_(rpc: str | None, home: Path, output: str) -> None:
    """The channels of the node that you may see."""
    with connected(rpc, home) as client:
        rows = [client.channel_get(name) for name in client.channel_list()]
    if output == "json":
        print_json(rows)
        return
    print_table(
        {"channel": "CHANNEL", "height": "HEIGHT", "orgs": "ORGANISATIONS", "n": "VALIDATORS", "modules": "MODULES"},
        [{**row, "modules": [f"{module['name']}@{module['version']}" for module in row["modules"]]} for row in rows],
    )


@channel.command()
@channel_option
@rpc_options
@output_option
def show(channel: str | None, rpc: str | None, home: Path, output: str) -> None:
    """One channel: its chain id, members, validators, and what it survives."""
    with connected(rpc, home) as client:
        found = client.channel_get(channel_of(client, channel))
    if output == "json":
        print_json(found)
        return
    facts = {
        "channel": found["channel"],
        "chain id": found["chain_id"],
        "height": found["height"],
        "modules": ", ".join(f"{module['name']}@{module['version']}" for module in found["modules"]),
        "organisations": ", ".join(found["orgs"]),
        "validators": ", ".join(found["validators"]),
        "faults": f"{found['f']} of {found['n']} validators may fail or lie; {found['quorum']} decide",
    }
    for name, value in facts.items():
        click.echo(f"{name:<13}  {value}")


@channel.command()
@channel_option
@rpc_options
@output_option
def members(channel: str | None, rpc: str | None, home: Path, output: str) -> None:
    """The organisations of a channel, and how many identities each has there."""
    with connected(rpc, home) as client:
        found = client.member_list(channel_of(client, channel))
    if output == "json":
        print_json(found)
        return
    active = [identity["org"] for identity in found["identities"] if identity["status"] == "active"]
    print_table(
        {"id": "ORGANISATION", "name": "NAME", "tier": "TIER", "status": "STATUS", "identities": "IDENTITIES"},
        [{**org, "name": org["names"].get("en", ""), "identities": active.count(org["id"])} for org in found["orgs"]],
    )


@channel.command()
@click.argument("channel")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write everything, both signed messages of each entry included, to this new file (JSON, mode 0600).",
)
@rpc_options
@output_option
def evidence(channel: str, out: Path | None, rpc: str | None, home: Path, output: str) -> None:
    """Validators of CHANNEL that this node can prove lied, and why the channel stopped, if it did.

    Evidence goes on chain by itself; what follows from it is for the organisations to vote on.
    """
    with connected(rpc, home) as client:
        found = client.pbft_evidence(channel)
    if out is not None:
        write_private_file(out, (json.dumps({"channel": channel, **found}, indent=2) + "\n").encode())
        click.echo(f"written to {out}", err=True)
    if output == "json":
        print_json(found)
        return
    halted = found["halted"]
    if halted is not None:
        click.echo(f"{channel} stopped for good: {halted['reason']}")
    if not found["evidence"]:
        click.echo(f"This node holds no evidence against a validator of {channel}.")
        return
    print_table(
        {"validator": "VALIDATOR", "kind": "KIND", "epoch": "EPOCH", "recorded": "ON CHAIN"},
        [
            {**row, "recorded": "not yet" if row["on_chain"] is None else f"at height {row['on_chain']}"}
            for row in found["evidence"]
        ],
    )


@channel.command()
@click.option("--module", "names", multiple=True, help="Only the commands of this module (repeatable). Default: all.")
@click.option("--markdown", is_flag=True, help="The tables as a page, as in docs/access.md.")
@output_option
def access(names: tuple[str, ...], markdown: bool, output: str) -> None:
    """Who may call which method, send which transaction, and say what to a node.

    Made from the rules the node goes by, without asking one.
    """
    from dawan_node.node.access import matrix

    tables = matrix(_modules(names))
    if markdown:
        from dawan_node.cli.access_page import page

        click.echo(page(tables), nl=False)
    elif output == "json":
        print_json([_as_json(table) for table in tables])
    else:
        for table in tables:
            click.echo(f"{table.name}: {len(table.rows)} rows, {table.cells} cells")
            print_table(
                {"object": table.object.upper(), **{subject: subject for subject in table.subjects}, "note": "NOTE"},
                [{"object": row.object, **row.cells, "note": row.note} for row in table.rows],
            )
            click.echo()


def _modules(names: Sequence[str]) -> list[Module]:
    """The installed modules of these names. Raises ConfigError for one that is not installed."""
    from dawan_node.execution.module import DeclarationError
    from dawan_node.execution.registry import installed_modules
    from dawan_node.node.toml_file import nearest

    try:
        installed = {module.name: module for module in installed_modules()}
    except DeclarationError as error:
        raise ConfigError(
            "an installed module cannot be loaded", str(error), "`dawan-node module list` shows which."
        ) from None
    for name in names:
        if name not in installed:
            raise ConfigError(f"no module {name!r} is installed", nearest(name, list(installed)), "Check the name.")
    return [module for name, module in installed.items() if not names or name in names]


def _as_json(table: Table) -> dict[str, Any]:
    rows = [{"object": row.object, "cells": dict(row.cells), "note": row.note} for row in table.rows]
    return {"table": table.name, "subjects": list(table.subjects), "rows": rows}
