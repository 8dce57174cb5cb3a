"""``network``: put the parties' public files together, and check the result on every machine."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from dawan_node.cli.options import home_option, load_home, output_option, print_json, print_table
from dawan_node.errors import OperatorError
from dawan_node.node import assembly, config, consortium, setup
from dawan_node.node.consortium import ChannelFacts, Consortium
from dawan_node.node.verification import verify_home

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group()
def network() -> None:
    """Put a consortium together and check it."""


@network.command()
@home_option
def party(home: Path) -> None:
    """Write HOME/network/party.toml again, for example after `keys new`."""
    place = load_home(home)
    settings = config.load(place.config_file, environment={})
    addresses = settings.p2p.advertise or (settings.p2p.listen,)
    made = setup.write_party(place, settings.node.name, settings.node.org, addresses)
    click.echo(f"{place.party_file}: node {made.name}, {len(made.identity)} identities. It is public; hand it over.")


@network.command()
@click.argument("template", type=_FILE)
@click.argument(
    "parties", metavar="PARTY.TOML...", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False)
)
@click.option(
    "--to",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("network"),
    show_default=True,
    help="Folder to write; every party copies it to HOME/network.",
)
@output_option
def assemble(template: Path, parties: tuple[Path, ...], folder: Path, output: str) -> None:
    """Fill TEMPLATE with the keys, addresses and CA certificates of every party.toml.

    Writes consortium.toml, one PEM file per organisation and the genesis of each channel. All of it is public.
    """
    document = consortium.load_document(template)
    given = [(str(path), assembly.load_party(path)) for path in parties]
    assembled = assembly.assemble(str(template), document, given, datetime.now(UTC))
    written = assembly.write(assembled, folder)
    if output == "json":
        print_json({**_facts(assembled), "files": [str(path) for path in written]})
        return
    _print_facts(assembled)
    click.echo(f"Written to {folder}: {len(written)} files, all public.")
    click.echo("Next: every party copies them to HOME/network and runs `dawan-node network verify`.")


@network.command()
@home_option
@output_option
def verify(home: Path, output: str) -> None:
    """Recompute every genesis and check that this node is part of it.

    Ends with exit code 1 when anything differs. Compare the chain ids with the other parties: equal chain ids mean
    equal organisations, keys, modules and rules.
    """
    place = load_home(home)
    settings = config.load(place.config_file, environment={})
    assembled = consortium.load(place.consortium_file)
    problems = verify_home(place, settings.node, assembled, datetime.now(UTC))
    if output == "json":
        print_json({**_facts(assembled), "problems": [str(problem) for problem in problems], "ok": not problems})
    else:
        _print_facts(assembled)
    if problems:
        first: OperatorError = problems[0]
        for other in problems[1:]:
            click.echo(f"also: {other}", err=True)
        raise first
    if output == "table":
        click.echo(f"{settings.node.name} of {settings.node.org} may start: dawan-node run --home {home}")


def _facts(assembled: Consortium) -> dict[str, Any]:
    every = [assembled.facts(channel) for channel in assembled.channels]
    return {
        "network": assembled.network,
        "channels": [_channel(facts) for facts in every],
        "warnings": [warning for facts in every for warning in facts.warnings()],
    }


def _channel(facts: ChannelFacts) -> dict[str, Any]:
    return {
        "channel": facts.channel,
        "chain_id": "0x" + facts.chain_id.hex(),
        "n": facts.n,
        "f": facts.f,
        "quorum": facts.quorum,
        "seats": dict(facts.seats),
        "survives_loss_of": list(facts.survives_loss_of),
        "can_stop": list(facts.can_stop),
        "can_fork": list(facts.can_fork),
    }


def _print_facts(assembled: Consortium) -> None:
    found = _facts(assembled)
    click.echo(f"Network {assembled.network}")
    print_table(
        {
            "channel": "CHANNEL",
            "n": "N",
            "f": "F",
            "quorum": "QUORUM",
            "survives_loss_of": "SURVIVES THE LOSS OF ANY ONE OF",
            "chain_id": "CHAIN ID",
        },
        found["channels"],
    )
    for warning in found["warnings"]:
        click.echo(f"warning: {warning}")
