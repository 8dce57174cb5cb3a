"""``network join-request``: sign what this node brings to a network."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from dawan_node.cli.options import (
    home_option,
    load_home,
    obtain_passphrase,
    output_option,
    passphrase_option,
    print_json,
)

if TYPE_CHECKING:
    from dawan_node.node.join_request import JoinRequest
    from dawan_node.node.requesting import Admission


@click.command(name="join-request")
@click.argument("file", metavar="[CONSORTIUM.TOML]", required=False, type=click.Path(path_type=Path, dir_okay=False))
@home_option
@passphrase_option
@click.option("--without", multiple=True, help="Identity whose key another home brings; may be repeated.")
@click.option("--no-identities", is_flag=True, help="Another home of this organisation brings all identities' keys.")
@click.option("--channel", multiple=True, help="Newcomers: a channel to be admitted to; may be repeated.")
@click.option("--role", type=click.Choice(["observer", "validator"]), help="Newcomers: default observer.")
@click.option("--admin", default="", help="New organisation: the identity that speaks for it.")
@click.option("--org-name", default="", help="New organisation: its name in English.")
@click.option("--org-name-zh-hans", default="", help="The same in simplified Chinese; default: --org-name.")
@click.option("--org-name-zh-hant", default="", help="The same in traditional Chinese; default: --org-name.")
@click.option("--org-name-pt", default="", help="The same in Portuguese; default: --org-name.")
@output_option
def join_request(
    file: Path | None,
    home: Path,
    passphrase_file: Path | None,
    without: tuple[str, ...],
    no_identities: bool,
    channel: tuple[str, ...],
    role: Literal["observer", "validator"] | None,
    admin: str,
    org_name: str,
    org_name_zh_hans: str,
    org_name_zh_hant: str,
    org_name_pt: str,
    output: str,
) -> None:
    """Write HOME/network/join-request.toml for the file all parties agreed on (default: HOME/network/consortium.toml).

    It is public: names, public keys, addresses, certificates, signed by this node's two keys. Hand it to whoever
    runs `network assemble`. A node that CONSORTIUM.TOML does not know asks a running network to admit it: --channel,
    and for a new organisation --admin and --org-name.
    """
    from dawan_node.node import config, consortium
    from dawan_node.node.requesting import make_request

    place = load_home(home)
    settings = config.load(place.config_file, environment={})
    source = file or place.consortium_file
    document = consortium.load_document(source)
    names = (org_name, org_name_zh_hans, org_name_zh_hant, org_name_pt)
    admission = _admission(channel, role, admin, names)
    request = make_request(
        place,
        settings.node,
        settings.p2p.advertise or (settings.p2p.listen,),
        str(source),
        document,
        datetime.now(UTC),
        lambda: obtain_passphrase(passphrase_file),
        without=without,
        identities=not no_identities,
        admission=admission,
    )
    if output == "json":
        print_json(
            {
                "file": str(place.join_request_file),
                "network": request.network,
                "consortium": request.consortium,
                "name": request.name,
                "org": request.org,
                "role": request.role,
                "public_key": request.public_key,
                "addresses": list(request.addresses),
                "identities": {each.name: each.public_key for each in request.identity},
                "channels": list(request.channels),
            }
        )
        return
    click.echo(f"{place.join_request_file}: {request.role} {request.name} of {request.org}, network {request.network}")
    click.echo(f"  agreed file {request.consortium}")
    click.echo(f"  node key    {request.public_key}")
    for each in request.identity:
        click.echo(f"  {each.name:<11} {each.public_key}")
    click.echo("It is public. Next: hand it to whoever " + _next(request))


def _next(request: JoinRequest) -> str:
    if request.channels and request.names is None:  # its organisation is a member: no vote is needed
        return f"is an administrator of {request.org} and runs `dawan-node tx send governance register_node`."
    if request.channels:
        return f"proposes the admission to {', '.join(request.channels)}: `dawan-node network admit`."
    return "runs `dawan-node network assemble`, and compare the line `agreed file` with the other parties."


def _admission(
    channels: tuple[str, ...],
    role: Literal["observer", "validator"] | None,
    admin: str,
    names: tuple[str, str, str, str],
) -> Admission | None:
    """What the options for newcomers say; None when none of them is given."""
    from dawan_node.node.consortium import Names
    from dawan_node.node.requesting import Admission

    if not channels and not role and not admin and not any(names):
        return None
    english, simplified, traditional, portuguese = names
    if any(names) and not english:
        raise click.UsageError("--org-name is missing: the other languages are beside it.")
    return Admission(
        channels=channels,
        role=role or "observer",
        admin=admin,
        names=Names(en=english, zh_hans=simplified or english, zh_hant=traditional or english, pt=portuguese or english)
        if english
        else None,
    )
