"""``init``: one party makes its own keys; nothing of another party is needed or seen."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from dawan_node.cli.options import home_option, obtain_passphrase, output_option, passphrase_option, print_json
from dawan_node.node.ports import OPS_PORT, P2P_PORT, RPC_PORT


@click.command()
@click.option("--name", required=True, help="This node's name, as in the consortium's template.")
@click.option("--org", required=True, help="The organisation it belongs to.")
@home_option
@click.option("--listen", default=f"127.0.0.1:{P2P_PORT}", show_default=True, help="Where peers connect.")
@click.option("--advertise", multiple=True, help="HOST:PORT peers are told; may be repeated. Default: --listen.")
@click.option("--rpc-listen", default=f"127.0.0.1:{RPC_PORT}", show_default=True, help="JSON-RPC.")
@click.option("--ops-listen", default=f"127.0.0.1:{OPS_PORT}", show_default=True, help="Health and metrics.")
@click.option("--identity", multiple=True, help="Also make a key for this identity; may be repeated.")
@click.option(
    "--ca",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder keys/ca of the organisation's first node. Without it a new certificate authority is made here.",
)
@click.option(
    "--ca-passphrase-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Passphrase of --ca, where it is another one.",
)
@click.option(
    "--external-ca",
    is_flag=True,
    help="The organisation's certificate authority is elsewhere: write a request for it (HOME/keys/tls.csr.pem).",
)
@click.option(
    "--observer",
    is_flag=True,
    help="A node that never votes: it follows, verifies every block, serves JSON-RPC and passes transactions on.",
)
@passphrase_option
@click.option("--devnet", is_flag=True, help="Cheap key protection and fault injection: for local test networks only.")
@output_option
def init(
    name: str,
    org: str,
    home: Path,
    listen: str,
    advertise: tuple[str, ...],
    rpc_listen: str,
    ops_listen: str,
    identity: tuple[str, ...],
    ca: Path | None,
    ca_passphrase_file: Path | None,
    external_ca: bool,
    observer: bool,
    passphrase_file: Path | None,
    devnet: bool,
    output: str,
) -> None:
    """Make this party's keys and folders.

    Writes HOME with the node key, the TLS key and certificate, the certificate authority of the organisation, an empty
    write-ahead log and node.toml. Nothing of it leaves this machine; `network join-request` writes what is public.
    """
    from dawan_node.crypto.keystore import DEVNET, PRODUCTION
    from dawan_node.node.home import Home
    from dawan_node.node.setup import Plan, initialise

    settings: dict[str, str | bool | int | tuple[str, ...]] = {
        "p2p.listen": listen,
        "rpc.listen": rpc_listen,
        "ops.listen": ops_listen,
    }
    if advertise:
        settings["p2p.advertise"] = advertise
    if observer:
        settings["node.observer"] = True
    if devnet:
        settings["devnet.faults"] = True
    plan = Plan(
        name=name,
        org=org,
        addresses=advertise or (listen,),
        identities=identity,
        settings=settings,
        authority=ca,
        external_authority=external_ca,
        cost=DEVNET if devnet else PRODUCTION,
    )
    passphrase = obtain_passphrase(passphrase_file, prompt="New passphrase for this node's keys", confirm=True)
    ca_passphrase = obtain_passphrase(ca_passphrase_file) if ca_passphrase_file else None
    made = initialise(Home(home), plan, passphrase, datetime.now(UTC), authority_passphrase=ca_passphrase)
    identities = {made_for: "0x" + key.hex() for made_for, key in made.identities.items()}
    if external_ca:
        click.echo(f"to be signed by your authority: {Home(home).tls_request}; then: cert install CHAIN.pem", err=True)
    if output == "json":
        print_json(
            {
                "home": str(home),
                "name": name,
                "org": org,
                "public_key": "0x" + made.node.hex(),
                "addresses": list(plan.addresses),
                "identities": identities,
            }
        )
        return
    click.echo(f"Node {name} of {org} is ready in {home}.")
    click.echo(f"  node key    0x{made.node.hex()}")
    for made_for, key in identities.items():
        click.echo(f"  {made_for:<11} {key}")
    click.echo("Next: with the consortium.toml that all parties agreed on,")
    click.echo(f"  dawan-node network join-request --home {home} CONSORTIUM.TOML")
    if observer:
        click.echo("or, to join a network that runs and does not list this node yet, with its consortium.toml,")
        click.echo(f"  dawan-node network join-request --home {home} CONSORTIUM.TOML --channel CHANNEL")
